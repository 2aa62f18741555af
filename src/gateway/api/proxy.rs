//! `proxy`: HTTP to a port of a workspace, WebSockets included.
//!
//! The application is the tenant's and our host is not: nothing that tells who asks goes in, and
//! nothing that would act on our host comes out.

use std::time::Duration;

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, Version, header};
use hyper::{client::conn::http1, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::{io::copy_bidirectional, time::timeout};

use super::{
    agent::Agent,
    channels::is_upgrade,
    gate::Admission,
    log::until_revoked,
    problem::{Problem, Reason},
};

/// Time for an application to begin an answer: it may be compiling.
const PATIENCE: Duration = Duration::from_secs(120);
/// Most headers of an answer.
const MOST_HEADERS: usize = 128;
/// Most bytes of the headers of an answer.
const HEADER_BYTES: usize = 64 << 10;

/// Headers between two neighbours, which go no further.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];
/// Headers that tell who asks, or from which page of ours, or that are between the client and us.
const NOT_IN: [HeaderName; 5] =
    [header::AUTHORIZATION, header::COOKIE, header::EXPECT, header::ORIGIN, header::REFERER];
/// Headers that act on the host that an answer comes from.
const NOT_OUT: [HeaderName; 6] = [
    header::SET_COOKIE,
    header::STRICT_TRANSPORT_SECURITY,
    header::ALT_SVC,
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("service-worker-allowed"),
    HeaderName::from_static("set-login"),
];
/// Pages work, but as if they came from nowhere.
const SANDBOX: HeaderValue = HeaderValue::from_static(
    "sandbox allow-downloads allow-forms allow-modals allow-pointer-lock allow-popups allow-scripts",
);

/// Passes a request on to a port.
pub async fn pass(
    agent: &Agent,
    port: u16,
    path: &str,
    mut request: Request<Body>,
    admission: Admission,
) -> Result<Response, Problem> {
    let whole = request.uri().path();
    let before = whole.strip_suffix(path).unwrap_or(whole).to_owned();
    let client = request.extensions_mut().remove::<OnUpgrade>().filter(|_| is_upgrade(request.headers()));
    let request = for_application(request, port, path, client.is_some())?;
    let tunnel = agent.connect(port).await?;
    let (mut application, connection) = http1::Builder::new()
        .max_headers(MOST_HEADERS)
        .max_buf_size(HEADER_BYTES)
        .handshake::<_, Body>(TokioIo::new(tunnel))
        .await
        .map_err(broken)?;
    tokio::spawn(connection.with_upgrades());
    let mut answer = timeout(PATIENCE, application.send_request(request))
        .await
        .map_err(|_| Problem::new(Reason::Timeout, format!("port {port} does not answer")))?
        .map_err(broken)?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let client = client.ok_or_else(|| broken("it switches protocols without being asked"))?;
        let theirs = hyper::upgrade::on(&mut answer);
        tokio::spawn(tunnelled(client, theirs, admission));
        let mut response = answer.map(|_| Body::empty());
        let upgrade = response.headers_mut().remove(header::UPGRADE);
        clean(response.headers_mut(), &before);
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().extend(upgrade.map(|value| (header::UPGRADE, value)));
        return Ok(response);
    }
    let mut response = answer.map(|body| until_revoked(Body::new(body), admission));
    *response.version_mut() = Version::HTTP_11;
    clean(response.headers_mut(), &before);
    Ok(response)
}

fn broken(error: impl std::fmt::Display) -> Problem {
    Problem::new(Reason::AgentUnavailable, format!("the application's answer can not be passed on: {error}"))
        .code("ApplicationUnavailable")
}

/// The request as the application sees it: as if it came from its own machine.
fn for_application(
    request: Request<Body>,
    port: u16,
    path: &str,
    upgrade: bool,
) -> Result<Request<Body>, Problem> {
    let (mut parts, body) = request.into_parts();
    let whole = match parts.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    parts.uri = Uri::try_from(whole).map_err(|error| Problem::bad_request(error.to_string()))?;
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    let wanted = parts.headers.get(header::UPGRADE).cloned().filter(|_| upgrade);
    hop(&mut parts.headers);
    for name in NOT_IN {
        parts.headers.remove(name);
    }
    if let Some(wanted) = wanted {
        parts.headers.insert(header::UPGRADE, wanted);
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    let host = HeaderValue::try_from(format!("localhost:{port}"))
        .map_err(|error| Problem::bad_request(error.to_string()))?;
    parts.headers.insert(header::HOST, host);
    Ok(Request::from_parts(parts, body))
}

/// Takes off what is between neighbours only, with what `Connection` names.
fn hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.into_iter().chain(named) {
        headers.remove(name);
    }
}

/// An application's headers as they may leave our host.
fn clean(headers: &mut HeaderMap, before: &str) {
    hop(headers);
    for name in NOT_OUT {
        headers.remove(name);
    }
    // A path on its own host is one below ours.
    let moved = headers
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .filter(|location| location.starts_with('/') && !location.starts_with("//"))
        .and_then(|location| HeaderValue::try_from(format!("{before}{location}")).ok());
    if let Some(moved) = moved {
        headers.insert(header::LOCATION, moved);
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// Carries bytes both ways once both ends have switched.
async fn tunnelled(client: OnUpgrade, application: OnUpgrade, admission: Admission) {
    let (client, application) = match futures::future::try_join(client, application).await {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "an upgrade did not come to be"),
    };
    let (mut client, mut application) = (TokioIo::new(client), TokioIo::new(application));
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut application) => {}
        _ = admission.until_revoked() => {}
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn nothing_tells_the_application_who_asks() {
        let request = Request::builder()
            .uri("/apis/x/proxy/3000/page?q=1")
            .header("authorization", "Bearer secret")
            .header("cookie", "session=secret")
            .header("origin", "https://kube")
            .header("connection", "close, x-private")
            .header("x-private", "1")
            .header("host", "kube")
            .header("accept", "text/html")
            .body(Body::empty())
            .unwrap();
        let request = for_application(request, 3000, "/page", false).unwrap();
        assert_eq!(request.uri(), "/page?q=1");
        let mut names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "host"]);
        assert_eq!(request.headers()["host"], "localhost:3000");
    }

    #[rstest]
    #[case("/login", "/below/login")]
    #[case("//elsewhere/login", "//elsewhere/login")]
    #[case("https://elsewhere/", "https://elsewhere/")]
    #[case("next", "next")]
    fn redirects_stay_below_us(#[case] location: &'static str, #[case] expected: &str) {
        let mut headers = HeaderMap::new();
        headers.insert(header::LOCATION, HeaderValue::from_static(location));
        clean(&mut headers, "/below");
        assert_eq!(headers[header::LOCATION], expected);
    }

    #[test]
    fn an_application_can_not_act_on_our_host() {
        let mut headers = HeaderMap::new();
        headers.insert(header::SET_COOKIE, HeaderValue::from_static("a=b"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src *"));
        clean(&mut headers, "");
        assert!(!headers.contains_key(header::SET_COOKIE));
        assert!(!SANDBOX.to_str().unwrap().contains("same-origin"));
        assert_eq!(headers.get_all(header::CONTENT_SECURITY_POLICY).iter().count(), 1);
        assert_eq!(headers[header::CONTENT_SECURITY_POLICY], SANDBOX);
    }
}
