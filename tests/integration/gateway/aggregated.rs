//! The aggregated API behind the real kube-apiserver: discovery, who asks, and who may.
//!
//! The server is this process; its agent is a fake. A control plane of its own, since an
//! APIService concerns the whole cluster.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use berth::{
    backend::{BodyId, LogRequest},
    controller::commands::{Answer, Command},
    gateway::{
        access::{AgentError, Agents, Tunnel},
        api::{
            self, Api, Controller, Settings,
            identity::Identity,
            objects::{DevServerView, Objects, WorkspaceView},
            problem::{Problem, Reason},
            review::{ClusterReviews, Reviewer},
        },
    },
    link::token::Epoch,
};
use berth_link::wire::{
    exec::{Ended, ExecRequest, ExecResult},
    frame::{Frame, Kind},
};
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::{
    Client,
    config::{KubeConfigOptions, Kubeconfig},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{pki_types::PrivateKeyDer, sign::CertifiedKey};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::support::{ControlPlane, eventually};

const GROUP: &str = "/apis/subresources.berth.dev/v1alpha1";
const NAMESPACE: &str = "default";
const PATIENCE: Duration = Duration::from_secs(60);

struct Known;

impl Objects for Known {
    fn workspace(&self, namespace: &str, name: &str) -> Option<Arc<WorkspaceView>> {
        (name == "web").then(|| {
            Arc::new(WorkspaceView {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                uid: "1".to_owned(),
                id: Some(BodyId::from_bytes([7; 8])),
                epoch: Epoch(1),
                phase: Some("Running".to_owned()),
                not_ready: None,
                deleting: false,
                user: "dev".to_owned(),
            })
        })
    }

    fn devserver(&self, namespace: &str, name: &str) -> Option<Arc<DevServerView>> {
        Some(Arc::new(DevServerView {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: "2".to_owned(),
            workspace: "web".to_owned(),
            process: name.parse().ok()?,
            port: None,
            preview: None,
            deleting: false,
        }))
    }
}

struct NoController;

#[async_trait]
impl Controller for NoController {
    async fn exec_root(
        &self,
        _: &WorkspaceView,
        by: &Identity,
        _: ExecRequest,
    ) -> Result<ExecResult, Problem> {
        Err(Problem::new(Reason::Conflict, format!("no root for {} of {:?}", by.user, by.groups)))
    }

    async fn command(&self, _: &WorkspaceView, by: &Identity, command: Command) -> Result<Answer, Problem> {
        Err(Problem::new(Reason::Conflict, format!("no {} for {}", command.word(), by.user)))
    }

    /// A log that outlasts what kube-apiserver gives an ordinary request.
    async fn log(&self, _: &WorkspaceView, _: LogRequest) -> Result<Body, Problem> {
        Ok(ticks(|tick| format!("{tick}\n").into()))
    }
}

struct FakeAgent(Router);

#[async_trait]
impl Agents for FakeAgent {
    async fn request(&self, _: BodyId, request: Request<Body>) -> Result<Response<Body>, AgentError> {
        Ok(self.0.clone().oneshot(request).await.unwrap())
    }

    async fn connect(&self, _: BodyId, port: u16) -> Result<Tunnel, AgentError> {
        Err(AgentError::PortClosed(port))
    }
}

fn agent() -> FakeAgent {
    FakeAgent(
        Router::new()
            .route("/v1/processes/web/log", get(|| async { "first line\nsecond line\n" }))
            .route("/v1/processes/clock/log", get(async || ticks(|tick| format!("{tick}\n").into())))
            .route("/v1/files/archive", get(async || ticks(|tick| format!("{tick}\n").into())).put(received))
            .route("/v1/terminals/clock", post(async || ticks(|tick| shown(tick).encode())))
            .route("/v1/exec/stream", post(stream)),
    )
}

/// Takes an archive, and says in its entity tag how many lines of it came.
async fn received(archive: String) -> (http::StatusCode, [(http::HeaderName, String); 1]) {
    (http::StatusCode::NO_CONTENT, [(http::header::ETAG, format!("\"{}\"", archive.lines().count()))])
}

/// A command that says hello and exits with 4.
async fn stream() -> Vec<u8> {
    let ended = Ended { exit_code: Some(4), ..Ended::default() };
    let frames = [Frame::bytes(Kind::Stdout, "hello"), Frame::json(Kind::Ended, &ended).unwrap()];
    frames.iter().flat_map(|frame| frame.encode().to_vec()).collect()
}

/// kube-apiserver cuts off ordinary requests after 60 s.
const TICKS: u64 = 65;

/// Something each second, for longer than that.
fn ticks(of: impl Fn(u64) -> Bytes + Send + 'static) -> Body {
    let clock = tokio::time::interval(Duration::from_secs(1));
    let ticks = futures::stream::unfold((clock, 1), |(mut clock, tick)| async move {
        clock.tick().await;
        (tick <= TICKS).then_some((tick, (clock, tick + 1)))
    });
    Body::from_stream(ticks.map(move |tick| Ok::<_, Infallible>(of(tick))))
}

fn shown(tick: u64) -> Frame {
    if tick < TICKS {
        return Frame::bytes(Kind::Stdout, format!("{tick}"));
    }
    Frame::json(Kind::Ended, &Ended { exit_code: Some(0), ..Ended::default() }).unwrap()
}

/// Serves the API in this process; returns its address and the authority of its certificate.
async fn serve(client: Client, stop: CancellationToken) -> (SocketAddr, String) {
    let (certificate, authority) = certificate(&format!("berth.{NAMESPACE}.svc"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let reviewer = Reviewer::new(Arc::new(ClusterReviews(client.clone())));
    let handlers =
        Api::new(Arc::new(agent()), Arc::new(Known), reviewer, Arc::new(NoController), Settings::default());
    let front_proxy = api::front_proxy::follow(client, stop.clone());
    let (held, certificate) = watch::channel(Some(certificate));
    tokio::spawn(async move {
        let router = Arc::new(handlers).router();
        api::serve::serve_aggregated(listener, certificate, front_proxy, router, stop).await;
        drop(held);
    });
    (address, authority)
}

fn certificate(name: &str) -> (Arc<CertifiedKey>, String) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    (Arc::new(CertifiedKey::new(vec![leaf.into()], key)), pem)
}

/// Registers the API, and waits until kube-apiserver finds it well.
async fn register(plane: &ControlPlane, client: &Client, address: SocketAddr, authority: &str) {
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "berth", "namespace": NAMESPACE},
            "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": address.port()}]},
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1alpha1.subresources.berth.dev"},
            "spec": {
                "group": "subresources.berth.dev",
                "version": "v1alpha1",
                "groupPriorityMinimum": 1000,
                "versionPriority": 10,
                "caBundle": base64_of(authority),
                "service": {"namespace": NAMESPACE, "name": "berth", "port": address.port()},
            },
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "sees-everything"},
            "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "sees-everything"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "shell", "namespace": NAMESPACE},
            "rules": [{
                "apiGroups": ["subresources.berth.dev"],
                "resources": ["workspaces/exec"],
                "resourceNames": ["web"],
                "verbs": ["get", "create"],
            }],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "shell", "namespace": NAMESPACE},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "shell"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "developers"}],
        },
    ]});
    let applied = plane.kubectl_with_input(&["apply", "-f", "-"], &objects.to_string());
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    let services: kube::Api<APIService> = kube::Api::all(client.clone());
    eventually(PATIENCE, "the APIService is available", || async {
        let found =
            services.get("v1alpha1.subresources.berth.dev").await.map_err(|error| error.to_string())?;
        let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
        match conditions.iter().any(|one| one.type_ == "Available" && one.status == "True") {
            true => Ok(()),
            false => Err(format!("{conditions:?}")),
        }
    })
    .await;
}

