//! Sources of ledger entries: enrolled sidecars, and the control plane.

use aegis_core::id::{SourceId, TenantId};
use aegis_core::sidecar::{Heartbeat, ToolAnnouncement};
use aegis_core::time::Timestamp;
use aegis_core::words;
use aegis_ledger::entry::Body;
use aegis_ledger::rows::Enrol;
use aegis_ledger::signing::PublicKey;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::join_token;
use crate::ledger::control::{CONTROL_NAME, ControlSource};
use crate::propagation;
use crate::sql::{self, Row, Sql};
use crate::store::Store;
use crate::tx::{UpkeepTx, WriteTx};

/// Sources one list returns at most.
pub const SOURCES_MAX: u32 = 1_000;

words! {
    /// What a source is.
    pub enum SourceKind {
        /// A sidecar.
        Sidecar = "sidecar",
        /// The control plane itself.
        Control = "control",
    }
}

words! {
    /// Whether a source is heard.
    pub enum SourceStatus {
        /// Yes.
        Active = "active",
        /// No longer.
        Revoked = "revoked",
    }
}

/// An enrolled source.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Its id, for ever.
    pub id: SourceId,
    /// What it is.
    pub kind: SourceKind,
    /// Its name for people.
    pub name: String,
    /// Its identity key.
    pub identity: PublicKey,
    /// Whether it is heard.
    pub status: SourceStatus,
    /// The binary's version, as last told.
    pub version: String,
    /// Where clients reach it, as last told; empty if never.
    pub public_url: String,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// Its last heartbeat or enrolment.
    pub last_seen_at: Option<Timestamp>,
    /// The snapshot it has in force, as last told.
    pub applied_version: Option<u64>,
    /// Since when.
    pub applied_at: Option<Timestamp>,
    /// Its last heartbeat, without tools.
    pub heartbeat: Option<Heartbeat>,
    /// The tools it last announced.
    pub tools: Vec<ToolAnnouncement>,
}

/// Who delivers a batch, and for whom it may speak.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    pub(crate) source: SourceId,
    pub(crate) identity: PublicKey,
    /// Sorted.
    pub(crate) tenants: Vec<TenantId>,
}

/// A sidecar that asks to be enrolled; its proof of possession has been checked.
#[derive(Debug, Clone)]
pub struct NewSidecar {
    /// Its name for people.
    pub name: String,
    /// Its identity key.
    pub identity: PublicKey,
    /// The binary's version.
    pub version: String,
}

const COLUMNS: &str = "s.source_id, s.kind, s.name, s.identity_key, s.status, s.version, s.public_url, s.enrolled_at, \
     s.last_seen_at, s.applied_version, s.applied_at, s.heartbeat, s.tools";

/// One source: platform-wide.
pub async fn get(db: &mut Conn, source: SourceId) -> Result<Option<Source>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(" FROM sources s WHERE s.source_id = ").push_bind(source);
    db.fetch_optional(sql).await?.as_ref().map(from_row).transpose()
}

/// The sidecars that speak for a tenant, oldest first.
pub async fn list(db: &mut Conn, tenant: TenantId) -> Result<Vec<Source>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(" FROM sources s JOIN source_tenants t ON t.source_id = s.source_id WHERE t.tenant_id = ");
    sql.push_bind(tenant).push(" ORDER BY s.enrolled_at, s.source_id LIMIT ").push_bind(SOURCES_MAX);
    db.fetch_all(sql).await?.iter().map(from_row).collect()
}

/// Every sidecar of the deployment, oldest first: platform-wide.
pub async fn list_all(db: &mut Conn) -> Result<Vec<Source>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(" FROM sources s WHERE s.kind = 'sidecar' ORDER BY s.enrolled_at, s.source_id LIMIT ");
    sql.push_bind(SOURCES_MAX);
    db.fetch_all(sql).await?.iter().map(from_row).collect()
}

/// The tenants a source speaks for, sorted.
pub async fn tenants(db: &mut Conn, source: SourceId) -> Result<Vec<TenantId>, StoreError> {
    let sql = Sql::new("SELECT tenant_id FROM source_tenants WHERE source_id = $1 ORDER BY tenant_id").bind(source);
    db.fetch_all(sql).await?.iter().map(|row| row.get("tenant_id")).collect()
}

