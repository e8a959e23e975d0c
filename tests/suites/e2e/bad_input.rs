//! Everything a hostile or broken client may send, over bare sockets.

use std::time::Duration;

use aegis_tests::client::Agent;
use aegis_tests::deployment::{Database, Deployment};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A request by hand.
struct Raw<'a> {
    path: &'a str,
    headers: Vec<(&'a str, String)>,
    body: Vec<u8>,
}

impl<'a> Raw<'a> {
    fn of(agent: &Agent, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![
            ("Authorization", format!("Bearer {}", agent.token)),
            ("X-Tenant-ID", agent.tenant_id.clone()),
            ("X-Agent-ID", agent.id.clone()),
            ("Content-Type", "application/json".into()),
        ];
        Self { path: "/execute", headers, body: body.into() }
    }

    fn with(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self
    }

    fn at(mut self, path: &'a str) -> Self {
        self.path = path;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: sidecar\r\nConnection: close\r\nContent-Length: {}\r\n",
            self.path,
            self.body.len()
        );
        for (name, value) in &self.headers {
            head.extend([
                *name, ": ", value, "
",
            ]);
        }
        head.push_str("\r\n");
        [head.into_bytes(), self.body.clone()].concat()
    }
}

/// Sends bytes and reads what comes until the other side closes: status and JSON body.
async fn exchange(url: &str, bytes: &[u8]) -> (u16, Value) {
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    // A refusal may come, and the connection close, before everything is sent.
    let _ = stream.write_all(bytes).await;
    read_answer(&mut stream).await
}

async fn read_answer(stream: &mut TcpStream) -> (u16, Value) {
    let mut answer = Vec::new();
    let read = async {
        let mut chunk = vec![0_u8; 16_384];
        while let Ok(n) = stream.read(&mut chunk).await {
            if n == 0 {
                break;
            }
            answer.extend_from_slice(&chunk[..n]);
        }
    };
    tokio::time::timeout(Duration::from_secs(40), read).await.expect("the other side closes");
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split_whitespace().nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let json = text
        .find("\r\n\r\n")
        .map(|at| text[at..].trim())
        .and_then(|body| body.find('{').map(|at| body[at..].to_owned()));
    let json = json.map(|body| body[..body.rfind('}').map_or(body.len(), |at| at + 1)].to_owned()).unwrap_or_default();
    (status, serde_json::from_str(&json).unwrap_or(Value::Null))
}

fn call(payload: &Value) -> Vec<u8> {
    json!({ "tool_name": "test.echo", "payload": payload }).to_string().into_bytes()
}

fn unsigned(header: &Value, claims: &str, signature: &str) -> String {
    format!("{}.{claims}.{signature}", URL_SAFE_NO_PAD.encode(header.to_string()))
}

