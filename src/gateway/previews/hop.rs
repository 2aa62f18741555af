//! Headers that are for the next hop only, and how long a message is.

use http::{HeaderMap, HeaderValue, Method, Version, header, request::Parts};

use super::refusal::Refusal;

/// Beside those that `Connection` lists.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Removes what is for the next hop only.
pub fn strip(headers: &mut HeaderMap) {
    let listed: Vec<String> = tokens(headers, "connection").map(str::to_owned).collect();
    for name in listed {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Whether a client asks to speak WebSocket. No other protocol is switched to.
pub fn wants_websocket(request: &Parts) -> bool {
    request.method == Method::GET
        && request.version == Version::HTTP_11
        && has_token(&request.headers, "connection", "upgrade")
        && has_token(&request.headers, "upgrade", "websocket")
}

/// Whether a client takes trailers.
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    has_token(headers, "te", "trailers")
}

/// Refuses a request whose end two readers could see at different places.
pub fn check_length(request: &Parts) -> Result<(), Refusal> {
    let mut codings = request.headers.get_all(header::TRANSFER_ENCODING).iter();
    let mut lengths = request.headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() || length.is_some_and(|length| !is_number(length)) {
        return Err(Refusal::Malformed("the Content-Length is ambiguous"));
    }
    let Some(coding) = codings.next() else {
        let empty = length.is_none_or(|length| length == "0");
        return if empty || !wants_websocket(request) {
            Ok(())
        } else {
            Err(Refusal::Malformed("a request for a WebSocket has a body"))
        };
    };
    let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    let plain = chunked && codings.next().is_none() && request.version == Version::HTTP_11;
    if !plain || length.is_some() || wants_websocket(request) {
        return Err(Refusal::Malformed("the Transfer-Encoding is ambiguous"));
    }
    Ok(())
}

fn is_number(value: &HeaderValue) -> bool {
    !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit)
}

fn tokens<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

fn has_token(headers: &HeaderMap, name: &str, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use http::Request;
    use rstest::rstest;

    use super::*;

    fn request(method: &str, version: Version, pairs: &[(&'static str, &'static str)]) -> Parts {
        let mut request = Request::builder().method(method).version(version);
        for (name, value) in pairs {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn what_is_for_the_next_hop_goes() {
        let mut headers = request(
            "GET",
            Version::HTTP_11,
            &[
                ("connection", "close, X-Secret"),
                ("connection", "x-other"),
                ("x-secret", "1"),
                ("x-other", "1"),
                ("te", "trailers"),
                ("keep-alive", "timeout=5"),
                ("upgrade", "h2c"),
                ("http2-settings", "x"),
                ("accept", "*/*"),
            ],
        )
        .headers;
        strip(&mut headers);
        assert_eq!(headers.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["accept"]);
    }

    #[rstest]
    #[case::yes("GET", Version::HTTP_11, "keep-alive, Upgrade", "WebSocket", true)]
    #[case::other_protocol("GET", Version::HTTP_11, "upgrade", "h2c", false)]
    #[case::not_asked("GET", Version::HTTP_11, "close", "websocket", false)]
    #[case::method("POST", Version::HTTP_11, "upgrade", "websocket", false)]
    #[case::version("GET", Version::HTTP_2, "upgrade", "websocket", false)]
    fn only_websockets_are_switched_to(
        #[case] method: &str,
        #[case] version: Version,
        #[case] connection: &'static str,
        #[case] upgrade: &'static str,
        #[case] expected: bool,
    ) {
        let request = request(method, version, &[("connection", connection), ("upgrade", upgrade)]);
        assert_eq!(wants_websocket(&request), expected);
    }

    const WEBSOCKET: [(&str, &str); 2] = [("connection", "upgrade"), ("upgrade", "websocket")];

    #[rstest]
    #[case::none(&[], true)]
    #[case::length(&[("content-length", "5")], true)]
    #[case::chunked(&[("transfer-encoding", "Chunked")], true)]
    #[case::both(&[("content-length", "5"), ("transfer-encoding", "chunked")], false)]
    #[case::two_lengths(&[("content-length", "5"), ("content-length", "5")], false)]
    #[case::list_of_lengths(&[("content-length", "5, 5")], false)]
    #[case::signed(&[("content-length", "+5")], false)]
    #[case::other_coding(&[("transfer-encoding", "gzip, chunked")], false)]
    #[case::identity(&[("transfer-encoding", "identity")], false)]
    #[case::two_codings(&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], false)]
    #[case::websocket(&WEBSOCKET, true)]
    #[case::websocket_with_body(&[WEBSOCKET[0], WEBSOCKET[1], ("content-length", "5")], false)]
    #[case::websocket_with_chunks(&[WEBSOCKET[0], WEBSOCKET[1], ("transfer-encoding", "chunked")], false)]
    fn an_ambiguous_end_is_refused(#[case] pairs: &[(&'static str, &'static str)], #[case] fine: bool) {
        assert_eq!(check_length(&request("GET", Version::HTTP_11, pairs)).is_ok(), fine);
    }

    #[test]
    fn chunks_need_http_1_1() {
        let request = request("POST", Version::HTTP_10, &[("transfer-encoding", "chunked")]);
        assert!(check_length(&request).is_err());
    }
}
