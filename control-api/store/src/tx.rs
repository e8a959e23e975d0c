//! Transactions: what is read is consistent, what is written is recorded in the ledger or cannot be committed.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use aegis_core::id::TenantId;
use aegis_core::snapshot::Item;
use aegis_core::time::Timestamp;
use aegis_ledger::entry::Body;

use crate::audit::{self, AuditRow};
use crate::conn::Conn;
use crate::dialect::Dialect;
use crate::error::StoreError;
use crate::idempotency;
use crate::item;
use crate::ledger::Head;
use crate::notice::{CHANNEL, LedgerGrew};
use crate::sql::Sql;
use crate::store::Store;

/// Tenants one write may concern at most.
pub(crate) const TENANTS_PER_WRITE_MAX: usize = 1_000;

/// A consistent view. Nothing is ever written through it.
pub struct ReadTx {
    conn: Conn,
}

impl ReadTx {
    pub(crate) const fn new(conn: Conn) -> Self {
        Self { conn }
    }
}

/// A write without a ledger entry, for state that is no management write.
pub struct UpkeepTx {
    conn: Conn,
}

impl UpkeepTx {
    pub(crate) const fn new(conn: Conn) -> Self {
        Self { conn }
    }

    /// Commits. A process that dies before leaves nothing behind.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.conn.commit().await
    }
}

/// A management write under way. It holds its tenants' ledgers and cannot be committed before it is recorded.
pub struct WriteTx {
    store: Store,
    conn: Conn,
    heads: BTreeMap<TenantId, Head>,
    /// Numbered in `commit`, under the lock that orders all changes.
    items: BTreeMap<(TenantId, String), Option<Item>>,
    now: Timestamp,
}

/// A management write with its ledger entry.
pub struct RecordedTx {
    write: WriteTx,
}

impl WriteTx {
    pub(crate) async fn lock(store: Store, mut conn: Conn, tenants: &[TenantId]) -> Result<Self, StoreError> {
        if tenants.is_empty() || tenants.len() > TENANTS_PER_WRITE_MAX {
            return Err(StoreError::Invalid { what: "tenants", reason: "too_few_or_too_many" });
        }
        // Sorted and without repetition, so two writes never wait for each other.
        let mut heads: BTreeMap<_, _> = tenants.iter().map(|t| (*t, Head::default())).collect();
        for (tenant, head) in &mut heads {
            *head = Head::lock(&mut conn, *tenant).await?;
        }
        Ok(Self::locked(store, conn, heads))
    }

    pub(crate) fn locked(store: Store, conn: Conn, heads: BTreeMap<TenantId, Head>) -> Self {
        let now = store.now();
        Self { store, conn, heads, items: BTreeMap::new(), now }
    }

    /// When the write began: the time of everything in it.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The store, for its clock and randomness.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The tenants it concerns.
    pub fn tenants(&self) -> impl Iterator<Item = TenantId> {
        self.heads.keys().copied()
    }

    /// Puts an item into the snapshot of every tenant of the write.
    pub fn item_put(&mut self, item: &Item) {
        let key = item.key();
        for tenant in self.heads.keys() {
            self.items.insert((*tenant, key.clone()), Some(item.clone()));
        }
    }

    /// Takes an item out of the snapshot of every tenant of the write.
    pub fn item_remove(&mut self, key: &str) {
        for tenant in self.heads.keys() {
            self.items.insert((*tenant, key.to_owned()), None);
        }
    }

    /// Appends the entry to the ledger of every tenant of the write, signed by the control plane.
    pub async fn record(mut self, body: Body) -> Result<RecordedTx, StoreError> {
        self.append(&body).await?;
        Ok(RecordedTx { write: self })
    }

    async fn append(&mut self, body: &Body) -> Result<(), StoreError> {
        let control = self.store.control();
        for (tenant, head) in &mut self.heads {
            control.append(&mut self.conn, *tenant, head, body, self.now, self.store.entropy()).await?;
        }
        Ok(())
    }
}

impl RecordedTx {
    /// Appends one more entry, for a write that has several.
    pub async fn record(mut self, body: Body) -> Result<Self, StoreError> {
        self.write.append(&body).await?;
        Ok(self)
    }

    /// The entry recorded last, as a row of a tenant's ledger.
    pub async fn recorded(&mut self, tenant: TenantId) -> Result<AuditRow, StoreError> {
        let size = self.write.heads.get(&tenant).map_or(0, |head| head.size);
        let rows = audit::since(&mut self.write.conn, tenant, size.saturating_sub(1), 1).await?;
        rows.into_iter().next().ok_or(StoreError::NotFound("entry"))
    }

    /// Commits the write, its entry and its snapshot items together, then tells the waiters.
    ///
    /// A process that dies before the commit leaves nothing behind. One that dies right after it has told nobody:
    /// waiters of this process died with it, other replicas are told by the database, and whoever asks anew reads
    /// the tables.
    pub async fn commit(self) -> Result<(), StoreError> {
        let WriteTx { store, mut conn, heads, items, now } = self.write;
        let claim = idempotency::current();
        if let Some(claim) = &claim {
            claim.mark(&mut conn).await?;
        }
        let grown: Vec<_> = heads.iter().map(|(t, h)| LedgerGrew { tenant: *t, size: h.size }).collect();
        for grew in &grown {
            tell_ledger(&mut conn, *grew).await?;
        }
        let change = if items.is_empty() { None } else { Some(item::apply(&mut conn, items, now).await?) };
        if let (Some(number), Dialect::Postgres) = (change, conn.dialect()) {
            let sql = Sql::new("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(format!("c:{number}"));
            conn.execute(sql).await?;
        }
        conn.commit().await?;
        if let Some(claim) = claim {
            claim.committed();
        }
        for grew in grown {
            store.notices().ledger_grew(grew);
        }
        if let Some(number) = change {
            store.notices().changed(number);
        }
        Ok(())
    }
}

/// Tells other replicas, at commit, that a ledger has grown.
pub(crate) async fn tell_ledger(conn: &mut Conn, grew: LedgerGrew) -> Result<(), StoreError> {
    match conn.dialect() {
        Dialect::Sqlite => Ok(()),
        Dialect::Postgres => {
            let payload = format!("l:{}:{}", grew.tenant, grew.size);
            conn.execute(Sql::new("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(payload)).await.map(drop)
        }
    }
}

macro_rules! conn_inside {
    ($($type:ty: $($field:ident).+;)+) => {$(
        impl Deref for $type {
            type Target = Conn;
            fn deref(&self) -> &Conn {
                &self.$($field).+
            }
        }
        impl DerefMut for $type {
            fn deref_mut(&mut self) -> &mut Conn {
                &mut self.$($field).+
            }
        }
    )+};
}

conn_inside! {
    ReadTx: conn;
    UpkeepTx: conn;
    WriteTx: conn;
    RecordedTx: write.conn;
}
