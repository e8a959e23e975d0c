//! The body and the end line of a private key, in plain text or inside JSON strings.

use crate::detect::secret_kinds::PEM_BYTES_MAX;

/// Longest end line: dashes, label, dashes.
const END_LINE_BYTES_MAX: usize = 80;

/// How far into a key's body a redactor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct PemBody {
    seen: usize,
}

impl PemBody {
    /// How many of the bytes belong to the key, and whether it ends there. Without that, more bytes are needed.
    pub(super) fn swallow(&mut self, bytes: &[u8], complete: bool) -> (usize, bool) {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if self.seen >= PEM_BYTES_MAX {
                return (at, true);
            }
            let rest = bytes.get(at..).unwrap_or_default();
            let length = match byte {
                b'-' if rest.starts_with(b"-----") || (rest.len() < 5 && rest.iter().all(|b| *b == b'-')) => {
                    match end_line(rest) {
                        EndLine::Complete(length) => return (at + length, true),
                        EndLine::Partial if !complete => return (at, false),
                        EndLine::Partial | EndLine::Other => return (at, true),
                    }
                }
                b'\\' => match rest.get(1) {
                    Some(b'n' | b'r' | b't' | b'/' | b'\\') => 2,
                    None if !complete => return (at, false),
                    Some(_) | None => return (at, true),
                },
                b if b.is_ascii_alphanumeric() || b.is_ascii_whitespace() => 1,
                b'+' | b'/' | b'=' | b':' | b',' | b'.' | b'(' | b')' | b'-' => 1,
                _ => return (at, true),
            };
            at += length;
            self.seen += length;
        }
        (at, false)
    }
}

enum EndLine {
    /// So many bytes.
    Complete(usize),
    /// What is here could become one.
    Partial,
    /// Something else that begins with dashes.
    Other,
}

fn end_line(bytes: &[u8]) -> EndLine {
    const START: &[u8] = b"-----END ";
    if bytes.len() < START.len() {
        return if START.starts_with(bytes) { EndLine::Partial } else { EndLine::Other };
    }
    let Some(label) = bytes.strip_prefix(START) else { return EndLine::Other };
    let is_label = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b' ';
    match label.iter().take(END_LINE_BYTES_MAX).position(|b| !is_label(b)) {
        None if label.len() < END_LINE_BYTES_MAX => EndLine::Partial,
        None => EndLine::Other,
        Some(end) => {
            let dashes = label.get(end..).unwrap_or_default();
            let count = dashes.iter().take(5).take_while(|b| **b == b'-').count();
            match (count, dashes.len() < 5) {
                (5, _) => EndLine::Complete(START.len() + end + 5),
                (_, true) if dashes.iter().all(|b| *b == b'-') => EndLine::Partial,
                (_, _) => EndLine::Other,
            }
        }
    }
}
