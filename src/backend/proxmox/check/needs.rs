//! Which privileges the operator's token needs, and where. Pure.

use std::collections::BTreeSet;

use super::finding::{Finding, Verdict, quoted};
use crate::{
    backend::proxmox::client::{NodeName, Permissions, StorageName, VmId},
    config::ProxmoxBackend,
};

/// For workspaces and what they are cloned from.
const CONTAINERS: &[&str] = &[
    "VM.Audit",
    "VM.Clone",
    "VM.Allocate",
    "VM.Config.CPU",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Disk",
    "VM.Config.Options",
    "VM.PowerMgmt",
];

/// For a template that somebody else made.
const FOREIGN_TEMPLATE: &[&str] = &["VM.Audit", "VM.Clone"];

/// Privileges that are needed on one path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Need {
    /// Where they have to hold.
    pub(super) path: String,
    /// Where they do as well: rights on a pool hold for what is in it.
    pub(super) or_on: Option<String>,
    /// All of them.
    privileges: &'static [&'static str],
    /// What it is when one is not there.
    otherwise: Verdict,
    /// Where they are best granted: there, or above.
    grant_on: String,
    /// The name of a role for them.
    role: &'static str,
}

/// The template that a Template may name, and the storage that it is on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct KnownTemplate {
    pub(super) vmid: VmId,
    pub(super) storage: Option<StorageName>,
}

/// Everything that is needed. `archives` are the storages that OS templates are downloaded to.
pub(super) fn needs(
    config: &ProxmoxBackend,
    nodes: &[NodeName],
    templates: &[KnownTemplate],
    archives: &BTreeSet<StorageName>,
) -> Vec<Need> {
    let mut needs = Vec::new();
    let mut need = |path: String, privileges, grant_on: &str, role, otherwise| {
        let grant_on = grant_on.to_owned();
        needs.push(Need { path, or_on: None, privileges, otherwise, grant_on, role });
    };
    // The ends of a range stand for all of it.
    let ranges = [config.vmids.templates, config.vmids.workspaces];
    let ends: BTreeSet<u32> = ranges.iter().flat_map(|range| [range.first, range.last]).collect();
    for vmid in &ends {
        need(format!("/vms/{vmid}"), CONTAINERS, "/vms", "Berth", Verdict::Missing);
    }
    for template in templates.iter().filter(|template| !ends.contains(&template.vmid.get())) {
        need(format!("/vms/{}", template.vmid), FOREIGN_TEMPLATE, "/vms", "Berth", Verdict::Missing);
    }
    for storage in storages(config, templates) {
        let path = format!("/storage/{storage}");
        let privileges = &["Datastore.Audit", "Datastore.AllocateSpace"];
        need(path.clone(), privileges, &path, "BerthStorage", Verdict::Missing);
    }
    for storage in archives {
        // Without it, an OS template has to be on the storage already.
        let path = format!("/storage/{storage}");
        let privileges = &["Datastore.Audit", "Datastore.AllocateTemplate"];
        need(path.clone(), privileges, &path, "BerthArchives", Verdict::Doubtful);
    }
    for path in networks(config) {
        need(path.clone(), &["SDN.Use"], &path, "BerthNetwork", Verdict::Missing);
    }
    for node in nodes {
        // Without it, the node with the most free memory can not be told.
        need(format!("/nodes/{node}"), &["Sys.Audit"], "/nodes", "BerthNodes", Verdict::Doubtful);
    }
    let pool = config.pool.as_ref().map(|pool| format!("/pool/{pool}"));
    for need in needs.iter_mut().filter(|need| need.privileges == CONTAINERS) {
        need.or_on.clone_from(&pool);
    }
    needs
}

/// The storages that disks of containers may be on, as far as they are known.
pub(super) fn storages(config: &ProxmoxBackend, templates: &[KnownTemplate]) -> BTreeSet<String> {
    let configured = config.storage.iter().chain(&config.tenant_bounds.storages).cloned();
    let theirs = templates.iter().filter_map(|template| template.storage.as_ref().map(ToString::to_string));
    configured.chain(theirs).collect()
}

/// The bridges that containers may be on.
pub(super) fn bridges(config: &ProxmoxBackend) -> BTreeSet<String> {
    [&config.bridge].into_iter().chain(&config.tenant_bounds.bridges).cloned().collect()
}

/// The paths of the bridges, or of VLANs on them.
fn networks(config: &ProxmoxBackend) -> BTreeSet<String> {
    let vlans: BTreeSet<u16> = config.vlan.iter().chain(&config.tenant_bounds.vlans).copied().collect();
    let path = |bridge: &String| format!("/sdn/zones/localnetwork/{bridge}");
    let mut paths: BTreeSet<String> = bridges(config)
        .iter()
        .flat_map(|bridge| vlans.iter().map(move |vlan| format!("{}/{vlan}", path(bridge))))
        .collect();
    if config.vlan.is_none() {
        paths.extend(bridges(config).iter().map(path));
    }
    paths
}

