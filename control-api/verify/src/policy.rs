//! The trust policy: what the reader believes before opening the bundle. A text file, brought by another way.

use std::collections::HashMap;

use aegis_ledger::hash::Hash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::VerifyingKey;

use crate::id::Id;
use crate::note::NoteKey;

/// Bytes a policy may have at most.
pub const POLICY_BYTES_MAX: usize = 64 * 1024;
/// The first line.
pub const FIRST_LINE: &str = "aegis-trust/1";

/// What is believed.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The log's name: `<deployment>/aegis/<tenant>`.
    pub origin: String,
    /// The tenant.
    pub tenant: Id,
    /// Keys that sign checkpoints.
    pub logs: Vec<NoteKey>,
    /// Identity keys of the control plane, by source.
    pub controls: HashMap<Id, VerifyingKey>,
    /// Keys of witnesses.
    pub witnesses: Vec<NoteKey>,
}

/// A line that cannot be understood, or what is missing (line 0).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("trust policy, line {line}: {problem}")]
pub struct PolicyError {
    line: usize,
    problem: &'static str,
}

impl Policy {
    /// Reads a policy.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let fault = |line: usize, problem| PolicyError { line, problem };
        let (mut origin, mut tenant) = (None, None);
        let (mut logs, mut controls, mut witnesses) = (Vec::new(), HashMap::new(), Vec::new());
        let mut lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
        if lines.next().map(|(_, line)| line) != Some(FIRST_LINE) {
            return Err(fault(1, "must be `aegis-trust/1`"));
        }
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["origin", name] if origin.is_none() => origin = Some((*name).to_owned()),
                ["tenant", id] if tenant.is_none() => {
                    tenant = Some(Id::parse(id).ok_or(fault(number, "not a tenant id"))?);
                }
                ["log", key] => {
                    let key = NoteKey::parse(key).map_err(|_| fault(number, "not a verifier key"))?;
                    logs.push(Some(key).filter(|k| !k.is_witness()).ok_or(fault(number, "a witness's key"))?);
                }
                ["witness", key] => {
                    let key = NoteKey::parse(key).map_err(|_| fault(number, "not a verifier key"))?;
                    witnesses.push(Some(key).filter(NoteKey::is_witness).ok_or(fault(number, "not a witness's key"))?);
                }
                ["control", source, key] => {
                    let source = Id::parse(source).ok_or(fault(number, "not a source id"))?;
                    let key = public_key(key).ok_or(fault(number, "not an Ed25519 key"))?;
                    if controls.insert(source, key).is_some() {
                        return Err(fault(number, "a source twice"));
                    }
                }
                _ => return Err(fault(number, "not understood, or said before")),
            }
        }
        let origin = origin.ok_or(fault(0, "no `origin`"))?;
        let tenant = tenant.ok_or(fault(0, "no `tenant`"))?;
        if logs.is_empty() || controls.is_empty() {
            return Err(fault(0, "at least one `log` and one `control` are needed"));
        }
        if logs.iter().any(|key: &NoteKey| key.name() != origin) {
            return Err(fault(0, "the log's keys must bear the origin's name"));
        }
        Ok(Self { origin, tenant, logs, controls, witnesses })
    }
}

/// An Ed25519 key in base64, if it is one that can be trusted with anything.
pub fn public_key(text: &str) -> Option<VerifyingKey> {
    let bytes: [u8; 32] = BASE64.decode(text).ok()?.try_into().ok()?;
    VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak())
}

/// A key's short name: the first 16 bytes of its SHA-256, hex.
pub fn key_id(key: &VerifyingKey) -> String {
    let digest = Hash::of(&[key.as_bytes()]).to_hex();
    digest.get(..32).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_understood_or_refused() {
        let key = "AfsUXwtOuHrOmBY8T1VjXSnfNUvWUn5F5SGMv3e4JD0=";
        let control = "control 00000000-0000-7000-8000-000000000001 +xRfC064es6YFjxPVWNdKd81S9ZSfkXlIYy/d7gkPTM=";
        let base = "aegis-trust/1\n# comment\norigin x\ntenant 00000000-0000-7000-8000-000000000002\n";
        for (text, problem) in [
            ("", "aegis-trust/1"),
            (base, "at least one"),
            (&format!("{base}colour blue\n"), "not understood"),
            (&format!("{base}origin y\n"), "not understood"),
            (&format!("{base}log x+00000000+{key}\n"), "not a verifier key"),
            (&format!("{base}control x y\n"), "not a source id"),
            (&format!("{base}{control}x\n"), "not an Ed25519 key"),
        ] {
            let error = Policy::parse(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
