//! Passwords and agent secrets: Argon2id, off the runtime's threads, few at a time.

use std::sync::Arc;
use std::time::Duration;

use aegis_core::entropy::{self, Entropy};
use aegis_core::secret::Secret;
use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;

use crate::error::ApiError;

/// Hashes computed at once: each takes a core and 19 MiB.
const HASHES_AT_ONCE_MAX: usize = 2;
/// Hashes that may wait for their turn.
const HASHES_WAITING_MAX: usize = 64;
/// How long one may wait.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Characters of a password.
const PASSWORD_LENGTH: std::ops::RangeInclusive<usize> = 12..=256;

/// Hashes and verifies.
pub(crate) struct Passwords {
    running: Arc<Semaphore>,
    waiting: Semaphore,
    entropy: Arc<dyn Entropy>,
    /// The hash of a secret nobody knows: checked where there is no account, so that takes as long.
    nobody: String,
}

impl Passwords {
    /// Prepares for hashing.
    pub(crate) fn new(entropy: Arc<dyn Entropy>) -> Result<Self, ApiError> {
        let unknown = Secret::new(hex::encode(entropy::random::<32>(&*entropy)));
        let nobody = hash(&unknown, &entropy::random::<16>(&*entropy))?;
        let (running, waiting) = (Arc::new(Semaphore::new(HASHES_AT_ONCE_MAX)), Semaphore::new(HASHES_WAITING_MAX));
        Ok(Self { running, waiting, entropy, nobody })
    }

    /// The hash to store, in PHC form.
    pub(crate) async fn hash(&self, secret: Secret) -> Result<String, ApiError> {
        let salt = entropy::random::<16>(&*self.entropy);
        self.run(move || hash(&secret, &salt)).await?
    }

    /// Whether the secret is the one that was stored. Without a stored hash the answer is no, after the same work.
    pub(crate) async fn verify(&self, secret: Secret, stored: Option<&str>) -> Result<bool, ApiError> {
        let (known, against) = (stored.is_some(), stored.unwrap_or(&self.nobody).to_owned());
        let matches = self.run(move || {
            PasswordHash::new(&against)
                .is_ok_and(|parsed| Argon2::default().verify_password(secret.expose().as_bytes(), &parsed).is_ok())
        });
        Ok(matches.await? && known)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
        let busy = || ApiError::Unavailable { cause: "too many passwords are being checked".into() };
        let _waiting = self.waiting.try_acquire().map_err(|_| busy())?;
        let turn = tokio::time::timeout(WAIT_MAX, Arc::clone(&self.running).acquire_owned()).await;
        let turn = turn.map_err(|_| busy())?.map_err(|e| ApiError::bug("password turn", &e))?;
        let done = tokio::task::spawn_blocking(move || {
            // Held to the end of the work, even when the client has gone.
            let _turn = turn;
            work()
        });
        done.await.map_err(|e| ApiError::bug("password", &e))
    }
}

fn hash(secret: &Secret, salt: &[u8]) -> Result<String, ApiError> {
    let hashed = Argon2::default().hash_password_with_salt(secret.expose().as_bytes(), salt);
    hashed
        .map(|h: argon2::password_hash::phc::PasswordHash| h.to_string())
        .map_err(|e| ApiError::bug("password hash", &e))
}

/// What is wrong with a new password, if anything.
pub(crate) fn weakness(password: &Secret, email: &str) -> Option<&'static str> {
    let text = password.expose();
    let (lower, email) = (text.to_lowercase(), email.trim().to_lowercase());
    if !PASSWORD_LENGTH.contains(&text.chars().count()) {
        Some("must have 12 to 256 characters")
    } else if lower.trim() == email || email.split('@').next().is_some_and(|local| lower == local) {
        Some("must not be the e-mail address")
    } else if text.chars().all(|c| text.starts_with(c)) {
        Some("must not be one character repeated")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_core::entropy::SystemEntropy;

    #[tokio::test]
    async fn only_the_stored_secret_verifies() {
        let passwords = Passwords::new(Arc::new(SystemEntropy)).unwrap();
        let stored = passwords.hash(Secret::new("correct horse battery")).await.unwrap();
        assert!(stored.starts_with("$argon2id$"));
        assert!(passwords.verify(Secret::new("correct horse battery"), Some(&stored)).await.unwrap());
        assert!(!passwords.verify(Secret::new("correct horse batterY"), Some(&stored)).await.unwrap());
        assert!(!passwords.verify(Secret::new("correct horse battery"), None).await.unwrap());
    }

    #[test]
    fn short_passwords_and_the_address_are_refused() {
        for weak in
            ["elevenchars", "ada.lovelace@example.com", "ADA.Lovelace@Example.com", "ada.lovelace", "aaaaaaaaaaaaaa"]
        {
            assert!(weakness(&Secret::new(weak), "ada.lovelace@example.com").is_some(), "{weak}");
        }
        assert_eq!(weakness(&Secret::new("correct horse"), "ada.lovelace@example.com"), None);
    }
}
