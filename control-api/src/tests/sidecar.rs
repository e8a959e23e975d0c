//! Enrolment, the watch stream and ingest, as a sidecar and as an attacker sees them.

use std::time::Duration;

use aegis_core::entropy::SystemEntropy;
use aegis_core::id::{AgentId, BootId};
use aegis_core::principal::Role;
use aegis_core::secret::Secret;
use aegis_core::sidecar::{ENROLL_CONTEXT, RENEW_CONTEXT, WatchFrame};
use aegis_core::time::Timestamp;
use aegis_ledger::signing::PrivateKey;
use aegis_store::testing::sidecar::TestSidecar;
use aegis_store::{join_token, testing};
use axum::body::Body;
use futures::StreamExt as _;
use http::{Method, Request};
use serde_json::{Value, json};

use super::{Reply, World};

/// How long a frame may take before the test fails.
const WAIT_MAX: Duration = Duration::from_secs(10);

async fn join_token(world: &World, text: &str) -> Secret {
    let token = Secret::new(text);
    let mut tx = world.store.store.write(world.tenant).await.unwrap();
    let end = tx.now().plus(Duration::from_mins(1));
    join_token::create(&mut tx, &token.digest(), "test", end, 1).await.unwrap();
    tx.record(testing::admin("join_token.create", "token")).await.unwrap().commit().await.unwrap();
    token
}

fn enrolment(join: &Secret, key: &PrivateKey, signer: &PrivateKey) -> Request<Body> {
    let proof = signer.sign(format!("{ENROLL_CONTEXT}{}", hex::encode(join.digest())).as_bytes());
    let body =
        json!({ "name": "edge-1", "identity_key": key.public().to_base64(), "proof": proof, "version": "0.1.0" });
    let request = Request::post("/internal/sidecar/enroll").header("content-type", "application/json");
    request.header("authorization", format!("Bearer {}", join.expose())).body(Body::from(body.to_string())).unwrap()
}

async fn enrolled(world: &World) -> (PrivateKey, Reply) {
    let (join, key) = (join_token(world, "acj_one").await, PrivateKey::generate(&SystemEntropy));
    let reply = world.send(enrolment(&join, &key, &key)).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    (key, reply)
}

#[tokio::test]
async fn enrolment_needs_the_token_and_the_key() {
    let world = World::new().await;
    let join = join_token(&world, "acj_one").await;
    let (key, other) = (PrivateKey::generate(&SystemEntropy), PrivateKey::generate(&SystemEntropy));
    world.send(enrolment(&join, &key, &other)).await.is(401, "invalid_token");
    world.send(enrolment(&Secret::new("acj_unknown"), &key, &key)).await.is(401, "invalid_token");
    let first = world.send(enrolment(&join, &key, &key)).await;
    assert_eq!((first.status.as_u16(), &first.body["tenants"]), (200, &json!([world.tenant])));
    let again = world.send(enrolment(&join, &key, &key)).await;
    assert_eq!(again.body["source"], first.body["source"], "an answer that was lost is given again");
    world.send(enrolment(&join, &other, &other)).await.is(401, "invalid_token");

    let late = join_token(&world, "acj_two").await;
    world.store.clock.advance(Duration::from_secs(61));
    world.send(enrolment(&late, &other, &other)).await.is(401, "invalid_token");
}

#[tokio::test]
async fn renewal_needs_a_fresh_proof_of_the_enrolled_key() {
    let world = World::new().await;
    let (key, first) = enrolled(&world).await;
    let source = first.body["source"].as_str().unwrap().to_owned();
    let renew = |signer: &PrivateKey, at: Timestamp| {
        let proof = signer.sign(format!("{RENEW_CONTEXT}{source}\n{at}").as_bytes());
        let body = json!({ "source": source, "issued_at": at, "proof": proof });
        let request = Request::post("/internal/sidecar/renew").header("content-type", "application/json");
        world.send(request.body(Body::from(body.to_string())).unwrap())
    };
    let now = world.store.store.now();
    let renewed = renew(&key, now).await;
    assert_eq!(renewed.status, 200, "{}", renewed.body);
    assert_ne!(renewed.body["credential"], first.body["credential"]);
    renew(&PrivateKey::generate(&SystemEntropy), now).await.is(401, "invalid_token");
    for skewed in [now.minus(Duration::from_secs(31)), now.plus(Duration::from_secs(31))] {
        renew(&key, skewed).await.is(401, "invalid_token");
    }
}

/// Reads frames up to the next commit.
async fn delta(lines: &mut (impl futures::Stream<Item = Vec<u8>> + Unpin)) -> Vec<WatchFrame> {
    let mut frames = Vec::new();
    while let Some(chunk) = tokio::time::timeout(WAIT_MAX, lines.next()).await.expect("a frame in time") {
        frames
            .extend(chunk.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()));
        match frames.last() {
            Some(WatchFrame::Commit { .. }) => return frames,
            Some(WatchFrame::Ping { .. }) => panic!("nothing changed: {frames:?}"),
            _ => {}
        }
    }
    panic!("the stream ended: {frames:?}")
}

