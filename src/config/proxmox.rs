//! Settings of a Proxmox VE backend.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
};

use ipnet::IpNet;
use serde::Deserialize;
use url::Url;

use super::{Bytes, GoDuration, docker::Proxy};
use crate::api::DnsMode;

/// A backend of one Proxmox VE cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxmoxBackend {
    /// Addresses of the cluster's API, `https://HOST:8006`, at least one. They are several nodes
    /// of the same cluster: when one does not answer, the next is asked.
    pub endpoints: Vec<Url>,
    /// The API token.
    pub token: ProxmoxToken,
    /// How the cluster's certificate is checked. Default: against the system's authorities.
    #[serde(default)]
    pub tls: ProxmoxTls,
    /// Nodes that may be used. Empty: every node of the cluster.
    #[serde(default)]
    pub nodes: BTreeSet<String>,
    /// Storage for the containers' disks. Absent: that of the template.
    #[serde(default)]
    pub storage: Option<String>,
    /// Pool that containers become members of. Absent: none.
    #[serde(default)]
    pub pool: Option<String>,
    /// Bridge of the containers' network interface. Default `vmbr0`.
    #[serde(default = "default_bridge")]
    pub bridge: String,
    /// VLAN tag of the containers' network interface, 1 to 4094. Absent: none.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// Name resolution of the containers.
    #[serde(default)]
    pub dns: ProxmoxDns,
    /// Size of the disk of Workspaces that set none, and neither does their Template. Default 50Gi.
    #[serde(default = "default_disk")]
    pub disk: Bytes,
    /// The greatest disk that a Workspace may ask for. Default 500Gi.
    #[serde(default = "default_greatest_disk")]
    pub greatest_disk: Bytes,
    /// The VMIDs that are given out.
    #[serde(default)]
    pub vmids: VmidRanges,
    /// Whether containers start with their node. Default `true`.
    #[serde(default = "yes")]
    pub onboot: bool,
    /// Bounds of the fields that tenants may set.
    #[serde(default)]
    pub tenant_bounds: TenantBounds,
    /// The way into the containers.
    pub ssh: GuestSsh,
    /// The way onto the nodes, for what their API can not do. Absent: such things are refused with
    /// the reason `HostSshNotConfigured`.
    #[serde(default)]
    pub host_ssh: Option<HostSsh>,
    /// A file of CA certificates (PEM) that workspaces trust in addition to their own.
    #[serde(default)]
    pub ca_bundle_file: Option<PathBuf>,
    /// Proxy settings of the workspaces.
    #[serde(default)]
    pub proxy: Proxy,
    /// Time between two looks at the cluster. Default 2s; all workspaces share one look.
    #[serde(default = "default_poll_interval")]
    pub poll_interval: GoDuration,
    /// How long a task of the cluster may take: a clone, the start of a container. Default 10m.
    #[serde(default = "default_task_timeout")]
    pub task_timeout: GoDuration,
}

/// An API token of Proxmox VE.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxmoxToken {
    /// `USER@REALM!NAME`.
    pub id: String,
    /// A file that holds the token's secret.
    pub secret_file: PathBuf,
}

/// How a cluster's certificate is checked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxmoxTls {
    /// A file of certificate authorities (PEM) to trust instead of the system's: a new cluster has
    /// its own in `/etc/pve/pve-root-ca.pem`.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// SHA-256 fingerprints of the certificates that are trusted, as Proxmox shows them: 32 pairs of
    /// hexadecimal digits with colons between. One for each node.
    #[serde(default)]
    pub fingerprints: Vec<String>,
    /// `true`: any certificate is trusted. Whoever stands between operator and cluster can then
    /// take the token; a warning says so at every start.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}

/// Name resolution of the containers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProxmoxDns {
    /// `Host`, `Static` or `Tailscale`. Default `Static`.
    pub mode: DnsMode,
    /// Servers of Workspaces that set none. Default `8.8.8.8` and `1.1.1.1`.
    pub servers: Option<Vec<IpAddr>>,
}

