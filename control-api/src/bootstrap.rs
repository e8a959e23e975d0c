//! The first tenant, its administrator, and join tokens: what the command line makes, without any default secret.

use std::path::PathBuf;
use std::time::Duration;

use aegis_core::id::{OrgId, TenantId, UserId};
use aegis_core::principal::Role;
use aegis_core::secret::Secret;
use aegis_core::tenant::{DegradedModePolicy, Limits, SignalWeights, TenantRecord, TenantStatus, Tier};
use aegis_core::time::Timestamp;
use aegis_ledger::entry::Body;
use aegis_ledger::rows::Admin;
use aegis_store::user::{self, User, email_key};
use aegis_store::{Store, StoreError, WriteTx, join_token, tenant, token_key};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::error::{ApiError, Issues};
use crate::password::Passwords;
use crate::token::{TokenSigner, opaque};

/// What join tokens begin with.
const JOIN_PREFIX: &str = "acj_";
/// Who writes on behalf of the command line.
const ACTOR: &str = "operator:cli";
/// Management requests a minute of the first tenant: it administers the platform.
const BOOTSTRAP_RPM: u32 = 60_000;

type Fault = Box<dyn std::error::Error>;

/// Makes the first tenant with its administrator and a join token, and prints them as JSON.
#[derive(Debug, Args)]
pub(crate) struct Bootstrap {
    /// The tenant's name.
    #[arg(long)]
    tenant_name: String,
    /// The administrator's e-mail address.
    #[arg(long)]
    admin_email: String,
    /// A file with the administrator's password; generated if absent.
    #[arg(long)]
    admin_password_file: Option<PathBuf>,
    /// Does nothing, quietly, if there is a tenant already.
    #[arg(long)]
    if_empty: bool,
}

/// Makes a token with which a sidecar enrols, and prints it as JSON.
#[derive(Debug, Args)]
pub(crate) struct JoinToken {
    /// The tenant that the sidecar speaks for; several if repeated.
    #[arg(long, required = true)]
    tenant: Vec<TenantId>,
    /// How many sidecars may enrol with it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    uses: u32,
    /// Hours until it ends.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=720))]
    hours: u64,
}

/// Runs `bootstrap`; the JSON to print, if any.
pub(crate) async fn bootstrap(
    arguments: &Bootstrap,
    store: &Store,
    signer: &TokenSigner,
    passwords: &Passwords,
) -> Result<Option<Value>, Fault> {
    if tenant::count(&mut *store.read_platform().await?).await? > 0 {
        return if arguments.if_empty { Ok(None) } else { Err("there is a tenant already".into()) };
    }
    let password = match &arguments.admin_password_file {
        Some(path) => {
            Secret::new(std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?.trim_end())
        }
        None => opaque("", store.entropy()),
    };
    let mut issues = Issues::default();
    crate::api::check_account(&arguments.admin_email, &password, &mut issues);
    if let Err(ApiError::Validation(details)) = issues.into_result() {
        let problems: Vec<_> = details.iter().map(|d| format!("{} {}", d.loc.join("."), d.msg)).collect();
        return Err(problems.join("; ").into());
    }
    let record = first_tenant(TenantId::generate(store.now(), store.entropy()), arguments.tenant_name.trim());
    let password_hash = passwords.hash(password.clone()).await?;
    let mut tx = match tenant::create_first(store, &record).await {
        Err(StoreError::Conflict { .. }) if arguments.if_empty => return Ok(None),
        other => other?,
    };
    let admin = administrator(&tx, &record, &arguments.admin_email, password_hash);
    user::create(&mut tx, &admin).await?;
    let (join, expires_at) = join_token_in(&mut tx, 1, Duration::from_hours(24)).await?;
    tx.record(entry("tenant.create", &format!("tenant:{}", record.id)))
        .await?
        .record(entry("user.create", &format!("user:{}", admin.id)))
        .await?
        .record(entry("join_token.create", &format!("expires:{expires_at}")))
        .await?
        .commit()
        .await?;
    token_key::publish(store, signer.key(), "introduced").await?;
    Ok(Some(json!({
        "tenant_id": record.id,
        "admin": { "email": admin.email, "password": password.expose() },
        "join_token": join.expose(),
    })))
}

/// Runs `join-token`; the JSON to print.
pub(crate) async fn join_token(arguments: &JoinToken, store: &Store) -> Result<Value, Fault> {
    let mut tx = store.write_all(&arguments.tenant).await?;
    let (join, expires_at) = join_token_in(&mut tx, arguments.uses, Duration::from_hours(arguments.hours)).await?;
    tx.record(entry("join_token.create", &format!("expires:{expires_at}"))).await?.commit().await?;
    Ok(json!({ "join_token": join.expose(), "expires_at": expires_at }))
}

async fn join_token_in(tx: &mut WriteTx, uses: u32, ttl: Duration) -> Result<(Secret, Timestamp), Fault> {
    let (token, expires_at) = (opaque(JOIN_PREFIX, tx.store().entropy()), tx.now().plus(ttl));
    join_token::create(tx, &token.digest(), ACTOR, expires_at, uses).await?;
    Ok((token, expires_at))
}

fn first_tenant(id: TenantId, name: &str) -> TenantRecord {
    TenantRecord {
        id,
        org_id: OrgId::from_uuid(id.as_uuid()),
        name: name.to_owned(),
        tier: Tier::Enterprise,
        status: TenantStatus::Active,
        limits: Limits::default(),
        degraded_mode_policy: DegradedModePolicy::BlockHighRisk,
        weights: SignalWeights::default(),
        rpm_limit: Some(BOOTSTRAP_RPM),
        redact_pii: false,
        mfa_enforced: false,
    }
}

fn administrator(tx: &WriteTx, tenant: &TenantRecord, email: &str, password_hash: String) -> User {
    User {
        id: UserId::generate(tx.now(), tx.store().entropy()),
        tenant_id: tenant.id,
        email: email_key(email),
        full_name: None,
        role: Role::Admin,
        platform_admin: true,
        is_active: true,
        password_hash,
        created_at: tx.now(),
        updated_at: tx.now(),
    }
}

fn entry(action: &str, object: &str) -> Body {
    Body::Admin(Admin {
        actor: ACTOR.into(),
        action: action.into(),
        object: object.into(),
        detail: Map::new(),
        request_id: String::new(),
    })
}
