//! The roles that every cluster has.

use std::collections::{BTreeMap, BTreeSet};

/// Every privilege.
pub const PRIVILEGES: &[&str] = &[
    "Datastore.Allocate",
    "Datastore.AllocateSpace",
    "Datastore.AllocateTemplate",
    "Datastore.Audit",
    "Group.Allocate",
    "Mapping.Audit",
    "Mapping.Modify",
    "Mapping.Use",
    "Permissions.Modify",
    "Pool.Allocate",
    "Pool.Audit",
    "Realm.Allocate",
    "Realm.AllocateUser",
    "SDN.Allocate",
    "SDN.Audit",
    "SDN.Use",
    "Sys.AccessNetwork",
    "Sys.Audit",
    "Sys.Console",
    "Sys.Incoming",
    "Sys.Modify",
    "Sys.PowerMgmt",
    "Sys.Syslog",
    "User.Modify",
    "VM.Allocate",
    "VM.Audit",
    "VM.Backup",
    "VM.Clone",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Cloudinit",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.Console",
    "VM.Migrate",
    "VM.PowerMgmt",
    "VM.Snapshot",
    "VM.Snapshot.Rollback",
];

/// The names of the built-in roles with their privileges. `NoAccess` has none.
pub fn built_in() -> BTreeMap<String, BTreeSet<String>> {
    let starting = |prefixes: &[&str]| -> BTreeSet<String> {
        let chosen = PRIVILEGES.iter().filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)));
        chosen.map(|name| (*name).to_owned()).collect()
    };
    let roles = [
        ("Administrator", starting(&[""])),
        ("NoAccess", BTreeSet::new()),
        (
            "PVEAdmin",
            starting(&[
                "Datastore.",
                "Group.",
                "Mapping.",
                "Pool.",
                "SDN.",
                "Sys.Audit",
                "Sys.Console",
                "Sys.Syslog",
                "User.",
                "VM.",
            ]),
        ),
        (
            "PVEAuditor",
            starting(&[
                "Datastore.Audit",
                "Mapping.Audit",
                "Pool.Audit",
                "SDN.Audit",
                "Sys.Audit",
                "VM.Audit",
            ]),
        ),
        ("PVEDatastoreAdmin", starting(&["Datastore."])),
        ("PVEDatastoreUser", starting(&["Datastore.AllocateSpace", "Datastore.Audit"])),
        ("PVEPoolAdmin", starting(&["Pool."])),
        ("PVEPoolUser", starting(&["Pool.Audit"])),
        ("PVESDNAdmin", starting(&["SDN."])),
        ("PVESDNUser", starting(&["SDN.Audit", "SDN.Use"])),
        ("PVETemplateUser", starting(&["VM.Audit", "VM.Clone"])),
        ("PVEVMAdmin", starting(&["VM."])),
        (
            "PVEVMUser",
            starting(&[
                "VM.Audit",
                "VM.Backup",
                "VM.Config.CDROM",
                "VM.Config.Cloudinit",
                "VM.Console",
                "VM.PowerMgmt",
            ]),
        ),
    ];
    roles.into_iter().map(|(name, privileges)| (name.to_owned(), privileges)).collect()
}
