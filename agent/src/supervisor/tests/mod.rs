//! The supervisor as a whole: real processes, over a real socket.

use std::{future::Future, path::Path, time::Duration};

use axum::body::Body;
use berth_link::wire::process::{
    DesiredProcesses, ErrorDetection, Health, LOG_OFFSET_HEADER, LogLimits, ProcessPhase, ProcessSpec,
    ProcessState, Processes, Restart, RestartPolicy,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::{net::UnixStream, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{Settings, serve};

mod processes;
mod successor;
mod terminals;

/// Nothing here takes this long.
const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for something, and fails where it does not come.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what).await.expect("it comes in time")
}

/// A supervisor in a folder of its own, and a connection to it.
struct Scene {
    folder: TempDir,
    stop: CancellationToken,
    serving: JoinHandle<anyhow::Result<()>>,
    client: SendRequest<Body>,
}

impl Scene {
    async fn new() -> Self {
        Self::begin(tempfile::tempdir().unwrap()).await
    }

    async fn begin(folder: TempDir) -> Self {
        let settings = settings(folder.path());
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(settings.clone(), stop.clone()));
        let client = soon(connect(&settings.socket)).await;
        Self { folder, stop, serving, client }
    }

    /// Stops it in an orderly way.
    async fn stop(self) -> TempDir {
        self.stop.cancel();
        soon(self.serving).await.unwrap().unwrap();
        self.folder
    }

    async fn send(&self, method: &str, path: &str, body: impl Into<Body>) -> Response<Incoming> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://supervisor{path}"))
            .header("content-type", "application/json")
            .body(body.into())
            .unwrap();
        soon(self.client.clone().send_request(request)).await.unwrap()
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let answer = self.send("GET", path, Body::empty()).await;
        assert_eq!(answer.status(), StatusCode::OK);
        serde_json::from_slice(&whole(answer).await).unwrap()
    }

    async fn text(&self, path: &str) -> String {
        let answer = self.send("GET", path, Body::empty()).await;
        assert_eq!(answer.status(), StatusCode::OK);
        String::from_utf8(whole(answer).await.to_vec()).unwrap()
    }

    async fn want(&self, processes: impl IntoIterator<Item = ProcessSpec>) -> Processes {
        let desired = DesiredProcesses { processes: processes.into_iter().collect() };
        let answer = self.send("PUT", "/v1/processes", serde_json::to_vec(&desired).unwrap()).await;
        assert_eq!(answer.status(), StatusCode::OK);
        serde_json::from_slice(&whole(answer).await).unwrap()
    }

    /// Waits until the processes are like this, and gives their states.
    async fn until(&self, like_this: impl Fn(&[ProcessState]) -> bool) -> Vec<ProcessState> {
        let mut events = Events(self.send("GET", "/v1/events", Body::empty()).await, Vec::new());
        let mut last = Vec::new();
        let states = timeout(DEADLINE, async {
            loop {
                last = events.next().await;
                if like_this(&last) {
                    return last.clone();
                }
            }
        });
        match states.await {
            Ok(states) => states,
            Err(_) => panic!("still {last:#?}"),
        }
    }

    /// Waits until the only process is like this, and gives its state.
    async fn until_one(&self, like_this: impl Fn(&ProcessState) -> bool) -> ProcessState {
        self.until(|states| states.first().is_some_and(&like_this)).await.remove(0)
    }

    /// Waits until the only process has a phase, and gives its state.
    async fn until_phase(&self, phase: ProcessPhase) -> ProcessState {
        self.until_one(|state| state.phase == phase).await
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A process that runs this, without a port.
    fn spec(&self, id: &str, command: &str) -> ProcessSpec {
        ProcessSpec {
            id: id.parse().unwrap(),
            run: true,
            command: command.to_owned(),
            workdir: self.folder.path().display().to_string(),
            env: [].into(),
            port: None,
            restart: Restart {
                policy: RestartPolicy::OnFailure,
                max_restarts: 2,
                initial_delay: Duration::from_millis(10),
                max_delay: Duration::from_millis(20),
                reset_after: Duration::from_secs(300),
            },
            health: Health {
                path: None,
                interval: Duration::from_millis(250),
                timeout: Duration::from_secs(2),
                startup_grace: Duration::from_secs(20),
                failure_threshold: 2,
            },
            logs: LogLimits { max_lines: 1000, max_bytes: 1 << 20 },
            errors: ErrorDetection { json: true, text: true, fatal: Vec::new() },
            restart_nonce: String::new(),
        }
    }
}

/// The events as they come.
struct Events(Response<Incoming>, Vec<u8>);

impl Events {
    async fn next(&mut self) -> Vec<ProcessState> {
        loop {
            if let Some(end) = self.1.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.1.drain(..=end).collect();
                let event: serde_json::Value = serde_json::from_slice(&line).unwrap();
                assert_eq!(event["type"], "processes");
                return serde_json::from_value(event["processes"].clone()).unwrap();
            }
            let frame = self.0.body_mut().frame().await.unwrap().unwrap();
            self.1.extend_from_slice(frame.data_ref().unwrap());
        }
    }
}

/// Everything in this folder.
pub fn settings(folder: &Path) -> Settings {
    Settings {
        socket: folder.join("socket/socket"),
        state: folder.join("state"),
        logs: folder.join("logs"),
        workspace: folder.to_owned(),
        home: folder.to_owned(),
        user: "root".to_owned(),
        shell: "/bin/bash".into(),
    }
}

async fn connect(socket: &Path) -> SendRequest<Body> {
    loop {
        if let Ok(stream) = UnixStream::connect(socket).await {
            let (client, connection) =
                berth_link::transport::client().handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            return client;
        }
        tokio::task::yield_now().await;
    }
}

async fn whole(answer: Response<Incoming>) -> Bytes {
    soon(answer.into_body().collect()).await.unwrap().to_bytes()
}
