//! The members of a bundle `aegis-bundle/1`, and how to read them side by side.

use std::io::{BufReader, Read};

use aegis_core::json;
use aegis_ledger::hash::Hash;
use serde_json::Value as Json;

use crate::archive::{ArchiveError, Members};
use crate::canonical;
use crate::lines::{LINE_BYTES_MAX, LineError, Lines};
use crate::log::Presented;
use crate::verdict::{Check, Findings};

/// The format.
pub const FORMAT: &str = "aegis-bundle/1";
/// Entries that a segment spans.
pub const SEGMENT: u64 = 65_536;
/// Bytes of a line of disclosed payloads at most.
const DISCLOSED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the bundle says of itself.
pub const MANIFEST: &str = "manifest.json";
/// Checkpoints by size.
pub const CHECKPOINTS: &str = "checkpoints.ndjson";
/// Where daily statements stand.
pub const STATEMENTS: &str = "statements.ndjson";
/// Payloads with their salts.
pub const DISCLOSED: &str = "disclosed.ndjson";

/// The member with the entries of a segment.
pub fn entries_name(segment: u64) -> String {
    format!("entries/{segment:012}.ndjson")
}

/// The member with the leaf hashes of a segment.
pub fn leaves_name(segment: u64) -> String {
    format!("leaves/{segment:012}.bin")
}

/// The segment that a member belongs to; absent if it is of neither kind.
pub fn segment_of(name: &str) -> Option<u64> {
    let number = name
        .strip_prefix("entries/")
        .and_then(|n| n.strip_suffix(".ndjson"))
        .or_else(|| name.strip_prefix("leaves/").and_then(|n| n.strip_suffix(".bin")))?;
    let number: u64 = (number.len() == 12).then(|| number.parse().ok())??;
    // One number, one name.
    (entries_name(number) == name || leaves_name(number) == name).then_some(number)
}

/// What the bundle says of itself; nothing of it is believed, but it must not contradict the rest.
#[derive(Debug, Clone, Default)]
pub struct Manifest {
    /// The log's name.
    pub origin: String,
    /// The tenant.
    pub tenant: String,
    /// Entries the log has.
    pub size: u64,
}

impl Manifest {
    /// Reads the member.
    pub fn read(bundle: &dyn Members, findings: &mut Findings) -> Self {
        let mut text = String::new();
        let outcome = match bundle.open(MANIFEST) {
            Ok(Some(member)) => member.take(LINE_BYTES_MAX as u64).read_to_string(&mut text).is_ok(),
            Ok(None) | Err(_) => false,
        };
        let object = if outcome { canonical::read(text.trim_end_matches('\n'), 8).ok() } else { None };
        let read = object.as_ref().and_then(|o| {
            let origin = o.text("origin")?.to_owned();
            let tenant = o.text("tenant_id")?.to_owned();
            (o.text("format") == Some(FORMAT)).then_some(Self { origin, tenant, size: o.unsigned("size")? })
        });
        read.unwrap_or_else(|| {
            findings.fault(Check::Archive, None, format!("{MANIFEST} is missing or not of `{FORMAT}`"));
            Self::default()
        })
    }
}

/// The lines of a member that may be absent. A line that cannot be read is a fault and ends the member.
pub struct Member<'a> {
    name: String,
    lines: Option<Lines<Box<dyn Read + 'a>>>,
}

impl<'a> Member<'a> {
    /// Opens a member of lines.
    pub fn open(bundle: &'a dyn Members, name: &str, findings: &mut Findings) -> Self {
        let bytes_max = if name == DISCLOSED { DISCLOSED_BYTES_MAX } else { LINE_BYTES_MAX };
        let opened = opened(bundle, name, findings);
        Self { name: name.to_owned(), lines: opened.map(|r| Lines::new(r, bytes_max)) }
    }

    /// Reads the next line; false at the end.
    pub fn next_into(&mut self, line: &mut String, findings: &mut Findings) -> bool {
        let Some(lines) = &mut self.lines else { return false };
        match lines.next_into(line) {
            Ok(true) => return true,
            Ok(false) => {}
            Err(e @ (LineError::Io(..) | LineError::Form(..))) => {
                findings.fault(Check::Archive, None, format!("{}: {e}", self.name));
            }
        }
        self.lines = None;
        false
    }

    /// Notes that the line read last is wrong.
    pub fn fault(&self, check: Check, detail: &str, findings: &mut Findings) {
        let number = self.lines.as_ref().map_or(0, Lines::number);
        findings.fault(check, None, format!("{}, line {number}: {detail}", self.name));
    }
}

fn opened<'a>(bundle: &'a dyn Members, name: &str, findings: &mut Findings) -> Option<Box<dyn Read + 'a>> {
    match bundle.open(name) {
        Ok(member) => member,
        Err(e @ (ArchiveError::Io(_) | ArchiveError::Form(_))) => {
            findings.fault(Check::Archive, None, format!("{name}: {e}"));
            None
        }
    }
}

