//! Intents: what a call is about to do, written before its tool is called.
//!
//! One preallocated file of fixed slots. A slot is `len u32 | crc32 u32 | flags u8 | 7 zeros | JSON`; a length
//! of zero is a free slot. Slots never cross a page, so a killed process leaves a slot whole or untouched.

use std::io;
use std::sync::Arc;

use aegis_core::decision::{Decision, Level, Outcome};
use aegis_core::id::{AgentId, ExecutionId, TenantId};
use aegis_core::money::MicroUsd;
use aegis_core::pattern::ToolName;
use aegis_core::score::BasisPoints;
use aegis_core::time::Timestamp;
use aegis_ledger::commitment::Salt;
use aegis_ledger::entry::Body;
use aegis_ledger::hash::Hash;
use aegis_ledger::rows::{DecisionRow, OutcomeRow, PolicyRef};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::disk::{Disk, DiskFile, read_whole};

/// The file of slots.
const FILE: &str = "intents";
/// Bytes of one slot.
pub(super) const SLOT_BYTES: usize = 2_048;
/// Bytes before the JSON.
const FRAME: usize = 16;
/// The `decision` row is written, its `outcome` is not.
const DECIDED: u8 = 1;
/// The tool was not called.
const NOT_CALLED: u8 = 2;

/// How many rows a call writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// One `decision` row, at the end.
    OneRow,
    /// A `decision` row before the tool and an `outcome` row at the end: strict and streamed calls.
    DecisionThenOutcome,
}

/// A call that is about to reach its tool: what a row needs if nothing more is ever heard of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// The call.
    pub execution_id: ExecutionId,
    /// The tenant.
    pub tenant_id: TenantId,
    /// On behalf of whom.
    pub agent_id: AgentId,
    /// The tool.
    pub tool: ToolName,
    /// By whom: a principal label.
    pub principal: String,
    /// The request.
    pub request_id: String,
    /// The id the client gave it.
    pub client_request_id: Option<String>,
    /// The agent's session.
    pub session_id: Option<String>,
    /// Commitment to tenant, agent, tool and payload.
    pub input_commitment: Hash,
    /// The commitment's salt.
    #[serde(with = "salt_text")]
    pub salt: Salt,
    /// SHA-256 of the idempotency key, if the call has one.
    pub idempotency: Option<Hash>,
    /// The snapshot in force.
    pub snapshot_version: u64,
    /// The policy in force.
    pub policy: Option<PolicyRef>,
    /// The verdict.
    pub decision: Decision,
    /// The score.
    pub score_bp: BasisPoints,
    /// The cost that was reserved.
    pub cost_micro_usd: MicroUsd,
    /// When.
    pub ts: Timestamp,
    /// How many rows will follow.
    pub plan: Plan,
}

mod salt_text {
    //! Salts as base64.

    use super::{Deserialize, Deserializer, Hash, Salt, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(salt: &Salt, serializer: S) -> Result<S::Ok, S::Error> {
        Hash::from_bytes(*salt).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Salt, D::Error> {
        Hash::deserialize(deserializer).map(|hash| *hash.as_bytes())
    }
}

/// How far a call has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// The `decision` row is written, its `outcome` is not.
    pub(super) decided: bool,
    /// The tool was not called.
    pub(super) not_called: bool,
}

/// What a slot says of its call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) intent: Intent,
    pub(super) flags: Flags,
}

impl Held {
    /// The row that settles a call nobody will settle any more.
    pub(super) fn last_row(self) -> Body {
        let Flags { decided, not_called } = self.flags;
        let (outcome, reason) = if not_called {
            (Outcome::NotExecuted, "audit_unavailable: the record could not be kept, so the tool was not called")
        } else {
            (
                Outcome::Unknown,
                "outcome_unknown: the call ended before its answer was recorded; the tool may have acted",
            )
        };
        let intent = self.intent;
        if decided {
            return Body::Outcome(OutcomeRow {
                execution_id: intent.execution_id,
                outcome,
                output_commitment: None,
                redactions: std::collections::BTreeMap::new(),
                upstream: None,
                cost_micro_usd: if not_called { MicroUsd::ZERO } else { intent.cost_micro_usd },
                reason: reason.into(),
            });
        }
        Body::Decision(Box::new(DecisionRow {
            execution_id: intent.execution_id,
            request_id: intent.request_id,
            client_request_id: intent.client_request_id,
            agent_id: intent.agent_id,
            principal: intent.principal,
            session_id: intent.session_id,
            tool: intent.tool.as_str().to_owned(),
            action: "execute".into(),
            decision: if not_called { Decision::Refused } else { intent.decision },
            outcome,
            score_bp: intent.score_bp,
            risk_score: intent.score_bp.as_percent(),
            findings: Vec::new(),
            rule_ids: Vec::new(),
            signals: std::collections::BTreeMap::new(),
            stages: Vec::new(),
            policy: intent.policy,
            shadow: Vec::new(),
            contract: None,
            approval: None,
            snapshot_version: intent.snapshot_version,
            input_commitment: Some(intent.input_commitment),
            output_commitment: None,
            redactions: std::collections::BTreeMap::new(),
            upstream: None,
            cost_micro_usd: if not_called { MicroUsd::ZERO } else { intent.cost_micro_usd },
            level: Level::Intent,
            reason: reason.into(),
            count: 1,
        }))
    }
}

