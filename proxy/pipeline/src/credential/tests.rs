//! What credentials are refused, and why.

use aegis_core::id::{AgentId, ApiKeyId, TokenId, UserId};
use aegis_core::snapshot::{Change, Item, Revocation, Snapshot};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::json;
use uuid::Uuid;

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);
const ISSUER: &str = "test";

fn signer() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn key(not_after: Option<i64>) -> TokenKey {
    let x = URL_SAFE_NO_PAD.encode(signer().verifying_key().as_bytes());
    TokenKey { kid: "k1".into(), x, not_after: not_after.map(Timestamp::from_seconds) }
}

fn user() -> UserId {
    UserId::from_uuid(Uuid::from_u128(1))
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "aegis", "sub": user(), "jti": Uuid::from_u128(2), "typ": "ACP_ACCESS",
        "iat": NOW.as_seconds(), "exp": NOW.as_seconds() + 900, "tenant_id": Uuid::from_u128(3),
        "org_id": Uuid::from_u128(3), "role": "ADMIN", "user_id": user(),
    })
}

fn sign(header: &str, payload: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = URL_SAFE_NO_PAD.encode(signer().sign(signed.as_bytes()).to_bytes());
    format!("{signed}.{signature}")
}

const HEADER: &str = r#"{"alg":"EdDSA","kid":"k1","typ":"JWT"}"#;

fn token_with(change: impl FnOnce(&mut Value)) -> String {
    let mut claims = claims();
    change(&mut claims);
    sign(HEADER, &claims.to_string())
}

fn verify(token: &str) -> Result<Claims, CredentialError> {
    verify_token(token, [key(None)].as_slice(), ISSUER, NOW, TokenType::Access)
}

#[test]
fn a_genuine_token_is_its_principal() {
    let claims = verify(&token_with(|_| ())).unwrap();
    let principal = principal_of(&claims).unwrap();
    assert_eq!(principal.subject, Subject::User(user()));
    assert_eq!(principal.role, Role::Admin);
}