/// The leaf hashes of a segment.
pub struct Leaves<'a>(Option<BufReader<Box<dyn Read + 'a>>>);

impl<'a> Leaves<'a> {
    /// Opens those of a segment.
    pub fn open(bundle: &'a dyn Members, segment: u64, findings: &mut Findings) -> Self {
        let member = opened(bundle, &leaves_name(segment), findings);
        Self(member.map(|m| BufReader::with_capacity(64 * 1024, m)))
    }
}

impl Iterator for Leaves<'_> {
    type Item = Hash;

    /// The next one; absent at the end, also at one that is cut.
    fn next(&mut self) -> Option<Hash> {
        let mut bytes = [0; 32];
        self.0.as_mut()?.read_exact(&mut bytes).ok()?;
        Some(Hash::from_bytes(bytes))
    }
}

/// The checkpoints of a bundle, by size.
pub struct Checkpoints<'a> {
    member: Member<'a>,
    line: String,
    next: Option<Presented>,
    size: u64,
}

impl<'a> Checkpoints<'a> {
    /// Opens them.
    pub fn open(bundle: &'a dyn Members, findings: &mut Findings) -> Self {
        let member = Member::open(bundle, CHECKPOINTS, findings);
        let mut checkpoints = Self { member, line: String::new(), next: None, size: 0 };
        checkpoints.advance(findings);
        checkpoints
    }

    fn advance(&mut self, findings: &mut Findings) {
        self.next = None;
        while self.member.next_into(&mut self.line, findings) {
            let object = canonical::read(&self.line, 2).ok();
            let note = object.filter(|o| o.members().len() == 1).and_then(|o| o.text("note").map(str::to_owned));
            let Some(read) = note.and_then(|note| Presented::read(note, "the bundle's checkpoint")) else {
                self.member.fault(Check::Checkpoint, "not a checkpoint", findings);
                continue;
            };
            if read.checkpoint.size < self.size {
                self.member.fault(Check::Order, "a smaller checkpoint than the one before", findings);
                continue;
            }
            self.size = read.checkpoint.size;
            self.next = Some(read);
            return;
        }
    }

    /// Takes the next one of at most this size.
    pub fn take_until(&mut self, size: u64, findings: &mut Findings) -> Option<Presented> {
        let taken = self.next.take_if(|p| p.checkpoint.size <= size)?;
        self.advance(findings);
        Some(taken)
    }
}

/// Payloads that are disclosed, by index.
pub struct Disclosed<'a> {
    member: Member<'a>,
    line: String,
    next: Option<Disclosure>,
}

/// A payload with its salt.
#[derive(Debug)]
pub struct Disclosure {
    /// Whose.
    pub index: u64,
    /// The salt.
    pub salt: Vec<u8>,
    /// What went in.
    pub payload: Option<Json>,
    /// What came out, exactly as it was released.
    pub result: Option<String>,
}

impl<'a> Disclosed<'a> {
    /// Opens them.
    pub fn open(bundle: &'a dyn Members, findings: &mut Findings) -> Self {
        let member = Member::open(bundle, DISCLOSED, findings);
        let mut disclosed = Self { member, line: String::new(), next: None };
        disclosed.advance(findings);
        disclosed
    }

    fn advance(&mut self, findings: &mut Findings) {
        self.next = None;
        while self.member.next_into(&mut self.line, findings) {
            self.next = disclosure(&self.line);
            match &self.next {
                Some(_) => return,
                None => self.member.fault(Check::Commitment, "not a disclosed payload", findings),
            }
        }
    }

    /// Takes the next one for this index; those before it belong to no entry of the bundle.
    pub fn take_at(&mut self, index: u64, findings: &mut Findings) -> Option<Disclosure> {
        while let Some(stray) = self.next.take_if(|d| d.index < index) {
            let detail = "a disclosed payload of no entry, or out of order";
            findings.fault(Check::Commitment, Some(stray.index), detail);
            self.advance(findings);
        }
        let taken = self.next.take_if(|d| d.index == index)?;
        self.advance(findings);
        Some(taken)
    }
}

fn disclosure(line: &str) -> Option<Disclosure> {
    use base64::Engine as _;
    let Json::Object(mut map) = json::parse(line.as_bytes()).ok()? else { return None };
    let salt = map.get("salt")?.as_str()?.to_owned();
    Some(Disclosure {
        index: map.get("index")?.as_u64()?,
        salt: base64::engine::general_purpose::STANDARD.decode(salt).ok()?,
        payload: map.remove("payload"),
        result: map.get("result").and_then(Json::as_str).map(str::to_owned),
    })
}
