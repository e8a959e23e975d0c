//! Whether a place in a stream is inside a JSON string, as far as a redactor must know.

/// Bytes at the front that tell what the stream is.
const HEAD_BYTES: usize = 6;

/// Follows a stream that may be JSON, NDJSON, or server-sent events with JSON data.
#[derive(Debug, Default)]
pub(super) struct JsonState {
    head: Vec<u8>,
    in_string: bool,
    escaped: bool,
}

impl JsonState {
    /// The next bytes of the stream; those that were redacted are left out, they hold no quotes.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if self.head.len() < HEAD_BYTES {
            let skipped = if self.head.is_empty() { bytes.trim_ascii_start() } else { bytes };
            self.head.extend(skipped.iter().take(HEAD_BYTES - self.head.len()));
        }
        let mut rest = bytes;
        if self.escaped {
            self.escaped = rest.is_empty();
            rest = rest.get(1..).unwrap_or_default();
        }
        while let Some(at) = memchr::memchr3(b'"', b'\\', b'\n', rest) {
            let byte = rest.get(at);
            let mut next = at + 1;
            match byte {
                Some(b'"') => self.in_string = !self.in_string,
                Some(b'\\') if self.in_string => {
                    next += 1;
                    self.escaped = next > rest.len();
                }
                // No JSON string holds a bare line feed: whatever was thought before, it ends here.
                Some(b'\n') => self.in_string = false,
                Some(_) | None => {}
            }
            rest = rest.get(next..).unwrap_or_default();
        }
    }

    /// Whether a value stands here bare: in JSON, outside strings.
    pub(super) fn expects_value(&self) -> bool {
        let head = self.head.as_slice();
        let is_json = matches!(head, [b'{' | b'[' | b'"', ..]);
        let is_events = [&b"data:"[..], b"event:", b"id:", b":"].iter().any(|start| head.starts_with(start));
        (is_json || is_events) && !self.in_string
    }
}
