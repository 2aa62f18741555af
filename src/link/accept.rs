//! Taking agents' connections.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use berth_link::transport::{self, ByteStream};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};

use super::{
    hub::Hub,
    token::{Bearer, Epoch, TokenKeys},
};
use crate::backend::BodyId;

/// When an agent whose workspace is not known may ask again.
const ASK_AGAIN: Duration = Duration::from_secs(3);

/// What is known of the workspace that a good token names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It is there, and this is the generation of its tokens.
    Present(Epoch),
    /// Nobody has heard of it, so far.
    Unknown,
    /// It was deleted, or is being deleted.
    Gone,
}

/// Who knows the workspaces.
pub trait Owners: Send + Sync {
    /// What is known of this one.
    fn standing(&self, id: BodyId) -> Standing;
}

/// Takes connections of agents.
pub struct Acceptor {
    /// Checks the tokens.
    pub keys: TokenKeys,
    /// Knows the workspaces.
    pub owners: Arc<dyn Owners>,
    /// Gets the links.
    pub hub: Arc<Hub>,
}

/// Why an agent is not let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
enum Refusal {
    #[error("a WebSocket is wanted here")]
    NoWebSocket,
    #[error("the token is missing or not one of this installation")]
    BadToken,
    #[error("the token is of an earlier container of this workspace")]
    OldToken,
    #[error("the workspace is not known (yet)")]
    Unknown,
    #[error("the workspace is gone")]
    Gone,
}

impl Refusal {
    /// A stable word for counters.
    fn reason(self) -> &'static str {
        match self {
            Self::NoWebSocket => "NoWebSocket",
            Self::BadToken => "BadToken",
            Self::OldToken => "OldToken",
            Self::Unknown => "Unknown",
            Self::Gone => "Gone",
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NoWebSocket => StatusCode::UPGRADE_REQUIRED,
            Self::BadToken | Self::OldToken => StatusCode::UNAUTHORIZED,
            Self::Unknown => StatusCode::SERVICE_UNAVAILABLE,
            Self::Gone => StatusCode::GONE,
        };
        let mut response = (status, self.to_string()).into_response();
        let headers = response.headers_mut();
        match self {
            Self::Unknown => {
                headers.insert(header::RETRY_AFTER, ASK_AGAIN.as_secs().into());
            }
            Self::BadToken | Self::OldToken => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::NoWebSocket | Self::Gone => {}
        }
        response
    }
}

impl Acceptor {
    /// Answers a request for a link; the link then lives in a task of its own.
    pub fn accept(&self, mut request: Request<Body>) -> Response {
        let (bearer, answer) = match self.admit(request.headers()) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                tracing::debug!(%refusal, "an agent was refused");
                self.hub.refused(refusal.reason());
                return refusal.into_response();
            }
        };
        let hub = Arc::clone(&self.hub);
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let Ok(upgraded) = upgrade.await else { return };
            let config = Some(transport::websocket_config());
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, config).await;
            hub.serve(bearer.id, bearer.epoch, ByteStream::new(socket)).await;
        });
        answer
    }

    fn admit(&self, headers: &HeaderMap) -> Result<(Bearer, Response), Refusal> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let token = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        let bearer = token.and_then(|token| self.keys.verify(token).ok()).ok_or(Refusal::BadToken)?;
        match self.owners.standing(bearer.id) {
            Standing::Present(epoch) if epoch == bearer.epoch => {}
            // The watch may show a newer generation later than its agent comes.
            Standing::Present(epoch) if epoch < bearer.epoch => return Err(Refusal::Unknown),
            Standing::Present(_) => return Err(Refusal::OldToken),
            Standing::Unknown => return Err(Refusal::Unknown),
            Standing::Gone => return Err(Refusal::Gone),
        }
        let upgrade = text(header::UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
        let key = text(header::SEC_WEBSOCKET_KEY).filter(|_| upgrade).ok_or(Refusal::NoWebSocket)?;
        let answer = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()))
            .body(Body::empty())
            .map_err(|_| Refusal::NoWebSocket)?;
        Ok((bearer, answer))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::{backend::InstanceId, link::metrics::LinkMetrics};

    fn hub() -> Arc<Hub> {
        Hub::new("test", LinkMetrics::register(&prometheus::Registry::new()).unwrap())
    }

    struct Known(Standing);

    impl Owners for Known {
        fn standing(&self, _: BodyId) -> Standing {
            self.0
        }
    }

    fn keys() -> TokenKeys {
        let keys = [("1".to_owned(), vec![1; 32].into())].into();
        TokenKeys::new(InstanceId("i".into()), "1", keys).unwrap()
    }

    fn headers(token: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        headers
    }

    fn token(epoch: u32) -> String {
        let bearer = Bearer { id: "0011223344556677".parse().unwrap(), epoch: Epoch(epoch) };
        keys().mint(bearer).unwrap().expose_secret().to_owned()
    }

    #[rstest]
    #[case(Standing::Present(Epoch(2)), &token(2), None)]
    #[case(Standing::Present(Epoch(2)), &token(1), Some(Refusal::OldToken))]
    #[case(Standing::Present(Epoch(2)), &token(3), Some(Refusal::Unknown))]
    #[case(Standing::Unknown, &token(2), Some(Refusal::Unknown))]
    #[case(Standing::Gone, &token(2), Some(Refusal::Gone))]
    #[case(Standing::Present(Epoch(2)), "berth1.1.0011223344556677.2.00", Some(Refusal::BadToken))]
    fn who_is_let_in(#[case] standing: Standing, #[case] token: &str, #[case] refusal: Option<Refusal>) {
        let acceptor = Acceptor { keys: keys(), owners: Arc::new(Known(standing)), hub: hub() };
        assert_eq!(acceptor.admit(&headers(token)).err(), refusal);
    }

    #[tokio::test]
    async fn a_refusal_is_counted_by_its_reason() {
        let registry = prometheus::Registry::new();
        let hub = Hub::new("test", LinkMetrics::register(&registry).unwrap());
        let acceptor = Acceptor { keys: keys(), owners: Arc::new(Known(Standing::Gone)), hub };
        let mut request = Request::new(Body::empty());
        *request.headers_mut() = headers(&token(1));
        assert_eq!(acceptor.accept(request).status(), StatusCode::GONE);
        let metrics = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(metrics.contains("berth_agent_refusals_total{reason=\"Gone\"} 1"), "{metrics}");
    }

    #[test]
    fn only_a_workspace_that_is_gone_is_told_never_to_come_back() {
        let status = |refusal: Refusal| refusal.into_response().status().as_u16();
        assert_eq!(status(Refusal::Gone), 410);
        assert_eq!(status(Refusal::BadToken), 401);
        assert_eq!(status(Refusal::OldToken), 401);
        let unknown = Refusal::Unknown.into_response();
        assert_eq!(
            (unknown.status().as_u16(), unknown.headers()[header::RETRY_AFTER].as_bytes()),
            (503, &b"3"[..])
        );
    }
}
