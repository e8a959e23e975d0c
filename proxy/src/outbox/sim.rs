//! A disk in memory for tests: fails, dies and loses power where told.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{Disk, DiskFile};

/// What goes wrong, counted over all operations that change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// Operations `from..from + count` fail with this error; a write leaves this share of its bytes, in 256ths.
    Fail { from: u64, count: u64, kind: io::ErrorKind, part: usize },
    /// From this operation on nothing happens any more: the process is dead. The operation itself, if a write,
    /// leaves this share of its bytes.
    Die { from: u64, part: usize },
}

#[derive(Default, Clone)]
struct Content {
    /// What a reader of the running machine sees.
    cached: Vec<u8>,
    /// What a power cut leaves.
    durable: Vec<u8>,
}

struct State {
    files: BTreeMap<String, Content>,
    fault: Fault,
    operations: u64,
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub(super) struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { files: BTreeMap::new(), fault: Fault::None, operations: 0 })))
    }

    pub(super) fn set_fault(&self, fault: Fault) {
        let mut state = self.0.lock();
        state.fault = fault;
        state.operations = 0;
    }

    pub(super) fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// The machine starts again after a power cut: only what was synced is left.
    pub(super) fn lose_power(&self) {
        for content in self.0.lock().files.values_mut() {
            content.cached = content.durable.clone();
        }
    }

    /// A copy of the disk as another start would find it.
    pub(super) fn copy(&self) -> Self {
        let files = self.0.lock().files.clone();
        Self(Arc::new(Mutex::new(State { files, fault: Fault::None, operations: 0 })))
    }

    /// Changes a file behind everyone's back.
    pub(super) fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock();
        let content = state.files.get_mut(name).unwrap();
        change(&mut content.cached);
        content.durable = content.cached.clone();
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.lock().files.keys().cloned().collect()
    }
}

impl State {
    /// Whether the next operation happens; if not, how much of a write does.
    fn step(&mut self) -> Result<(), (io::Error, usize)> {
        let at = self.operations;
        self.operations += 1;
        match self.fault {
            Fault::Fail { from, count, kind, part } if (from..from.saturating_add(count)).contains(&at) => {
                Err((kind.into(), part))
            }
            Fault::None | Fault::Fail { .. } => Ok(()),
            Fault::Die { from, .. } if at < from => Ok(()),
            Fault::Die { from, part } => Err((io::Error::other("dead"), if at == from { part } else { 0 })),
        }
    }
}

struct SimFile {
    disk: SimDisk,
    name: String,
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.step().map_err(|(e, _)| e)?;
        let zeros = vec![0; usize::try_from(bytes).unwrap()];
        assert!(!state.files.contains_key(name), "{name} exists");
        state.files.insert(name.to_owned(), Content { cached: zeros.clone(), durable: zeros });
        Ok(Arc::new(SimFile { disk: self.clone(), name: name.to_owned() }))
    }

    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn DiskFile>>> {
        let exists = self.0.lock().files.contains_key(name);
        Ok(exists.then(|| Arc::new(SimFile { disk: self.clone(), name: name.to_owned() }) as Arc<dyn DiskFile>))
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step().map_err(|(e, _)| e)?;
        state.files.insert(name.to_owned(), Content { cached: content.to_vec(), durable: content.to_vec() });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step().map_err(|(e, _)| e)?;
        state.files.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl DiskFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        let state = self.disk.0.lock();
        state.files.get(&self.name).map(|c| c.cached.len() as u64).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.0.lock();
        let content = state.files.get(&self.name).ok_or(io::ErrorKind::NotFound)?;
        let rest = content.cached.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let (take, result) = match state.step() {
            Ok(()) => (bytes.len(), Ok(())),
            Err((e, part)) => (bytes.len() * part / 256, Err(e)),
        };
        let at = usize::try_from(offset).unwrap();
        let content = state.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
        if take > 0 {
            let end = at + take;
            content.cached.resize(content.cached.len().max(end), 0);
            content.cached[at..end].copy_from_slice(&bytes[..take]);
        }
        result
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let result = state.step();
        let content = state.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
        match result {
            Ok(()) => {
                content.durable = content.cached.clone();
                Ok(())
            }
            Err((e, _)) => Err(e),
        }
    }
}
