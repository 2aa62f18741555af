//! Where the previews of DevServers are published.

use std::time::Duration;

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
}

impl Default for PreviewConfig {
    fn default() -> Self {
        Self {
            domain: None,
            scheme: Scheme::Https,
            port: None,
            default_lifetime: None,
            max_per_workspace: 20,
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
    }

    /// The address that people open for the preview of this host; none without a domain.
    pub fn url(&self, host: &str) -> Option<String> {
        let domain = self.domain.as_deref()?;
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{}://{host}.{domain}{port}/", self.scheme.as_str()))
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
    fn what_can_not_be_published(#[case] config: &str, #[case] field: &str) {
        let mut found = Vec::new();
        read(config).check(&mut |field, _| found.push(field.to_owned()));
        assert_eq!(found, [field]);
    }
}
