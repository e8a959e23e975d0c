//! Checkpoints that somebody kept: whether they are ours, and whether the ledger still agrees with them.

use aegis_core::id::TenantId;
use aegis_ledger::checkpoint::{Checkpoint, CheckpointError, parse_origin};
use aegis_ledger::hash::Hash;
use aegis_ledger::note::{Note, NoteError};
use aegis_store::ledger::{Head, checkpoint, proof};
use aegis_store::{Conn, StoreError};

use crate::state::App;

/// A checkpoint that our key has signed.
#[derive(Debug)]
pub(crate) struct Presented {
    pub(crate) tenant: TenantId,
    pub(crate) epoch: u64,
    pub(crate) checkpoint: Checkpoint,
}

/// What the ledger says to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Agreement {
    /// The tree begins with all that the checkpoint covers.
    Agrees,
    /// It does not: two readers were shown two logs, or the database is not the one that was signed.
    Contradicts(String),
    /// The ledger does not have what it would take to tell.
    Unknown(String),
}

/// Reads a signed note and verifies it with the keys that spoke for a tree of its size.
pub(crate) async fn open(app: &App, note: &str) -> Result<Result<Presented, String>, StoreError> {
    let (tenant, epoch, size) = match named(app, note) {
        Ok(named) => named,
        Err(problem) => return Ok(Err(problem)),
    };
    let mut opened = Err(NoteError::Unsigned.into());
    for key in app.publisher.verifiers(tenant, epoch, size).await? {
        opened = opened.or_else(|_: CheckpointError| Checkpoint::open(note, &key));
    }
    Ok(opened.map(|checkpoint| Presented { tenant, epoch, checkpoint }).map_err(|e| e.to_string()))
}

/// The log and the size that a note names; nothing is verified.
fn named(app: &App, note: &str) -> Result<(TenantId, u64, u64), String> {
    let read = Note::parse(note).map_err(|e| e.to_string())?;
    let said = Checkpoint::parse(read.text()).map_err(|e| e.to_string())?;
    let named = parse_origin(&app.config.deployment, &said.origin);
    let (tenant, epoch) = named.ok_or("it is of a log of another deployment")?;
    Ok((tenant, epoch, said.size))
}

/// Compares a checkpoint with the ledger. The transaction may read the checkpoint's tenant.
pub(crate) async fn agreement(tx: &mut Conn, presented: &Presented) -> Result<Agreement, StoreError> {
    let Presented { tenant, epoch, checkpoint: said } = presented;
    let epochs = checkpoint::epochs(tx, *tenant).await?;
    let current = epochs.last().map_or(aegis_ledger::checkpoint::FIRST_EPOCH, |opened| opened.epoch);
    if *epoch > current {
        return Ok(Agreement::Contradicts(format!("it is of epoch {epoch}, the ledger is in epoch {current}")));
    }
    if *epoch < current {
        let sealed = epochs.iter().find(|opened| opened.epoch > *epoch).map(|opened| opened.sealed.as_str());
        return sealed_agreement(tx, presented, sealed).await;
    }
    let size = Head::read(tx, *tenant).await?.size;
    if said.size > size {
        return Ok(Agreement::Contradicts(format!("it covers {} entries, the ledger has {size}", said.size)));
    }
    Ok(match proof::root(tx, *tenant, said.size).await {
        Ok(root) => compare(root, said),
        Err(StoreError::NotFound(_)) => Agreement::Unknown("the tree is not written that far yet".to_owned()),
        Err(fault) => return Err(fault),
    })
}

/// Entries of a sealed epoch may be gone; its kept checkpoints are not.
async fn sealed_agreement(tx: &mut Conn, presented: &Presented, sealed: Option<&str>) -> Result<Agreement, StoreError> {
    let said = &presented.checkpoint;
    let last = sealed.and_then(|note| Note::parse(note).ok()).and_then(|note| Checkpoint::parse(note.text()).ok());
    if let Some(last) = last {
        if said.size > last.size {
            return Ok(Agreement::Contradicts(format!("its log was sealed at {} entries", last.size)));
        }
        if said.size == last.size {
            return Ok(compare(last.root, said));
        }
    }
    let before = said.size.saturating_sub(1);
    let kept = checkpoint::list(tx, presented.tenant, presented.epoch, before).await?;
    match kept.first().filter(|kept| kept.size == said.size) {
        Some(kept) => Ok(compare(kept.root, said)),
        None => Ok(match proof::root(tx, presented.tenant, said.size).await {
            Ok(root) if root == said.root => Agreement::Agrees,
            Ok(_) | Err(_) => Agreement::Unknown("it is of an epoch that was sealed".to_owned()),
        }),
    }
}

fn compare(root: Hash, said: &Checkpoint) -> Agreement {
    if root == said.root {
        Agreement::Agrees
    } else {
        Agreement::Contradicts(format!("the ledger's root at {} entries is another", said.size))
    }
}
