//! Who asks, and under which address.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header, uri::Authority};
use ipnet::IpNet;

use super::refusal::Refusal;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
/// Headers of proxies that say who the client is, and that dev servers may believe.
const OTHERS: [&str; 4] = ["x-real-ip", "x-forwarded-server", "x-forwarded-prefix", "true-client-ip"];

/// The host that a request is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Site {
    /// Its name, in lower case, without the final dot.
    pub name: String,
    /// Its port, where the client gave one that is not that of the scheme.
    pub port: Option<u16>,
}

impl Site {
    /// The host that a request is for, where it says so in one way only.
    pub fn of(uri: &http::Uri, headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let header = hosts.next().map(|host| parse(host.as_bytes())).transpose()?;
        if hosts.next().is_some() {
            return Err(Refusal::Malformed("there is more than one Host"));
        }
        let authority = uri.authority().map(|authority| parse(authority.as_str().as_bytes())).transpose()?;
        match (authority, header) {
            (Some(one), Some(other)) if one != other => {
                Err(Refusal::Malformed("the Host is not that of the address"))
            }
            (Some(site), _) | (None, Some(site)) => Ok(site),
            (None, None) => Err(Refusal::Malformed("there is no Host")),
        }
    }

    /// The host as clients write it.
    pub fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.name),
            None => self.name.clone(),
        }
    }
}

fn parse(host: &[u8]) -> Result<Site, Refusal> {
    const WRONG: Refusal = Refusal::Malformed("the Host is none");
    let authority = Authority::try_from(host).map_err(|_| WRONG)?;
    if authority.as_str().contains('@') {
        return Err(WRONG);
    }
    let name = authority.host();
    let port = match authority.as_str().strip_prefix(name).and_then(|rest| rest.strip_prefix(':')) {
        None | Some("") => None,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(port.parse().map_err(|_| WRONG)?)
        }
        Some(_) => return Err(WRONG),
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if name.is_empty() { Err(WRONG) } else { Ok(Site { name, port }) }
}

/// How the client speaks with the first of our proxies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// In the clear: local runs.
    Http,
    /// Through TLS.
    Https,
}

impl Scheme {
    /// Its name in addresses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Who asks, and under which address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Visitor {
    /// The client, as far as trusted proxies tell.
    pub client: IpAddr,
    /// The host that was asked for.
    pub site: Site,
    /// How.
    pub scheme: Scheme,
    peer: IpAddr,
    trusted: bool,
}

impl Visitor {
    /// Who sends these headers.
    pub fn of(site: Site, headers: &HeaderMap, peer: SocketAddr, tls: bool, proxies: &[IpNet]) -> Self {
        let peer = peer.ip().to_canonical();
        let trusted = is_one_of(peer, proxies);
        let scheme = match headers.get(FORWARDED_PROTO).filter(|_| trusted).map(HeaderValue::as_bytes) {
            Some(b"https") => Scheme::Https,
            Some(b"http") => Scheme::Http,
            _ if tls => Scheme::Https,
            _ => Scheme::Http,
        };
        let client = if trusted { first_stranger(headers, peer, proxies) } else { peer };
        Self { client, site, scheme, peer, trusted }
    }

    /// The origin of the preview, as browsers know it.
    pub fn origin(&self) -> String {
        match self.site.port.filter(|port| *port != self.scheme.port()) {
            Some(port) => format!("{}://{}:{port}", self.scheme.as_str(), self.site.name),
            None => format!("{}://{}", self.scheme.as_str(), self.site.name),
        }
    }

    /// Says in the headers for the dev server who asks. What a client says of itself is replaced.
    pub fn describe(&self, headers: &mut HeaderMap) {
        let peer = self.peer.to_string();
        let forwarded = match self.peer {
            IpAddr::V4(_) => format!("for={peer};"),
            IpAddr::V6(_) => format!("for=\"[{peer}]\";"),
        };
        let authority = self.site.authority();
        let scheme = self.scheme.as_str();
        let forwarded = format!("{forwarded}host=\"{authority}\";proto={scheme}");
        if self.trusted {
            append(headers, FORWARDED_FOR, &peer);
            append(headers, header::FORWARDED, &forwarded);
        } else {
            for name in OTHERS {
                headers.remove(name);
            }
            set(headers, FORWARDED_FOR, peer);
            set(headers, header::FORWARDED, forwarded);
        }
        let port = self.site.port.unwrap_or(self.scheme.port());
        set(headers, FORWARDED_PORT, port.to_string());
        set(headers, FORWARDED_HOST, authority);
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
}

fn is_one_of(address: IpAddr, networks: &[IpNet]) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// The last address that a trusted proxy has seen and that is not a trusted proxy itself.
fn first_stranger(headers: &HeaderMap, peer: IpAddr, proxies: &[IpNet]) -> IpAddr {
    let told: Vec<_> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|address| address.trim().parse::<IpAddr>().map(|address| address.to_canonical()))
        .collect();
    let mut client = peer;
    for address in told.into_iter().rev() {
        match address {
            Ok(address) => client = address,
            Err(_) => break,
        }
        if !is_one_of(client, proxies) {
            break;
        }
    }
    client
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: String) {
    match HeaderValue::try_from(value) {
        Ok(value) => headers.insert(name, value),
        Err(_) => headers.remove(name),
    };
}

