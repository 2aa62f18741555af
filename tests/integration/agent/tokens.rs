//! Who may have a link: the bearer of a token, of this installation, for the present container.

use std::net::SocketAddr;

use serde_json::json;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};

use crate::support::{
    Docker, Namespace, Operator, Settings, control_plane,
    docker::docker,
    objects::{delete, gone, ready, template, until, workspace},
};

/// What the gateway answers to one who wants a link: 101 where it takes it.
async fn answer(gateway: &str, token: Option<&str>) -> u16 {
    let address = format!("{}/agent/connect", gateway.replacen("http:", "ws:", 1));
    let mut request = address.into_client_request().unwrap();
    let port = request.uri().port_u16().unwrap();
    if let Some(token) = token {
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let stream = tokio::net::TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await.unwrap();
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((_, response)) => response.status().as_u16(),
        Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
        Err(error) => panic!("the gateway does not answer: {error}"),
    }
}

/// The container of a workspace, and the token in it.
fn token(docker: &Docker, namespace: &Namespace, name: &str) -> (String, String) {
    let prefix = format!("berth-{}.{name}-", namespace.name);
    let container = docker.containers().into_iter().find(|each| each.starts_with(&prefix)).unwrap();
    let token = docker.exec(&container, "root", "cat /run/berth/agent.token");
    (container, token.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_token_of_the_present_container_opens_a_link() {
    let plane = control_plane().await;
    let namespace = plane.namespace("tokens").await;
    let settings = Settings::with_gateway(plane.kubeconfig(), &namespace.name);
    let docker_host = Docker::of(&settings.instance);
    let gateway = settings.gateway_url();
    let _operator = Operator::start(settings).await;
    template(&namespace).await;
    workspace(&namespace, "one", json!({})).await;
    workspace(&namespace, "two", json!({})).await;
    ready(&namespace, "one").await;
    ready(&namespace, "two").await;
    let (container, first) = token(&docker_host, &namespace, "one");
    let (_, other) = token(&docker_host, &namespace, "two");

    assert_eq!(answer(&gateway, None).await, 401);
    assert_eq!(answer(&gateway, Some("nonsense")).await, 401);
    // The code at the end of a token is of all before it.
    let code = |token: &str| token.rsplit_once('.').unwrap().1.to_owned();
    let named = |token: &str| token.rsplit_once('.').unwrap().0.to_owned();
    assert_eq!(answer(&gateway, Some(&format!("{}.{}", named(&other), code(&first)))).await, 401);

    docker(&["rm", "--force", &container]);
    until(&namespace, "one", "in its second container", |workspace| {
        workspace.status.as_ref().and_then(|status| status.incarnation) == Some(2)
    })
    .await;
    ready(&namespace, "one").await;
    let (_, second) = token(&docker_host, &namespace, "one");
    assert_ne!(first, second);
    assert_eq!(answer(&gateway, Some(&first)).await, 401);
    assert_eq!(answer(&gateway, Some(&second)).await, 101);

    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    assert_eq!(answer(&gateway, Some(&second)).await, 410);
    assert_eq!(answer(&gateway, Some(&other)).await, 101);
    delete(&namespace, "two").await;
    gone(&namespace, "two").await;
    namespace.delete().await;
}