/// Enrols a sidecar with a join token: one use of it is taken, and the ledger of each of its tenants gets the
/// sidecar's identity key. The same key with the same token again is the same enrolment and takes nothing.
///
/// # Errors
/// [`StoreError::NotFound`] if the token is unknown, expired or used up, [`StoreError::Conflict`] `key_taken` if
/// the key is enrolled with another token or revoked.
pub async fn enrol(store: &Store, token_hash: &[u8; 32], new: &NewSidecar) -> Result<Source, StoreError> {
    let token = join_token::get(&mut *store.read_platform().await?, token_hash).await?;
    let token = token.ok_or(StoreError::NotFound("join_token"))?;
    let mut tx = store.write_all(&token.tenants).await?;
    if let Some((source, by)) = by_identity(&mut tx, &new.identity).await? {
        return if by == Some(token.id) && source.status == SourceStatus::Active {
            Ok(source)
        } else {
            Err(StoreError::Conflict { what: "source", reason: "key_taken" })
        };
    }
    join_token::take(&mut tx, token.id).await?;
    let id = insert(&mut tx, new, token.id).await?;
    let enrol = Enrol {
        enrolled: id,
        name: new.name.clone(),
        identity_key_id: new.identity.id().0,
        identity_key: new.identity.to_base64(),
    };
    let mut tx = tx.record(Body::Enrol(enrol)).await?;
    let source = get(&mut tx, id).await?.ok_or(StoreError::NotFound("source"))?;
    // Dead right after the commit: the sidecar asks again with the same key and token and gets the same answer.
    tx.commit().await?;
    Ok(source)
}

async fn insert(
    tx: &mut WriteTx,
    new: &NewSidecar,
    token: aegis_core::id::JoinTokenId,
) -> Result<SourceId, StoreError> {
    let now = tx.now();
    let id = SourceId::generate(now, tx.store().entropy());
    let sql = Sql::new(
        "INSERT INTO sources (source_id, kind, name, identity_key, identity_key_id, status, version, public_url, \
         enrolled_at, last_seen_at, join_token_id) VALUES ($1, 'sidecar', $2, $3, $4, 'active', $5, '', $6, $6, $7)",
    );
    let sql = sql.bind(id).bind(new.name.as_str()).bind(new.identity.to_base64()).bind(new.identity.id().0);
    tx.execute(sql.bind(new.version.as_str()).bind(now).bind(token))
        .await
        .map_err(|e| e.unique_as("source", "key_taken"))?;
    for tenant in tx.tenants().collect::<Vec<_>>() {
        let sql = Sql::new("INSERT INTO source_tenants (source_id, tenant_id) VALUES ($1, $2)");
        tx.execute(sql.bind(id).bind(tenant)).await?;
    }
    Ok(id)
}

async fn by_identity(
    db: &mut Conn,
    identity: &PublicKey,
) -> Result<Option<(Source, Option<aegis_core::id::JoinTokenId>)>, StoreError> {
    let mut sql = Sql::new("SELECT ");
    sql.push(COLUMNS).push(", s.join_token_id FROM sources s WHERE s.identity_key = ").push_bind(identity.to_base64());
    let row = db.fetch_optional(sql).await?;
    row.map(|row| Ok((from_row(&row)?, row.maybe("join_token_id")?))).transpose()
}

