//! Cookies that are ours, and cookies that dev servers set.
//!
//! All previews share a domain. A cookie for that domain would reach the others, so there are
//! none; and a dev server neither sees nor sets the cookies that let visitors in.

use http::{HeaderMap, HeaderValue, header};

/// The cookie that lets a visitor in, through TLS. Browsers keep it to its own host.
pub const SECURE: &str = "__Host-berth-preview";
/// The same in the clear: local runs.
pub const PLAIN: &str = "berth-preview";

/// The values of our cookie that a client has sent.
pub fn ours<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.filter(move |(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

/// Leaves the cookies of the dev server, in one header.
pub fn hide_ours(headers: &mut HeaderMap) {
    let mut values = headers.get_all(header::COOKIE).iter();
    let Some(first) = values.next() else {
        return;
    };
    if values.next().is_none() && !mentions_ours(first.as_bytes()) {
        return;
    }
    let theirs: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'))
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty() && !is_ours(pair))
        .collect();
    match HeaderValue::from_bytes(&theirs.join(&b"; "[..])) {
        Ok(value) if !value.is_empty() => headers.insert(header::COOKIE, value),
        _ => headers.remove(header::COOKIE),
    };
}

/// Keeps the cookies that a dev server sets to its own host, and away from ours.
pub fn confine(headers: &mut HeaderMap) {
    if !headers.contains_key(header::SET_COOKIE) {
        return;
    }
    let set: Vec<_> =
        headers.get_all(header::SET_COOKIE).iter().filter_map(|value| confined(value.as_bytes())).collect();
    headers.remove(header::SET_COOKIE);
    for value in set {
        headers.append(header::SET_COOKIE, value);
    }
}

fn confined(cookie: &[u8]) -> Option<HeaderValue> {
    let mut parts = cookie.split(|byte| *byte == b';');
    let pair = parts.next()?.trim_ascii();
    if is_ours(pair) {
        return None;
    }
    let mut kept = vec![pair];
    kept.extend(parts.map(<[u8]>::trim_ascii).filter(|part| !key(part).eq_ignore_ascii_case(b"domain")));
    HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok()
}

fn key(part: &[u8]) -> &[u8] {
    part.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii()
}

/// Whether a pair of name and value reads as one of ours. Browsers send a cookie without a name
/// as its bare value, so what stands behind a leading `=` counts as the name.
fn is_ours(pair: &[u8]) -> bool {
    let mut pair = pair.trim_ascii();
    while let Some(rest) = pair.strip_prefix(b"=") {
        pair = rest.trim_ascii();
    }
    let name = key(pair).to_ascii_lowercase();
    name.starts_with(b"__host-berth-") || name.starts_with(PLAIN.as_bytes())
}

fn mentions_ours(value: &[u8]) -> bool {
    value.windows(b"berth-".len()).any(|window| window.eq_ignore_ascii_case(b"berth-"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::theirs(&["a=1; b=2"], Some("a=1; b=2"))]
    #[case::ours(&["a=1; __Host-berth-preview=x; b=2"], Some("a=1; b=2"))]
    #[case::plain(&["berth-preview=x"], None)]
    #[case::any_case(&["__hOST-Berth-other=x;a=1"], Some("a=1"))]
    #[case::nameless(&["=__Host-berth-preview=x; a=1"], Some("a=1"))]
    #[case::http_2(&["a=1", "__Host-berth-preview=x", "b=2"], Some("a=1; b=2"))]
    fn dev_servers_do_not_see_our_cookies(#[case] sent: &[&'static str], #[case] expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        for value in sent {
            headers.append(header::COOKIE, HeaderValue::from_static(value));
        }
        hide_ours(&mut headers);
        assert_eq!(headers.get(header::COOKIE).map(|value| value.to_str().unwrap()), expected);
        assert!(headers.get_all(header::COOKIE).iter().count() <= 1);
    }

    #[rstest]
    #[case::untouched("a=1; Path=/; HttpOnly", Some("a=1; Path=/; HttpOnly"))]
    #[case::domain("a=1; Domain=localhost; Path=/", Some("a=1; Path=/"))]
    #[case::odd_domain("a=1;DOMAIN =x;domain", Some("a=1"))]
    #[case::domain_as_value("domain=x; Path=/", Some("domain=x; Path=/"))]
    #[case::ours("__Host-berth-preview=x; Secure; Path=/", None)]
    #[case::ours_in_any_case("__HOST-BERTH-PREVIEW=x", None)]
    #[case::ours_nameless("= =__Host-berth-preview=x", None)]
    #[case::ours_plain("berth-preview=x", None)]
    fn dev_servers_set_cookies_for_their_own_host(#[case] set: &'static str, #[case] expected: Option<&str>) {
        let mut headers = HeaderMap::from_iter([(header::SET_COOKIE, HeaderValue::from_static(set))]);
        confine(&mut headers);
        assert_eq!(headers.get(header::SET_COOKIE).map(|value| value.to_str().unwrap()), expected);
    }

    #[test]
    fn our_cookie_is_found_among_others() {
        let cookies = HeaderValue::from_static("a=1; berth-preview=x; berth-preview=y=");
        let headers = HeaderMap::from_iter([(header::COOKIE, cookies)]);
        assert_eq!(ours(&headers, PLAIN).collect::<Vec<_>>(), ["x", "y="]);
    }

    proptest! {
        #[test]
        fn no_cookie_has_a_domain(parts in proptest::collection::vec("[a-zA-Z=; ]{0,12}|;? ?[dD]omain ?=?[a-z.]{0,5}", 0..6)) {
            let Ok(value) = HeaderValue::from_str(&parts.join(";")) else { return Ok(()) };
            let mut headers = HeaderMap::from_iter([(header::SET_COOKIE, value)]);
            confine(&mut headers);
            for value in headers.get_all(header::SET_COOKIE) {
                let attributes = value.to_str().unwrap().split(';').skip(1);
                for attribute in attributes {
                    let name = attribute.split('=').next().unwrap().trim();
                    prop_assert!(!name.eq_ignore_ascii_case("domain"), "{value:?}");
                }
            }
        }
    }
}
