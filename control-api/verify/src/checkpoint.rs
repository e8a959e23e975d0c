//! Checkpoints (C2SP `tlog-checkpoint`): what a log's key has signed about a tree.

use aegis_ledger::hash::Hash;

/// A tree as a checkpoint's text names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// Further lines.
    pub extensions: Vec<String>,
}

/// A text that is not a checkpoint's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a checkpoint")]
pub struct NotACheckpoint;

/// Reads the text of a checkpoint's note.
pub fn read(text: &str) -> Result<Checkpoint, NotACheckpoint> {
    let mut lines = text.strip_suffix('\n').ok_or(NotACheckpoint)?.split('\n');
    let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
        return Err(NotACheckpoint);
    };
    let number: u64 = size.parse().map_err(|_| NotACheckpoint)?;
    let extensions: Vec<String> = lines.map(str::to_owned).collect();
    // One number, one spelling: no sign, no leading zeros.
    if number.to_string() != size || origin.is_empty() || extensions.iter().any(String::is_empty) {
        return Err(NotACheckpoint);
    }
    let root = Hash::parse(root).map_err(|_| NotACheckpoint)?;
    Ok(Checkpoint { origin: origin.to_owned(), size: number, root, extensions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_origin_size_and_root_in_one_spelling() {
        let root = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let read_back = read(&format!("example/log\n7\n{root}\nmore\n")).unwrap();
        assert_eq!((read_back.size, read_back.extensions.len()), (7, 1));
        for bad in [
            format!("example/log\n07\n{root}\n"),
            format!("example/log\n+7\n{root}\n"),
            format!("\n7\n{root}\n"),
            format!("example/log\n7\n{root}"),
            format!("example/log\n7\n{}\n", root.trim_end_matches('=')),
            format!("example/log\n7\n{root}\n\n"),
            "example/log\n7\n".to_owned(),
        ] {
            assert!(read(&bad).is_err(), "{bad:?}");
        }
    }
}
