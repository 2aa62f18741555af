//! What is written of work in a workspace.

use std::net::SocketAddr;

use futures::{SinkExt, StreamExt};
use jiff::Timestamp;
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
    let worker = token(&scene.namespace, "worker", &["create", "get"], &["*"]).await;
    let written = |one: &Workspace| Some(one.status.as_ref()?.last_activity_at.as_ref()?.0);
    let before = scene.namespace.api::<Workspace>().get("one").await.unwrap();
    assert_eq!(written(&before), None, "a dev server that only runs is no work");

    let mut terminal = join(&scene, &worker).await;
    terminal.send(Message::Binary(b"\0echo typed > typed\n".to_vec().into())).await.unwrap();
    let worked = until(&scene.namespace, "one", "worked in", |one| written(one).is_some()).await;
    let written = written(&worked).unwrap();
    assert_eq!((written.as_second() % 60, written.subsec_nanosecond()), (0, 0), "whole minutes: {written}");
    assert!(written <= Timestamp::now(), "{written}");
    assert!(terminal.next().await.is_some(), "the terminal says something");
    scene.end().await;
}
