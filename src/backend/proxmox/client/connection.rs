//! How a cluster is reached: its addresses, the token, and whom to trust.

use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

/// How a cluster is reached.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Where nodes of one cluster listen, the preferred one first, as `https://pve1.example:8006`.
    /// Any of them answers for the whole cluster.
    pub endpoints: Vec<Url>,
    /// Who asks.
    pub token: ApiToken,
    /// Which certificates are accepted.
    pub trust: Trust,
    /// How long calls may take.
    pub limits: Limits,
}

/// An API token.
#[derive(Clone, Debug)]
pub struct ApiToken {
    /// `USER@REALM!NAME`.
    pub id: String,
    /// The secret that was shown when the token was made.
    pub secret: SecretString,
}

/// Which certificates are accepted.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those that the authorities of this machine vouch for.
    SystemRoots,
    /// Those that one of these authorities vouches for (PEM), and no others.
    Authorities(String),
    /// Exactly these certificates, whatever name and date stand on them. Each node has its own.
    Pinned(BTreeSet<Fingerprint>),
    /// Any. Whoever stands between can read the token.
    InsecureSkipVerify,
}

/// How long calls may take, retries included. A call may wait as long again for others to the same
/// node or container before it is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// To connect to one endpoint, TLS included. Default 5 s.
    pub connect: Duration,
    /// A call that only reads. Default 35 s: the proxy on a node gives up after 30 s, and its
    /// answer tells more than none.
    pub read: Duration,
    /// A call that changes something. Default 60 s: it may hold the caller back for two locks of
    /// 10 s, and for 30 s at the proxy.
    pub write: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            read: Duration::from_secs(35),
            write: Duration::from_secs(60),
        }
    }
}

/// The SHA-256 hash of a certificate (DER), as the web interface of a node shows it.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint with these bytes.
    pub fn new(hash: [u8; 32]) -> Self {
        Self(hash)
    }
}

/// A text that is no fingerprint.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no SHA-256 fingerprint: it has 32 bytes in hexadecimal, with or without colons")]
pub struct InvalidFingerprint;

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        let mut hash = [0; 32];
        hex::decode_to_slice(text.trim().replace(':', ""), &mut hash).map_err(|_| InvalidFingerprint)?;
        Ok(Self(hash))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ":" };
            write!(f, "{separator}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Settings that no client can be made from.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidConnection {
    /// There is nowhere to connect to.
    #[error("no endpoint")]
    NoEndpoint,
    /// An address that is not one of a node. The token would cross the network unprotected, or
    /// credentials stand in the address.
    #[error("endpoint {0}: expected https://HOST:PORT")]
    Endpoint(String),
    /// The id of the token is none.
    #[error("token id: expected USER@REALM!NAME")]
    TokenId,
    /// The secret of the token can not be sent.
    #[error("token secret: empty, or with characters that no secret has")]
    TokenSecret,
    /// The authorities or the system's trust can not be used.
    #[error("trust: {0}")]
    Trust(String),
    /// The HTTP client could not be set up.
    #[error("HTTP client: {0}")]
    Client(String),
}

/// The address below which all calls are. Plain HTTP only within one machine.
pub(super) fn base(endpoint: &Url) -> Result<Url, InvalidConnection> {
    let local = match endpoint.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    let secure = endpoint.scheme() == "https" || (endpoint.scheme() == "http" && local);
    let plain = endpoint.username().is_empty()
        && endpoint.password().is_none()
        && endpoint.query().is_none()
        && endpoint.fragment().is_none();
    let mut base = endpoint.clone();
    match base.path_segments_mut() {
        Ok(mut segments) if secure && plain => {
            segments.pop_if_empty().extend(["api2", "json"]);
        }
        _ => return Err(InvalidConnection::Endpoint(shown(endpoint))),
    }
    Ok(base)
}

/// An endpoint in an error or a log line: without what somebody wrote before an `@`.
pub(super) fn shown(endpoint: &Url) -> String {
    format!("{}://{}", endpoint.scheme(), endpoint.host_str().unwrap_or_default())
        + &endpoint.port().map(|port| format!(":{port}")).unwrap_or_default()
}

