//! Bodies pass as they come, with back-pressure, and end when either end hangs up.

use bytes::Bytes;
use futures::{StreamExt, channel::mpsc};
use http_body_util::BodyExt;
use hyper::{body::Frame, client::conn::http2};
use hyper_util::rt::TokioExecutor;

use super::*;

const CHUNK: usize = 64 << 10;

/// A body that can be fed, and how many chunks were taken from it.
fn endless() -> (Body, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = taken.clone();
    let chunks = futures::stream::repeat_with(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok::<_, std::io::Error>(Bytes::from(vec![0; CHUNK]))
    });
    (Body::from_stream(chunks), taken)
}

/// Waits until nothing moves any more.
async fn settled(counter: &AtomicUsize) -> usize {
    let mut last = counter.load(Ordering::Relaxed);
    let started = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = counter.load(Ordering::Relaxed);
        if now == last && now > 0 {
            return now;
        }
        assert!(started.elapsed() < LIMIT, "it does not stop: {now} chunks");
        last = now;
    }
}

#[tokio::test]
async fn events_are_passed_on_one_by_one() {
    let (feed, events) = mpsc::unbounded::<Result<Bytes, std::io::Error>>();
    let events = Arc::new(Mutex::new(Some(events)));
    let port = dev_server(move |_| {
        let body = Body::from_stream(events.lock().unwrap().take().unwrap());
        async move { Response::builder().header("content-type", "text/event-stream").body(body).unwrap() }
    })
    .await;
    let proxy = Proxy::before(port).await;
    let mut body = proxy.ask(nothing(get("/"))).await.into_body();
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        feed.unbounded_send(Ok(Bytes::from_static(event.as_bytes()))).unwrap();
        let frame = tokio::time::timeout(LIMIT, body.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), event);
    }
}

#[tokio::test]
async fn a_large_upload_arrives_whole() {
    let port = dev_server(|request| async move {
        let length = request.into_body().collect().await.unwrap().to_bytes().len();
        Response::new(Body::from(length.to_string()))
    })
    .await;
    let proxy = Proxy::before(port).await;
    let chunks =
        futures::stream::iter((0..256).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![0; CHUNK]))));
    let request = Request::post("/").header("host", HOST).body(Body::from_stream(chunks)).unwrap();
    assert_eq!(text(proxy.ask(request).await).await, (256 * CHUNK).to_string());
    let request = Request::put("/").header("host", HOST).body(Body::from("hello")).unwrap();
    assert_eq!(text(proxy.ask(request).await).await, "5");
}

#[tokio::test]
async fn a_download_waits_for_who_reads_it() {
    let (body, taken) = endless();
    let body = Arc::new(Mutex::new(Some(body)));
    let port = dev_server(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async move { Response::new(body) }
    })
    .await;
    let proxy = Proxy::before(port).await;
    let response = proxy.ask(nothing(get("/"))).await;
    // What the sockets on the way hold, and no more.
    assert!(settled(&taken).await < 1024, "64 MiB were taken");
    drop(response);
}

#[tokio::test]
async fn an_upload_waits_for_who_reads_it() {
    let port = dev_server(|request| async move {
        // Holds the body without reading it.
        let _body = request.into_body();
        std::future::pending().await
    })
    .await;
    let proxy = Proxy::before(port).await;
    let (body, taken) = endless();
    let mut connection = proxy.connect().await;
    let request = Request::post("/").header("host", HOST).body(body).unwrap();
    let sending = tokio::spawn(async move { connection.send_request(request).await });
    assert!(settled(&taken).await < 1024, "64 MiB were taken");
    sending.abort();
}

