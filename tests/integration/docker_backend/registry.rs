//! A registry with one image. Docker takes plain HTTP from loopback addresses.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::{StreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

pub const USER: &str = "me";
pub const PASSWORD: &str = "secret";
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Serves `open/image:1` to everyone and `closed/image:1` to [`USER`]; nothing else is there.
pub struct Registry {
    pub port: u16,
    /// The second half of the image is held back until this is true.
    pub goes_on: watch::Sender<bool>,
    server: JoinHandle<()>,
}

struct Shelf {
    layer: Bytes,
    config: Bytes,
    manifest: Bytes,
    goes_on: watch::Receiver<bool>,
}

impl Registry {
    pub async fn open() -> Self {
        let goes_on = watch::Sender::new(false);
        let shelf = Arc::new(Shelf::new(goes_on.subscribe()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().fallback(answer).with_state(shelf);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { port, goes_on, server }
    }

    pub fn image(&self, path: &str) -> String {
        format!("127.0.0.1:{}/{path}", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

impl Shelf {
    fn new(goes_on: watch::Receiver<bool>) -> Self {
        // Different each time: Docker does not fetch a layer again that it has.
        let mut content = vec![0; 4 << 20];
        rand::fill(content.as_mut_slice());
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, "noise", content.as_slice()).unwrap();
        let layer = archive.into_inner().unwrap();
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        })
        .to_string();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": config.len(), "digest": digest(config.as_bytes()),
            },
            "layers": [{
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "size": layer.len(), "digest": digest(&layer),
            }],
        })
        .to_string();
        Self { layer: layer.into(), config: config.into(), manifest: manifest.into(), goes_on }
    }

    /// The first half at once, the second when it may go on.
    fn slow_layer(&self) -> Body {
        let (first, second) = (self.layer.slice(..2 << 20), self.layer.slice(2 << 20..));
        let mut goes_on = self.goes_on.clone();
        let second = async move {
            let _ = goes_on.wait_for(|goes_on| *goes_on).await;
            second
        };
        Body::from_stream(stream::iter([first]).chain(stream::once(second)).map(Ok::<_, Infallible>))
    }
}

async fn answer(State(shelf): State<Arc<Shelf>>, request: Request) -> Response {
    let path = request.uri().path();
    let pass = format!("Basic {}", BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let is_known = request.headers().get(header::AUTHORIZATION).is_some_and(|given| given == pass.as_str());
    if path == "/v2/" {
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"test\"")];
        return if is_known {
            StatusCode::OK.into_response()
        } else {
            (StatusCode::UNAUTHORIZED, challenge).into_response()
        };
    }
    if path.starts_with("/v2/closed/") && !is_known {
        return failure(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required");
    }
    // First by tag, then by the digest that was answered.
    let by_digest = format!("/image/manifests/{}", digest(&shelf.manifest));
    if path.ends_with("/image/manifests/1") || path.ends_with(&by_digest) {
        let headers =
            [("content-type", MANIFEST.to_owned()), ("docker-content-digest", digest(&shelf.manifest))];
        return (headers, shelf.manifest.clone()).into_response();
    }
    if path.ends_with(&digest(&shelf.config)) {
        return shelf.config.clone().into_response();
    }
    if path.ends_with(&digest(&shelf.layer)) {
        let length = [(header::CONTENT_LENGTH, shelf.layer.len())];
        return (length.map(|(name, value)| (name, value.to_string())), shelf.slow_layer()).into_response();
    }
    failure(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown")
}

fn failure(status: StatusCode, code: &str, message: &str) -> Response {
    (status, serde_json::json!({"errors": [{"code": code, "message": message}]}).to_string()).into_response()
}
