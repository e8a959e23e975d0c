//! Base64 and hexadecimal runs that turn out to be text.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Runs that are tried in one text.
const BLOBS_MAX: usize = 4;
/// Shorter base64 runs are words and ids.
const BASE64_BYTES_MIN: usize = 16;
/// Shorter hexadecimal runs are ids and numbers.
const HEX_BYTES_MIN: usize = 16;
/// So many bytes are decoded first, to see whether it is text at all.
const PROBE_BYTES: usize = 48;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The texts inside the runs.
pub(super) fn decoded(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let is_run = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_');
    let mut rest = text.as_bytes();
    while found.len() < BLOBS_MAX && rest.len() >= HEX_BYTES_MIN.min(BASE64_BYTES_MIN) {
        let start = rest.iter().position(is_run).unwrap_or(rest.len());
        rest = rest.get(start..).unwrap_or_default();
        let end = rest.iter().position(|b| !is_run(b)).unwrap_or(rest.len());
        let (run, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        rest = after;
        found.extend(from_hex(run).or_else(|| from_base64(run)));
    }
    found
}

fn from_hex(run: &[u8]) -> Option<String> {
    let digits = run.strip_prefix(b"0x").unwrap_or(run);
    let plausible =
        digits.len() >= HEX_BYTES_MIN && digits.len().is_multiple_of(2) && digits.iter().all(u8::is_ascii_hexdigit);
    if !plausible || !is_text(&hex::decode(digits.get(..PROBE_BYTES).unwrap_or(digits)).ok()?) {
        return None;
    }
    hex::decode(digits).ok().filter(|d| is_text(d)).and_then(|d| String::from_utf8(d).ok())
}

fn from_base64(run: &[u8]) -> Option<String> {
    if run.len() < BASE64_BYTES_MIN || run.len() % 4 == 1 {
        return None;
    }
    let probe = standard(run.get(..PROBE_BYTES).unwrap_or(run));
    if !is_text(&LENIENT.decode(&probe).ok()?) {
        return None;
    }
    LENIENT.decode(standard(run)).ok().filter(|d| is_text(d)).and_then(|d| String::from_utf8(d).ok())
}

fn standard(run: &[u8]) -> Vec<u8> {
    run.iter()
        .map(|b| match b {
            b'-' => b'+',
            b'_' => b'/',
            b => *b,
        })
        .collect()
}

/// Nearly all printable ASCII. Random bytes are that with odds of one in thousands at twelve bytes.
fn is_text(bytes: &[u8]) -> bool {
    let printable = bytes.iter().filter(|b| matches!(b, b' '..=b'~' | b'\n' | b'\r' | b'\t')).count();
    !bytes.is_empty() && printable * 20 >= bytes.len() * 19
}
