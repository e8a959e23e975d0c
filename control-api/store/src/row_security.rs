//! Row-level security on PostgreSQL: the database itself keeps tenants apart, whatever a statement says.
//!
//! Every table with a `tenant_id` has a policy, forced on its owner too: rows are seen and written under the setting
//! `aegis.tenant` that names their tenant, or under `aegis.scope = 'platform'`, and by nobody without a setting.
//! Transactions set them (`Conn::see`). A superuser would pass by all policies, so such a connection steps down to a
//! role that has nothing but rights on rows.

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use crate::error::StoreError;

/// The role that superusers step down to.
const ROLE: &str = "aegis_control";

/// Puts policies on tables that have none yet; whether connections must step down.
///
/// # Errors
/// [`StoreError::Url`] if the role passes by policies without being a superuser: it could not step down.
pub(crate) async fn protect(conn: &mut PgConnection) -> Result<bool, StoreError> {
    let sql = "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user";
    let row = sqlx::query(sql).fetch_one(&mut *conn).await?;
    let (is_super, bypasses): (bool, bool) = (row.try_get("rolsuper")?, row.try_get("rolbypassrls")?);
    if bypasses && !is_super {
        return Err(StoreError::Url("its role passes by row-level security: take BYPASSRLS from it".into()));
    }
    // One replica at a time; the lock ends with the transaction, and so does half a work.
    let mut script = String::from("BEGIN; SELECT pg_advisory_xact_lock(7232450199);");
    script.push_str(POLICIES);
    if is_super {
        tracing::info!(role = ROLE, "the database role is a superuser: connections step down");
        script.push_str(&GRANTS.replace("{role}", ROLE));
    }
    script.push_str("COMMIT;");
    sqlx::raw_sql(AssertSqlSafe(script)).execute(conn).await?;
    Ok(is_super)
}

/// Readies a fresh connection.
pub(crate) async fn enter(conn: &mut PgConnection, steps_down: bool) -> Result<(), sqlx::Error> {
    if steps_down {
        sqlx::raw_sql(AssertSqlSafe(format!("SET ROLE {ROLE}"))).execute(conn).await?;
    }
    Ok(())
}

/// The settings stand in sub-selects, so a statement reads them once and not for every row. Refresh tokens belong to
/// sessions, which the platform looks up before it knows a tenant.
const POLICIES: &str = "
DO $$
DECLARE
    protected regclass;
    platform constant text := '(SELECT current_setting(''aegis.scope'', true)) = ''platform''';
    own constant text := 'tenant_id = (SELECT current_setting(''aegis.tenant'', true))';
BEGIN
    FOR protected IN
        SELECT c.oid FROM pg_class c
        WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace
          AND (c.relname = 'refresh_tokens' OR EXISTS (
              SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped))
          AND NOT EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'tenant_isolation')
    LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', protected);
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', protected);
        EXECUTE format('CREATE POLICY tenant_isolation ON %s USING (%s)', protected,
            CASE WHEN protected = 'refresh_tokens'::regclass THEN platform ELSE own || ' OR ' || platform END);
    END LOOP;
END $$;
";

/// Two databases of one cluster may make the role at once: whoever comes second finds it.
const GRANTS: &str = "
DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN
        CREATE ROLE {role} NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
DO $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO {role}', current_schema());
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO {role}', current_schema());
    EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA %I TO {role}', current_schema());
END $$;
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestStore;
    use aegis_core::id::TenantId;
    use sqlx::Connection as _;

    /// A connection as the control plane's own are, outside the store.
    async fn raw(t: &TestStore) -> PgConnection {
        let mut conn = PgConnection::connect(&t.url).await.unwrap();
        enter(&mut conn, true).await.unwrap();
        conn
    }

    async fn tenants_seen(conn: &mut PgConnection, table: &str) -> Vec<String> {
        let sql = format!("SELECT DISTINCT tenant_id FROM {table} ORDER BY tenant_id");
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(conn).await.unwrap()
    }

    async fn set(conn: &mut PgConnection, tenant: &str, scope: &str) {
        let sql = "SELECT set_config('aegis.tenant', $1, false), set_config('aegis.scope', $2, false)";
        sqlx::query(sql).bind(tenant).bind(scope).execute(conn).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn raw_sql_sees_and_writes_the_named_tenant_only() {
        let t = TestStore::postgres().await;
        let (one, two): (TenantId, TenantId) = (t.tenant().await, t.tenant().await);
        let mut conn = raw(&t).await;
        for table in ["tenants", "ledger_heads", "ledger_entries", "audit_rows", "snapshot_items", "source_cursors"] {
            assert_eq!(tenants_seen(&mut conn, table).await, Vec::<String>::new(), "{table} without a setting");
            set(&mut conn, &one.to_string(), "tenant").await;
            assert_eq!(tenants_seen(&mut conn, table).await, [one.to_string()], "{table}");
            set(&mut conn, "", "platform").await;
            assert_eq!(tenants_seen(&mut conn, table).await.len(), 2, "{table} for the platform");
            set(&mut conn, "", "").await;
        }
        set(&mut conn, &one.to_string(), "tenant").await;
        let rename = "UPDATE tenants SET name = 'stolen' WHERE tenant_id = $1";
        let touched = sqlx::query(rename).bind(two.to_string()).execute(&mut conn).await.unwrap();
        assert_eq!(touched.rows_affected(), 0);
        let wiped = sqlx::query("DELETE FROM snapshot_items WHERE tenant_id = $1").bind(two.to_string());
        assert_eq!(wiped.execute(&mut conn).await.unwrap().rows_affected(), 0);
        let plant = "INSERT INTO kill_switches VALUES ($1, true, 0, 'x', 'x', 0, 'x')";
        let planted = sqlx::query(plant).bind(two.to_string()).execute(&mut conn).await;
        assert!(planted.unwrap_err().to_string().contains("row-level security"));
        sqlx::query(plant).bind(one.to_string()).execute(&mut conn).await.unwrap();
        let tokens: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM refresh_tokens").fetch_one(&mut conn).await.unwrap();
        assert_eq!(tokens, 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_table_of_tenants_is_protected_from_its_owner_too() {
        let t = TestStore::postgres().await;
        let mut conn = PgConnection::connect(&t.url).await.unwrap();
        let bare: Vec<String> = sqlx::query_scalar(
            "SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' \
             WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace \
             AND NOT (c.relrowsecurity AND c.relforcerowsecurity \
                      AND EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid))",
        )
        .fetch_all(&mut conn)
        .await
        .unwrap();
        assert_eq!(bare, Vec::<String>::new());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_tenants_transaction_finds_nothing_of_another_even_if_asked_for_it() {
        let t = TestStore::postgres().await;
        let (one, two) = (t.tenant().await, t.tenant().await);
        let mut db = t.store.read(one).await.unwrap();
        assert!(crate::tenant::get(&mut db, two).await.unwrap().is_none());
        assert!(crate::ledger::Head::read(&mut db, two).await.is_err());
        assert_eq!(crate::tenant::count(&mut db).await.unwrap(), 1);
    }
}