/// What stands in a slot.
#[derive(Debug)]
pub(super) enum Slot {
    Free,
    Held(Box<Held>),
    /// Torn by a power cut: it never was on disk, as `bounded` allows.
    Broken,
}

/// The file of slots.
pub(super) struct Slots {
    file: Arc<dyn DiskFile>,
    count: u32,
}

impl Slots {
    /// Opens the file, making it for `count` slots; an older file with more slots keeps them.
    pub(super) fn open(disk: &dyn Disk, count: u32) -> io::Result<Self> {
        let bytes = u64::from(count) * SLOT_BYTES as u64;
        let file = match disk.open(FILE)? {
            Some(file) if file.size()? >= bytes => file,
            Some(file) => {
                // Another limit is configured: grow by writing the missing slots, free.
                let from = file.size()?;
                let missing = usize::try_from(bytes - from).map_err(io::Error::other)?;
                file.write_at(&vec![0; missing], from)?;
                file.sync()?;
                file
            }
            None => disk.create(FILE, bytes)?,
        };
        let count = u32::try_from(file.size()? / SLOT_BYTES as u64).map_err(io::Error::other)?;
        Ok(Self { file, count })
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// What stands in every slot.
    pub(super) fn read_all(&self) -> io::Result<Vec<Slot>> {
        let bytes = read_whole(&*self.file)?;
        Ok(bytes.chunks(SLOT_BYTES).map(read_slot).collect())
    }

    /// What stands in one slot.
    pub(super) fn read(&self, slot: u32) -> io::Result<Slot> {
        let mut bytes = [0; SLOT_BYTES];
        let read = self.file.read_at(&mut bytes, place(slot))?;
        Ok(bytes.get(..read).map_or(Slot::Broken, read_slot))
    }

    /// Writes an intent; `Ok(false)` if it is too long for a slot.
    pub(super) fn write(&self, slot: u32, intent: &Intent) -> io::Result<bool> {
        let mut bytes = Vec::with_capacity(SLOT_BYTES);
        bytes.extend([0; FRAME]);
        serde_json::to_writer(&mut bytes, intent)?;
        if bytes.len() > SLOT_BYTES {
            return Ok(false);
        }
        let json = bytes.get(FRAME..).unwrap_or_default();
        let length = u32::try_from(json.len()).unwrap_or(0).to_le_bytes();
        let checksum = crc32fast::hash(json).to_le_bytes();
        if let Some(frame) = bytes.get_mut(..8) {
            frame.copy_from_slice(&[length, checksum].concat());
        }
        self.file.write_at(&bytes, place(slot))?;
        Ok(true)
    }

    /// Writes how far the call has come.
    pub(super) fn mark(&self, slot: u32, flags: Flags) -> io::Result<()> {
        let bits = if flags.decided { DECIDED } else { 0 } | if flags.not_called { NOT_CALLED } else { 0 };
        self.file.write_at(&[bits], place(slot) + 8)
    }

    pub(super) fn clear(&self, slot: u32) -> io::Result<()> {
        self.file.write_at(&[0; FRAME], place(slot))
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

fn place(slot: u32) -> u64 {
    u64::from(slot) * SLOT_BYTES as u64
}

fn read_slot(bytes: &[u8]) -> Slot {
    let word = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    let (length, checksum) = (usize::try_from(word(0)).unwrap_or(usize::MAX), word(4));
    if length == 0 {
        return Slot::Free;
    }
    let flags = bytes.get(8).copied().unwrap_or(0);
    let intent = FRAME
        .checked_add(length)
        .and_then(|end| bytes.get(FRAME..end))
        .filter(|json| crc32fast::hash(json) == checksum)
        .and_then(|json| serde_json::from_slice(json).ok());
    match intent {
        Some(intent) => {
            let flags = Flags { decided: flags & DECIDED != 0, not_called: flags & NOT_CALLED != 0 };
            Slot::Held(Box::new(Held { intent, flags }))
        }
        None => Slot::Broken,
    }
}