fn append(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    let told: Vec<_> = headers.get_all(&name).iter().filter_map(|value| value.to_str().ok()).collect();
    let value = if told.is_empty() { value.to_owned() } else { format!("{}, {value}", told.join(", ")) };
    set(headers, name, value);
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[rstest]
    #[case::plain("/", &[("host", "A.localhost:8443")], Some(("a.localhost", Some(8443))))]
    #[case::final_dot("/", &[("host", "a.localhost.")], Some(("a.localhost", None)))]
    #[case::absolute("http://a.localhost/", &[("host", "a.localhost")], Some(("a.localhost", None)))]
    #[case::only_address("http://a.localhost/", &[], Some(("a.localhost", None)))]
    #[case::contradiction("http://a.localhost/", &[("host", "b.localhost")], None)]
    #[case::two_hosts("/", &[("host", "a.localhost"), ("host", "a.localhost")], None)]
    #[case::none("/", &[], None)]
    #[case::user("/", &[("host", "a@b.localhost")], None)]
    #[case::bad_port("/", &[("host", "a.localhost:99999")], None)]
    #[case::signed_port("/", &[("host", "a.localhost:+80")], None)]
    #[case::empty_port("/", &[("host", "a.localhost:")], Some(("a.localhost", None)))]
    #[case::blank("/", &[("host", "a b")], None)]
    fn the_host_is_told_in_one_way(
        #[case] uri: &str,
        #[case] pairs: &[(&'static str, &'static str)],
        #[case] expected: Option<(&str, Option<u16>)>,
    ) {
        let site = Site::of(&uri.parse().unwrap(), &headers(pairs)).ok();
        assert_eq!(site.as_ref().map(|site| (site.name.as_str(), site.port)), expected);
    }

    fn visitor(peer: &str, tls: bool, sent: &HeaderMap) -> Visitor {
        let site = Site { name: "a.localhost".to_owned(), port: Some(8080) };
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        Visitor::of(site, sent, SocketAddr::new(peer.parse().unwrap(), 1), tls, &proxies)
    }

    #[rstest]
    #[case::stranger("192.0.2.1", "198.51.100.1", "192.0.2.1", "192.0.2.1", "http")]
    #[case::proxy("10.0.0.1", "198.51.100.1", "198.51.100.1", "198.51.100.1, 10.0.0.1", "https")]
    #[case::liar_behind_a_proxy(
        "10.0.0.1",
        "1.1.1.1, 198.51.100.1, 10.0.0.2",
        "198.51.100.1",
        "1.1.1.1, 198.51.100.1, 10.0.0.2, 10.0.0.1",
        "https"
    )]
    #[case::mapped("::ffff:10.0.0.1", "nonsense", "10.0.0.1", "nonsense, 10.0.0.1", "https")]
    fn only_trusted_proxies_are_believed(
        #[case] peer: &str,
        #[case] sent: &'static str,
        #[case] client: &str,
        #[case] told: &str,
        #[case] scheme: &str,
    ) {
        let mut headers = headers(&[("x-forwarded-for", sent), ("x-forwarded-proto", "https")]);
        let visitor = visitor(peer, false, &headers);
        assert_eq!(visitor.client, client.parse::<IpAddr>().unwrap());
        visitor.describe(&mut headers);
        assert_eq!(headers["x-forwarded-for"], told);
        assert_eq!(headers["x-forwarded-proto"], scheme);
        assert_eq!(headers["x-forwarded-host"], "a.localhost:8080");
        assert_eq!(headers["x-forwarded-port"], "8080");
    }

    #[test]
    fn strangers_do_not_say_who_they_are() {
        let mut headers = headers(&[("forwarded", "for=1.1.1.1"), ("x-real-ip", "1.1.1.1")]);
        visitor("2001:db8::1", true, &headers).describe(&mut headers);
        assert_eq!(headers["forwarded"], "for=\"[2001:db8::1]\";host=\"a.localhost:8080\";proto=https");
        assert!(!headers.contains_key("x-real-ip"));
    }

    #[rstest]
    #[case(Some(8080), true, "https://a.localhost:8080")]
    #[case(Some(443), true, "https://a.localhost")]
    #[case(Some(443), false, "http://a.localhost:443")]
    #[case(None, false, "http://a.localhost")]
    fn the_origin_is_that_of_browsers(#[case] port: Option<u16>, #[case] tls: bool, #[case] expected: &str) {
        let mut visitor = visitor("192.0.2.1", tls, &HeaderMap::new());
        visitor.site.port = port;
        assert_eq!(visitor.origin(), expected);
    }
}
