//! Settings of a Docker backend.

use std::{net::IpAddr, path::PathBuf};

use ipnet::Ipv4Net;
use serde::Deserialize;

use super::is_dns_label;

/// A backend of one or several Docker hosts.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DockerBackend {
    /// The hosts.
    pub hosts: Vec<DockerHost>,
    /// Addresses for the workspaces' networks, on each host the same. Each workspace takes 16 of
    /// them. Default `10.210.0.0/16`, enough for 4096 workspaces on a host.
    #[serde(default = "default_network_range")]
    pub network_range: Ipv4Net,
    /// DNS servers of workspaces that set none. Empty: those of the host.
    #[serde(default)]
    pub dns_servers: Vec<IpAddr>,
    /// A file of CA certificates (PEM) that workspaces trust in addition to their image's own.
    #[serde(default)]
    pub ca_bundle_file: Option<PathBuf>,
    /// Proxy settings of the workspaces.
    #[serde(default)]
    pub proxy: Proxy,
    /// Whether Docker restarts a container whose main process ended, or that ran when the host
    /// went down. Default `UnlessStopped`.
    #[serde(default)]
    pub restart_policy: RestartPolicy,
}

fn default_network_range() -> Ipv4Net {
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 210, 0, 0), 16)
}

/// Size of one workspace's network: 16 addresses.
pub const WORKSPACE_PREFIX: u8 = 28;

/// One Docker host.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DockerHost {
    /// By this name Workspaces are pinned to it, and shown in `kubectl get ws -o wide`.
    pub name: String,
    /// Where its daemon listens: `unix:///var/run/docker.sock`, `tcp://HOST:2376` with `tls`, or
    /// `ssh://USER@HOST` with `ssh`.
    pub endpoint: DockerEndpoint,
    /// Certificates for `tcp://`.
    #[serde(default)]
    pub tls: Option<DockerTls>,
    /// Keys for `ssh://`.
    #[serde(default)]
    pub ssh: Option<DockerSsh>,
}

/// Where a Docker daemon listens.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub enum DockerEndpoint {
    /// A Unix socket on this machine.
    Unix(PathBuf),
    /// TCP with mutual TLS.
    Tcp {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix socket on another machine, through SSH.
    Ssh {
        /// User to log in as.
        user: String,
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
}

impl TryFrom<String> for DockerEndpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let error = || format!("{text:?} must be unix:///PATH, tcp://HOST:PORT or ssh://USER@HOST[:PORT]");
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(error()) };
        }
        let url = url::Url::parse(&text).map_err(|_| error())?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(error)?.to_owned();
        match url.scheme() {
            "tcp" => Ok(Self::Tcp { host, port: url.port().unwrap_or(2376) }),
            "ssh" if !url.username().is_empty() && url.password().is_none() => {
                Ok(Self::Ssh { user: url.username().to_owned(), host, port: url.port().unwrap_or(22) })
            }
            _ => Err(error()),
        }
    }
}

/// Certificates for mutual TLS, as files.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DockerTls {
    /// CA that signed the daemon's certificate.
    pub ca_file: PathBuf,
    /// The operator's certificate.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
}

/// Keys for SSH, as files.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DockerSsh {
    /// The operator's private key, without a passphrase.
    pub key_file: PathBuf,
    /// Host keys that are accepted, in the format of OpenSSH's `known_hosts`. There is no way to
    /// accept just any.
    pub known_hosts_file: PathBuf,
    /// The daemon's socket on that machine. Default `/var/run/docker.sock`.
    #[serde(default = "default_socket")]
    pub socket: PathBuf,
}

fn default_socket() -> PathBuf {
    PathBuf::from("/var/run/docker.sock")
}

/// Proxy settings of the workspaces.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proxy {
    /// `http_proxy`.
    #[serde(default)]
    pub http: Option<String>,
    /// `https_proxy`.
    #[serde(default)]
    pub https: Option<String>,
    /// `no_proxy`.
    #[serde(default)]
    pub no_proxy: Option<String>,
}

/// When Docker itself restarts a container.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
pub enum RestartPolicy {
    /// Never; the operator starts it again.
    No,
    /// When its main process ended with an error.
    OnFailure,
    /// Whenever it ended or the daemon came back, unless it was stopped.
    #[default]
    UnlessStopped,
}

impl DockerBackend {
    pub(super) fn check(&self, field: &str, complain: &mut dyn FnMut(&str, &str)) {
        if self.hosts.is_empty() {
            complain(&format!("{field}.hosts"), "must name at least one host");
        }
        if self.network_range.prefix_len() > WORKSPACE_PREFIX {
            complain(
                &format!("{field}.networkRange"),
                "must be a /28 or larger: each workspace takes 16 addresses",
            );
        }
        let mut names = std::collections::BTreeSet::new();
        for (index, host) in self.hosts.iter().enumerate() {
            let field = format!("{field}.hosts[{index}]");
            if !host.name.split('.').all(is_dns_label) {
                complain(&format!("{field}.name"), "must be a host name: DNS labels separated by dots");
            }
            if !names.insert(&host.name) {
                complain(&format!("{field}.name"), &format!("{:?} is used twice", host.name));
            }
            let wanted = match host.endpoint {
                DockerEndpoint::Unix(_) => (false, false),
                DockerEndpoint::Tcp { .. } => (true, false),
                DockerEndpoint::Ssh { .. } => (false, true),
            };
            match (host.tls.is_some(), host.ssh.is_some()) {
                found if found == wanted => {}
                (false, _) if wanted.0 => complain(
                    &format!("{field}.tls"),
                    "is required with tcp://: a Docker daemon without mutual TLS gives root on its host to everyone who reaches it",
                ),
                (_, false) if wanted.1 => complain(&format!("{field}.ssh"), "is required with ssh://"),
                _ => complain(&field, "tls goes with tcp:// and ssh with ssh:// only"),
            }
        }
    }
}
