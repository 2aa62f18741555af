//! Whom we believe when it says who asks: the front proxy of kube-apiserver.
//!
//! kube-apiserver tells each cluster's settings in a ConfigMap: the authority of its own client
//! certificate, the names that this may carry, and the headers in which it passes the user on.
//! Anybody who can show such a certificate can be anybody. So without an authority, or without
//! names, nothing is served.

use std::{collections::BTreeMap, sync::Arc};

use futures::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use rustls::{RootCertStore, pki_types::CertificateDer, server::WebPkiClientVerifier};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::form_urlencoded;

use super::identity::Identity;

/// Where kube-apiserver keeps the settings.
const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// Settings that nobody can be believed by.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FrontProxyError {
    /// There is no ConfigMap.
    #[error("the ConfigMap {NAMESPACE}/{NAME} is not there")]
    NoConfigMap,
    /// A setting is missing or empty.
    #[error("{0} in the ConfigMap {NAMESPACE}/{NAME} is not set; kube-apiserver has a flag --{0}")]
    Unset(&'static str),
    /// A setting can not be read.
    #[error("{0} in the ConfigMap {NAMESPACE}/{NAME} can not be read: {1}")]
    Unreadable(&'static str, String),
}

/// The settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FrontProxy {
    authorities: Vec<CertificateDer<'static>>,
    allowed_names: Vec<String>,
    user_headers: Vec<HeaderName>,
    uid_headers: Vec<HeaderName>,
    group_headers: Vec<HeaderName>,
    extra_prefixes: Vec<String>,
}

impl FrontProxy {
    /// Reads the data of the ConfigMap.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Self, FrontProxyError> {
        const AUTHORITY: &str = "requestheader-client-ca-file";
        const NAMES: &str = "requestheader-allowed-names";
        const USER: &str = "requestheader-username-headers";
        let pem = data.get(AUTHORITY).ok_or(FrontProxyError::Unset(AUTHORITY))?;
        let authorities = rustls_pemfile::certs(&mut pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| FrontProxyError::Unreadable(AUTHORITY, error.to_string()))?;
        let settings = Self {
            authorities: not_empty(AUTHORITY, authorities)?,
            allowed_names: not_empty(NAMES, list(data, NAMES)?)?,
            user_headers: not_empty(USER, headers(data, USER)?)?,
            uid_headers: headers(data, "requestheader-uid-headers")?,
            group_headers: headers(data, "requestheader-group-headers")?,
            extra_prefixes: list(data, "requestheader-extra-headers-prefix")?
                .into_iter()
                .map(|prefix| prefix.to_ascii_lowercase())
                .filter(|prefix| !prefix.is_empty())
                .collect(),
        };
        settings.verifier()?;
        Ok(settings)
    }

    /// What checks a client's certificate during the handshake. The name is checked after it.
    pub fn verifier(&self) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, FrontProxyError> {
        let unreadable = |error: String| FrontProxyError::Unreadable("requestheader-client-ca-file", error);
        let mut roots = RootCertStore::empty();
        for authority in &self.authorities {
            roots.add(authority.clone()).map_err(|error| unreadable(error.to_string()))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| unreadable(error.to_string()))
    }

    /// Whether a certificate that its authority stands for carries one of the allowed names.
    pub fn allows(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return false };
        let mut names = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        names.any(|name| self.allowed_names.iter().any(|allowed| allowed == name))
    }

    /// Who asks, as the front proxy says; `None`: it says nothing, or nothing that can be read.
    pub fn identity(&self, headers: &HeaderMap) -> Option<Identity> {
        let groups = self.group_headers.iter().flat_map(|name| headers.get_all(name));
        Some(Identity {
            user: first(headers, &self.user_headers)??,
            uid: first(headers, &self.uid_headers)?,
            groups: groups.map(text).collect::<Option<_>>()?,
            extra: self.extra(headers)?,
        })
    }

    fn extra(&self, headers: &HeaderMap) -> Option<BTreeMap<String, Vec<String>>> {
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in headers {
            if let Some(key) =
                self.extra_prefixes.iter().find_map(|prefix| name.as_str().strip_prefix(prefix))
            {
                extra.entry(unescaped(key)).or_default().push(text(value)?);
            }
        }
        Some(extra)
    }

    /// Takes everything that the front proxy says about the user off a request, so that nothing
    /// behind this sees it.
    pub fn strip(&self, headers: &mut HeaderMap) {
        let about_the_user: Vec<_> = headers
            .keys()
            .filter(|name| {
                [&self.user_headers, &self.uid_headers, &self.group_headers]
                    .iter()
                    .any(|known| known.contains(name))
                    || self.extra_prefixes.iter().any(|prefix| name.as_str().starts_with(prefix))
            })
            .cloned()
            .collect();
        for name in about_the_user {
            headers.remove(name);
        }
    }
}

fn not_empty<T>(name: &'static str, list: Vec<T>) -> Result<Vec<T>, FrontProxyError> {
    if list.is_empty() { Err(FrontProxyError::Unset(name)) } else { Ok(list) }
}

/// A setting that is a list as JSON; one that is absent is empty.
fn list(data: &BTreeMap<String, String>, name: &'static str) -> Result<Vec<String>, FrontProxyError> {
    let Some(text) = data.get(name).filter(|text| !text.is_empty()) else { return Ok(Vec::new()) };
    serde_json::from_str(text).map_err(|error| FrontProxyError::Unreadable(name, error.to_string()))
}

fn headers(data: &BTreeMap<String, String>, name: &'static str) -> Result<Vec<HeaderName>, FrontProxyError> {
    list(data, name)?
        .iter()
        .map(|header| {
            header.parse().map_err(|_| FrontProxyError::Unreadable(name, format!("{header:?} is no header")))
        })
        .collect()
}

