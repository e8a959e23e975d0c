//! What was signed last, outside the database: so that a database put back from a backup is noticed.
//!
//! One file for each tenant. It is changed only by comparing and swapping under a lock, and never backwards; replicas
//! share the folder.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aegis_core::id::TenantId;
use aegis_ledger::hash::Hash;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// Bytes a record has at most.
const RECORD_MAX: u64 = 256 * 1024;

/// The last checkpoint that was signed for a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// The epoch of its log.
    pub(super) epoch: u64,
    /// Entries it covers.
    pub(super) size: u64,
    /// The tree's root.
    pub(super) root: Hash,
    /// The signed note; absent while the epoch has none.
    pub(super) note: Option<String>,
    /// The signed note that sealed the epoch before; absent in the first.
    pub(super) sealed: Option<String>,
}

impl Record {
    /// Whether this may follow another: a later epoch, a larger tree, or the same one.
    fn follows(&self, before: &Self) -> bool {
        let same = self.root == before.root || before.note.is_none();
        self.epoch > before.epoch
            || (self.epoch == before.epoch && (self.size > before.size || (self.size == before.size && same)))
    }
}

/// The folder of records.
#[derive(Debug, Clone)]
pub(super) struct Records {
    dir: PathBuf,
}

impl Records {
    /// Makes the folder if it is not there.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(|e| fault(dir, &e))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The tenant's record, if it has one.
    pub(super) fn read(&self, tenant: TenantId) -> Result<Option<Record>, StoreError> {
        let path = self.path(tenant);
        match fs::metadata(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(fault(&path, &e)),
            Ok(facts) if facts.len() > RECORD_MAX => return Err(fault(&path, &"it is too long")),
            Ok(_) => {}
        }
        let bytes = fs::read(&path).map_err(|e| fault(&path, &e))?;
        serde_json::from_slice(&bytes).map(Some).map_err(|e| fault(&path, &e))
    }

    /// Replaces the record if it still is `expected` and the new one may follow it. It lasts when this returns.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] `changed_meanwhile` if it is another one, `backwards` if the new one may not follow.
    pub(super) fn swap(&self, tenant: TenantId, expected: Option<&Record>, new: &Record) -> Result<(), StoreError> {
        let path = self.path(tenant);
        // The lock ends with the process, however that ends.
        let lock = self.dir.join(format!("{tenant}.lock"));
        let lock_file = options().open(&lock).map_err(|e| fault(&lock, &e))?;
        lock_file.lock().map_err(|e| fault(&lock, &e))?;
        let found = self.read(tenant)?;
        if found.as_ref() != expected {
            return Err(StoreError::Conflict { what: "checkpoint record", reason: "changed_meanwhile" });
        }
        if found.is_some_and(|before| !new.follows(&before)) {
            return Err(StoreError::Conflict { what: "checkpoint record", reason: "backwards" });
        }
        self.replace(&path, new).map_err(|e| fault(&path, &e))
    }

    /// Writes aside and renames: a process that dies here leaves the record before or the new one, whole.
    fn replace(&self, path: &Path, new: &Record) -> std::io::Result<()> {
        let aside = path.with_extension("new");
        let mut file = options().truncate(true).open(&aside)?;
        file.write_all(&serde_json::to_vec(new)?)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        File::open(&self.dir)?.sync_all()
    }

    fn path(&self, tenant: TenantId) -> PathBuf {
        self.dir.join(format!("{tenant}.json"))
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options
}

fn fault(path: &Path, reason: &dyn std::fmt::Display) -> StoreError {
    StoreError::Record { path: path.display().to_string(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn record(epoch: u64, size: u64) -> Record {
        let root = Hash::of(&[&size.to_be_bytes()]);
        Record { epoch, size, root, note: Some(format!("note {size}")), sealed: None }
    }

    fn reason(error: StoreError) -> &'static str {
        match error {
            StoreError::Conflict { reason, .. } => reason,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn it_goes_forward_only_and_only_from_what_was_seen() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        let tenant = TenantId::from_uuid(Uuid::from_u128(1));
        assert_eq!(records.read(tenant).unwrap(), None);
        records.swap(tenant, None, &record(1, 5)).unwrap();
        assert_eq!(reason(records.swap(tenant, None, &record(1, 6)).unwrap_err()), "changed_meanwhile");
        assert_eq!(reason(records.swap(tenant, Some(&record(1, 4)), &record(1, 6)).unwrap_err()), "changed_meanwhile");
        assert_eq!(reason(records.swap(tenant, Some(&record(1, 5)), &record(1, 4)).unwrap_err()), "backwards");
        let forked = Record { root: Hash::of(&[b"fork"]), ..record(1, 5) };
        assert_eq!(reason(records.swap(tenant, Some(&record(1, 5)), &forked).unwrap_err()), "backwards");
        records.swap(tenant, Some(&record(1, 5)), &record(2, 0)).unwrap();
        assert_eq!(reason(records.swap(tenant, Some(&record(2, 0)), &record(1, 9)).unwrap_err()), "backwards");
        assert_eq!(Records::open(dir.path()).unwrap().read(tenant).unwrap(), Some(record(2, 0)));
    }

    #[test]
    fn of_many_writers_at_once_one_wins_each_step() {
        let dir = tempfile::tempdir().unwrap();
        let tenant = TenantId::from_uuid(Uuid::from_u128(1));
        let records = Records::open(dir.path()).unwrap();
        let wins: u64 = std::thread::scope(|scope| {
            let tasks: Vec<_> = (0..8)
                .map(|_| {
                    let records = Records::open(dir.path()).unwrap();
                    scope.spawn(move || {
                        let mut wins = 0;
                        while let before = records.read(tenant).unwrap()
                            && before.as_ref().is_none_or(|b| b.size < 40)
                        {
                            let next = record(1, before.as_ref().map_or(1, |b| b.size + 1));
                            wins += u64::from(records.swap(tenant, before.as_ref(), &next).is_ok());
                        }
                        wins
                    })
                })
                .collect();
            tasks.into_iter().map(|task| task.join().unwrap()).sum()
        });
        assert_eq!((wins, records.read(tenant).unwrap().unwrap().size), (40, 40));
    }

    #[test]
    fn a_damaged_record_is_an_error_not_a_new_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let tenant = TenantId::from_uuid(Uuid::from_u128(1));
        let records = Records::open(dir.path()).unwrap();
        fs::write(dir.path().join(format!("{tenant}.json")), b"{").unwrap();
        assert!(matches!(records.read(tenant), Err(StoreError::Record { .. })));
        assert!(matches!(records.swap(tenant, None, &record(1, 1)), Err(StoreError::Record { .. })));
    }
}
