//! One operator instance on the daemon of this machine, and what the tests ask of it.

use std::{
    panic::AssertUnwindSafe,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use berth::{
    backend::{
        Backend, BodyId, BodyRef, Change, Container, ContainerRef, ContainerSpec, ExecOutput, ExecRequest,
        Guest, Incarnation, InstanceId, Owner, docker::DockerBackend,
    },
    config,
};
use futures::FutureExt;
use tokio::sync::broadcast::{self, error::RecvError};

/// Longest time anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const SOCKET: &str = "/var/run/docker.sock";
pub const HOST: &str = "here";

/// The image of the containers: it has git and a user `dev`.
pub fn image() -> String {
    std::env::var("BERTH_TEST_IMAGE").unwrap_or_else(|_| "berth-demo/workspace:bookworm".to_owned())
}

pub struct World {
    pub backend: Arc<dyn Backend>,
    pub instance: InstanceId,
}

impl World {
    /// Runs a test as an instance of its own on this machine's daemon, and cleans up behind it.
    pub async fn run(test: impl AsyncFnOnce(&World)) {
        Self::run_at(&format!("endpoint: 'unix://{SOCKET}'"), test).await;
    }

    /// The same, with the daemon reached in another way.
    pub async fn run_at(host: &str, test: impl AsyncFnOnce(&World)) {
        let world = Self::open(host);
        let outcome = AssertUnwindSafe(test(&world)).catch_unwind().await;
        clean_up(&world.instance);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    }

    /// Another instance; whoever makes it also calls [`clean_up`].
    pub fn open(host: &str) -> Self {
        let instance = InstanceId(format!("test-{}", BodyId::random()));
        Self { backend: connect(host, &instance), instance }
    }

    /// A second connection of the same instance, as after a restart of the operator.
    pub fn again(&self, host: &str) -> Self {
        Self { backend: connect(host, &self.instance), instance: self.instance.clone() }
    }

    /// Makes a container and starts it.
    pub async fn running(&self, name: &str) -> ContainerRef {
        let container = self.created(name).await;
        self.backend.start(&container).await.unwrap();
        container
    }

    /// Makes a container.
    pub async fn created(&self, name: &str) -> ContainerRef {
        let container = container_ref(name);
        self.backend.create(&container.body, &spec(), &Default::default()).await.unwrap();
        container
    }

    pub async fn look(&self, container: &ContainerRef) -> Container {
        let body = self.backend.inspect(&container.body).await.unwrap();
        body.containers.into_iter().find(|found| found.incarnation == container.incarnation).unwrap()
    }

    pub async fn guest(&self, container: &ContainerRef) -> Box<dyn Guest> {
        self.backend.guest(container).await.unwrap()
    }

    /// Runs a script as root.
    pub async fn sh(&self, container: &ContainerRef, script: &str) -> ExecOutput {
        self.guest(container).await.run(ExecRequest::script("root", script)).await.unwrap()
    }

    pub fn host_is_up(&self) -> bool {
        self.backend.hosts()[0].unreachable.is_none()
    }
}

fn connect(host: &str, instance: &InstanceId) -> Arc<dyn Backend> {
    let yaml = format!("hosts: [{{name: {HOST}, {host}}}]\nnetworkRange: 10.231.0.0/18");
    let config: config::DockerBackend = serde_yaml::from_str(&yaml).unwrap();
    DockerBackend::connect(&config, instance.clone(), None).unwrap()
}

pub fn owner(name: &str) -> Owner {
    Owner { namespace: "team".to_owned(), name: name.to_owned(), uid: format!("uid-of-{name}") }
}

pub fn container_ref(name: &str) -> ContainerRef {
    let body = BodyRef {
        host: HOST.to_owned(),
        id: BodyId::random(),
        owner: owner(name),
        known: Default::default(),
    };
    ContainerRef { body, incarnation: Incarnation::FIRST }
}

pub fn spec() -> ContainerSpec {
    ContainerSpec {
        incarnation: Incarnation::FIRST,
        image: image(),
        user: "dev".to_owned(),
        hostname: "web".to_owned(),
        cpu_millis: 500,
        memory_bytes: 128 << 20,
        pids: 128,
        dns_servers: Vec::new(),
        infrastructure: Default::default(),
    }
}

/// Waits until something is so.
pub async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for a change to be announced.
pub async fn announced(changes: &mut broadcast::Receiver<Change>, wanted: Change) {
    let wait = async {
        loop {
            match changes.recv().await {
                Ok(change) if change == wanted => break,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => panic!("no more changes, and no {wanted:?}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("a change in time");
}

/// The `docker` command, on this machine's daemon.
pub fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Removes everything of an instance.
pub fn clean_up(instance: &InstanceId) {
    let filter = format!("label=berth.dev/instance={instance}");
    let kinds: [(&[&str], &[&str]); 3] = [
        (&["ps", "-aq", "--filter", &filter], &["rm", "-f"]),
        (&["network", "ls", "-q", "--filter", &filter], &["network", "rm"]),
        (&["volume", "ls", "-q", "--filter", &filter], &["volume", "rm", "-f"]),
    ];
    for (list, remove) in kinds {
        let found = docker(list);
        let names: Vec<_> = found.lines().collect();
        if !names.is_empty() {
            docker(&[remove, &names].concat());
        }
    }
}
