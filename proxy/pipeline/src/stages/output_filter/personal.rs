//! Personal data with a checkable form: e-mail, payment card, US social security number, IBAN, phone.

use aegis_core::words;

use crate::detect::secret_kinds::{Look, NeedsMore, Window, run_of, starts_word};

words! {
    /// Kinds of personal data.
    pub(crate) enum PersonalKind {
        /// An e-mail address.
        Email = "email",
        /// A payment card number.
        Card = "card",
        /// A US social security number.
        Ssn = "ssn",
        /// An international bank account number.
        Iban = "iban",
        /// A phone number.
        Phone = "phone",
    }
}

/// A match in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PersonalFound {
    /// What.
    pub(crate) kind: PersonalKind,
    /// Its first byte.
    pub(crate) start: usize,
    /// After its last byte.
    pub(crate) end: usize,
}

/// Bytes of a number with its separators, at most.
const NUMBER_BYTES_MAX: usize = 32;
/// Bytes of an e-mail address before the `@` (RFC 5321).
const LOCAL_PART_BYTES_MAX: usize = 64;
/// Bytes of an e-mail address after the `@`.
const DOMAIN_BYTES_MAX: usize = 253;

/// The first place in `from..to` where personal data may begin, or for e-mail has its `@`.
pub(super) fn next(bytes: &[u8], from: usize, to: usize) -> Option<usize> {
    let rest = bytes.get(from..to)?;
    let mut before = from.checked_sub(1).and_then(|i| bytes.get(i)).copied().unwrap_or(b' ');
    for (i, &byte) in rest.iter().enumerate() {
        let candidate = match byte {
            b'@' | b'+' | b'(' => true,
            b'0'..=b'9' => !before.is_ascii_digit(),
            b'A'..=b'Z' => {
                matches!(bytes.get(from + i + 1), None | Some(b'A'..=b'Z')) && !before.is_ascii_alphanumeric()
                    || (before == b'n')
            }
            _ => false,
        };
        if candidate {
            return Some(from + i);
        }
        before = byte;
    }
    None
}

/// The closer look.
pub(super) fn look(window: &Window<'_>, at: usize) -> Look<PersonalFound> {
    match window.bytes.get(at) {
        Some(b'@') => email(window, at),
        Some(b'A'..=b'Z') => iban(window, at),
        Some(_) => number(window, at),
        None => Look::Nothing,
    }
}

fn found(kind: PersonalKind, start: usize, length: usize) -> Look<PersonalFound> {
    Look::Found(PersonalFound { kind, start, end: start + length })
}

fn email(window: &Window<'_>, at: usize) -> Look<PersonalFound> {
    let is_local = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'%' | b'+' | b'-');
    let least = window.floor.max(at.saturating_sub(LOCAL_PART_BYTES_MAX + 1));
    let before = window.bytes.get(least..at).unwrap_or_default();
    let local = before.iter().rev().take_while(|b| is_local(b)).count();
    let start = after_escape(window, at - local);
    let begins = window.bytes.get(start).is_some_and(u8::is_ascii_alphanumeric);
    if start >= at || local > LOCAL_PART_BYTES_MAX || !begins || window.bytes.get(start..at) == Some(b"git") {
        return Look::Nothing;
    }
    let is_domain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    let run = match run_of(window, at + 1, DOMAIN_BYTES_MAX, is_domain) {
        Ok(run) => run,
        Err(NeedsMore) => return Look::Undecided(start),
    };
    let domain = window.bytes.get(at + 1..at + 1 + run).unwrap_or_default();
    let trimmed = domain.iter().rposition(|b| !matches!(b, b'.' | b'-')).map_or(0, |i| i + 1);
    let domain = domain.get(..trimmed).unwrap_or_default();
    if run <= DOMAIN_BYTES_MAX && is_mail_domain(domain) {
        found(PersonalKind::Email, start, at + 1 + trimmed - start)
    } else {
        Look::Nothing
    }
}

/// The local part of `\nbob@…` in JSON begins after the escape.
fn after_escape(window: &Window<'_>, start: usize) -> usize {
    let before = window.bytes.get(..start).unwrap_or_default();
    let slashes = before.iter().rev().take(16).take_while(|b| **b == b'\\').count();
    match window.bytes.get(start) {
        Some(b'n' | b'r' | b't' | b'b' | b'f') if slashes % 2 == 1 => start + 1,
        Some(b'u') if slashes % 2 == 1 => start + 5,
        Some(_) | None => start,
    }
}

