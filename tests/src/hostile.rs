//! Tool servers that misbehave, one behaviour per path, written on bare sockets.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A server of misbehaviour; ends when dropped.
pub struct Hostile {
    /// Where it listens.
    pub port: u16,
    _server: tokio::task::JoinHandle<()>,
}

impl Hostile {
    /// Starts it; `/tools/bad.<what>` behaves as `<what>`: `hang`, `reset`, `short`, `large`, `endless`, `gzip`,
    /// `garbage`, `redirect`.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // The sidecar closing on us is what these are for.
                    let _ = misbehave(stream).await;
                });
            }
        });
        Self { port, _server: server }
    }
}

const LARGE: usize = 12 * 1024 * 1024;

async fn misbehave(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        let mut chunk = [0_u8; 4_096];
        match stream.read(&mut chunk).await? {
            0 => return Ok(()),
            n => head.extend_from_slice(&chunk[..n]),
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let what = text.split_whitespace().nth(1).and_then(|path| path.rsplit('.').next()).unwrap_or_default();
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    match what {
        "reset" => stream.set_zero_linger(),
        "short" => stream.write_all(format!("{json}Content-Length: 100\r\n\r\n{{\"a\":1}}").as_bytes()).await,
        "large" => {
            stream.write_all(format!("{json}Content-Length: {LARGE}\r\n\r\n\"").as_bytes()).await?;
            stream.write_all(&vec![b'a'; LARGE]).await
        }
        "endless" => {
            stream.write_all(format!("{json}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await?;
            let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x1_0000));
            loop {
                stream.write_all(chunk.as_bytes()).await?;
            }
        }
        "gzip" => {
            stream.write_all(format!("{json}Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope").as_bytes()).await
        }
        "garbage" => stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await,
        "redirect" => {
            stream
                .write_all(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n")
                .await
        }
        // hang: nothing, until the other side gives up.
        _ => {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.map(|_| ())
        }
    }
}
