//! Requests that two readers could read in two ways.

use rstest::rstest;
use tokio::io::AsyncReadExt;

use super::*;

const CHUNKS: &str = "0\r\n\r\n";

fn post(headers: &[&str], body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n\r\n{body}", headers.join("\r\n"))
}

#[rstest]
#[case::two_lengths(post(&["Content-Length: 5", "Content-Length: 6"], "hello"))]
#[case::plus(post(&["Content-Length: +5"], "hello"))]
#[case::gzip(post(&["Transfer-Encoding: gzip, chunked"], CHUNKS))]
#[case::not_last(post(&["Transfer-Encoding: chunked, identity"], CHUNKS))]
#[case::unknown(post(&["Transfer-Encoding: xchunked"], CHUNKS))]
#[case::folded(post(&["Transfer-Encoding:", " chunked", "Content-Length: 5"], CHUNKS))]
#[case::space(post(&["Transfer-Encoding : chunked"], CHUNKS))]
#[case::old_version(post(&["Transfer-Encoding: chunked"], CHUNKS).replace("HTTP/1.1", "HTTP/1.0"))]
#[case::two_hosts(post(&["Host: web.localhost"], ""))]
#[case::no_host("GET / HTTP/1.1\r\n\r\n".to_owned())]
#[tokio::test]
async fn what_can_be_read_in_two_ways_is_not_passed_on(#[case] request: String) {
    let proxy = Proxy::before(mirror().await).await;
    let line = proxy.send_raw(&request).await;
    assert!(line.contains(" 400 "), "{line}");
    assert_eq!(proxy.world.connections.load(Ordering::Relaxed), 0);
}

/// The standard says how these are read; whoever is behind us has no choice.
#[rstest]
#[case(&["Content-Length: 5", "Transfer-Encoding: chunked"], CHUNKS, "transfer-encoding: chunked")]
#[case(&["Transfer-Encoding: chunked", "Content-Length: 5"], CHUNKS, "transfer-encoding: chunked")]
#[case(&["Content-Length: 5", "Content-Length: 5"], "hello", "content-length: 5")]
#[tokio::test]
async fn what_is_passed_on_has_one_end(#[case] headers: &[&str], #[case] body: &str, #[case] expected: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::before(listener.local_addr().unwrap().port()).await;
    let receiving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = vec![0; 4096];
        let length = stream.read(&mut seen).await.unwrap();
        String::from_utf8(seen[..length].to_vec()).unwrap().to_ascii_lowercase()
    });
    assert!(proxy.send_raw(&post(headers, body)).await.contains(" 502 "));
    let seen = receiving.await.unwrap();
    let head = seen.split("\r\n\r\n").next().unwrap();
    let told =
        head.lines().filter(|line| line.contains("content-length") || line.contains("transfer-encoding"));
    assert_eq!(told.collect::<Vec<_>>(), [expected], "{seen}");
}

#[rstest]
#[case("TRACE / HTTP/1.1\r\nHost: web.localhost\r\n\r\n")]
#[case("CONNECT web.localhost:80 HTTP/1.1\r\nHost: web.localhost:80\r\n\r\n")]
#[tokio::test]
async fn some_methods_are_not_for_previews(#[case] request: &str) {
    let proxy = Proxy::before(mirror().await).await;
    let line = proxy.send_raw(request).await;
    assert!(line.contains(" 405 "), "{line}");
}
