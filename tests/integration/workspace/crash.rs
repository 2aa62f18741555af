//! The operator is killed in the middle of its work, and its successor goes on.

use berth::api::Workspace;
use futures::{StreamExt, TryStreamExt};
use kube::{
    Api, ResourceExt,
    api::{WatchEvent, WatchParams},
};
use rstest::rstest;
use serde_json::{Value, json};

use super::creations::Creations;
use crate::support::{Docker, Namespace, Operator, Settings, control_plane, git_server, objects::*};

/// How often a step may be over before the operator is dead.
const TRIES: usize = 12;

/// Waits for the moment at which a Workspace is as the condition says, from a watch.
pub(super) async fn moment<F: Fn(&Workspace) -> bool>(
    namespace: &Namespace,
    name: &str,
    holds: F,
) -> impl Future<Output = ()> + use<F> {
    let api: Api<Workspace> = namespace.api();
    let parameters = WatchParams::default().fields(&format!("metadata.name={name}"));
    let events = api.watch(&parameters, "0").await.expect("no watch").boxed();
    async move {
        let mut found = events.try_filter(|event| {
            let now =
                matches!(event, WatchEvent::Added(object) | WatchEvent::Modified(object) if holds(object));
            std::future::ready(now)
        });
        let found = tokio::time::timeout(PATIENCE, found.next()).await.expect("the moment does not come");
        found.expect("the watch ended").expect("the watch failed");
    }
}

fn step(workspace: &Workspace) -> Option<&str> {
    workspace.status.as_ref()?.step.as_deref()
}

fn phase_of(workspace: &Workspace) -> Option<&str> {
    workspace.status.as_ref()?.phase.as_deref()
}

async fn get(namespace: &Namespace, name: &str) -> Workspace {
    namespace.api::<Workspace>().get(name).await.expect("it is gone")
}

async fn spec() -> Value {
    json!({"repository": {"url": git_server().await.public("sample")}})
}

/// One container, one network, two volumes, and never a second container.
async fn assert_one_body(
    namespace: &Namespace,
    workspace: &Workspace,
    docker: &Docker,
    creations: &Creations,
) {
    let id = workspace.status.clone().unwrap_or_default().id.expect("it has an id");
    let container = format!("berth-{}.{}-{id}-1", namespace.name, workspace.name_any());
    assert_eq!(docker.containers(), [container.clone()]);
    assert_eq!(docker.networks(), [format!("berth-{id}")]);
    assert_eq!(docker.volumes().len(), 2, "{:?}", docker.volumes());
    assert_eq!(creations.containers().await, [container.clone()]);
    assert_eq!(docker.exec(&container, "dev", "cat /workspace/app.py"), "print('hello')");
}

#[rstest]
#[case::initializing("Initializing")]
#[case::creating_container("CreatingContainer")]
#[case::starting_container("StartingContainer")]
#[case::configuring_network("ConfiguringNetwork")]
#[case::cloning_repository("CloningRepository")]
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_a_step_it_goes_on_with_the_same_container(#[case] wanted: &'static str) {
    let namespace = control_plane().await.namespace("crash").await;
    template(&namespace).await;
    // Before anything is said, the only trace of the first step is the finalizer.
    let is_in = move |workspace: &Workspace| match step(workspace) {
        None => wanted == "Initializing" && !workspace.finalizers().is_empty(),
        Some(step) => step == wanted,
    };
    for _ in 0..TRIES {
        let settings = Settings::docker(control_plane().await.kubeconfig(), &namespace.name);
        let creations = Creations::of(&settings.instance);
        let docker = Docker::of(&settings.instance);
        let mut operator = Operator::start(settings).await;
        let reached = moment(&namespace, "one", is_in).await;
        workspace(&namespace, "one", spec().await).await;
        reached.await;
        operator.kill().await;
        let was_hit = is_in(&get(&namespace, "one").await);

        operator.restart().await;
        let made = ready(&namespace, "one").await;
        assert_eq!(phase_of(&made), Some("Running"), "{}", describe(&made));
        assert_one_body(&namespace, &made, &docker, &creations).await;
        delete(&namespace, "one").await;
        gone(&namespace, "one").await;
        assert_eq!(docker.everything(), Vec::<String>::new());
        if was_hit {
            namespace.delete().await;
            return;
        }
    }
    panic!("in {TRIES} tries {wanted} was always over before the operator was dead");
}

