//! What the outbox asks of a disk: one folder of files. Tests put a disk that fails in its place.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};

/// Bytes written at a time where a filesystem cannot reserve space.
const ZERO_CHUNK: usize = 1 << 20;

/// One folder of files.
pub trait Disk: Send + Sync {
    /// The files' names, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new file of zeros whose space is reserved; its name lasts when this returns.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>>;
    /// The file of this name, if there is one.
    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn DiskFile>>>;
    /// Puts a small file in place of another, whole or not at all; lasts when this returns.
    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()>;
    /// Removes a file; lasts when this returns.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// One file, written and read at explicit places.
pub trait DiskFile: Send + Sync {
    /// Its length, bytes.
    fn size(&self) -> io::Result<u64>;
    /// Fills the buffer from `offset`, as far as the file goes; how much it was.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all bytes at `offset`. After an error any part of them may be there.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Returns when what was written lasts. After an error nobody knows what does.
    fn sync(&self) -> io::Result<()>;
}

/// Reads a whole file.
pub(super) fn read_whole(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let size = usize::try_from(file.size()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; size];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// A folder of the real disk, held by one process at a time.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Takes hold of the folder, making it if absent.
    ///
    /// # Errors
    /// If it cannot be made, or another process holds it.
    pub fn open(path: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path.join("lock"))?;
        lock.try_lock().map_err(|e| io::Error::other(format!("{} is in use: {e}", path.display())))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.path.join(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let reserved = reserve(&file, bytes).and_then(|()| file.sync_all()).and_then(|()| self.sync());
        if let Err(e) = reserved {
            // Half a file is of no use; one that stays is recognised by its zeros at the next start.
            drop(std::fs::remove_file(&path));
            return Err(e);
        }
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn DiskFile>>> {
        match OpenOptions::new().read(true).write(true).open(self.path.join(name)) {
            Ok(file) => Ok(Some(Arc::new(file))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let temporary = self.path.join(format!("{name}.tmp"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, self.path.join(name))?;
        self.sync()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))?;
        self.sync()
    }
}

/// Reserves space, by writing zeros where the filesystem knows no other way.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            let zeros = vec![0; ZERO_CHUNK];
            let mut at = 0;
            while at < bytes {
                let part = usize::try_from(bytes - at).unwrap_or(ZERO_CHUNK).min(ZERO_CHUNK);
                file.write_all_at(zeros.get(..part).unwrap_or_default(), at)?;
                at += part as u64;
            }
            Ok(())
        }
        Err(e) => Err(e.into()),
    }
}

impl DiskFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match std::os::unix::fs::FileExt::read_at(self, rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