/// The value of the first of these headers that has one; the outer `None`: it can not be read.
fn first(headers: &HeaderMap, names: &[HeaderName]) -> Option<Option<String>> {
    names
        .iter()
        .find_map(|name| headers.get(name).filter(|value| !value.is_empty()))
        .map_or(Some(None), |value| text(value).map(Some))
}

/// Names are UTF-8, which HTTP itself takes for bytes.
fn text(value: &HeaderValue) -> Option<String> {
    String::from_utf8(value.as_bytes().to_vec()).ok()
}

/// The key of an extra header: percent-encoded, since header names hold few characters.
fn unescaped(key: &str) -> String {
    let query = format!("x={}", key.replace('+', "%2B").replace('&', "%26"));
    form_urlencoded::parse(query.as_bytes())
        .next()
        .map_or_else(|| key.to_owned(), |(_, value)| value.into_owned())
}

/// The settings as they are now, or why there are none to go by.
pub type Settings = Result<Arc<FrontProxy>, FrontProxyError>;

/// The settings, and their changes, until `stop` is cancelled. While the cluster can not be
/// asked, the last ones hold.
pub fn follow(client: Client, stop: CancellationToken) -> watch::Receiver<Settings> {
    let (sender, receiver) = watch::channel(Err(FrontProxyError::NoConfigMap));
    let api: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
    tokio::spawn(async move {
        let changes = watcher::watch_object(api, NAME).default_backoff();
        let noted = changes.for_each(|change| {
            match change {
                Ok(object) => note(&sender, settings_of(object)),
                Err(error) => tracing::warn!(%error, "{NAMESPACE}/{NAME} can not be watched"),
            }
            std::future::ready(())
        });
        tokio::select! {
            () = stop.cancelled() => {}
            () = noted => {}
        }
    });
    receiver
}

fn settings_of(object: Option<ConfigMap>) -> Settings {
    let data = object.ok_or(FrontProxyError::NoConfigMap)?.data.unwrap_or_default();
    FrontProxy::parse(&data).map(Arc::new)
}

fn note(sender: &watch::Sender<Settings>, settings: Settings) {
    if let Err(error) = &settings {
        tracing::error!(%error, "the aggregated API is not served: nobody could be believed");
    }
    sender.send_if_modified(|known| {
        let changed = *known != settings;
        *known = settings;
        changed
    });
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn certificate(name: &str) -> rcgen::Certificate {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap()
    }

    fn data() -> BTreeMap<String, String> {
        [
            ("requestheader-client-ca-file", certificate("authority").pem().as_str()),
            ("requestheader-allowed-names", r#"["front-proxy-client","other"]"#),
            ("requestheader-username-headers", r#"["X-Remote-User"]"#),
            ("requestheader-uid-headers", r#"["X-Remote-Uid"]"#),
            ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
            ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    #[rstest]
    #[case("requestheader-client-ca-file", None)]
    #[case("requestheader-client-ca-file", Some(""))]
    #[case("requestheader-allowed-names", None)]
    #[case("requestheader-allowed-names", Some(""))]
    #[case("requestheader-allowed-names", Some("[]"))]
    #[case("requestheader-username-headers", Some("[]"))]
    fn without_a_setting_nobody_is_believed(#[case] name: &'static str, #[case] value: Option<&str>) {
        let mut data = data();
        data.remove(name);
        data.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        assert_eq!(FrontProxy::parse(&data), Err(FrontProxyError::Unset(name)));
    }

    #[rstest]
    #[case("front-proxy-client", true)]
    #[case("other", true)]
    #[case("front-proxy-client2", false)]
    #[case("system:node:a", false)]
    fn only_the_allowed_names_are_believed(#[case] name: &str, #[case] expected: bool) {
        let proxy = FrontProxy::parse(&data()).unwrap();
        assert_eq!(proxy.allows(certificate(name).der()), expected);
    }

    #[test]
    fn the_headers_say_who_asks() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-remote-user", "ada"),
            ("x-remote-uid", "7"),
            ("x-remote-group", "team"),
            ("x-remote-group", "system:authenticated"),
            ("x-remote-extra-example.com%2fscopes", "read"),
            ("accept", "*/*"),
        ] {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        let proxy = FrontProxy::parse(&data()).unwrap();
        let expected = Identity {
            user: "ada".to_owned(),
            uid: Some("7".to_owned()),
            groups: vec!["team".to_owned(), "system:authenticated".to_owned()],
            extra: [("example.com/scopes".to_owned(), vec!["read".to_owned()])].into(),
        };
        assert_eq!(proxy.identity(&headers), Some(expected));
        proxy.strip(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }

    #[rstest]
    #[case("zoë".as_bytes(), Some("zoë"))]
    #[case(b"zo\xeb", None)]
    fn names_are_utf8(#[case] user: &[u8], #[case] expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", HeaderValue::from_bytes(user).unwrap());
        let identity = FrontProxy::parse(&data()).unwrap().identity(&headers);
        assert_eq!(identity.map(|identity| identity.user).as_deref(), expected);
    }

    #[test]
    fn a_group_that_can_not_be_read_is_not_left_out() {
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", HeaderValue::from_static("ada"));
        headers.insert("x-remote-group", HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(FrontProxy::parse(&data()).unwrap().identity(&headers), None);
    }

    #[rstest]
    #[case(None)]
    #[case(Some(""))]
    fn nobody_is_not_somebody(#[case] user: Option<&'static str>) {
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-group", "system:masters".parse().unwrap());
        if let Some(user) = user {
            headers.insert("x-remote-user", user.parse().unwrap());
        }
        assert_eq!(FrontProxy::parse(&data()).unwrap().identity(&headers), None);
    }
}
