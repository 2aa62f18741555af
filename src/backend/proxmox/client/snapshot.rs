//! Snapshots of a container.

use serde::Deserialize;

use super::{
    Client, Error, NodeName, SnapshotName, Upid, VmId,
    call::{Call, Parameters},
    wire,
};

/// A snapshot.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// Its description.
    #[serde(default, deserialize_with = "wire::optional_text")]
    pub description: Option<String>,
    /// When it was made, in seconds since 1970.
    #[serde(default, rename = "snaptime", deserialize_with = "wire::optional_number")]
    pub made: Option<u64>,
    /// The snapshot before it.
    #[serde(default, deserialize_with = "wire::optional_text")]
    pub parent: Option<String>,
}

impl Client {
    /// The snapshots of a container.
    pub async fn snapshots(&self, node: &NodeName, vmid: VmId) -> Result<Vec<Snapshot>, Error> {
        let path = ["nodes", node.as_str(), "lxc", &vmid.to_string(), "snapshot"];
        let all: Vec<Snapshot> = self.transport.call(Call::get(&path).at(node, None)).await?;
        Ok(all.into_iter().filter(|snapshot| snapshot.name != "current").collect())
    }

    /// Makes a snapshot.
    pub async fn make_snapshot(
        &self,
        node: &NodeName,
        vmid: VmId,
        name: &SnapshotName,
        description: &str,
    ) -> Result<Upid, Error> {
        let path = ["nodes", node.as_str(), "lxc", &vmid.to_string(), "snapshot"];
        let parameters = Parameters::default().text("snapname", name).text("description", description);
        self.transport.call(Call::post(&path).with(parameters).at(node, Some(vmid))).await
    }

    /// Deletes a snapshot.
    pub async fn delete_snapshot(
        &self,
        node: &NodeName,
        vmid: VmId,
        name: &SnapshotName,
    ) -> Result<Upid, Error> {
        let path = ["nodes", node.as_str(), "lxc", &vmid.to_string(), "snapshot", name.as_str()];
        self.transport.call(Call::delete(&path).at(node, Some(vmid))).await
    }

    /// Brings a container back to a snapshot. A running one is stopped, and stays so.
    pub async fn roll_back(&self, node: &NodeName, vmid: VmId, name: &SnapshotName) -> Result<Upid, Error> {
        let vmid_text = vmid.to_string();
        let path = ["nodes", node.as_str(), "lxc", &vmid_text, "snapshot", name.as_str(), "rollback"];
        self.transport.call(Call::post(&path).at(node, Some(vmid))).await
    }
}
