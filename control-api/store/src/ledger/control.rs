//! The control plane as a source: its own writes are entries like any other's, signed by its own key.

use std::sync::atomic::{AtomicBool, Ordering};

use aegis_core::entropy::Entropy;
use aegis_core::id::{AuditId, BootId, SourceId, TenantId};
use aegis_core::time::{Clock, Timestamp};
use aegis_ledger::chain::Cursor;
use aegis_ledger::entry::{Body, Entry, Header};
use aegis_ledger::rows::{Close, Enrol, Open, PreviousBoot};
use aegis_ledger::signing::{self, PrivateKey, PublicKey};

use super::Head;
use super::append::{Admitted, append, position, position_set};
use crate::checkpoint_key::CheckpointKeys;
use crate::conn::Conn;
use crate::error::StoreError;
use crate::keys::Keys;
use crate::sql::Sql;
use crate::store::Store;

/// The name under which the control plane is enrolled.
pub const CONTROL_NAME: &str = "control-plane";

/// The control plane's identity, and the key of this process start.
pub struct ControlSource {
    keys: Keys,
    boot: BootId,
    boot_key: PrivateKey,
    opened_at: Timestamp,
    software: String,
    closing: AtomicBool,
}

/// Ends this process's boot in order: its last entry in every ledger that it wrote to is `close`. Later writes of
/// this process are refused.
///
/// A process that dies on the way leaves some ledgers without `close`; the next boot's `open` names its last entry.
pub async fn close_boot(store: &Store, reason: &str) -> Result<(), StoreError> {
    let control = store.control();
    // Before any ledger is taken: whoever takes one after us sees it.
    control.closing.store(true, Ordering::SeqCst);
    let sql = Sql::new("SELECT tenant_id FROM source_cursors WHERE source_id = $1 AND boot_id = $2 AND NOT closed");
    let rows = store.read_platform().await?.fetch_all(sql.bind(control.source()).bind(control.boot)).await?;
    for row in rows {
        let tx = store.write(row.get("tenant_id")?).await?;
        tx.record(Body::Close(Close { reason: reason.to_owned() })).await?.commit().await?;
    }
    Ok(())
}

impl ControlSource {
    pub(crate) fn new(keys: Keys, software: &str, clock: &dyn Clock, entropy: &dyn Entropy) -> Self {
        let opened_at = clock.now();
        let boot = BootId::generate(opened_at, entropy);
        let boot_key = PrivateKey::generate(entropy);
        Self { keys, boot, boot_key, opened_at, software: software.to_owned(), closing: AtomicBool::new(false) }
    }

    /// Its id, for ever.
    pub const fn source(&self) -> SourceId {
        self.keys.source
    }

    /// The public half of its identity key.
    pub fn identity(&self) -> PublicKey {
        self.keys.identity.public()
    }

    /// This process start.
    pub const fn boot(&self) -> BootId {
        self.boot
    }

    /// When this process started.
    pub const fn opened_at(&self) -> Timestamp {
        self.opened_at
    }

    /// The public half of the key that signs in this process.
    pub fn boot_key(&self) -> PublicKey {
        self.boot_key.public()
    }

    /// The keys that sign checkpoints and daily roots.
    pub const fn checkpoint_keys(&self) -> &CheckpointKeys {
        &self.keys.checkpoint
    }

    /// The key that seals secrets at rest.
    pub const fn data_key(&self) -> &[u8; 32] {
        &self.keys.data_key
    }

    /// The binary and its version.
    pub fn software(&self) -> &str {
        &self.software
    }

    /// Appends an entry of its own to a ledger that is locked; before the first of this process, its `open`, and
    /// before the first ever, its own enrolment.
    ///
    /// The place in its chain is kept in the same transaction: a rollback leaves no hole, a crash neither. Refused
    /// once the boot is being closed.
    pub(crate) async fn append(
        &self,
        db: &mut Conn,
        tenant: TenantId,
        head: &mut Head,
        body: &Body,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<(), StoreError> {
        if self.closing.load(Ordering::SeqCst) && !matches!(body, Body::Close(_)) {
            return Err(StoreError::Conflict { what: "control plane", reason: "stopping" });
        }
        let place = (tenant, self.source(), self.boot);
        let (cursor, mut bodies) = match position(db, tenant, self.source(), self.boot).await? {
            Some(position) => {
                let prev =
                    position.prev.ok_or_else(|| StoreError::corrupt("a gap in the control plane's own chain"))?;
                (Cursor { next_seq: position.next_seq, prev }, Vec::new())
            }
            None => (Cursor::start(tenant, self.source(), self.boot), self.opening(db, tenant).await?),
        };
        bodies.push(body.clone());
        let mut cursor = cursor;
        let mut entries = Vec::with_capacity(bodies.len());
        for body in bodies {
            let header = Header {
                tenant_id: tenant,
                source: self.source(),
                boot: self.boot,
                seq: cursor.next_seq,
                prev: cursor.prev,
                ts: now,
                audit_id: AuditId::generate(now, entropy),
            };
            let entry = Entry { header, body };
            let bytes = entry.encode()?.into_bytes();
            cursor = cursor.after(&bytes);
            entries.push((entry, bytes));
        }
        let leaves: Vec<_> = entries.iter().map(|(_, bytes)| aegis_ledger::hash::leaf(bytes)).collect();
        let signatures = self.boot_key.sign_entries(&leaves);
        let admitted: Vec<_> =
            entries.into_iter().zip(signatures).map(|((entry, bytes), s)| Admitted::new(entry, bytes, s)).collect();
        append(db, tenant, head, &admitted, now).await?;
        position_set(db, place, cursor.into(), matches!(body, Body::Close(_)), now).await
    }

    async fn opening(&self, db: &mut Conn, tenant: TenantId) -> Result<Vec<Body>, StoreError> {
        let previous = self.previous(db, tenant).await?;
        let enrolled = previous.is_some();
        let statement = signing::boot_statement(tenant, self.source(), self.boot, &self.boot_key());
        let mut bodies = vec![Body::Open(Open {
            boot_key: self.boot_key().to_base64(),
            identity_key_id: self.identity().id().0,
            identity_signature: self.keys.identity.sign(&statement),
            software: self.software.clone(),
            previous,
        })];
        if !enrolled {
            bodies.push(Body::Enrol(Enrol {
                enrolled: self.source(),
                name: CONTROL_NAME.into(),
                identity_key_id: self.identity().id().0,
                identity_key: self.identity().to_base64(),
            }));
        }
        Ok(bodies)
    }

    async fn previous(&self, db: &mut Conn, tenant: TenantId) -> Result<Option<PreviousBoot>, StoreError> {
        let sql = Sql::new(
            "SELECT boot_id, next_seq, closed FROM source_cursors \
             WHERE tenant_id = $1 AND source_id = $2 ORDER BY opened_at DESC, boot_id DESC LIMIT 1",
        );
        let row = db.fetch_optional(sql.bind(tenant).bind(self.source())).await?;
        row.map(|row| {
            let next: u64 = row.get("next_seq")?;
            Ok(PreviousBoot { boot: row.get("boot_id")?, last_seq: next.checked_sub(1), closed: row.get("closed")? })
        })
        .transpose()
    }
}
