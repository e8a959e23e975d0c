//! Clients that are slow, smuggle, pipeline or leave.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Harness, KEY, agent, tenant};

const BODY: &str = r#"{"tool_name":"sample.ok","payload":{}}"#;

async fn connect(harness: &Harness) -> TcpStream {
    TcpStream::connect(harness.base.trim_start_matches("http://")).await.unwrap()
}

fn head(more: &str) -> String {
    format!(
        "POST /execute HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nX-Tenant-ID: {}\r\nX-Agent-ID: {}\r\nContent-Type: application/json\r\n{more}\r\n",
        tenant(),
        agent()
    )
}

/// Everything that comes until the sidecar closes.
async fn rest(mut socket: TcpStream) -> String {
    let mut text = Vec::new();
    // A reset after the answer is no matter here.
    drop(
        tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut text))
            .await
            .expect("the connection was closed"),
    );
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_drips_in_is_answered_408() {
    let harness = Harness::configured("[timeouts]\nheader_ms = 300").await;
    let mut socket = connect(&harness).await;
    for byte in head("").bytes().take(3) {
        socket.write_all(&[byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let answer = rest(socket).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("request_timeout"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_answered_408() {
    let harness = Harness::configured("[timeouts]\nbody_ms = 300").await;
    let mut socket = connect(&harness).await;
    socket.write_all(head("Content-Length: 100\r\n").as_bytes()).await.unwrap();
    socket.write_all(b"{").await.unwrap();
    let answer = rest(socket).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("request_timeout"), "{answer}");
    assert_eq!(harness.upstream.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed() {
    let harness = Harness::configured("[timeouts]\nidle_ms = 200").await;
    let mut socket = connect(&harness).await;
    let request = head(&format!("Content-Length: {}\r\n", BODY.len())) + BODY;
    socket.write_all(request.as_bytes()).await.unwrap();
    let answer = rest(socket).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn framing_with_two_readings_executes_one_call_at_most() {
    let harness = Harness::configured("[timeouts]\nidle_ms = 300\nbody_ms = 300").await;
    let smuggled = format!("POST /execute/sample.text HTTP/1.1\r\nHost: x\r\n\r\n{BODY}");
    let length = BODY.len();
    let cases = [
        // Both framings: the chunked one counts, and the connection ends.
        format!(
            "{}{length:x}\r\n{BODY}\r\n0\r\n\r\n{smuggled}",
            head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")
        ),
        format!("{}{BODY}{smuggled}", head(&format!("Content-Length: {length}\r\nContent-Length: 5\r\n"))),
        format!("{}{BODY}", head("Transfer-Encoding: xchunked\r\n")),
        format!("{}zz\r\n{BODY}\r\n0\r\n\r\n", head("Transfer-Encoding: chunked\r\n")),
        format!("{}{BODY}", head("Content-Length: +38\r\n")),
    ];
    for case in cases {
        let before = harness.upstream.calls();
        let mut socket = connect(&harness).await;
        socket.write_all(case.as_bytes()).await.unwrap();
        let answer = rest(socket).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{case}\n---\n{answer}");
        let called = harness.upstream.calls() - before;
        assert!(called == usize::from(answer.starts_with("HTTP/1.1 200")), "{case}\n---\n{answer}");
    }
    assert!(harness.upstream.requests.lock().iter().all(|(head, _)| !head.contains("sample.text")));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answered_request_of_a_pipelining_client_has_one_row() {
    let harness = Harness::start().await;
    let one = head(&format!("Content-Length: {}\r\n", BODY.len())) + BODY;
    let mut socket = connect(&harness).await;
    socket.write_all(one.repeat(3).as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    let answer = rest(socket).await;
    let answered = answer.matches("HTTP/1.1 200 ").count();
    assert!(answered >= 1, "{answer}");
    assert_eq!(harness.rows().await.0.len(), answered);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_its_answer_leaves_one_row() {
    let harness = Harness::start().await;
    let body = BODY.replace("sample.ok", "sample.gated");
    let mut socket = connect(&harness).await;
    socket.write_all((head(&format!("Content-Length: {}\r\n", body.len())) + &body).as_bytes()).await.unwrap();
    while harness.upstream.calls() == 0 {
        tokio::task::yield_now().await;
    }
    drop(socket);
    harness.upstream.gate.notify_one();
    let (decisions, _) = harness.rows_when(|decisions, _| !decisions.is_empty()).await;
    assert_eq!(decisions.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_is_answered_with_an_envelope() {
    let harness = Harness::start().await;
    let cases = [
        ("\u{1}\u{2}\u{3} no such thing\r\n\r\n".to_owned(), 400, "malformed_request"),
        ("GET / HTTP/9.9\r\nHost: x\r\n\r\n".to_owned(), 400, "malformed_request"),
        ("GET / HTTP/1.1\r\nHost: x\r\nbad name: 1\r\n\r\n".to_owned(), 400, "malformed_request"),
        (head("Content-Length: 1\r\nContent-Length: 2\r\n"), 400, "malformed_request"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "x-a: b\r\n".repeat(400)), 400, "malformed_request"),
        ("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n".to_owned(), 405, "method_not_allowed"),
    ];
    for (request, status, identifier) in cases {
        let mut socket = connect(&harness).await;
        socket.write_all(request.as_bytes()).await.unwrap();
        let answer = rest(socket).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request}\n---\n{answer}"));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n---\n{answer}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["error"], &body["meta"]["code"]), (&identifier.into(), &status.into()), "{request}");
    }
}
