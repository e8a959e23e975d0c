//! Leases: what only one replica should do at a time. A lease saves work; what must not happen twice is guarded
//! where it happens.

use std::time::Duration;

use aegis_core::id::BootId;

use crate::error::StoreError;
use crate::sql::Sql;
use crate::store::Store;

/// Takes or renews a lease; whether this process holds it now.
pub async fn take(store: &Store, name: &str, length: Duration) -> Result<bool, StoreError> {
    let (holder, now): (BootId, _) = (store.control().boot(), store.now());
    let sql = Sql::new(
        "INSERT INTO leases (name, holder, ends) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE \
         SET holder = excluded.holder, ends = excluded.ends WHERE leases.holder = excluded.holder OR leases.ends <= $4",
    );
    let mut db = store.upkeep().await?;
    let taken = db.execute(sql.bind(name).bind(holder).bind(now.plus(length)).bind(now)).await?;
    db.commit().await?;
    Ok(taken == 1)
}

/// Gives a lease back, so that another process need not wait for its end.
pub async fn give_back(store: &Store, name: &str) -> Result<(), StoreError> {
    let sql = Sql::new("DELETE FROM leases WHERE name = $1 AND holder = $2");
    let mut db = store.upkeep().await?;
    db.execute(sql.bind(name).bind(store.control().boot())).await?;
    db.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::both;

    both! {
        async fn one_holds_it_until_it_ends_or_is_given_back(t: TestStore) {
            let other = t.again().await;
            let minute = Duration::from_mins(1);
            assert!(take(&t.store, "x", minute).await.unwrap());
            assert!(take(&t.store, "x", minute).await.unwrap());
            assert!(!take(&other, "x", minute).await.unwrap());
            t.clock.advance(minute);
            assert!(take(&other, "x", minute).await.unwrap());
            give_back(&t.store, "x").await.unwrap();
            assert!(!take(&t.store, "x", minute).await.unwrap());
            give_back(&other, "x").await.unwrap();
            assert!(take(&t.store, "x", minute).await.unwrap());
        }
    }
}
