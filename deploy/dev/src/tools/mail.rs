//! `mail.send`: writes each message as an `.eml` file; nothing leaves the machine.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aegis_core::time::Clock;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use super::fault::ToolFault;

/// Recipients of one message at most.
pub const RECIPIENTS_MAX: usize = 50;
/// Bytes of an address or a subject at most.
pub const HEADER_BYTES_MAX: usize = 500;
/// Bytes of a message text at most.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

const BASE64_LINE: usize = 76;

/// The payload.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// One address or several.
    pub to: Recipients,
    /// The subject.
    pub subject: String,
    /// The text.
    pub body: String,
}

/// Who gets the message.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Recipients {
    /// One address.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Recipients {
    fn addresses(&self) -> &[String] {
        match self {
            Self::One(address) => std::slice::from_ref(address),
            Self::Many(addresses) => addresses,
        }
    }
}

/// The folder of sent messages.
#[derive(Clone)]
pub struct Mailbox {
    dir: PathBuf,
    clock: Arc<dyn Clock>,
    sent: Arc<AtomicU64>,
}

impl Mailbox {
    /// Messages are written to `dir`.
    pub fn new(dir: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { dir, clock, sent: Arc::default() }
    }

    /// Writes one message.
    ///
    /// # Errors
    /// `bad_payload`, or what the disk says.
    pub fn send(&self, message: &Message) -> Result<Value, ToolFault> {
        let to = message.to.addresses();
        if to.is_empty() || to.len() > RECIPIENTS_MAX {
            return Err(ToolFault::BadPayload(format!("`to` takes 1 to {RECIPIENTS_MAX} addresses")));
        }
        if let Some(wrong) = to.iter().find(|a| !is_address(a)) {
            return Err(ToolFault::BadPayload(format!("`{}` is not an e-mail address", wrong.escape_debug())));
        }
        if message.subject.len() > HEADER_BYTES_MAX || message.body.len() > BODY_BYTES_MAX {
            return Err(ToolFault::LimitReached("the subject or the text is too long".into()));
        }
        let name = format!("{}-{}.eml", self.clock.now().as_micros(), self.sent.fetch_add(1, Ordering::Relaxed));
        let mut file = OpenOptions::new().write(true).create_new(true).open(self.dir.join(&name))?;
        file.write_all(self.render(to, message).as_bytes())?;
        Ok(json!({ "sent": true, "file": name, "recipients": to.len() }))
    }

    // Subject and text travel as base64, so neither can smuggle a header line in.
    fn render(&self, to: &[String], message: &Message) -> String {
        let encoded = BASE64.encode(&message.body);
        let lines: Vec<&str> =
            encoded.as_bytes().chunks(BASE64_LINE).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        format!(
            "Date: {}\r\nFrom: agent@shop.example\r\nTo: {}\r\nSubject: =?utf-8?B?{}?=\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
            self.clock.now(),
            to.join(", "),
            BASE64.encode(&message.subject),
            lines.join("\r\n"),
        )
    }
}

fn is_address(text: &str) -> bool {
    let plain =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && !b"@,;:<>()[]\\\"".contains(&b));
    text.len() <= HEADER_BYTES_MAX && text.split_once('@').is_some_and(|(local, domain)| plain(local) && plain(domain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_core::time::{ManualClock, Timestamp};

    fn message(to: &str, subject: &str) -> Message {
        Message { to: Recipients::One(to.into()), subject: subject.into(), body: "Hello\nworld".into() }
    }

    #[test]
    fn messages_are_files_and_headers_cannot_be_injected() {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = Mailbox::new(dir.path().into(), Arc::new(ManualClock::at(Timestamp::from_seconds(1))));
        let sent = mailbox.send(&message("ada@example.com", "Hi\r\nBcc: eve@example.com")).unwrap();
        let text = std::fs::read_to_string(dir.path().join(sent["file"].as_str().unwrap())).unwrap();
        assert!(text.contains("To: ada@example.com\r\n") && !text.contains("Bcc"), "{text}");
        for wrong in ["", "ada", "a@b\r\nBcc: c@d", "a@b, c@d"] {
            assert!(matches!(mailbox.send(&message(wrong, "x")), Err(ToolFault::BadPayload(_))), "{wrong:?}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
