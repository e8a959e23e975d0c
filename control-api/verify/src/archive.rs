//! The bundle's container: a plain zip file, read member by member in constant memory. Strict: one reading only.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

use flate2::read::DeflateDecoder;

/// Members an archive may have at most.
pub const MEMBERS_MAX: u64 = 100_000;
/// Bytes of a member's name at most.
pub const NAME_MAX: usize = 64;
/// Bytes of the directory at most.
const DIRECTORY_MAX: u64 = 32 * 1024 * 1024;

const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const CENTRAL: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";
const END_BYTES: u64 = 22;
const LOCATOR_BYTES: u64 = 20;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// Why a file is not a bundle's archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is no zip file of the form that bundles have.
    #[error("not a bundle's archive: {0}")]
    Form(&'static str),
}

use ArchiveError::Form;

/// Bytes that can be read at any place, by several readers at once.
pub trait Medium {
    /// How many.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads some at a place; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
}

/// An open file of known length.
#[derive(Debug)]
pub struct FileMedium {
    file: File,
    len: u64,
}

impl FileMedium {
    /// Opens a file.
    pub fn open(path: &std::path::Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }
}

impl Medium for FileMedium {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buffer, at)
    }
}

impl Medium for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }
}

/// Named streams: a bundle, or one that was tampered with.
pub trait Members {
    /// The names, in order.
    fn names(&self) -> Vec<String>;

    /// Opens a member; absent if there is none of this name.
    fn open(&self, name: &str) -> Result<Option<Box<dyn Read + '_>>, ArchiveError>;
}

struct Member {
    offset: u64,
    stored_bytes: u64,
    bytes: u64,
    method: u16,
}

/// A zip file.
pub struct Archive<M> {
    medium: M,
    members: BTreeMap<String, Member>,
}

impl<M: Medium> Archive<M> {
    /// Reads the directory.
    pub fn open(medium: M) -> Result<Self, ArchiveError> {
        let (entries, at, bytes) = directory(&medium)?;
        if entries > MEMBERS_MAX || bytes > DIRECTORY_MAX {
            return Err(Form("too many members"));
        }
        let table = read_exact(&medium, at, bytes)?;
        let mut members = BTreeMap::new();
        let mut rest = Fields(&table);
        for _ in 0..entries {
            let (name, member) = central(&mut rest)?;
            // Two members of one name would have two readings.
            if members.insert(name, member).is_some() {
                return Err(Form("a name twice"));
            }
        }
        if rest.0.is_empty() { Ok(Self { medium, members }) } else { Err(Form("its directory is longer than it says")) }
    }
}

impl<M: Medium> Members for Archive<M> {
    fn names(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Read + '_>>, ArchiveError> {
        let Some(member) = self.members.get(name) else { return Ok(None) };
        let header = read_exact(&self.medium, member.offset, 30)?;
        let mut fields = Fields(&header);
        fields.expect(LOCAL)?;
        fields.skip(22)?;
        let (name_bytes, extra_bytes) = (fields.u16()?, fields.u16()?);
        let local_name = read_exact(&self.medium, member.offset + 30, u64::from(name_bytes))?;
        if local_name != name.as_bytes() {
            return Err(Form("a member is named in two ways"));
        }
        let from = member.offset + 30 + u64::from(name_bytes) + u64::from(extra_bytes);
        let stored = Range { medium: &self.medium, at: from, end: from.saturating_add(member.stored_bytes) };
        let stored = io::BufReader::with_capacity(64 * 1024, stored);
        Ok(Some(match member.method {
            STORED => Box::new(stored.take(member.bytes)),
            _ => Box::new(DeflateDecoder::new(stored).take(member.bytes)),
        }))
    }
}

struct Range<'a, M> {
    medium: &'a M,
    at: u64,
    end: u64,
}

impl<M: Medium> Read for Range<'_, M> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.medium.read_at(buffer.get_mut(..left).unwrap_or_default(), self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// How many members there are, where their directory begins, and its length.
fn directory<M: Medium>(medium: &M) -> Result<(u64, u64, u64), ArchiveError> {
    let end_at = medium.len().checked_sub(END_BYTES).ok_or(Form("too short"))?;
    let end = read_exact(medium, end_at, END_BYTES)?;
    let mut fields = Fields(&end);
    // A comment could hide another end: bundles have none.
    fields.expect(END).map_err(|_| Form("no directory at its end"))?;
    fields.skip(6)?;
    let (entries, bytes, at) = (fields.u16()?, fields.u32()?, fields.u32()?);
    if fields.u16()? != 0 {
        return Err(Form("a comment"));
    }
    let locator = match end_at.checked_sub(LOCATOR_BYTES) {
        Some(at) => read_exact(medium, at, LOCATOR_BYTES)?,
        None => Vec::new(),
    };
    let mut fields = Fields(&locator);
    if fields.expect(LOCATOR_64).is_err() {
        return Ok((entries.into(), at.into(), bytes.into()));
    }
    fields.skip(4)?;
    let end = read_exact(medium, fields.u64()?, 56)?;
    let mut fields = Fields(&end);
    fields.expect(END_64)?;
    fields.skip(28)?;
    let (entries, bytes, at) = (fields.u64()?, fields.u64()?, fields.u64()?);
    Ok((entries, at, bytes))
}

