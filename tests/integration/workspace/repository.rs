//! Repositories of every kind, over HTTP, HTTPS and SSH, and what is said when one can not be had.

use berth::api::Workspace;
use serde_json::{Value, json};

use crate::support::{
    Docker, GitServer, Namespace, Operator, Settings, control_plane, git_server, git_server::TOKEN,
    objects::*,
};

struct World {
    namespace: Namespace,
    operator: Operator,
    docker: Docker,
    git: &'static GitServer,
}

async fn world() -> World {
    let plane = control_plane().await;
    let git = git_server().await;
    let namespace = plane.namespace("repository").await;
    let mut settings = Settings::docker(plane.kubeconfig(), &namespace.name);
    settings.config["backends"][0]["docker"]["caBundleFile"] = json!(git.ca_file());
    let operator = Operator::start(settings).await;
    let docker = Docker::of(operator.instance());
    template(&namespace).await;
    World { namespace, operator, docker, git }
}

impl World {
    /// Runs a script as the user in the container of a workspace.
    fn inside(&self, workspace: &Workspace, script: &str) -> String {
        let container = workspace.status.clone().unwrap().container.unwrap().name.unwrap();
        self.docker.exec(&container, "dev", script)
    }

    async fn cloned(&self, name: &str, repository: Value) -> Workspace {
        workspace(&self.namespace, name, json!({"repository": repository})).await;
        ready(&self.namespace, name).await
    }
}

