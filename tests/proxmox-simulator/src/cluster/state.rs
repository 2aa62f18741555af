//! Everything the cluster knows, and what can be read off it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{
    access::{Access, Identity, roles},
    failure::Failure,
    lxc::config::Config,
    settings::{NextId, Node, Settings, Storage},
    tasks::Task,
};

/// A container, or a virtual machine that only takes a number.
#[derive(Clone, Debug, Serialize)]
pub struct Guest {
    /// Where it is.
    pub node: String,
    /// Whether it is a virtual machine.
    pub qemu: bool,
    /// Whether its init is a systemd that wants `nesting`.
    pub systemd: bool,
    /// Size of its file system in bytes, where that did not grow with its disk.
    pub filesystem: Option<u64>,
    /// Its configuration.
    pub config: Config,
}

/// What the last tick saw of a guest.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// Its name then.
    pub name: String,
    /// Whether it ran.
    pub running: bool,
    /// Whether it was a template.
    pub template: bool,
}

/// A pool of guests and storages.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pool {
    /// What its maker wrote.
    pub comment: String,
    /// The numbers of its guests.
    pub guests: BTreeSet<u32>,
    /// Its storages.
    pub storages: BTreeSet<String>,
}

/// The state of a cluster.
#[derive(Clone, Debug)]
pub struct State {
    /// By name.
    pub nodes: BTreeMap<String, Node>,
    /// The nodes that can not be reached.
    pub offline: BTreeSet<String>,
    /// By name.
    pub storages: BTreeMap<String, Storage>,
    /// Users, roles and entries.
    pub access: Access,
    /// By name.
    pub pools: BTreeMap<String, Pool>,
    /// By number.
    pub guests: BTreeMap<u32, Guest>,
    /// What the last tick saw, by number.
    pub seen: BTreeMap<u32, Seen>,
    /// By UPID.
    pub tasks: BTreeMap<String, Task>,
    /// The last process number given.
    pub last_pid: u32,
    /// The guests that high availability looks after.
    pub managed: BTreeSet<u32>,
    /// Where `nextid` looks.
    pub next_id: NextId,
    /// Tags that need `Sys.Modify`.
    pub registered_tags: BTreeSet<String>,
    /// The file names of the OS templates that can be downloaded.
    pub appliances: BTreeSet<String>,
}

impl State {
    /// At the start.
    pub fn new(settings: Settings) -> Self {
        let mut roles = roles::built_in();
        roles.extend(settings.roles);
        let pools = settings.pools.into_iter().map(|name| (name, Pool::default())).collect();
        Self {
            nodes: settings.nodes,
            offline: BTreeSet::new(),
            storages: settings.storages,
            access: Access { users: settings.users, roles, acls: settings.acls },
            pools,
            guests: BTreeMap::new(),
            seen: BTreeMap::new(),
            tasks: BTreeMap::new(),
            last_pid: 1000,
            managed: BTreeSet::new(),
            next_id: settings.next_id,
            registered_tags: settings.registered_tags,
            appliances: settings.appliances,
        }
    }

    /// A container of a node.
    ///
    /// # Errors
    ///
    /// That the node has no such container.
    pub fn guest(&self, node: &str, vmid: u32) -> Result<&Guest, Failure> {
        let guest = self.guests.get(&vmid).filter(|guest| guest.node == node && !guest.qemu);
        guest.ok_or_else(|| Failure::missing(node, vmid))
    }

    /// As [`guest`](Self::guest), to change it.
    ///
    /// # Errors
    ///
    /// That the node has no such container.
    pub fn guest_mut(&mut self, node: &str, vmid: u32) -> Result<&mut Guest, Failure> {
        let guest = self.guests.get_mut(&vmid).filter(|guest| guest.node == node && !guest.qemu);
        guest.ok_or_else(|| Failure::missing(node, vmid))
    }

    /// Why a number can not be used.
    pub fn taken(&self, vmid: u32) -> Option<String> {
        let guest = self.guests.get(&vmid)?;
        let kind = if guest.qemu { "VM" } else { "CT" };
        Some(format!("{kind} {vmid} already exists on node '{}'", guest.node))
    }

    /// The privileges on a path; a pool's reach its members.
    pub fn privileges(&self, identity: &Identity, path: &str) -> BTreeSet<String> {
        let mut privileges = self.access.privileges(identity, path);
        let pool = self.pools.iter().find(|(_, pool)| {
            let vmid = path.strip_prefix("/vms/").and_then(|id| id.parse().ok());
            let storage = path.strip_prefix("/storage/");
            vmid.is_some_and(|vmid| pool.guests.contains(&vmid))
                || storage.is_some_and(|storage| pool.storages.contains(storage))
        });
        if let Some((name, _)) = pool {
            privileges.extend(self.access.privileges(identity, &format!("/pool/{name}")));
        }
        privileges
    }

    /// Whether one of these privileges is there.
    pub fn may(&self, identity: &Identity, path: &str, any_of: &[&str]) -> bool {
        let privileges = self.privileges(identity, path);
        any_of.iter().any(|privilege| privileges.contains(*privilege))
    }

    /// Refuses unless one of these privileges is there.
    ///
    /// # Errors
    ///
    /// 403 with the path and the privileges.
    pub fn require(&self, identity: &Identity, path: &str, any_of: &[&str]) -> Result<(), Failure> {
        if self.may(identity, path, any_of) {
            return Ok(());
        }
        Err(Failure::denied(&format!("{path}, {}", any_of.join("|"))))
    }

    /// Refuses if there is no such pool.
    ///
    /// # Errors
    ///
    /// 403 with the pool's name.
    pub fn require_pool(&self, name: &str) -> Result<(), Failure> {
        let exists = self.pools.contains_key(name);
        if exists { Ok(()) } else { Err(Failure::denied(&format!("pool '{name}' does not exist"))) }
    }

    /// The pool of a guest.
    pub fn pool_of(&self, vmid: u32) -> Option<&str> {
        self.pools.iter().find(|(_, pool)| pool.guests.contains(&vmid)).map(|(name, _)| name.as_str())
    }
}
