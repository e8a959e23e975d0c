//! `fs.read`, `fs.write`, `fs.list`: files in one folder that no path leads out of.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::Deserialize;
use serde_json::{Value, json};

use super::fault::ToolFault;

/// Bytes of a file that is read or written at most.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;
/// Entries of a listing at most.
pub const ENTRIES_MAX: usize = 1_000;

/// The payload of `fs.read`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// Path below the sandbox folder.
    pub path: PathBuf,
}

/// The payload of `fs.write`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// Path below the sandbox folder.
    pub path: PathBuf,
    /// The new content.
    pub content: String,
}

/// The payload of `fs.list`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Path below the sandbox folder; the folder itself by default.
    #[serde(default)]
    pub path: PathBuf,
}

/// The sandbox folder, held open.
#[derive(Clone)]
pub struct Folder {
    root: Arc<OwnedFd>,
}

impl Folder {
    /// Opens the folder.
    ///
    /// # Errors
    /// If it does not exist or is not a folder.
    pub fn open(root: &Path) -> Result<Self, ToolFault> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, Mode::empty()).map_err(std::io::Error::from)?;
        Ok(Self { root: Arc::new(root) })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// `outside_sandbox`, `not_found`, `limit_reached`.
    pub fn read(&self, payload: &Read) -> Result<Value, ToolFault> {
        let mut file = File::from(self.reach(&payload.path, OFlags::RDONLY | OFlags::NONBLOCK)?);
        if !file.metadata()?.is_file() {
            return Err(ToolFault::BadPayload(format!("{} is not a file", payload.path.display())));
        }
        let mut content = Vec::new();
        (&mut file).take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut content)?;
        if content.len() > FILE_BYTES_MAX {
            return Err(ToolFault::LimitReached(format!("the file is larger than {FILE_BYTES_MAX} bytes")));
        }
        let bytes = content.len();
        Ok(match String::from_utf8(content) {
            Ok(text) => json!({ "path": payload.path, "bytes": bytes, "content": text }),
            Err(e) => json!({ "path": payload.path, "bytes": bytes, "content_base64": BASE64.encode(e.as_bytes()) }),
        })
    }

    /// Writes a file, making the folders on its way.
    ///
    /// # Errors
    /// `outside_sandbox`, `limit_reached`, or what the disk says.
    pub fn write(&self, payload: &Write) -> Result<Value, ToolFault> {
        if payload.content.len() > FILE_BYTES_MAX {
            return Err(ToolFault::LimitReached(format!("`content` is larger than {FILE_BYTES_MAX} bytes")));
        }
        let path = beneath(&payload.path)?;
        let mut made = PathBuf::new();
        for part in path.parent().unwrap_or(Path::new("")).components() {
            let parent = self.reach(&made, OFlags::DIRECTORY | OFlags::RDONLY)?;
            match rustix::fs::mkdirat(&parent, part.as_os_str(), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => made.push(part),
                Err(e) => return Err(std::io::Error::from(e).into()),
            }
        }
        let mut file = File::from(self.reach(&path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?);
        file.write_all(payload.content.as_bytes())?;
        Ok(json!({ "path": payload.path, "bytes": payload.content.len() }))
    }

    /// Lists a folder by name.
    ///
    /// # Errors
    /// `outside_sandbox`, `not_found`.
    pub fn list(&self, payload: &List) -> Result<Value, ToolFault> {
        let folder = self.reach(&payload.path, OFlags::DIRECTORY | OFlags::RDONLY)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&folder).map_err(std::io::Error::from)? {
            let entry = entry.map_err(std::io::Error::from)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push((name, entry.file_type().is_dir()));
            }
        }
        names.sort();
        let truncated = names.len() > ENTRIES_MAX;
        names.truncate(ENTRIES_MAX);
        let entries: Vec<Value> = names
            .into_iter()
            .map(|(name, is_dir)| json!({ "name": name, "kind": if is_dir { "folder" } else { "file" } }))
            .collect();
        Ok(json!({ "path": payload.path, "entries": entries, "truncated": truncated }))
    }

    /// Opens a path below the folder; the kernel itself refuses every way out, symlinks included.
    fn reach(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, ToolFault> {
        let mut path = beneath(path)?;
        if path.as_os_str().is_empty() {
            path.push(".");
        }
        let mode = if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o644) } else { Mode::empty() };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&*self.root, &path, flags | OFlags::CLOEXEC, mode, resolve).map_err(|e| match e {
            Errno::LOOP | Errno::XDEV => ToolFault::OutsideSandbox(format!("{} leads through a link", path.display())),
            Errno::NOENT => ToolFault::NotFound(format!("{} does not exist", path.display())),
            Errno::NOTDIR | Errno::ISDIR => ToolFault::BadPayload(format!("{}: {e}", path.display())),
            e => ToolFault::Io(e.into()),
        })
    }
}

fn beneath(path: &Path) -> Result<PathBuf, ToolFault> {
    path.components()
        .filter(|part| !matches!(part, Component::CurDir))
        .map(|part| match part {
            Component::Normal(name) => Ok(name),
            _ => Err(ToolFault::OutsideSandbox("paths are relative to the sandbox folder and hold no `..`".into())),
        })
        .collect()
}

/// Puts a few files into an empty sandbox.
///
/// # Errors
/// If they can't be written.
pub fn seed(root: &Path) -> Result<(), ToolFault> {
    let files = [
        ("readme.txt", "Files of the sample tools. Agents read and write here, and nowhere else.\n"),
        (
            "reports/2026-q1.csv",
            "month,orders,revenue_cents\n2026-01,251,4810220\n2026-02,243,4690115\n2026-03,268,5033870\n",
        ),
        ("notes/shipping.md", "# Shipping\n\nOrders placed before noon leave the same day.\n"),
    ];
    for (path, content) in files {
        let path = root.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        if !path.exists() {
            std::fs::write(path, content)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("files");
        std::fs::create_dir(&root).unwrap();
        seed(&root).unwrap();
        std::fs::write(dir.path().join("outside.txt"), "secret").unwrap();
        std::os::unix::fs::symlink(dir.path().join("outside.txt"), root.join("link.txt")).unwrap();
        std::os::unix::fs::symlink("..", root.join("up")).unwrap();
        let folder = Folder::open(&root).unwrap();
        (dir, folder)
    }

    fn read(folder: &Folder, path: &str) -> Result<Value, ToolFault> {
        folder.read(&Read { path: path.into() })
    }

    #[test]
    fn what_is_written_can_be_listed_and_read() {
        let (_dir, folder) = folder();
        folder.write(&Write { path: "a/b/c.txt".into(), content: "hello".into() }).unwrap();
        assert_eq!(read(&folder, "a/b/c.txt").unwrap()["content"], "hello");
        let listing = folder.list(&List { path: "a".into() }).unwrap();
        assert_eq!(listing["entries"], json!([{ "name": "b", "kind": "folder" }]));
        assert!(matches!(read(&folder, "a/none"), Err(ToolFault::NotFound(_))));
    }

    #[test]
    fn no_path_leads_out() {
        let (_dir, folder) = folder();
        for path in ["../outside.txt", "/etc/passwd", "reports/../../outside.txt", "link.txt", "up/outside.txt"] {
            assert!(matches!(read(&folder, path), Err(ToolFault::OutsideSandbox(_))), "{path}");
            let write = folder.write(&Write { path: path.into(), content: "x".into() });
            assert!(matches!(write, Err(ToolFault::OutsideSandbox(_))), "{path}");
        }
        assert!(matches!(folder.list(&List { path: "up".into() }), Err(ToolFault::OutsideSandbox(_))));
    }
}