impl Need {
    /// Whether a token has what is needed. `granted` tells of both paths.
    pub(super) fn held_against(&self, granted: &Permissions, token: &str) -> Finding {
        let lacking = |path: &str| -> Vec<&str> {
            let lacking = self.privileges.iter().filter(|privilege| !granted.allows(path, privilege));
            lacking.copied().collect()
        };
        let subject = format!("privileges on {}", self.path);
        if let Some(pool) = self.or_on.as_ref().filter(|pool| lacking(pool).is_empty()) {
            return Finding::fine(subject, format!("by {pool}: {}", self.privileges.join(", ")));
        }
        let lacking = lacking(&self.path);
        if lacking.is_empty() {
            return Finding::fine(subject, self.privileges.join(", "));
        }
        let lacking = lacking.join(", ");
        let finding = match self.otherwise {
            Verdict::Doubtful => Finding::doubtful(subject, format!("not granted: {lacking}")),
            _ => Finding::missing(subject, format!("granted: {lacking}")),
        };
        self.granting(token).into_iter().fold(finding, Finding::mended_by)
    }

    /// A token with privilege separation may do what both it and its user may.
    fn granting(&self, token: &str) -> [String; 3] {
        let (role, privileges) = (self.role, self.privileges.join(" "));
        let (path, user) = (quoted(&self.grant_on), token.split('!').next().unwrap_or(token));
        [
            format!(
                "pveum role add {role} --privs \"{privileges}\" || pveum role modify {role} --append 1 --privs \"{privileges}\""
            ),
            format!("pveum acl modify {path} --users {} --roles {role}", quoted(user)),
            format!("pveum acl modify {path} --tokens {} --roles {role}", quoted(token)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> ProxmoxBackend {
        let text =
            "endpoints: ['https://pve1:8006']\ntoken: {id: 'a@pve!b', secretFile: /s}\nssh: {keyFile: /k}\n";
        serde_yaml::from_str(&format!("{text}{more}")).unwrap()
    }

    fn paths(needs: &[Need]) -> Vec<&str> {
        needs.iter().map(|need| need.path.as_str()).collect()
    }

    #[test]
    fn the_least_configuration_needs_numbers_bridge_and_nodes() {
        let nodes = ["pve1".parse().unwrap()];
        let needs = needs(&config(""), &nodes, &[], &BTreeSet::new());
        let expected = [
            "/vms/500",
            "/vms/599",
            "/vms/1000",
            "/vms/1999",
            "/sdn/zones/localnetwork/vmbr0",
            "/nodes/pve1",
        ];
        assert_eq!(paths(&needs), expected);
    }

    #[test]
    fn templates_storages_and_vlans_are_needed_where_they_are_named() {
        let config = config("storage: fast\nvlan: 20\ntenantBounds: {storages: [slow], vlans: [30]}");
        let known = |number, storage: Option<&str>| KnownTemplate {
            vmid: VmId::new(number).unwrap(),
            storage: storage.map(|name| name.parse().unwrap()),
        };
        let archives = BTreeSet::from(["local".parse().unwrap()]);
        let needs = needs(&config, &[], &[known(9000, Some("zfs")), known(500, None)], &archives);
        assert_eq!(
            paths(&needs)[4..],
            [
                "/vms/9000",
                "/storage/fast",
                "/storage/slow",
                "/storage/zfs",
                "/storage/local",
                "/sdn/zones/localnetwork/vmbr0/20",
                "/sdn/zones/localnetwork/vmbr0/30",
            ]
        );
    }

    #[test]
    fn rights_on_the_pool_hold_for_what_will_be_in_it() {
        let needs = needs(&config("pool: people"), &["pve1".parse().unwrap()], &[], &BTreeSet::new());
        let all: BTreeSet<String> = CONTAINERS.iter().map(|name| (*name).to_owned()).collect();
        let granted: Permissions = [("/pool/people".to_owned(), all)].into_iter().collect();
        let verdicts: Vec<Verdict> =
            needs.iter().map(|need| need.held_against(&granted, "a@pve!b").verdict).collect();
        assert_eq!(verdicts[..4], [Verdict::Fine; 4]);
        assert_eq!(verdicts[4..], [Verdict::Missing, Verdict::Doubtful]);
    }

    #[test]
    fn what_is_lacking_is_named_with_its_path_and_its_commands() {
        let needs = needs(&config(""), &[], &[], &BTreeSet::new());
        let finding = needs[0].held_against(&Permissions::default(), "a@pve!b").to_string();
        assert!(finding.starts_with("privileges on /vms/500: NOT granted: VM.Audit, VM.Clone,"), "{finding}");
        assert!(finding.contains("\n    pveum acl modify /vms --users a@pve --roles Berth"), "{finding}");
        assert!(
            finding.contains("\n    pveum acl modify /vms --tokens 'a@pve!b' --roles Berth"),
            "{finding}"
        );
    }
}
