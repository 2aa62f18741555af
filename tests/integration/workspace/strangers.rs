//! What the operator knew, or what it made, is lost; what others have is left alone.

use berth::api::Workspace;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::creations::Creations;
use crate::support::{
    Docker, Namespace, Operator, Settings, control_plane,
    docker::{docker, run},
    git_server,
    objects::*,
    word,
};

/// A Ready workspace `one` with a repository, and everything around it.
struct World {
    // Ends before its things are cleared, or it would make them anew.
    operator: Operator,
    namespace: Namespace,
    docker: Docker,
    creations: Creations,
    made: Workspace,
    container: String,
}

impl World {
    async fn new() -> Self {
        let namespace = control_plane().await.namespace("lost").await;
        let settings = Settings::docker(control_plane().await.kubeconfig(), &namespace.name);
        let creations = Creations::of(&settings.instance);
        let docker = Docker::of(&settings.instance);
        let operator = Operator::start(settings).await;
        template(&namespace).await;
        let repository = git_server().await.public("sample");
        workspace(&namespace, "one", json!({"repository": {"url": repository}})).await;
        let made = ready(&namespace, "one").await;
        let container = docker.containers().join(" ");
        docker.exec(&container, "dev", "echo mine > /workspace/mine.txt; rm /workspace/README.md");
        Self { namespace, docker, creations, operator, made, container }
    }

    async fn lose_status(&self) {
        let api = self.namespace.api::<Workspace>();
        let nothing = Patch::Merge(json!({"status": null}));
        let left =
            api.patch_status("one", &PatchParams::default(), &nothing).await.expect("the patch is refused");
        assert!(left.status.is_none(), "{}", describe(&left));
    }

    fn container_state(&self) -> String {
        self.docker.inspect(&self.container, "{{.Id}} {{.State.StartedAt}} {{.State.Running}}")
    }

    /// The work in it is as it was left: nothing was cloned over it.
    fn assert_work_is_kept(&self, container: &str) {
        let kept = self.docker.exec(container, "dev", "cd /workspace; cat mine.txt; ls; git reflog | wc -l");
        assert_eq!(kept, "mine\napp.py\nmine.txt\n1");
    }

    async fn end(self) {
        delete(&self.namespace, "one").await;
        gone(&self.namespace, "one").await;
        assert_eq!(self.docker.everything(), Vec::<String>::new());
        self.namespace.delete().await;
    }
}

fn id(workspace: &Workspace) -> Option<String> {
    workspace.status.clone()?.id
}

