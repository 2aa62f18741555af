//! Headless Chromium over the DevTools protocol.

use std::process::Stdio;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

/// A browser with one page.
pub struct Browser {
    // Held: it ends with this.
    _child: Child,
    _profile: tempfile::TempDir,
    socket: WebSocketStream<TcpStream>,
    session: Option<String>,
    last: u64,
}

impl Browser {
    /// Starts one. Needs Chromium: `apt-get install chromium`.
    pub async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut child = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--remote-debugging-port=0", "--no-first-run", "--window-size=1000,700"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("chromium does not start: apt-get install chromium");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next_line().await.unwrap().expect("chromium ended");
            if let Some(address) = line.strip_prefix("DevTools listening on ") {
                break address.to_owned();
            }
        };
        // Read on, so that it never waits for somebody to.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let host = address.trim_start_matches("ws://").split('/').next().unwrap().to_owned();
        let stream = TcpStream::connect(&host).await.unwrap();
        let (socket, _) = client_async(&address, stream).await.unwrap();
        let mut browser = Self { _child: child, _profile: profile, socket, session: None, last: 0 };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let wanted = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", wanted).await;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        browser
    }

    /// Opens a page.
    pub async fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url})).await;
    }

    /// The value of an expression; null where it throws.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let wanted = json!({"expression": expression, "returnByValue": true});
        self.call("Runtime.evaluate", wanted).await["result"]["value"].take()
    }

    /// Types text, as an input method does.
    pub async fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text})).await;
    }

    /// Changes the size of the page.
    pub async fn resize(&mut self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size).await;
    }

    async fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(message.to_string())).await.unwrap();
        loop {
            let Message::Text(text) = self.socket.next().await.unwrap().unwrap() else { continue };
            let mut answer: Value = serde_json::from_str(&text).unwrap();
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }
}
