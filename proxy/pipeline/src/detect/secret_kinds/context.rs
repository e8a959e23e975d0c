//! Secrets that are known by what stands before them: addresses, `Authorization`, names like `password`.

use super::{Found, Look, NeedsMore, SecretKind, Tail, Window, run_of};

/// `user:password@host` after `://`: the password.
pub(super) fn userinfo(kind: SecretKind, window: &Window<'_>, at: usize, after: usize) -> Look<Found> {
    const AUTHORITY_BYTES_MAX: usize = 400;
    let is_authority = |b: u8| {
        !b.is_ascii_whitespace()
            && b.is_ascii_graphic()
            && !matches!(b, b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>' | b'\\' | b'`' | b',')
    };
    let Ok(length) = run_of(window, after, AUTHORITY_BYTES_MAX, is_authority) else { return Look::Undecided(at) };
    let authority = window.bytes.get(after..after + length).unwrap_or_default();
    let Some(end) = authority.iter().rposition(|b| *b == b'@') else { return Look::Nothing };
    let Some(colon) = authority.iter().position(|b| *b == b':').filter(|colon| colon + 1 < end) else {
        return Look::Nothing;
    };
    let password = authority.get(colon + 1..end).unwrap_or_default();
    if is_placeholder(password) {
        return Look::Nothing;
    }
    Look::Found(Found { kind, start: after + colon + 1, end: after + end, tail: Tail::None })
}

/// The credential after `Bearer ` or `Basic `.
pub(super) fn authorization(kind: SecretKind, window: &Window<'_>, at: usize, after: usize) -> Look<Found> {
    const TOKEN_BYTES_MIN: usize = 16;
    const TOKEN_BYTES_DECIDING: usize = 64;
    let run = match run_of(window, after, TOKEN_BYTES_DECIDING, is_credential) {
        Ok(run) => run.min(TOKEN_BYTES_DECIDING),
        Err(NeedsMore) => return Look::Undecided(at),
    };
    let token = window.bytes.get(after..after + run).unwrap_or_default();
    // A word after "bearer" has neither digits nor capitals in its middle.
    let random =
        token.iter().any(u8::is_ascii_digit) || token.iter().skip(1).filter(|b| b.is_ascii_uppercase()).count() > 2;
    if run < TOKEN_BYTES_MIN || !random {
        return Look::Nothing;
    }
    Look::Found(Found { kind, start: after, end: after + run, tail: Tail::Credential })
}

/// The alphabet of `Authorization` credentials (RFC 6750).
pub(crate) fn is_credential(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
}

/// `password = "…"`, `"client_secret": "…"`, `API_KEY=…`: a value that looks random.
pub(super) fn assignment(kind: SecretKind, window: &Window<'_>, at: usize, after: usize) -> Look<Found> {
    const NAME_BYTES_MAX: usize = 24;
    const VALUE_BYTES_MAX: usize = 256;
    let undecided = Look::Undecided(at);
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let Ok(name) = run_of(window, after, NAME_BYTES_MAX, is_name) else { return undecided };
    let Ok(between) = separator(window, after + name) else { return undecided };
    let Some(between) = between.filter(|_| name <= NAME_BYTES_MAX) else { return Look::Nothing };
    let start = after + name + between;
    let is_value = |b: u8| {
        b.is_ascii_graphic()
            && !matches!(
                b,
                b'"' | b'\''
                    | b'\\'
                    | b','
                    | b';'
                    | b'&'
                    | b'<'
                    | b'>'
                    | b'('
                    | b')'
                    | b'{'
                    | b'}'
                    | b'['
                    | b']'
                    | b'`'
            )
    };
    let Ok(length) = run_of(window, start, VALUE_BYTES_MAX, is_value) else { return undecided };
    let value = window.bytes.get(start..start + length).unwrap_or_default();
    if length > VALUE_BYTES_MAX || is_placeholder(value) || !is_random(value) {
        return Look::Nothing;
    }
    Look::Found(Found { kind, start, end: start + length, tail: Tail::None })
}

/// Quotes, blanks and one `:` or `=` between a name and its value: how many bytes, if it is that.
fn separator(window: &Window<'_>, from: usize) -> Result<Option<usize>, NeedsMore> {
    const SEPARATOR_BYTES_MAX: usize = 12;
    let is_part = |b: u8| matches!(b, b' ' | b'\t' | b':' | b'=' | b'"' | b'\'' | b'\\' | b'>');
    let length = run_of(window, from, SEPARATOR_BYTES_MAX, is_part)?;
    let text = window.bytes.get(from..from + length).unwrap_or_default();
    let assigns = text.iter().filter(|b| matches!(b, b':' | b'=')).count();
    Ok((length <= SEPARATOR_BYTES_MAX && (1..=2).contains(&assigns)).then_some(length))
}

/// What documentation and templates write instead of a secret.
fn is_placeholder(value: &[u8]) -> bool {
    let stands_in = value.first().is_none_or(|b| matches!(b, b'$' | b'<' | b'{' | b'%' | b'*' | b'['));
    let lower = value.to_ascii_lowercase();
    let same = value.first().is_some_and(|first| value.iter().all(|b| b == first));
    let words: [&[u8]; 6] = [b"password", b"passwd", b"pass", b"secret", b"changeme", b"redacted"];
    stands_in
        || same
        || words.contains(&lower.as_slice())
        || lower.starts_with(b"your")
        || lower.starts_with(b"example")
}

/// Letters and digits mixed in a length that no word has; ids in UUID form are not secrets.
fn is_random(value: &[u8]) -> bool {
    let digits = value.iter().filter(|b| b.is_ascii_digit()).count();
    let lower = value.iter().any(u8::is_ascii_lowercase);
    let upper = value.iter().any(u8::is_ascii_uppercase);
    let sign = value.iter().any(|b| !b.is_ascii_alphanumeric());
    let classes = usize::from(digits > 0) + usize::from(lower) + usize::from(upper) + usize::from(sign);
    let long = value.len() >= 20 && digits >= 2 && (lower || upper);
    !is_uuid(value) && !is_address(value) && (long || (value.len() >= 10 && classes >= 3 && digits > 0))
}

fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value
            .iter()
            .enumerate()
            .all(|(i, b)| if matches!(i, 8 | 13 | 18 | 23) { *b == b'-' } else { b.is_ascii_hexdigit() })
}

/// File names, addresses and references name a secret without being one.
fn is_address(value: &[u8]) -> bool {
    value.windows(3).any(|w| w == b"://")
        || memchr::memchr_iter(b'/', value).nth(1).is_some()
        || value.starts_with(b"/")
}