fn base64_of(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// A client that acts as somebody else.
async fn acting_as(plane: &ControlPlane, user: &str, group: &str) -> Client {
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig()).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    config.auth_info.impersonate = Some(user.to_owned());
    config.auth_info.impersonate_groups = Some(vec![group.to_owned()]);
    Client::try_from(config).unwrap()
}

fn of_object(path: &str) -> String {
    format!("{GROUP}/namespaces/{NAMESPACE}/{path}")
}

/// Opens a streaming command; otherwise what was said to it.
async fn exec(client: &Client, workspace: &str) -> Result<Vec<(u8, String)>, String> {
    channels(client, &format!("workspaces/{workspace}/exec?command=hello")).await
}

/// Everything that comes over a WebSocket; otherwise what was said to it.
async fn channels(client: &Client, path: &str) -> Result<Vec<(u8, String)>, String> {
    let request = Request::get(of_object(path)).body(Vec::new()).unwrap();
    let mut socket = client.connect(request).await.map_err(|error| error.to_string())?.into_stream();
    let mut seen = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        if message.is_close() {
            break;
        }
        let bytes = message.into_data();
        if bytes.len() > 1 {
            seen.push((bytes[0], String::from_utf8(bytes[1..].to_vec()).unwrap()));
        }
    }
    Ok(seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn workspaces_are_reached_through_kube_apiserver() {
    let plane = tokio::task::spawn_blocking(|| ControlPlane::start("aggregated")).await.unwrap();
    let client = plane.client().await;
    let stop = CancellationToken::new();
    let (address, authority) = serve(client.clone(), stop.clone()).await;
    register(&plane, &client, address, &authority).await;

    let long = tokio::spawn(long_requests_last(client.clone()));
    discovery_is_that_of_subresources(&plane).await;
    a_reader_reads_logs_and_gets_no_shell(&plane).await;
    a_developer_gets_a_shell_in_one_workspace(&plane).await;
    who_asks_comes_through(&plane, &client).await;
    long.await.unwrap();

    stop.cancel();
    tokio::task::spawn_blocking(move || drop(plane)).await.unwrap();
}

async fn discovery_is_that_of_subresources(plane: &ControlPlane) {
    let list: Value = serde_json::from_str(&plane.kubectl(&["get", "--raw", GROUP])).unwrap();
    let resources = list["resources"].as_array().unwrap();
    assert!(resources.iter().any(|one| one["name"] == "workspaces/exec"), "{list}");
    let shown = plane.kubectl_with_input(&["api-resources", "--cached=false"], "");
    let complaints = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(shown.status.success() && complaints.is_empty(), "{complaints}");
    let listed = plane.kubectl(&["get", "--raw", "/apis"]);
    assert!(listed.contains("subresources.berth.dev"), "{listed}");
    // kube-apiserver fetches schemas in its own time.
    eventually(PATIENCE, "the schemas are taken over", || async {
        let path = "/openapi/v3/apis/subresources.berth.dev/v1alpha1";
        let output = plane.kubectl_with_input(&["get", "--raw", path], "");
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    })
    .await;
}

async fn a_reader_reads_logs_and_gets_no_shell(plane: &ControlPlane) {
    let log = of_object("devservers/web/log");
    assert_eq!(plane.kubectl(&["--as", "reader", "get", "--raw", &log]), "first line\nsecond line\n");
    // kube-apiserver lets both through: to it they are gets.
    let page = of_object("workspaces/web/proxy/3000/");
    let refused = plane.kubectl_with_input(&["--as", "reader", "get", "--raw", &page], "");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("Forbidden") && said.contains("may not create"), "{said}");
    let reader = acting_as(plane, "reader", "readers").await;
    let refused = exec(&reader, "web").await.unwrap_err();
    assert!(refused.contains("403"), "{refused}");
}

