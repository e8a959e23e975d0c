//! Credentials: the one place that turns a token or an API key into a principal, on both planes.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use aegis_core::id::TenantId;
use aegis_core::json;
use aegis_core::principal::{
    API_KEY_PREFIX, CLOCK_SKEW_MAX_S, Claims, Principal, Role, Scope, Subject, TOKEN_AUDIENCE, TokenType,
};
use aegis_core::secret::Secret;
use aegis_core::snapshot::{ApiKeyRecord, TenantSnapshot, TokenKey};
use aegis_core::time::{MICROS_PER_SECOND, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Bytes a token may have at most.
pub const TOKEN_BYTES_MAX: usize = 8_192;
/// Characters a key id may have at most.
pub const KID_MAX: usize = 128;
/// Verified tokens kept at most.
pub const TOKEN_CACHE_MAX: u64 = 65_536;
/// How long a verified token is believed before its signature is checked again.
pub const TOKEN_RECHECK: Duration = Duration::from_mins(1);
/// Characters of an API key after its prefix: 32 bytes in base64url without padding.
const API_KEY_BODY_LEN: usize = 43;

/// Why a credential is not valid. For logs and tests: clients get one text for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// There is none.
    #[error("no credential")]
    Absent,
    /// Not three base64url parts of JSON with one reading, or too long.
    #[error("the token is malformed")]
    Malformed,
    /// The header names another algorithm, or has members we do not know (`crit`, `jku`, …).
    #[error("the token's header is not acceptable")]
    Header,
    /// No such key.
    #[error("the token's key is not known")]
    UnknownKey,
    /// The key is no longer accepted.
    #[error("the token's key has ended")]
    KeyEnded,
    /// The signature is not the key's.
    #[error("the token's signature is wrong")]
    Signature,
    /// The claims are incomplete or contradict each other.
    #[error("the token's claims are not acceptable")]
    Claims,
    /// For another purpose, audience or deployment.
    #[error("the token is for something else")]
    Purpose,
    /// Issued in the future, beyond the tolerated skew.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Past its end.
    #[error("the credential has expired")]
    Expired,
    /// Revoked.
    #[error("the credential is revoked")]
    Revoked,
    /// No such API key.
    #[error("the API key is not known")]
    UnknownApiKey,
}

/// Where token keys are looked up.
pub trait TokenKeys {
    /// The key with this id.
    fn token_key(&self, kid: &str) -> Option<&TokenKey>;
}

impl TokenKeys for [TokenKey] {
    fn token_key(&self, kid: &str) -> Option<&TokenKey> {
        self.iter().find(|key| key.kid == kid)
    }
}

impl<S: BuildHasher> TokenKeys for HashMap<String, Arc<TokenKey>, S> {
    fn token_key(&self, kid: &str) -> Option<&TokenKey> {
        self.get(kid).map(Arc::as_ref)
    }
}

/// Verifies a token: algorithm, key, signature, purpose, audience, issuer, time. Not revocation.
///
/// Skew: a token issued up to 30 s ahead of `now` is accepted; one past its `exp` is not.
pub fn verify_token(
    text: &str,
    keys: &(impl TokenKeys + ?Sized),
    issuer: &str,
    now: Timestamp,
    expected: TokenType,
) -> Result<Claims, CredentialError> {
    verify_with_key(text, keys, issuer, now, expected).map(|(claims, _)| claims)
}

fn verify_with_key(
    text: &str,
    keys: &(impl TokenKeys + ?Sized),
    issuer: &str,
    now: Timestamp,
    expected: TokenType,
) -> Result<(Claims, String), CredentialError> {
    if text.len() > TOKEN_BYTES_MAX {
        return Err(CredentialError::Malformed);
    }
    let (signed, signature) = text.rsplit_once('.').ok_or(CredentialError::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(CredentialError::Malformed)?;
    let kid = read_header(part(header)?)?;
    let key = keys.token_key(&kid).ok_or(CredentialError::UnknownKey)?;
    check_key(key, now)?;
    let decoding = DecodingKey::from_ed_components(&key.x).map_err(|_| CredentialError::UnknownKey)?;
    let genuine = jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &decoding, Algorithm::EdDSA);
    if !genuine.unwrap_or(false) {
        return Err(CredentialError::Signature);
    }
    let claims: Claims = serde_json::from_value(Value::Object(part(payload)?)).map_err(|_| CredentialError::Claims)?;
    check_claims(&claims, issuer, now, expected)?;
    Ok((claims, kid))
}

/// One part of a token: base64url of a JSON object with one reading (duplicate members are refused).
fn part(text: &str) -> Result<Map<String, Value>, CredentialError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CredentialError::Malformed)?;
    match json::parse(&bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) | Err(_) => Err(CredentialError::Malformed),
    }
}

/// The header may hold `alg` (`EdDSA`), `kid` and `typ` (JWT), nothing else: what is not understood is refused.
fn read_header(mut header: Map<String, Value>) -> Result<String, CredentialError> {
    let algorithm = header.remove("alg");
    let purpose = header.remove("typ");
    let kid = header.remove("kid");
    let typed = purpose.is_none_or(|t| t.as_str().is_some_and(|t| t.eq_ignore_ascii_case("JWT")));
    if algorithm != Some(Value::from("EdDSA")) || !typed || !header.is_empty() {
        return Err(CredentialError::Header);
    }
    match kid {
        Some(Value::String(kid)) if (1..=KID_MAX).contains(&kid.len()) => Ok(kid),
        _ => Err(CredentialError::Header),
    }
}

