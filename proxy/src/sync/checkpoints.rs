//! Checkpoints that the control plane has shown, kept and shown back: so it cannot show others another log.

use std::collections::BTreeMap;
use std::sync::Arc;

use aegis_core::id::TenantId;
use aegis_ledger::checkpoint::{Checkpoint, log_of};
use aegis_ledger::note::Note;
use parking_lot::Mutex;

use crate::cache::{self, Cache};

/// Tenants whose checkpoints are kept at most.
const TENANTS_MAX: usize = 1_000;
/// The name under which they are kept.
const STATE: &str = "checkpoints";

/// The newest checkpoint of each tenant's log.
pub struct Checkpoints {
    kept: Mutex<BTreeMap<TenantId, String>>,
    cache: Arc<dyn Cache>,
}

impl std::fmt::Debug for Checkpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Checkpoints({})", self.kept.lock().len())
    }
}

/// What a signed note says; its signature is for those to judge who know the key.
fn read(note: &str) -> Option<(TenantId, u64, Checkpoint)> {
    let said = Checkpoint::parse(Note::parse(note).ok()?.text()).ok()?;
    let (tenant, epoch) = log_of(&said.origin)?;
    Some((tenant, epoch, said))
}

impl Checkpoints {
    /// Those that the cache kept.
    pub fn restore(cache: Arc<dyn Cache>) -> Self {
        let kept = cache::state(&*cache, STATE).unwrap_or_default();
        Self { kept: Mutex::new(kept), cache }
    }

    /// Keeps what an answer showed, where it is newer. What is older, or another tree of the same size, is not: the
    /// one before goes on being shown, for the control plane to explain. May block on the disk.
    pub fn keep(&self, notes: &[String]) {
        let mut kept = self.kept.lock();
        let before = kept.clone();
        for note in notes {
            let Some((tenant, epoch, said)) = read(note) else {
                tracing::warn!("the control plane showed what is no checkpoint");
                continue;
            };
            if let Some((_, known_epoch, known)) = kept.get(&tenant).and_then(|note| read(note)) {
                let grows = (epoch, said.size) > (known_epoch, known.size);
                let same = (epoch, said.size, said.root) == (known_epoch, known.size, known.root);
                if !grows && !same {
                    tracing::error!(tenant_id = %tenant, known = known.size, shown = said.size,
                        "the control plane shows an older or another log than before");
                    continue;
                }
            } else if kept.len() >= TENANTS_MAX {
                continue;
            }
            kept.insert(tenant, note.clone());
        }
        if *kept != before {
            cache::set_state(&*self.cache, STATE, &*kept);
        }
    }

    /// All of them, to be shown.
    pub fn shown(&self) -> Vec<String> {
        self.kept.lock().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::SledCache;
    use aegis_ledger::checkpoint::origin;
    use aegis_ledger::hash::Hash;
    use aegis_ledger::signing::PrivateKey;

    fn note(tenant: u128, epoch: u64, size: u64, root: &[u8]) -> String {
        let tenant = TenantId::from_uuid(uuid::Uuid::from_u128(tenant));
        let origin = origin("local", tenant, epoch);
        let said = Checkpoint { origin, size, root: Hash::of(&[root]), extensions: Vec::new() };
        said.sign(&PrivateKey::from_seed(&[1; 32])).unwrap().to_string()
    }

    #[test]
    fn the_newest_of_each_log_is_kept_over_a_restart_and_never_an_older_one() {
        let folder = tempfile::tempdir().unwrap();
        let cache: Arc<dyn Cache> = Arc::new(SledCache::open(folder.path()).unwrap());
        let checkpoints = Checkpoints::restore(Arc::clone(&cache));
        let (first, second, other) = (note(1, 1, 5, b"a"), note(1, 1, 9, b"b"), note(2, 1, 3, b"c"));
        checkpoints.keep(&[first.clone(), other.clone()]);
        checkpoints.keep(std::slice::from_ref(&second));
        for worse in [first, note(1, 1, 9, b"fork"), "no note".into()] {
            checkpoints.keep(&[worse]);
            assert_eq!(checkpoints.shown(), [second.clone(), other.clone()]);
        }
        let restored = Checkpoints::restore(cache);
        assert_eq!(restored.shown(), checkpoints.shown());
        // A log that was sealed goes on under another name, and may be smaller.
        let sealed = note(1, 2, 4, b"d");
        restored.keep(std::slice::from_ref(&sealed));
        assert_eq!(restored.shown(), [sealed, other]);
    }
}