/// A preview whose answers and uploads do not end, and which is looked at all the time.
async fn endless_preview() -> (Proxy, u16) {
    let port = dev_server(|request| async move {
        match request.uri().path() {
            "/events" => Response::new(Body::from_stream(
                futures::stream::iter([Ok(Bytes::from_static(b"data: 1\n\n"))])
                    .chain(futures::stream::pending::<std::io::Result<Bytes>>()),
            )),
            "/download" => Response::new(endless().0),
            _ => {
                let mut body = request.into_body();
                while body.frame().await.is_some() {}
                std::future::pending().await
            }
        }
    })
    .await;
    let proxy = Proxy::with(port, |settings| {
        settings.look_every = Duration::from_millis(20);
        settings.authorize_every = Duration::ZERO;
    })
    .await;
    (proxy, port)
}

fn expired(port: u16) -> Preview {
    Preview { expires_at: Some(jiff::Timestamp::UNIX_EPOCH), ..preview(port) }
}

#[rstest::rstest]
#[case::that_is_silent("/events")]
#[case::that_never_pauses("/download")]
#[tokio::test]
async fn an_answer_is_cut_when_the_preview_expires(#[case] path: &str) {
    let (proxy, port) = endless_preview().await;
    let mut body = proxy.ask(nothing(get(path))).await.into_body();
    assert!(tokio::time::timeout(LIMIT, body.frame()).await.unwrap().unwrap().is_ok());
    proxy.world.set(expired(port));
    let cut = tokio::time::timeout(LIMIT, async {
        loop {
            match body.frame().await {
                Some(Ok(_)) => {}
                other => break other,
            }
        }
    });
    let cut = cut.await.expect("it goes on");
    assert!(matches!(cut, Some(Err(_))), "it must not look complete");
}

#[tokio::test]
async fn an_upload_is_cut_when_the_preview_expires() {
    let (proxy, port) = endless_preview().await;
    let (body, taken) = endless();
    let asking =
        proxy.connect().await.send_request(Request::post("/").header("host", HOST).body(body).unwrap());
    let asking = tokio::spawn(asking);
    eventually("the upload has begun", || taken.load(Ordering::Relaxed) > 0).await;
    proxy.world.set(expired(port));
    let response = tokio::time::timeout(LIMIT, asking).await.expect("it goes on").unwrap();
    assert!(response.is_err() || response.is_ok_and(|response| status(&response) == 410));
}

#[tokio::test]
async fn an_answer_is_cut_when_who_reads_it_may_no_longer() {
    let (proxy, port) = endless_preview().await;
    proxy.world.set(Preview { access: Access::Private, ..preview(port) });
    let request = Request::post("/.berth/ticket").header("host", HOST).body(Body::from("ticket=good"));
    let cookie = proxy.ask(request.unwrap()).await.headers()["set-cookie"].to_str().unwrap().to_owned();
    let mut body = proxy.ask(nothing(get("/events").header("cookie", cookie))).await.into_body();
    assert!(tokio::time::timeout(LIMIT, body.frame()).await.unwrap().unwrap().is_ok());
    *proxy.world.say.lock().unwrap() = Say::No;
    let cut = tokio::time::timeout(LIMIT, body.frame()).await.expect("it goes on");
    assert!(matches!(cut, Some(Err(_))));
}