fn is_mail_domain(domain: &[u8]) -> bool {
    let mut labels = domain.split(|b| *b == b'.').rev();
    let top = labels.next().unwrap_or_default();
    let files: [&[u8]; 10] = [b"png", b"jpg", b"jpeg", b"gif", b"svg", b"webp", b"css", b"js", b"json", b"ts"];
    let mut rest = labels.peekable();
    (2..=24).contains(&top.len())
        && top.iter().all(u8::is_ascii_alphabetic)
        && !files.contains(&top.to_ascii_lowercase().as_slice())
        && rest.peek().is_some()
        && rest.all(|label| !label.is_empty() && label.len() <= 63)
}

fn number(window: &Window<'_>, at: usize) -> Look<PersonalFound> {
    let before = at.checked_sub(1).and_then(|i| window.bytes.get(i));
    if !starts_word(window, at) || (at != window.floor && matches!(before, Some(b'.' | b'-' | b'+' | b'/' | b'#'))) {
        return Look::Nothing;
    }
    let is_part = |b: u8| b.is_ascii_digit() || matches!(b, b' ' | b'-' | b'.' | b'(' | b')' | b'+');
    let run = match run_of(window, at, NUMBER_BYTES_MAX, is_part) {
        Ok(run) => run,
        Err(NeedsMore) => return Look::Undecided(at),
    };
    let text = window.bytes.get(at..at + run).unwrap_or_default();
    let next = window.bytes.get(at + run).copied();
    if let Some(length) = ssn(text).filter(|n| ends(text, *n, next)) {
        found(PersonalKind::Ssn, at, length)
    } else if let Some(length) = card(text).filter(|n| ends(text, *n, next)) {
        found(PersonalKind::Card, at, length)
    } else if let Some(length) = phone(text).filter(|n| ends(text, *n, next)) {
        found(PersonalKind::Phone, at, length)
    } else {
        Look::Nothing
    }
}

/// Whether a number of that length ends there: neither letters nor more digits go on.
fn ends(text: &[u8], length: usize, next: Option<u8>) -> bool {
    match text.get(length..).unwrap_or_default() {
        [] => next.is_none_or(|b| !b.is_ascii_alphanumeric() && b != b'_'),
        [b'-' | b'.' | b'+', b, ..] | [b, ..] => !b.is_ascii_digit(),
    }
}

/// Whether the bytes have this form: `d` a digit, anything else itself.
fn has_form(text: &[u8], form: &[u8]) -> bool {
    text.len() >= form.len() && form.iter().zip(text).all(|(f, b)| if *f == b'd' { b.is_ascii_digit() } else { f == b })
}

fn ssn(text: &[u8]) -> Option<usize> {
    const FORM: &[u8] = b"ddd-dd-dddd";
    // Areas 000, 666 and 9xx, group 00 and serial 0000 are never issued.
    let issued = !text.starts_with(b"000")
        && !text.starts_with(b"666")
        && !text.starts_with(b"9")
        && text.get(4..6) != Some(b"00")
        && text.get(7..11) != Some(b"0000");
    (has_form(text, FORM) && issued).then_some(FORM.len())
}

/// 13–19 digits in one run or in the groups printed on cards, of a known issuer, with the check digit right.
fn card(text: &[u8]) -> Option<usize> {
    const FORMS: [&[u8]; 4] =
        [b"dddd dddd dddd dddd", b"dddd-dddd-dddd-dddd", b"dddd dddddd ddddd", b"dddd-dddddd-ddddd"];
    let run = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let length = match run {
        13..=19 => run,
        4 => FORMS.iter().find(|form| has_form(text, form))?.len(),
        _ => return None,
    };
    let digits: Vec<u8> = text.get(..length)?.iter().filter(|b| b.is_ascii_digit()).map(|b| b - b'0').collect();
    (has_issuer(&digits) && luhn(&digits)).then_some(length)
}

