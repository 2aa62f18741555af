//! The YAML file that describes a cluster. The README shows one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::access::{Acl, Token, User};

/// A cluster as it is at the start.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The nodes by name. The first one answers; it passes calls on to the others.
    pub nodes: BTreeMap<String, Node>,
    /// The storages by name.
    pub storages: BTreeMap<String, Storage>,
    /// The users by name with realm.
    #[serde(default)]
    pub users: BTreeMap<String, User>,
    /// Privileges by role, besides the built-in roles.
    #[serde(default)]
    pub roles: BTreeMap<String, BTreeSet<String>>,
    /// The access control list.
    #[serde(default)]
    pub acls: Vec<Acl>,
    /// The names of pools that are there at the start.
    #[serde(default)]
    pub pools: Vec<String>,
    /// Where `nextid` looks; the upper bound is not in it.
    #[serde(default)]
    pub next_id: NextId,
    /// Tags that only `Sys.Modify` on `/` may set or remove.
    #[serde(default)]
    pub registered_tags: BTreeSet<String>,
    /// The file names of the OS templates that can be downloaded.
    #[serde(default)]
    pub appliances: BTreeSet<String>,
}

/// A node.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// Its bridges.
    pub bridges: BTreeSet<String>,
    /// Its processors.
    pub cores: u32,
    /// Its memory in bytes.
    pub memory: u64,
}

impl Default for Node {
    fn default() -> Self {
        Self { bridges: BTreeSet::from(["vmbr0".to_owned()]), cores: 16, memory: 64 << 30 }
    }
}

/// What a storage is made of.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum StorageType {
    /// A directory with raw images.
    Dir,
    /// A thin LVM pool.
    Lvmthin,
    /// A ZFS pool.
    Zfspool,
    /// A network file system with raw images.
    Nfs,
}

/// A storage.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// What it is made of.
    #[serde(rename = "type")]
    pub kind: StorageType,
    /// `rootdir`, `vztmpl` and so on.
    pub content: BTreeSet<String>,
    /// Whether all nodes see the same.
    #[serde(default)]
    pub shared: bool,
    /// The nodes that have it; all unless any is named.
    #[serde(default)]
    pub nodes: BTreeSet<String>,
    /// The file names of its OS templates.
    #[serde(default)]
    pub templates: BTreeSet<String>,
    /// Its size in bytes.
    #[serde(default = "large")]
    pub total: u64,
}

fn large() -> u64 {
    500 << 30
}

impl Storage {
    /// Whether a node has it.
    pub fn is_on(&self, node: &str) -> bool {
        self.nodes.is_empty() || self.nodes.contains(node)
    }
}

/// Where `nextid` looks.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextId {
    /// The first number.
    pub lower: u32,
    /// The first number that is too large.
    pub upper: u32,
}

impl Default for NextId {
    fn default() -> Self {
        Self { lower: 100, upper: 1_000_000 }
    }
}

impl Settings {
    /// Two nodes, a directory for OS templates, a thin pool for containers, and root with a password.
    pub fn two_nodes(root_password: &str) -> Self {
        let set = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<BTreeSet<_>>();
        let local = Storage {
            kind: StorageType::Dir,
            content: set(&["backup", "iso", "rootdir", "vztmpl"]),
            shared: false,
            nodes: BTreeSet::new(),
            templates: set(&[
                "debian-12-standard_12.7-1_amd64.tar.zst",
                "debian-12-openrc_12.7-1_amd64.tar.zst",
                "debian-12-sysvinit_12.7-1_amd64.tar.zst",
            ]),
            total: large(),
        };
        let thin = Storage {
            kind: StorageType::Lvmthin,
            content: set(&["images", "rootdir"]),
            templates: BTreeSet::new(),
            ..local.clone()
        };
        let root = User { password: Some(root_password.to_owned()), ..User::default() };
        Self {
            nodes: ["pve1", "pve2"].into_iter().map(|name| (name.to_owned(), Node::default())).collect(),
            storages: BTreeMap::from([("local".into(), local), ("local-lvm".into(), thin)]),
            users: BTreeMap::from([("root@pam".into(), root)]),
            roles: BTreeMap::new(),
            acls: Vec::new(),
            pools: Vec::new(),
            next_id: NextId::default(),
            registered_tags: BTreeSet::new(),
            appliances: set(&[
                "debian-12-standard_12.12-1_amd64.tar.zst",
                "debian-13-standard_13.1-2_amd64.tar.zst",
            ]),
        }
    }

    /// Adds a token with a role on a path, for the user and the token, and the user if need be.
    pub fn add_token(&mut self, user: &str, name: &str, secret: &str, role: &str, path: &str) {
        let token = Token { secret: secret.to_owned(), privsep: true, expire: 0 };
        self.users.entry(user.to_owned()).or_default().tokens.insert(name.to_owned(), token);
        for who in [user.to_owned(), format!("{user}!{name}")] {
            self.acls.push(Acl { path: path.to_owned(), who, role: role.to_owned(), propagate: true });
        }
    }
}