async fn watch(world: &World, credential: &str, since: u64) -> impl futures::Stream<Item = Vec<u8>> + Unpin + use<> {
    let request = Request::get(format!("/internal/sidecar/watch?since={since}"))
        .header("authorization", format!("Bearer {credential}"));
    let response = world.open(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), 200);
    Box::pin(response.into_body().into_data_stream().map(|chunk| chunk.unwrap().to_vec()))
}

#[tokio::test]
async fn the_watch_stream_begins_with_everything_and_pushes_each_change() {
    let world = World::new().await;
    let (_, enrolled) = enrolled(&world).await;
    let credential = enrolled.body["credential"].as_str().unwrap();
    let mut stream = watch(&world, credential, 0).await;
    let first = delta(&mut stream).await;
    assert_eq!(first.first(), Some(&WatchFrame::Begin { full: true }));
    let keys: Vec<_> =
        first.iter().filter_map(|f| if let WatchFrame::Change(c) = f { Some(c.key.as_str()) } else { None }).collect();
    assert!(keys.contains(&"tenant") && keys.iter().any(|k| k.starts_with("token_key/")), "{keys:?}");
    let Some(WatchFrame::Commit { version, .. }) = first.last().cloned() else { panic!("{first:?}") };

    let admin = world.token(Role::Admin).await;
    let made = world
        .call(Method::POST, "/agents", &admin, Some(json!({ "name": "worker", "description": "works for the tests" })))
        .await;
    let second = delta(&mut stream).await;
    assert_eq!(second.first(), Some(&WatchFrame::Begin { full: false }));
    let key = format!("agent/{}", made.data()["id"].as_str().unwrap());
    assert!(matches!(&second[1], WatchFrame::Change(c) if c.key == key && c.version > version), "{second:?}");

    // Resumed, the same change comes again and nothing else.
    let resumed = delta(&mut watch(&world, credential, version).await).await;
    assert_eq!(
        resumed,
        second
            .iter()
            .cloned()
            .map(|f| match f {
                WatchFrame::Commit { version, .. } => WatchFrame::Commit { version, at: world.store.store.now() },
                other => other,
            })
            .collect::<Vec<_>>()
    );
    // A number we never gave is answered with everything.
    let lost = delta(&mut watch(&world, credential, 1_000_000).await).await;
    assert_eq!(lost.first(), Some(&WatchFrame::Begin { full: true }));
}