impl ProxmoxDns {
    /// The servers of Workspaces that set none.
    pub fn servers(&self) -> Vec<IpAddr> {
        let public = || vec![IpAddr::from([8, 8, 8, 8]), IpAddr::from([1, 1, 1, 1])];
        self.servers.clone().unwrap_or_else(public)
    }
}

/// The VMIDs that are given out: two ranges that have none in common.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct VmidRanges {
    /// For templates. Default 500 to 599.
    pub templates: VmidRange,
    /// For workspaces. Default 1000 to 1999.
    pub workspaces: VmidRange,
}

impl Default for VmidRanges {
    fn default() -> Self {
        Self {
            templates: VmidRange { first: 500, last: 599 },
            workspaces: VmidRange { first: 1000, last: 1999 },
        }
    }
}

/// A range of VMIDs, both ends included.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VmidRange {
    /// The lowest, at least 100.
    pub first: u32,
    /// The highest, at most 999999999.
    pub last: u32,
}

impl VmidRange {
    /// Whether a VMID is in it.
    pub fn contains(&self, vmid: u32) -> bool {
        (self.first..=self.last).contains(&vmid)
    }
}

/// Bounds of what tenants may set, where `tenantsMaySet` opens the field. Empty: any value. Nodes and
/// storages bound the Templates of tenants as well: those that only their own namespace can use.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TenantBounds {
    /// VMIDs.
    pub vmids: Option<VmidRange>,
    /// Nodes.
    pub nodes: BTreeSet<String>,
    /// Storages.
    pub storages: BTreeSet<String>,
    /// Bridges.
    pub bridges: BTreeSet<String>,
    /// VLAN tags.
    pub vlans: BTreeSet<u16>,
    /// Networks that static addresses must lie in.
    pub addresses: Vec<IpNet>,
}

/// The way into the containers.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuestSsh {
    /// The operator's private key, without a passphrase. Its public half is put into every template
    /// that the operator builds, and must be in those that it does not, for root.
    pub key_file: PathBuf,
    /// Port of the containers' SSH servers. Default 22.
    #[serde(default = "default_ssh_port")]
    pub port: u16,
    /// From the first attempt to a usable connection. Default 60s; a container's SSH server comes up
    /// some time after its address.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: GoDuration,
}

/// The way onto the nodes.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostSsh {
    /// The user. Default `root`.
    #[serde(default = "root")]
    pub user: String,
    /// The operator's private key, without a passphrase.
    pub key_file: PathBuf,
    /// Host keys that are accepted, in the format of OpenSSH's `known_hosts`. There is no way to
    /// accept just any.
    pub known_hosts_file: PathBuf,
    /// Address of each node that is not reached by its name, as `HOST` or `HOST:PORT`.
    #[serde(default)]
    pub addresses: BTreeMap<String, String>,
}

fn default_bridge() -> String {
    "vmbr0".to_owned()
}

fn default_disk() -> Bytes {
    Bytes(50 << 30)
}

fn default_greatest_disk() -> Bytes {
    Bytes(500 << 30)
}

fn default_poll_interval() -> GoDuration {
    GoDuration(std::time::Duration::from_secs(2))
}

fn default_task_timeout() -> GoDuration {
    GoDuration(std::time::Duration::from_secs(600))
}

fn default_connect_timeout() -> GoDuration {
    GoDuration(std::time::Duration::from_secs(60))
}

fn default_ssh_port() -> u16 {
    22
}

fn root() -> String {
    "root".to_owned()
}

fn yes() -> bool {
    true
}