fn git_status(workspace: &Workspace) -> (Option<String>, Option<String>) {
    let git = workspace.status.clone().unwrap().git.unwrap();
    (git.branch, git.head)
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_depth_submodules_and_empty_repositories() {
    let world = world().await;
    let (namespace, git) = (&world.namespace, world.git);
    let main = Some(git.head("public/sample", "main"));
    let named = |name: &str| Some(name.to_owned());
    let url = git.public("sample");

    let plain = world.cloned("plain", json!({"url": url})).await;
    assert_eq!(git_status(&plain), (named("main"), main.clone()));
    let present = world.cloned("present", json!({"url": url, "branch": "feature/one.two"})).await;
    assert_eq!(git_status(&present), (named("feature/one.two"), main.clone()));
    let absent = world.cloned("absent", json!({"url": url, "branch": "brand-new"})).await;
    assert_eq!(git_status(&absent), (named("brand-new"), main.clone()));
    assert_eq!(world.inside(&absent, "git -C /workspace branch --show-current"), "brand-new");
    let shallow = world.cloned("shallow", json!({"url": url, "depth": 1})).await;
    assert_eq!(world.inside(&shallow, "git -C /workspace rev-list --count HEAD"), "1");
    let empty = world.cloned("empty", json!({"url": git.public("empty"), "branch": "start"})).await;
    assert_eq!(git_status(&empty).1, None);
    assert_eq!(world.inside(&empty, "git -C /workspace symbolic-ref --short HEAD"), "start");
    let outer = world.cloned("outer", json!({"url": git.public("with-submodule"), "submodules": true})).await;
    assert_eq!(world.inside(&outer, "cat /workspace/inner/app.py"), "print('hello')");
    workspace(namespace, "none", json!({})).await;
    let none = ready(namespace, "none").await;
    assert_eq!(world.inside(&none, "ls -A /workspace"), "");
    assert_eq!(condition(&none, "RepositoryReady"), "");
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn private_repositories_and_where_their_secrets_do_not_go() {
    let world = world().await;
    let (namespace, git) = (&world.namespace, world.git);
    secret(namespace, "token", json!({"token": "not-the-token"})).await;
    secret(namespace, "key", json!({"ssh-privatekey": git.ssh_key()})).await;

    let by_token = json!({"repository": {"url": git.private(), "tokenSecretRef": {"name": "token"}}});
    workspace(namespace, "https", by_token).await;
    let refused = broken(namespace, "https", "GitAuthFailed").await;
    assert!(condition(&refused, "Stalled").starts_with("True GitAuthFailed"), "{}", describe(&refused));
    assert_eq!(refused.status.clone().unwrap().phase.as_deref(), Some("Failed"));
    use k8s_openapi::api::core::v1::Secret;
    use kube::api::{Patch, PatchParams};
    let corrected = Patch::Merge(json!({"stringData": {"token": TOKEN}}));
    namespace.api::<Secret>().patch("token", &PatchParams::default(), &corrected).await.unwrap();
    patch(namespace, "https", json!({"metadata": {"annotations": {"berth.dev/retry-nonce": "1"}}})).await;
    let https = ready(namespace, "https").await;
    assert_eq!(world.inside(&https, "cat /workspace/secret.txt"), "nobody else reads this");

    let by_key =
        json!({"url": git.ssh(), "sshKeySecretRef": {"name": "key"}, "knownHosts": git.known_hosts()});
    let ssh = world.cloned("ssh", by_key).await;
    assert_eq!(world.inside(&ssh, "cat /workspace/secret.txt"), "nobody else reads this");

    let known = git.known_hosts();
    let wrong = known
        .split_whitespace()
        .take(2)
        .chain(std::iter::once("AAAAC3NzaC1lZDI1NTE5AAAAIJ4Z0mJ3mP1nQ0rV6qk1mY4sZ0n8cJx0uJ2m8s3d9b1Q"))
        .collect::<Vec<_>>()
        .join(" ");
    let impostor =
        json!({"repository": {"url": git.ssh(), "sshKeySecretRef": {"name": "key"}, "knownHosts": wrong}});
    workspace(namespace, "impostor", impostor).await;
    broken(namespace, "impostor", "GitHostKeyMismatch").await;

    // A key's own lines are what to look for: the frame around it is everywhere the same.
    let key_line = git.ssh_key().lines().nth(1).unwrap().to_owned();
    for (workspace, needle) in [(&https, TOKEN), (&ssh, key_line.as_str())] {
        let container = workspace.status.clone().unwrap().container.unwrap().name.unwrap();
        assert!(!world.docker.inspect(&container, "{{json .}}").contains(needle));
        assert!(!world.operator.log().contains(needle));
        assert!(!serde_json::to_string(workspace).unwrap().contains(needle));
        let search = "grep -rlF -e \"$1\" /workspace /run /home /etc /tmp 2>/dev/null || true";
        let found = crate::support::docker::docker(&[
            "exec", "--user", "root", &container, "sh", "-c", search, "sh", needle,
        ]);
        assert_eq!(found, Vec::<String>::new());
    }
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_can_not_be_had_says_why() {
    let world = world().await;
    let (namespace, git) = (&world.namespace, world.git);
    workspace(namespace, "nowhere", json!({"repository": {"url": git.public("no-such-thing")}})).await;
    broken(namespace, "nowhere", "GitRepositoryNotFound").await;
    workspace(namespace, "refused", json!({"repository": {"url": "http://127.0.0.1:9/a.git"}})).await;
    let refused = broken(namespace, "refused", "GitNetwork").await;
    assert!(
        condition(&refused, "Reconciling").starts_with("True"),
        "it goes on by itself: {}",
        describe(&refused)
    );
    template_with(
        namespace,
        "nogit",
        json!({"docker": {"image": "berth-demo/nogit:bookworm", "pullPolicy": "Never"}}),
    )
    .await;
    let without = json!({"templateRef": {"name": "nogit"}, "repository": {"url": git.public("sample")}});
    workspace(namespace, "nogit", without).await;
    broken(namespace, "nogit", "GitMissing").await;

    workspace(namespace, "full", json!({})).await;
    let full = ready(namespace, "full").await;
    world.inside(&full, "echo mine > /workspace/mine.txt");
    patch(namespace, "full", json!({"spec": {"repository": {"url": git.public("sample")}}})).await;
    let full = broken(namespace, "full", "WorkspaceNotEmpty").await;
    assert_eq!(world.inside(&full, "ls -A /workspace; cat /workspace/mine.txt"), "mine.txt\nmine");
    namespace.delete().await;
}
