//! Where the previews of DevServers are published.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::{GoDuration, is_dns_label};

/// Where the previews of DevServers are published.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PreviewConfig {
    /// Every preview has a host name below this domain, which belongs to previews alone: nothing
    /// else that people log in to may be served below it. Absent: there are no previews.
    pub domain: Option<String>,
    /// `https` (default) or `http`, as in the address that people open.
    pub scheme: Scheme,
    /// The port in the address that people open. Absent: the scheme's own.
    pub port: Option<u16>,
    /// How long a preview lasts whose DevServer does not say. Absent: for ever.
    pub default_lifetime: Option<GoDuration>,
    /// DevServers with a preview that one Workspace may have. Default 20; 0: no limit.
    pub max_per_workspace: u32,
    /// The gateway's Service, for `ingress` and `httpRoute`.
    pub gateway: Option<GatewayService>,
    /// Makes an Ingress for each preview. Absent: the requests for all names below the domain get
    /// to the gateway in some other way.
    pub ingress: Option<IngressConfig>,
    /// Makes an HTTPRoute of the Gateway API for each preview.
    pub http_route: Option<HttpRouteConfig>,
}

impl Default for PreviewConfig {
    fn default() -> Self {
        Self {
            domain: None,
            scheme: Scheme::Https,
            port: None,
            default_lifetime: None,
            max_per_workspace: 20,
            gateway: None,
            ingress: None,
            http_route: None,
        }
    }
}

/// The first part of an address.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// In the clear, for local runs.
    Http,
    /// Encrypted.
    #[default]
    Https,
}

impl Scheme {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The Service of the gateway's public address.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayService {
    /// Its name.
    pub name: String,
    /// Its namespace. Absent: the operator's own.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Its port.
    pub port: u16,
    /// Domain of the cluster's Services. Default `cluster.local`.
    #[serde(default = "default_cluster_domain")]
    pub cluster_domain: String,
}

fn default_cluster_domain() -> String {
    "cluster.local".to_owned()
}

/// What the Ingress of a preview looks like. An Ingress can only name a Service of its own
/// namespace, so beside it stands one that is another name for the gateway's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IngressConfig {
    /// The IngressClass. Absent: the cluster's default.
    pub class_name: Option<String>,
    /// Annotations, for the ingress controller or for cert-manager.
    pub annotations: BTreeMap<String, String>,
    /// `true`: each Ingress names a Secret for its own certificate, called as its host, for
    /// cert-manager to make. Default: the ingress controller has a certificate for all names.
    pub certificates: bool,
}

/// What the HTTPRoute of a preview looks like. A ReferenceGrant in the namespace of the gateway's
/// Service must allow HTTPRoutes to name it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRouteConfig {
    /// The Gateway that takes the requests.
    pub parent_ref: ParentRef,
}

/// A Gateway of the Gateway API.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ParentRef {
    /// Its name.
    pub name: String,
    /// Its namespace. Absent: that of the DevServer.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Name of one of its listeners. Absent: all that fit.
    #[serde(default)]
    pub section_name: Option<String>,
}

/// The longest domain: with a DNS label and a dot before it, it is still a host name.
const DOMAIN_LIMIT: usize = 253 - 64;

impl PreviewConfig {
    pub(super) fn check(&self, complain: &mut impl FnMut(&str, &str)) {
        if let Some(domain) = &self.domain
            && (domain.len() > DOMAIN_LIMIT || !domain.split('.').all(is_dns_label))
        {
            complain(
                "preview.domain",
                "must be a domain name such as preview.example.com, at most 189 characters",
            );
        }
        if self.port == Some(0) {
            complain("preview.port", "must be from 1 to 65535");
        }
        if self.default_lifetime.is_some_and(|lifetime| lifetime.0 < Duration::from_secs(60)) {
            complain("preview.defaultLifetime", "must be at least 1m");
        }
        if self.makes_routes() && self.gateway.is_none() {
            complain("preview.gateway", "must be set for preview.ingress and preview.httpRoute");
        }
    }

    /// Whether something is made in the cluster for each preview.
    pub fn makes_routes(&self) -> bool {
        self.ingress.is_some() || self.http_route.is_some()
    }

    /// The host name of a preview; none without a domain.
    pub fn host_name(&self, host: &str) -> Option<String> {
        self.domain.as_deref().map(|domain| format!("{host}.{domain}"))
    }

    /// The address that people open for the preview of this host; none without a domain.
    pub fn url(&self, host: &str) -> Option<String> {
        let name = self.host_name(host)?;
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{}://{name}{port}/", self.scheme.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> PreviewConfig {
        serde_yaml::from_str(text).unwrap()
    }

    #[rstest::rstest]
    #[case::nowhere("{}", None)]
    #[case::in_production("{domain: preview.example.com}", Some("https://a-b-1.preview.example.com/"))]
    #[case::in_a_local_run(
        "{domain: localhost, scheme: http, port: 8480}",
        Some("http://a-b-1.localhost:8480/")
    )]
    fn the_address_of_a_preview(#[case] config: &str, #[case] url: Option<&str>) {
        assert_eq!(read(config).url("a-b-1").as_deref(), url);
    }

    #[rstest::rstest]
    #[case("{domain: 'a b'}", "preview.domain")]
    #[case("{domain: .example.com}", "preview.domain")]
    #[case("{domain: https://example.com}", "preview.domain")]
    #[case("{domain: a.example, port: 0}", "preview.port")]
    #[case("{defaultLifetime: 5s}", "preview.defaultLifetime")]
    #[case("{ingress: {className: nginx}}", "preview.gateway")]
    #[case("{httpRoute: {parentRef: {name: public}}}", "preview.gateway")]
    fn what_can_not_be_published(#[case] config: &str, #[case] field: &str) {
        let mut found = Vec::new();
        read(config).check(&mut |field, _| found.push(field.to_owned()));
        assert_eq!(found, [field]);
    }
}
