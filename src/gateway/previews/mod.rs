//! Previews: requests to `<label>.<preview domain>` go to a dev server in a workspace.
//!
//! [`Previews::serve`] is the way of a request; what it decides with is pure and lives in the
//! rooms below: whom a request is for ([`visitor`]), who may pass ([`gate`], `origin`), what the
//! dev server and the client get to see of each other (`heads`, `cookies`, `hop`). Nothing here
//! watches Kubernetes: a [`preview::PreviewDirectory`] knows the previews.
//!
//! Both ends are strangers. The dev server is code of a tenant, and its pages share a domain with
//! those of other tenants.

mod bodies;
mod cookies;
pub mod gate;
mod heads;
mod hop;
mod lane;
pub mod metrics;
mod origin;
mod pages;
pub mod preview;
mod refusal;
pub mod settings;
mod stay;
#[cfg(test)]
mod tests;
mod upstream;
pub mod visitor;
mod websocket;

use std::{net::SocketAddr, sync::Arc};

use axum::body::Body;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, request::Parts, uri::Scheme};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use jiff::Timestamp;

use self::{
    bodies::{Download, Progress, Upload},
    gate::{Gate, Tickets},
    lane::{Lane, Lanes, Place},
    metrics::PreviewMetrics,
    pages::Form,
    preview::{Availability, Preview, PreviewDirectory, Traffic},
    refusal::Refusal,
    settings::PreviewSettings,
    stay::Stay,
    upstream::Upstream,
    visitor::{Site, Visitor},
};
use crate::gateway::access::Agents;

/// What the proxy works with.
pub struct Surroundings {
    /// The previews there are.
    pub directory: Arc<dyn PreviewDirectory>,
    /// The way to dev servers.
    pub agents: Arc<dyn Agents>,
    /// Tickets for private previews.
    pub tickets: Arc<dyn Tickets>,
    /// Is told of traffic.
    pub traffic: Arc<dyn Traffic>,
    /// Counters.
    pub metrics: Arc<PreviewMetrics>,
}

/// The proxy.
pub struct Previews {
    directory: Arc<dyn PreviewDirectory>,
    metrics: Arc<PreviewMetrics>,
    gate: Arc<Gate>,
    lanes: Lanes,
    upstream: Upstream,
    settings: PreviewSettings,
}

impl Previews {
    /// A proxy without connections yet.
    pub fn new(surroundings: Surroundings, settings: PreviewSettings) -> Self {
        Self {
            gate: Arc::new(Gate::new(surroundings.tickets, &settings)),
            lanes: Lanes::new(surroundings.traffic, settings.max_requests),
            upstream: Upstream::new(surroundings.agents, &settings),
            directory: surroundings.directory,
            metrics: surroundings.metrics,
            settings,
        }
    }

