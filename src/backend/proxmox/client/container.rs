//! One container: its state, its configuration, its disk, its power.

use std::{fmt, time::Duration};

use serde::Deserialize;

use super::{
    Cause, Change, Client, Configuration, ContainerStatus, Digest, Error, GuestInterface, NodeName, Upid,
    VmId,
    call::{Call, Parameters},
    wire,
};

/// Which state of a configuration is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum View {
    /// As it is in force.
    Current,
    /// As it will be after the next start.
    Pending,
}

/// A key whose value is not in force yet, or that is in force and stays.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct PendingKey {
    /// The key.
    pub key: String,
    /// Its value in force.
    #[serde(default, deserialize_with = "wire::optional_text")]
    pub value: Option<String>,
    /// Its value after the next start.
    #[serde(default, deserialize_with = "wire::optional_text")]
    pub pending: Option<String>,
    /// Whether it is gone after the next start.
    #[serde(default, deserialize_with = "wire::flag")]
    pub delete: bool,
}

/// What a container's storage may allow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Feature {
    /// A linked clone.
    Clone,
    /// A full clone.
    Copy,
    /// A snapshot.
    Snapshot,
}

impl Feature {
    fn as_str(self) -> &'static str {
        match self {
            Self::Clone => "clone",
            Self::Copy => "copy",
            Self::Snapshot => "snapshot",
        }
    }
}

/// A disk of a container.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Disk {
    /// The root file system.
    Rootfs,
    /// A mount point, 0 to 255.
    MountPoint(u8),
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rootfs => f.write_str("rootfs"),
            Self::MountPoint(number) => write!(f, "mp{number}"),
        }
    }
}

/// What became of a resize.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Resize {
    /// A task does it.
    Started(Upid),
    /// The disk has that size.
    AlreadyThatSize,
}

impl Client {
    /// The state of a container.
    pub async fn container_status(&self, node: &NodeName, vmid: VmId) -> Result<ContainerStatus, Error> {
        self.transport.call(get(node, vmid, &["status", "current"]).at(node, None)).await
    }

    /// The configuration of a container.
    pub async fn configuration(
        &self,
        node: &NodeName,
        vmid: VmId,
        view: View,
    ) -> Result<Configuration, Error> {
        let parameters = Parameters::default().flag("current", view == View::Current);
        self.transport.call(get(node, vmid, &["config"]).with(parameters)).await
    }

    /// Changes the configuration of a container, if it still has the digest. A change of nothing
    /// asks nobody. After a failure with [`Effect::Unknown`](super::Effect::Unknown) a part of it
    /// may be in force: read it back.
    pub async fn change_configuration(
        &self,
        node: &NodeName,
        vmid: VmId,
        change: &Change,
        digest: Option<&Digest>,
    ) -> Result<(), Error> {
        let path = ["nodes", node.as_str(), "lxc", &vmid.to_string(), "config"];
        let call = Call::put(&path).at(node, Some(vmid));
        let keys = change.keys().map_err(|words| call.unsendable(words))?;
        if keys.is_empty() {
            return Ok(());
        }
        // The digest fits only the first time.
        let repeatable = digest.is_none() && change.is_repeatable();
        let call = if repeatable { call.repeatable() } else { call };
        let parameters = Parameters::default()
            .all(keys.set)
            .text("delete", keys.unset.join(","))
            .optional("digest", digest.map(Digest::as_str));
        self.transport.call(call.with(parameters)).await
    }

    /// The keys of a configuration with what waits for the next start.
    pub async fn pending(&self, node: &NodeName, vmid: VmId) -> Result<Vec<PendingKey>, Error> {
        self.transport.call(get(node, vmid, &["pending"])).await
    }

    /// Whether the container's storage allows something.
    pub async fn has_feature(&self, node: &NodeName, vmid: VmId, feature: Feature) -> Result<bool, Error> {
        let parameters = Parameters::default().text("feature", feature.as_str());
        let answer: HasFeature =
            self.transport.call(get(node, vmid, &["feature"]).with(parameters).at(node, None)).await?;
        Ok(answer.has_feature)
    }

