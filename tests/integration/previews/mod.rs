//! Real dev servers behind the preview proxy: a browser on a foreign host name gets their pages,
//! and hears of changed files. Needs Node.js 20 and npm; what npm installs is kept in
//! `$BERTH_CACHE/npm-apps`.

mod app;
mod proxy;

use std::time::Duration;

use app::App;
use futures::StreamExt;
use http::Method;
use proxy::Proxy;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::support::eventually;

/// Dev servers compile when they are first asked, on whatever processor is free.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn vite_pages_are_served_and_hear_of_changes() {
    let (app, proxy) = start("vite", |port| {
        let port = port.to_string();
        ["node_modules/vite/bin/vite.js", "--host", "127.0.0.1", "--strictPort", "--port", &port]
            .map(str::to_owned)
            .to_vec()
    })
    .await;
    assert!(page(&app, &proxy, "/").await.contains("Vite behind Berth"));
    // What a browser does: only modules that were asked for are updated.
    assert!(page(&app, &proxy, "/main.js").await.contains("import.meta.hot"));
    assert!(page(&app, &proxy, "/said.js").await.contains("first"));
    let client = page(&app, &proxy, "/@vite/client").await;
    let token = client.split("wsToken = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let mut socket = open(&proxy, &format!("/?token={token}"), Some("vite-hmr")).await;
    hear(&mut socket, "it is connected", |said| said["type"] == "connected").await;
    app.write("said.js", "export const said = 'second'\n");
    let update = hear(&mut socket, "it updates", |said| said["type"] == "update").await;
    assert_eq!(update["updates"][0]["acceptedPath"], "/said.js", "{update}");
    assert!(page(&app, &proxy, "/said.js").await.contains("second"));
}

#[tokio::test(flavor = "multi_thread")]
async fn next_pages_are_served_and_hear_of_changes() {
    let (app, proxy) = start("next", |port| {
        let port = port.to_string();
        ["node_modules/next/dist/bin/next", "dev", "--hostname", "127.0.0.1", "--port", &port]
            .map(str::to_owned)
            .to_vec()
    })
    .await;
    let first = page(&app, &proxy, "/").await;
    assert!(first.contains("Next.js says") && first.contains("first"), "{first}");
    let mut socket = open(&proxy, "/_next/webpack-hmr?page=%2F", None).await;
    hear(&mut socket, "it is connected", |said| said["action"] == "sync").await;
    app.write("app/said.js", "export const said = 'second'\n");
    hear(&mut socket, "it updates", |said| said["action"] == "serverComponentChanges").await;
    assert!(page(&app, &proxy, "/").await.contains("second"));
}

#[tokio::test(flavor = "multi_thread")]
async fn webpack_pages_are_served_and_hear_of_changes() {
    let (app, proxy) = start("webpack", |port| {
        let port = port.to_string();
        ["node_modules/webpack/bin/webpack.js", "serve", "--port", &port].map(str::to_owned).to_vec()
    })
    .await;
    assert!(page(&app, &proxy, "/main.js").await.contains("first"));
    let mut socket = open(&proxy, "/ws", None).await;
    let before = hear(&mut socket, "it tells its build", |said| said["type"] == "hash").await;
    app.write("src/said.js", "export const said = 'second'\n");
    let rebuilt = |said: &serde_json::Value| said["type"] == "hash" && said["data"] != before["data"];
    hear(&mut socket, "it is built again", rebuilt).await;
    hear(&mut socket, "it updates", |said| said["type"] == "ok").await;
    assert!(page(&app, &proxy, "/main.js").await.contains("second"));
}

/// Starts an app with arguments for node, and a proxy before it.
async fn start(name: &'static str, arguments: impl FnOnce(u16) -> Vec<String>) -> (App, Proxy) {
    let port = app::free_port();
    let arguments = arguments(port);
    let app = tokio::task::spawn_blocking(move || App::start(name, &arguments)).await.unwrap();
    (app, Proxy::before(port).await)
}

/// The text at a path, once the dev server gives one.
async fn page(app: &App, proxy: &Proxy, path: &str) -> String {
    eventually(PATIENCE, "the page is served", || async {
        match proxy.ask(Method::GET, path).await {
            (200, text) => Ok(text),
            (status, text) => Err(format!("{status} {text}\n{}", app.log())),
        }
    })
    .await
}

type Socket = WebSocketStream<TcpStream>;

/// Opens a WebSocket as a page of the preview does.
async fn open(proxy: &Proxy, path: &str, protocol: Option<&'static str>) -> Socket {
    let mut request = format!("ws://{}{path}", proxy.site()).into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("origin", format!("http://{}", proxy.site()).parse().unwrap());
    if let Some(protocol) = protocol {
        headers.insert("sec-websocket-protocol", protocol.parse().unwrap());
    }
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    client_async(request, stream).await.unwrap().0
}

/// Reads messages until the one that is waited for.
async fn hear(
    socket: &mut Socket,
    what: &str,
    wanted: impl Fn(&serde_json::Value) -> bool,
) -> serde_json::Value {
    let mut others = Vec::new();
    let hearing = async {
        while let Some(message) = socket.next().await {
            let Ok(Message::Text(text)) = message else { continue };
            let said = serde_json::from_str(&text).unwrap_or_default();
            if wanted(&said) {
                return Some(said);
            }
            others.push(said);
        }
        None
    };
    match tokio::time::timeout(PATIENCE, hearing).await {
        Ok(Some(said)) => said,
        Ok(None) => panic!("{what}: the WebSocket was closed after {others:#?}"),
        Err(_) => panic!("{what}: not in time, but {others:#?}"),
    }
}
