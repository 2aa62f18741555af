//! Which pages may send what, and how a dev server on localhost is told of it.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use super::{hop, refusal::Refusal, visitor::Visitor};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what a page of another site must not send: what may change something, and WebSockets,
/// which know no other protection. Clients that are no browsers send no origin.
pub fn check(request: &http::request::Parts, visitor: &Visitor) -> Result<(), Refusal> {
    let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&request.method);
    if safe && !hop::wants_websocket(request) {
        return Ok(());
    }
    let site = request.headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
    let mut origins = request.headers.get_all(header::ORIGIN).iter();
    let own = match (origins.next(), origins.next()) {
        (_, Some(_)) => false,
        // Pages that keep the referrer to themselves send their own forms like this.
        (Some(origin), None) if origin == "null" => site == Some(b"same-origin"),
        (Some(origin), None) => is_own(origin, visitor),
        (None, None) => !matches!(site, Some(b"cross-site" | b"same-site")),
    };
    if own { Ok(()) } else { Err(Refusal::ForeignOrigin) }
}

/// Tells a dev server that its own pages are on `localhost`.
pub fn localize(headers: &mut HeaderMap, visitor: &Visitor, port: u16) {
    if headers.get(header::ORIGIN).is_some_and(|origin| is_own(origin, visitor)) {
        replace(headers, header::ORIGIN, format!("http://localhost:{port}"));
    }
    let referer = headers.get(header::REFERER).and_then(|referer| referer.to_str().ok());
    let Some(referer) = referer.and_then(|referer| referer.parse::<Uri>().ok()) else {
        return;
    };
    if is_at(&referer, visitor) {
        let path = referer.path_and_query().map_or("/", |path| path.as_str());
        replace(headers, header::REFERER, format!("http://localhost:{port}{path}"));
    }
}

/// Leads redirects of a dev server to itself back to the preview.
pub fn globalize(headers: &mut HeaderMap, visitor: &Visitor, port: u16) {
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        let Some(location) = headers.get(&name).and_then(|location| location.to_str().ok()) else {
            continue;
        };
        if let Some(path) = path_on_localhost(location, port) {
            let location = format!("{}{path}", visitor.origin());
            replace(headers, name, location);
        }
    }
}

/// What follows the host, where an address is one of the dev server itself.
fn path_on_localhost(location: &str, port: u16) -> Option<&str> {
    let rest = ["http://", "https://", "//"].iter().find_map(|scheme| location.strip_prefix(scheme))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (host, told) = authority.rsplit_once(':')?;
    let local = ["localhost", "127.0.0.1", "[::1]", "0.0.0.0"];
    let own = local.iter().any(|name| name.eq_ignore_ascii_case(host)) && told.parse() == Ok(port);
    own.then_some(path)
}

fn is_own(origin: &HeaderValue, visitor: &Visitor) -> bool {
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    origin.is_some_and(|origin| is_at(&origin, visitor))
}

/// Whether an address is on the preview's host and port. The scheme is left open: a proxy in
/// front that ends TLS and is not trusted would make every page a foreign one.
fn is_at(address: &Uri, visitor: &Visitor) -> bool {
    let usual = match address.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return false,
    };
    let Some(authority) = address.authority() else {
        return false;
    };
    let port = authority.port_u16().unwrap_or(usual);
    let name = authority.host();
    let same_name = name.strip_suffix('.').unwrap_or(name).eq_ignore_ascii_case(&visitor.site.name);
    same_name && visitor.site.port.unwrap_or(usual) == port
}

fn replace(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use rstest::rstest;

    use super::{super::visitor::Site, *};

    fn visitor(port: Option<u16>) -> Visitor {
        let site = Site { name: "a.localhost".to_owned(), port };
        Visitor::of(site, &HeaderMap::new(), ([192, 0, 2, 1], 1).into(), false, &[])
    }

    #[rstest]
    #[case::own("POST", &[("origin", "http://a.localhost:8080")], true)]
    #[case::own_behind_tls("POST", &[("origin", "https://A.localhost:8080")], true)]
    #[case::sibling("POST", &[("origin", "http://b.localhost:8080")], false)]
    #[case::other_port("DELETE", &[("origin", "http://a.localhost:9090")], false)]
    #[case::null("POST", &[("origin", "null")], false)]
    #[case::own_null("POST", &[("origin", "null"), ("sec-fetch-site", "same-origin")], true)]
    #[case::no_browser("POST", &[], true)]
    #[case::hidden("POST", &[("sec-fetch-site", "same-site")], false)]
    #[case::typed("POST", &[("sec-fetch-site", "none")], true)]
    #[case::two("POST", &[("origin", "http://a.localhost:8080"), ("origin", "http://a.localhost:8080")], false)]
    #[case::nonsense("POST", &[("origin", "a.localhost:8080")], false)]
    #[case::safe("GET", &[("origin", "http://b.localhost:8080")], true)]
    #[case::websocket(
        "GET",
        &[("origin", "http://b.localhost:8080"), ("connection", "upgrade"), ("upgrade", "websocket")],
        false
    )]
    fn pages_of_other_sites_change_nothing(
        #[case] method: &str,
        #[case] headers: &[(&str, &str)],
        #[case] fine: bool,
    ) {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap().into_parts().0;
        assert_eq!(check(&request, &visitor(Some(8080))).is_ok(), fine);
    }

    #[rstest]
    #[case(None, "https://a.localhost", true)]
    #[case(None, "https://a.localhost:8443", false)]
    #[case(Some(8443), "https://a.localhost:8443", true)]
    #[case(Some(443), "https://a.localhost", true)]
    fn ports_count(#[case] port: Option<u16>, #[case] origin: &'static str, #[case] own: bool) {
        assert_eq!(is_own(&HeaderValue::from_static(origin), &visitor(port)), own);
    }

    #[test]
    fn a_dev_server_sees_its_pages_on_localhost() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_static("http://a.localhost:8080"));
        headers.insert(header::REFERER, HeaderValue::from_static("http://a.localhost:8080/x?y=1"));
        localize(&mut headers, &visitor(Some(8080)), 5173);
        assert_eq!(headers["origin"], "http://localhost:5173");
        assert_eq!(headers["referer"], "http://localhost:5173/x?y=1");
    }

    #[test]
    fn a_dev_server_sees_other_sites_as_they_are() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_static("http://b.localhost:8080"));
        headers.insert(header::REFERER, HeaderValue::from_static("http://b.localhost:8080/x"));
        let before = headers.clone();
        localize(&mut headers, &visitor(Some(8080)), 5173);
        assert_eq!(headers, before);
    }

    #[rstest]
    #[case("http://localhost:5173/x?y#z", "http://a.localhost:8080/x?y#z")]
    #[case("http://127.0.0.1:5173", "http://a.localhost:8080")]
    #[case("//[::1]:5173/x", "http://a.localhost:8080/x")]
    #[case("/x", "/x")]
    #[case("http://localhost:9999/x", "http://localhost:9999/x")]
    #[case("http://localhost/x", "http://localhost/x")]
    #[case("https://example.com:5173/x", "https://example.com:5173/x")]
    #[case("http://localhost:5173@example.com/", "http://localhost:5173@example.com/")]
    #[case("http://x@localhost:5173/", "http://x@localhost:5173/")]
    fn redirects_lead_back_to_the_preview(#[case] location: &'static str, #[case] expected: &str) {
        let mut headers = HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_static(location))]);
        globalize(&mut headers, &visitor(Some(8080)), 5173);
        assert_eq!(headers["location"], expected);
    }
}
