//! A collector of traces: OTLP over HTTP, as far as the tests look at it.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;

/// The collector.
pub struct Collector {
    /// Its base address.
    pub url: String,
    bodies: Arc<Mutex<Vec<Bytes>>>,
}

/// A span as it is encoded: the fields of protobuf that tests compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// 32 hex digits.
    pub trace_id: String,
    /// 16 hex digits.
    pub span_id: String,
    /// 16 hex digits, or none.
    pub parent: String,
    /// What it is called.
    pub name: String,
}

impl Collector {
    /// Starts it; it ends with the test's runtime.
    pub async fn start() -> Self {
        let bodies = Arc::<Mutex<Vec<Bytes>>>::default();
        let keep = async |State(bodies): State<Arc<Mutex<Vec<Bytes>>>>, body: Bytes| {
            bodies.lock().unwrap().push(body);
        };
        let app = Router::new().route("/v1/traces", post(keep)).with_state(Arc::clone(&bodies));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        tokio::spawn(async move { axum::serve(listener, app).await.expect("the collector serves") });
        Self { url, bodies }
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<Span> {
        // ExportTraceServiceRequest.resource_spans (1) . scope_spans (2) . spans (2)
        let bodies = self.bodies.lock().unwrap().clone();
        let inner = |bytes: &[u8], number| fields(bytes).into_iter().filter(move |(n, _)| *n == number);
        let mut spans = Vec::new();
        for body in bodies {
            for (_, resource) in inner(&body, 1) {
                for (_, scope) in inner(&resource, 2) {
                    spans.extend(inner(&scope, 2).map(|(_, span)| span_of(&span)));
                }
            }
        }
        spans
    }
}

fn span_of(bytes: &[u8]) -> Span {
    let fields = fields(bytes);
    let field = |number| fields.iter().find(|(n, _)| *n == number).map(|(_, value)| value.clone()).unwrap_or_default();
    let hex = |number| hex::encode(field(number));
    Span { trace_id: hex(1), span_id: hex(2), parent: hex(4), name: String::from_utf8(field(5)).expect("a name") }
}

/// The length-delimited fields of a protobuf message; the others are passed over.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        match tag & 7 {
            0 => drop(varint(&mut bytes)),
            1 => bytes = &bytes[8..],
            2 => {
                let length = usize::try_from(varint(&mut bytes)).expect("a length");
                let (value, rest) = bytes.split_at(length);
                found.push((tag >> 3, value.to_vec()));
                bytes = rest;
            }
            5 => bytes = &bytes[4..],
            other => panic!("wire type {other}"),
        }
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().expect("a varint");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}