/// Between two steps: Docker has done what was asked, and nobody has written that down.
#[rstest]
#[case::container_made("create", 1)]
#[case::container_started("start", 1)]
#[case::first_command_begins("exec_start", 1)]
#[case::first_command_ends("exec_die", 1)]
#[case::a_later_command_begins("exec_start", 3)]
#[tokio::test(flavor = "multi_thread")]
async fn killed_after_a_change_on_docker_it_goes_on_with_the_same_container(
    #[case] action: &'static str,
    #[case] count: usize,
) {
    let namespace = control_plane().await.namespace("crash").await;
    template(&namespace).await;
    let settings = Settings::docker(control_plane().await.kubeconfig(), &namespace.name);
    let creations = Creations::of(&settings.instance);
    let docker = Docker::of(&settings.instance);
    let mut operator = Operator::start(settings).await;
    workspace(&namespace, "one", spec().await).await;
    creations.happened(action, count).await;
    operator.kill().await;

    operator.restart().await;
    let made = ready(&namespace, "one").await;
    assert_one_body(&namespace, &made, &docker, &creations).await;
    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    assert_eq!(docker.everything(), Vec::<String>::new());
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_suspending_it_suspends_the_same_container() {
    let namespace = control_plane().await.namespace("crash").await;
    let settings = Settings::docker(control_plane().await.kubeconfig(), &namespace.name);
    let creations = Creations::of(&settings.instance);
    let docker = Docker::of(&settings.instance);
    let mut operator = Operator::start(settings).await;
    template(&namespace).await;
    workspace(&namespace, "one", spec().await).await;
    let is_in = |workspace: &Workspace| phase_of(workspace) == Some("Suspending");
    for _ in 0..TRIES {
        let made = ready(&namespace, "one").await;
        let reached = moment(&namespace, "one", is_in).await;
        patch(&namespace, "one", json!({"spec": {"operatingMode": "Suspended"}})).await;
        reached.await;
        operator.kill().await;
        let was_hit = is_in(&get(&namespace, "one").await);

        operator.restart().await;
        let suspended = ready(&namespace, "one").await;
        assert_eq!(phase_of(&suspended), Some("Suspended"), "{}", describe(&suspended));
        let container = docker.containers().join(" ");
        assert_eq!(docker.inspect(&container, "{{.State.Running}}"), "false");
        patch(&namespace, "one", json!({"spec": {"operatingMode": "Running"}})).await;
        let resumed = ready(&namespace, "one").await;
        assert_eq!(phase_of(&resumed), Some("Running"), "{}", describe(&resumed));
        assert_eq!(resumed.status.clone().unwrap_or_default().id, made.status.unwrap_or_default().id);
        assert_one_body(&namespace, &resumed, &docker, &creations).await;
        if was_hit {
            delete(&namespace, "one").await;
            gone(&namespace, "one").await;
            namespace.delete().await;
            return;
        }
    }
    panic!("in {TRIES} tries it was always suspended before the operator was dead");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_removing_it_leaves_nothing_behind() {
    let namespace = control_plane().await.namespace("crash").await;
    let settings = Settings::docker(control_plane().await.kubeconfig(), &namespace.name);
    let creations = Creations::of(&settings.instance);
    let docker = Docker::of(&settings.instance);
    let mut operator = Operator::start(settings).await;
    template(&namespace).await;
    let is_in = |workspace: &Workspace| phase_of(workspace) == Some("Terminating");
    for attempt in 1..=TRIES {
        workspace(&namespace, "one", spec().await).await;
        ready(&namespace, "one").await;
        let reached = moment(&namespace, "one", is_in).await;
        delete(&namespace, "one").await;
        reached.await;
        operator.kill().await;
        let left = namespace.api::<Workspace>().get_opt("one").await.expect("no answer");

        operator.restart().await;
        gone(&namespace, "one").await;
        assert_eq!(docker.everything(), Vec::<String>::new());
        assert_eq!(creations.containers().await.len(), attempt, "one container for each workspace");
        if left.as_ref().is_some_and(is_in) {
            namespace.delete().await;
            return;
        }
    }
    panic!("in {TRIES} tries it was always gone before the operator was dead");
}
