//! What is missing in sources' chains, and which of it they declare as lost.
//!
//! A `gap` entry may stand anywhere behind the hole: a source that finds its disk damaged has numbered other entries
//! by then. So whether a hole is declared is known only at the end.

use aegis_core::id::{AuditId, BootId, SourceId};

use crate::entry::Header;
use crate::rows::Gap;

/// Holes that wait for their declaration at most; further ones count as undeclared at once.
const WAITING_MAX: usize = 4_096;
/// Declared losses that are listed at most; all are counted.
pub const LOSSES_MAX: usize = 1_000;

/// Entries that are missing, and whose source says so itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Where the declaration stands.
    pub index: u64,
    /// The declaration.
    pub audit_id: AuditId,
    /// Whose entries.
    pub source: SourceId,
    /// Of which boot.
    pub boot: BootId,
    /// The first lost.
    pub from: u64,
    /// The last lost.
    pub to: u64,
    /// Why, in the source's words.
    pub why: String,
}

/// All declared losses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses {
    /// The first [`LOSSES_MAX`].
    pub list: Vec<Loss>,
    /// How many entries all of them cover.
    pub entries: u64,
}

/// A hole in a chain.
#[derive(Debug)]
pub(crate) struct Hole {
    /// The entry behind it.
    pub(crate) index: u64,
    pub(crate) audit_id: AuditId,
    pub(crate) source: SourceId,
    pub(crate) boot: BootId,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// Holes and declarations of a verification under way.
#[derive(Debug, Default)]
pub(crate) struct Account {
    waiting: Vec<Hole>,
    declared: Losses,
}

impl Account {
    /// A hole: it comes back if no declaration of it can be waited for.
    pub(crate) fn hole(&mut self, hole: Hole) -> Option<Hole> {
        if self.waiting.len() >= WAITING_MAX {
            return Some(hole);
        }
        self.waiting.push(hole);
        None
    }

    /// A declaration; `next` is where the chain that it is about stands. Whether the chain goes on behind it.
    pub(crate) fn declare(&mut self, index: u64, header: &Header, gap: &Gap, next: Option<u64>) -> bool {
        if gap.to < gap.from {
            return false;
        }
        let covers = |hole: &Hole| {
            (hole.source, hole.boot) == (header.source, gap.lost_boot) && gap.from <= hole.from && hole.to <= gap.to
        };
        // What of it is before the chain's next entry has come all the same.
        let ahead = next.filter(|next| (gap.from..=gap.to).contains(next));
        let covered: Vec<Hole> = self.waiting.extract_if(.., |hole| covers(hole)).collect();
        let holes = covered.iter().map(|hole| (hole.from, hole.to));
        for (from, to) in holes.chain(ahead.map(|next| (next, gap.to))) {
            self.declared.entries = self.declared.entries.saturating_add((to - from).saturating_add(1));
            if self.declared.list.len() < LOSSES_MAX {
                let (audit_id, source, boot) = (header.audit_id, header.source, gap.lost_boot);
                self.declared.list.push(Loss { index, audit_id, source, boot, from, to, why: gap.why.clone() });
            }
        }
        ahead.is_some()
    }

    /// The holes that nothing has declared.
    pub(crate) fn take_undeclared(&mut self) -> Vec<Hole> {
        std::mem::take(&mut self.waiting)
    }

    /// Everything declared so far.
    pub(crate) const fn declared(&self) -> &Losses {
        &self.declared
    }
}
