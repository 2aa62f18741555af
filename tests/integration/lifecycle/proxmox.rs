//! A simulated Proxmox VE cluster with real containers, through a way that can be cut, with the
//! operator as a process.

use std::time::Duration;

use berth::api::Workspace;
use serde_json::{Value, json};

use super::stage::{GREETING, Stage, lay_over};
use crate::{
    docker_backend::proxy::{Place, Proxy},
    support::{
        Namespace, Operator, Settings, control_plane,
        docker::docker,
        git_server,
        objects::*,
        operator::free_port,
        proxmox::{Cluster, Recorded, TEMPLATE, cluster},
    },
};

/// The cluster that all tests share.
pub struct ProxmoxStage {
    operator: Operator,
    namespace: Namespace,
    cluster: &'static Cluster,
    way: Proxy,
}

impl ProxmoxStage {
    fn wait_for<T>(work: impl Future<Output = T>) -> T {
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(work))
    }

    fn vmid(workspace: &Workspace) -> u32 {
        let resolved = workspace.status.as_ref().and_then(|status| status.resolved.as_ref());
        resolved.and_then(|resolved| resolved.vmid).expect("it has a VMID")
    }

    /// The VMIDs that its Workspaces get.
    fn range(&self) -> [u64; 2] {
        let range = &self.operator.settings.config["backends"][0]["proxmox"]["vmids"]["workspaces"];
        ["first", "last"].map(|end| range[end].as_u64().expect("a VMID"))
    }

    fn container(&self, workspace: &Workspace) -> String {
        self.cluster.container(Self::vmid(workspace))
    }
}

impl Stage for ProxmoxStage {
    /// A clone of a whole file system, and the boot of a whole system.
    const MAKING: Duration = Duration::from_secs(60);
    const IMAGE_MISSING: (&'static str, &'static str) = ("TemplateImageMissing", "599");
    const PLACE_TAKEN: &'static str = "VmidInUse";
    const FILES_OUTLIVE_CONTAINERS: bool = false;

    async fn open(prefix: &str, settings: Value) -> Self {
        let plane = control_plane().await;
        let namespace = plane.namespace(prefix).await;
        let cluster = cluster().await;
        let port = free_port();
        let way = Proxy::start(Place::Port(port), Place::Port(cluster.port())).await;
        let mut told = Settings::new(plane.kubeconfig(), &namespace.name, json!([cluster.backend(port)]));
        lay_over(&mut told.config, settings);
        let operator = Operator::start(told).await;
        template_with(&namespace, "base", Self::template()).await;
        Self { operator, namespace, cluster, way }
    }

    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn template() -> Value {
        json!({"proxmox": {"vmid": TEMPLATE}})
    }

    fn template_without_image() -> Value {
        json!({"proxmox": {"vmid": 599}})
    }

    fn on_host(name: &str) -> Value {
        json!({"backend": {"proxmox": {"node": name}}})
    }

    /// The last VMID that it would be given by itself.
    fn in_a_known_place(&self) -> Value {
        let [_, last] = self.range();
        json!({"backend": {"proxmox": {"vmid": last}}})
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
        let instance = self.operator.instance();
        let found = Self::wait_for(self.cluster.of_instance(instance));
        let name = |(vmid, configuration): (&u32, &berth::backend::proxmox::client::Configuration)| {
            let id = configuration.description.lines().find_map(|line| line.strip_prefix("berth-id: "));
            format!("CT {vmid} {}", id.unwrap_or_default())
        };
        found.iter().map(name).collect()
    }

    /// It is no longer marked, so it does not count as the operator's.
    fn retained(&self, workspace: &Workspace) -> Vec<String> {
        let configuration = Self::wait_for(self.cluster.configuration(Self::vmid(workspace)));
        let tags = configuration.expect("the container is kept").tags.to_string();
        assert!(tags.contains("berth-retained"), "{tags}");
        Vec::new()
    }

    async fn ever_made(&self) -> usize {
        let [first, last] = self.range();
        let is_ours = |call: &&Recorded| {
            let new = call.parameters.get("newid").cloned().flatten();
            let new = new.and_then(|new| new.parse().ok()).unwrap_or_default();
            call.status == 200 && call.path.ends_with("/clone") && (first..=last).contains(&new)
        };
        self.cluster.recorded().iter().filter(is_ours).count()
    }

    fn boot(&self, workspace: &Workspace) -> String {
        let format = "{{.Id}} {{.State.StartedAt}} {{.State.Running}}";
        docker(&["inspect", "--format", format, &self.container(workspace)]).join(" ")
    }

    fn is_running(&self, workspace: &Workspace) -> bool {
        let running = docker(&["inspect", "--format", "{{.State.Running}}", &self.container(workspace)]);
        running == ["true"]
    }

    fn assert_body(&self, workspace: &Workspace) {
        let id = id_of(workspace).expect("it has an id");
        assert_eq!(self.everything(), [format!("CT {} {id}", Self::vmid(workspace))]);
    }

    fn assert_inside(&self, workspace: &Workspace) {
        let vmid = Self::vmid(workspace);
        let configuration = Self::wait_for(self.cluster.configuration(vmid)).expect("it is there");
        assert_eq!((configuration.memory, configuration.cpu_limit), (Some(256), Some(0.5)));
        let script = "cat /workspace/app.py; git -C /workspace reflog | wc -l; printf %s \"$GREETING\"";
        let inside = self.cluster.exec(vmid, "dev", script);
        assert_eq!(inside, format!("print('hello')\n1\n{GREETING}"));
    }

    fn leave_work(&self, workspace: &Workspace) {
        let script = "echo mine > /workspace/mine.txt; rm /workspace/README.md";
        self.cluster.exec(Self::vmid(workspace), "dev", script);
    }

    fn assert_work_is_kept(&self, workspace: &Workspace) {
        let script = "cd /workspace; cat mine.txt; ls; git reflog | wc -l";
        let kept = self.cluster.exec(Self::vmid(workspace), "dev", script);
        assert_eq!(kept, "mine\napp.py\nmine.txt\n1");
    }

    fn end_container(&self, workspace: &Workspace) {
        docker(&["kill", &self.container(workspace)]);
    }

    fn restart_container(&self, workspace: &Workspace) {
        Self::wait_for(self.cluster.reboot(Self::vmid(workspace)));
    }

    fn steal_container(&self, workspace: &Workspace) {
        Self::wait_for(self.cluster.destroy(Self::vmid(workspace)));
    }

    fn occupy(&self, workspace: &Workspace) {
        let backend = workspace.spec.backend.as_ref().and_then(|backend| backend.proxmox.as_ref());
        let vmid = backend.and_then(|backend| backend.vmid).expect("it names a VMID");
        Self::wait_for(self.cluster.make_container(vmid, "somebody else's"));
    }

    fn vacate(&self, workspace: &Workspace) {
        let vmid = Self::vmid(workspace);
        let configuration = Self::wait_for(self.cluster.configuration(vmid)).expect("it is there");
        assert_eq!(configuration.description, "somebody else's");
        Self::wait_for(self.cluster.destroy(vmid));
    }
}
