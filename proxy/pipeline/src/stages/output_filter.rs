//! Stage 9, output filter: removes secrets, and personal data where asked, from a tool's answer as it streams by.
//!
//! A redactor keeps back only what could still become a match: the end of the last word, or an undecided
//! candidate. Every decision depends on the bytes of the stream alone, so any chunking gives the same output.

mod json_state;
mod pem;
mod personal;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::json_state::JsonState;
use self::pem::PemBody;
use self::personal::PersonalFound;
use crate::detect::secret_kinds::{
    CONTEXT_BYTES, DECISION_BYTES_MAX, Found, Look, SecretScanner, Tail, Window, is_base64url, is_credential,
};

/// Bytes of the last word that are kept back at most: longer than any anchor and what may stand before it.
const WORD_BYTES_MAX: usize = 192;
/// Bytes that a redactor holds at most between two chunks.
pub const CARRY_BYTES_MAX: usize = CONTEXT_BYTES + WORD_BYTES_MAX + DECISION_BYTES_MAX;

/// What is redacted besides secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RedactionKinds {
    /// E-mail addresses, payment cards, US social security numbers, IBANs, phone numbers.
    pub pii: bool,
}

/// The compiled tables of all redactors. Build it once; clones share.
#[derive(Debug, Clone)]
pub struct OutputFilter(Arc<SecretScanner>);

impl Default for OutputFilter {
    fn default() -> Self {
        Self::new()
    }
}

impl OutputFilter {
    /// Compiles the tables.
    pub fn new() -> Self {
        Self(Arc::new(SecretScanner::new()))
    }

    /// A redactor for one stream.
    pub fn redactor(&self, kinds: RedactionKinds) -> Redactor {
        Redactor {
            scanner: Arc::clone(&self.0),
            kinds,
            buffer: Vec::new(),
            done: 0,
            floor: 0,
            swallowing: Swallowing::Nothing,
            json: JsonState::default(),
            counts: BTreeMap::new(),
        }
    }
}

/// Redacts one stream: `push` its chunks, then `finish`.
#[derive(Debug)]
pub struct Redactor {
    scanner: Arc<SecretScanner>,
    kinds: RedactionKinds,
    /// Some bytes that are out already, as context, then what is not.
    buffer: Vec<u8>,
    /// Bytes of the buffer that are out already.
    done: usize,
    /// Nothing before this index of the buffer may be part of a match.
    floor: usize,
    swallowing: Swallowing,
    json: JsonState,
    counts: BTreeMap<&'static str, u64>,
}

/// Whether bytes still belong to the last match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Swallowing {
    Nothing,
    Jwt,
    Credential,
    Pem(PemBody),
}

/// The searcher's last answer.
#[derive(Debug, Clone, Copy)]
enum Anchor {
    Unknown,
    None,
    At(usize, usize),
}

/// A place that deserves a closer look.
#[derive(Debug, Clone, Copy)]
enum Candidate {
    Secret { at: usize, rule: usize },
    Personal { at: usize },
}

impl Candidate {
    fn at(self) -> usize {
        match self {
            Self::Secret { at, .. } | Self::Personal { at } => at,
        }
    }
}