#[rstest::rstest]
#[case::while_the_operator_watches(true)]
#[case::while_no_operator_is_there(false)]
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_status_is_rebuilt_from_what_is_there(#[case] watched: bool) {
    let mut world = World::new().await;
    let before = world.container_state();
    if !watched {
        world.operator.kill().await;
    }
    world.lose_status().await;
    if !watched {
        world.operator.restart().await;
    }
    let again = ready(&world.namespace, "one").await;
    assert_eq!(id(&again), id(&world.made));
    let (was, is) = (world.made.status.clone().unwrap_or_default(), again.status.clone().unwrap_or_default());
    assert_eq!(is.phase.as_deref(), Some("Running"));
    assert_eq!(is.incarnation, was.incarnation);
    assert_eq!(is.resolved, was.resolved);
    assert_eq!(is.git, was.git);
    assert_eq!(world.container_state(), before);
    world.assert_work_is_kept(&world.container);
    assert_eq!(world.creations.containers().await, std::slice::from_ref(&world.container));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_workspace_without_a_status_leaves_nothing_behind() {
    let mut world = World::new().await;
    world.operator.kill().await;
    world.lose_status().await;
    delete(&world.namespace, "one").await;
    world.operator.restart().await;
    gone(&world.namespace, "one").await;
    assert_eq!(world.docker.everything(), Vec::<String>::new());
    world.namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_container_comes_back_as_the_next_incarnation_with_the_same_volumes() {
    let world = World::new().await;
    let volumes = world.docker.volumes();
    docker(&["rm", "--force", &world.container]);
    let again = until(&world.namespace, "one", "Ready with a second container", |workspace| {
        let incarnation = workspace.status.as_ref().and_then(|status| status.incarnation);
        incarnation == Some(2) && condition(workspace, "Ready").starts_with("True")
    })
    .await;
    assert_eq!(id(&again), id(&world.made));
    let second = format!("{}2", world.container.strip_suffix('1').expect("it is the first"));
    assert_eq!(world.docker.containers(), std::slice::from_ref(&second));
    assert_eq!(world.docker.volumes(), volumes);
    assert_eq!(world.docker.networks().len(), 1);
    world.assert_work_is_kept(&second);
    assert_eq!(world.creations.containers().await, [world.container.clone(), second]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_was_killed_is_started_again() {
    let world = World::new().await;
    let before = world.made.status.clone().unwrap_or_default().container.expect("it has a container");
    docker(&["kill", &world.container]);
    let again = until(&world.namespace, "one", "Ready on a new boot", |workspace| {
        let container = workspace.status.clone().and_then(|status| status.container).unwrap_or_default();
        container.started_at != before.started_at && condition(workspace, "Ready").starts_with("True")
    })
    .await;
    let after = again.status.clone().unwrap_or_default();
    assert_eq!(after.container.and_then(|container| container.id), before.id);
    assert_eq!(after.incarnation, Some(1));
    assert_eq!(after.phase.as_deref(), Some("Running"));
    world.assert_work_is_kept(&world.container);
    assert_eq!(world.creations.containers().await, std::slice::from_ref(&world.container));
    world.end().await;
}

/// Removes a container, however the test ends.
struct Stranger(String);

impl Stranger {
    /// A running container with our labels of a body, but not with our instance.
    fn new(name: &str, instance: Option<&str>, labels: &[(&str, &str)]) -> Self {
        let instance = instance.map(|instance| ("berth.dev/instance", instance));
        let labels = labels.iter().copied().chain(instance);
        let labels: Vec<String> = labels.map(|(key, value)| format!("--label={key}={value}")).collect();
        let mut arguments = vec!["run", "--detach", "--name", name];
        arguments.extend(labels.iter().map(String::as_str));
        arguments.extend([IMAGE, "sleep", "infinity"]);
        docker(&arguments);
        Self(name.to_owned())
    }

    fn state(&self) -> String {
        docker(&["inspect", "--format", "{{.Id}} {{.State.StartedAt}} {{.State.Running}}", &self.0]).join(" ")
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = run(&["rm", "--force", &self.0]);
    }
}

/// Settings of an operator that removes orphans at once.
fn zealous(namespace: &Namespace, kubeconfig: std::path::PathBuf) -> Settings {
    let mut settings = Settings::docker(kubeconfig, &namespace.name);
    settings.config["orphans"] = json!({"policy": "Delete", "grace": "0s", "interval": "1s"});
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_on_one_host_leave_each_others_alone() {
    let plane = control_plane().await;
    let (here, there) = (plane.namespace("lost").await, plane.namespace("lost").await);
    let ours = zealous(&here, plane.kubeconfig());
    let theirs = zealous(&there, plane.kubeconfig());
    let (our_docker, their_docker) = (Docker::of(&ours.instance), Docker::of(&theirs.instance));
    let creations = Creations::of(&theirs.instance);
    let _ours = Operator::start(ours).await;
    let mut theirs = Operator::start(theirs).await;
    for namespace in [&here, &there] {
        template(namespace).await;
        workspace(namespace, "one", json!({})).await;
    }
    ready(&here, "one").await;
    ready(&there, "one").await;
    let state = "{{.Id}} {{.State.StartedAt}} {{.State.Running}}";
    let container = their_docker.containers().join(" ");
    let before = (their_docker.inspect(&container, state), their_docker.everything());

    // Nobody looks after theirs now, while ours does everything that it can do.
    theirs.kill().await;
    docker(&["rm", "--force", &our_docker.containers().join(" ")]);
    until(&here, "one", "Ready again", |workspace| {
        workspace.status.as_ref().and_then(|status| status.incarnation) == Some(2)
            && condition(workspace, "Ready").starts_with("True")
    })
    .await;
    delete(&here, "one").await;
    gone(&here, "one").await;
    assert_eq!(our_docker.everything(), Vec::<String>::new());
    assert_eq!((their_docker.inspect(&container, state), their_docker.everything()), before);

    theirs.restart().await;
    delete(&there, "one").await;
    gone(&there, "one").await;
    assert_eq!(their_docker.everything(), Vec::<String>::new());
    assert_eq!(creations.containers().await, [container]);
    here.delete().await;
    there.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_only_looks_like_ours_is_left_alone() {
    let namespace = control_plane().await.namespace("lost").await;
    let settings = zealous(&namespace, control_plane().await.kubeconfig());
    let docker_of_ours = Docker::of(&settings.instance);
    let creations = Creations::of(&settings.instance);
    let _operator = Operator::start(settings).await;
    template(&namespace).await;
    workspace(&namespace, "one", json!({})).await;
    let made = ready(&namespace, "one").await;
    let container = docker_of_ours.containers().join(" ");
    let own = id(&made).expect("it has an id");
    let uid = made.metadata.uid.clone().expect("it has a uid");
    let labels = [
        ("berth.dev/id", own.as_str()),
        ("berth.dev/incarnation", "7"),
        ("berth.dev/namespace", namespace.name.as_str()),
        ("berth.dev/name", "one"),
        ("berth.dev/uid", uid.as_str()),
    ];
    let another = format!("test-{}", word());
    let name = format!("berth-{}.one-{own}", namespace.name);
    let strangers = [
        Stranger::new(&format!("{name}-7"), Some(&another), &labels),
        Stranger::new(&format!("{name}-8"), None, &labels),
    ];
    let before = strangers.each_ref().map(Stranger::state);

    for mode in ["Suspended", "Running"] {
        patch(&namespace, "one", json!({"spec": {"operatingMode": mode}})).await;
        let settled = ready(&namespace, "one").await.status.unwrap_or_default();
        assert_eq!((settled.incarnation, settled.phase.as_deref()), (Some(1), Some(mode)));
    }
    assert_eq!(creations.containers().await, [container]);
    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    assert_eq!(docker_of_ours.everything(), Vec::<String>::new());
    assert_eq!(strangers.each_ref().map(Stranger::state), before);
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_workspace_without_a_status_stays_suspended() {
    let world = World::new().await;
    patch(&world.namespace, "one", json!({"spec": {"operatingMode": "Suspended"}})).await;
    ready(&world.namespace, "one").await;
    let before = world.container_state();
    world.lose_status().await;
    let again = ready(&world.namespace, "one").await;
    assert_eq!(id(&again), id(&world.made));
    assert_eq!(again.status.and_then(|status| status.phase).as_deref(), Some("Suspended"));
    assert_eq!(world.container_state(), before);
    patch(&world.namespace, "one", json!({"spec": {"operatingMode": "Running"}})).await;
    ready(&world.namespace, "one").await;
    world.assert_work_is_kept(&world.container);
    assert_eq!(world.creations.containers().await, std::slice::from_ref(&world.container));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_status_and_a_removed_container_lose_no_work() {
    let mut world = World::new().await;
    let volumes = world.docker.volumes();
    world.operator.kill().await;
    world.lose_status().await;
    docker(&["rm", "--force", &world.container]);
    world.operator.restart().await;
    let again = ready(&world.namespace, "one").await;
    assert_eq!(id(&again), id(&world.made));
    assert_eq!(world.docker.volumes(), volumes);
    assert_eq!(world.docker.networks().len(), 1);
    let containers = world.docker.containers();
    assert_eq!(containers.len(), 1, "{containers:?}");
    world.assert_work_is_kept(&containers[0]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_lost_while_it_is_made_makes_no_second_container() {
    let namespace = control_plane().await.namespace("lost").await;
    let settings = Settings::docker(control_plane().await.kubeconfig(), &namespace.name);
    let creations = Creations::of(&settings.instance);
    let our_docker = Docker::of(&settings.instance);
    let mut operator = Operator::start(settings).await;
    template(&namespace).await;
    workspace(&namespace, "one", json!({"repository": {"url": git_server().await.public("sample")}})).await;
    creations.happened("create", 1).await;
    operator.kill().await;
    let api = namespace.api::<Workspace>();
    let nothing = Patch::Merge(json!({"status": null}));
    api.patch_status("one", &PatchParams::default(), &nothing).await.expect("the patch is refused");
    operator.restart().await;
    let made = ready(&namespace, "one").await;
    let container = format!("berth-{}.one-{}-1", namespace.name, id(&made).expect("it has an id"));
    assert_eq!(creations.containers().await, std::slice::from_ref(&container));
    assert_eq!(our_docker.containers(), [container]);
    assert_eq!(our_docker.volumes().len(), 2);
    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    assert_eq!(our_docker.everything(), Vec::<String>::new());
    namespace.delete().await;
}
