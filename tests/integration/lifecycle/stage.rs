//! What a case needs of a kind of backend.

use std::time::Duration;

use berth::api::Workspace;
use serde_json::{Value, json};

use crate::support::{Namespace, objects::*};

/// An operator for one namespace, with one backend, and hands that reach that backend behind the
/// operator's back.
///
/// Whatever a case says of one backend it says of all: a stage adds what only its kind can show,
/// and is silent where its kind has nothing to show.
pub trait Stage: Sized {
    /// How long a Workspace may take to be Ready from the backend's return, where its container is
    /// still to be made.
    const MAKING: Duration = Duration::from_secs(15);
    /// What is said where a Template's image is nowhere: the reason, and a word of the message.
    const IMAGE_MISSING: (&'static str, &'static str) = ("ImageNotFound", "missing");
    /// The reason where something of somebody else stands in the container's place.
    const PLACE_TAKEN: &'static str = "NameConflict";
    /// Whether there are files that outlive the container that they were made in.
    const FILES_OUTLIVE_CONTAINERS: bool = true;

    /// Makes the namespace with the Template `base` in it, and starts the operator; `settings` are
    /// laid over its configuration.
    async fn open(prefix: &str, settings: Value) -> Self;

    /// Where its Workspaces are.
    fn namespace(&self) -> &Namespace;

    /// Spec of a Template from which containers can be made.
    fn template() -> Value {
        json!({"docker": {"image": IMAGE, "pullPolicy": "Never"}})
    }

    /// Spec of a Template whose image is nowhere.
    fn template_without_image() -> Value {
        json!({"docker": {"image": "berth-demo/missing:1", "pullPolicy": "Never"}})
    }

    /// Spec of a Workspace on a host of this name.
    fn on_host(name: &str) -> Value {
        json!({"backend": {"docker": {"host": name}}})
    }

    /// What a Workspace has to say so that the place of its container is known before it is made.
    fn in_a_known_place(&self) -> Value {
        json!({})
    }

    /// A repository that can be cloned without credentials.
    async fn repository() -> String;

    /// Ends the operator in the middle of whatever it does.
    async fn kill(&mut self);

    /// Starts it again with the same configuration.
    async fn restart(&mut self);

    /// Makes the backend unreachable.
    async fn cut(&mut self);

    /// Makes it reachable again.
    async fn mend(&mut self);

    /// Names of everything that it has of Workspaces, sorted.
    fn everything(&self) -> Vec<String>;

    /// Names of what is left of a Workspace whose volumes are retained, sorted.
    fn retained(&self, workspace: &Workspace) -> Vec<String>;

    /// How many containers were ever made for Workspaces, those that are gone counted too.
    async fn ever_made(&self) -> usize;

    /// Tells the Workspace's container and its present boot from every other; the same text for as
    /// long as nobody touches it.
    fn boot(&self, workspace: &Workspace) -> String;

    /// Whether the Workspace's container runs.
    fn is_running(&self, workspace: &Workspace) -> bool;

    /// Exactly the things of this one Workspace are there, and they are its present ones.
    fn assert_body(&self, workspace: &Workspace);

    /// Inside the running container all is as [`spec`] says.
    fn assert_inside(&self, workspace: &Workspace);

    /// Works in the running container: makes a file, and removes one of the repository.
    fn leave_work(&self, workspace: &Workspace);

    /// The work is as it was left: it is there, and nothing was cloned over it.
    fn assert_work_is_kept(&self, workspace: &Workspace);

    /// Ends the container's main process.
    fn end_container(&self, workspace: &Workspace);

    /// Restarts the container.
    fn restart_container(&self, workspace: &Workspace);

    /// Removes the container, and leaves what outlives it.
    fn steal_container(&self, workspace: &Workspace);

    /// Puts something of somebody else where the Workspace's container is to be made.
    fn occupy(&self, workspace: &Workspace);

    /// Checks that what [`Stage::occupy`] put there is untouched, and takes it away.
    fn vacate(&self, workspace: &Workspace);

    /// Nothing is left of any Workspace.
    fn assert_empty(&self) {
        assert_eq!(self.everything(), Vec::<String>::new());
    }

    /// Makes the Workspace `one` as [`spec`] says.
    async fn make(&self) {
        self.make_with(json!({})).await;
    }

    /// The same, with more laid over it.
    async fn make_with(&self, more: Value) {
        let mut spec = spec::<Self>().await;
        lay_over(&mut spec, more);
        workspace(self.namespace(), "one", spec).await;
    }

    /// Makes it and waits until it is Ready.
    async fn made(&self) -> Workspace {
        self.make().await;
        ready(self.namespace(), "one").await
    }

    /// Deletes the Workspace `one` and waits until nothing is left of it.
    async fn remove(&self) {
        delete(self.namespace(), "one").await;
        gone(self.namespace(), "one").await;
        self.assert_empty();
    }

    /// The end of a case that went well.
    async fn close(self) {
        self.assert_empty();
        self.namespace().delete().await;
    }
}

/// A value with everything that is dear to shells.
pub const GREETING: &str = "it's \"me\"\n$HOME";
/// Memory limit of [`spec`].
pub const MEMORY: u64 = 256 << 20;

/// The spec of a Workspace with a repository, a variable and limits.
pub async fn spec<S: Stage>() -> Value {
    json!({
        "repository": {"url": S::repository().await},
        "env": [{"name": "GREETING", "value": GREETING}],
        "resources": {"cpu": "500m", "memory": "256Mi", "pids": 200},
    })
}

/// Lays one configuration over another: objects are merged, everything else is replaced.
pub fn lay_over(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                lay_over(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}

/// The name that the Workspace's present container has where containers are found by name.
pub fn container_name(workspace: &Workspace) -> String {
    let status = workspace.status.clone().unwrap_or_default();
    format!(
        "berth-{}.{}-{}-{}",
        workspace.metadata.namespace.as_deref().expect("it has a namespace"),
        workspace.metadata.name.as_deref().expect("it has a name"),
        status.id.expect("it has an id"),
        status.incarnation.unwrap_or(1),
    )
}
