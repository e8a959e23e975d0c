//! What is not a tool call goes to the control plane, without a word of ours in it.

use parking_lot::Mutex;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::harness::Harness;
use crate::upstream::read_request;

async fn control_plane() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let heads = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let heads = Arc::clone(&heads);
            tokio::spawn(async move {
                while let Some((head, _)) = read_request(&mut socket).await {
                    heads.lock().push(head);
                    socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
                }
            });
        }
    });
    (url, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_are_forwarded_with_their_true_origin() {
    let (url, seen) = control_plane().await;
    let harness = Harness::configured(&format!("[control]\nurl = \"{url}\"")).await;
    let request = harness
        .client
        .get(format!("{}/agents?limit=1", harness.base))
        .header("authorization", "Bearer of-a-user")
        .header("forwarded", "for=1.2.3.4")
        .header("x-forwarded-for", "1.2.3.4");
    assert_eq!(request.send().await.unwrap().status(), 200);
    let head = seen.lock().remove(0).to_ascii_lowercase();
    assert!(head.starts_with("get /agents?limit=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: bearer of-a-user") && head.contains("x-forwarded-for: 127.0.0.1"), "{head}");
    assert!(!head.contains("1.2.3.4") && head.contains("x-request-id: "), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn internal_paths_are_not_there_in_any_spelling() {
    let (url, seen) = control_plane().await;
    let harness = Harness::configured(&format!("[control]\nurl = \"{url}\"")).await;
    for path in ["/internal/sidecar/watch", "/v1/internal/x", "/%69nternal/x", "//internal"] {
        let got = harness.get(format!("{}{path}", harness.base)).await;
        assert_eq!((got.status, got.error()), (404, "not_found"), "{path}");
    }
    assert!(seen.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_is_away_is_said_so_and_calls_go_on() {
    let harness = Harness::configured("[control]\nurl = \"http://127.0.0.1:1\"").await;
    let got = harness.get(format!("{}/agents", harness.base)).await;
    assert_eq!((got.status, got.error()), (502, "upstream_unreachable"));
    assert_eq!(got.header("connection"), "close", "or the next call goes to a connection that ends");
    assert_eq!(harness.call("sample.ok").await.status, 200);
}