/// Keeps what a sidecar last said of itself, and which kill switches and policies it has newly put in force.
///
/// # Errors
/// [`StoreError::NotFound`] if there is no such active sidecar.
pub async fn heartbeat(tx: &mut UpkeepTx, known: &Source, beat: &Heartbeat, now: Timestamp) -> Result<(), StoreError> {
    let (source, before) = (known.id, known.applied_version.unwrap_or(0));
    if beat.snapshot_version > before {
        propagation::note(tx, source, before, beat.snapshot_version, beat.snapshot_applied_at).await?;
    }
    let tools = beat.tools.as_ref().map(sql::json).transpose()?;
    let beat = Heartbeat { tools: None, checkpoints: Vec::new(), ..beat.clone() };
    let sql = Sql::new(
        "UPDATE sources SET version = $1, public_url = $2, last_seen_at = $3, applied_version = $4, applied_at = $5, \
         heartbeat = $6, tools = COALESCE($7, tools) WHERE source_id = $8 AND status = 'active'",
    );
    let sql = sql.bind(beat.version.as_str()).bind(beat.public_url.as_str()).bind(now).bind(beat.snapshot_version);
    let sql = sql.bind(beat.snapshot_applied_at).bind(sql::json(&beat)?).bind(tools).bind(source);
    if tx.execute(sql).await? == 0 { Err(StoreError::NotFound("source")) } else { Ok(()) }
}

/// Ends an enrolment; the write must concern the source's tenants.
///
/// # Errors
/// [`StoreError::NotFound`] if the source is not an active sidecar of one of the write's tenants.
pub async fn revoke(tx: &mut WriteTx, source: SourceId) -> Result<(), StoreError> {
    let mut sql =
        Sql::new("UPDATE sources SET status = 'revoked' WHERE kind = 'sidecar' AND status = 'active' AND source_id = ");
    sql.push_bind(source)
        .push(" AND EXISTS (SELECT 1 FROM source_tenants t WHERE t.source_id = sources.source_id AND t.tenant_id IN ");
    sql.push_tuple(tx.tenants().map(Into::into).collect::<Vec<_>>()).push(")");
    if tx.execute(sql).await? == 0 { Err(StoreError::NotFound("source")) } else { Ok(()) }
}

/// Who delivers, if it is still enrolled.
pub(crate) async fn sender(db: &mut Conn, source: SourceId) -> Result<Sender, StoreError> {
    let known = get(db, source).await?.ok_or(StoreError::NotFound("source"))?;
    match known.status {
        SourceStatus::Revoked => Err(StoreError::Conflict { what: "source", reason: "revoked" }),
        SourceStatus::Active => Ok(Sender { source, identity: known.identity, tenants: tenants(db, source).await? }),
    }
}

/// Makes the control plane itself known as a source.
pub(crate) async fn register_control(db: &mut Conn, control: &ControlSource, now: Timestamp) -> Result<(), StoreError> {
    let sql = Sql::new(
        "INSERT INTO sources (source_id, kind, name, identity_key, identity_key_id, status, version, public_url, \
         enrolled_at, last_seen_at) VALUES ($1, 'control', $2, $3, $4, 'active', $5, '', $6, $6) \
         ON CONFLICT (source_id) DO UPDATE SET version = excluded.version, last_seen_at = excluded.last_seen_at",
    );
    let identity = control.identity();
    let sql = sql.bind(control.source()).bind(CONTROL_NAME).bind(identity.to_base64()).bind(identity.id().0);
    db.execute(sql.bind(control.software()).bind(now)).await.map(drop)
}

fn from_row(row: &Row) -> Result<Source, StoreError> {
    let identity: String = row.get("identity_key")?;
    let tools: Option<String> = row.maybe("tools")?;
    let heartbeat: Option<String> = row.maybe("heartbeat")?;
    Ok(Source {
        id: row.get("source_id")?,
        kind: row.word("kind", SourceKind::parse)?,
        name: row.get("name")?,
        identity: PublicKey::parse(&identity).map_err(StoreError::corrupt)?,
        status: row.word("status", SourceStatus::parse)?,
        version: row.get("version")?,
        public_url: row.get("public_url")?,
        enrolled_at: row.get("enrolled_at")?,
        last_seen_at: row.maybe("last_seen_at")?,
        applied_version: row.maybe("applied_version")?,
        applied_at: row.maybe("applied_at")?,
        heartbeat: heartbeat.map(|t| serde_json::from_str(&t)).transpose().map_err(StoreError::corrupt)?,
        tools: tools.map(|t| serde_json::from_str(&t)).transpose().map_err(StoreError::corrupt)?.unwrap_or_default(),
    })
}
