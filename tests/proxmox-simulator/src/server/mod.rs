//! The API's front: connections, requests, and every check before a call does something.
//!
//! What a call does is in `lxc`, `cluster` and `tasks`.

pub mod auth;
pub mod call;
pub mod connections;
mod dispatch;
pub mod formats;
pub mod http;
pub mod params;
pub mod permissions;
pub mod schema;

use std::sync::Arc;

use ::http::{Request, Response, header, request::Parts};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use self::{
    call::{Answer, Call},
    params::Params,
    schema::Route,
};
use crate::{
    access::Identity,
    cluster::Cluster,
    failure::{Body, Failure},
    faults::{Effect, Recorded},
};

/// How long the proxy waits for the daemon that works on a call, in seconds.
const PROXY_TIMEOUT: f64 = 30.0;

/// Answers a request.
pub async fn handle(cluster: Arc<Cluster>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let mut params = Params::default();
    let mut protected = false;
    let result = answer(&cluster, &head, body, &mut params, &mut protected).await;
    if result.as_ref().is_err_and(|failure| failure.status == 401) {
        tokio::time::sleep(cluster.clock.work(auth::REFUSAL)).await;
    }
    cluster.faults.record(Recorded {
        method: head.method.to_string(),
        path: path.strip_prefix("/api2/json").unwrap_or(&path).to_owned(),
        parameters: params.0.into_iter().filter(|(name, _)| name != "password").collect(),
        status: result.as_ref().map_or_else(|failure| failure.status, |_| 200),
        reason: result.as_ref().map_or_else(|failure| failure.message.clone(), |_| "OK".into()),
    });
    http::response(result, protected)
}

async fn answer(
    cluster: &Arc<Cluster>,
    head: &Parts,
    body: Incoming,
    params: &mut Params,
    protected: &mut bool,
) -> Result<Answer, Failure> {
    let method = head.method.as_str();
    if !matches!(method, "GET" | "POST" | "PUT" | "DELETE") {
        return Err(Failure::proxy(501, format!("method '{method}' not available")));
    }
    if head.headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Failure::request(501, "chunked transfer encoding not supported"));
    }
    let path = auth::unescape(head.uri.path());
    let Some(path) = path.strip_prefix("/api2/json") else {
        return Err(Failure::proxy(501, format!("Method '{method} {path}' not implemented")));
    };
    let path = path.trim_end_matches('/');
    let open = path == "/access/ticket";
    let identity = match auth::identify(cluster, method, &head.headers) {
        Ok(identity) => Some(identity),
        Err(_) if open => None,
        Err(failure) => return Err(failure),
    };
    http::check_head(method, &head.headers)?;
    let limit = usize::try_from(http::LONGEST_BODY).unwrap_or_default();
    let body = Limited::new(body, limit).collect().await;
    let body = body.map_err(|error| Failure::proxy(500, error.to_string()))?.to_bytes();
    *params = http::read_params(head.uri.query().unwrap_or_default(), &head.headers, &body)?;

    let api = Arc::clone(cluster);
    let Some(route) = api.api.route(method, path) else {
        let words = format!("Method '{method} {path}' not implemented");
        return Err(Failure { status: 501, ..Failure::other(words) });
    };
    *protected = route.endpoint.protected;
    params.0.extend(route.parameters.iter().map(|(name, value)| (name.clone(), Some(value.clone()))));
    if open {
        if auth::has_token(&head.headers) {
            let words = "URI '/access/ticket' not available with API token, need proper ticket.\n";
            return Err(Failure::denied(words));
        }
        params::verify(route.endpoint, params)?;
        return if method == "POST" {
            auth::login(cluster, params)
        } else {
            Ok(serde_json::Value::Null.into())
        };
    }
    let identity = identity.ok_or_else(|| Failure::proxy(401, "No ticket"))?;
    permissions::check(&route.endpoint.permissions, &cluster.state(), &identity, params)?;
    pass_on(cluster, &route, method, path, identity, params).await
}

/// Passes a checked call on to the node that it is for. The call goes on if the proxy gives up.
async fn pass_on(
    cluster: &Arc<Cluster>,
    route: &Route<'_>,
    method: &str,
    path: &str,
    identity: Identity,
    params: &Params,
) -> Result<Answer, Failure> {
    let node = params.get("node").map_or_else(|| cluster.entrance(), str::to_owned);
    {
        let state = cluster.state();
        if !state.nodes.contains_key(&node) {
            return Err(Failure::other(format!(
                "hostname lookup '{node}' failed - failed to get address info for: {node}: \
                 Name or service not known"
            )));
        }
        if state.offline.contains(&node) && route.endpoint.proxyto.is_some() {
            return Err(Failure::proxy(595, "No route to host"));
        }
    }
    let effect = cluster.faults.take(method, path);
    let lost = match effect {
        Some(Effect::Answer { status, reason }) => {
            let body = if status > 500 { Body::Empty } else { Body::Json };
            return Err(Failure { status, body, ..Failure::other(reason) });
        }
        Some(Effect::Delay { milliseconds }) => {
            tokio::time::sleep(std::time::Duration::from_millis(milliseconds)).await;
            None
        }
        Some(Effect::Lose { reason }) => Some((reason, 0)),
        Some(Effect::Late { milliseconds }) => Some(("Connection timed out".to_owned(), milliseconds)),
        None => None,
    };
    let later = std::time::Duration::from_millis(lost.as_ref().map_or(0, |(_, later)| *later));
    let call = Call { cluster: Arc::clone(cluster), identity, node, params: params.clone() };
    let pattern = route.pattern.to_owned();
    let method = method.to_owned();
    let protected = route.endpoint.protected;
    params::verify(route.endpoint, params)?;
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        if !later.is_zero() {
            tokio::time::sleep(later).await;
        }
        let daemon = call.cluster.daemon(&call.node).filter(|_| protected);
        let _worker = match daemon {
            Some(daemon) => daemon.acquire_owned().await.ok(),
            None => None,
        };
        // The proxy may have given up.
        let _ = sender.send(dispatch::run(&method, &pattern, &call).await);
    });
    if let Some((reason, _)) = lost {
        return Err(Failure::proxy(596, reason));
    }
    let timed_out = || Failure::proxy(596, "Connection timed out");
    if !protected {
        return receiver.await.map_err(|_| timed_out())?;
    }
    let answer = tokio::time::timeout(cluster.clock.patience(PROXY_TIMEOUT), receiver).await;
    answer.map_err(|_| timed_out())?.map_err(|_| timed_out())?
}
