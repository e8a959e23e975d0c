//! Access tokens: the signing key, and what the control plane puts into a token.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use aegis_core::entropy::{self, Entropy};
use aegis_core::id::{AgentId, OrgId, SourceId, TenantId, TokenId};
use aegis_core::principal::{ACCESS_TOKEN_TTL_S, Claims, Role, TOKEN_AUDIENCE, TokenType};
use aegis_core::secret::Secret;
use aegis_core::sidecar::SIDECAR_CREDENTIAL_TTL_S;
use aegis_core::snapshot::TokenKey;
use aegis_core::time::Timestamp;
use aegis_ledger::signing::PrivateKey;
use aegis_store::user::User;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};

use crate::error::ApiError;

/// The signing key's file below the data folder's `keys/`.
const KEY_FILE: &str = "token.key";
/// What stands before an Ed25519 seed in PKCS #8 (RFC 8410).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Signs access tokens.
pub(crate) struct TokenSigner {
    key: TokenKey,
    encoding: EncodingKey,
    issuer: String,
}

/// A token that was issued.
pub(crate) struct Issued {
    /// Its text.
    pub(crate) text: Secret,
    /// What it says.
    pub(crate) claims: Claims,
}

impl Issued {
    /// Its end.
    pub(crate) fn expires_at(&self) -> Timestamp {
        Timestamp::from_seconds(self.claims.exp)
    }

    /// Its lifetime in seconds.
    pub(crate) fn expires_in(&self) -> i64 {
        self.claims.exp - self.claims.iat
    }
}

impl TokenSigner {
    /// Loads the signing key, made if absent. `issuer` is the deployment's name.
    pub(crate) fn load(keys_dir: &Path, issuer: &str, entropy: &dyn Entropy) -> Result<Self, std::io::Error> {
        let path = keys_dir.join(KEY_FILE);
        let seed = match read_seed(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => create_seed(&path, entropy)?,
            other => other?,
        };
        Ok(Self::from_seed(&seed, issuer))
    }

    /// From the key's seed.
    pub(crate) fn from_seed(seed: &[u8; 32], issuer: &str) -> Self {
        let public = PrivateKey::from_seed(seed).public();
        let key = TokenKey { kid: public.id().0, x: URL_SAFE_NO_PAD.encode(public.to_bytes()), not_after: None };
        let encoding = EncodingKey::from_ed_der(&[&PKCS8_PREFIX[..], seed].concat());
        Self { key, encoding, issuer: issuer.to_owned() }
    }

    /// The public half.
    pub(crate) fn key(&self) -> &TokenKey {
        &self.key
    }

    /// A user's access token.
    pub(crate) fn for_user(
        &self,
        user: &User,
        org_id: OrgId,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Issued, ApiError> {
        let claims = self.claims(user.id.to_string(), user.role, user.tenant_id, org_id, now, entropy);
        self.issue(Claims { user_id: Some(user.id), platform_admin: user.platform_admin, ..claims })
    }

    /// An agent's access token.
    pub(crate) fn for_agent(
        &self,
        agent: AgentId,
        tenant: TenantId,
        org_id: OrgId,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Issued, ApiError> {
        let claims = self.claims(agent.to_string(), Role::Agent, tenant, org_id, now, entropy);
        self.issue(Claims { agent_id: Some(agent), ..claims })
    }

    /// A sidecar's credential.
    pub(crate) fn for_sidecar(
        &self,
        source: SourceId,
        tenants: Vec<TenantId>,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Issued, ApiError> {
        let tenant = *tenants.first().ok_or_else(|| ApiError::bug("sidecar token", &"no tenant"))?;
        let org_id = OrgId::from_uuid(tenant.as_uuid());
        let claims = self.claims(source.to_string(), Role::Service, tenant, org_id, now, entropy);
        let exp = claims.iat + SIDECAR_CREDENTIAL_TTL_S;
        self.issue(Claims { typ: TokenType::Sidecar, exp, tenants, ..claims })
    }

    fn claims(
        &self,
        sub: String,
        role: Role,
        tenant_id: TenantId,
        org_id: OrgId,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Claims {
        Claims {
            iss: self.issuer.clone(),
            aud: TOKEN_AUDIENCE.into(),
            sub,
            jti: TokenId::generate(now, entropy),
            typ: TokenType::Access,
            iat: now.as_seconds(),
            exp: now.as_seconds() + ACCESS_TOKEN_TTL_S,
            tenant_id,
            org_id,
            role,
            user_id: None,
            agent_id: None,
            tenants: Vec::new(),
            platform_admin: false,
        }
    }

    fn issue(&self, claims: Claims) -> Result<Issued, ApiError> {
        let header = Header { kid: Some(self.key.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        let text = jsonwebtoken::encode(&header, &claims, &self.encoding).map_err(|e| ApiError::bug("token", &e))?;
        Ok(Issued { text: Secret::new(text), claims })
    }
}

fn read_seed(path: &Path) -> Result<[u8; 32], std::io::Error> {
    let text = fs::read_to_string(path)?;
    if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        return Err(std::io::Error::other(format!("{}: others may read it; set its mode to 0600", path.display())));
    }
    let mut seed = [0_u8; 32];
    hex::decode_to_slice(text.trim(), &mut seed)
        .map_err(|_| std::io::Error::other(format!("{}: not 32 bytes in hex", path.display())))?;
    Ok(seed)
}

/// Writes aside and links into place: a process that dies here leaves no half key, and two that start together agree.
fn create_seed(path: &Path, entropy: &dyn Entropy) -> Result<[u8; 32], std::io::Error> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let aside = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(hex::encode(entropy::random::<32>(entropy)).as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&aside, path);
    fs::remove_file(&aside)?;
    match linked {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e),
        _ => read_seed(path),
    }
}

/// A fresh opaque secret of 32 random bytes with a prefix that tells its kind.
pub(crate) fn opaque(prefix: &str, entropy: &dyn Entropy) -> Secret {
    Secret::new(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(entropy::random::<32>(entropy))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_core::entropy::SystemEntropy;
    use aegis_pipeline::credential::verify_token;

    #[test]
    fn tokens_verify_with_the_published_key_only() {
        let now = Timestamp::from_seconds(1_700_000_000);
        let signer = TokenSigner::from_seed(&[7; 32], "local");
        let (agent, tenant) = (AgentId::generate(now, &SystemEntropy), TenantId::generate(now, &SystemEntropy));
        let issued = signer.for_agent(agent, tenant, OrgId::from_uuid(tenant.as_uuid()), now, &SystemEntropy).unwrap();
        let keys = [signer.key().clone()];
        let claims = verify_token(issued.text.expose(), &keys[..], "local", now, TokenType::Access).unwrap();
        assert_eq!((claims.agent_id, claims.exp - claims.iat), (Some(agent), ACCESS_TOKEN_TTL_S));
        let stranger =
            TokenKey { kid: signer.key().kid.clone(), ..TokenSigner::from_seed(&[8; 32], "local").key().clone() };
        assert!(verify_token(issued.text.expose(), &[stranger][..], "local", now, TokenType::Access).is_err());
    }

    #[test]
    fn the_key_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = TokenSigner::load(dir.path(), "local", &SystemEntropy).unwrap();
        let second = TokenSigner::load(dir.path(), "local", &SystemEntropy).unwrap();
        assert_eq!(first.key(), second.key());
        fs::set_permissions(dir.path().join(KEY_FILE), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(TokenSigner::load(dir.path(), "local", &SystemEntropy).is_err());
    }
}