/// Tells when it is dropped.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_is_not_worked_for() {
    let gone = Arc::new(AtomicUsize::new(0));
    let (begun, guard) = (Arc::new(AtomicUsize::new(0)), gone.clone());
    let beginning = begun.clone();
    let port = dev_server(move |_| {
        let guard = Guard(guard.clone());
        beginning.fetch_add(1, Ordering::Relaxed);
        async move {
            let _guard = guard;
            std::future::pending().await
        }
    })
    .await;
    let proxy = Proxy::before(port).await;
    let mut connection = proxy.connect().await;
    let asking = tokio::spawn(async move { connection.send_request(nothing(get("/"))).await });
    eventually("the dev server has begun", || begun.load(Ordering::Relaxed) == 1).await;
    asking.abort();
    eventually("the dev server is told", || gone.load(Ordering::Relaxed) == 1).await;
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_download() {
    let (body, taken) = endless();
    let body = Arc::new(Mutex::new(Some(body)));
    let port = dev_server(move |_| {
        let body = body.lock().unwrap().take().unwrap_or_default();
        async move { Response::new(body) }
    })
    .await;
    let proxy = Proxy::with(port, |settings| settings.max_requests = 1).await;
    let mut connection = proxy.connect().await;
    let response = connection.send_request(nothing(get("/"))).await.unwrap();
    settled(&taken).await;
    assert_eq!(status(&proxy.ask(nothing(get("/"))).await), 503);
    drop((response, connection));
    let started = Instant::now();
    while status(&proxy.ask(nothing(get("/"))).await) == 503 {
        assert!(started.elapsed() < LIMIT, "its place is still taken");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_slow_upload_is_not_late() {
    let port = dev_server(|request| async move {
        let length = request.into_body().collect().await.unwrap().to_bytes().len();
        Response::new(Body::from(length.to_string()))
    })
    .await;
    let proxy = Proxy::with(port, |settings| settings.answer_timeout = Duration::from_millis(300)).await;
    let chunks = futures::stream::iter(0..8).then(|_| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok::<_, std::io::Error>(Bytes::from_static(b"x"))
    });
    let request = Request::post("/").header("host", HOST).body(Body::from_stream(chunks)).unwrap();
    let response = proxy.ask(request).await;
    assert_eq!((status(&response), text(response).await.as_str()), (200, "8"));
}

#[tokio::test]
async fn trailers_pass() {
    let port = dev_server(|request| async move {
        assert_eq!(request.headers()["te"], "trailers");
        let trailers = http::HeaderMap::from_iter([(
            http::HeaderName::from_static("x-sum"),
            http::HeaderValue::from_static("42"),
        )]);
        let frames =
            [Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"x"))), Ok(Frame::trailers(trailers))];
        let body = http_body_util::StreamBody::new(futures::stream::iter(frames));
        Response::builder().header("trailer", "x-sum").body(Body::new(body)).unwrap()
    })
    .await;
    let proxy = Proxy::before(port).await;
    let response = proxy.ask(nothing(get("/").header("te", "trailers").header("connection", "te"))).await;
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-sum"], "42");
}

#[tokio::test]
async fn a_client_that_waits_for_permission_gets_it() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let port = dev_server(|request| async move {
        assert!(!request.headers().contains_key("expect"));
        Response::new(Body::from(request.into_body().collect().await.unwrap().to_bytes()))
    })
    .await;
    let proxy = Proxy::before(port).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut said = [0; 25];
    tokio::time::timeout(LIMIT, stream.read_exact(&mut said)).await.unwrap().unwrap();
    assert_eq!(&said, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.unwrap();
    let mut answer = [0; 15];
    tokio::time::timeout(LIMIT, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[tokio::test]
async fn early_hints_do_not_disturb() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
        let answer = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n\
                      HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(answer.as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
    });
    let response = Proxy::before(port).await.ask(nothing(get("/"))).await;
    assert_eq!((status(&response), text(response).await.as_str()), (200, "ok"));
}

#[tokio::test]
async fn http_2_is_spoken_too() {
    let proxy = Proxy::before(mirror().await).await;
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (mut sender, connection) =
        http2::handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = |path: &str| {
        let builder = Request::post(format!("http://{HOST}{path}"));
        builder.header("cookie", "a=1").header("cookie", "b=2").body(Body::from("hello")).unwrap()
    };
    let (one, other) =
        tokio::join!(sender.clone().send_request(request("/1")), sender.send_request(request("/2")));
    for (response, path) in [(one.unwrap(), "/1"), (other.unwrap(), "/2")] {
        let seen = text(response).await;
        assert!(seen.starts_with(&format!("POST {path}\n")), "{seen}");
        assert!(seen.contains("content-length: 5") && seen.contains("cookie: a=1; b=2"), "{seen}");
        assert!(seen.contains("host: localhost:") && !seen.contains(HOST.to_uppercase().as_str()), "{seen}");
    }
}
