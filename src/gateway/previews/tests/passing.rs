//! What dev servers and clients see of each other.

use super::*;

#[tokio::test]
async fn the_dev_server_sees_localhost_and_who_asks() {
    let port = mirror().await;
    let proxy = Proxy::before(port).await;
    let request = Request::post("/a%20b?c=d")
        .header("host", "web.localhost:8080")
        .header("origin", "http://web.localhost:8080")
        .header("referer", "http://web.localhost:8080/x")
        .header("cookie", "mine=1; berth-preview=secret")
        .header("x-forwarded-for", "1.1.1.1")
        .header("connection", "x-private")
        .header("x-private", "1");
    let seen = text(proxy.ask(nothing(request)).await).await;
    for line in [
        "POST /a%20b?c=d".to_owned(),
        format!("host: localhost:{port}"),
        format!("origin: http://localhost:{port}"),
        format!("referer: http://localhost:{port}/x"),
        "cookie: mine=1".to_owned(),
        "x-forwarded-for: 127.0.0.1".to_owned(),
        "x-forwarded-host: web.localhost:8080".to_owned(),
        "x-forwarded-proto: http".to_owned(),
        "x-forwarded-port: 8080".to_owned(),
        "forwarded: for=127.0.0.1;host=\"web.localhost:8080\";proto=http".to_owned(),
    ] {
        assert!(seen.lines().any(|seen| seen == line), "{line} is not in\n{seen}");
    }
    assert!(!seen.contains("x-private") && !seen.contains("secret"), "{seen}");
}

#[tokio::test]
async fn the_dev_server_may_see_the_host_of_the_preview() {
    let port = mirror().await;
    let proxy = Proxy::before(port).await;
    proxy.world.set(Preview { host_header: HostHeader::Preserve, ..preview(port) });
    let request = get("/").header("origin", "http://web.localhost");
    let seen = text(proxy.ask(nothing(request)).await).await;
    assert!(
        seen.contains("host: web.localhost\n") && seen.contains("origin: http://web.localhost\n"),
        "{seen}"
    );
}

#[tokio::test]
async fn proxies_in_front_are_believed_where_they_are_trusted() {
    let trusted = "127.0.0.0/8".parse().unwrap();
    let proxy = Proxy::with(mirror().await, |settings| settings.trusted_proxies = vec![trusted]).await;
    let request = get("/").header("x-forwarded-for", "192.0.2.1").header("x-forwarded-proto", "https");
    let seen = text(proxy.ask(nothing(request)).await).await;
    assert!(seen.contains("x-forwarded-for: 192.0.2.1, 127.0.0.1"), "{seen}");
    assert!(seen.contains("x-forwarded-proto: https") && seen.contains("x-forwarded-port: 443"), "{seen}");
}

#[tokio::test]
async fn pages_of_other_previews_change_nothing() {
    let proxy = Proxy::before(mirror().await).await;
    let post = |origin: &str| nothing(Request::post("/").header("host", HOST).header("origin", origin));
    assert_eq!(status(&proxy.ask(post("http://other.localhost")).await), 403);
    assert_eq!(status(&proxy.ask(post("http://web.localhost")).await), 200);
}

#[tokio::test]
async fn an_answer_speaks_for_its_own_host_only() {
    let port = dev_server(|request| async move {
        let port = request.headers()["host"].to_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
        Response::builder()
            .status(302)
            .header("location", format!("http://localhost:{port}/there"))
            .header("set-cookie", "a=1; Domain=localhost; Path=/")
            .header("set-cookie", "berth-preview=forged")
            .header("set-cookie", "b=2")
            .header("alt-svc", "h3=\":443\"")
            .header("strict-transport-security", "max-age=1; includeSubDomains")
            .header("keep-alive", "timeout=5")
            .header("x-frame-options", "SAMEORIGIN")
            .body(Body::empty())
            .unwrap()
    })
    .await;
    let response = Proxy::before(port).await.ask(nothing(get("/"))).await;
    assert_eq!(status(&response), 302);
    let headers = response.headers();
    assert_eq!(headers["location"], "http://web.localhost/there");
    assert_eq!(headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1; Path=/", "b=2"]);
    assert_eq!(headers["strict-transport-security"], "max-age=1");
    assert_eq!(headers["x-frame-options"], "SAMEORIGIN");
    assert_eq!(headers["x-robots-tag"], "noindex");
    assert_eq!(headers["referrer-policy"], "same-origin");
    assert!(!headers.contains_key("alt-svc") && !headers.contains_key("keep-alive"));
}

#[tokio::test]
async fn head_tells_the_length_of_what_it_does_not_send() {
    let port = dev_server(|_| async { Response::new(Body::from("twelve bytes")) }).await;
    let proxy = Proxy::before(port).await;
    let mut connection = proxy.connect().await;
    for _ in 0..2 {
        let request = nothing(Request::head("/").header("host", HOST));
        let response = connection.send_request(request).await.unwrap();
        assert_eq!(response.headers()["content-length"], "12");
        assert_eq!(text(response).await, "");
    }
}

#[tokio::test]
async fn connections_to_the_dev_server_are_used_again() {
    let proxy = Proxy::before(mirror().await).await;
    for _ in 0..10 {
        let response = proxy.ask(nothing(get("/"))).await;
        assert_eq!(status(&response), 200);
        text(response).await;
    }
    assert!(proxy.world.connections.load(Ordering::Relaxed) <= 2);
}

#[tokio::test]
async fn a_connection_that_closed_while_idle_is_not_noticed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // Answers once, and hangs up on the next request.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                let _ = stream.read(&mut [0; 1024]).await;
            });
        }
    });
    let proxy = Proxy::before(port).await;
    for _ in 0..4 {
        let response = proxy.ask(nothing(get("/"))).await;
        assert_eq!(status(&response), 200);
        assert_eq!(text(response).await, "ok");
    }
}

#[tokio::test]
async fn traffic_is_told_once_a_second() {
    let proxy = Proxy::before(mirror().await).await;
    let started = Instant::now();
    for _ in 0..20 {
        text(proxy.ask(nothing(get("/"))).await).await;
    }
    let most = usize::try_from(started.elapsed().as_secs()).unwrap() + 1;
    let touched = proxy.world.touched.load(Ordering::Relaxed);
    assert!((1..=most).contains(&touched), "{touched} times, at most {most}");
}
