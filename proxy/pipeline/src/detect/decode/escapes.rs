//! Percent, entity and backslash escapes, as lenient as the servers that attackers aim at.

/// Percent-decoding, `%uXXXX` and overlong UTF-8 included. The flag says that a character was hidden: spelled in
/// too many bytes, or a NUL.
pub(super) fn percent(text: &str) -> Option<(String, bool)> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let (mut wide, mut private) = (false, false);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = bytes.get(at + 1..).unwrap_or_default();
        if byte != b'%' {
            out.push(byte);
            at += 1;
        } else if let Some(value) = hex_pair(rest) {
            out.push(value);
            at += 3;
        } else if let Some(value) = twice_spelled(rest) {
            out.push(value);
            at += 8;
        } else if let Some(c) =
            rest.split_first().filter(|(u, _)| u.eq_ignore_ascii_case(&b'u')).and_then(|(_, r)| hex_quad(r))
        {
            // No text needs characters of private use; servers map some of them to slashes.
            let c = if ('\u{e000}'..='\u{f8ff}').contains(&c) { '/' } else { c };
            private |= c == '/';
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            wide = true;
            at += 6;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    let (decoded, overlong) = lenient_utf8(&out);
    let hidden = overlong || private || (decoded.contains('\0') && !text.contains('\0'));
    let decoded = if wide { super::fold::folded(&decoded).unwrap_or(decoded) } else { decoded };
    (decoded != text).then_some((decoded, hidden))
}

/// UTF-8 where overlong forms are read as what they spell; the flag says that there were such.
fn lenient_utf8(bytes: &[u8]) -> (String, bool) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return (text.to_owned(), false);
    }
    let mut out = String::with_capacity(bytes.len());
    let mut overlong = 0;
    let mut rest = bytes;
    while let Some((&lead, after)) = rest.split_first() {
        let (value, length) = match rest {
            [0xc0 | 0xc1, low @ (b'.' | b'/' | b'\\' | b'^'), ..] => (*low, 2),
            [0xc0 | 0xc1, low @ 0x80..=0xff, ..] => (((lead & 1) << 6) | (low & 0x3f), 2),
            [0xe0, 0x80 | 0x81, low, ..] => (low & 0x3f | if rest.get(1) == Some(&0x81) { 0x40 } else { 0 }, 3),
            [0xf0, 0x80, 0x80 | 0x81, low, ..] => (low & 0x3f | if rest.get(2) == Some(&0x81) { 0x40 } else { 0 }, 4),
            [0xf8, 0x80, 0x80, 0x80, low, ..] => (low & 0x3f, 5),
            [0xfc, 0x80, 0x80, 0x80, 0x80, low, ..] => (low & 0x3f, 6),
            _ => (0, 0),
        };
        if length > 0 && value >= 0x20 {
            out.push(char::from(value));
            overlong += 1;
            rest = rest.get(length..).unwrap_or_default();
        } else if lead < 0x80 {
            out.push(char::from(lead));
            rest = after;
        } else {
            let length = rest.utf8_chunks().next().map_or(0, |c| c.valid().len());
            let (valid, tail) = rest.split_at_checked(length.max(1)).unwrap_or((rest, &[]));
            out.push_str(std::str::from_utf8(valid).unwrap_or("\u{fffd}"));
            rest = tail;
        }
    }
    (out, overlong > 0)
}

/// HTML entities: the named ones that matter for markup, and numbers.
pub(super) fn entities(text: &str) -> Option<String> {
    const ENTITY_BYTES_MAX: usize = 10;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let head = after.as_bytes().get(..ENTITY_BYTES_MAX).unwrap_or(after.as_bytes());
        let end = head.iter().position(|b| *b == b';');
        if let Some(c) = end.and_then(|end| after.get(..end)).and_then(entity) {
            out.push(c);
            rest = end.and_then(|end| after.get(end + 1..)).unwrap_or("");
        } else {
            out.push('&');
            rest = after;
        }
    }
    out.push_str(rest);
    (out != text).then_some(out)
}

fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let value = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        return value.ok().and_then(char::from_u32);
    }
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" | "Tab" => ' ',
        "NewLine" => '\n',
        "sol" => '/',
        "bsol" => '\\',
        "colon" => ':',
        "semi" => ';',
        "lpar" => '(',
        "rpar" => ')',
        "period" => '.',
        _ => return None,
    })
}

/// `\x41`, `\u0041` and `\101`, where there are at least two of them.
pub(super) fn backslash(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut count = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = bytes.get(at + 1..).unwrap_or_default();
        let (escaped, length) = match rest {
            [b'x' | b'X', hex @ ..] if byte == b'\\' => (hex_pair(hex).map(char::from), 4),
            [b'u', hex @ ..] if byte == b'\\' => (hex_quad(hex), 6),
            [a @ b'0'..=b'1', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if byte == b'\\' => {
                (Some(char::from((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'))), 4)
            }
            _ => (None, 1),
        };
        if let Some(c) = escaped {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            count += 1;
            at += length;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    (count >= 2).then(|| String::from_utf8_lossy(&out).into_owned())
}

/// The byte behind the `%` of `%%32%%65`: digits that are themselves encoded.
fn twice_spelled(rest: &[u8]) -> Option<u8> {
    match rest {
        [b'%', a, b, b'%', b'%', c, d, ..] => hex_pair(&[hex_pair(&[*a, *b])?, hex_pair(&[*c, *d])?]),
        _ => None,
    }
}

fn hex_pair(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [high, low, ..] => Some(digit(*high)? * 16 + digit(*low)?),
        _ => None,
    }
}

fn hex_quad(bytes: &[u8]) -> Option<char> {
    let high = u32::from(hex_pair(bytes)?);
    let low = u32::from(hex_pair(bytes.get(2..)?)?);
    char::from_u32(high * 256 + low)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok())
}