    /// Lets a disk grow to a size in MiB. Disks do not shrink. The task ends well even when the
    /// file system did not grow: see [`TaskLog`](super::TaskLog). Offline it may take half a
    /// minute.
    pub async fn resize(
        &self,
        node: &NodeName,
        vmid: VmId,
        disk: Disk,
        size_mib: u64,
        digest: Option<&Digest>,
    ) -> Result<Resize, Error> {
        // A number without a unit would be bytes.
        let size = if size_mib.is_multiple_of(1024) {
            format!("{}G", size_mib / 1024)
        } else {
            format!("{size_mib}M")
        };
        let parameters = Parameters::default()
            .text("disk", disk)
            .text("size", size)
            .optional("digest", digest.map(Digest::as_str));
        let path = ["nodes", node.as_str(), "lxc", &vmid.to_string(), "resize"];
        let call = Call::put(&path).with(parameters).at(node, Some(vmid));
        match self.transport.call(call).await {
            Ok(task) => Ok(Resize::Started(task)),
            Err(error) if error.cause() == Some(&Cause::AlreadyThatSize) => Ok(Resize::AlreadyThatSize),
            Err(error) => Err(error),
        }
    }

    /// The interfaces inside a running container. Nothing when it is stopped, and when it is not
    /// there.
    pub async fn interfaces(
        &self,
        node: &NodeName,
        vmid: VmId,
    ) -> Result<Option<Vec<GuestInterface>>, Error> {
        self.transport.call(get(node, vmid, &["interfaces"]).at(node, None)).await
    }

    /// Starts a container. Locks, templates and missing containers fail in the task.
    pub async fn start(&self, node: &NodeName, vmid: VmId) -> Result<Upid, Error> {
        self.power(node, vmid, "start", Parameters::default()).await
    }

    /// Stops a container at once. A shutdown that goes on keeps its lock, and the task fails
    /// after 10 s, unless it is overruled.
    pub async fn stop(&self, node: &NodeName, vmid: VmId, overrule_shutdown: bool) -> Result<Upid, Error> {
        let parameters = Parameters::default();
        let parameters = match overrule_shutdown {
            true => parameters.flag("overrule-shutdown", true),
            // Left out: older releases do not know it.
            false => parameters,
        };
        self.power(node, vmid, "stop", parameters).await
    }

    /// Asks a container to shut down, within whole seconds; then the task fails, or the container
    /// is stopped by force.
    pub async fn shutdown(
        &self,
        node: &NodeName,
        vmid: VmId,
        grace: Duration,
        force: bool,
    ) -> Result<Upid, Error> {
        let parameters = Parameters::default().text("timeout", grace.as_secs()).flag("forceStop", force);
        self.power(node, vmid, "shutdown", parameters).await
    }

    /// Shuts a container down and starts it. One that is locked is left stopped.
    pub async fn reboot(&self, node: &NodeName, vmid: VmId, grace: Duration) -> Result<Upid, Error> {
        self.power(node, vmid, "reboot", Parameters::default().text("timeout", grace.as_secs())).await
    }

    async fn power(
        &self,
        node: &NodeName,
        vmid: VmId,
        action: &str,
        parameters: Parameters,
    ) -> Result<Upid, Error> {
        let path = ["nodes", node.as_str(), "lxc", &vmid.to_string(), "status", action];
        self.transport.call(Call::post(&path).with(parameters).at(node, Some(vmid))).await
    }
}

fn get(node: &NodeName, vmid: VmId, what: &[&str]) -> Call {
    let vmid = vmid.to_string();
    let path = ["nodes", node.as_str(), "lxc", &vmid].into_iter().chain(what.iter().copied());
    Call::get(&path.collect::<Vec<_>>())
}

#[derive(Deserialize)]
struct HasFeature {
    #[serde(default, rename = "hasFeature", deserialize_with = "wire::flag")]
    has_feature: bool,
}
