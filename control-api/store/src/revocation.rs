//! Revocations, and what every replica keeps in memory to judge credentials.

use aegis_core::id::{AgentId, TokenId, UserId};
use aegis_core::snapshot::{Change, Item, Revocation};
use aegis_core::time::Timestamp;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::Sql;
use crate::tx::WriteTx;

/// Changes one call of [`credential_changes_since`] returns at most.
pub const CHANGES_MAX: u64 = 5_000;

/// Voids one token until its natural end.
pub fn token(tx: &mut WriteTx, jti: TokenId, expires_at: Timestamp) {
    tx.item_put(&Item::Revocation(Revocation::Token { jti, expires_at }));
}

/// Voids all tokens of a user that were issued until now.
pub fn user(tx: &mut WriteTx, user_id: UserId) {
    let issued_until = tx.now();
    tx.item_put(&Item::Revocation(Revocation::User { user_id, issued_until }));
}

/// Voids all tokens of an agent that were issued until now.
pub fn agent(tx: &mut WriteTx, agent_id: AgentId) {
    let issued_until = tx.now();
    tx.item_put(&Item::Revocation(Revocation::Agent { agent_id, issued_until }));
}

/// Forgets revocations made before a moment at which every token they void has ended. Nobody needs to be told: to
/// those that still hold them they say nothing any more.
pub async fn prune(db: &mut Conn, made_before: Timestamp) -> Result<u64, StoreError> {
    let sql = Sql::new("DELETE FROM snapshot_items WHERE item_key LIKE 'revocation/%' AND changed_at < $1");
    db.execute(sql.bind(made_before)).await
}

/// Changes after `since` of the items that decide about credentials, of every tenant, oldest first, at most
/// [`CHANGES_MAX`]: tenants, API keys, revocations and token keys.
pub async fn credential_changes_since(db: &mut Conn, since: u64) -> Result<Vec<Change>, StoreError> {
    let sql = Sql::new(
        "SELECT version, tenant_id, item_key, item FROM snapshot_items WHERE version > $1 \
         AND (item_key = 'tenant' OR item_key LIKE 'api_key/%' OR item_key LIKE 'revocation/%' \
         OR item_key LIKE 'token_key/%') ORDER BY version LIMIT $2",
    );
    let rows = db.fetch_all(sql.bind(since).bind(CHANGES_MAX)).await?;
    rows.iter()
        .map(|row| {
            let item = match row.maybe::<String>("item")? {
                None => None,
                Some(text) => Some(serde_json::from_str(&text).map_err(StoreError::corrupt)?),
            };
            Ok(Change {
                version: row.get("version")?,
                tenant_id: row.get("tenant_id")?,
                key: row.get("item_key")?,
                item,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::both;
    use crate::testing::admin;
    use aegis_core::entropy::SystemEntropy;
    use std::time::Duration;

    both! {
        async fn revocations_are_seen_by_every_replica_and_forgotten_in_time(t: TestStore) {
            let tenant = t.tenant().await;
            let mut db = t.store.read_platform().await.unwrap();
            let seen = credential_changes_since(&mut db, 0).await.unwrap().last().unwrap().version;
            drop(db);
            let jti = TokenId::generate(t.store.now(), &SystemEntropy);
            let mut tx = t.store.write(tenant).await.unwrap();
            token(&mut tx, jti, t.store.now());
            tx.record(admin("auth.logout", "token")).await.unwrap().commit().await.unwrap();
            let mut db = t.again().await.read_platform().await.unwrap();
            let changes = credential_changes_since(&mut db, seen).await.unwrap();
            assert_eq!(changes.len(), 1);
            assert_eq!(changes[0].key, format!("revocation/token/{jti}"));
            drop(db);
            let mut upkeep = t.store.upkeep().await.unwrap();
            assert_eq!(prune(&mut upkeep, t.store.now()).await.unwrap(), 0);
            assert_eq!(prune(&mut upkeep, t.store.now().plus(Duration::from_secs(1))).await.unwrap(), 1);
            upkeep.commit().await.unwrap();
        }
    }
}
