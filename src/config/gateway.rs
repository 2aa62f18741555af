//! Settings of the gateway and of the agents that connect to it.

use std::{net::SocketAddr, path::PathBuf};

use ipnet::IpNet;
use serde::Deserialize;
use url::Url;

use super::{GatewayLimits, GoDuration, RatesConfig};

/// The way into workspaces. Without it there are no agents: workspaces are made and cloned into,
/// and nothing reaches into them.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayConfig {
    /// Where agents, browsers and programs connect. Default `0.0.0.0:8480`.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// The address under which people and programs reach it, such as `https://berth.example.com`.
    #[serde(rename = "publicURL")]
    pub public_url: Url,
    /// The addresses under which agents reach it from inside their workspaces, each tried in
    /// turn. Default: `publicURL`.
    #[serde(default, rename = "agentURLs")]
    pub agent_urls: Vec<Url>,
    /// Certificate and key of the public address, as PEM files. Absent: plain HTTP, for use
    /// behind an ingress or on one machine.
    #[serde(default)]
    pub tls: Option<TlsFiles>,
    /// Certificate authorities that agents trust for the gateway beside those of their image, as
    /// a PEM file.
    #[serde(default)]
    pub agent_ca_file: Option<PathBuf>,
    /// The API behind kube-apiserver. Absent: it is not served.
    #[serde(default)]
    pub aggregated: Option<AggregatedConfig>,
    /// Networks of proxies in front of the public address, whose word is taken for who the client
    /// is. Default: none.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    /// How often one identity may do things.
    #[serde(default)]
    pub rates: RatesConfig,
    /// How much may be asked for.
    #[serde(default)]
    pub limits: GatewayLimits,
    /// How replicas reach each other.
    #[serde(default)]
    pub internal: InternalConfig,
    /// The agent.
    #[serde(default)]
    pub agent: AgentConfig,
}

/// A certificate and its key.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate and those between it and its authority, in PEM.
    pub cert_file: PathBuf,
    /// The key, in PEM.
    pub key_file: PathBuf,
}

/// The API `subresources.berth.dev` behind kube-apiserver.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AggregatedConfig {
    /// Where kube-apiserver connects. Default `0.0.0.0:8443`.
    #[serde(default = "default_aggregated_listen")]
    pub listen: SocketAddr,
    /// Name of the Service, in the operator's namespace, that the APIService names. The operator
    /// makes a certificate for it, and puts its authority into the APIService.
    pub service: String,
}

/// How replicas reach each other: the leader, and the gateways that hold the agents' links.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InternalConfig {
    /// Where other replicas connect, with certificates of the installation's own authority.
    /// Default `0.0.0.0:8444`.
    pub listen: SocketAddr,
    /// The host name or address that other replicas are told. Absent: `POD_IP`, else
    /// `127.0.0.1`.
    pub advertise: Option<String>,
}

impl Default for InternalConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([0, 0, 0, 0], 8444)), advertise: None }
    }
}

impl InternalConfig {
    /// What other replicas are told, once the port is known.
    pub fn address(&self, port: u16) -> String {
        let host =
            self.advertise.clone().or_else(|| std::env::var("POD_IP").ok()).filter(|host| !host.is_empty());
        match host.as_deref().unwrap_or("127.0.0.1") {
            host if host.contains(':') => format!("[{host}]:{port}"),
            host => format!("{host}:{port}"),
        }
    }
}

/// The agent in workspaces.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AgentConfig {
    /// The program for workspaces. Absent: `berth-agent` beside this one.
    pub binary: Option<PathBuf>,
    /// From the start of an agent to its link. Default 2m.
    pub connect_timeout: GoDuration,
    /// How long a link may be lost before the workspace counts as degraded. Default 90s.
    pub grace: GoDuration,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            binary: None,
            connect_timeout: GoDuration(std::time::Duration::from_secs(120)),
            grace: GoDuration(std::time::Duration::from_secs(90)),
        }
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 8480))
}

fn default_aggregated_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 8443))
}

impl GatewayConfig {
    pub(super) fn check(&self, complain: &mut dyn FnMut(&str, &str)) {
        let urls = std::iter::once(("gateway.publicURL", &self.public_url))
            .chain(self.agent_urls.iter().map(|url| ("gateway.agentURLs", url)));
        for (field, url) in urls {
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                complain(field, "must begin with http:// or https:// and name a host");
            } else if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
                complain(field, "must hold nothing but scheme, host, port and path");
            }
        }
        self.rates.check(complain);
        self.limits.check(complain);
    }

    /// The addresses that agents are told.
    pub fn agent_addresses(&self) -> Vec<String> {
        let urls = if self.agent_urls.is_empty() {
            std::slice::from_ref(&self.public_url)
        } else {
            self.agent_urls.as_slice()
        };
        urls.iter().map(|url| url.as_str().trim_end_matches('/').to_owned()).collect()
    }
}
