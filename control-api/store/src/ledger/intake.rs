//! From a delivered line to a checked entry: form, origin and signature. Pure, and done before any lock is taken.

use std::collections::{HashMap, HashSet};

use aegis_core::id::{BootId, SourceId, TenantId};
use aegis_core::json;
use aegis_ledger::commitment::Salt;
use aegis_ledger::entry::{Body, Entry};
use aegis_ledger::hash::{self, Hash};
use aegis_ledger::rows::Open;
use aegis_ledger::signing::{PublicKey, boot_statement};
use aegis_ledger::wire::SignedEntry;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::append::Admitted;
use super::violation::ViolationKind;
use crate::source::Sender;

/// The place that an entry claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) tenant: TenantId,
    pub(crate) source: SourceId,
    pub(crate) boot: BootId,
    pub(crate) seq: u64,
}

/// One delivered line.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// Read leniently where the line is not an entry; absent if even that fails.
    pub(crate) place: Option<Place>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) leaf: Hash,
    /// The signature as JSON text.
    pub(crate) signature: String,
    pub(crate) verdict: Verdict,
}

/// What the checks say.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// An entry; its signature is good once [`verify`] has passed it.
    Good { admitted: Box<Admitted>, salt: Option<Salt> },
    /// Not an entry, or not its source's.
    Bad(ViolationKind, String),
}

/// Reads one line.
pub(crate) fn decode(line: &[u8]) -> Delivered {
    let signed: SignedEntry = match serde_json::from_slice(line) {
        Ok(signed) => signed,
        Err(e) => return undecodable(line, line, String::new(), &e),
    };
    let signature = serde_json::to_string(&signed.signature).unwrap_or_default();
    let salt = match signed.salt.as_deref().map(read_salt) {
        None => None,
        Some(Some(salt)) => Some(salt),
        Some(None) => return undecodable(signed.bytes(), line, signature, &"the salt is not 32 bytes in base64"),
    };
    let entry = match Entry::decode(signed.bytes()) {
        Ok(entry) => entry,
        Err(e) => return undecodable(signed.bytes(), line, signature, &e),
    };
    let header = &entry.header;
    let place = Place { tenant: header.tenant_id, source: header.source, boot: header.boot, seq: header.seq };
    let admitted = Box::new(Admitted::new(entry, signed.bytes().to_vec(), signed.signature));
    Delivered {
        place: Some(place),
        bytes: admitted.bytes.clone(),
        leaf: admitted.leaf,
        signature,
        verdict: Verdict::Good { admitted, salt },
    }
}

fn read_salt(text: &str) -> Option<Salt> {
    BASE64.decode(text).ok()?.try_into().ok()
}

fn undecodable(bytes: &[u8], line: &[u8], signature: String, why: &dyn std::fmt::Display) -> Delivered {
    Delivered {
        place: lenient_place(bytes, line),
        bytes: bytes.to_vec(),
        leaf: hash::leaf(bytes),
        signature,
        verdict: Verdict::Bad(ViolationKind::Undecodable, why.to_string()),
    }
}

/// The place of something that is not an entry, so that its chain can go past it.
fn lenient_place(bytes: &[u8], line: &[u8]) -> Option<Place> {
    let value = json::parse(bytes).ok().filter(|v| v.get("seq").is_some());
    let value = value.or_else(|| json::parse(line).ok()?.get("entry").cloned())?;
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    Some(Place {
        tenant: text("tenant_id")?.parse().ok()?,
        source: text("source")?.parse().ok()?,
        boot: text("boot")?.parse().ok()?,
        seq: value.get("seq")?.as_u64()?,
    })
}

/// Checks origin and signatures: `keys` are the boots that are known, `open` entries of the batch add theirs.
pub(crate) fn verify(items: &mut [Delivered], sender: &Sender, mut keys: HashMap<(TenantId, BootId), PublicKey>) {
    for item in items.iter_mut() {
        if let Some(place) = item.place {
            if place.source != sender.source {
                item.verdict = Verdict::Bad(ViolationKind::ForeignSource, format!("names source {}", place.source));
            } else if !sender.tenants.contains(&place.tenant) {
                item.verdict = Verdict::Bad(ViolationKind::ForeignTenant, format!("names tenant {}", place.tenant));
            }
        }
        let opened = match (&item.verdict, item.place) {
            (Verdict::Good { admitted, .. }, Some(place)) => match (&admitted.entry.body, place.seq) {
                (Body::Open(open), 0) => opening_key(open, place, sender, &keys).map(Some),
                (Body::Open(_), _) => Err("an open that is not the first entry".to_owned()),
                (_, 0) => Err("the first entry is not an open".to_owned()),
                (_, _) => Ok(None),
            },
            (Verdict::Good { .. } | Verdict::Bad(..), _) => Ok(None),
        };
        match (opened, item.place) {
            (Ok(Some(key)), Some(place)) => drop(keys.insert((place.tenant, place.boot), key)),
            (Ok(_), _) => {}
            (Err(why), _) => item.verdict = Verdict::Bad(ViolationKind::BadOpen, why),
        }
    }
    let mut verified = HashSet::new();
    for item in items {
        if let (Verdict::Good { admitted, .. }, Some(place)) = (&item.verdict, item.place)
            && let Err((kind, why)) = check_signature(admitted, keys.get(&(place.tenant, place.boot)), &mut verified)
        {
            item.verdict = Verdict::Bad(kind, why);
        }
    }
}

/// The boot key that an `open` introduces, if the source's identity key vouches for it.
fn opening_key(
    open: &Open,
    place: Place,
    sender: &Sender,
    keys: &HashMap<(TenantId, BootId), PublicKey>,
) -> Result<PublicKey, String> {
    let key = PublicKey::parse(&open.boot_key).map_err(|e| format!("boot key: {e}"))?;
    let statement = boot_statement(place.tenant, place.source, place.boot, &key);
    if open.identity_key_id != sender.identity.id().0 {
        return Err("names another identity key".to_owned());
    }
    sender.identity.verify(&statement, &open.identity_signature).map_err(|e| format!("identity key: {e}"))?;
    match keys.get(&(place.tenant, place.boot)) {
        Some(known) if *known != key => Err("the boot has another key".to_owned()),
        Some(_) | None => Ok(key),
    }
}

/// Verifies an entry's signature; entries under one batch signature cost one verification.
fn check_signature(
    admitted: &Admitted,
    key: Option<&PublicKey>,
    verified: &mut HashSet<(Vec<u8>, String, [u8; 32])>,
) -> Result<(), (ViolationKind, String)> {
    let key = key.ok_or_else(|| (ViolationKind::UnknownBoot, "no open of this boot was delivered".to_owned()))?;
    let bad = |why: String| (ViolationKind::BadSignature, why);
    if admitted.signature.key_id != key.id() {
        return Err(bad("names another key than the boot's".to_owned()));
    }
    let message = admitted.signature.message(admitted.leaf).map_err(|e| bad(e.to_string()))?;
    let seen = (message, admitted.signature.signature.clone(), key.to_bytes());
    if verified.contains(&seen) {
        return Ok(());
    }
    key.verify(&seen.0, &seen.1).map_err(|e| bad(e.to_string()))?;
    verified.insert(seen);
    Ok(())
}
