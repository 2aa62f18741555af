//! What is written of work in a workspace.

use std::net::SocketAddr;

use futures::{SinkExt, StreamExt};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use berth::api::Workspace;

use super::{api::token, scene::Scene};
use crate::support::objects::until;

/// Joins a terminal of the workspace `one`.
async fn join(scene: &Scene, token: &str) -> WebSocketStream<TcpStream> {
    let gateway = scene.operator.settings.gateway_url().replacen("http:", "ws:", 1);
    let namespace = &scene.namespace.name;
    let path = format!("api/v1/namespaces/{namespace}/workspaces/one/attach?terminal=main");
    let mut request = format!("{gateway}/{path}").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    headers.insert("sec-websocket-protocol", "v5.channel.k8s.io".parse().unwrap());
    let port = request.uri().port_u16().unwrap();
    let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await.unwrap();
    client_async(request, stream).await.expect("the terminal can not be joined").0
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_types_is_the_last_activity() {
    let scene = Scene::new("activity").await;
    scene.well().await;
    let worker = token(&scene.namespace, "worker", &["create", "get"], &["*"]).await;
    // As if nobody had worked there for long.
    let long_ago: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let workspaces = scene.namespace.api::<Workspace>();
    let change = Patch::Merge(json!({"status": {"lastActivityAt": long_ago}}));
    workspaces.patch_status("one", &PatchParams::default(), &change).await.expect("the status is refused");

    let mut terminal = join(&scene, &worker).await;
    terminal.send(Message::Binary(b"\0echo typed > typed\n".to_vec().into())).await.unwrap();
    let worked = until(&scene.namespace, "one", "worked in", |one| {
        let written = one.status.as_ref().and_then(|status| status.last_activity_at.as_ref());
        written.is_some_and(|written| written.0 > long_ago)
    })
    .await;
    let written = worked.status.unwrap().last_activity_at.unwrap().0;
    assert_eq!((written.as_second() % 60, written.subsec_nanosecond()), (0, 0), "whole minutes: {written}");
    assert!(written <= Timestamp::now(), "{written}");
    assert!(terminal.next().await.is_some(), "the terminal says something");
    scene.end().await;
}
