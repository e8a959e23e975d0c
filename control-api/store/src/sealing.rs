//! Secrets at rest: sealed under the data key or a key below it, each bound to the place where it is kept.

use aegis_core::entropy::{self, Entropy};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

use crate::error::StoreError;

/// Bytes of an extended nonce: random ones never meet.
const NONCE_BYTES: usize = 24;

/// Seals a secret; `context` names its place, so a sealed secret moved elsewhere does not open.
pub(crate) fn seal(
    key: &[u8; 32],
    secret: &[u8],
    context: &[u8],
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, StoreError> {
    let nonce = entropy::random::<NONCE_BYTES>(entropy);
    let cipher = XChaCha20Poly1305::new(&Key::from(*key));
    let payload = Payload { msg: secret, aad: context };
    let sealed = cipher.encrypt(&XNonce::from(nonce), payload).map_err(StoreError::corrupt)?;
    Ok([nonce.as_slice(), &sealed].concat())
}

/// Opens what [`seal`] made for the same place.
pub(crate) fn open(key: &[u8; 32], sealed: &[u8], context: &[u8]) -> Result<Vec<u8>, StoreError> {
    let failed = || StoreError::corrupt("a sealed secret does not open with this data key");
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or_else(failed)?;
    let cipher = XChaCha20Poly1305::new(&Key::from(*key));
    cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: context }).map_err(|_| failed())
}

/// As [`open`], for keys and salts.
pub(crate) fn open_32(key: &[u8; 32], sealed: &[u8], context: &[u8]) -> Result<[u8; 32], StoreError> {
    open(key, sealed, context)?.try_into().map_err(|_| StoreError::corrupt("a sealed key has another length"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_core::entropy::SystemEntropy;

    #[test]
    fn a_sealed_secret_opens_in_its_own_place_with_its_own_key_only() {
        let sealed = seal(&[7; 32], b"secret", b"here", &SystemEntropy).unwrap();
        assert_eq!(open(&[7; 32], &sealed, b"here").unwrap(), b"secret");
        assert!(open(&[7; 32], &sealed, b"there").is_err());
        assert!(open(&[8; 32], &sealed, b"here").is_err());
        assert!(open(&[7; 32], &sealed[..10], b"here").is_err());
        assert!(open_32(&[7; 32], &sealed, b"here").is_err());
    }
}
