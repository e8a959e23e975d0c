//! Names split into words: `filePath`, `file_path`, `FILE-PATH` are all `file`, `path`.

/// The words of a name, in order, as written.
pub(crate) fn words_of(name: &str) -> impl Iterator<Item = &str> {
    let mut rest = name;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        let bytes = rest.as_bytes();
        let first = *bytes.first()?;
        let mut end = 1;
        while let Some(byte) = bytes.get(end) {
            let hump = byte.is_ascii_uppercase() && bytes.get(end - 1).is_some_and(|b| !b.is_ascii_uppercase());
            if !byte.is_ascii_alphanumeric() || (hump && !first.is_ascii_digit()) {
                break;
            }
            end += 1;
        }
        let (word, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(word)
    })
}

/// Whether the name's last word, or the whole name, is in the set (lower case).
pub(crate) fn ends_with_word(name: &str, set: &[&str]) -> bool {
    let last = words_of(name).last().unwrap_or("");
    set.iter().any(|s| last.eq_ignore_ascii_case(s) || name.eq_ignore_ascii_case(s))
}

/// Whether any word of the name is in the set (lower case).
pub(crate) fn has_word(name: &str, set: &[&str]) -> bool {
    words_of(name).any(|word| set.iter().any(|s| word.eq_ignore_ascii_case(s)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_writing_gives_the_same_words() {
        for name in ["file_path", "filePath", "file-path", "file.path", " file  path"] {
            assert_eq!(
                words_of(name).collect::<Vec<_>>(),
                if name == "filePath" { ["file", "Path"] } else { ["file", "path"] },
                "{name}"
            );
            assert!(ends_with_word(name, &["path"]));
            assert!(has_word(name, &["file"]));
        }
        assert_eq!(words_of("URL").collect::<Vec<_>>(), ["URL"]);
        assert_eq!(words_of("__").count(), 0);
        assert_eq!(words_of("größe").count(), 2);
    }
}
