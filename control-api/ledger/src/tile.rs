//! Tiles (C2SP tlog-tiles): the tree in pieces of 256 hashes, and its entries in bundles of 256.
//!
//! Tile `N` of level `L` holds the nodes of level `8·L` of the tree from index `256·N` on. A tile is written once it
//! is full; fewer hashes than 256 are a partial tile, good for one size of the tree.

use std::fmt;
use std::str::FromStr;

use crate::hash::{self, Hash};
use crate::proof::Node;

/// Levels of the tree one tile spans.
pub const HEIGHT: u8 = 8;
/// Hashes in a full tile, entries in a full bundle.
pub const WIDTH: u64 = 1 << HEIGHT;
/// The highest level whose tiles hold nodes of a tree that fits in 64 bits.
pub const LEVEL_MAX: u8 = 7;

/// A text that is not a tile's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the path of a tile")]
pub struct InvalidTilePath;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Entries.
    Entries,
    /// Nodes of the tree's level `8·L`.
    Hashes(u8),
}

/// Which tile: `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]`, in three-digit groups: `x001/x234/067`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TilePath {
    /// What it holds.
    pub level: Level,
    /// Its number.
    pub index: u64,
    /// Hashes or entries in it, 1–256; below 256 it is partial.
    pub width: u16,
}

impl TilePath {
    /// Whether it has all its hashes.
    pub const fn is_full(&self) -> bool {
        self.width as u64 == WIDTH
    }

    /// Whether a tree of this size has the tile.
    pub const fn is_in(&self, size: u64) -> bool {
        let nodes = match self.level {
            Level::Entries => size,
            Level::Hashes(level) if level <= LEVEL_MAX => size >> (HEIGHT * level),
            Level::Hashes(_) => 0,
        };
        match self.index.checked_mul(WIDTH) {
            Some(first) => nodes >= first && nodes - first >= self.width as u64,
            None => false,
        }
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            Level::Entries => f.write_str("tile/entries/")?,
            Level::Hashes(level) => write!(f, "tile/{level}/")?,
        }
        let mut groups = vec![format!("{:03}", self.index % 1_000)];
        let mut rest = self.index / 1_000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1_000));
            rest /= 1_000;
        }
        groups.reverse();
        f.write_str(&groups.join("/"))?;
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

impl FromStr for TilePath {
    type Err = InvalidTilePath;

    fn from_str(text: &str) -> Result<Self, InvalidTilePath> {
        let (level, rest) = text.strip_prefix("tile/").and_then(|rest| rest.split_once('/')).ok_or(InvalidTilePath)?;
        let level = match level {
            "entries" => Level::Entries,
            number => Level::Hashes(number.parse().ok().filter(|l| *l < 64).ok_or(InvalidTilePath)?),
        };
        let (number, width) = match rest.split_once(".p/") {
            None => (rest, 256),
            Some((number, width)) => {
                (number, width.parse().ok().filter(|w| (1..256).contains(w)).ok_or(InvalidTilePath)?)
            }
        };
        let mut index: u64 = 0;
        for group in number.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            let value: u64 = digits.parse().map_err(|_| InvalidTilePath)?;
            index = index.checked_mul(1_000).and_then(|i| i.checked_add(value)).ok_or(InvalidTilePath)?;
        }
        let path = Self { level, index, width };
        // Written again it is the same: no signs, no missing or leading zeros, no groups too many.
        if path.to_string() == text { Ok(path) } else { Err(InvalidTilePath) }
    }
}

/// Where a node stands in tiles: the tile's level and number, and which of its hashes lie below the node.
///
/// A node of level `8·L + k` is the root of `2^k` neighbouring hashes of one tile of level `L`.
pub const fn place(node: Node) -> (u8, u64, std::ops::Range<usize>) {
    let (level, within) = (node.level / HEIGHT, node.level % HEIGHT);
    let first = node.index << within;
    let start = (first % WIDTH) as usize;
    (level, first / WIDTH, start..start + (1 << within))
}

/// The root of `2^k` neighbouring hashes of a tile; absent if their number is no power of two.
pub fn subtree(hashes: &[Hash]) -> Option<Hash> {
    hashes.len().is_power_of_two().then(|| hash::root(hashes))
}

/// Entries one after the other, each behind its length in two bytes, big endian.
///
/// Absent if an entry is longer than 65 535 bytes, which entries never are.
pub fn bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend(u16::try_from(entry.len()).ok()?.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Some(bytes)
}

/// The entries of a bundle; absent if it is not one.
pub fn unbundle(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        bytes = rest;
    }
    (bytes.is_empty() && entries.len() as u64 <= WIDTH).then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let full = |level, index| TilePath { level, index, width: 256 };
        for (path, text) in [
            (full(Level::Hashes(0), 1_234_067), "tile/0/x001/x234/067"),
            (full(Level::Hashes(3), 0), "tile/3/000"),
            (full(Level::Entries, 999), "tile/entries/999"),
            (full(Level::Entries, 1_000), "tile/entries/x001/000"),
            (TilePath { level: Level::Hashes(1), index: 5, width: 7 }, "tile/1/005.p/7"),
        ] {
            assert_eq!(path.to_string(), text);
            assert_eq!(text.parse(), Ok(path));
        }
        for text in [
            "tile/0/0",
            "tile/0/1000",
            "tile/0/x000/001",
            "tile/0/001.p/256",
            "tile/0/001.p/0",
            "tile/0/001.p/01",
            "tile/00/001",
            "tile/64/001",
            "tile/+1/001",
            "tile/0/+01",
            "tile/0/001/",
            "tile/0/001/002",
            "tile/data/001",
            "tile/0/",
            "tile/0",
            "0/001",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "tile/entries/001.p/",
            "",
        ] {
            assert_eq!(text.parse::<TilePath>(), Err(InvalidTilePath), "{text}");
        }
    }

    #[test]
    fn a_tree_has_the_tiles_it_is_large_enough_for() {
        let tile = |level, index, width| TilePath { level, index, width };
        assert!(tile(Level::Hashes(0), 0, 256).is_in(256));
        assert!(!tile(Level::Hashes(0), 0, 256).is_in(255));
        assert!(tile(Level::Hashes(0), 1, 3).is_in(259));
        assert!(!tile(Level::Hashes(0), 1, 4).is_in(259));
        assert!(tile(Level::Hashes(1), 0, 1).is_in(511));
        assert!(!tile(Level::Hashes(1), 0, 2).is_in(511));
        assert!(!tile(Level::Hashes(9), 0, 1).is_in(u64::MAX));
        assert!(!tile(Level::Entries, u64::MAX / 3, 1).is_in(u64::MAX));
    }

    proptest! {
        #[test]
        fn paths_round_trip(level in 0..64_u8, index in any::<u64>(), width in 1..=256_u16, entries in any::<bool>()) {
            let level = if entries { Level::Entries } else { Level::Hashes(level) };
            let path = TilePath { level, index, width };
            prop_assert_eq!(path.to_string().parse(), Ok(path));
        }

        #[test]
        fn bundles_round_trip(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..256)) {
            let bytes = bundle(entries.iter().map(Vec::as_slice)).unwrap();
            prop_assert_eq!(unbundle(&bytes).unwrap(), entries.iter().map(Vec::as_slice).collect::<Vec<_>>());
            if let Some(cut) = bytes.len().checked_sub(1) {
                prop_assert!(unbundle(&bytes[..cut]).is_none_or(|e| e.len() < entries.len()));
            }
        }

        #[test]
        fn reading_never_panics(text in ".{0,40}", bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = text.parse::<TilePath>();
            let _ = unbundle(&bytes);
        }
    }
}