    /// Whether a host, with or without a port, is one label below the preview domain.
    pub fn is_preview_host(&self, host: &str) -> bool {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name).to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let label = name.strip_suffix(self.settings.domain.as_str()).and_then(|rest| rest.strip_suffix('.'));
        label.is_some_and(|label| !label.is_empty() && !label.contains('.'))
    }

    /// Whether a request is for a preview. One that contradicts itself is for nobody.
    pub fn is_for_preview<B>(&self, request: &Request<B>) -> bool {
        Site::of(request.uri(), request.headers()).is_ok_and(|site| self.is_preview_host(&site.name))
    }

    /// Answers a request that came from `peer`, through TLS or not. Its connection must be served
    /// with upgrades.
    pub async fn serve(&self, request: Request<Body>, peer: SocketAddr, tls: bool) -> Response<Body> {
        let form = Form::of(request.headers());
        let path = wanted_path(&request);
        let answer = self.answer(request, peer, tls).await;
        let response = answer.unwrap_or_else(|refusal| pages::refuse(&refusal, form, &path));
        self.metrics.answered(response.status());
        response
    }

    async fn answer(
        &self,
        request: Request<Body>,
        peer: SocketAddr,
        tls: bool,
    ) -> Result<Response<Body>, Refusal> {
        let (mut parts, body) = request.into_parts();
        check_head(&parts, self.settings.max_header_bytes)?;
        let site = Site::of(&parts.uri, &parts.headers)?;
        let visitor = Visitor::of(site, &parts.headers, peer, tls, &self.settings.trusted_proxies);
        let preview = self.find(&visitor.site.name)?;
        origin::check(&parts, &visitor)?;
        if parts.uri.path().starts_with(pages::OWN_PATHS) {
            return self.gate.answer(Request::from_parts(parts, body), &preview, &visitor).await;
        }
        let pass = self.gate.admit(&mut parts.headers, &preview, &visitor).await?;
        match &preview.availability {
            Availability::Available => {}
            Availability::Suspended => return Err(Refusal::Suspended),
            Availability::Starting(message) => return Err(Refusal::Starting(message.clone())),
        }
        let lane = self.lanes.of(&preview)?;
        let place = lane.enter()?;
        let stay = Stay {
            directory: Arc::clone(&self.directory),
            gate: Arc::clone(&self.gate),
            entered: preview,
            pass,
            look_every: self.settings.look_every,
        };
        self.pass_on(Request::from_parts(parts, body), stay, &visitor, &lane, place).await
    }

    fn find(&self, host: &str) -> Result<Arc<Preview>, Refusal> {
        if !self.is_preview_host(host) {
            return Err(Refusal::Unknown);
        }
        let preview = self.directory.look_up(host).ok_or(Refusal::Unknown)?;
        if has_expired(&preview) { Err(Refusal::Expired) } else { Ok(preview) }
    }

    async fn pass_on(
        &self,
        mut request: Request<Body>,
        stay: Stay,
        visitor: &Visitor,
        lane: &Lane,
        place: Place,
    ) -> Result<Response<Body>, Refusal> {
        let preview = Arc::clone(&stay.entered);
        let client = request.extensions_mut().remove::<OnUpgrade>();
        let (mut parts, body) = request.into_parts();
        let client = client.filter(|_| hop::wants_websocket(&parts));
        heads::to_dev_server(&mut parts.headers, &preview, visitor, client.is_some());
        let head = Head { method: parts.method, uri: address(parts.uri, lane)?, headers: parts.headers };
        let mut response = tokio::select! {
            biased;
            response = self.send(head, body, &place) => response?,
            () = stay.ended() => return Err(Refusal::Expired),
        };
        let upgraded = response.extensions_mut().remove::<OnUpgrade>();
        let (mut parts, body) = response.into_parts();
        let switched = parts.status == StatusCode::SWITCHING_PROTOCOLS;
        let accepted = parts.headers.remove(http::header::SEC_WEBSOCKET_ACCEPT);
        heads::to_client(&mut parts.headers, &preview, visitor);
        if !switched {
            return Ok(answer(parts.status, parts.headers, Body::new(Download::new(body, place, stay))));
        }
        let (Some(client), Some(dev_server), Some(accepted)) = (client, upgraded, accepted) else {
            return Err(Refusal::BadAnswer);
        };
        tokio::spawn(websocket::pass(client, dev_server, place, Arc::clone(&self.metrics), stay));
        parts.headers.insert(http::header::SEC_WEBSOCKET_ACCEPT, accepted);
        parts.headers.insert(http::header::CONNECTION, http::HeaderValue::from_static("Upgrade"));
        parts.headers.insert(http::header::UPGRADE, http::HeaderValue::from_static("websocket"));
        Ok(answer(parts.status, parts.headers, Body::empty()))
    }

    /// Sends a request. What a dev server may get twice is sent again where it closed the
    /// connection just then: that one had been idle.
    async fn send(&self, head: Head, body: Body, place: &Place) -> Result<Response<Incoming>, Refusal> {
        let progress = Progress::begin();
        let limit = self.settings.answer_timeout;
        let again = head.again(&body);
        let upload = Upload::new(body, place.pulse(), Arc::clone(&progress));
        let sent = progress.answer_within(limit, self.upstream.send(head.with(upload))).await?;
        let sent = match (sent, again) {
            (Err(error), Some(head)) if upstream::hung_up(&error) => {
                progress.answer_within(limit, self.upstream.send(head.with(Upload::empty()))).await?
            }
            (sent, _) => sent,
        };
        sent.map_err(|error| Refusal::from(&error))
    }
}

/// The head of a request to a dev server.
struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Head {
    /// The same once more, where it changes nothing and has no body.
    fn again(&self, body: &Body) -> Option<Self> {
        let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&self.method);
        (safe && hyper::body::Body::is_end_stream(body)).then(|| Self {
            method: self.method.clone(),
            uri: self.uri.clone(),
            headers: self.headers.clone(),
        })
    }

    fn with(self, body: Upload) -> Request<Upload> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

fn check_head(parts: &Parts, max_bytes: usize) -> Result<(), Refusal> {
    if [Method::CONNECT, Method::TRACE].contains(&parts.method) {
        return Err(Refusal::Method);
    }
    let bytes: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > max_bytes {
        return Err(Refusal::HeadersTooLong);
    }
    hop::check_length(parts)
}

/// The address of a request among the connections to dev servers.
fn address(uri: Uri, lane: &Lane) -> Result<Uri, Refusal> {
    let mut parts = uri.into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(lane.address.clone());
    parts.path_and_query.get_or_insert(http::uri::PathAndQuery::from_static("/"));
    Uri::from_parts(parts).map_err(|_| Refusal::Malformed("the path is none"))
}

fn answer(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn has_expired(preview: &Preview) -> bool {
    preview.expires_at.is_some_and(|expires| expires <= Timestamp::now())
}

/// Where a visitor wanted to go: back to it after the log-in.
fn wanted_path(request: &Request<Body>) -> String {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if request.method() == Method::GET { path.to_owned() } else { "/".to_owned() }
}
