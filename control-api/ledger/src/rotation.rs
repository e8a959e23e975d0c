//! How one checkpoint key follows another: vouched for by the key before it and by itself, and judged by the order of
//! the log.
//!
//! `key` entries say which key signs from where on. The first `introduced` begins; each later one carries a
//! [`Rotation`]. A key speaks for trees that hold the entry which introduced it and not the one that ended it, so
//! what an older key signed stays good for ever and a key that was given up signs nothing more.

use serde::{Deserialize, Serialize};

use crate::rows::Key;
use crate::signing::{PrivateKey, PublicKey, SignatureError};

/// The purpose of checkpoint keys in `key` entries.
pub const CHECKPOINT_PURPOSE: &str = "checkpoint";
/// The state of a key that enters use.
pub const INTRODUCED: &str = "introduced";
/// The state of a key that somebody else may have.
pub const COMPROMISED: &str = "compromised";

/// The statement by which a key follows another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// The key before, base64; it signs no larger tree.
    pub previous: String,
    /// Its signature over the statement, base64.
    pub previous_signature: String,
    /// The new key's signature over the statement, base64.
    pub own_signature: String,
}

/// `aegis-key-rotation/1\n<purpose>\n<key before>\n<new key>`, the keys in base64.
fn statement(before: &PublicKey, new: &PublicKey) -> Vec<u8> {
    let (before, new) = (before.to_base64(), new.to_base64());
    format!("aegis-key-rotation/1\n{CHECKPOINT_PURPOSE}\n{before}\n{new}").into_bytes()
}

impl Rotation {
    /// Both keys sign.
    pub fn sign(before: &PrivateKey, new: &PrivateKey) -> Self {
        let statement = statement(&before.public(), &new.public());
        Self {
            previous: before.public().to_base64(),
            previous_signature: before.sign(&statement),
            own_signature: new.sign(&statement),
        }
    }

    /// The key before, if both have signed.
    ///
    /// # Errors
    /// What is wrong with a key or signature.
    pub fn verify(&self, new: &PublicKey) -> Result<PublicKey, SignatureError> {
        let before = PublicKey::parse(&self.previous)?;
        let statement = statement(&before, new);
        before.verify(&statement, &self.previous_signature)?;
        new.verify(&statement, &self.own_signature)?;
        Ok(before)
    }
}

/// A checkpoint key with the part of the log that it speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogKey {
    /// The key.
    pub key: PublicKey,
    /// Where it was introduced: it speaks for larger trees.
    pub introduced_at: u64,
    /// Where it was given up: it speaks for trees of at most this size.
    pub ended_at: Option<u64>,
}

impl LogKey {
    /// Whether it speaks for trees of this size.
    pub fn is_in_force(&self, size: u64) -> bool {
        self.introduced_at < size && self.ended_at.is_none_or(|end| size <= end)
    }
}

/// A log's checkpoint keys, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogKeys(Vec<LogKey>);

impl LogKeys {
    /// Takes the next `key` entry of the control plane; whether it is in order. What is not changes nothing.
    pub fn take(&mut self, index: u64, entry: &Key) -> bool {
        if entry.purpose != CHECKPOINT_PURPOSE {
            return true;
        }
        let Ok(key) = PublicKey::parse(&entry.public_key) else { return false };
        let known = self.0.iter().rposition(|known| known.key == key);
        if entry.state != INTRODUCED {
            let ended = known.and_then(|at| self.0.get_mut(at));
            return ended.map(|known| known.ended_at = Some(known.ended_at.unwrap_or(index))).is_some();
        }
        match (&entry.rotation, self.0.last_mut()) {
            // Said again: two replicas introduced it at once.
            (_, Some(last)) if last.key == key => last.ended_at.is_none(),
            (None, None) => self.begin(index, key),
            (Some(rotation), Some(last)) if rotation.verify(&key) == Ok(last.key) && known.is_none() => {
                last.ended_at.get_or_insert(index);
                self.begin(index, key)
            }
            (Some(_), Some(_) | None) | (None, Some(_)) => false,
        }
    }

    fn begin(&mut self, introduced_at: u64, key: PublicKey) -> bool {
        self.0.push(LogKey { key, introduced_at, ended_at: None });
        true
    }

    /// All of them, oldest first.
    pub fn all(&self) -> &[LogKey] {
        &self.0
    }

    /// The newest.
    pub fn last(&self) -> Option<&LogKey> {
        self.0.last()
    }

    /// Those that speak for trees of this size.
    pub fn in_force(&self, size: u64) -> impl Iterator<Item = PublicKey> + '_ {
        self.0.iter().filter(move |known| known.is_in_force(size)).map(|known| known.key)
    }

    /// The one with this id.
    pub fn by_id(&self, id: &str) -> Option<&LogKey> {
        self.0.iter().find(|known| known.key.id().0 == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> PrivateKey {
        PrivateKey::from_seed(&[n; 32])
    }

    fn entry(n: u8, state: &str, rotation: Option<Rotation>) -> Key {
        let public = key(n).public();
        let purpose = CHECKPOINT_PURPOSE.to_owned();
        Key { key_id: public.id().0, public_key: public.to_base64(), purpose, state: state.into(), rotation }
    }

    #[test]
    fn a_key_follows_another_only_if_both_sign() {
        let mut keys = LogKeys::default();
        assert!(keys.take(3, &entry(1, INTRODUCED, None)));
        for refused in [
            None,
            Some(Rotation::sign(&key(1), &key(3))),
            Some(Rotation::sign(&key(3), &key(2))),
            Some(Rotation { previous: key(1).public().to_base64(), ..Rotation::sign(&key(3), &key(2)) }),
            Some(Rotation { own_signature: String::new(), ..Rotation::sign(&key(1), &key(2)) }),
        ] {
            let mut tried = keys.clone();
            assert!(!tried.take(10, &entry(2, INTRODUCED, refused)));
            assert_eq!(tried, keys);
        }
        let rotation = Some(Rotation::sign(&key(1), &key(2)));
        assert!(keys.take(10, &entry(2, INTRODUCED, rotation.clone())));
        assert!(keys.take(12, &entry(2, INTRODUCED, rotation)));
        assert!(!keys.take(13, &entry(1, INTRODUCED, Some(Rotation::sign(&key(2), &key(1))))));
        let in_force = |size| keys.in_force(size).collect::<Vec<_>>();
        assert_eq!((in_force(3), in_force(4), in_force(10)), (vec![], vec![key(1).public()], vec![key(1).public()]));
        assert_eq!((in_force(11), in_force(u64::MAX)), (vec![key(2).public()], vec![key(2).public()]));
    }

    #[test]
    fn a_compromised_key_keeps_what_it_signed_and_signs_nothing_more() {
        let mut keys = LogKeys::default();
        assert!(keys.take(3, &entry(1, INTRODUCED, None)));
        assert!(!keys.take(5, &entry(2, COMPROMISED, None)));
        assert!(keys.take(7, &entry(1, COMPROMISED, None)));
        assert!(keys.take(9, &entry(1, COMPROMISED, None)));
        assert_eq!((keys.in_force(7).count(), keys.in_force(8).count()), (1, 0));
        assert!(keys.take(9, &entry(2, INTRODUCED, Some(Rotation::sign(&key(1), &key(2))))));
        assert_eq!((keys.in_force(7).count(), keys.in_force(9).count(), keys.in_force(10).count()), (1, 0, 1));
    }
}
