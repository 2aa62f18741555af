//! Fields of Workspaces and Templates that only Proxmox VE backends know.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where and how on a Proxmox VE cluster the workspace is made. Each field may only be set where
/// the operator's configuration lists it in `tenantsMaySet` of the backend.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxmoxSelector {
    /// Name of the cluster's node to run on. Absent: the node with the most free memory among
    /// those that can reach the template's storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$"))]
    pub node: Option<String>,
    /// The VMID to use, 100 to 999999999. It must be free, or be this workspace's own. Absent: the
    /// lowest free one of the range in the operator's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 999999999))]
    pub vmid: Option<u32>,
    /// Name of the storage that holds the container's disk. Absent: the operator's configured one,
    /// else the template's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 100), regex(pattern = "^[a-zA-Z][a-zA-Z0-9._-]*[a-zA-Z0-9]$"))]
    pub storage: Option<String>,
    /// `true`: take over the container that stands at `vmid` already, instead of making one. Its
    /// administrator must have marked it for this workspace: a line
    /// `berth-adopt: NAMESPACE/NAME` in its notes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopt_existing: bool,
}

/// What containers on a Proxmox VE cluster are cloned from: a template that is there already, or
/// one that the operator builds from an OS template.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.vmid) != has(self.osTemplate)").message("exactly one of vmid and osTemplate must be set"),
    validation = Rule::new("!has(self.vmid) || !has(self.packages)").message("packages goes with osTemplate only"),
    validation = Rule::new("!has(self.vmid) || !has(self.staging) || !self.staging").message("staging goes with osTemplate only"),
)]
pub struct ProxmoxTemplate {
    /// VMID of a container template that is on the cluster, with an SSH server, the operator's
    /// public key for root, and the workspace's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 999999999))]
    pub vmid: Option<u32>,
    /// The OS template to build from, as Proxmox lists it: a whole name such as
    /// `debian-12-standard_12.7-1_amd64.tar.zst`, or the beginning of one such as
    /// `debian-12-standard`, of which the newest is taken. Downloaded when no storage has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 128), regex(pattern = "^[a-zA-Z0-9][a-zA-Z0-9._+-]*$"))]
    pub os_template: Option<String>,
    /// Node to build on. Absent: the one with the most free memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$"))]
    pub node: Option<String>,
    /// Storage for the template's disk. Absent: the operator's configured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 100), regex(pattern = "^[a-zA-Z][a-zA-Z0-9._-]*[a-zA-Z0-9]$"))]
    pub storage: Option<String>,
    /// Packages to install in addition to those that every workspace needs, at most 64. For
    /// `osTemplate` only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 128), regex(pattern = "^[a-z0-9][a-z0-9+.:~=-]*$"))
    )]
    pub packages: Vec<String>,
    /// Whether containers may hold containers of their own, and systemd of a recent release runs
    /// without warnings. Default `true`. For `osTemplate` only.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub nesting: bool,
    /// `true`: containers get the device `/dev/net/tun`, as VPNs need it. A template that has it
    /// hands it on; otherwise the operator needs SSH to the node, since the API lets only root
    /// set it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tun: bool,
    /// `true`: after provisioning the container is kept running, so that somebody can change it by
    /// hand; the template is made of it when this is set to `false`. For `osTemplate` only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub staging: bool,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_yes(value: &bool) -> bool {
    *value
}

/// A fixed address.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StaticAddress {
    /// The container's address with the length of its network, as `192.168.3.50/24`.
    #[schemars(length(min = 4, max = 49))]
    #[x_kube(validation = Rule::new("isCIDR(self)").message("must be an address with the length of its network, such as 192.168.3.50/24"))]
    pub address: String,
    /// The gateway, in the same network.
    #[schemars(length(min = 2, max = 45))]
    #[x_kube(validation = Rule::new("isIP(self)").message("must be an IP address"))]
    pub gateway: String,
}

/// Where a container's name resolution comes from.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum DnsMode {
    /// From the host, as the backend sets it up.
    Host,
    /// From `servers`, else from the operator's configuration; the host does not change it.
    #[default]
    Static,
    /// From Tailscale in the workspace; the host does not change it.
    Tailscale,
}

/// What a Template is on its cluster.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxmoxTemplateStatus {
    /// Names the container while the template is built: 16 hexadecimal digits. Absent where the
    /// Template names one that is there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Name of the backend that it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Its VMID. Reserved before anything is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmid: Option<u32>,
    /// The node it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The storage of its disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    /// How far the building has come: `Provisioned` (packages, user and key are in it), `Cleaned`
    /// (what must not be shared is out of it) or `Converted`. More values may be added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The generation of the spec that it is built from. Later changes of the spec do not touch
    /// it: delete the Template and create it anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built_generation: Option<i64>,
    /// Stands for all of the spec that goes into the building: 16 hexadecimal digits. By it a
    /// later change is noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}