fn check_key(key: &TokenKey, now: Timestamp) -> Result<(), CredentialError> {
    if key.not_after.is_some_and(|end| now >= end) { Err(CredentialError::KeyEnded) } else { Ok(()) }
}

fn check_claims(claims: &Claims, issuer: &str, now: Timestamp, expected: TokenType) -> Result<(), CredentialError> {
    if claims.typ != expected || claims.aud != TOKEN_AUDIENCE || claims.iss != issuer {
        return Err(CredentialError::Purpose);
    }
    if claims.exp <= claims.iat {
        return Err(CredentialError::Claims);
    }
    if claims.iat > now.as_seconds().saturating_add(CLOCK_SKEW_MAX_S) {
        return Err(CredentialError::NotYetValid);
    }
    check_end(claims, now)
}

fn check_end(claims: &Claims, now: Timestamp) -> Result<(), CredentialError> {
    if now >= Timestamp::from_seconds(claims.exp) { Err(CredentialError::Expired) } else { Ok(()) }
}

/// The principal behind verified access claims: a user or an agent, never both.
pub fn principal_of(claims: &Claims) -> Result<Principal, CredentialError> {
    let subject = match (claims.user_id, claims.agent_id) {
        (Some(user), None) if claims.sub == user.to_string() && !matches!(claims.role, Role::Agent) => {
            Subject::User(user)
        }
        (None, Some(agent)) if claims.sub == agent.to_string() && claims.role == Role::Agent => Subject::Agent(agent),
        _ => return Err(CredentialError::Claims),
    };
    Ok(Principal {
        tenant_id: claims.tenant_id,
        subject,
        role: claims.role,
        scopes: None,
        platform_admin: claims.platform_admin && claims.user_id.is_some(),
        token: Some((claims.jti, Timestamp::from_seconds(claims.exp))),
    })
}

/// Whether a token was revoked: itself, or all of its user's or agent's tokens issued until a moment.
///
/// `iat` has whole seconds, so a revocation covers the second in which it happened.
pub fn is_revoked(claims: &Claims, tenant: &TenantSnapshot) -> bool {
    let issued = claims.iat.saturating_mul(MICROS_PER_SECOND);
    let until = |end: Option<&Timestamp>| end.is_some_and(|end| issued <= end.as_micros());
    tenant.revoked_tokens.contains_key(&claims.jti)
        || until(claims.user_id.as_ref().and_then(|id| tenant.revoked_users.get(id)))
        || until(claims.agent_id.as_ref().and_then(|id| tenant.revoked_agents.get(id)))
}

/// The digest under which an API key is stored: SHA-256 of its text, hex. `None` if it cannot be one.
pub fn api_key_digest(key: &Secret) -> Option<String> {
    let body = key.expose().strip_prefix(API_KEY_PREFIX)?;
    let plausible = body.len() == API_KEY_BODY_LEN && URL_SAFE_NO_PAD.decode(body).is_ok();
    plausible.then(|| hex::encode(key.digest()))
}

/// The principal an API key stands for. A key that may execute is its agent; otherwise its strongest scope
/// gives the role: `write` SECURITY, `audit` AUDITOR, `read` VIEWER.
pub fn api_key_principal(
    tenant_id: TenantId,
    key: &ApiKeyRecord,
    now: Timestamp,
) -> Result<Principal, CredentialError> {
    if key.expires_at.is_some_and(|end| now >= end) {
        return Err(CredentialError::Expired);
    }
    let has = |scope| key.scopes.contains(&scope);
    let agent = key.agent_id.filter(|_| has(Scope::Execute));
    let role = if agent.is_some() {
        Role::Agent
    } else if has(Scope::Write) {
        Role::Security
    } else if has(Scope::Audit) {
        Role::Auditor
    } else {
        Role::Viewer
    };
    let subject = Subject::ApiKey { id: key.id, agent };
    Ok(Principal { tenant_id, subject, role, scopes: Some(key.scopes.clone()), platform_admin: false, token: None })
}

/// Tokens whose signature was checked lately, by SHA-256: bounded, each believed for at most 60 s. Every use
/// still checks the token's end and its key's; the caller checks revocation.
#[derive(Debug)]
pub struct TokenCache {
    verified: moka::sync::Cache<[u8; 32], Arc<Verified>>,
}

#[derive(Debug)]
struct Verified {
    claims: Claims,
    kid: String,
    expected: TokenType,
    at: Timestamp,
}

impl Default for TokenCache {
    fn default() -> Self {
        Self { verified: moka::sync::Cache::new(TOKEN_CACHE_MAX) }
    }
}

impl TokenCache {
    /// As [`verify_token`], with memory. All callers of one cache must name the same issuer.
    pub fn verify(
        &self,
        token: &Secret,
        keys: &(impl TokenKeys + ?Sized),
        issuer: &str,
        now: Timestamp,
        expected: TokenType,
    ) -> Result<Claims, CredentialError> {
        let digest: [u8; 32] = Sha256::digest(token.expose().as_bytes()).into();
        if let Some(known) = self.verified.get(&digest)
            && known.expected == expected
            && known.at <= now
            && now.since(known.at) < TOKEN_RECHECK
        {
            check_key(keys.token_key(&known.kid).ok_or(CredentialError::UnknownKey)?, now)?;
            check_end(&known.claims, now)?;
            return Ok(known.claims.clone());
        }
        let (claims, kid) = verify_with_key(token.expose(), keys, issuer, now, expected)?;
        self.verified.insert(digest, Arc::new(Verified { claims: claims.clone(), kid, expected, at: now }));
        Ok(claims)
    }
}

#[cfg(test)]
mod tests;
