//! A control plane of a few hundred lines: enrols, streams what it is told to, commits rows or fails to.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aegis_core::secret::Secret;
use aegis_core::sidecar::{ENROLL_CONTEXT, EnrollRequest, Heartbeat, HeartbeatAck, SidecarCredential};
use aegis_core::time::{Clock as _, SystemClock, Timestamp};
use aegis_ledger::entry::Entry;
use aegis_ledger::signing::PublicKey;
use aegis_ledger::wire::{Ack, IngestAnswer, SignedEntry};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{TOKEN, source, tenant};

/// What the fake does with a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ingest {
    /// Commits it and says so.
    Commit,
    /// Commits it and hangs up.
    LoseAnswer,
    /// Answers with this status.
    Status(u16),
}

#[derive(Default)]
pub(super) struct Fake {
    /// What happens to the next batches; then all are committed.
    pub(super) ingest: VecDeque<Ingest>,
    /// Rows, in the order they were committed first.
    pub(super) committed: Vec<Vec<u8>>,
    known: HashSet<Vec<u8>>,
    pub(super) batches: usize,
    /// Lines for the next watch connections; the last one is held open.
    pub(super) watch: VecDeque<Vec<String>>,
    pub(super) since: Vec<String>,
    pub(super) heartbeats: Vec<Heartbeat>,
    pub(super) credentials: usize,
    /// Enrolments refused before one is accepted.
    pub(super) refuse_enrolments: usize,
}

pub(super) async fn serve(fake: Arc<Mutex<Fake>>, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(Arc::clone(&fake), stream));
    }
}

async fn answer(fake: Arc<Mutex<Fake>>, mut stream: TcpStream) {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap().to_ascii_lowercase();
    let length = text.lines().find_map(|l| l.strip_prefix("content-length: ")).map_or(0, |l| l.parse().unwrap());
    while bytes.len() < head + length {
        stream.read_buf(&mut bytes).await.unwrap();
    }
    let path = text.split(' ').nth(1).unwrap().to_owned();
    let (path, query) = path.split_once('?').unwrap_or((&path, ""));
    let body = &bytes[head..];
    let (status, answer) = match path {
        "/internal/sidecar/enroll" => enroll(&fake, &text, body),
        "/internal/sidecar/renew" => (200, credential(&fake)),
        "/internal/sidecar/heartbeat" => {
            fake.lock().heartbeats.push(serde_json::from_slice(body).unwrap());
            let ack = HeartbeatAck { at: Timestamp::from_seconds(1), version: 1 };
            (200, serde_json::to_string(&ack).unwrap())
        }
        "/internal/audit/entries" => match ingest(&fake, body) {
            Some(answer) => answer,
            None => return,
        },
        _ => return watch(&fake, query, stream).await,
    };
    let length = answer.len();
    let text = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}");
    let _gone = stream.write_all(text.as_bytes()).await;
}

async fn watch(fake: &Mutex<Fake>, query: &str, mut stream: TcpStream) {
    let (lines, last) = {
        let mut fake = fake.lock();
        fake.since.push(query.to_owned());
        (fake.watch.pop_front().unwrap_or_default(), fake.watch.is_empty())
    };
    let text = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}\n", lines.join("\n"));
    let _gone = stream.write_all(text.as_bytes()).await;
    if last {
        std::future::pending::<()>().await;
    }
}

fn enroll(fake: &Mutex<Fake>, head: &str, body: &[u8]) -> (u16, String) {
    let request: EnrollRequest = serde_json::from_slice(body).unwrap();
    let key = PublicKey::parse(&request.identity_key).unwrap();
    let statement = format!("{ENROLL_CONTEXT}{}", hex::encode(Secret::new(TOKEN).digest()));
    assert_eq!(key.verify(statement.as_bytes(), &request.proof), Ok(()));
    assert!(head.contains(&format!("bearer {TOKEN}")));
    let refuse = std::mem::replace(&mut fake.lock().refuse_enrolments, 0);
    if refuse > 0 {
        fake.lock().refuse_enrolments = refuse - 1;
        return (503, r#"{"success":false,"error":"unavailable"}"#.into());
    }
    (200, credential(fake))
}

fn credential(fake: &Mutex<Fake>) -> String {
    fake.lock().credentials += 1;
    let answer = SidecarCredential {
        source: source(),
        credential: "secret".into(),
        expires_at: SystemClock::new().now().plus(Duration::from_hours(1)),
        tenants: vec![tenant()],
        deployment: "local".into(),
    };
    serde_json::to_string(&answer).unwrap()
}

fn ingest(fake: &Mutex<Fake>, body: &[u8]) -> Option<(u16, String)> {
    let mut fake = fake.lock();
    fake.batches += 1;
    let what = fake.ingest.pop_front().unwrap_or(Ingest::Commit);
    if let Ingest::Status(status) = what {
        return Some((status, r#"{"success":false,"error":"not_now"}"#.into()));
    }
    let mut answer =
        IngestAnswer { accepted: 0, duplicates: 0, violations: 0, acks: Vec::new(), checkpoints: Vec::new() };
    for line in zstd::decode_all(body).unwrap().split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        let signed: SignedEntry = serde_json::from_slice(line).unwrap();
        let header = Entry::decode(signed.bytes()).unwrap().header;
        if fake.known.insert(signed.bytes().to_vec()) {
            answer.accepted += 1;
            fake.committed.push(signed.bytes().to_vec());
        } else {
            answer.duplicates += 1;
        }
        answer.acks.retain(|ack| ack.tenant_id != header.tenant_id || ack.boot != header.boot);
        answer.acks.push(Ack {
            tenant_id: header.tenant_id,
            source: header.source,
            boot: header.boot,
            seq: header.seq,
        });
    }
    (what == Ingest::Commit).then(|| (200, serde_json::to_string(&answer).unwrap()))
}
