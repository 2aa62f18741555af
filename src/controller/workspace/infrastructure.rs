//! What a Workspace says about the infrastructure under it, checked against what the administrator
//! lets tenants say. Pure.

use std::{collections::BTreeSet, fmt::Display, net::IpAddr};

use ipnet::IpNet;

use crate::{
    api::{self, StaticAddress, Template, TemplatePhase, Workspace, condition},
    backend::{DnsMode, FixedAddress, Infrastructure},
    config::{BackendConfig, ProxmoxBackend, TenantField},
    provision::RemoteUrl,
};

use super::{problem::Problem, record::ResolvedSpec};

/// The host that the Workspace must be on.
pub fn pinned_host(workspace: &Workspace, backend: &BackendConfig) -> Result<Option<String>, Problem> {
    let selector = workspace.spec.backend.as_ref();
    let docker = selector.and_then(|selector| selector.docker.as_ref()?.host.clone());
    let node = selector.and_then(|selector| selector.proxmox.as_ref()?.node.clone());
    if docker.is_some() && backend.proxmox.is_some() {
        return Err(wrong_kind("spec.backend.docker", backend));
    }
    if selector.is_some_and(|selector| selector.proxmox.is_some()) && backend.proxmox.is_none() {
        return Err(wrong_kind("spec.backend.proxmox", backend));
    }
    let (field, open, host) = match (docker, node) {
        (Some(host), _) => ("docker.host", TenantField::DockerHost, host),
        (None, Some(node)) => ("proxmox.node", TenantField::ProxmoxNode, node),
        (None, None) => return Ok(None),
    };
    allowed(backend, &format!("spec.backend.{field}"), field, open)?;
    let known = backend.host_names();
    let all_are_known = backend.proxmox.is_none() || !known.is_empty();
    if all_are_known && !known.contains(&host.as_str()) {
        return Err(Problem::permanent(
            condition::ACCEPTED,
            "HostNotFound",
            format!(
                "spec.backend.{field}: backend {:?} has no host {host:?}, but {}",
                backend.name,
                known.join(", ")
            ),
        ));
    }
    if let Some(proxmox) = &backend.proxmox {
        within(&format!("spec.backend.{field}"), &host, &proxmox.tenant_bounds.nodes)?;
    }
    Ok(Some(host))
}

/// What the container is made from, in the words of `status.resolved.image`.
pub fn image(template: &Template, backend: &BackendConfig) -> Result<String, Problem> {
    let spec = &template.spec;
    match (&spec.docker, &spec.proxmox) {
        (Some(docker), None) if backend.proxmox.is_none() => Ok(docker.image.clone()),
        (None, Some(proxmox)) if backend.proxmox.is_some() => {
            let status = template.status.as_ref();
            let ready = status.is_some_and(|status| {
                status.phase.as_deref() == Some(TemplatePhase::Ready.as_str())
                    && status.observed_generation == template.metadata.generation
            });
            let built = status.and_then(|status| status.proxmox.as_ref()?.vmid);
            match proxmox.vmid.or(built) {
                Some(vmid) if proxmox.vmid.is_some() || ready => Ok(format!("vmid:{vmid}")),
                _ => {
                    let words = match status.and_then(|status| status.phase.as_deref()) {
                        Some(phase) => format!("the Template is {phase}"),
                        None => "the Template has not been looked at yet".to_owned(),
                    };
                    Err(Problem::transient(condition::TEMPLATE_RESOLVED, "TemplateNotReady", words)
                        .hint("the workspace goes on by itself as soon as the Template is Ready"))
                }
            }
        }
        _ => Err(Problem::permanent(
            condition::TEMPLATE_RESOLVED,
            "TemplateInvalid",
            format!("the Template is for another kind of backend than {:?}", backend.name),
        )
        .hint("name a Template, or a backend, of the other kind")),
    }
}

