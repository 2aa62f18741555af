//! The services as a whole, over a real HTTP/2 connection in memory.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn::http2::SendRequest, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;
use tower::ServiceExt;

use super::{Settings, router};
use crate::activity::ActivityLog;

mod exec;
mod exec_stream;

/// Nothing here takes this long.
const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for something, and fails where it does not come.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what).await.expect("it comes in time")
}

/// Waits until this holds.
async fn until(holds: impl Fn() -> bool) {
    soon(async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A workspace in a folder of its own, and a connection to its services.
struct Scene {
    folder: TempDir,
    client: SendRequest<Body>,
    activity: Arc<ActivityLog>,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for each in ["workspace", "home"] {
            std::fs::create_dir(folder.path().join(each)).unwrap();
        }
        let settings = Settings {
            workspace: folder.path().join("workspace"),
            home: folder.path().join("home"),
            user: "dev".to_owned(),
            shell: "/bin/bash".into(),
        };
        let activity = Arc::<ActivityLog>::default();
        let router = router(settings, Arc::clone(&activity));
        let (near, far) = tokio::io::duplex(64 << 10);
        let service = service_fn(move |request: Request<Incoming>| router.clone().oneshot(request));
        tokio::spawn(berth_link::transport::server().serve_connection(TokioIo::new(far), service));
        let (client, connection) =
            berth_link::transport::client().handshake(TokioIo::new(near)).await.unwrap();
        tokio::spawn(connection);
        Self { folder, client, activity }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.workspace().join(name)
    }

    fn workspace(&self) -> PathBuf {
        self.folder.path().join("workspace")
    }

    async fn send(&self, method: &str, path: &str, body: impl Into<Body>) -> Response<Incoming> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://agent{path}"))
            .header("content-type", "application/json")
            .body(body.into())
            .unwrap();
        soon(self.client.clone().send_request(request)).await.unwrap()
    }

    /// Status and answer, which is JSON or nothing.
    async fn ask(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let answer = self.send(method, path, body).await;
        let status = answer.status();
        let text = whole(answer).await;
        (status, if text.is_empty() { Value::Null } else { serde_json::from_slice(&text).unwrap() })
    }
}

async fn whole(answer: Response<Incoming>) -> Bytes {
    soon(answer.into_body().collect()).await.unwrap().to_bytes()
}

/// Whether a living process has this number, which was written to a file.
fn is_alive(file: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(file) else { return false };
    let Ok(pid) = text.trim().parse() else { return false };
    crate::supervisor::group::Stat::read(pid).is_some_and(|stat| stat.is_alive())
}
