//! Rows that the disk lost: noticed by their numbers, and declared before anything behind them is shipped.
//!
//! The shipper notices a hole at the row behind it and waits; the writer signs a `gap` entry at the chain's end; the
//! shipper sends it ahead of that row, so that the control plane goes on at once. The entry itself is shipped once
//! more in its own place. Dying in between finds the same hole at the next start, and declares it then.

use std::collections::HashMap;

use aegis_core::id::{BootId, TenantId};

use super::heads::Heads;
use super::record::Facts;
use super::segments::Position;

/// Holes that wait for their declaration at most; further ones are shipped over, and the control plane says so.
const HOLES_MAX: usize = 256;

/// Rows of one chain that are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) tenant: TenantId,
    pub(super) boot: BootId,
    /// The first lost.
    pub(super) from: u64,
    /// The last lost.
    pub(super) to: u64,
}

impl Hole {
    /// How many.
    pub(super) fn rows(&self) -> u64 {
        (self.to - self.from).saturating_add(1)
    }
}

/// How far each tenant's rows have been followed: the chain, and its next number. Chains follow one another in the
/// log, so one place per tenant is enough.
#[derive(Debug, Clone, Default)]
pub(super) struct Track(HashMap<TenantId, (BootId, u64)>);

impl Track {
    /// Behind the rows of deleted segments.
    pub(super) fn behind(heads: &Heads) -> Self {
        Self(heads.0.iter().map(|(tenant, head)| (*tenant, (head.boot, head.last_seq.saturating_add(1)))).collect())
    }

    /// What is missing right before this row, in its own chain.
    pub(super) fn hole(&self, row: &Facts) -> Option<Hole> {
        let expected = match self.0.get(&row.tenant) {
            Some((boot, next)) if *boot == row.boot => *next,
            // A chain begins.
            Some(_) | None => 0,
        };
        let to = row.seq.checked_sub(1).filter(|to| *to >= expected)?;
        Some(Hole { tenant: row.tenant, boot: row.boot, from: expected, to })
    }

    /// Whether the row was followed before.
    pub(super) fn is_repeated(&self, row: &Facts) -> bool {
        self.0.get(&row.tenant).is_some_and(|(boot, next)| *boot == row.boot && row.seq < *next)
    }

    /// Goes on behind this row. A repeated one changes nothing.
    pub(super) fn follow(&mut self, row: &Facts) {
        let place = self.0.entry(row.tenant).or_insert((row.boot, 0));
        let next = row.seq.saturating_add(1);
        *place = if place.0 == row.boot { (row.boot, place.1.max(next)) } else { (row.boot, next) };
    }
}

enum State {
    /// The writer shall declare it.
    Wanted,
    /// The writer cannot declare it now; nothing waits for it.
    Postponed,
    /// As before, and what is behind it is shipped: it still must be declared.
    Passed,
    /// Declared: the lines to be shipped ahead, and where the declaration ends in the log.
    Written(Vec<u8>, Position),
}

/// What the shipper may do with a row behind a hole.
pub(super) enum Passage {
    /// Ship it, without a declaration.
    Bare,
    /// Ship these lines ahead of it, once the log is synced up to there.
    Behind(Vec<u8>, Position),
    /// Wait for the writer.
    Wait,
}

/// The holes, and how far rows are acknowledged.
#[derive(Default)]
pub(super) struct Losses {
    /// What is acknowledged.
    pub(super) acked: Track,
    /// The last entries of the boots before, as they were found at start.
    ends: HashMap<(TenantId, BootId), u64>,
    holes: Vec<(Hole, State)>,
    /// Damage was met since the last heartbeats: the next ones show which numbers are gone.
    damage: bool,
    rows: u64,
}

impl Losses {
    /// From what was found at start.
    pub(super) fn found(acked: Track, ends: HashMap<(TenantId, BootId), u64>) -> Self {
        Self { acked, ends, ..Self::default() }
    }

    /// Rows lost since the start.
    pub(super) const fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of the log could not be read.
    pub(super) fn met_damage(&mut self) {
        self.damage = true;
    }

    /// Whether damage was met since this was asked last.
    pub(super) fn take_damage(&mut self) -> bool {
        std::mem::take(&mut self.damage)
    }

    /// Everything that is missing before this row: the end of the boot before, and what precedes it in its own chain.
    pub(super) fn holes(&self, track: &Track, row: &Facts) -> Vec<Hole> {
        let before = track.0.get(&row.tenant).filter(|(boot, _)| *boot != row.boot).and_then(|(boot, next)| {
            let to = self.ends.get(&(row.tenant, *boot)).copied().filter(|end| end >= next)?;
            Some(Hole { tenant: row.tenant, boot: *boot, from: *next, to })
        });
        before.into_iter().chain(track.hole(row)).collect()
    }

    /// Whether the row behind this hole may be shipped.
    pub(super) fn pass(&mut self, hole: Hole) -> Passage {
        if let Some((_, state)) = self.holes.iter().find(|(known, _)| *known == hole) {
            return match state {
                State::Wanted => Passage::Wait,
                State::Postponed | State::Passed => Passage::Bare,
                State::Written(lines, at) => Passage::Behind(lines.clone(), *at),
            };
        }
        tracing::error!(
            tenant = %hole.tenant, boot = %hole.boot, from = hole.from, to = hole.to, "rows of the outbox are lost"
        );
        self.rows = self.rows.saturating_add(hole.rows());
        if self.holes.len() >= HOLES_MAX {
            return Passage::Bare;
        }
        self.holes.push((hole, State::Wanted));
        Passage::Wait
    }

    /// The holes that the writer has not declared yet.
    pub(super) fn undeclared(&self) -> Vec<Hole> {
        self.holes.iter().filter(|(_, state)| !matches!(state, State::Written(..))).map(|(hole, _)| *hole).collect()
    }

    /// The declaration of this hole is written.
    pub(super) fn declared(&mut self, hole: Hole, lines: Vec<u8>, at: Position) {
        self.holes.retain(|(known, state)| *known != hole || !matches!(state, State::Passed));
        if let Some((_, state)) = self.holes.iter_mut().find(|(known, _)| *known == hole) {
            *state = State::Written(lines, at);
        }
    }

    /// What is not declared now will not be waited for. Whether anything was waited for.
    pub(super) fn postpone(&mut self) -> bool {
        let mut waited = false;
        for (_, state) in &mut self.holes {
            if matches!(state, State::Wanted) {
                (*state, waited) = (State::Postponed, true);
            }
        }
        waited
    }

    /// A row is acknowledged; how many lost ones were before it.
    pub(super) fn acknowledge(&mut self, row: &Facts) -> u64 {
        let passed = self.holes(&self.acked, row);
        self.acked.follow(row);
        self.holes.retain_mut(|(hole, state)| {
            if !passed.contains(hole) {
                return true;
            }
            let is_declared = matches!(state, State::Written(..));
            *state = State::Passed;
            !is_declared
        });
        passed.iter().map(Hole::rows).sum()
    }
}
