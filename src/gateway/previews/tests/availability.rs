//! What is answered where no dev server can.

use jiff::{SignedDuration, Timestamp};
use rstest::rstest;

use super::*;

#[tokio::test]
async fn an_unknown_host_has_no_preview() {
    let proxy = Proxy::before(1).await;
    let response = proxy.ask(nothing(Request::get("/").header("host", "other.localhost"))).await;
    assert_eq!(status(&response), 404);
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert_eq!(text(response).await, "there is no preview at this address\n");
}

#[tokio::test]
async fn an_expired_preview_is_gone() {
    let port = mirror().await;
    let proxy = Proxy::before(port).await;
    let expired_at = |seconds| Some(Timestamp::now() + SignedDuration::from_secs(seconds));
    proxy.world.set(Preview { expires_at: expired_at(60), ..preview(port) });
    assert_eq!(status(&proxy.ask(nothing(get("/"))).await), 200);
    proxy.world.set(Preview { expires_at: expired_at(-1), ..preview(port) });
    assert_eq!(status(&proxy.ask(nothing(get("/"))).await), 410);
}

#[rstest]
#[case::suspended(Availability::Suspended, "the workspace of this preview is suspended")]
#[case::starting(Availability::Starting("step 2 of 3".to_owned()), "the preview is being started: step 2 of 3")]
#[tokio::test]
async fn a_preview_that_is_not_available_asks_for_patience(
    #[case] availability: Availability,
    #[case] said: &str,
) {
    let proxy = Proxy::before(1).await;
    proxy.world.set(Preview { availability, ..preview(1) });
    let response = proxy.ask(nothing(get("/").header("accept", "text/html"))).await;
    assert_eq!(status(&response), 503);
    assert!(response.headers().contains_key("retry-after"));
    let page = text(response).await;
    assert!(page.contains("http-equiv=refresh") && page.contains(said), "{page}");
    // A page that waits and loads itself again is nobody at work.
    assert_eq!(proxy.world.touched.load(Ordering::Relaxed), 0);
}

#[rstest]
#[case::not_connected(|| AgentError::NotConnected, 503, "AgentNotConnected")]
#[case::broken(|| AgentError::Broken("reset".to_owned()), 503, "AgentNotConnected")]
#[case::slow(|| AgentError::TimedOut(Duration::from_secs(1)), 504, "TimedOut")]
#[case::busy(|| AgentError::Busy, 503, "Busy")]
#[case::closed(|| AgentError::PortClosed(5173), 502, "PortClosed")]
#[tokio::test]
async fn trouble_of_the_agent_is_told(
    #[case] trouble: fn() -> AgentError,
    #[case] expected: u16,
    #[case] code: &str,
) {
    let proxy = Proxy::before(5173).await;
    *proxy.world.trouble.lock().unwrap() = Some(trouble);
    let response = proxy.ask(nothing(get("/").header("accept", "application/json"))).await;
    assert_eq!(status(&response), expected);
    let problem: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(problem["code"], code);
}

#[tokio::test]
async fn a_closed_port_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let response = Proxy::before(port).await.ask(nothing(get("/"))).await;
    assert_eq!(status(&response), 502);
    assert_eq!(text(response).await, format!("nothing listens on port {port}\n"));
}

#[tokio::test]
async fn a_dev_server_that_says_nothing_is_not_waited_for_for_ever() {
    let port = dev_server(|_| std::future::pending()).await;
    let proxy = Proxy::with(port, |settings| settings.answer_timeout = Duration::from_millis(50)).await;
    assert_eq!(status(&proxy.ask(nothing(get("/"))).await), 504);
}

#[tokio::test]
async fn a_dev_server_that_talks_nonsense_gives_no_answer() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n").await;
        }
    });
    assert_eq!(status(&Proxy::before(port).await.ask(nothing(get("/"))).await), 502);
}

#[tokio::test]
async fn too_many_requests_at_once_are_refused() {
    let port = dev_server(|_| std::future::pending()).await;
    let proxy = Proxy::with(port, |settings| settings.max_requests = 1).await;
    let mut first = proxy.connect().await;
    let waiting = tokio::spawn(async move { first.send_request(nothing(get("/"))).await });
    eventually("the first is under way", || proxy.world.connections.load(Ordering::Relaxed) == 1).await;
    let response = proxy.ask(nothing(get("/"))).await;
    assert_eq!(status(&response), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    waiting.abort();
}

#[tokio::test]
async fn long_headers_are_refused() {
    let port = mirror().await;
    let proxy = Proxy::with(port, |settings| settings.max_header_bytes = 4096).await;
    let response = proxy.ask(nothing(get("/").header("x-long", "x".repeat(4096)))).await;
    assert_eq!(status(&response), 431);
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_headers_is_cut_off() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let proxy = Proxy::with(1, |settings| settings.header_timeout = Duration::from_millis(50)).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web.localhost\r\n").await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
}