/// The value of the `Authorization` header. Proxmox VE unescapes it like a part of an address.
pub(super) fn authorization(token: &ApiToken) -> Result<http::HeaderValue, InvalidConnection> {
    let printable = |text: &str| !text.is_empty() && text.chars().all(|char| char.is_ascii_graphic());
    let (user, name) = token.id.split_once('!').ok_or(InvalidConnection::TokenId)?;
    let (account, realm) = user.rsplit_once('@').ok_or(InvalidConnection::TokenId)?;
    if ![account, realm, name].into_iter().all(|part| printable(part) && !part.contains('=')) {
        return Err(InvalidConnection::TokenId);
    }
    let secret = token.secret.expose_secret();
    if !printable(secret) {
        return Err(InvalidConnection::TokenSecret);
    }
    // The header is read up to a semicolon.
    let escaped = |text: &str| text.replace('%', "%25").replace(';', "%3B");
    let value = format!("PVEAPIToken={}={}", escaped(&token.id), escaped(secret));
    let mut value = http::HeaderValue::from_str(&value).map_err(|_| InvalidConnection::TokenSecret)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("https://pve1:8006", Some("https://pve1:8006/api2/json"))]
    #[case("https://proxy.example/pve/", Some("https://proxy.example/pve/api2/json"))]
    #[case("http://127.0.0.1:8006", Some("http://127.0.0.1:8006/api2/json"))]
    #[case("http://[::1]:8006", Some("http://[::1]:8006/api2/json"))]
    #[case("http://pve1:8006", None)]
    #[case("https://root:secret@pve1:8006", None)]
    #[case("https://pve1:8006/?x=1", None)]
    #[case("mailto:root@pve1", None)]
    fn endpoints(#[case] endpoint: &str, #[case] expected: Option<&str>) {
        let base = base(&endpoint.parse().unwrap());
        assert_eq!(base.as_ref().ok().map(Url::as_str), expected);
        assert!(!format!("{base:?}").contains("secret"));
    }

    fn token(id: &str, secret: &str) -> ApiToken {
        ApiToken { id: id.to_owned(), secret: secret.into() }
    }

    #[rstest]
    #[case("berth@pve!operator", "11-22", Ok("PVEAPIToken=berth@pve!operator=11-22"))]
    #[case("be%rth@pve!operator", "1", Ok("PVEAPIToken=be%25rth@pve!operator=1"))]
    #[case("berth@pve!operator", "a;b", Ok("PVEAPIToken=berth@pve!operator=a%3Bb"))]
    #[case("a@b@pve!operator", "1", Ok("PVEAPIToken=a@b@pve!operator=1"))]
    #[case("berth!operator", "1", Err(InvalidConnection::TokenId))]
    #[case("berth@pve", "1", Err(InvalidConnection::TokenId))]
    #[case("berth@pve!a b", "1", Err(InvalidConnection::TokenId))]
    #[case("berth@pve!a=b", "1", Err(InvalidConnection::TokenId))]
    #[case("berth@pve!operator", "1\r\nx: y", Err(InvalidConnection::TokenSecret))]
    #[case("berth@pve!operator", "", Err(InvalidConnection::TokenSecret))]
    fn tokens(
        #[case] id: &str,
        #[case] secret: &str,
        #[case] expected: Result<&'static str, InvalidConnection>,
    ) {
        let value = authorization(&token(id, secret));
        assert_eq!(value.as_ref().map(|value| value.to_str().unwrap()).map_err(Clone::clone), expected);
    }

    #[test]
    fn a_secret_is_not_shown() {
        let token = token("berth@pve!operator", "top-secret");
        let shown = format!("{token:?} {:?}", authorization(&token));
        assert!(!shown.contains("top-secret"), "{shown}");
    }

    #[test]
    fn fingerprints_with_and_without_colons() {
        let colons = ["AB"; 32].join(":");
        let fingerprint: Fingerprint = colons.parse().unwrap();
        assert_eq!(fingerprint, "ab".repeat(32).parse().unwrap());
        assert_eq!(fingerprint.to_string(), colons);
        assert!("ab".parse::<Fingerprint>().is_err());
        assert!("zz".repeat(32).parse::<Fingerprint>().is_err());
    }
}
