//! DevServers as the API server shows them, and what the leader wants of the agents for them. The
//! leader is the real one, in this process, so that a test can be the agent.

mod life;
mod order;
mod previews;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use berth::{
    api::{DevServer, Workspace},
    backend::{Backends, BodyId, InstanceId, memory::MemoryBackend, memory::MemoryWorld},
    config::{Config, MemoryBackend as MemoryConfig},
    controller::{
        agents::{Link, Wanted},
        context::Context,
        leader::{self, Resources},
    },
    metrics::Metrics,
};
use berth_link::wire::{
    AgentInfo, PROTOCOL,
    process::{ProcessPhase, ProcessSpec, ProcessState, Processes},
};
use jiff::Timestamp;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::support::{
    Namespace, control_plane, eventually,
    objects::{Seen, ready, template, workspace},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A namespace, and what exists beside it.
struct World {
    namespace: Namespace,
    hosts: Arc<MemoryWorld>,
    preview: Value,
}

impl World {
    /// An empty one whose leader publishes previews below `preview.test`.
    async fn new() -> Self {
        Self {
            namespace: control_plane().await.namespace("dev").await,
            hosts: MemoryWorld::new(&["one".to_owned()]),
            preview: json!({"domain": "preview.test"}),
        }
    }

    /// Starts a leader, which ends when it is dropped, and waits until it leads.
    async fn lead(&self) -> Leader {
        let config: Config = serde_json::from_value(json!({
            "instance": "dev",
            "namespace": self.namespace.name,
            "watchNamespaces": [self.namespace.name],
            "backends": [{"name": "memory", "memory": {"hosts": ["one"]}}],
            "controller": {"resync": "1m"},
            "preview": self.preview,
        }))
        .unwrap();
        let hosts = Arc::clone(&self.hosts);
        let backend = MemoryBackend::on(hosts, &MemoryConfig::default(), InstanceId("dev".into()));
        let leadership = watch::Sender::new(None);
        let mut leads = leadership.subscribe();
        let resources = Resources {
            delivery: None,
            gateway: None,
            leadership,
            address: None,
            client: self.namespace.client.clone(),
            config: Arc::new(config),
            backends: Backends::from([("memory".to_owned(), backend as _)]),
            ca_bundles: BTreeMap::new(),
            metrics: Arc::new(Metrics::new().unwrap()),
            identity: "dev".to_owned(),
        };
        let work = AbortOnDropHandle::new(tokio::spawn(leader::run(resources, CancellationToken::new())));
        let context = tokio::time::timeout(PATIENCE, leads.wait_for(Option::is_some)).await;
        let context = context.expect("it does not lead in time").expect("it ended").clone().unwrap();
        Leader { context, _work: work }
    }

    /// Makes a Workspace that is Ready; gives the id of its body.
    async fn workspace(&self, name: &str) -> BodyId {
        template(&self.namespace).await;
        workspace(&self.namespace, name, json!({})).await;
        body(&ready(&self.namespace, name).await)
    }

    /// Makes a DevServer of Workspace `ws`.
    async fn devserver(&self, name: &str, spec: Value) {
        let mut whole = json!({"workspaceRef": {"name": "ws"}, "command": "npm run dev"});
        for (field, value) in spec.as_object().unwrap() {
            whole[field] = value.clone();
        }
        let made = DevServer::new(name, serde_json::from_value(whole).unwrap());
        self.api().create(&PostParams::default(), &made).await.expect("the DevServer is refused");
    }

    async fn change(&self, name: &str, change: Value) {
        let parameters = PatchParams::default();
        self.api().patch(name, &parameters, &Patch::Merge(&change)).await.expect("the patch is refused");
    }

    async fn remove(&self, name: &str) {
        self.api().delete(name, &DeleteParams::default()).await.expect("it can not be deleted");
    }

    fn api(&self) -> Api<DevServer> {
        self.namespace.api()
    }

    /// Waits until a DevServer is as the condition says.
    async fn until(&self, name: &str, what: &str, holds: impl Fn(&DevServer) -> bool) -> DevServer {
        let api = self.api();
        eventually(PATIENCE, &format!("{name} is {what}"), || async {
            let found = api.get(name).await.map_err(|error| Seen(error.to_string()))?;
            let text = serde_json::to_string_pretty(&found.status).unwrap_or_default();
            if holds(&found) { Ok(found) } else { Err(Seen(text)) }
        })
        .await
    }

    /// Waits until Ready begins like this: `True Running`.
    async fn until_ready_is(&self, name: &str, word: &str) -> DevServer {
        self.until(name, word, |found| condition(found, "Ready").starts_with(word)).await
    }
}

/// A leader at work.
struct Leader {
    context: Arc<Context>,
    _work: AbortOnDropHandle<()>,
}

impl Leader {
    /// Waits until what is wanted of the agents is as the condition says.
    async fn until_wanted(&self, what: &str, holds: impl Fn(&Wanted) -> bool) -> Wanted {
        let mut wanted = self.context.agents.wanted();
        let found = tokio::time::timeout(PATIENCE, wanted.wait_for(holds)).await;
        let seen = || format!("{what}; wanted is {:#?}", self.context.agents.wanted().borrow());
        found.unwrap_or_else(|_| panic!("{}", seen())).expect("the leader ended").clone()
    }

    /// Waits until just these processes are wanted of a body.
    async fn until_processes_are(&self, id: BodyId, names: &[&str]) -> Vec<ProcessSpec> {
        let of = |wanted: &Wanted| wanted.processes.get(&id).map(|all| all.processes.clone());
        let wanted = self
            .until_wanted(&format!("the processes are {names:?}"), |wanted| {
                let found =
                    of(wanted).map(|all| all.iter().map(|one| one.id.to_string()).collect::<Vec<_>>());
                found.as_deref().is_some_and(|found| found == names)
            })
            .await;
        of(&wanted).unwrap()
    }

    /// The agent of a body has a link, and tells how its processes are.
    fn tells(&self, id: BodyId, processes: Vec<ProcessState>) {
        let link = Link {
            agent: AgentInfo {
                version: "1".into(),
                protocol: PROTOCOL,
                supervisor_version: None,
                build: None,
                failed_update: None,
                boot_id: "1".into(),
                started_at: Timestamp::now(),
                user: "dev".into(),
            },
            gateway: "test".into(),
            since: Timestamp::now(),
        };
        self.context.agents.linked(id, link, "");
        self.context.agents.note(id, |agent| agent.processes = Some(Arc::new(Processes { processes })));
        self.context.triggers.agent(id);
    }

    /// The link of an agent broke so long ago.
    fn lost(&self, id: BodyId, ago: Duration) {
        assert!(self.context.agents.lost(id, "test"));
        self.context.agents.note(id, |agent| agent.lost_at = Instant::now().checked_sub(ago));
        self.context.triggers.agent(id);
    }
}

/// A process that is in this phase, with its port open while it runs.
fn state(name: &str, phase: ProcessPhase) -> ProcessState {
    ProcessState {
        id: name.parse().unwrap(),
        phase,
        reason: None,
        message: None,
        pid: (phase == ProcessPhase::Running).then_some(42),
        restart_count: 0,
        started_at: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        stopped_at: None,
        next_start_at: None,
        last_exit: None,
        port_open: phase == ProcessPhase::Running,
        healthy: phase == ProcessPhase::Running,
        error_count: 0,
        last_error: None,
        last_output: None,
        restart_nonce: String::new(),
    }
}

fn running(name: &str) -> ProcessState {
    state(name, ProcessPhase::Running)
}

fn body(workspace: &Workspace) -> BodyId {
    workspace.status.as_ref().unwrap().id.as_ref().unwrap().parse().unwrap()
}

/// A condition as `Status Reason: message`; empty when it is absent.
fn condition(devserver: &DevServer, type_: &str) -> String {
    let conditions = devserver.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let found = conditions.iter().find(|condition| condition.type_ == type_);
    found.map(|one| format!("{} {}: {}", one.status, one.reason, one.message)).unwrap_or_default()
}

fn phase(devserver: &DevServer) -> &str {
    devserver.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn host(devserver: &DevServer) -> Option<String> {
    devserver.status.as_ref()?.preview.as_ref()?.host.clone()
}

/// Whether the status is about the present spec.
fn is_observed(devserver: &DevServer) -> bool {
    let observed = devserver.status.as_ref().and_then(|status| status.observed_generation);
    observed == devserver.metadata.generation
}
