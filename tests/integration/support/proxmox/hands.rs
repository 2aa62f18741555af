//! What an administrator, another client or bad luck does to a cluster, and what it shows them.

use std::{sync::atomic::Ordering, time::Duration};

use berth::backend::proxmox::client::{Change, CreateRequest, DeleteRequest, NodeName, Setting, VmId};
use berth_proxmox_simulator::{cluster::state::Guest, lxc::config::Config, tasks};

use super::{Cluster, Effect, Fault, PATIENCE, Recorded, TaskFault};
use crate::support::eventually;

/// A container that an administrator makes.
pub struct Base<'a> {
    /// What stands in its notes.
    pub notes: &'a str,
    /// Where its disk is; absent: where both nodes can be cloned to, if there is such a place.
    pub storage: Option<&'a str>,
    /// Whether it has the operator's key.
    pub key: bool,
    /// Lines for its configuration that only root may write.
    pub lines: &'a str,
}

impl Default for Base<'_> {
    fn default() -> Self {
        Self { notes: "", storage: None, key: true, lines: "" }
    }
}

fn node() -> NodeName {
    "pve1".parse().expect("a node")
}

/// A task as the cluster has it.
#[derive(Clone, Debug)]
pub struct Task {
    /// What it does, as `vzclone`.
    pub kind: String,
    /// The VMID that it is about; of a clone the source.
    pub about: String,
    /// How it ended; absent while it runs.
    pub exit: Option<String>,
    upid: String,
}