async fn a_developer_gets_a_shell_in_one_workspace(plane: &ControlPlane) {
    let developer = acting_as(plane, "ada", "developers").await;
    let seen = exec(&developer, "web").await.unwrap();
    assert_eq!(seen[0], (1, "hello".to_owned()));
    let (channel, status) = &seen[1];
    let status: Value = serde_json::from_str(status).unwrap();
    assert_eq!((*channel, &status["details"]["causes"][0]["message"]), (3, &json!("4")));
    let refused = exec(&developer, "other").await.unwrap_err();
    assert!(refused.contains("403"), "{refused}");
}

async fn who_asks_comes_through(plane: &ControlPlane, client: &Client) {
    // The request's own word for who asks is not believed.
    let request = Request::post(of_object("workspaces/web/exec-root"))
        .header("x-remote-user", "mallory")
        .body(br#"{"command":["id"]}"#.to_vec())
        .unwrap();
    let refused = client.request::<Value>(request).await.unwrap_err().to_string();
    assert!(refused.contains("no root for berth-admin of [\"system:masters\""), "{refused}");
    // A problem of the gateway's comes through as kubectl understands it.
    let missing = of_object("workspaces/missing/stats");
    let output = plane.kubectl_with_input(&["get", "--raw", &missing], "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("(NotFound)") && said.contains("there is no workspace default/missing"), "{said}");
}

/// Sends an archive as slowly as [`ticks`] go; returns the entity tag that is answered.
async fn slow_upload(client: &Client) -> String {
    use kube::client::Body;
    // The client makes streaming bodies of answers alone.
    let line = |tick| Bytes::from(format!("{tick}\n"));
    let echo =
        tower::service_fn(
            move |_: Request<Body>| async move { Ok::<_, Infallible>(Response::new(ticks(line))) },
        );
    let body = Client::new(echo, NAMESPACE).send(Request::new(Body::empty())).await.unwrap().into_body();
    let request = Request::put(lasting("workspaces/web/files/archive")).body(body).unwrap();
    let answer = client.send(request).await.unwrap();
    assert_eq!(answer.status(), http::StatusCode::NO_CONTENT);
    answer.headers()[http::header::ETAG].to_str().unwrap().to_owned()
}

/// The path of a request that kube-apiserver takes for a watch.
fn lasting(path: &str) -> String {
    format!("{GROUP}/watch/namespaces/{NAMESPACE}/{path}")
}

async fn long_requests_last(client: Client) {
    let terminal = channels(&client, "workspaces/web/attach?terminal=clock");
    let request = Request::get(of_object("devservers/clock/log?follow=true")).body(Vec::new()).unwrap();
    let own = Request::get(of_object("workspaces/web/log?follow=true")).body(Vec::new()).unwrap();
    let archive = Request::get(lasting("workspaces/web/files/archive")).body(Vec::new()).unwrap();
    let (terminal, log, own, archive, sent) = tokio::join!(
        terminal,
        client.request_text(request),
        client.request_text(own),
        client.request_text(archive),
        slow_upload(&client)
    );
    let terminal = terminal.unwrap();
    assert_eq!(terminal.len() as u64, TICKS, "{terminal:?}");
    assert!(terminal.last().is_some_and(|(channel, status)| *channel == 3 && status.contains("Success")));
    assert_eq!(log.unwrap().lines().count() as u64, TICKS);
    assert_eq!(own.unwrap().lines().count() as u64, TICKS);
    assert_eq!(archive.unwrap().lines().count() as u64, TICKS);
    assert_eq!(sent, format!("\"{TICKS}\""));
}
