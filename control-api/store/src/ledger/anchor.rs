//! What was signed about a ledger's tree: verification compares the tree with it on the way.

use std::collections::VecDeque;

use aegis_core::id::TenantId;
use aegis_ledger::hash::Hash;

use super::day::DAYS_MAX;
use super::{checkpoint, day, log_key};
use crate::conn::Conn;
use crate::error::StoreError;
use crate::store::Store;

/// A root that was signed for a size.
pub(super) struct Anchor {
    pub(super) size: u64,
    pub(super) root: Hash,
    pub(super) what: String,
    /// What is wrong with it before any entry is looked at.
    pub(super) fault: Option<String>,
}

/// The checkpoints and daily roots within the range, by size.
pub(super) async fn anchors(
    db: &mut Conn,
    store: &Store,
    tenant: TenantId,
    (from, end): (u64, u64),
) -> Result<VecDeque<Anchor>, StoreError> {
    let keys = log_key::keys(db, tenant).await?;
    let own = store.control().checkpoint_keys().current();
    let epoch = checkpoint::epoch(db, tenant).await?;
    let mut anchors = Vec::new();
    for stored in checkpoint::list(db, tenant, epoch, from).await? {
        let what = format!("the checkpoint of {} entries", stored.size);
        let said = log_key::open(&keys, &stored.note);
        let fault = match said {
            Ok(said) if (said.size, said.root) == (stored.size, stored.root) => None,
            Ok(_) => Some(format!("{what} is filed under another size or root")),
            Err(e) => Some(format!("{what}: {e}")),
        };
        anchors.push(Anchor { size: stored.size, root: stored.root, what, fault });
    }
    for sealed in day::list(db, tenant, None, None, DAYS_MAX).await? {
        let what = format!("the root of {}", sealed.day);
        let named = &sealed.statement.public_key_fingerprint;
        let fault = match keys.by_id(named) {
            Some(known) if known.ended_at.is_some_and(|end| end < sealed.index) => {
                Some(format!("{what}: signed with a key that was given up before"))
            }
            known => {
                // One that the ledger does not know yet is ours, or nobody's.
                let key = known.map_or_else(|| own.private.public(), |known| known.key);
                sealed.statement.verify(&key).err().map(|e| format!("{what}: {e}"))
            }
        };
        anchors.push(Anchor { size: sealed.size_to, root: sealed.root, what, fault });
    }
    anchors.retain(|anchor| anchor.size > from && anchor.size <= end);
    anchors.sort_by_key(|anchor| anchor.size);
    Ok(anchors.into())
}
