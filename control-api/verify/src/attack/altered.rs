//! A bundle that was tampered with, made while it is read.

use std::collections::HashMap;
use std::io::{self, Cursor, Read};
use std::rc::Rc;

use crate::archive::{ArchiveError, Members};
use crate::lines::{LINE_BYTES_MAX, Lines};

/// What becomes of a line.
pub(super) type LineEdit = Rc<dyn Fn(&str) -> Vec<String>>;

/// What becomes of a member.
#[derive(Clone)]
pub(super) enum Edit {
    /// It is not there.
    Gone,
    /// It is these bytes.
    Is(Vec<u8>),
    /// Each line becomes others.
    Lines(LineEdit),
    /// At this byte, so many bytes give way to others.
    Splice(u64, u64, Vec<u8>),
    /// It ends at this byte.
    Cut(u64),
}

/// A bundle with some of its members tampered with.
pub(super) struct Altered<'a> {
    base: &'a dyn Members,
    edits: HashMap<String, Vec<Edit>>,
}

impl<'a> Altered<'a> {
    /// As it is.
    pub(super) fn new(base: &'a dyn Members) -> Self {
        Self { base, edits: HashMap::new() }
    }

    /// Tampers with a member, after what was done to it before.
    #[must_use]
    pub(super) fn with(mut self, name: impl Into<String>, edit: Edit) -> Self {
        self.edits.entry(name.into()).or_default().push(edit);
        self
    }
}

impl Members for Altered<'_> {
    fn names(&self) -> Vec<String> {
        let gone = |name: &String| self.edits.get(name).is_some_and(|e| matches!(e.last(), Some(Edit::Gone)));
        self.base.names().into_iter().filter(|name| !gone(name)).collect()
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Read + '_>>, ArchiveError> {
        let mut member = self.base.open(name)?;
        for edit in self.edits.get(name).into_iter().flatten() {
            member = match (edit, member) {
                (Edit::Gone, _) | (Edit::Lines(_) | Edit::Splice(..) | Edit::Cut(_), None) => None,
                (Edit::Is(bytes), _) => Some(Box::new(Cursor::new(bytes.clone()))),
                (Edit::Lines(edit), Some(member)) => {
                    let lines = Lines::new(member, LINE_BYTES_MAX);
                    Some(Box::new(Edited { lines, edit: Rc::clone(edit), out: Cursor::default(), line: String::new() }))
                }
                (Edit::Splice(at, remove, insert), Some(member)) => Some(splice(member, *at, *remove, insert)?),
                (Edit::Cut(at), Some(member)) => Some(Box::new(member.take(*at))),
            };
        }
        Ok(member)
    }
}

fn splice<'a>(
    mut member: Box<dyn Read + 'a>,
    at: u64,
    remove: u64,
    insert: &[u8],
) -> Result<Box<dyn Read + 'a>, io::Error> {
    let mut head = Vec::new();
    member.by_ref().take(at).read_to_end(&mut head)?;
    io::copy(&mut member.by_ref().take(remove), &mut io::sink())?;
    head.extend_from_slice(insert);
    Ok(Box::new(Cursor::new(head).chain(member)))
}

struct Edited<'a> {
    lines: Lines<Box<dyn Read + 'a>>,
    edit: LineEdit,
    out: Cursor<Vec<u8>>,
    line: String,
}

impl Read for Edited<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.out.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            if !self.lines.next_into(&mut self.line).map_err(io::Error::other)? {
                return Ok(0);
            }
            let mut out = Vec::new();
            for line in (self.edit)(&self.line) {
                out.extend_from_slice(line.as_bytes());
                out.push(b'\n');
            }
            self.out = Cursor::new(out);
        }
    }
}
