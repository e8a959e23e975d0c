//! Mail through SMTP, if it is configured.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use crate::config::Smtp;

/// How long a mail may take to be handed over.
const SEND_MAX: Duration = Duration::from_secs(15);

/// Why a mail was not sent. The text is for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MailError {
    /// The server's address cannot be read, or the server refused.
    #[error("smtp: {0}")]
    Smtp(#[from] lettre::transport::smtp::Error),
    /// Not an address.
    #[error("address: {0}")]
    Address(#[from] lettre::address::AddressError),
    /// Not a message.
    #[error("message: {0}")]
    Message(#[from] lettre::error::Error),
    /// The server took too long.
    #[error("the server took too long")]
    Late,
}

/// Sends mail.
pub(crate) struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mail {
    /// From the configuration; none without a server.
    pub(crate) fn new(config: &Smtp) -> Result<Option<Self>, MailError> {
        if config.url.is_empty() {
            return Ok(None);
        }
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&config.url)?.timeout(Some(SEND_MAX)).build();
        Ok(Some(Self { transport, from: config.from.parse()? }))
    }

    /// Sends a plain text.
    pub(crate) async fn send(&self, to: &str, subject: &str, text: String) -> Result<(), MailError> {
        let message = Message::builder()
            .from(self.from.clone())
            .to(to.parse()?)
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(text)?;
        tokio::time::timeout(SEND_MAX, self.transport.send(message)).await.map_err(|_| MailError::Late)??;
        Ok(())
    }
}
