//! The sidecar's standing with the control plane: enrolled once, then a short-lived credential, renewed in time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aegis_core::entropy::Entropy;
use aegis_core::secret::Secret;
use aegis_core::sidecar::{ENROLL_CONTEXT, EnrollRequest, RENEW_CONTEXT, RenewRequest, SidecarCredential};
use aegis_core::time::{Clock, Timestamp};
use reqwest::{Method, RequestBuilder};
use tokio::sync::Mutex;

use super::Settings;
use super::backoff::Backoff;
use super::client::{Client, SyncError, exchange};
use crate::identity::{Enrolment, Identity, IdentityError};

/// How long before its end a credential is renewed.
const RENEW_BEFORE: Duration = Duration::from_mins(10);
/// Bytes a join token file may have at most.
const TOKEN_BYTES_MAX: usize = 4_096;

struct Credential {
    token: Secret,
    expires_at: Timestamp,
}

/// The standing, shared by everything that talks to the control plane.
pub struct Session {
    settings: Settings,
    client: Client,
    identity: Arc<Identity>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    credential: Mutex<Option<Credential>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.settings.url)
    }
}

impl Session {
    /// Makes the client; talks to nobody yet. The process's rustls provider must be installed.
    ///
    /// # Errors
    /// If the settings do not allow a safe connection.
    pub fn new(
        settings: Settings,
        identity: Arc<Identity>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, SyncError> {
        let client = Client::new(&settings)?;
        Ok(Self { settings, client, identity, clock, entropy, credential: Mutex::new(None) })
    }

    /// Who this sidecar is to the control plane: at once if it was enrolled before, else after enrolling, however
    /// long the control plane is away.
    ///
    /// # Errors
    /// If the identity's own files cannot be read.
    pub async fn enrolled(&self) -> Result<Enrolment, SyncError> {
        let mut backoff = Backoff::new(&self.entropy);
        loop {
            if let Some(enrolment) = self.identity.enrolment().map_err(local)? {
                return Ok(enrolment);
            }
            if let Err(error) = self.credential().await {
                tracing::warn!(%error, "not enrolled yet");
                backoff.pause().await;
            }
        }
    }

    /// The settings.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A request in this sidecar's name.
    pub(super) async fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, SyncError> {
        let token = self.credential().await?;
        Ok(self.client.request(method, path).bearer_auth(token.expose()))
    }

    /// The credential was refused: the next request gets a new one.
    pub(super) async fn forget_credential(&self) {
        *self.credential.lock().await = None;
    }

    /// A credential that is good for a while; concurrent callers wait for one renewal.
    async fn credential(&self) -> Result<Secret, SyncError> {
        let mut held = self.credential.lock().await;
        let now = self.clock.now();
        if let Some(credential) = held.as_ref().filter(|c| c.expires_at.since(now) > RENEW_BEFORE) {
            return Ok(credential.token.clone());
        }
        let fresh = match self.identity.enrolment().map_err(local)? {
            Some(enrolment) => self.renew(&enrolment).await,
            None => self.enroll().await,
        };
        let answer = match (fresh, held.as_ref()) {
            (Ok(answer), _) => answer,
            // The old one still holds for a while.
            (Err(SyncError::Transport(_)), Some(old)) if old.expires_at > now => return Ok(old.token.clone()),
            (Err(error), _) => return Err(error),
        };
        self.keep(&answer)?;
        let token = Secret::new(answer.credential);
        *held = Some(Credential { token: token.clone(), expires_at: answer.expires_at });
        Ok(token)
    }

    async fn enroll(&self) -> Result<SidecarCredential, SyncError> {
        let path = self.settings.join_token_file.as_deref();
        let path = path.ok_or_else(|| SyncError::Settings("no join token file is configured".into()))?;
        let token = read_token(path)?;
        let key = self.identity.key();
        let digest = hex::encode(token.digest());
        let body = EnrollRequest {
            name: self.settings.name.clone(),
            identity_key: key.public().to_base64(),
            proof: key.sign(format!("{ENROLL_CONTEXT}{digest}").as_bytes()),
            version: self.settings.version.clone(),
        };
        let request = self.client.request(Method::POST, "/internal/sidecar/enroll");
        exchange(request.bearer_auth(token.expose()).json(&body)).await
    }

    async fn renew(&self, enrolment: &Enrolment) -> Result<SidecarCredential, SyncError> {
        let issued_at = self.clock.now();
        let source = enrolment.source;
        let proof = self.identity.key().sign(format!("{RENEW_CONTEXT}{source}\n{issued_at}").as_bytes());
        let body = RenewRequest { source, issued_at, proof };
        exchange(self.client.request(Method::POST, "/internal/sidecar/renew").json(&body)).await
    }

    /// Keeps who we are before the credential is used: dying in between, the next start enrols again with the
    /// same key.
    fn keep(&self, answer: &SidecarCredential) -> Result<(), SyncError> {
        let enrolment =
            Enrolment { source: answer.source, deployment: answer.deployment.clone(), tenants: answer.tenants.clone() };
        match self.identity.enrolment().map_err(local)? {
            Some(known) if known == enrolment => Ok(()),
            Some(known) if known.source != enrolment.source => {
                Err(SyncError::Protocol(format!("renewal names source {}, this is {}", enrolment.source, known.source)))
            }
            Some(_) | None => self.identity.set_enrolment(&enrolment).map_err(local),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used with map_err")]
fn local(error: IdentityError) -> SyncError {
    SyncError::Local(error.to_string())
}

fn read_token(path: &Path) -> Result<Secret, SyncError> {
    let text = std::fs::read_to_string(path).map_err(|e| SyncError::Local(format!("{}: {e}", path.display())))?;
    let text = text.trim();
    if text.is_empty() || text.len() > TOKEN_BYTES_MAX {
        return Err(SyncError::Local(format!("{} holds no join token", path.display())));
    }
    Ok(Secret::new(text))
}
