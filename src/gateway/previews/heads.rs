//! The heads of requests to dev servers and of their answers.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{cookies, hop, origin, preview::HostHeader, preview::Preview, visitor::Visitor};

const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");
/// They would speak for more than one preview.
const NOT_FOR_PREVIEWS: [&str; 3] = ["alt-svc", "public-key-pins", "public-key-pins-report-only"];

/// Makes the headers of a client those that the dev server gets. Says nothing of the length of
/// the body: that is told by whoever sends it.
pub fn to_dev_server(headers: &mut HeaderMap, preview: &Preview, visitor: &Visitor, websocket: bool) {
    let trailers = hop::takes_trailers(headers);
    hop::strip(headers);
    headers.remove(header::CONTENT_LENGTH);
    // The gateway has said `continue` itself when it began to read the body.
    headers.remove(header::EXPECT);
    cookies::hide_ours(headers);
    let host = match preview.host_header {
        HostHeader::Rewrite => {
            origin::localize(headers, visitor, preview.port);
            format!("localhost:{}", preview.port)
        }
        HostHeader::Preserve => visitor.site.authority(),
    };
    if let Ok(host) = HeaderValue::try_from(host) {
        headers.insert(header::HOST, host);
    }
    visitor.describe(headers);
    if websocket {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    } else if trailers {
        headers.insert(header::CONNECTION, HeaderValue::from_static("TE"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Makes the headers of a dev server's answer those that the client gets.
pub fn to_client(headers: &mut HeaderMap, preview: &Preview, visitor: &Visitor) {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    hop::strip(headers);
    for name in NOT_FOR_PREVIEWS {
        headers.remove(name);
    }
    cookies::confine(headers);
    origin::globalize(headers, visitor, preview.port);
    rewrite(headers, header::STRICT_TRANSPORT_SECURITY, ';', |directive| {
        let name = directive.split('=').next().unwrap_or_default().trim();
        let far = name.eq_ignore_ascii_case("includeSubDomains") || name.eq_ignore_ascii_case("preload");
        if far { "" } else { directive }
    });
    // Cookies are cleared for the whole domain.
    rewrite(headers, CLEAR_SITE_DATA, ',', |kind| match kind {
        "\"cookies\"" => "",
        "\"*\"" => "\"cache\", \"storage\", \"executionContexts\"",
        other => other,
    });
    let usual = [
        (HeaderName::from_static("x-robots-tag"), "noindex"),
        // The host name of a preview is its secret.
        (header::REFERRER_POLICY, "same-origin"),
    ];
    for (name, value) in usual {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Rewrites the parts of a header; it goes where none is left, and where it is no text.
fn rewrite(
    headers: &mut HeaderMap,
    name: HeaderName,
    separator: char,
    part: impl for<'a> Fn(&'a str) -> &'a str,
) {
    if !headers.contains_key(&name) {
        return;
    }
    let kept: Vec<String> = headers
        .get_all(&name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .map(|value| {
            let parts = value.split(separator).map(|piece| part(piece.trim()));
            let parts: Vec<&str> = parts.filter(|piece| !piece.is_empty()).collect();
            parts.join(if separator == ';' { "; " } else { ", " })
        })
        .filter(|value| !value.is_empty())
        .collect();
    headers.remove(&name);
    for value in kept {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.append(name.clone(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{
        super::{preview::Access, preview::Availability, visitor::Site},
        *,
    };
    use crate::backend::BodyId;

    fn preview(host_header: HostHeader) -> Preview {
        Preview {
            host: "a.localhost".to_owned(),
            workspace: BodyId::from_bytes([1; 8]),
            port: 5173,
            access: Access::Link,
            expires_at: None,
            host_header,
            namespace: "team".to_owned(),
            workspace_name: "one".to_owned(),
            devserver: "web".to_owned(),
            availability: Availability::Available,
        }
    }

    fn visitor() -> Visitor {
        let site = Site { name: "a.localhost".to_owned(), port: Some(8080) };
        Visitor::of(site, &HeaderMap::new(), ([192, 0, 2, 1], 1).into(), false, &[])
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[rstest]
    #[case(HostHeader::Rewrite, "localhost:5173", "http://localhost:5173")]
    #[case(HostHeader::Preserve, "a.localhost:8080", "http://a.localhost:8080")]
    fn the_dev_server_sees_the_host_it_is_to_see(
        #[case] host_header: HostHeader,
        #[case] host: &str,
        #[case] origin: &str,
    ) {
        let mut headers = headers(&[("host", "a.localhost:8080"), ("origin", "http://a.localhost:8080")]);
        to_dev_server(&mut headers, &preview(host_header), &visitor(), false);
        assert_eq!(headers["host"], host);
        assert_eq!(headers["origin"], origin);
        assert_eq!(headers["x-forwarded-host"], "a.localhost:8080");
    }

    #[test]
    fn a_client_can_not_take_our_headers_away() {
        let mut headers = headers(&[("connection", "x-forwarded-for, host"), ("x-forwarded-for", "1.1.1.1")]);
        to_dev_server(&mut headers, &preview(HostHeader::Rewrite), &visitor(), false);
        assert_eq!(headers["x-forwarded-for"], "192.0.2.1");
        assert_eq!(headers["host"], "localhost:5173");
    }

    #[rstest]
    #[case::alt_svc("alt-svc", "h3=\":443\"", None)]
    #[case::pins("public-key-pins", "x", None)]
    #[case::hsts("strict-transport-security", "max-age=1; includeSubDomains; preload", Some("max-age=1"))]
    #[case::clear("clear-site-data", "\"cache\", \"cookies\"", Some("\"cache\""))]
    #[case::clear_cookies("clear-site-data", "\"cookies\"", None)]
    #[case::clear_all("clear-site-data", "\"*\"", Some("\"cache\", \"storage\", \"executionContexts\""))]
    #[case::worker("service-worker-allowed", "/", Some("/"))]
    #[case::robots("x-robots-tag", "all", Some("all"))]
    #[case::referrer("referrer-policy", "no-referrer", Some("no-referrer"))]
    #[case::framing("x-frame-options", "SAMEORIGIN", Some("SAMEORIGIN"))]
    fn an_answer_speaks_for_its_own_host(
        #[case] name: &'static str,
        #[case] value: &'static str,
        #[case] expected: Option<&str>,
    ) {
        let mut headers = headers(&[(name, value)]);
        to_client(&mut headers, &preview(HostHeader::Rewrite), &visitor());
        assert_eq!(headers.get(name).map(|value| value.to_str().unwrap()), expected);
        assert!(headers.contains_key("x-robots-tag") && headers.contains_key("referrer-policy"));
    }
}