fn cases(agent: &Agent, other: &Agent) -> Vec<(&'static str, Raw<'static>, u16, &'static str)> {
    let good = call(&json!({ "n": 1 }));
    let raw = |body: &[u8]| Raw::of(agent, body);
    let deep = format!("{{\"tool_name\":\"test.echo\",\"payload\":{{\"a\":{}1{}}}}}", "[".repeat(80), "]".repeat(80));
    let wide = format!("{{\"tool_name\":\"test.echo\",\"payload\":{{\"a\":[{}1]}}}}", "1,".repeat(25_000));
    let bomb = "[".repeat(500_000);
    let (head, rest) = agent.token.split_once('.').expect("a token");
    let (claims, signature) = rest.split_once('.').expect("a token");
    let kid: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).expect("base64")).expect("a header");
    let none = unsigned(&json!({ "alg": "none", "typ": "JWT" }), claims, "");
    let hmac = unsigned(&json!({ "alg": "HS256", "typ": "JWT", "kid": kid["kid"] }), claims, signature);
    let stranger = unsigned(&json!({ "alg": "EdDSA", "typ": "JWT", "kid": "nobody" }), claims, signature);
    let crit = unsigned(&json!({ "alg": "EdDSA", "typ": "JWT", "kid": kid["kid"], "crit": ["x"] }), claims, signature);
    let flip = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{head}.{claims}.{flip}{}", &signature[1..]);
    let bearer = |token: &str| format!("Bearer {token}");
    vec![
        ("no JSON", raw(b"not json"), 400, "malformed_body"),
        ("empty body", raw(b""), 400, "malformed_body"),
        ("an array", raw(b"[]"), 400, "malformed_body"),
        ("duplicate keys", raw(br#"{"tool_name":"test.echo","tool_name":"x","payload":{}}"#), 400, "malformed_body"),
        ("duplicate keys inside", raw(br#"{"tool_name":"test.echo","payload":{"a":1,"a":2}}"#), 400, "malformed_body"),
        ("two payload names", raw(br#"{"tool_name":"test.echo","payload":{},"input":{}}"#), 400, "malformed_body"),
        ("lone surrogate", raw(br#"{"tool_name":"test.echo","payload":{"a":"\ud800"}}"#), 400, "malformed_body"),
        (
            "a number too large",
            raw(br#"{"tool_name":"test.echo","payload":{"a":9007199254740993}}"#),
            400,
            "malformed_body",
        ),
        (
            "invalid UTF-8",
            raw(b"{\"tool_name\":\"test.echo\",\"payload\":{\"a\":\"\xff\xfe\"}}"),
            400,
            "malformed_body",
        ),
        ("a NUL in the JSON", raw(b"{\"tool_name\":\"test.echo\",\0\"payload\":{}}"), 400, "malformed_body"),
        ("too deep", raw(deep.as_bytes()), 400, "malformed_body"),
        ("too many nodes", raw(wide.as_bytes()), 400, "malformed_body"),
        ("a depth bomb", raw(bomb.as_bytes()), 400, "malformed_body"),
        ("2 MiB", raw(&call(&json!({ "a": "x".repeat(2 * 1024 * 1024) }))), 413, "payload_too_large"),
        ("no tool", raw(br#"{"payload":{}}"#), 400, "tool_name_required"),
        ("an unknown tool", raw(br#"{"tool_name":"no.such","payload":{}}"#), 404, "unknown_tool"),
        ("a wrong type", raw(&good).with("Content-Type", "text/plain"), 415, "unsupported_media_type"),
        ("no tenant", raw(&good).without("X-Tenant-ID"), 400, "tenant_header_required"),
        ("no tenant at all", raw(&good).with("X-Tenant-ID", "x"), 400, "invalid_tenant_id"),
        (
            "a foreign tenant",
            raw(&good).with("X-Tenant-ID", "018f6f1e-5c0a-7000-8000-000000000001"),
            403,
            "tenant_mismatch",
        ),
        ("no agent", raw(&good).without("X-Agent-ID"), 400, "agent_header_required"),
        ("no agent id", raw(&good).with("X-Agent-ID", "../x"), 400, "invalid_agent_id"),
        ("another agent", raw(&good).with("X-Agent-ID", other.id.clone()), 403, "agent_mismatch"),
        ("no credential", raw(&good).without("Authorization"), 401, "invalid_token"),
        ("no token", raw(&good).with("Authorization", "Bearer "), 401, "invalid_token"),
        ("alg none", raw(&good).with("Authorization", bearer(&none)), 401, "invalid_token"),
        ("alg HS256", raw(&good).with("Authorization", bearer(&hmac)), 401, "invalid_token"),
        ("an unknown key", raw(&good).with("Authorization", bearer(&stranger)), 401, "invalid_token"),
        ("crit", raw(&good).with("Authorization", bearer(&crit)), 401, "invalid_token"),
        ("forged", raw(&good).with("Authorization", bearer(&forged)), 401, "invalid_token"),
        (
            "a wrong key",
            raw(&good).with("Authorization", "Bearer acp_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            401,
            "invalid_token",
        ),
        ("a tool in the path", raw(b"{}").at("/execute/..%2f..%2fetc"), 404, "unknown_tool"),
    ]
}

#[tokio::test]
async fn bad_input_gets_what_the_contract_says_and_never_reaches_a_tool() {
    let mut d = Deployment::start(Database::Sqlite).await;
    let agent = d.agent("hostile", &["test.echo"]).await;
    let other = d.agent("victim", &["test.echo"]).await;
    let before = d.upstream.executed().len();
    let mut wrong = Vec::new();
    for (what, raw, status, error) in cases(&agent, &other) {
        let (seen, body) = exchange(d.url(), &raw.bytes()).await;
        if seen != status || body["error"] != error {
            wrong.push(format!("{what}: expected {status} {error}, got {seen} {body}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(d.upstream.executed().len(), before, "a tool was called");
    assert!(!d.sidecars[0].process.as_mut().unwrap().has_ended());
    let (status, body) = exchange(d.url(), &Raw::of(&agent, call(&json!({ "n": 2 }))).bytes()).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn slow_and_unfinished_clients_are_cut_off() {
    let overrides = [("AEGIS_PROXY__TIMEOUTS__HEADER_MS", "500"), ("AEGIS_PROXY__TIMEOUTS__BODY_MS", "500")];
    let d = Deployment::with_sidecars(Database::Sqlite, 1, &overrides).await;
    let agent = d.agent("slow", &["test.echo"]).await;
    let address = d.url().trim_start_matches("http://").to_owned();

    let mut header = TcpStream::connect(&address).await.unwrap();
    header.write_all(b"POST /execute HTTP/1.1\r\nHost: x\r\nX-A:").await.unwrap();
    let (status, _) = read_answer(&mut header).await;
    assert!(matches!(status, 0 | 400 | 408), "{status}");

    let whole = Raw::of(&agent, call(&json!({ "n": 1 }))).bytes();
    let mut body = TcpStream::connect(&address).await.unwrap();
    body.write_all(&whole[..whole.len() - 5]).await.unwrap();
    let (status, answer) = read_answer(&mut body).await;
    assert_eq!((status, answer["error"].as_str()), (408, Some("request_timeout")), "{answer}");

    // A client that goes away in the middle disturbs nobody.
    let mut gone = TcpStream::connect(&address).await.unwrap();
    gone.write_all(&whole[..whole.len() - 5]).await.unwrap();
    drop(gone);
    assert_eq!(agent.call(d.url(), "test.echo", &json!({ "n": 2 })).await.status, 200);
}