fn central(rest: &mut Fields<'_>) -> Result<(String, Member), ArchiveError> {
    rest.expect(CENTRAL)?;
    rest.skip(4)?;
    let (flags, method) = (rest.u16()?, rest.u16()?);
    rest.skip(8)?;
    let (mut stored_bytes, mut bytes) = (u64::from(rest.u32()?), u64::from(rest.u32()?));
    let (name_bytes, extra_bytes, comment_bytes) = (rest.u16()?, rest.u16()?, rest.u16()?);
    rest.skip(8)?;
    let mut offset = u64::from(rest.u32()?);
    let name = rest.take(name_bytes.into())?;
    let mut extra = Fields(rest.take(extra_bytes.into())?);
    rest.take(comment_bytes.into())?;
    while !extra.0.is_empty() {
        let (id, length) = (extra.u16()?, extra.u16()?);
        let mut field = Fields(extra.take(length.into())?);
        // Zip64: only those that did not fit above, in this order.
        if id == 1 {
            for value in [&mut bytes, &mut stored_bytes, &mut offset] {
                if *value == u64::from(u32::MAX) {
                    *value = field.u64()?;
                }
            }
        }
    }
    let name = std::str::from_utf8(name).map_err(|_| Form("a member's name"))?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'-');
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(plain) {
        return Err(Form("a member's name"));
    }
    if flags & 1 != 0 || !matches!(method, STORED | DEFLATED) {
        return Err(Form("a member is encrypted or compressed in an unknown way"));
    }
    Ok((name.to_owned(), Member { offset, stored_bytes, bytes, method }))
}

fn read_exact<M: Medium>(medium: &M, at: u64, bytes: u64) -> Result<Vec<u8>, ArchiveError> {
    let end = at.checked_add(bytes).filter(|end| *end <= medium.len()).ok_or(Form("it is cut off"))?;
    let mut out = Vec::new();
    Range { medium, at, end }.read_to_end(&mut out)?;
    if out.len() as u64 == bytes { Ok(out) } else { Err(Form("it is cut off")) }
}

/// Little-endian fields, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ArchiveError> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Form("a field is cut off"))?;
        self.0 = rest;
        Ok(head)
    }

    fn skip(&mut self, count: usize) -> Result<(), ArchiveError> {
        self.take(count).map(drop)
    }

    fn expect(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        if self.take(bytes.len())? == bytes { Ok(()) } else { Err(Form("a header is damaged")) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ArchiveError> {
        self.take(N)?.try_into().map_err(|_| Form("a field is cut off"))
    }

    fn u16(&mut self) -> Result<u16, ArchiveError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, ArchiveError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ArchiveError> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use zip::write::SimpleFileOptions;

    fn zipped(streamed: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let deflated = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        let text = "hello ".repeat(1_000);
        if streamed {
            let mut zip = zip::ZipWriter::new_stream(&mut bytes);
            zip.start_file("a/b.txt", deflated).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
            zip.start_file("c.bin", stored).unwrap();
            zip.write_all(&[1, 2, 3]).unwrap();
            zip.finish().unwrap();
        } else {
            let mut zip = zip::ZipWriter::new(io::Cursor::new(&mut bytes));
            zip.start_file("a/b.txt", deflated.large_file(true)).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
            zip.start_file("c.bin", stored).unwrap();
            zip.write_all(&[1, 2, 3]).unwrap();
            zip.finish().unwrap();
        }
        bytes
    }

    #[test]
    fn it_reads_what_another_program_writes_and_survives_every_cut() {
        for streamed in [false, true] {
            let bytes = zipped(streamed);
            let archive = Archive::open(bytes.clone()).unwrap();
            assert_eq!(archive.names(), ["a/b.txt", "c.bin"]);
            let mut text = String::new();
            Members::open(&archive, "a/b.txt").unwrap().unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "hello ".repeat(1_000));
            let mut three = Vec::new();
            Members::open(&archive, "c.bin").unwrap().unwrap().read_to_end(&mut three).unwrap();
            assert_eq!(three, [1, 2, 3]);
            assert!(Members::open(&archive, "d").unwrap().is_none());
            for cut in 0..bytes.len() {
                assert!(Archive::open(bytes[..cut].to_vec()).is_err(), "{cut}");
            }
        }
    }
}