impl Cluster {
    /// A VMID that nobody else uses, and no operator gives out.
    pub fn vmid(&self) -> u32 {
        self.own.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes a container on `pve1` with the operator's key, as an administrator would.
    pub async fn make_container(&self, vmid: u32, notes: &str) {
        self.make(vmid, &Base { notes, ..Base::default() }).await;
    }

    /// Makes a container on `pve1`, as an administrator would.
    pub async fn make(&self, vmid: u32, base: &Base<'_>) {
        let client = self.client();
        let key = std::fs::read_to_string(self.file("key.pub")).expect("no key");
        let configuration = Change {
            hostname: "base".parse().ok(),
            description: Some(base.notes.to_owned()),
            networks: [(0, Setting::Set("name=eth0,bridge=vmbr0,ip=dhcp".parse().expect("net0")))].into(),
            ..Change::default()
        };
        let storage =
            if self.simulated.state().storages.contains_key("share") { "share" } else { "local-lvm" };
        let request = CreateRequest {
            vmid: VmId::new(vmid).expect("a VMID"),
            archive: "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst".parse().expect("an archive"),
            storage: base.storage.unwrap_or(storage).parse().expect("a storage"),
            disk_gib: 2,
            unprivileged: true,
            ssh_public_keys: base.key.then(|| key.trim().to_owned()),
            password: None,
            pool: None,
            configuration,
        };
        let upid = client.create_container(&node(), &request).await.expect("the container is refused");
        self.finish(&upid).await;
        self.add_lines(vmid, base.lines).await;
    }

    /// Makes a template on `pve1`.
    pub async fn make_template(&self, vmid: u32, base: &Base<'_>) {
        self.make(vmid, base).await;
        let made = self.client().make_template(&node(), VmId::new(vmid).expect("a VMID")).await;
        made.expect("it can not be a template");
        eventually(PATIENCE, "it is a template", || async {
            match self.configuration(vmid).await {
                Some(configuration) if configuration.template => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// Adds lines at the end of the configuration file of a container on `pve1`, as root does.
    pub async fn add_lines(&self, vmid: u32, lines: &str) {
        let text = self.text(vmid).expect("there is no such container") + lines;
        self.simulated.set_config_text("pve1", vmid, &text).await.expect("the lines are refused");
    }

    /// The node of a container.
    pub fn node_of(&self, vmid: u32) -> Option<String> {
        self.simulated.state().guests.get(&vmid).map(|guest| guest.node.clone())
    }

    /// Starts a container on `pve1`.
    pub async fn boot(&self, vmid: u32) {
        let vmid = VmId::new(vmid).expect("a VMID");
        let upid = self.client().start(&node(), vmid).await.expect("it is refused");
        self.finish(&upid).await;
    }

    /// Changes the configuration of a container on `pve1`.
    pub async fn change(&self, vmid: u32, change: &Change) {
        let vmid = VmId::new(vmid).expect("a VMID");
        let changed = self.client().change_configuration(&node(), vmid, change, None).await;
        changed.expect("the change is refused");
    }

    /// Restarts a container on `pve1`.
    pub async fn reboot(&self, vmid: u32) {
        let vmid = VmId::new(vmid).expect("a VMID");
        let upid = self.client().reboot(&node(), vmid, Duration::from_secs(5)).await.expect("it is refused");
        self.finish(&upid).await;
    }

    /// Removes a container on `pve1`, running or not.
    pub async fn destroy(&self, vmid: u32) {
        let vmid = VmId::new(vmid).expect("a VMID");
        let request = DeleteRequest { force: true, purge: true, unreferenced_disks: false };
        let upid = self.client().delete_container(&node(), vmid, request).await.expect("it is refused");
        self.finish(&upid).await;
    }

    /// Somebody takes a VMID on `pve1`, for a container with these notes or for a virtual machine.
    /// False: it is taken already.
    pub fn take(&self, vmid: u32, notes: &str, qemu: bool) -> bool {
        let mut state = self.simulated.state();
        if state.guests.contains_key(&vmid) {
            return false;
        }
        let mut config = Config::default();
        config.set("hostname", "foreign".to_owned());
        config.set("description", notes.to_owned());
        state
            .guests
            .insert(vmid, Guest { node: "pve1".to_owned(), qemu, systemd: false, filesystem: None, config });
        true
    }

    /// What was taken is given back.
    pub fn release(&self, vmid: u32) {
        assert!(self.simulated.state().guests.remove(&vmid).is_some(), "there is no CT {vmid}");
    }

    /// The whole text of a container's configuration; absent: there is no such container.
    pub fn text(&self, vmid: u32) -> Option<String> {
        self.simulated.state().guests.get(&vmid).map(|guest| guest.config.text())
    }

    /// What a key of a container's configuration is set to.
    pub fn value(&self, vmid: u32, key: &str) -> Option<String> {
        let state = self.simulated.state();
        state.guests.get(&vmid)?.config.get(key).map(str::to_owned)
    }

    /// Leaves a lock on a container that nobody holds.
    pub fn lock(&self, vmid: u32, lock: &str) {
        let mut state = self.simulated.state();
        state.guests.get_mut(&vmid).expect("there is no such container").config.set("lock", lock.to_owned());
    }

    /// `pct unlock`.
    pub async fn unlock(&self, vmid: u32) {
        self.simulated.unlock(vmid).await.expect("there is no such container");
    }

    /// A node goes, or comes back.
    pub fn reach(&self, node: &str, online: bool) {
        let mut state = self.simulated.state();
        assert!(state.nodes.contains_key(node));
        if online {
            state.offline.remove(node)
        } else {
            state.offline.insert(node.to_owned())
        };
    }

    /// Something goes wrong with the next calls of a method below a path.
    pub fn fault(&self, method: &str, path: &str, times: u32, effect: Effect) {
        let fault = Fault { method: Some(method.to_owned()), path: path.to_owned(), times, effect };
        self.simulated.faults.plan(fault);
    }

    /// The next task of a type fails with these words.
    pub fn failing_task(&self, kind: &str, words: &str) {
        self.plan_task(kind, None, words);
    }

    /// The next task of a type about a container fails with these words.
    pub fn failing_task_of(&self, kind: &str, vmid: &str, words: &str) {
        self.plan_task(kind, Some(vmid.to_owned()), words);
    }

    fn plan_task(&self, kind: &str, id: Option<String>, words: &str) {
        let (kind, error) = (kind.to_owned(), Some(words.to_owned()));
        self.simulated.faults.plan_task(TaskFault { kind, id, times: 1, error, delay_milliseconds: 0 });
    }

    /// Each step of the next tasks of a type takes so much longer.
    pub fn slow_tasks(&self, kind: &str, times: u32, delay: Duration) {
        let delay_milliseconds = u64::try_from(delay.as_millis()).expect("a short time");
        let fault = TaskFault { kind: kind.to_owned(), id: None, times, error: None, delay_milliseconds };
        self.simulated.faults.plan_task(fault);
    }

    /// Every task so far.
    pub fn tasks(&self) -> Vec<Task> {
        let state = self.simulated.state();
        let task = |(upid, task): (&String, &tasks::Task)| Task {
            kind: task.upid.kind.clone(),
            about: task.upid.id.clone(),
            exit: task.exit.clone(),
            upid: upid.clone(),
        };
        state.tasks.iter().map(task).collect()
    }

    /// Whether a task of a type is going on.
    pub fn is_at(&self, kind: &str) -> bool {
        self.tasks().iter().any(|task| task.kind == kind && task.exit.is_none())
    }

    /// Kills the tasks of a type that are going on: their locks stay.
    pub fn kill_tasks(&self, kind: &str) {
        for task in self.tasks().iter().filter(|task| task.kind == kind && task.exit.is_none()) {
            self.simulated.state().tasks[&task.upid].kill.cancel();
        }
    }

    /// Every call so far.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.simulated.faults.recorded()
    }

    /// How many clones were made to their end.
    pub fn clones(&self) -> usize {
        let done =
            |task: &&Task| task.exit.as_deref().is_some_and(|exit| exit == "OK" || exit.starts_with("WARN"));
        self.tasks().iter().filter(|task| task.kind == "vzclone").filter(done).count()
    }

    /// How often a call about a container was answered well, by the end of its path.
    pub fn times(&self, method: &str, vmid: u32, end: &str) -> usize {
        let end = format!("/lxc/{vmid}/{end}");
        let is_meant =
            |call: &&Recorded| call.method == method && call.status == 200 && call.path.ends_with(&end);
        self.recorded().iter().filter(is_meant).count()
    }

    /// The calls that changed something about a VMID, or tried to.
    pub fn changes_of(&self, vmid: u32) -> Vec<String> {
        let end = format!("/lxc/{vmid}");
        let about = |call: &&Recorded| {
            call.method != "GET" && (call.path.ends_with(&end) || call.path.contains(&format!("{end}/")))
        };
        self.recorded().iter().filter(about).map(|call| format!("{} {}", call.method, call.path)).collect()
    }
}
