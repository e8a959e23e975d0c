//! Where each tenant's chain of this source ended, kept beyond the segments that held its entries.

use std::collections::BTreeMap;
use std::io;

use aegis_core::id::{BootId, SourceId, TenantId};
use aegis_ledger::rows::PreviousBoot;
use serde::{Deserialize, Serialize};

use super::disk::{Disk, read_whole};
use super::record::{Facts, Kind, Piece, pieces};

const FILE: &str = "heads.json";

/// A chain's last entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChainHead {
    pub(super) source: SourceId,
    pub(super) boot: BootId,
    pub(super) last_seq: u64,
    pub(super) closed: bool,
}

impl ChainHead {
    /// As an `open` entry names it.
    pub(super) fn previous(&self) -> PreviousBoot {
        PreviousBoot { boot: self.boot, last_seq: Some(self.last_seq), closed: self.closed }
    }
}

/// The chains' heads, by tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Heads(pub(super) BTreeMap<TenantId, ChainHead>);

impl Heads {
    /// Reads the file; none is no heads.
    pub(super) fn load(disk: &dyn Disk) -> io::Result<Self> {
        match disk.open(FILE)? {
            Some(file) => Ok(serde_json::from_slice(&read_whole(&*file)?)?),
            None => Ok(Self::default()),
        }
    }

    /// Writes the file, whole or not at all.
    pub(super) fn store(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.replace(FILE, &serde_json::to_vec(self)?)
    }

    /// Takes in one more entry; entries come in order.
    pub(super) fn note(&mut self, facts: &Facts) {
        let closed = facts.kind == Kind::Close;
        let head = ChainHead { source: facts.source, boot: facts.boot, last_seq: facts.seq, closed };
        self.0.insert(facts.tenant, head);
    }

    /// Takes in all entries of a segment that is about to be deleted.
    pub(super) fn note_segment(&mut self, bytes: &[u8]) {
        for piece in pieces(bytes) {
            match piece {
                Piece::Record { facts, .. } if facts.kind != Kind::Head => self.note(&facts),
                Piece::Record { .. } | Piece::Damage { .. } => {}
            }
        }
    }
}
