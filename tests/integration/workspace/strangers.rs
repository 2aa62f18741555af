//! What others have on the host is left alone.

use serde_json::json;

use super::creations::Creations;
use crate::support::{
    Docker, Namespace, Operator, Settings, control_plane,
    docker::{docker, run},
    objects::*,
    word,
};

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
    let (here, there) = (plane.namespace("others").await, plane.namespace("others").await);
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
    let namespace = control_plane().await.namespace("others").await;
    let settings = zealous(&namespace, control_plane().await.kubeconfig());
    let docker_of_ours = Docker::of(&settings.instance);
    let creations = Creations::of(&settings.instance);
    let _operator = Operator::start(settings).await;
    template(&namespace).await;
    workspace(&namespace, "one", json!({})).await;
    let made = ready(&namespace, "one").await;
    let container = docker_of_ours.containers().join(" ");
    let own = id_of(&made).expect("it has an id");
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
