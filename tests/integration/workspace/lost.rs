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
    namespace: Namespace,
    docker: Docker,
    creations: Creations,
    operator: Operator,
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
        let left = api.patch_status("one", &PatchParams::default(), &nothing).await.expect("the patch is refused");
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
    assert_eq!(world.creations.containers().await, [world.container.clone()]);
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
    assert_eq!(world.docker.containers(), [second.clone()]);
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
    assert_eq!(world.creations.containers().await, [world.container.clone()]);
    world.end().await;
}