fn has_issuer(digits: &[u8]) -> bool {
    match (digits, digits.len()) {
        ([4, ..], 13 | 16 | 19)
        | ([5, 1..=5, ..] | [2, 2..=7, ..] | [3, 5, ..], 16)
        | ([3, 4 | 7, ..], 15)
        | ([6, 0, 1, 1, ..] | [6, 4 | 5 | 2, ..], 16..=19)
        | ([3, 0 | 6 | 8, ..], 14) => true,
        (_, _) => false,
    }
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, d)| {
            let doubled = u32::from(*d) * if i % 2 == 1 { 2 } else { 1 };
            if doubled > 9 { doubled - 9 } else { doubled }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// `+` and 8–15 digits (E.164), or the North American form.
fn phone(text: &[u8]) -> Option<usize> {
    const FORMS: [&[u8]; 8] = [
        b"(ddd) ddd-dddd",
        b"(ddd)ddd-dddd",
        b"ddd-ddd-dddd",
        b"ddd.ddd.dddd",
        b"ddd ddd dddd",
        b"1-ddd-ddd-dddd",
        b"1 (ddd) ddd-dddd",
        b"1 ddd ddd dddd",
    ];
    if text.first() != Some(&b'+') {
        let form = FORMS.iter().find(|form| has_form(text, form))?;
        let area = text.iter().skip(usize::from(form.starts_with(b"1"))).find(|b| b.is_ascii_digit());
        return area.is_some_and(|b| (b'2'..=b'9').contains(b)).then_some(form.len());
    }
    let (mut digits, mut length) = (0, 0);
    for (i, pair) in text.windows(2).enumerate() {
        match pair {
            [_, b] if b.is_ascii_digit() => (digits, length) = (digits + 1, i + 2),
            // Two separators in a row only around brackets.
            [b'0'..=b'9' | b')', b' ' | b'-' | b'.' | b'('] | [b' ', b'('] | [b'0'..=b'9', b')'] => {}
            _ => break,
        }
    }
    (text.get(1).is_some_and(|b| (b'1'..=b'9').contains(b)) && (8..=15).contains(&digits)).then_some(length)
}

/// Countries with IBANs and their lengths.
const IBAN_LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AT", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BR", 29),
    (b"CH", 21),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DK", 18),
    (b"EE", 20),
    (b"ES", 24),
    (b"FI", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GI", 23),
    (b"GR", 27),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"MC", 27),
    (b"MT", 31),
    (b"NL", 18),
    (b"NO", 15),
    (b"PL", 28),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"SA", 24),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"TR", 26),
    (b"UA", 29),
];

fn iban(window: &Window<'_>, at: usize) -> Look<PersonalFound> {
    const IBAN_BYTES_MAX: usize = 42;
    if !starts_word(window, at) {
        return Look::Nothing;
    }
    let head = window.bytes.get(at..).unwrap_or_default();
    if let [_, b, ..] = head
        && !b.is_ascii_uppercase()
    {
        return Look::Nothing;
    }
    if let [_, _, rest @ ..] = head
        && !rest.iter().take(2).all(u8::is_ascii_digit)
    {
        return Look::Nothing;
    }
    let is_part = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b' ';
    let run = match run_of(window, at, IBAN_BYTES_MAX, is_part) {
        Ok(run) => run.min(IBAN_BYTES_MAX),
        Err(NeedsMore) => return Look::Undecided(at),
    };
    let text = window.bytes.get(at..at + run).unwrap_or_default();
    let Some((_, wanted)) = IBAN_LENGTHS.iter().find(|(country, _)| text.starts_with(*country)) else {
        return Look::Nothing;
    };
    let mut signs: Vec<u8> = Vec::with_capacity(*wanted);
    let mut length = 0;
    for (i, b) in text.iter().enumerate() {
        if signs.len() == *wanted {
            break;
        }
        if *b != b' ' {
            signs.push(*b);
            length = i + 1;
        }
    }
    let next = window.bytes.get(at + length);
    let ends = next.is_none_or(|b| !b.is_ascii_alphanumeric() && *b != b'_');
    if signs.len() == *wanted && ends && checks_out(&signs) {
        found(PersonalKind::Iban, at, length)
    } else {
        Look::Nothing
    }
}

/// ISO 7064 mod 97-10.
fn checks_out(signs: &[u8]) -> bool {
    let (head, tail) = signs.split_at(signs.len().min(4));
    let rest = tail.iter().chain(head).fold(0_u32, |rest, b| {
        let value = u32::from(if b.is_ascii_digit() { b - b'0' } else { b - b'A' + 10 });
        (rest * if value > 9 { 100 } else { 10 } + value) % 97
    });
    rest == 1
}