/// Where and how the container is made.
pub fn infrastructure(
    workspace: &Workspace,
    template: Option<&Template>,
    resolved: &ResolvedSpec,
    backend: &BackendConfig,
) -> Result<Infrastructure, Problem> {
    let network = workspace.spec.network.clone().unwrap_or_default();
    let Some(proxmox) = &backend.proxmox else {
        let foreign = [
            ("bridge", network.bridge.is_some()),
            ("vlan", network.vlan.is_some()),
            ("static", network.static_address.is_some()),
        ];
        return match foreign.into_iter().find(|(_, set)| *set) {
            Some((field, _)) => Err(wrong_kind(&format!("spec.network.{field}"), backend)),
            None => Ok(Infrastructure::default()),
        };
    };
    let selector = workspace.spec.backend.as_ref().and_then(|selector| selector.proxmox.clone());
    let selector = selector.unwrap_or_default();
    let bounds = &proxmox.tenant_bounds;
    if let Some(vmid) = selector.vmid {
        let field = "spec.backend.proxmox.vmid";
        allowed(backend, field, "proxmox.vmid", TenantField::ProxmoxVmid)?;
        if let Some(range) = bounds.vmids.filter(|range| !range.contains(vmid)) {
            return Err(out_of_bounds(field, vmid, format!("{} to {}", range.first, range.last)));
        }
    }
    if selector.adopt_existing {
        let field = "spec.backend.proxmox.adoptExisting";
        allowed(backend, field, "proxmox.adoptExisting", TenantField::ProxmoxAdoptExisting)?;
        if selector.vmid.is_none() {
            let words = format!("{field} needs spec.backend.proxmox.vmid");
            return Err(Problem::permanent(condition::ACCEPTED, "FieldInvalid", words));
        }
    }
    if let Some(storage) = &selector.storage {
        allowed(backend, "spec.backend.proxmox.storage", "proxmox.storage", TenantField::ProxmoxStorage)?;
        within("spec.backend.proxmox.storage", storage, &bounds.storages)?;
    }
    if let Some(bridge) = &network.bridge {
        allowed(backend, "spec.network.bridge", "network.bridge", TenantField::NetworkBridge)?;
        within("spec.network.bridge", bridge, &bounds.bridges)?;
    }
    if let Some(vlan) = network.vlan {
        allowed(backend, "spec.network.vlan", "network.vlan", TenantField::NetworkVlan)?;
        within("spec.network.vlan", &vlan, &bounds.vlans)?;
    }
    let address = network.static_address.as_ref().map(|fixed| fixed_address(fixed, backend, proxmox));
    let dns = network.dns.and_then(|dns| dns.mode).unwrap_or(proxmox.dns.mode);
    Ok(Infrastructure {
        number: selector.vmid,
        adopt_existing: selector.adopt_existing,
        storage: selector.storage.or_else(|| proxmox.storage.clone()),
        disk_bytes: resolved.disk.map(|disk| disk.0),
        bridge: network.bridge,
        vlan: network.vlan.or(proxmox.vlan),
        address: address.transpose()?,
        dns_mode: Some(match dns {
            api::DnsMode::Host => DnsMode::Host,
            api::DnsMode::Static => DnsMode::Static,
            api::DnsMode::Tailscale => DnsMode::Tailscale,
        }),
        nesting: false,
        tun: template.is_some_and(|template| template.spec.proxmox.as_ref().is_some_and(|pve| pve.tun)),
        tags: tags(workspace),
    })
}

fn fixed_address(
    fixed: &StaticAddress,
    backend: &BackendConfig,
    proxmox: &ProxmoxBackend,
) -> Result<FixedAddress, Problem> {
    allowed(backend, "spec.network.static", "network.static", TenantField::NetworkStatic)?;
    let invalid = |field: &str, words: String| {
        let message = format!("spec.network.static.{field}: {words}");
        Problem::permanent(condition::ACCEPTED, "StaticAddressInvalid", message)
    };
    let address: IpNet = fixed.address.parse().map_err(|_| {
        invalid("address", format!("{:?} is not an address with the length of its network", fixed.address))
    })?;
    let gateway: IpAddr = fixed
        .gateway
        .parse()
        .map_err(|_| invalid("gateway", format!("{:?} is not an IP address", fixed.gateway)))?;
    if !address.trunc().contains(&gateway) {
        return Err(invalid("gateway", format!("{gateway} is not in the network {}", address.trunc())));
    }
    if gateway == address.addr() {
        return Err(invalid("gateway", "must not be the container's own address".to_owned()));
    }
    let bounds = &proxmox.tenant_bounds.addresses;
    if !bounds.is_empty() && !bounds.iter().any(|network| network.contains(&address)) {
        let networks: Vec<String> = bounds.iter().map(ToString::to_string).collect();
        return Err(out_of_bounds("spec.network.static.address", address, networks.join(", ")));
    }
    Ok(FixedAddress { address, gateway })
}

/// The repository's name, by which people filter in Proxmox's own pages.
fn tags(workspace: &Workspace) -> Vec<String> {
    let url =
        workspace.spec.repository.as_ref().and_then(|repository| RemoteUrl::parse(&repository.url).ok());
    let name = url.and_then(|url| {
        let path = url.to_string();
        let last = path.trim_end_matches('/').rsplit(['/', ':']).next()?.trim_end_matches(".git").to_owned();
        Some(last)
    });
    name.iter().filter_map(|name| tag(name)).collect()
}

/// A word as Proxmox takes it for a tag: `[a-z0-9_][a-z0-9_\-+.]*`.
fn tag(word: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-+.".contains(c);
    let text: String =
        word.chars().map(|c| if allowed(c) { c.to_ascii_lowercase() } else { '-' }).take(64).collect();
    let text = text.trim_start_matches(['-', '+', '.']);
    (!text.is_empty()).then(|| text.to_owned())
}

fn allowed(backend: &BackendConfig, field: &str, name: &str, open: TenantField) -> Result<(), Problem> {
    if backend.tenants_may_set.contains(&open) {
        return Ok(());
    }
    Err(Problem::permanent(
        condition::ACCEPTED,
        "FieldForbidden",
        format!("{field} may not be set on backend {:?}", backend.name),
    )
    .hint(format!("leave it out, or have the administrator list {name} in tenantsMaySet of the backend")))
}

