//! A cluster of one test, whose containers are only remembered, with an operator and a Template. A
//! Workspace on it comes as far as a running container, which has no address.

use berth::api::Workspace;
use serde_json::{Value, json};

use crate::support::{
    Namespace, Operator, Settings, control_plane, eventually,
    objects::*,
    proxmox::{CLOCK, Clock, Cluster, TEMPLATE, two_nodes},
};

pub struct Scene {
    pub cluster: Cluster,
    pub operator: Operator,
    pub namespace: Namespace,
    /// The first VMID that the operator gives out.
    pub first: u32,
}

impl Scene {
    pub async fn open() -> Self {
        Self::with(CLOCK, |_| {}).await
    }

    /// A scene where work takes its own time, with changes of the backend's configuration.
    pub async fn with(clock: Clock, change: impl FnOnce(&mut Value)) -> Self {
        let plane = control_plane().await;
        let namespace = plane.namespace("pve").await;
        let cluster = Cluster::in_memory(two_nodes(), clock).await;
        let mut backend = cluster.backend(cluster.port());
        change(&mut backend["proxmox"]);
        let first = backend["proxmox"]["vmids"]["workspaces"]["first"].as_u64().expect("a VMID");
        let settings = settings(plane.kubeconfig(), &namespace, json!([backend]));
        let operator = Operator::start(settings).await;
        template_with(&namespace, "base", json!({"proxmox": {"vmid": TEMPLATE}})).await;
        let first = u32::try_from(first).expect("a VMID");
        Self { cluster, operator, namespace, first }
    }

    /// Waits until a Workspace's container runs; gives its VMID.
    pub async fn running(&self, name: &str) -> u32 {
        let found = until(&self.namespace, name, "waiting for its address", is_running).await;
        let vmid = vmid(&found).expect("it has a VMID");
        assert!(self.cluster.simulated.runs(vmid).await, "CT {vmid} does not run");
        vmid
    }

    /// Asserts that a Workspace has exactly one container, with its id and everything that makes it
    /// whole, and that it was made once.
    pub async fn has_one_container(&self, name: &str) {
        let found = self.namespace.api::<Workspace>().get(name).await.expect("it is gone");
        let id = id_of(&found).expect("it has an id");
        let containers = self.cluster.of_instance(self.operator.instance()).await;
        let vmids: Vec<u32> = containers.keys().copied().collect();
        assert_eq!(vmids, [vmid(&found).expect("it has a VMID")], "{}", describe(&found));
        let container = containers.values().next().expect("it is there");
        assert!(container.description.contains(&format!("berth-id: {id}")), "{container:?}");
        assert!(container.tags.to_string().contains(&format!("berth-id-{id}")), "{container:?}");
        assert!(container.rootfs.is_some() && container.lock.is_none(), "{container:?}");
        assert_eq!(self.cluster.clones(), 1, "{:?}", self.cluster.tasks());
    }

    /// Removes a Workspace, and sees that nothing is left of it.
    pub async fn remove(&self, name: &str) {
        delete(&self.namespace, name).await;
        gone(&self.namespace, name).await;
        let left = self.cluster.of_instance(self.operator.instance()).await;
        assert!(left.is_empty(), "{left:?}");
        eventually(PATIENCE, "the template is not locked", || async {
            self.cluster.value(TEMPLATE, "lock").map_or(Ok(()), Err)
        })
        .await;
    }

    pub async fn close(self) {
        drop(self.operator);
        self.namespace.delete().await;
    }
}

/// Settings of an operator whose Workspaces may be without an address for as long as a test takes.
pub fn settings(kubeconfig: std::path::PathBuf, namespace: &Namespace, backends: Value) -> Settings {
    let mut settings = Settings::new(kubeconfig, &namespace.name, backends);
    settings.config["timeouts"] = json!({"ip": "10m", "stop": "1s"});
    settings
}

/// The spec of a Workspace that may have any size.
pub fn small() -> Value {
    json!({"resources": {"memory": "256Mi"}})
}

/// Whether the container runs and only an address is missing.
pub fn is_running(workspace: &Workspace) -> bool {
    let status = workspace.status.clone().unwrap_or_default();
    let state = status.container.map(|container| container.state);
    state.as_deref() == Some("Running") && step_of(workspace) == Some("ConfiguringNetwork")
}

/// The VMID that the status names.
pub fn vmid(workspace: &Workspace) -> Option<u32> {
    workspace.status.clone()?.resolved?.vmid
}
