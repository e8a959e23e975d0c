//! The redactor on whole texts and on every cutting of them.

use proptest::prelude::*;

use super::*;

fn redacted(text: &[u8], pii: bool, cuts: &[usize]) -> (Vec<u8>, BTreeMap<&'static str, u64>) {
    let mut redactor = OutputFilter::new().redactor(RedactionKinds { pii });
    let mut out = Vec::new();
    let mut from = 0;
    for cut in cuts {
        let to = (*cut).clamp(from, text.len());
        redactor.push(&text[from..to], &mut out);
        assert!(redactor.buffer.len() <= CARRY_BYTES_MAX, "{} bytes are carried", redactor.buffer.len());
        from = to;
    }
    redactor.push(&text[from..], &mut out);
    redactor.finish(&mut out);
    (out, redactor.counts().clone())
}

fn whole(text: &str, pii: bool) -> String {
    String::from_utf8(redacted(text.as_bytes(), pii, &[]).0).unwrap()
}

fn token(anchor: &str, length: usize) -> String {
    let body: String = "a1B2c3D4e5F6g7H8i9J0kLmNoPq".chars().cycle().step_by(5).take(length).collect();
    format!("{anchor}{body}")
}

fn jwt() -> String {
    format!("{}.{}.{}", token("eyJ", 33), token("eyJ", 90), token("", 43))
}

fn pem(newline: &str) -> String {
    let line = token("", 64);
    format!(
        "-----BEGIN RSA PRIVATE KEY-----{newline}{line}{newline}{line}{newline}Zm9v=={newline}-----END RSA PRIVATE KEY-----"
    )
}

