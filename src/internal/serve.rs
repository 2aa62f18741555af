//! The internal listener: who may connect, and where a request goes.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{Request, StatusCode};
use tower::Service;

use super::{
    certificates::{CONTROLLER, GATEWAY},
    commands,
    leader::{self, Leadership},
    log, peers, root, tls,
};
use crate::{link::hub::Hub, listener::Peer};

/// The service of the internal listener.
pub fn service(
    hub: Arc<Hub>,
    leadership: Leadership,
) -> impl Service<
    Request<Body>,
    Response = Response,
    Error = Infallible,
    Future = impl Future<Output = Result<Response, Infallible>> + Send,
> + Clone
+ Send
+ Sync
+ 'static {
    tower::service_fn(move |request: Request<Body>| {
        let (hub, leadership) = (Arc::clone(&hub), leadership.clone());
        async move { Ok(answer(hub, &leadership, request).await) }
    })
}

async fn answer(hub: Arc<Hub>, leadership: &Leadership, request: Request<Body>) -> Response {
    let names = request.extensions().get::<Peer>().map(|peer| tls::names(Some(&peer.certificates)));
    let known = names.is_some_and(|names| names.iter().any(|name| name == GATEWAY || name == CONTROLLER));
    if !known {
        return (StatusCode::FORBIDDEN, "this certificate is of no part of Berth").into_response();
    }
    if peers::is_for_agent(&request) {
        return peers::answer(hub, request).await;
    }
    match request.uri().path() {
        root::PATH => root::take(leadership, request).await,
        commands::PATH => commands::take(leadership, request).await,
        log::PATH => log::take(leadership, request).await,
        leader::STREAM => leader::take(leadership, request),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}
