//! Containers come and go: clone, create, template, delete.

use secrecy::{ExposeSecret, SecretString};

use super::{
    Change, Client, Error, Hostname, NodeName, PoolName, SnapshotName, StorageName, Upid, VmId, VolumeId,
    call::{Call, Parameters},
};

/// A clone of a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CloneRequest {
    /// Number of the clone.
    pub new_id: VmId,
    /// How its disk is made.
    pub disk: CloneDisk,
    /// Its host name; that of the source otherwise.
    pub hostname: Option<Hostname>,
    /// Its description; that of the source otherwise. What is written here is there from the
    /// first instant, so that the clone can be told from another's.
    pub description: Option<String>,
    /// Its pool.
    pub pool: Option<PoolName>,
    /// The snapshot to clone; the only way while the source runs.
    pub snapshot: Option<SnapshotName>,
    /// Another node for the clone; needs shared storage.
    pub target: Option<NodeName>,
}

/// How the disk of a clone is made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CloneDisk {
    /// A copy, on this storage or on that of the source.
    Full(Option<StorageName>),
    /// What changes against the template. Only of templates, and not on every storage.
    Linked,
}

/// A new container from an archive.
#[derive(Clone, Debug)]
pub struct CreateRequest {
    /// Its number.
    pub vmid: VmId,
    /// The archive, as `local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst`.
    pub archive: VolumeId,
    /// Storage of its disk.
    pub storage: StorageName,
    /// Size of its disk in GiB.
    pub disk_gib: u32,
    /// Whether its root is not the node's root.
    pub unprivileged: bool,
    /// Public keys that may log in as root, one on a line.
    pub ssh_public_keys: Option<String>,
    /// Password of root.
    pub password: Option<SecretString>,
    /// Its pool.
    pub pool: Option<PoolName>,
    /// Everything else.
    pub configuration: Change,
}

/// What is removed with a container.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DeleteRequest {
    /// Also while it runs.
    pub force: bool,
    /// From backup jobs, replication and high availability as well.
    pub purge: bool,
    /// Also disks that its configuration does not name, as those of a clone that was interrupted.
    pub unreferenced_disks: bool,
}

impl Client {
    /// Clones a container. The source is locked until the task ends, so a second clone of it
    /// fails. The task is named after the source. Everything is copied: tags, features, devices
    /// and protection as well; only hardware addresses are new.
    pub async fn clone_container(
        &self,
        node: &NodeName,
        source: VmId,
        request: &CloneRequest,
    ) -> Result<Upid, Error> {
        // Without `full`, a template is cloned linked.
        let (full, storage) = match &request.disk {
            CloneDisk::Full(storage) => (true, storage.as_ref()),
            CloneDisk::Linked => (false, None),
        };
        let parameters = Parameters::default()
            .text("newid", request.new_id)
            .flag("full", full)
            .optional("storage", storage)
            .optional("hostname", request.hostname.as_ref())
            .optional("description", request.description.as_ref())
            .optional("pool", request.pool.as_ref())
            .optional("snapname", request.snapshot.as_ref())
            .optional("target", request.target.as_ref());
        let path = ["nodes", node.as_str(), "lxc", &source.to_string(), "clone"];
        self.transport.call(Call::post(&path).with(parameters).at(node, Some(source))).await
    }

    /// Creates a container from an archive. Does not start it.
    pub async fn create_container(&self, node: &NodeName, request: &CreateRequest) -> Result<Upid, Error> {
        let call = Call::post(&["nodes", node.as_str(), "lxc"]).at(node, Some(request.vmid));
        let keys = request.configuration.keys().map_err(|words| call.unsendable(words))?;
        let password = request.password.as_ref().map(|password| password.expose_secret());
        let parameters = Parameters::default()
            .text("vmid", request.vmid)
            .text("ostemplate", &request.archive)
            .text("rootfs", format!("{}:{}", request.storage, request.disk_gib))
            .flag("unprivileged", request.unprivileged)
            .optional("ssh-public-keys", request.ssh_public_keys.as_ref())
            .optional("password", password)
            .optional("pool", request.pool.as_ref())
            .all(keys.set);
        self.transport.call(call.with(parameters)).await
    }

    /// Makes a container a template. There is no task to look at: it is done when the
    /// configuration says `template`.
    pub async fn make_template(&self, node: &NodeName, vmid: VmId) -> Result<(), Error> {
        let path = ["nodes", node.as_str(), "lxc", &vmid.to_string(), "template"];
        self.transport.call(Call::post(&path).at(node, Some(vmid))).await
    }

    /// Deletes a container with its disks. Its number can be taken by another at once.
    pub async fn delete_container(
        &self,
        node: &NodeName,
        vmid: VmId,
        request: DeleteRequest,
    ) -> Result<Upid, Error> {
        let parameters = Parameters::default()
            .flag("force", request.force)
            .flag("purge", request.purge)
            .flag("destroy-unreferenced-disks", request.unreferenced_disks);
        let call = Call::delete(&["nodes", node.as_str(), "lxc", &vmid.to_string()]);
        self.transport.call(call.with(parameters).at(node, Some(vmid))).await
    }
}
