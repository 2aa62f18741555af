use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use axum::{Router, body::Body, response::Response};
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use rstest::rstest;
use tempfile::TempDir;
use tower::ServiceExt;

use super::*;

/// A workspace and a home, with something outside of both.
struct House {
    folder: TempDir,
    router: Router,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["workspace", "home", "tmp", "outside"] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::write(path("outside/secret"), "secret").unwrap();
        let router = over(Places::new(&path("workspace"), &[&path("home"), &path("tmp")]));
        Self { folder, router }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    async fn ask(&self, method: Method, path: &str, body: impl Into<Body>) -> Response {
        let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, path, Body::empty()).await
    }
}

async fn text(response: Response) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body = text(response).await;
    let problem: AgentProblem = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status}: {body}"));
    (status, problem.code)
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

mod archives;
mod changing;
mod listing;
mod reading;
