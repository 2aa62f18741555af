//! Storages of a node, and the archives that containers are made from.

use serde::{Deserialize, Deserializer};

use super::{
    Client, Error, NodeName, StorageName, Upid, VmId,
    call::{Call, Parameters},
    wire,
};

/// What a storage can hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Content {
    /// Disks of containers.
    ContainerDisks,
    /// Archives that containers are made from.
    Archives,
}

impl Content {
    fn as_str(self) -> &'static str {
        match self {
            Self::ContainerDisks => "rootdir",
            Self::Archives => "vztmpl",
        }
    }
}

/// A storage as a node sees it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Storage {
    /// Its name.
    #[serde(rename = "storage")]
    pub name: StorageName,
    /// Its kind, as `lvmthin`.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// What it holds, as `rootdir`.
    #[serde(default, deserialize_with = "contents")]
    pub content: Vec<String>,
    /// Whether it can be used now.
    #[serde(default, deserialize_with = "wire::flag")]
    pub active: bool,
    /// Whether it is meant to be used.
    #[serde(default, deserialize_with = "wire::flag")]
    pub enabled: bool,
    /// Whether all nodes see the same.
    #[serde(default, deserialize_with = "wire::flag")]
    pub shared: bool,
    /// Its size in bytes.
    #[serde(default, deserialize_with = "wire::optional_number")]
    pub total: Option<u64>,
    /// Free bytes.
    #[serde(default, rename = "avail", deserialize_with = "wire::optional_number")]
    pub available: Option<u64>,
}

/// Something on a storage.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct StoredVolume {
    /// Its id, as `local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst`. A disk image may have
    /// any name.
    pub volid: String,
    /// Its size in bytes.
    #[serde(default, deserialize_with = "wire::optional_number")]
    pub size: Option<u64>,
    /// The container that it belongs to.
    #[serde(default, deserialize_with = "wire::optional_number")]
    pub vmid: Option<VmId>,
}

/// An archive that a node can download.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Appliance {
    /// Name of its file, as `debian-12-standard_12.7-1_amd64.tar.zst`.
    pub template: String,
    /// Its name without version, as `debian-12-standard`.
    #[serde(default)]
    pub package: String,
    /// Its version.
    #[serde(default, deserialize_with = "wire::optional_text")]
    pub version: Option<String>,
    /// The system inside, as `debian-12`.
    #[serde(default)]
    pub os: String,
}

impl Client {
    /// The storages of a node that hold something and that the token may see.
    pub async fn storages(&self, node: &NodeName, content: Option<Content>) -> Result<Vec<Storage>, Error> {
        let parameters = Parameters::default().optional("content", content.map(Content::as_str));
        let call = Call::get(&["nodes", node.as_str(), "storage"]);
        self.transport.call(call.with(parameters).at(node, None)).await
    }

    /// What is on a storage.
    pub async fn stored_volumes(
        &self,
        node: &NodeName,
        storage: &StorageName,
        content: Content,
    ) -> Result<Vec<StoredVolume>, Error> {
        let path = ["nodes", node.as_str(), "storage", storage.as_str(), "content"];
        let parameters = Parameters::default().text("content", content.as_str());
        self.transport.call(Call::get(&path).with(parameters).at(node, None)).await
    }

    /// The archives that a node can download.
    pub async fn appliances(&self, node: &NodeName) -> Result<Vec<Appliance>, Error> {
        self.transport.call(Call::get(&["nodes", node.as_str(), "aplinfo"]).at(node, None)).await
    }

    /// Downloads an archive to a storage.
    pub async fn download_appliance(
        &self,
        node: &NodeName,
        storage: &StorageName,
        appliance: &Appliance,
    ) -> Result<Upid, Error> {
        let parameters = Parameters::default().text("storage", storage).text("template", &appliance.template);
        let call = Call::post(&["nodes", node.as_str(), "aplinfo"]);
        self.transport.call(call.with(parameters).at(node, None)).await
    }
}

fn contents<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let text = wire::optional_text(deserializer)?.unwrap_or_default();
    let contents = text.split(',').map(str::trim).filter(|content| !content.is_empty());
    Ok(contents.map(str::to_owned).collect())
}