impl ProxmoxBackend {
    pub(super) fn check(&self, field: &str, complain: &mut dyn FnMut(&str, &str)) {
        if self.endpoints.is_empty() {
            complain(&format!("{field}.endpoints"), "must name at least one address");
        }
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            if endpoint.scheme() != "https" || endpoint.host_str().is_none() || endpoint.path() != "/" {
                complain(&format!("{field}.endpoints[{index}]"), "must be https://HOST:8006, without a path");
            }
        }
        if !is_token_id(&self.token.id) {
            complain(&format!("{field}.token.id"), "must be USER@REALM!NAME");
        }
        self.check_tls(&format!("{field}.tls"), complain);
        self.check_vmids(&format!("{field}.vmids"), complain);
        if self.vlan.is_some_and(|vlan| !(1..=4094).contains(&vlan)) {
            complain(&format!("{field}.vlan"), "must be from 1 to 4094");
        }
        if self.disk > self.greatest_disk {
            complain(&format!("{field}.disk"), "must not exceed greatestDisk");
        }
        if self.dns.servers().len() > 3 {
            complain(&format!("{field}.dns.servers"), "must be at most three");
        }
        if self.poll_interval.0 < std::time::Duration::from_millis(100) {
            complain(&format!("{field}.pollInterval"), "must be at least 100ms");
        }
    }

    fn check_tls(&self, field: &str, complain: &mut dyn FnMut(&str, &str)) {
        let ways =
            [self.tls.ca_file.is_some(), !self.tls.fingerprints.is_empty(), self.tls.insecure_skip_verify];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            complain(field, "must have at most one of caFile, fingerprints and insecureSkipVerify");
        }
        for (index, fingerprint) in self.tls.fingerprints.iter().enumerate() {
            let pairs: Vec<&str> = fingerprint.split(':').collect();
            let hexadecimal = |pair: &&str| pair.len() == 2 && pair.chars().all(|c| c.is_ascii_hexdigit());
            if pairs.len() != 32 || !pairs.iter().all(hexadecimal) {
                complain(
                    &format!("{field}.fingerprints[{index}]"),
                    "must be a SHA-256 fingerprint: 32 pairs of hexadecimal digits with colons between",
                );
            }
        }
    }

    fn check_vmids(&self, field: &str, complain: &mut dyn FnMut(&str, &str)) {
        let VmidRanges { templates, workspaces } = self.vmids;
        for (name, range) in [("templates", templates), ("workspaces", workspaces)] {
            if range.first < 100 || range.last > 999_999_999 || range.first > range.last {
                complain(&format!("{field}.{name}"), "must go from first to last, within 100 to 999999999");
            }
        }
        if templates.first <= workspaces.last && workspaces.first <= templates.last {
            complain(field, "templates and workspaces must have no VMID in common");
        }
    }
}

/// `USER@REALM!NAME`, each part of letters, digits and `._-`.
fn is_token_id(id: &str) -> bool {
    let part =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    id.split_once('!').is_some_and(|(user, name)| {
        part(name) && user.rsplit_once('@').is_some_and(|(user, realm)| part(user) && part(realm))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(extra: &str) -> Vec<String> {
        let base = "endpoints: ['https://pve1:8006']\ntoken: {id: 'berth@pve!operator', secretFile: /s}\nssh: {keyFile: /k}\n";
        let backend: ProxmoxBackend = serde_yaml::from_str(&format!("{base}{extra}")).unwrap();
        let mut problems = Vec::new();
        backend.check("proxmox", &mut |field, _| problems.push(field.to_owned()));
        problems
    }

    #[rstest::rstest]
    #[case::the_least("", &[])]
    #[case::fingerprint_too_short("tls: {fingerprints: ['AA:BB']}", &["proxmox.tls.fingerprints[0]"])]
    #[case::two_ways_of_trust("tls: {caFile: /ca, insecureSkipVerify: true}", &["proxmox.tls"])]
    #[case::ranges_overlap("vmids: {templates: {first: 500, last: 1000}}", &["proxmox.vmids"])]
    #[case::range_backwards("vmids: {templates: {first: 600, last: 500}}", &["proxmox.vmids.templates"])]
    #[case::low_vmids("vmids: {templates: {first: 99, last: 120}}", &["proxmox.vmids.templates"])]
    #[case::vlan("vlan: 4095", &["proxmox.vlan"])]
    #[case::disk("disk: 600Gi", &["proxmox.disk"])]
    fn values_that_do_not_go_together(#[case] extra: &str, #[case] expected: &[&str]) {
        assert_eq!(problems(extra), expected);
    }

    #[rstest::rstest]
    #[case("berth@pve!operator", true)]
    #[case("berth@pve", false)]
    #[case("berth!operator", false)]
    #[case("root@pam!a b", false)]
    fn token_ids(#[case] id: &str, #[case] valid: bool) {
        assert_eq!(is_token_id(id), valid);
    }
}
