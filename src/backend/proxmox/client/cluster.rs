//! The cluster: its release, its nodes, its guests, and what the token may do.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::{
    Cause, Client, ClusterGuest, ContainerStatus, Error, InterfaceName, NodeName, PoolName, VmId,
    call::{Call, Parameters},
    wire,
};

/// The release of Proxmox VE.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Version {
    /// As `9.2.11`.
    pub version: String,
    /// As `9.2`.
    #[serde(default)]
    pub release: String,
}

/// A node. Its load is only seen with `Sys.Audit`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct NodeStatus {
    /// Its name.
    pub node: NodeName,
    /// Whether it is there.
    #[serde(rename = "status", deserialize_with = "online")]
    pub online: bool,
    /// Share of its processors that is in use, 0 to 1.
    #[serde(default, deserialize_with = "wire::optional_number")]
    pub cpu: Option<f64>,
    /// Its processors.
    #[serde(default, rename = "maxcpu", deserialize_with = "wire::optional_number")]
    pub cpus: Option<u32>,
    /// Memory in use, in bytes.
    #[serde(default, rename = "mem", deserialize_with = "wire::optional_number")]
    pub memory_used: Option<u64>,
    /// Its memory in bytes.
    #[serde(default, rename = "maxmem", deserialize_with = "wire::optional_number")]
    pub memory: Option<u64>,
}

/// A resource pool.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pool {
    /// The numbers of its containers and virtual machines.
    pub guests: BTreeSet<VmId>,
    /// The names of its storages.
    pub storages: BTreeSet<String>,
}

/// What the token may do, path by path.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Permissions(BTreeMap<String, BTreeSet<String>>);

impl Permissions {
    /// Whether a privilege, as `VM.Audit`, is granted on exactly this path.
    pub fn allows(&self, path: &str, privilege: &str) -> bool {
        self.0.get(path).is_some_and(|privileges| privileges.contains(privilege))
    }
}

impl FromIterator<Self> for Permissions {
    /// What several answers tell of several paths.
    fn from_iter<Answers: IntoIterator<Item = Self>>(answers: Answers) -> Self {
        Self(answers.into_iter().flat_map(|answer| answer.0).collect())
    }
}

impl FromIterator<(String, BTreeSet<String>)> for Permissions {
    fn from_iter<Granted: IntoIterator<Item = (String, BTreeSet<String>)>>(granted: Granted) -> Self {
        Self(granted.into_iter().collect())
    }
}

impl Client {
    /// The release.
    pub async fn version(&self) -> Result<Version, Error> {
        self.transport.call(Call::get(&["version"])).await
    }

    /// The lowest free number in the cluster's range. Reserves nothing.
    pub async fn next_id(&self) -> Result<VmId, Error> {
        self.transport.call(Call::get(&["cluster", "nextid"])).await
    }

    /// Whether a number is free. Reserves nothing.
    pub async fn is_free(&self, vmid: VmId) -> Result<bool, Error> {
        let call = Call::get(&["cluster", "nextid"]).with(Parameters::default().text("vmid", vmid));
        match self.transport.call::<VmId>(call).await {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.cause(), Some(Cause::AlreadyExists(_))) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All containers and virtual machines that the token may see.
    pub async fn guests(&self) -> Result<Vec<ClusterGuest>, Error> {
        let call = Call::get(&["cluster", "resources"]).with(Parameters::default().text("type", "vm"));
        self.transport.call(call).await
    }

    /// The nodes.
    pub async fn nodes(&self) -> Result<Vec<NodeStatus>, Error> {
        self.transport.call(Call::get(&["nodes"])).await
    }

    /// The bridges of a node that the token may use, virtual networks among them.
    pub async fn bridges(&self, node: &NodeName) -> Result<BTreeSet<InterfaceName>, Error> {
        let parameters = Parameters::default().text("type", "any_bridge");
        let call = Call::get(&["nodes", node.as_str(), "network"]).with(parameters);
        let listed: Vec<SentInterface> = self.transport.call(call).await?;
        // A name that no container could be given is of no use.
        Ok(listed.into_iter().filter_map(|sent| sent.iface.parse().ok()).collect())
    }

    /// The containers on a node that the token may see.
    pub async fn containers(&self, node: &NodeName) -> Result<Vec<ContainerStatus>, Error> {
        self.transport.call(Call::get(&["nodes", node.as_str(), "lxc"]).at(node, None)).await
    }

    /// A pool, if there is one of this name that the token may see.
    pub async fn pool(&self, pool: &PoolName) -> Result<Option<Pool>, Error> {
        let call = Call::get(&["pools"]).with(Parameters::default().text("poolid", pool));
        match self.transport.call::<Vec<SentPool>>(call).await {
            Ok(pools) => Ok(pools.into_iter().next().map(Pool::from)),
            Err(error) if matches!(error.cause(), Some(Cause::Missing(super::Missing::Pool))) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the token may do: everywhere, or on one path as `/vms/105`.
    pub async fn permissions(&self, path: Option<&str>) -> Result<Permissions, Error> {
        let call = Call::get(&["access", "permissions"]).with(Parameters::default().optional("path", path));
        let granted: BTreeMap<String, BTreeMap<String, Value>> = self.transport.call(call).await?;
        // The value says whether a privilege holds below the path as well.
        Ok(granted.into_iter().map(|(path, all)| (path, all.into_keys().collect())).collect())
    }
}

fn online<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(wire::optional_text(deserializer)?.as_deref() == Some("online"))
}

#[derive(Deserialize)]
struct SentInterface {
    iface: String,
}

#[derive(Deserialize)]
struct SentPool {
    #[serde(default, deserialize_with = "wire::list")]
    members: Vec<SentMember>,
}

#[derive(Deserialize)]
struct SentMember {
    #[serde(default, deserialize_with = "wire::optional_number")]
    vmid: Option<VmId>,
    #[serde(default)]
    storage: Option<String>,
}

impl From<SentPool> for Pool {
    fn from(sent: SentPool) -> Self {
        Self {
            guests: sent.members.iter().filter_map(|member| member.vmid).collect(),
            storages: sent.members.into_iter().filter_map(|member| member.storage).collect(),
        }
    }
}
