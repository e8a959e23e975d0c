//! The two linear chains: per (tenant, source, boot) from the source, per tenant from the control plane.

use aegis_core::id::{BootId, SourceId, TenantId};
use serde::{Deserialize, Serialize};

use crate::entry::Header;
use crate::hash::Hash;

/// `prev` of the first entry of a source's boot: SHA-256 of `aegis-genesis/1\n<tenant>\n<source>\n<boot>`.
pub fn genesis(tenant: TenantId, source: SourceId, boot: BootId) -> Hash {
    Hash::of(&[format!("aegis-genesis/1\n{tenant}\n{source}\n{boot}").as_bytes()])
}

/// The tenant's chain before its first entry: SHA-256 of `aegis-tenant-genesis/1\n<tenant>`.
pub fn tenant_genesis(tenant: TenantId) -> Hash {
    Hash::of(&[format!("aegis-tenant-genesis/1\n{tenant}").as_bytes()])
}

/// The tenant's chain after one more entry: `SHA-256("aegis-chain/1\n" ‖ before ‖ leaf hash)`.
pub fn tenant_next(before: Hash, leaf: Hash) -> Hash {
    Hash::of(&[b"aegis-chain/1\n", before.as_bytes(), leaf.as_bytes()])
}

/// Where a source's chain stands: the next sequence number and what the next entry's `prev` must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The next entry's `seq`, from 0.
    pub next_seq: u64,
    /// The next entry's `prev`.
    pub prev: Hash,
}

/// Why an entry does not continue its source's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainBreak {
    /// Entries are missing before it.
    #[error("seq {got} where {expected} was expected")]
    Gap {
        /// The next number.
        expected: u64,
        /// The entry's.
        got: u64,
    },
    /// An entry with this number came before.
    #[error("seq {0} was seen before")]
    Repeat(u64),
    /// It names another predecessor.
    #[error("prev does not match at seq {0}")]
    WrongPrev(u64),
}

impl Cursor {
    /// Before the first entry of a boot.
    pub fn start(tenant: TenantId, source: SourceId, boot: BootId) -> Self {
        Self { next_seq: 0, prev: genesis(tenant, source, boot) }
    }

    /// Whether the entry comes next.
    pub fn check(&self, header: &Header) -> Result<(), ChainBreak> {
        if header.seq > self.next_seq {
            Err(ChainBreak::Gap { expected: self.next_seq, got: header.seq })
        } else if header.seq < self.next_seq {
            Err(ChainBreak::Repeat(header.seq))
        } else if header.prev != self.prev {
            Err(ChainBreak::WrongPrev(header.seq))
        } else {
            Ok(())
        }
    }

    /// After an entry with these bytes.
    #[must_use]
    pub fn after(&self, entry: &[u8]) -> Self {
        Self { next_seq: self.next_seq + 1, prev: Hash::of(&[entry]) }
    }
}
