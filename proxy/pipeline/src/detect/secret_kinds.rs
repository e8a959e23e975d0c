//! The one table of secret kinds: what detectors look for in arguments and the redactor removes from answers.
//!
//! Every kind begins at a rare literal, its anchor; only there a closer look is taken. The look sees a window of a
//! stream and may say that it must see more, so that any cutting of the stream gives the same matches.

mod context;
mod table;

use aho_corasick::AhoCorasick;
use aho_corasick::packed;

pub(crate) use self::context::is_credential;
use self::table::{RULES, Shape};

/// Bytes after an anchor within which every kind is decided.
pub(crate) const DECISION_BYTES_MAX: usize = 1_200;
/// Bytes before an anchor that a look may consider.
pub(crate) const CONTEXT_BYTES: usize = 72;
/// Bytes of a private key that are removed at most, should its end never come.
pub(crate) const PEM_BYTES_MAX: usize = 65_536;

/// What kind of secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecretKind {
    /// A PEM or `OpenPGP` private key.
    PrivateKey,
    /// A key in a provider's documented format, by the provider's name.
    ProviderKey(&'static str),
    /// The password in an address.
    ConnectionString,
    /// A JSON Web Token.
    Jwt,
    /// The credential of an `Authorization` header.
    BearerToken,
    /// A random-looking value of a field that is named like a secret.
    InContext,
}

impl SecretKind {
    /// The word for it in redacted text and counts.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::PrivateKey => "private_key",
            Self::ProviderKey(provider) => provider,
            Self::ConnectionString => "connection_string",
            Self::Jwt => "jwt",
            Self::BearerToken => "bearer_token",
            Self::InContext => "secret",
        }
    }
}

/// A part of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'a> {
    /// The bytes, some context first.
    pub(crate) bytes: &'a [u8],
    /// Nothing before this index may be part of a match: it is gone, or already matched.
    pub(crate) floor: usize,
    /// Whether the stream ends here.
    pub(crate) complete: bool,
}

/// What belongs to a match beyond its end, however long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing.
    None,
    /// The rest of a JSON Web Token: base64url and dots.
    Jwt,
    /// The rest of an `Authorization` credential.
    Credential,
    /// The body and the end line of a private key.
    Pem,
}

/// A match in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// What.
    pub(crate) kind: SecretKind,
    /// Its first byte.
    pub(crate) start: usize,
    /// After its last byte.
    pub(crate) end: usize,
    /// What else goes with it.
    pub(crate) tail: Tail,
}

/// The outcome of a closer look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look<T> {
    /// It is one.
    Found(T),
    /// It is none.
    Nothing,
    /// The window ends too early to say; a match could begin at this index.
    Undecided(usize),
}

/// Finds anchors; vectorised where the machine can.
#[derive(Debug)]
pub(crate) struct SecretScanner {
    packed: Option<packed::Searcher>,
    automaton: AhoCorasick,
}

impl SecretScanner {
    /// Compiles the anchors.
    ///
    /// # Panics
    /// Never: the table is a constant and compiled by every test.
    pub(crate) fn new() -> Self {
        let anchors = || RULES.iter().map(|rule| rule.anchor);
        let packed =
            packed::Config::new().match_kind(packed::MatchKind::LeftmostFirst).builder().extend(anchors()).build();
        let automaton = AhoCorasick::builder()
            .match_kind(aho_corasick::MatchKind::LeftmostFirst)
            .build(anchors())
            .unwrap_or_else(|error| panic!("the table of secret kinds does not compile: {error}"));
        Self { packed, automaton }
    }

    /// The next anchor at or after `from`: where it begins, and its rule.
    pub(crate) fn next_anchor(&self, bytes: &[u8], from: usize) -> Option<(usize, usize)> {
        if from >= bytes.len() {
            return None;
        }
        if let Some(packed) = &self.packed {
            packed.find_in(bytes, (from..bytes.len()).into()).map(|m| (m.start(), m.pattern().as_usize()))
        } else {
            let input = aho_corasick::Input::new(bytes).range(from..);
            self.automaton.find(input).map(|m| (m.start(), m.pattern().as_usize()))
        }
    }

    /// The closer look at an anchor.
    pub(crate) fn look(window: &Window<'_>, at: usize, rule: usize) -> Look<Found> {
        RULES.get(rule).map_or(Look::Nothing, |rule| rule.look(window, at))
    }

    /// The kinds of the secrets in a complete text.
    pub(crate) fn kinds_in<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = SecretKind> + 'a {
        let (mut from, mut floor) = (0, 0);
        std::iter::from_fn(move || {
            while let Some((at, rule)) = self.next_anchor(bytes, from) {
                from = at + 1;
                if let Look::Found(found) = Self::look(&Window { bytes, floor, complete: true }, at, rule) {
                    (from, floor) = (found.end.max(from), found.end);
                    return Some(found.kind);
                }
            }
            None
        })
    }
}

/// One anchor and what must follow it.
#[derive(Debug)]
pub(crate) struct Rule {
    anchor: &'static str,
    kind: SecretKind,
    shape: Shape,
}