/// Texts with something of every kind, and what they become.
fn samples() -> Vec<(String, &'static str, bool)> {
    let github = token("ghp_", 36);
    vec![
        (format!("use {github} now"), "use [REDACTED:github_token] now", false),
        (format!(r#"{{"k":"{github}","n":1}}"#), r#"{"k":"[REDACTED:github_token]","n":1}"#, false),
        (format!("a {} b", jwt()), "a [REDACTED:jwt] b", false),
        (
            format!("Authorization: Bearer {}=\nnext", token("", 90)),
            "Authorization: Bearer [REDACTED:bearer_token]\nnext",
            false,
        ),
        (format!("x\n{}\ny", pem("\n")), "x\n[REDACTED:private_key]\ny", false),
        (format!(r#"{{"key":"{}\n","n":1}}"#, pem("\\n")), r#"{"key":"[REDACTED:private_key]\n","n":1}"#, false),
        (
            format!(r#"{{"key":"{}"#, pem("\\n")[..100].to_owned() + "\",\"n\":1}"),
            r#"{"key":"[REDACTED:private_key]","n":1}"#,
            false,
        ),
        ("postgres://app:s3cr3tpw@db/shop".into(), "postgres://app:[REDACTED:connection_string]@db/shop", false),
        ("Write to ann.b@example.org.".into(), "Write to [REDACTED:email].", true),
        (r#"{"t":"hi\nbob@example.org\n"}"#.into(), r#"{"t":"hi\n[REDACTED:email]\n"}"#, true),
        (r#"{"card":4111111111111111}"#.into(), r#"{"card":"[REDACTED:card]"}"#, true),
        (r#"{"card":"4111 1111 1111 1111"}"#.into(), r#"{"card":"[REDACTED:card]"}"#, true),
        (r#"{"a":"he said \"4111111111111111\""}"#.into(), r#"{"a":"he said \"[REDACTED:card]\""}"#, true),
        ("data: {\"card\":4111111111111111}\n\n".into(), "data: {\"card\":\"[REDACTED:card]\"}\n\n", true),
        (
            "ssn 123-45-6789, tel. +49 30 1234567 or (212) 555-0100".into(),
            "ssn [REDACTED:ssn], tel. [REDACTED:phone] or [REDACTED:phone]",
            true,
        ),
        (
            "IBAN DE89 3704 0044 0532 0130 00 and GB82WEST12345698765432".into(),
            "IBAN [REDACTED:iban] and [REDACTED:iban]",
            true,
        ),
        (format!("{github}{}", jwt()), "", false),
    ]
}

#[test]
fn every_kind_is_replaced_and_counted() {
    for (text, expected, pii) in samples().into_iter().filter(|(_, e, _)| !e.is_empty()) {
        let (out, counts) = redacted(text.as_bytes(), pii, &[]);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(usize::try_from(counts.values().sum::<u64>()), Ok(expected.matches("[REDACTED:").count()));
        if text.starts_with('{') {
            serde_json::from_str::<serde_json::Value>(expected).unwrap();
        }
    }
}

#[test]
fn every_single_cut_gives_the_same_bytes() {
    for (text, _, pii) in samples() {
        let expected = redacted(text.as_bytes(), pii, &[]);
        for cut in 0..=text.len() {
            assert_eq!(redacted(text.as_bytes(), pii, &[cut]), expected, "{text} cut at {cut}");
        }
        let bytewise: Vec<usize> = (0..text.len()).collect();
        assert_eq!(redacted(text.as_bytes(), pii, &bytewise), expected, "{text} byte by byte");
    }
}

#[test]
fn harmless_text_passes_unchanged() {
    for text in [
        r#"{"id":"018f6f1e-5c0a-7000-8000-000000000001","hash":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}"#,
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
        r#"{"at":1700000000000000,"when":"2024-05-01T12:30:00Z","n":1234567890123,"v":"1.2.3-4"}"#,
        "order 4111111111111112 and 1234-5678-9012-3456, part 123-45-678",
        "npm i @scope/package logo@2x.png git@github.com:a/b.git",
        "call 911, or 12345, in 2024-2025",
        "SHA256:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg",
        "AB12 CDEF and GB29 NWBK 6016 1331 9268 18",
        "",
    ] {
        assert_eq!(whole(text, true), text);
    }
}

#[test]
fn personal_data_stays_where_it_is_not_asked_for() {
    let text = "ann@example.org 4111111111111111 123-45-6789";
    assert_eq!(whole(text, false), text);
}

#[test]
fn a_key_without_an_end_does_not_swallow_a_whole_stream() {
    let text = format!("-----BEGIN PRIVATE KEY-----\n{}", "A".repeat(200_000));
    let out = whole(&text, false);
    assert!(out.starts_with("[REDACTED:private_key]") && out.len() > 100_000);
}

#[test]
fn events_are_not_held_back() {
    let mut redactor = OutputFilter::new().redactor(RedactionKinds { pii: true });
    let mut out = Vec::new();
    redactor.push(b"data: {\"n\":1}\n\n", &mut out);
    assert_eq!(out, b"data: {\"n\":1}\n\n");
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_bytes(
        parts in prop::collection::vec(
            prop_oneof![
                prop::sample::select(samples().into_iter().map(|(t, _, _)| t).collect::<Vec<_>>()),
                "[ -~]{0,40}",
                "[a-z0-9@.+() \n\"\\\\-]{0,40}",
                prop::sample::select(vec!["://", "AKIA", "eyJ", "Bearer ", "password=", "-----BEGIN ", "\\n", "@", "+", "4111 "]).prop_map(String::from),
            ],
            0..8,
        ),
        mut cuts in prop::collection::vec(0_usize..2_000, 0..12),
        pii: bool,
    ) {
        let text = parts.concat();
        cuts.sort_unstable();
        prop_assert_eq!(redacted(text.as_bytes(), pii, &cuts), redacted(text.as_bytes(), pii, &[]));
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..600), cut in 0_usize..600) {
        prop_assert_eq!(redacted(&bytes, true, &[cut]), redacted(&bytes, true, &[]));
    }
}
