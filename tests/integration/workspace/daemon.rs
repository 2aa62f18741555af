//! The Docker daemon hangs, or goes away between two of its own steps.

use std::time::{Duration, Instant};

use berth::api::Workspace;
use rstest::rstest;
use serde_json::json;

use super::creations::Creations;
use crate::{
    docker_backend::proxy::{Place, Proxy},
    support::{Docker, Namespace, Operator, Settings, control_plane, git_server, objects::*},
};

const SOCKET: &str = "/var/run/docker.sock";
/// From the daemon's return to Ready.
const RECOVERY: Duration = Duration::from_secs(15);

/// An operator whose way to the daemon can be cut.
struct World {
    // Ends before its things are cleared, or it would make them anew.
    operator: Operator,
    namespace: Namespace,
    docker: Docker,
    creations: Creations,
    proxy: Proxy,
    _folder: tempfile::TempDir,
}

#[derive(Clone, Copy)]
enum Outage {
    /// Connections are refused.
    Down,
    /// Connections are taken, and nothing is answered.
    Hangs,
}

impl World {
    async fn new() -> Self {
        let namespace = control_plane().await.namespace("daemon").await;
        let folder = tempfile::tempdir().expect("no temporary folder");
        let socket = folder.path().join("docker.sock");
        let proxy = Proxy::start(Place::Socket(socket.clone()), Place::Socket(SOCKET.into())).await;
        let mut settings = Settings::docker(control_plane().await.kubeconfig(), &namespace.name);
        let endpoint = format!("unix://{}", socket.display());
        settings.config["backends"][0]["docker"]["hosts"][0]["endpoint"] = endpoint.into();
        let creations = Creations::of(&settings.instance);
        let docker = Docker::of(&settings.instance);
        let operator = Operator::start(settings).await;
        template(&namespace).await;
        Self { namespace, docker, creations, proxy, operator, _folder: folder }
    }

    async fn workspace(&self) {
        let repository = git_server().await.public("sample");
        workspace(&self.namespace, "one", json!({"repository": {"url": repository}})).await;
    }

    async fn cut(&mut self, outage: Outage) {
        match outage {
            Outage::Down => self.proxy.stop().await,
            Outage::Hangs => self.proxy.block(true),
        }
    }

    async fn mend(&mut self, outage: Outage) {
        match outage {
            Outage::Down => self.proxy.resume().await,
            Outage::Hangs => self.proxy.block(false),
        }
    }

    async fn says_unreachable(&self) -> Workspace {
        let seen = broken(&self.namespace, "one", "BackendUnreachable").await;
        let backend = condition(&seen, "BackendReady");
        assert!(backend.starts_with("False BackendUnreachable: "), "{}", describe(&seen));
        seen
    }

    /// The one workspace has the one container that was ever made.
    async fn assert_one_body(&self) {
        let made = ready(&self.namespace, "one").await;
        assert_eq!(condition(&made, "BackendReady"), "True Reachable: ");
        let status = made.status.clone().unwrap_or_default();
        assert_eq!(status.phase.as_deref(), Some("Running"), "{}", describe(&made));
        let id = status.id.expect("it has an id");
        let container = format!("berth-{}.one-{id}-1", self.namespace.name);
        assert_eq!(self.creations.containers().await, std::slice::from_ref(&container));
        assert_eq!(self.docker.containers(), std::slice::from_ref(&container));
        assert_eq!(self.docker.networks(), [format!("berth-{id}")]);
        assert_eq!(self.docker.volumes().len(), 2);
        assert_eq!(
            self.docker.exec(&container, "dev", "cd /workspace; cat app.py; git reflog | wc -l"),
            "print('hello')\n1"
        );
    }

    async fn end(self) {
        delete(&self.namespace, "one").await;
        gone(&self.namespace, "one").await;
        assert_eq!(self.docker.everything(), Vec::<String>::new());
        self.namespace.delete().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hang_is_said_and_over_when_the_daemon_answers_again() {
    let outage = Outage::Hangs;
    let mut world = World::new().await;
    world.workspace().await;
    ready(&world.namespace, "one").await;
    let container = world.docker.containers().join(" ");
    let state = "{{.Id}} {{.State.StartedAt}} {{.State.Running}}";
    let before = world.docker.inspect(&container, state);

    world.cut(outage).await;
    let seen = world.says_unreachable().await;
    assert_eq!(seen.status.unwrap_or_default().phase.as_deref(), Some("Degraded"));
    let (code, _) = world.operator.get("/healthz").await;
    assert_eq!(code, 200, "an outage of a backend is no reason to restart the operator");

    let back = Instant::now();
    world.mend(outage).await;
    ready(&world.namespace, "one").await;
    assert!(back.elapsed() < RECOVERY, "it took {:?}", back.elapsed());
    assert_eq!(world.docker.inspect(&container, state), before);
    world.assert_one_body().await;
    world.end().await;
}

#[rstest]
#[case::hanging_when_announced(Outage::Hangs, "CreatingContainer")]
#[case::down_when_made(Outage::Down, "create")]
#[case::hanging_when_made(Outage::Hangs, "create")]
#[case::down_when_started(Outage::Down, "start")]
#[case::hanging_when_started(Outage::Hangs, "start")]
#[case::down_in_a_command(Outage::Down, "exec_start")]
#[case::hanging_in_a_command(Outage::Hangs, "exec_start")]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_under_way_in_an_outage_goes_on_after_it(
    #[case] outage: Outage,
    #[case] when: &'static str,
) {
    let mut world = World::new().await;
    let announced =
        moment(&world.namespace, "one", |workspace| step_of(workspace) == Some("CreatingContainer")).await;
    world.workspace().await;
    match when {
        "CreatingContainer" => announced.await,
        action => world.creations.happened(action, 1).await,
    }
    world.cut(outage).await;
    world.says_unreachable().await;

    let back = Instant::now();
    world.mend(outage).await;
    ready(&world.namespace, "one").await;
    assert!(back.elapsed() < RECOVERY, "it took {:?}", back.elapsed());
    world.assert_one_body().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_makes_no_second_container() {
    let world = World::new().await;
    world.proxy.lose_next_creation();
    world.workspace().await;
    world.assert_one_body().await;
    assert!(world.operator.log().contains("blocked"), "the answer was not lost");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_while_the_daemon_hangs_ends_after_it() {
    let outage = Outage::Hangs;
    let mut world = World::new().await;
    world.workspace().await;
    ready(&world.namespace, "one").await;
    world.cut(outage).await;
    delete(&world.namespace, "one").await;
    let waits = until(&world.namespace, "one", "said to wait for the backend", |workspace| {
        condition(workspace, "BackendReady").starts_with("False BackendUnreachable: ")
    })
    .await;
    assert_eq!(waits.status.unwrap_or_default().phase.as_deref(), Some("Terminating"));
    assert_eq!(world.docker.containers().len(), 1);

    let back = Instant::now();
    world.mend(outage).await;
    gone(&world.namespace, "one").await;
    assert!(back.elapsed() < RECOVERY, "it took {:?}", back.elapsed());
    assert_eq!(world.docker.everything(), Vec::<String>::new());
    world.namespace.delete().await;
}
