//! How one checkpoint key follows another: the key before and the new one have both signed it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, VerifyingKey};

use crate::canonical::Object;
use crate::note::NoteKey;

/// Checks a `rotation` from one key to another; what is wrong with it.
pub fn verify(rotation: &Object<'_>, before: &NoteKey, new: &NoteKey) -> Result<(), &'static str> {
    let (old_text, new_text) = (BASE64.encode(before.to_bytes()), BASE64.encode(new.to_bytes()));
    if rotation.text("previous") != Some(&old_text) {
        return Err("a checkpoint key that follows another one than the newest");
    }
    let statement = format!("aegis-key-rotation/1\ncheckpoint\n{old_text}\n{new_text}");
    if !signed(&statement, before, rotation.text("previous_signature")) {
        return Err("a checkpoint key that the one before it has not signed");
    }
    if !signed(&statement, new, rotation.text("own_signature")) {
        return Err("a checkpoint key that has not signed its own rotation");
    }
    Ok(())
}

fn signed(statement: &str, key: &NoteKey, signature: Option<&str>) -> bool {
    let bytes = signature.and_then(|text| BASE64.decode(text).ok()).and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
    let (Some(bytes), Ok(key)) = (bytes, VerifyingKey::from_bytes(&key.to_bytes())) else { return false };
    key.verify_strict(statement.as_bytes(), &Signature::from_bytes(&bytes)).is_ok()
}
