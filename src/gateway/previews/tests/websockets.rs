//! WebSockets through the proxy.

use futures::{SinkExt, StreamExt};
use rstest::rstest;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest, handshake::derive_accept_key, protocol::Role},
};

use super::*;

/// A dev server that says back what it is told, with a prefix.
async fn echo() -> u16 {
    dev_server(|mut request| async move {
        let upgraded = hyper::upgrade::on(&mut request);
        let headers = request.headers();
        assert_eq!(headers["connection"], "Upgrade");
        let accept = derive_accept_key(headers["sec-websocket-key"].as_bytes());
        let protocol = headers["sec-websocket-protocol"].clone();
        tokio::spawn(async move {
            let io = TokioIo::new(upgraded.await.unwrap());
            let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if let Message::Text(text) = message {
                    socket.send(Message::text(format!("echo {text}"))).await.unwrap();
                }
            }
        });
        Response::builder()
            .status(101)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", accept)
            .header("sec-websocket-protocol", protocol)
            .body(Body::empty())
            .unwrap()
    })
    .await
}

type Socket = WebSocketStream<TcpStream>;

async fn open(proxy: &Proxy, origin: &'static str) -> Result<Socket, tungstenite::Error> {
    let mut request = format!("ws://{HOST}/?token=x").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", http::HeaderValue::from_static("vite-hmr"));
    headers.insert("origin", http::HeaderValue::from_static(origin));
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (socket, response) = client_async(request, stream).await?;
    assert_eq!(response.headers()["sec-websocket-protocol"], "vite-hmr");
    Ok(socket)
}

async fn hear(socket: &mut Socket) -> String {
    tokio::time::timeout(LIMIT, socket.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap()
        .into_text()
        .unwrap()
        .to_string()
}

#[tokio::test]
async fn messages_go_both_ways_and_are_counted() {
    let proxy = Proxy::before(echo().await).await;
    let mut socket = open(&proxy, "http://web.localhost").await.unwrap();
    for number in 0..3 {
        socket.send(Message::text(number.to_string())).await.unwrap();
        assert_eq!(hear(&mut socket).await, format!("echo {number}"));
    }
    assert!(proxy.metrics().contains("berth_preview_websockets 1"));
    socket.close(None).await.unwrap();
    drop(socket);
    eventually("it is closed", || proxy.metrics().contains("berth_preview_websockets 0")).await;
}

#[tokio::test]
async fn a_large_message_arrives_whole() {
    let proxy = Proxy::before(echo().await).await;
    let mut socket = open(&proxy, "http://web.localhost").await.unwrap();
    let text = "x".repeat(2 << 20);
    socket.send(Message::text(text.clone())).await.unwrap();
    assert!(hear(&mut socket).await.ends_with(&text));
}

#[rstest]
#[case("http://other.localhost")]
#[case("http://web.localhost:9999")]
#[case("null")]
#[tokio::test]
async fn pages_of_other_sites_open_none(#[case] origin: &'static str) {
    let proxy = Proxy::before(echo().await).await;
    let Err(tungstenite::Error::Http(response)) = open(&proxy, origin).await else {
        panic!("it was opened");
    };
    assert_eq!(response.status(), 403);
    assert_eq!(proxy.world.connections.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_dev_server_may_refuse_one() {
    let port =
        dev_server(|_| async { Response::builder().status(426).body(Body::from("no")).unwrap() }).await;
    let proxy = Proxy::before(port).await;
    let Err(tungstenite::Error::Http(response)) = open(&proxy, "http://web.localhost").await else {
        panic!("it was opened");
    };
    assert_eq!(response.status(), 426);
}

#[tokio::test]
async fn one_that_is_open_takes_a_place() {
    let proxy = Proxy::with(echo().await, |settings| settings.max_requests = 1).await;
    let mut socket = open(&proxy, "http://web.localhost").await.unwrap();
    socket.send(Message::text("1")).await.unwrap();
    hear(&mut socket).await;
    assert_eq!(status(&proxy.ask(nothing(get("/"))).await), 503);
}

#[tokio::test]
async fn nobody_is_switched_to_another_protocol() {
    let proxy = Proxy::before(mirror().await).await;
    let request = get("/").header("connection", "Upgrade, HTTP2-Settings").header("upgrade", "h2c");
    let seen = text(proxy.ask(nothing(request)).await).await;
    assert!(!seen.contains("upgrade"), "{seen}");
}

#[tokio::test]
async fn a_dev_server_does_not_switch_by_itself() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
            let _ = stream.write_all(switch.as_bytes()).await;
        }
    });
    assert_eq!(status(&Proxy::before(port).await.ask(nothing(get("/"))).await), 502);
}
