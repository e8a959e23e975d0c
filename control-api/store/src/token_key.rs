//! Token keys: the public halves that verify access tokens, the same for every tenant of a deployment.

use aegis_core::id::TenantId;
use aegis_core::snapshot::{Item, TokenKey};
use aegis_ledger::entry::Body;
use aegis_ledger::rows::Key;

use crate::error::StoreError;
use crate::sql::Sql;
use crate::store::Store;
use crate::tx::TENANTS_PER_WRITE_MAX;

/// Makes a token key known to every tenant that does not know it in this form yet; how many those were.
///
/// `state` says to the ledger why: `introduced` or `retired`. Tenants made meanwhile get every key that is known;
/// called again it goes on where it stopped, so a process that dies between two batches leaves nothing half done
/// for long.
pub async fn publish(store: &Store, key: &TokenKey, state: &str) -> Result<u64, StoreError> {
    let mut told = 0;
    loop {
        let tenants = lacking(store, key).await?;
        if tenants.is_empty() {
            return Ok(told);
        }
        told += tenants.len() as u64;
        let mut tx = store.write_all(&tenants).await?;
        tx.item_put(&Item::TokenKey(key.clone()));
        tx.record(entry(key, state)).await?.commit().await?;
    }
}

/// The ledger's entry about a token key.
pub fn entry(key: &TokenKey, state: &str) -> Body {
    Body::Key(Key {
        key_id: key.kid.clone(),
        public_key: key.x.clone(),
        purpose: "token".into(),
        state: state.into(),
        rotation: None,
    })
}

async fn lacking(store: &Store, key: &TokenKey) -> Result<Vec<TenantId>, StoreError> {
    let item = crate::sql::json(&Item::TokenKey(key.clone()))?;
    let sql = Sql::new(
        "SELECT t.tenant_id FROM tenants t WHERE NOT EXISTS (SELECT 1 FROM snapshot_items i \
         WHERE i.tenant_id = t.tenant_id AND i.item_key = $1 AND i.item = $2) ORDER BY t.tenant_id LIMIT $3",
    );
    let sql = sql.bind(format!("token_key/{}", key.kid)).bind(item).bind(TENANTS_PER_WRITE_MAX as u64);
    let mut db = store.read_platform().await?;
    db.fetch_all(sql).await?.iter().map(|row| row.get("tenant_id")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::both;
    use crate::revocation;

    both! {
        async fn every_tenant_knows_a_published_key_once(t: TestStore) {
            let (one, two) = (t.tenant().await, t.tenant().await);
            let key = TokenKey { kid: "k1".into(), x: "x".into(), not_after: None };
            assert_eq!(publish(&t.store, &key, "introduced").await.unwrap(), 2);
            assert_eq!(publish(&t.store, &key, "introduced").await.unwrap(), 0);
            let three = t.tenant().await;
            let mut db = t.store.read_platform().await.unwrap();
            let knowing: Vec<_> = revocation::credential_changes_since(&mut db, 0).await.unwrap().into_iter()
                .filter(|c| c.item == Some(Item::TokenKey(key.clone()))).map(|c| c.tenant_id).collect();
            assert_eq!(knowing.len(), 3);
            assert!([one, two, three].iter().all(|t| knowing.contains(t)));
        }
    }
}
