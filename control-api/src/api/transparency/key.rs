//! The keys that sign checkpoints and daily roots.

use aegis_core::id::TenantId;
use aegis_core::time::Timestamp;
use aegis_ledger::checkpoint::FIRST_EPOCH;
use aegis_ledger::rotation::LogKeys;
use aegis_ledger::signing::PublicKey;
use aegis_store::checkpoint_key::CheckpointKey;
use aegis_store::ledger::checkpoint;
use aegis_store::ledger::log_key::{self, KeyEntry};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::api::receipts::key::pem;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::extract::Query;
use crate::state::App;

/// The key that signs checkpoints and daily roots.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RootKeyView {
    #[schema(examples("ed25519"))]
    algorithm: &'static str,
    #[schema(examples("-----BEGIN PUBLIC KEY-----\nMCow…\n-----END PUBLIC KEY-----\n"))]
    public_key_pem: String,
    /// The first 16 bytes of the key's SHA-256, hex.
    fingerprint: String,
    /// As `fingerprint`.
    public_key_fingerprint: String,
    /// When it followed the key before it; the start of this process if it is the first.
    created_at: Timestamp,
}

/// A key that signs no more.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RetiredKeyView {
    fingerprint: String,
    public_key_pem: String,
    #[schema(examples("ed25519"))]
    algorithm: &'static str,
    rotated_at: Timestamp,
}

/// A key as a tenant's ledger knows it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KnownKeyView {
    fingerprint: String,
    public_key_pem: String,
    /// The key with the log's name, as tools for signed notes take it (C2SP signed-note).
    #[schema(examples("local/aegis/0192f0c1-7c3e-7a51-9d3b-6f1f0a5e4b21+1f2e3d4c+AQ=="))]
    verifier_key: String,
    /// The ledger's entry that introduced it: `index` and `entry`.
    #[schema(value_type = Object)]
    introduced_by: Value,
    /// The size of the largest tree it speaks for; absent while it is in use.
    speaks_until: Option<u64>,
}

/// Active and retired keys.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeysView {
    active: RootKeyView,
    /// Keys of this deployment that were retired.
    historical: Vec<RetiredKeyView>,
    /// With `tenant_id`: the keys that this tenant's ledger has introduced, oldest first.
    keys: Vec<KnownKeyView>,
}

/// Whose ledger.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct KeysQuery {
    /// The tenant whose ledger introduced the keys.
    #[param(value_type = Option<uuid::Uuid>)]
    tenant_id: Option<TenantId>,
}

/// `GET /transparency/key`
pub(super) async fn get(State(app): State<App>) -> Result<Answer<RootKeyView>, ApiError> {
    Ok(Answer::ok(active(&app, &*app.publisher.key()?)))
}

/// `GET /transparency/keys`
pub(super) async fn list(State(app): State<App>, Query(query): Query<KeysQuery>) -> Result<Answer<KeysView>, ApiError> {
    let mut keys = Vec::new();
    if let Some(tenant) = query.tenant_id {
        let mut tx = app.store.read(tenant).await?;
        let epoch = checkpoint::epoch(&mut tx, tenant).await?.max(FIRST_EPOCH);
        let known = log_key::keys(&mut tx, tenant).await?;
        for entry in log_key::introduced(&mut tx, tenant).await? {
            keys.push(view(&app, tenant, epoch, &entry, &known)?);
        }
    }
    let key = app.publisher.key()?;
    Ok(Answer::ok(KeysView { active: active(&app, &key), historical: historical(&key)?, keys }))
}

fn historical(key: &CheckpointKey) -> Result<Vec<RetiredKeyView>, ApiError> {
    let retired = key.rotations.iter().map(|rotated| {
        let key = PublicKey::parse(&rotated.rotation.previous).map_err(|e| ApiError::bug("a retired key", &e))?;
        let (fingerprint, public_key_pem) = (key.id().0, pem(&key));
        Ok(RetiredKeyView { fingerprint, public_key_pem, algorithm: "ed25519", rotated_at: rotated.at })
    });
    retired.collect()
}

fn active(app: &App, key: &CheckpointKey) -> RootKeyView {
    let rotated_at = key.rotations.last().map(|rotated| rotated.at);
    let key = key.private.public();
    let fingerprint = key.id().0;
    RootKeyView {
        algorithm: "ed25519",
        public_key_pem: pem(&key),
        fingerprint: fingerprint.clone(),
        public_key_fingerprint: fingerprint,
        created_at: rotated_at.unwrap_or_else(|| app.store.control().opened_at()),
    }
}

fn view(app: &App, tenant: TenantId, epoch: u64, known: &KeyEntry, keys: &LogKeys) -> Result<KnownKeyView, ApiError> {
    let fault = |e: &dyn std::fmt::Display| ApiError::bug("an introduced key", e);
    let key = PublicKey::parse(&known.key.public_key).map_err(|e| fault(&e))?;
    let entry = known.entry.encode().map_err(|e| fault(&e))?;
    let entry: Value = serde_json::from_str(&entry).map_err(|e| fault(&e))?;
    let deployment = &app.config.deployment;
    let verifier = aegis_ledger::checkpoint::verifier(deployment, tenant, epoch, key).map_err(|e| fault(&e))?;
    Ok(KnownKeyView {
        fingerprint: known.key.key_id.clone(),
        public_key_pem: pem(&key),
        verifier_key: verifier.to_string(),
        introduced_by: json!({ "index": known.index, "entry": entry }),
        speaks_until: keys.by_id(&known.key.key_id).and_then(|key| key.ended_at),
    })
}
