//! A tool server that behaves as its path says, and remembers what it was sent.

use std::net::SocketAddr;
use std::sync::Arc;

use async_compression::tokio::bufread::GzipEncoder;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Header and body.
pub(crate) type Request = (String, Vec<u8>);

/// The tool server.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    /// Header and body of each request.
    pub(crate) requests: Arc<Mutex<Vec<Request>>>,
    /// Lets `gated` tools answer.
    pub(crate) gate: Arc<Notify>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream =
            Self { address: listener.local_addr().unwrap(), requests: Arc::default(), gate: Arc::new(Notify::new()) };
        let served = upstream.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let served = served.clone();
                tokio::spawn(async move { served.serve(socket).await });
            }
        });
        upstream
    }

    pub(crate) fn calls(&self) -> usize {
        self.requests.lock().len()
    }

    async fn serve(&self, mut socket: TcpStream) {
        while let Some((head, body)) = read_request(&mut socket).await {
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            self.requests.lock().push((head, body));
            let behaviour = path.rsplit('/').next().unwrap_or_default().to_owned();
            if self.behave(&mut socket, &behaviour).await.is_err() {
                return;
            }
        }
    }

    async fn behave(&self, socket: &mut TcpStream, behaviour: &str) -> std::io::Result<()> {
        match behaviour.strip_prefix("sample.").unwrap_or(behaviour) {
            "text" => send(socket, "200 OK", "Content-Type: text/plain\r\n", b"plain text").await,
            "secret" => send(socket, "200 OK", JSON, br#"{"key":"AKIAIOSFODNN7EXAMPLQ","note":"fine"}"#).await,
            "missing" => send(socket, "404 Not Found", JSON, br#"{"error":"no such row"}"#).await,
            "failing" => send(socket, "500 Internal Server Error", JSON, br#"{"trace":"internal detail"}"#).await,
            "redirect" => send(socket, "302 Found", "Location: http://169.254.169.254/\r\n", b"").await,
            "gated" => {
                self.gate.notified().await;
                send(socket, "200 OK", JSON, br#"{"gated":true}"#).await
            }
            "hang" => std::future::pending().await,
            "reset" => {
                socket.set_zero_linger()?;
                Err(std::io::ErrorKind::ConnectionReset.into())
            }
            "endless" => {
                socket.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
                loop {
                    socket.write_all(format!("1000\r\n{}\r\n", "x".repeat(0x1000)).as_bytes()).await?;
                }
            }
            "short" => {
                socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this").await?;
                Err(std::io::ErrorKind::UnexpectedEof.into())
            }
            "bomb" => {
                let packed = gzip(&vec![b'0'; 4_000_000]).await;
                send(socket, "200 OK", "Content-Encoding: gzip\r\n", &packed).await
            }
            "gzip" => {
                send(socket, "200 OK", &format!("{JSON}Content-Encoding: gzip\r\n"), &gzip(br#"{"packed":1}"#).await)
                    .await
            }
            "unknown_encoding" => send(socket, "200 OK", "Content-Encoding: zstd\r\n", b"xx").await,
            "sse" => {
                let chunks: [&[u8]; 4] = [b"data: begin\n\n", b"data: AKIAIOSF", b"ODNN7EXAMPLQ\n\n", b"data: end\n\n"];
                stream(socket, &chunks).await?;
                socket.write_all(b"0\r\n\r\n").await
            }
            "sse_open" => {
                stream(socket, &[b"data: begin\n\n"]).await?;
                std::future::pending().await
            }
            _ => send(socket, "200 OK", JSON, br#"{"rows":[1,2.50],"ok":true}"#).await,
        }
    }
}

const JSON: &str = "Content-Type: application/json\r\n";

async fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    GzipEncoder::new(bytes).read_to_end(&mut packed).await.unwrap();
    packed
}

async fn send(socket: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    socket.write_all(&[head.as_bytes(), body].concat()).await
}

async fn stream(socket: &mut TcpStream, chunks: &[&[u8]]) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await?;
    for chunk in chunks {
        socket.write_all(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()).await?;
        socket.flush().await?;
    }
    Ok(())
}

/// One request with a `Content-Length`; `None` when the client is done.
pub(crate) async fn read_request(socket: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:").map(|v| v.trim().parse::<usize>().unwrap())
        })
        .unwrap_or(0);
    while bytes.len() < end + length {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, bytes[end..end + length].to_vec()))
}