#[test]
fn forged_headers_are_refused() {
    let payload = claims().to_string();
    let headers = [
        r#"{"alg":"none","kid":"k1"}"#,
        r#"{"alg":"HS256","kid":"k1"}"#,
        r#"{"alg":"eddsa","kid":"k1"}"#,
        r#"{"alg":"EdDSA"}"#,
        r#"{"alg":"EdDSA","kid":7}"#,
        r#"{"alg":"EdDSA","kid":""}"#,
        r#"{"alg":"EdDSA","kid":"k1","crit":["exp"]}"#,
        r#"{"alg":"EdDSA","kid":"k1","jku":"https://evil.example"}"#,
        r#"{"alg":"EdDSA","kid":"k1","typ":"at+jwt"}"#,
    ];
    for header in headers {
        assert_eq!(verify(&sign(header, &payload)), Err(CredentialError::Header), "{header}");
    }
    assert_eq!(verify(&sign(r#"{"alg":"EdDSA","kid":"k2"}"#, &payload)), Err(CredentialError::UnknownKey));
    assert_eq!(verify(&sign(r#"{"alg":"none","alg":"EdDSA","kid":"k1"}"#, &payload)), Err(CredentialError::Malformed));
}

#[test]
fn tampering_and_malformed_texts_are_refused() {
    let good = token_with(|_| ());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let other = sign(HEADER, &claims().to_string().replace("ADMIN", "VIEWER"));
    let (other_signed, _) = other.rsplit_once('.').unwrap();
    assert_eq!(verify(&format!("{other_signed}.{signature}")), Err(CredentialError::Signature));
    assert_eq!(verify(&format!("{signed}.")), Err(CredentialError::Signature));
    for text in ["", ".", "..", "a.b", "a.b.c", "a.b.c.d", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
        assert_eq!(verify(text), Err(CredentialError::Malformed), "{text:.20}");
    }
    let twice = claims().to_string().replace(r#""role":"ADMIN""#, r#""role":"VIEWER","role":"ADMIN""#);
    assert_eq!(verify(&sign(HEADER, &twice)), Err(CredentialError::Malformed));
}

#[test]
fn purpose_and_time_are_checked() {
    type Change = fn(&mut Value);
    let cases: [(Change, CredentialError); 8] = [
        (|c| c["iss"] = "other".into(), CredentialError::Purpose),
        (|c| c["aud"] = "other".into(), CredentialError::Purpose),
        (|c| c["typ"] = "ACP_SIDECAR".into(), CredentialError::Purpose),
        (|c| c["exp"] = NOW.as_seconds().into(), CredentialError::Claims),
        (|c| c["iat"] = (NOW.as_seconds() + 31).into(), CredentialError::NotYetValid),
        (|c| c["role"] = "ROOT".into(), CredentialError::Claims),
        (|c| drop(c.as_object_mut().unwrap().remove("jti")), CredentialError::Claims),
        (
            |c| {
                c["iat"] = (NOW.as_seconds() - 900).into();
                c["exp"] = NOW.as_seconds().into();
            },
            CredentialError::Expired,
        ),
    ];
    for (change, error) in cases {
        assert_eq!(verify(&token_with(change)), Err(error));
    }
    assert!(verify(&token_with(|c| c["iat"] = (NOW.as_seconds() + 30).into())).is_ok());
}

#[test]
fn a_retired_key_verifies_nothing() {
    let token = token_with(|_| ());
    let keys = [key(Some(NOW.as_seconds()))];
    assert_eq!(verify_token(&token, keys.as_slice(), ISSUER, NOW, TokenType::Access), Err(CredentialError::KeyEnded));
}

#[test]
fn contradicting_subjects_are_refused() {
    let agent = AgentId::from_uuid(Uuid::from_u128(9));
    let both = verify(&token_with(|c| c["agent_id"] = json!(agent))).unwrap();
    assert_eq!(principal_of(&both), Err(CredentialError::Claims));
    let foreign = verify(&token_with(|c| c["sub"] = json!(agent))).unwrap();
    assert_eq!(principal_of(&foreign), Err(CredentialError::Claims));
}

#[test]
fn the_cache_forgets_ended_tokens_and_ended_keys() {
    let cache = TokenCache::default();
    let token = Secret::new(token_with(|_| ()));
    let check = |key: TokenKey, now| cache.verify(&token, [key].as_slice(), ISSUER, now, TokenType::Access);
    assert!(check(key(None), NOW).is_ok());
    assert!(check(key(None), NOW.plus(Duration::from_secs(30))).is_ok());
    assert_eq!(check(key(Some(1)), NOW.plus(Duration::from_secs(31))), Err(CredentialError::KeyEnded));
    assert_eq!(check(key(None), NOW.plus(Duration::from_mins(15))), Err(CredentialError::Expired));
    let wrong_purpose = cache.verify(&token, [key(None)].as_slice(), ISSUER, NOW, TokenType::Sidecar);
    assert_eq!(wrong_purpose, Err(CredentialError::Purpose));
}

#[test]
fn revocations_cover_what_they_say() {
    let claims = verify(&token_with(|_| ())).unwrap();
    let tenant = |item: Revocation| {
        let item = Item::Revocation(item);
        let record = Change { version: 1, tenant_id: claims.tenant_id, key: item.key(), item: Some(item) };
        let snapshot = Snapshot::default().with([record], 1, NOW);
        snapshot.tenants().next().unwrap().1.clone()
    };
    let after = Timestamp::from_micros(NOW.as_micros() + 400_000);
    let cases = [
        (Revocation::Token { jti: claims.jti, expires_at: after }, true),
        (Revocation::Token { jti: TokenId::from_uuid(Uuid::from_u128(99)), expires_at: after }, false),
        (Revocation::User { user_id: user(), issued_until: after }, true),
        (Revocation::User { user_id: user(), issued_until: NOW.minus(Duration::from_secs(1)) }, false),
    ];
    for (revocation, expected) in cases {
        assert_eq!(is_revoked(&claims, &tenant(revocation.clone())), expected, "{revocation:?}");
    }
}

#[test]
fn api_keys_have_one_form_and_their_scopes() {
    let text = format!("acp_{}", URL_SAFE_NO_PAD.encode([5_u8; 32]));
    assert_eq!(api_key_digest(&Secret::new(text.clone())).unwrap(), hex::encode(Sha256::digest(text.as_bytes())));
    for bad in ["", "acp_", "acp_short", &text[4..], &format!("{text}x"), &text.replace('B', "!")] {
        assert_eq!(api_key_digest(&Secret::new(bad)), None, "{bad}");
    }
    let agent = AgentId::from_uuid(Uuid::from_u128(9));
    let tenant = TenantId::from_uuid(Uuid::from_u128(3));
    let record = |scopes: &[Scope]| ApiKeyRecord {
        id: ApiKeyId::from_uuid(Uuid::from_u128(4)),
        sha256: String::new(),
        agent_id: Some(agent),
        scopes: scopes.to_vec(),
        expires_at: Some(NOW),
    };
    let before = NOW.minus(Duration::from_secs(1));
    let acting = api_key_principal(tenant, &record(&[Scope::Execute]), before).unwrap();
    assert_eq!((acting.agent(), acting.role), (Some(agent), Role::Agent));
    let reading = api_key_principal(tenant, &record(&[Scope::Read, Scope::Audit]), before).unwrap();
    assert_eq!((reading.agent(), reading.role), (None, Role::Auditor));
    assert_eq!(api_key_principal(tenant, &record(&[Scope::Execute]), NOW), Err(CredentialError::Expired));
}