impl Redactor {
    /// Takes the next chunk and appends to `out` what is decided.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        self.buffer.extend_from_slice(chunk);
        self.advance(false, out);
        self.compact();
    }

    /// Ends the stream and appends the rest to `out`.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.advance(true, out);
        self.compact();
    }

    /// How many matches of each kind have been redacted.
    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    fn advance(&mut self, complete: bool, out: &mut Vec<u8>) {
        if !self.swallow(complete) {
            return;
        }
        let mut from = self.done;
        let mut anchor = Anchor::Unknown;
        let mut held = None;
        while let Some(candidate) = self.next_candidate(from, &mut anchor) {
            match self.look(candidate, complete) {
                Look::Nothing => from = candidate.at() + 1,
                Look::Undecided(at) => {
                    held = Some(at);
                    break;
                }
                Look::Found(found) => {
                    self.replace(found, out);
                    if !self.swallow(complete) {
                        return;
                    }
                    from = self.done.max(candidate.at() + 1);
                }
            }
        }
        let upto = match held {
            Some(at) => self.word_start(at),
            None if complete => self.buffer.len(),
            None => self.word_start(self.buffer.len()),
        };
        self.emit(upto, out);
    }

    /// The next place at or after `from`; `anchor` remembers the searcher's last answer.
    fn next_candidate(&self, from: usize, anchor: &mut Anchor) -> Option<Candidate> {
        let secret = match *anchor {
            Anchor::None => None,
            Anchor::At(at, rule) if at >= from => Some((at, rule)),
            Anchor::Unknown | Anchor::At(..) => {
                let next = self.scanner.next_anchor(&self.buffer, from);
                *anchor = next.map_or(Anchor::None, |(at, rule)| Anchor::At(at, rule));
                next
            }
        };
        let secret = secret.map(|(at, rule)| Candidate::Secret { at, rule });
        let before = secret.map_or(self.buffer.len(), Candidate::at);
        let personal = self.kinds.pii.then(|| personal::next(&self.buffer, from, before)).flatten();
        personal.map(|at| Candidate::Personal { at }).or(secret)
    }

    fn look(&self, candidate: Candidate, complete: bool) -> Look<Replaced> {
        let window = Window { bytes: &self.buffer, floor: self.floor, complete };
        match candidate {
            Candidate::Secret { at, rule } => match SecretScanner::look(&window, at, rule) {
                Look::Found(found) => Look::Found(Replaced::from(found)),
                Look::Nothing => Look::Nothing,
                Look::Undecided(at) => Look::Undecided(at),
            },
            Candidate::Personal { at } => match personal::look(&window, at) {
                Look::Found(found) => Look::Found(Replaced::from(found)),
                Look::Nothing => Look::Nothing,
                Look::Undecided(at) => Look::Undecided(at),
            },
        }
    }

    /// Puts the word in the match's place; where JSON has a bare number, as a string.
    fn replace(&mut self, found: Replaced, out: &mut Vec<u8>) {
        self.emit(found.start, out);
        let quote: &[u8] = if self.kinds.pii && self.json.expects_value() { b"\"" } else { b"" };
        for part in [quote, b"[REDACTED:", found.name.as_bytes(), b"]", quote] {
            out.extend_from_slice(part);
        }
        *self.counts.entry(found.name).or_default() += 1;
        self.done = found.end;
        self.floor = found.end;
        self.swallowing = match found.tail {
            Tail::None => Swallowing::Nothing,
            Tail::Jwt => Swallowing::Jwt,
            Tail::Credential => Swallowing::Credential,
            Tail::Pem => Swallowing::Pem(PemBody::default()),
        };
    }

    /// Drops what still belongs to the last match. Says whether it ended within the buffer.
    fn swallow(&mut self, complete: bool) -> bool {
        let rest = self.buffer.get(self.done..).unwrap_or_default();
        let (length, ended) = match &mut self.swallowing {
            Swallowing::Nothing => return true,
            Swallowing::Jwt => run(rest, |b| is_base64url(b) || b == b'.'),
            Swallowing::Credential => run(rest, is_credential),
            Swallowing::Pem(body) => body.swallow(rest, complete),
        };
        self.done += length;
        self.floor = self.done;
        if ended || complete {
            self.swallowing = Swallowing::Nothing;
        }
        ended || complete
    }

    fn emit(&mut self, upto: usize, out: &mut Vec<u8>) {
        if let Some(bytes) = self.buffer.get(self.done..upto) {
            if self.kinds.pii {
                self.json.feed(bytes);
            }
            out.extend_from_slice(bytes);
            self.done = upto;
        }
    }

    /// Where the word that holds or ends at `at` begins, within the bytes that are not out.
    fn word_start(&self, at: usize) -> usize {
        let least = self.done.max(at.saturating_sub(WORD_BYTES_MAX));
        let word = self.buffer.get(least..at).unwrap_or_default();
        word.iter().rposition(u8::is_ascii_whitespace).map_or(least, |i| least + i + 1)
    }

    /// Forgets what is out, but for the context that the next look may need.
    fn compact(&mut self) {
        let gone = self.done.saturating_sub(CONTEXT_BYTES);
        self.buffer.drain(..gone);
        self.done -= gone;
        self.floor = self.floor.saturating_sub(gone);
    }
}

/// How many bytes at the front are of the class, and whether another follows.
fn run(bytes: &[u8], is: impl Fn(u8) -> bool) -> (usize, bool) {
    bytes.iter().position(|b| !is(*b)).map_or((bytes.len(), false), |end| (end, true))
}

/// A match, whatever its family.
#[derive(Debug, Clone, Copy)]
struct Replaced {
    name: &'static str,
    start: usize,
    end: usize,
    tail: Tail,
}

impl From<Found> for Replaced {
    fn from(found: Found) -> Self {
        Self { name: found.kind.name(), start: found.start, end: found.end, tail: found.tail }
    }
}

impl From<PersonalFound> for Replaced {
    fn from(found: PersonalFound) -> Self {
        Self { name: found.kind.as_str(), start: found.start, end: found.end, tail: Tail::None }
    }
}
