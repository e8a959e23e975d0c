//! The trace a call belongs to: W3C Trace Context in, a child of it out.

use aegis_core::entropy::{self, Entropy};

/// A position in a trace: whose child our own work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The trace.
    pub trace_id: [u8; 16],
    /// Whether the caller named the trace; else it is ours to name.
    pub is_callers: bool,
    /// The caller's span, if it told one.
    pub parent: Option<[u8; 8]>,
    /// Our own span.
    pub span_id: [u8; 8],
    /// Whether the caller records the trace.
    pub sampled: bool,
}

impl Trace {
    /// From `traceparent`, else from `X-Trace-ID` (32 hex digits), else a new one.
    pub fn read(traceparent: Option<&str>, trace_id: Option<&str>, entropy: &dyn Entropy) -> Self {
        let span_id = entropy::random(entropy);
        if let Some((trace_id, parent, sampled)) = traceparent.and_then(parse) {
            return Self { trace_id, is_callers: true, parent: Some(parent), span_id, sampled };
        }
        let given = trace_id.and_then(read_hex::<16>);
        let (is_callers, trace_id) = (given.is_some(), given.unwrap_or_else(|| entropy::random(entropy)));
        Self { trace_id, is_callers, parent: None, span_id, sampled: false }
    }

    /// The `traceparent` for what we call.
    pub fn traceparent(&self) -> String {
        let flags = if self.sampled { "01" } else { "00" };
        format!("00-{}-{}-{flags}", hex::encode(self.trace_id), hex::encode(self.span_id))
    }

    /// The trace's id, 32 hex digits.
    pub fn id(&self) -> String {
        hex::encode(self.trace_id)
    }
}

/// Version 00: `00-<trace id>-<parent id>-<flags>`, lower-case hex, neither id all zeros.
fn parse(text: &str) -> Option<([u8; 16], [u8; 8], bool)> {
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // A later version may say more behind; version 00 may not.
    if version.len() != 2 || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = read_flags(flags)?;
    Some((read_hex(trace)?, read_hex(parent)?, flags & 1 == 1))
}

fn read_flags(text: &str) -> Option<u8> {
    (text.len() == 2).then(|| u8::from_str_radix(text, 16).ok()).flatten()
}

fn read_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let bytes: [u8; N] = hex::decode(text).ok()?.try_into().ok()?;
    (bytes != [0; N]).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_core::entropy::SystemEntropy;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_callers_trace_goes_on_with_our_own_span() {
        let trace = Trace::read(Some(PARENT), None, &SystemEntropy);
        assert_eq!(trace.id(), "0af7651916cd43dd8448eb211c80319c");
        assert!(
            trace.traceparent().starts_with("00-0af7651916cd43dd8448eb211c80319c-")
                && trace.traceparent().ends_with("-01")
        );
        assert!(!trace.traceparent().contains("b7ad6b7169203331"));
    }

    #[test]
    fn what_is_not_a_trace_begins_a_new_one() {
        for text in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            &PARENT.replace("0af7", "0AF7"),
            &format!("{PARENT}-x"),
        ] {
            assert_ne!(
                Trace::read(Some(text), None, &SystemEntropy).id(),
                "0af7651916cd43dd8448eb211c80319c",
                "{text}"
            );
        }
        let zeros = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        assert_ne!(Trace::read(Some(zeros), None, &SystemEntropy).trace_id, [0; 16]);
    }

    #[test]
    fn the_trace_id_header_counts_only_without_a_traceparent() {
        let id = "11111111111111111111111111111111";
        assert_eq!(Trace::read(None, Some(id), &SystemEntropy).id(), id);
        assert_ne!(Trace::read(Some(PARENT), Some(id), &SystemEntropy).id(), id);
    }
}