impl Rule {
    fn look(&self, window: &Window<'_>, at: usize) -> Look<Found> {
        let after = at + self.anchor.len();
        match self.shape {
            Shape::Token { body, least, most, mixed } => {
                // A run of a class that holds dashes is looked at from its beginning only.
                let inside = body(b'-')
                    && at > window.floor
                    && at.checked_sub(1).and_then(|i| window.bytes.get(i)) == Some(&b'-');
                if inside || !starts_word(window, at) {
                    return Look::Nothing;
                }
                let run = match run_of(window, after, most, body) {
                    Ok(run) => run,
                    Err(NeedsMore) => return Look::Undecided(at),
                };
                let text = window.bytes.get(after..after + run).unwrap_or_default();
                let fits = (least..=most).contains(&run) && (!mixed || is_mixed(text));
                if fits { self.found(at, after + run, Tail::None) } else { Look::Nothing }
            }
            Shape::Jwt => self.jwt(window, at),
            Shape::Pem => self.pem(window, at, after),
            Shape::Userinfo => context::userinfo(self.kind, window, at, after),
            Shape::Scheme => context::authorization(self.kind, window, at, after),
            Shape::Assignment => context::assignment(self.kind, window, at, after),
        }
    }

    fn found(&self, start: usize, end: usize, tail: Tail) -> Look<Found> {
        Look::Found(Found { kind: self.kind, start, end, tail })
    }

    /// Three base64url parts; decided within the second, the rest goes with it.
    fn jwt(&self, window: &Window<'_>, at: usize) -> Look<Found> {
        const PART_BYTES_MIN: usize = 8;
        const HEADER_BYTES_MAX: usize = 1_024;
        if !starts_word(window, at) {
            return Look::Nothing;
        }
        let Ok(header) = run_of(window, at, HEADER_BYTES_MAX, is_base64url) else { return Look::Undecided(at) };
        let dot = at + header;
        match window.bytes.get(dot) {
            Some(b'.') if header >= PART_BYTES_MIN => {}
            Some(_) => return Look::Nothing,
            None => return if window.complete { Look::Nothing } else { Look::Undecided(at) },
        }
        match run_of(window, dot + 1, PART_BYTES_MIN, is_base64url) {
            Ok(part) if part >= PART_BYTES_MIN => self.found(at, dot + 1 + part, Tail::Jwt),
            Ok(_) => Look::Nothing,
            Err(NeedsMore) => Look::Undecided(at),
        }
    }

    /// `-----BEGIN … PRIVATE KEY-----`; the body goes with it.
    fn pem(&self, window: &Window<'_>, at: usize, after: usize) -> Look<Found> {
        const LABEL_BYTES_MAX: usize = 64;
        let is_label = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b' ';
        let Ok(label) = run_of(window, after, LABEL_BYTES_MAX, is_label) else { return Look::Undecided(at) };
        let name = window.bytes.get(after..after + label).unwrap_or_default();
        if !name.ends_with(b"PRIVATE KEY") && !name.ends_with(b"PRIVATE KEY BLOCK") {
            return Look::Nothing;
        }
        match run_of(window, after + label, 5, |b| b == b'-') {
            Ok(5) => self.found(at, after + label + 5, Tail::Pem),
            Ok(_) => Look::Nothing,
            Err(NeedsMore) => Look::Undecided(at),
        }
    }
}

/// The window ends before the run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NeedsMore;

/// How many bytes from `from` on are of the class; one more than `most` when there are more.
/// At `most` the run of a fixed-length part is complete whatever follows, so only `most + 1` bytes are seen.
pub(crate) fn run_of(
    window: &Window<'_>,
    from: usize,
    most: usize,
    is: impl Fn(u8) -> bool,
) -> Result<usize, NeedsMore> {
    let rest = window.bytes.get(from..).unwrap_or_default();
    match rest.iter().take(most + 1).position(|b| !is(*b)) {
        Some(end) => Ok(end),
        None if rest.len() > most => Ok(most + 1),
        None if window.complete => Ok(rest.len()),
        None => Err(NeedsMore),
    }
}

/// Whether a word may begin here: not in the middle of one, JSON escapes (`\n`, `\u0022`) not counted.
pub(crate) fn starts_word(window: &Window<'_>, at: usize) -> bool {
    if at <= window.floor && window.floor > 0 {
        return at == window.floor;
    }
    let before = window.bytes.get(..at).unwrap_or_default();
    match before {
        [.., b'\\', b'u', a, b, c, d] if [a, b, c, d].iter().all(|x| x.is_ascii_hexdigit()) => true,
        [.., b'%', a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => true,
        [.., b'\\', b'n' | b'r' | b't' | b'b' | b'f'] | [] => true,
        [.., last] => !last.is_ascii_alphanumeric() && *last != b'_',
    }
}

/// Base64url without padding.
pub(crate) fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Digits and letters in both cases, as in random keys; words joined by dashes have not all three.
fn is_mixed(text: &[u8]) -> bool {
    text.iter().any(u8::is_ascii_digit)
        && text.iter().any(u8::is_ascii_lowercase)
        && text.iter().any(u8::is_ascii_uppercase)
}

#[cfg(test)]
mod tests;