/// Refuses what is not within bounds that an administrator set. Without bounds any value will do.
pub fn within<T: Display + Ord>(field: &str, value: &T, bounds: &BTreeSet<T>) -> Result<(), Problem> {
    if bounds.is_empty() || bounds.contains(value) {
        return Ok(());
    }
    let allowed: Vec<String> = bounds.iter().map(ToString::to_string).collect();
    Err(out_of_bounds(field, value, allowed.join(", ")))
}

fn out_of_bounds(field: &str, value: impl Display, allowed: String) -> Problem {
    Problem::permanent(
        condition::ACCEPTED,
        "FieldForbidden",
        format!("{field}: {value} is not among what the administrator allows: {allowed}"),
    )
}

fn wrong_kind(field: &str, backend: &BackendConfig) -> Problem {
    Problem::permanent(
        condition::ACCEPTED,
        "FieldForbidden",
        format!("{field} means nothing on backend {:?}, which is of another kind", backend.name),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(extra: &str) -> BackendConfig {
        let text = format!(
            "name: pve\nproxmox:\n  endpoints: ['https://pve1:8006']\n  token: {{id: 'a@pve!b', secretFile: /s}}\n  ssh: {{keyFile: /k}}\n{extra}"
        );
        serde_yaml::from_str(&text).unwrap()
    }

    fn workspace(spec: serde_json::Value) -> Workspace {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "berth.dev/v1alpha1", "kind": "Workspace",
            "metadata": {"name": "ws", "namespace": "ns"}, "spec": spec,
        }))
        .unwrap()
    }

    fn said(spec: serde_json::Value, extra: &str) -> Result<Infrastructure, String> {
        let resolved = super::super::fixtures::resolved();
        infrastructure(&workspace(spec), None, &resolved, &backend(extra)).map_err(|problem| problem.message)
    }

    #[rstest::rstest]
    #[case::vmid(serde_json::json!({"backend": {"proxmox": {"vmid": 1000}}}), "", "spec.backend.proxmox.vmid may not be set")]
    #[case::vmid_out_of_bounds(
        serde_json::json!({"backend": {"proxmox": {"vmid": 1000}}}),
        "  tenantBounds: {vmids: {first: 200, last: 299}}\ntenantsMaySet: [proxmox.vmid]\n",
        "spec.backend.proxmox.vmid: 1000 is not among what the administrator allows: 200 to 299"
    )]
    #[case::bridge(serde_json::json!({"network": {"bridge": "vmbr1"}}), "", "spec.network.bridge may not be set")]
    #[case::vlan_out_of_bounds(
        serde_json::json!({"network": {"vlan": 7}}),
        "  tenantBounds: {vlans: [8, 9]}\ntenantsMaySet: [network.vlan]\n",
        "spec.network.vlan: 7 is not among what the administrator allows: 8, 9"
    )]
    #[case::gateway_elsewhere(
        serde_json::json!({"network": {"static": {"address": "10.0.0.2/24", "gateway": "10.0.1.1"}}}),
        "tenantsMaySet: [network.static]\n",
        "spec.network.static.gateway: 10.0.1.1 is not in the network 10.0.0.0/24"
    )]
    #[case::address_out_of_bounds(
        serde_json::json!({"network": {"static": {"address": "10.0.0.2/24", "gateway": "10.0.0.1"}}}),
        "  tenantBounds: {addresses: [192.168.0.0/16]}\ntenantsMaySet: [network.static]\n",
        "spec.network.static.address: 10.0.0.2/24 is not among what the administrator allows: 192.168.0.0/16"
    )]
    fn what_tenants_may_not_say(
        #[case] spec: serde_json::Value,
        #[case] extra: &str,
        #[case] expected: &str,
    ) {
        let message = said(spec, extra).unwrap_err();
        assert!(message.starts_with(expected), "{message}");
    }

    #[test]
    fn what_is_opened_is_taken() {
        let spec = serde_json::json!({"network": {
            "bridge": "vmbr1", "vlan": 8,
            "static": {"address": "192.168.3.50/24", "gateway": "192.168.3.1"},
        }});
        let open = "tenantsMaySet: [network.bridge, network.vlan, network.static]\n";
        let found = said(spec, open).unwrap();
        assert_eq!((found.bridge.as_deref(), found.vlan), (Some("vmbr1"), Some(8)));
        assert_eq!(found.address.unwrap().address.to_string(), "192.168.3.50/24");
    }

    #[rstest::rstest]
    #[case("https://git.example.com/team/My_App.git", &["my_app"])]
    #[case("git@git.example.com:team/app", &["app"])]
    #[case("https://git.example.com/team/-+.git", &[])]
    fn the_repository_is_a_tag(#[case] url: &str, #[case] expected: &[&str]) {
        let found = said(serde_json::json!({"repository": {"url": url}}), "").unwrap();
        assert_eq!(found.tags, expected);
    }
}
