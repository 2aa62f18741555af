//! The Docker daemon of this machine, through a way that can be cut, with the operator as a process.

use berth::api::Workspace;
use serde_json::{Value, json};

use super::stage::{GREETING, MEMORY, Stage, container_name, lay_over};
use crate::{
    docker_backend::proxy::{Place, Proxy},
    support::{
        Docker, Namespace, Operator, Settings, control_plane,
        docker::{docker, run},
        git_server,
        objects::*,
    },
    workspace::creations::Creations,
};

const SOCKET: &str = "/var/run/docker.sock";
/// The container, its boot, and whether it runs.
const BOOT: &str = "{{.Id}} {{.State.StartedAt}} {{.State.Running}}";

/// The daemon of this machine.
pub struct DockerStage {
    // Ends before its things are cleared, or it would make them anew.
    operator: Operator,
    namespace: Namespace,
    docker: Docker,
    /// What was ever made, and what happened to it.
    pub creations: Creations,
    way: Proxy,
    _folder: tempfile::TempDir,
}

impl Stage for DockerStage {
    async fn open(prefix: &str, settings: Value) -> Self {
        let plane = control_plane().await;
        let namespace = plane.namespace(prefix).await;
        let folder = tempfile::tempdir().expect("no temporary folder");
        let socket = folder.path().join("docker.sock");
        let way = Proxy::start(Place::Socket(socket.clone()), Place::Socket(SOCKET.into())).await;
        let mut told = Settings::docker(plane.kubeconfig(), &namespace.name);
        told.config["backends"][0]["docker"]["hosts"][0]["endpoint"] =
            json!(format!("unix://{}", socket.display()));
        lay_over(&mut told.config, settings);
        let creations = Creations::of(&told.instance);
        let docker = Docker::of(&told.instance);
        let operator = Operator::start(told).await;
        template_with(&namespace, "base", Self::template()).await;
        Self { operator, namespace, docker, creations, way, _folder: folder }
    }

    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    async fn repository() -> String {
        git_server().await.public("sample")
    }

    async fn kill(&mut self) {
        self.operator.kill().await;
    }

    async fn restart(&mut self) {
        self.operator.restart().await;
    }

    async fn cut(&mut self) {
        self.way.stop().await;
    }

    async fn mend(&mut self) {
        self.way.resume().await;
    }

    fn everything(&self) -> Vec<String> {
        let mut names = self.docker.everything();
        names.sort();
        names
    }

    fn retained(&self, workspace: &Workspace) -> Vec<String> {
        let id = id_of(workspace).expect("it has an id");
        ["cache", "workspace"].map(|volume| format!("berth-{id}-{volume}")).to_vec()
    }

    async fn ever_made(&self) -> usize {
        self.creations.containers().await.len()
    }

    fn boot(&self, workspace: &Workspace) -> String {
        self.docker.inspect(&container_name(workspace), BOOT)
    }

    fn is_running(&self, workspace: &Workspace) -> bool {
        self.docker.inspect(&container_name(workspace), "{{.State.Running}}") == "true"
    }

    fn assert_body(&self, workspace: &Workspace) {
        let id = id_of(workspace).expect("it has an id");
        assert_eq!(self.docker.containers(), [container_name(workspace)]);
        assert_eq!(self.docker.networks(), [format!("berth-{id}")]);
        let mut volumes = self.docker.volumes();
        volumes.sort();
        assert_eq!(volumes, self.retained(workspace));
    }

    fn assert_inside(&self, workspace: &Workspace) {
        let container = container_name(workspace);
        let limits = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}";
        assert_eq!(self.docker.inspect(&container, limits), format!("{MEMORY} 500000000 200"));
        let inside = self.docker.exec(
            &container,
            "dev",
            "cat /workspace/app.py; git -C /workspace reflog | wc -l; printf %s \"$GREETING\"",
        );
        assert_eq!(inside, format!("print('hello')\n1\n{GREETING}"));
    }

    fn leave_work(&self, workspace: &Workspace) {
        let script = "echo mine > /workspace/mine.txt; rm /workspace/README.md; echo cached > ~/.cache/it";
        self.docker.exec(&container_name(workspace), "dev", script);
    }

    fn assert_work_is_kept(&self, workspace: &Workspace) {
        let script = "cd /workspace; cat mine.txt ~/.cache/it; ls; git reflog | wc -l";
        let kept = self.docker.exec(&container_name(workspace), "dev", script);
        assert_eq!(kept, "mine\ncached\napp.py\nmine.txt\n1");
    }

    fn end_container(&self, workspace: &Workspace) {
        docker(&["kill", &container_name(workspace)]);
    }

    fn restart_container(&self, workspace: &Workspace) {
        docker(&["restart", "--time", "1", &container_name(workspace)]);
    }

    fn steal_container(&self, workspace: &Workspace) {
        docker(&["rm", "--force", &container_name(workspace)]);
    }

    fn occupy(&self, workspace: &Workspace) {
        docker(&["run", "--detach", "--name", &container_name(workspace), IMAGE, "sleep", "infinity"]);
    }

    fn vacate(&self, workspace: &Workspace) {
        let name = container_name(workspace);
        let untouched = self.docker.inspect(&name, "{{.RestartCount}} {{.State.Running}}") == "0 true";
        let _ = run(&["rm", "--force", &name]);
        assert!(untouched, "{name} is somebody else's");
    }
}
