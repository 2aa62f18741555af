//! The roles that every cluster has.

use std::collections::{BTreeMap, BTreeSet};

/// The privileges about one kind of thing, by who gets them.
struct Group {
    /// The kind, as the roles are named after it.
    kind: &'static str,
    /// Of no role but `Administrator`.
    root: &'static [&'static str],
    /// Of whoever manages them.
    admin: &'static [&'static str],
    /// Of whoever uses them.
    user: &'static [&'static str],
    /// Of whoever looks at them.
    audit: &'static [&'static str],
}

const GROUPS: &[Group] = &[
    Group {
        kind: "VM",
        root: &[],
        admin: &[
            "VM.Allocate",
            "VM.Clone",
            "VM.Config.CPU",
            "VM.Config.Disk",
            "VM.Config.HWType",
            "VM.Config.Memory",
            "VM.Config.Network",
            "VM.Config.Options",
            "VM.GuestAgent.Unrestricted",
            "VM.Migrate",
            "VM.Replicate",
            "VM.Snapshot",
            "VM.Snapshot.Rollback",
        ],
        user: &[
            "VM.Backup",
            "VM.Config.CDROM",
            "VM.Config.Cloudinit",
            "VM.Console",
            "VM.GuestAgent.FileRead",
            "VM.GuestAgent.FileSystemMgmt",
            "VM.GuestAgent.FileWrite",
            "VM.PowerMgmt",
        ],
        audit: &["VM.Audit", "VM.GuestAgent.Audit"],
    },
    Group {
        kind: "Sys",
        root: &["Sys.AccessNetwork", "Sys.Incoming", "Sys.Modify", "Sys.PowerMgmt"],
        admin: &["Sys.Console", "Sys.Syslog"],
        user: &[],
        audit: &["Sys.Audit"],
    },
    Group {
        kind: "Datastore",
        root: &[],
        admin: &["Datastore.Allocate", "Datastore.AllocateTemplate"],
        user: &["Datastore.AllocateSpace"],
        audit: &["Datastore.Audit"],
    },
    Group { kind: "SDN", root: &[], admin: &["SDN.Allocate"], user: &["SDN.Use"], audit: &["SDN.Audit"] },
    Group {
        kind: "User",
        root: &["Realm.Allocate"],
        admin: &["Group.Allocate", "Realm.AllocateUser", "User.Modify"],
        user: &[],
        audit: &[],
    },
    Group {
        kind: "Pool",
        root: &[],
        admin: &["Pool.Allocate"],
        user: &["Pool.Audit"],
        audit: &["Pool.Audit"],
    },
    Group {
        kind: "Mapping",
        root: &[],
        admin: &["Mapping.Modify"],
        user: &["Mapping.Use"],
        audit: &["Mapping.Audit"],
    },
];

/// Every privilege.
pub fn privileges() -> BTreeSet<String> {
    let grouped = GROUPS.iter().flat_map(|group| [group.root, group.admin, group.user, group.audit]);
    // This one is in no group.
    owned(grouped.flatten().chain(&["Permissions.Modify"]))
}

fn owned<'a>(names: impl IntoIterator<Item = &'a &'static str>) -> BTreeSet<String> {
    names.into_iter().map(|name| (*name).to_owned()).collect()
}

/// The names of the built-in roles with their privileges. `NoAccess` has none.
pub fn built_in() -> BTreeMap<String, BTreeSet<String>> {
    let mut roles = BTreeMap::from([
        ("Administrator".to_owned(), privileges()),
        ("NoAccess".to_owned(), BTreeSet::new()),
        ("PVETemplateUser".to_owned(), owned(&["VM.Audit", "VM.Clone"])),
    ]);
    let mut admin = BTreeSet::new();
    let mut auditor = BTreeSet::new();
    for Group { kind, admin: manage, user, audit, .. } in GROUPS {
        let all = owned(manage.iter().chain(*user).chain(*audit));
        admin.extend(all.iter().filter(|name| *name != "Mapping.Modify").cloned());
        auditor.extend(owned(*audit));
        roles.insert(format!("PVE{kind}Admin"), all);
        if !user.is_empty() {
            roles.insert(format!("PVE{kind}User"), owned(user.iter().chain(*audit)));
        }
    }
    roles.extend([("PVEAdmin".to_owned(), admin), ("PVEAuditor".to_owned(), auditor)]);
    roles
}