#[tokio::test]
async fn the_watch_stream_ends_with_its_credential() {
    let world = World::new().await;
    let (_, enrolled) = enrolled(&world).await;
    let mut stream = watch(&world, enrolled.body["credential"].as_str().unwrap(), 0).await;
    delta(&mut stream).await;
    world.store.clock.advance(Duration::from_secs(3_601));
    world.user(world.tenant, Role::Viewer, None).await;
    // Anything that changes wakes it; it finds its time over.
    let mut tx = world.store.store.write(world.tenant).await.unwrap();
    aegis_store::revocation::agent(&mut tx, AgentId::generate(Timestamp::default(), &SystemEntropy));
    tx.record(testing::admin("auth.revoke", "agent")).await.unwrap().commit().await.unwrap();
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn heartbeats_make_a_sidecar_known() {
    let world = World::new().await;
    let (_, enrolled) = enrolled(&world).await;
    let credential = enrolled.body["credential"].as_str().unwrap();
    let now = world.store.store.now();
    let beat = |tenant: Value| {
        json!({
            "boot": BootId::generate(now, &SystemEntropy), "version": "0.1.0", "public_url": "http://edge-1:8000",
            "snapshot_version": 3, "snapshot_applied_at": now, "outbox_rows": 7, "outbox_age_ms": 20, "level": "signed",
            "counters": [{ "tenant_id": tenant, "day_used": 5, "month_used": 9, "day_cost_micro_usd": 250_000, "forwarded": 4, "denied": 1, "errored": 0 }],
            "decision_us": { "p50": 900, "p95": 1500, "p99": 2000, "count": 5 },
        })
    };
    let ack =
        world.call(Method::POST, "/internal/sidecar/heartbeat", credential, Some(beat(json!(world.tenant)))).await;
    assert_eq!(ack.status, 200, "{}", ack.body);
    world
        .call(Method::POST, "/internal/sidecar/heartbeat", credential, Some(beat(json!(world.other))))
        .await
        .is(403, "tenant_mismatch");

    let admin = world.token(Role::Admin).await;
    let list = world.call(Method::GET, "/internal/sidecars", &admin, None).await.is(200, "");
    assert_eq!((&list.data()[0]["status"], &list.data()[0]["outbox_rows"]), (&json!("connected"), &json!(7)));
    let refused = world.call(Method::POST, "/execute", &admin, Some(json!({}))).await.is(421, "use_sidecar");
    assert_eq!(refused.data()["sidecars"], json!(["http://edge-1:8000"]));
    let quota = world.call(Method::GET, "/tenant/quota", &admin, None).await.is(200, "");
    assert_eq!(
        (&quota.data()["usage"]["daily_used"], &quota.data()["usage"]["tenant_usd_used"]),
        (&json!(5), &json!("0.250000"))
    );
    let health = world.call(Method::GET, "/system/health", &admin, None).await.is(200, "");
    assert_eq!(
        (&health.data()["sidecars"]["connected"], &health.data()["latency"]["p95_ms"]),
        (&json!(1), &json!(1.5))
    );
    world.store.clock.advance(Duration::from_secs(31));
    let health = world.call(Method::GET, "/system/health", &admin, None).await.is(200, "");
    assert_eq!((&health.data()["sidecars"]["stale"], &health.data()["status"]), (&json!(1), &json!("partial_outage")));
}

#[tokio::test]
async fn entries_are_taken_plain_or_compressed_and_once() {
    let world = World::new().await;
    let mut sidecar = TestSidecar::enrol(&world.store, world.tenant).await;
    let credential = world
        .app
        .signer
        .for_sidecar(sidecar.source, vec![world.tenant], world.store.store.now(), &SystemEntropy)
        .unwrap();
    let credential = credential.text.expose().to_owned();
    let batch = sidecar.run(3).join(&b'\n');
    let send = |kind: &str, encoding: Option<&str>, body: Vec<u8>| {
        let request = Request::post("/internal/audit/entries").header("authorization", format!("Bearer {credential}"));
        let request = request.header("content-type", kind);
        let request =
            if let Some(encoding) = encoding { request.header("content-encoding", encoding) } else { request };
        world.send(request.body(Body::from(body)).unwrap())
    };
    send("application/json", None, batch.clone()).await.is(415, "unsupported_media_type");
    send("application/x-ndjson", Some("br"), batch.clone()).await.is(415, "unsupported_media_type");
    send("application/x-ndjson", Some("zstd"), batch.clone()).await.is(400, "malformed_body");
    let bomb = zstd::encode_all(&vec![b' '; 17 * 1024 * 1024][..], 1).unwrap();
    send("application/x-ndjson", Some("zstd"), bomb).await.is(413, "payload_too_large");

    let compressed = zstd::encode_all(&batch[..], 1).unwrap();
    let first = send("application/x-ndjson", Some("zstd"), compressed).await;
    assert_eq!((first.status.as_u16(), &first.body["violations"]), (200, &json!(0)), "{}", first.body);
    let taken = first.body["accepted"].as_u64().unwrap();
    assert!(taken >= 3, "{}", first.body);
    let again = send("application/x-ndjson", None, batch).await;
    assert_eq!((&again.body["accepted"], &again.body["duplicates"]), (&json!(0), &json!(taken)));
    let admin = world.token(Role::Admin).await;
    world.call(Method::POST, "/internal/audit/entries", &admin, Some(json!({}))).await.is(403, "insufficient_role");
}

#[tokio::test]
async fn a_checkpoint_that_the_ledger_contradicts_is_noticed() {
    use aegis_ledger::checkpoint::{Checkpoint, origin};
    use aegis_ledger::hash::Hash;
    use aegis_ledger::note::Note;

    let world = World::new().await;
    let mut sidecar = TestSidecar::enrol(&world.store, world.tenant).await;
    let now = world.store.store.now();
    let credential = world.app.signer.for_sidecar(sidecar.source, vec![world.tenant], now, &SystemEntropy).unwrap();
    let credential = credential.text.expose().to_owned();
    world.app.publisher.publish(world.tenant).await.unwrap();
    let request = Request::post("/internal/audit/entries").header("authorization", format!("Bearer {credential}"));
    let request = request.header("content-type", "application/x-ndjson");
    let answer = world.send(request.body(Body::from(sidecar.run(3).concat())).unwrap()).await;
    let shown = answer.body["checkpoints"][0].as_str().unwrap().to_owned();
    world.app.publisher.publish(world.tenant).await.unwrap();
    let beat = |note: &str| {
        let boot = BootId::generate(now, &SystemEntropy);
        let decision = json!({ "p50": 0, "p95": 0, "p99": 0, "count": 0 });
        let beat = json!({ "boot": boot, "version": "0.1.0", "public_url": "", "snapshot_version": 0,
            "snapshot_applied_at": now, "outbox_rows": 0, "outbox_age_ms": 0, "level": "signed", "counters": [],
            "decision_us": decision, "checkpoints": [note] });
        world.call(Method::POST, "/internal/sidecar/heartbeat", &credential, Some(beat))
    };
    assert_eq!(beat(&shown).await.status, 200);
    assert_eq!(beat("no checkpoint").await.status, 200);
    assert_eq!(world.app.metrics.split_views.get(), 0);
    // What the same key signed for somebody else: another tree, and one that is longer than the ledger.
    let key = world.store.store.control().checkpoint_keys().current();
    let held = Checkpoint::parse(Note::parse(&shown).unwrap().text()).unwrap().size;
    for size in [held, 1_000] {
        let name = origin(&world.app.config.deployment, world.tenant, 1);
        let other = Checkpoint { origin: name, size, root: Hash::of(&[b"other"]), extensions: Vec::new() };
        assert_eq!(beat(&other.sign(&key.private).unwrap().to_string()).await.status, 200);
    }
    assert_eq!(world.app.metrics.split_views.get(), 2);
}
