//! Unicode folding: compatibility forms, invisible characters, letters that look like others.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// What stands in the folded bytes for a character without an ASCII likeness.
pub(crate) const OTHER: u8 = 0xff;

/// NFKC without invisible characters and with look-alikes mapped; nothing if that changes nothing.
pub(super) fn folded(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut hidden = String::new();
    for c in text.chars() {
        // Tag characters (U+E0020–E007E) spell ASCII invisibly.
        if let Some(tag) = u32::from(c).checked_sub(0xe_0000).filter(|t| (0x20..0x7f).contains(t)) {
            hidden.extend(char::from_u32(tag));
        } else if !is_invisible(c) {
            out.extend(std::iter::once(c).nfkc().map(|c| lookalike(c).unwrap_or(c)));
        }
    }
    out.push_str(&hidden);
    (out != text).then_some(out)
}

/// Lower case ASCII: accents dropped, look-alikes mapped, everything else one [`OTHER`] each.
pub(super) fn ascii_lower(text: &str) -> Vec<u8> {
    if text.is_ascii() {
        return text.as_bytes().to_ascii_lowercase();
    }
    let mut out = Vec::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            out.push(u8::try_from(c).unwrap_or(OTHER).to_ascii_lowercase());
        } else if !is_invisible(c) {
            for c in std::iter::once(c).nfkd().filter(|c| !is_combining_mark(*c)) {
                let c = lookalike(c).unwrap_or(c);
                out.push(u8::try_from(c).ok().filter(u8::is_ascii).unwrap_or(OTHER).to_ascii_lowercase());
            }
        }
    }
    out
}

fn is_invisible(c: char) -> bool {
    matches!(
        u32::from(c),
        0xad | 0x34f | 0x61c | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180e | 0x200b..=0x200f | 0x202a..=0x202e
            | 0x2060..=0x206f | 0xfe00..=0xfe0f | 0xfeff | 0xfff9..=0xfffb | 0xe_0000..=0xe_0fff
    )
}

/// The ASCII letter or sign that a reader takes this character for.
fn lookalike(c: char) -> Option<char> {
    Some(match c {
        'а' | 'ɑ' | 'α' => 'a',
        'А' | 'Α' => 'A',
        'ƅ' | 'Ь' => 'b',
        'В' | 'Β' => 'B',
        'с' | 'ϲ' | 'ᴄ' => 'c',
        'С' | 'Ϲ' => 'C',
        'ԁ' => 'd',
        'е' | 'є' => 'e',
        'Е' | 'Ε' => 'E',
        'ɡ' => 'g',
        'һ' => 'h',
        'Н' | 'Η' => 'H',
        'і' | 'ι' | 'ı' => 'i',
        'І' | 'Ι' | 'Ӏ' => 'I',
        'ј' => 'j',
        'Ј' => 'J',
        'К' | 'Κ' => 'K',
        'к' | 'κ' => 'k',
        'ӏ' => 'l',
        'М' | 'Μ' => 'M',
        'ո' => 'n',
        'Ν' => 'N',
        'о' | 'ο' | 'օ' => 'o',
        'О' | 'Ο' => 'O',
        'р' | 'ρ' => 'p',
        'Р' | 'Ρ' => 'P',
        'ԛ' => 'q',
        'ѕ' => 's',
        'Ѕ' => 'S',
        'Т' | 'Τ' => 'T',
        'т' | 'τ' => 't',
        'υ' | 'ս' => 'u',
        'ν' | 'ѵ' => 'v',
        'ԝ' => 'w',
        'х' | 'χ' => 'x',
        'Х' | 'Χ' => 'X',
        'у' | 'γ' => 'y',
        'У' | 'Υ' => 'Y',
        'Ζ' => 'Z',
        '∕' | '⁄' | '⧸' => '/',
        '∖' | '⧵' => '\\',
        '‘' | '’' | 'ʼ' | 'ʹ' | '′' => '\'',
        '“' | '”' | '″' => '"',
        '–' | '—' | '‐' | '‑' | '−' => '-',
        '․' => '.',
        '：' => ':',
        _ => return None,
    })
}
