//! Hosts in memory, with the operator's work inside this process.
//!
//! There is nothing inside these containers, so nothing is said of what is in them; and where an
//! operator is killed, its work is dropped wherever it happens to be.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use berth::{
    api::Workspace,
    backend::{
        Backends, BodyId, Container, InstanceId, Owner, RunState,
        memory::{MemoryBackend, MemoryWorld},
    },
    config::{Config, GoDuration, MemoryBackend as MemoryConfig},
    controller::leader::{self, Resources},
    metrics::Metrics,
};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::stage::{Stage, container_name, lay_over};
use crate::support::{Namespace, Settings, control_plane, objects::*};

const HOST: &str = "memory";
/// How long a call takes at least: long enough for a step to be seen.
const DELAY: Duration = Duration::from_millis(20);

/// Hosts in memory.
pub struct MemoryStage {
    world: Arc<MemoryWorld>,
    namespace: Namespace,
    config: Arc<Config>,
    instance: InstanceId,
    leader: Option<AbortOnDropHandle<()>>,
}

impl MemoryStage {
    fn lead(&mut self) {
        let delays = MemoryConfig { delay: GoDuration(DELAY), ..MemoryConfig::default() };
        let backend = MemoryBackend::on(Arc::clone(&self.world), &delays, self.instance.clone());
        let resources = Resources {
            delivery: None,
            gateway: None,
            leadership: tokio::sync::watch::Sender::new(None),
            address: None,
            client: self.namespace.client.clone(),
            config: Arc::clone(&self.config),
            backends: Backends::from([(HOST.to_owned(), backend as _)]),
            ca_bundles: BTreeMap::new(),
            metrics: Arc::new(Metrics::new().expect("no metrics")),
            identity: "lifecycle".to_owned(),
        };
        let work = leader::run(resources, CancellationToken::new());
        self.leader = Some(AbortOnDropHandle::new(tokio::spawn(work)));
    }

    fn container(&self, workspace: &Workspace) -> Container {
        self.world.newest_container(body(workspace)).expect("it has a container")
    }
}

fn body(workspace: &Workspace) -> BodyId {
    id_of(workspace).expect("it has an id").parse().expect("the id is none")
}

impl Stage for MemoryStage {
    async fn open(prefix: &str, settings: Value) -> Self {
        let plane = control_plane().await;
        let namespace = plane.namespace(prefix).await;
        let backends = json!([{"name": HOST, "tenantsMaySet": ["docker.host"], "memory": {"hosts": [HOST]}}]);
        let mut told = Settings::new(plane.kubeconfig(), &namespace.name, backends);
        lay_over(&mut told.config, settings);
        let mut stage = Self {
            world: MemoryWorld::new(&[HOST.to_owned()]),
            namespace,
            config: Arc::new(serde_json::from_value(told.config).expect("it is no configuration")),
            instance: InstanceId(told.instance),
            leader: None,
        };
        stage.lead();
        template_with(&stage.namespace, "base", Self::template()).await;
        stage
    }

    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    async fn repository() -> String {
        "https://git.example.com/sample.git".to_owned()
    }

    async fn kill(&mut self) {
        if let Some(leader) = self.leader.take() {
            leader.abort();
            let _ = leader.await;
        }
    }

    async fn restart(&mut self) {
        self.lead();
    }

    async fn cut(&mut self) {
        self.world.set_host_down(HOST, true);
    }

    async fn mend(&mut self) {
        self.world.set_host_down(HOST, false);
    }

    fn everything(&self) -> Vec<String> {
        let name = |item: String| item.split_whitespace().last().unwrap_or_default().to_owned();
        let mut names: Vec<String> = self.world.items().into_iter().map(name).collect();
        names.sort();
        names
    }

    fn retained(&self, workspace: &Workspace) -> Vec<String> {
        let id = body(workspace);
        ["cache", "workspace"].map(|volume| format!("berth-{id}-{volume}")).to_vec()
    }

    async fn ever_made(&self) -> usize {
        assert_eq!(self.world.duplicates(), Vec::<String>::new());
        self.world.containers_ever_made().try_into().expect("it is a small number")
    }

    fn boot(&self, workspace: &Workspace) -> String {
        let container = self.container(workspace);
        format!("{} {:?} {:?}", container.id, container.started_at, container.state)
    }

    fn is_running(&self, workspace: &Workspace) -> bool {
        self.container(workspace).state == RunState::Running
    }

    fn assert_body(&self, workspace: &Workspace) {
        let mut expected = self.retained(workspace);
        expected.extend([container_name(workspace), format!("berth-{}", body(workspace))]);
        expected.sort();
        assert_eq!(self.everything(), expected);
    }

    fn assert_inside(&self, workspace: &Workspace) {
        assert!(self.is_running(workspace));
    }

    fn leave_work(&self, _workspace: &Workspace) {}

    fn assert_work_is_kept(&self, workspace: &Workspace) {
        assert!(self.is_running(workspace));
    }

    fn end_container(&self, workspace: &Workspace) {
        self.world.end_containers(body(workspace));
    }

    fn restart_container(&self, workspace: &Workspace) {
        self.world.restart_containers(body(workspace));
    }

    fn steal_container(&self, workspace: &Workspace) {
        self.world.lose_container(body(workspace));
    }

    fn occupy(&self, workspace: &Workspace) {
        let owner = Owner { namespace: "other".into(), name: "one".into(), uid: "other".into() };
        self.world.occupy(HOST, body(workspace), InstanceId("other".into()), owner);
    }

    fn vacate(&self, workspace: &Workspace) {
        // Its volumes, and nothing of ours beside them.
        assert_eq!(self.everything(), self.retained(workspace));
        self.world.lose_body(body(workspace));
    }
}
