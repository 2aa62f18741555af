//! The operator's process: from the configuration file to the leader's work, and back out.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, Resource, api::ListParams};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    api::{DevServer, Template, Workspace},
    backend::{
        AgentBinary, Backends, InstanceId, SharedBackend,
        docker::DockerBackend,
        memory::MemoryBackend,
        metered::Metered,
        proxmox::{ProxmoxBackend, check},
    },
    config::{BackendConfig, Config, GatewayConfig},
    controller::{
        leader::{self, Resources},
        lease::Election,
        workspace::agent::Delivery,
    },
    gateway::{self, Gateway},
    health::{self, Readiness},
    internal::{self, certificates, follow::Follower, leader::Leadership},
    link::{
        hub::Hub,
        keys::{self, Keys},
        metrics::LinkMetrics,
    },
    listener,
    metrics::Metrics,
};

/// Time between two looks for something that the start waits for.
const RETRY: Duration = Duration::from_secs(2);
/// How long `berth backend check` waits for a host.
const CHECK_TIME: Duration = Duration::from_secs(10);
/// How long passes under way may take to end after a request to stop.
const DRAIN: Duration = Duration::from_secs(20);

/// The parts of the operator that a process can run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Everything.
    All,
    /// The controllers alone: backends and their credentials, and nothing that is public.
    Controller,
    /// The gateway alone: the way into workspaces, and no credentials of backends.
    Gateway,
}

impl Role {
    fn controls(self) -> bool {
        self != Self::Gateway
    }

    fn serves(self) -> bool {
        self != Self::Controller
    }
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(config: Config, role: Role) -> anyhow::Result<()> {
    anyhow::ensure!(
        role != Role::Gateway || config.gateway.is_some(),
        "the role gateway needs the section gateway of the configuration"
    );
    anyhow::ensure!(
        role == Role::Gateway || !config.backends.is_empty(),
        "backends: all roles but the gateway's need at least one backend in the configuration"
    );
    let config = Arc::new(config);
    let stop = CancellationToken::new();
    tokio::spawn(cancel_on_signal(stop.clone())?);
    let metrics = Arc::new(Metrics::new()?);
    let (ready, readiness) = watch::channel(Err("starting".to_owned()));
    let address = health::serve(config.listen, Arc::clone(&metrics), readiness, stop.clone()).await?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %address, "starting");

    let client = Client::try_default().await.context("no Kubernetes cluster is configured")?;
    let work = async {
        wait_for_api(&client, &config, role, &ready).await;
        let instance = instance(&client, &config, &ready).await;
        tracing::info!(%instance, "the marks on the backends carry this instance");
        let keys = match &config.gateway {
            Some(_) => {
                let (namespace, name) = (config.own_namespace(), keys_name(&config));
                Some(keys::obtain(&client, &namespace, &name, &instance, role.controls()).await)
            }
            None => None,
        };
        let delivery = match (&config.gateway, &keys) {
            (Some(gateway), Some(keys)) if role.controls() => Some(delivery(gateway, keys)?),
            _ => None,
        };
        let identity = identity();
        let leadership = watch::Sender::new(None);
        let (gateway, address) = match (&config.gateway, &keys) {
            (Some(settings), Some(keys)) => {
                let parts = Parts {
                    client: &client,
                    config: &config,
                    settings,
                    keys,
                    identity: &identity,
                    role,
                    metrics: &metrics,
                };
                let (gateway, address) = parts.start(leadership.subscribe(), &stop).await?;
                (gateway, Some(address))
            }
            _ => (None, None),
        };
        if !role.controls() {
            let _ = ready.send(Ok(()));
            stop.cancelled().await;
            return Ok(());
        }
        let backends = connect(&config, &instance, delivery.as_ref(), &metrics)?;
        let ca_bundles = read_ca_bundles(&config)?;
        let _ = ready.send(Ok(()));
        let resources = Resources {
            client: client.clone(),
            config: Arc::clone(&config),
            backends,
            ca_bundles,
            metrics: Arc::clone(&metrics),
            delivery,
            gateway,
            leadership,
            address,
            identity,
        };
        lead(resources, &stop).await
    };
    tokio::select! {
        result = work => result,
        () = async { stop.cancelled().await; tokio::time::sleep(DRAIN + Duration::from_secs(5)).await } => {
            anyhow::bail!("passes under way did not end in time")
        }
    }
}

/// Stands for the lease, works while it holds, and stands again when it was lost.
async fn lead(resources: Resources, stop: &CancellationToken) -> anyhow::Result<()> {
    let config = Arc::clone(&resources.config);
    // Its own client: its own connections, which the controllers' requests can not fill.
    let client = Client::try_default().await?;
    let election = Election::new(
        client,
        &config.own_namespace(),
        &config.leader_election.lease_name,
        &resources.identity,
        config.leader_election.duration.0,
        config.leader_election.renew_interval.0,
    );
    let mut election = election.announcing(resources.address.clone());
    loop {
        let held = tokio::select! {
            held = election.acquire() => held,
            () = stop.cancelled() => return Ok(()),
        };
        tracing::info!(identity = resources.identity, "this replica is the leader");
        resources.metrics.leads(true);
        // The lease is renewed until the work has ended, so that nobody takes over while passes
        // are still under way; and dropping the work ends it at once where the lease is lost.
        let finished = CancellationToken::new();
        let mut work = AbortOnDropHandle::new(tokio::spawn(leader::run(resources.clone(), stop.clone())));
        let keep = election.keep(held, &finished);
        tokio::pin!(keep);
        let kept = tokio::select! {
            biased;
            lost = &mut keep => lost,
            _ = &mut work => {
                finished.cancel();
                keep.await
            }
        };
        drop(work);
        resources.metrics.leads(false);
        match kept {
            Ok(held) => {
                election.release(held).await;
                if stop.is_cancelled() {
                    return Ok(());
                }
                anyhow::bail!("the controllers ended by themselves");
            }
            Err(error) => {
                tracing::error!(%error, "this replica is no longer the leader; all work was stopped")
            }
        }
    }
}

/// Waits until the API server serves our kinds. A gateway has no use for Templates, and no right.
async fn wait_for_api(client: &Client, config: &Config, role: Role, ready: &watch::Sender<Readiness>) {
    let namespace = config.watch_namespaces.first();
    loop {
        let problem = if let Err(error) = probe::<Workspace>(client, namespace).await {
            missing("workspaces", &error)
        } else if let Err(error) = probe::<DevServer>(client, namespace).await {
            missing("devservers", &error)
        } else if role.controls()
            && let Err(error) = probe::<Template>(client, namespace).await
        {
            missing("templates", &error)
        } else {
            return;
        };
        if ready.borrow().as_ref().err() != Some(&problem) {
            tracing::warn!("{problem}");
        }
        let _ = ready.send(Err(problem));
        tokio::time::sleep(RETRY).await;
    }
}

async fn probe<K>(client: &Client, namespace: Option<&String>) -> kube::Result<()>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    api.list_metadata(&ListParams::default().limit(1)).await.map(drop)
}

fn missing(plural: &str, error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 404 => format!(
            "waiting for the CustomResourceDefinition {plural}.{}: install the chart, or apply what `berth crds` prints",
            crate::api::GROUP
        ),
        kube::Error::Api(status) if status.code == 403 => {
            format!("waiting for permission: {}", status.message)
        }
        error => format!("waiting for the API server: {error}"),
    }
}

/// The configured instance, else one that no other cluster or installation has.
async fn instance(client: &Client, config: &Config, ready: &watch::Sender<Readiness>) -> InstanceId {
    if let Some(instance) = &config.instance {
        return InstanceId(instance.clone());
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    loop {
        let problem = match namespaces.get("kube-system").await {
            Ok(Namespace { metadata, .. }) if metadata.uid.is_some() => {
                let uid = metadata.uid.unwrap_or_default();
                return InstanceId(format!("{uid}.{}", config.own_namespace()));
            }
            Ok(_) => "namespace kube-system has no uid".to_owned(),
            Err(error) => format!("the uid of namespace kube-system can not be read: {error}"),
        };
        tracing::warn!("{problem}");
        let _ = ready.send(Err(problem));
        tokio::time::sleep(RETRY).await;
    }
}

/// What gateway and internal listener are made from.
struct Parts<'a> {
    client: &'a Client,
    config: &'a Config,
    settings: &'a GatewayConfig,
    keys: &'a Keys,
    identity: &'a str,
    role: Role,
    metrics: &'a Metrics,
}

impl Parts<'_> {
    /// Starts the internal listener, and the gateway where this process has one. Returns that
    /// and where other replicas reach this one.
    async fn start(
        &self,
        leadership: Leadership,
        stop: &CancellationToken,
    ) -> anyhow::Result<(Option<Gateway>, String)> {
        let Self { client, config, settings, keys, identity, role, metrics } = *self;
        let listen = settings.internal.listen;
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("gateway.internal.listen {listen}"))?;
        let address = settings.internal.address(listener.local_addr()?.port());
        let store = certificates::Store::new(client, config);
        let shown = internal::identity::obtain(store.clone(), role.controls(), stop).await?;
        let hub = Hub::new(identity, LinkMetrics::register(metrics.registry())?);
        let service = internal::serve::service(Arc::clone(&hub), leadership);
        tokio::spawn(listener::serve(listener, Some(shown.server.clone()), service, stop.clone()));
        if role.controls() && settings.aggregated.is_some() {
            let keeping = internal::api_service::keep(client.clone(), store);
            tokio::spawn(stop.clone().run_until_cancelled_owned(keeping));
        }
        if !role.serves() {
            return Ok((None, address));
        }
        let (namespace, lease) = (config.own_namespace(), &config.leader_election.lease_name);
        let tls = shown.client.clone();
        let follower = Follower::new(client, &namespace, lease, identity, &address, tls);
        let leader = follower.leader.subscribe();
        let parts = gateway::Parts { client, config, settings, keys, hub, shown: &shown, leader, metrics };
        let gateway = parts.start(stop).await?;
        let following = follower.run(gateway.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(following));
        Ok((Some(gateway), address))
    }
}

/// Name of the Secret with the keys that an installation makes for itself.
fn keys_name(config: &Config) -> String {
    format!("{}-keys", config.leader_election.lease_name)
}

/// How agents come into workspaces, and to this gateway.
fn delivery(gateway: &GatewayConfig, keys: &Keys) -> anyhow::Result<Delivery> {
    let path = match &gateway.agent.binary {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("berth-agent"),
    };
    let binary = AgentBinary::read(&path)
        .with_context(|| format!("the agent's program {} (gateway.agent.binary)", path.display()))?;
    let certificate_authorities = match &gateway.agent_ca_file {
        Some(file) => Some(
            std::fs::read_to_string(file)
                .with_context(|| format!("gateway.agentCaFile {}", file.display()))?,
        ),
        None => None,
    };
    Ok(Delivery {
        binary,
        keys: keys.tokens.clone(),
        gateways: gateway.agent_addresses(),
        certificate_authorities,
        connect_timeout: gateway.agent.connect_timeout.0,
        grace: gateway.agent.grace.0,
    })
}

fn connect(
    config: &Config,
    instance: &InstanceId,
    delivery: Option<&Delivery>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Backends> {
    let mut backends = Backends::new();
    for backend in &config.backends {
        let agent = delivery.map(|delivery| delivery.binary.clone());
        let connected = connect_one(backend, instance, agent)?;
        let (metrics, name) = (Arc::clone(metrics), backend.name.clone());
        let observer = Arc::new(move |call: &'static str, result: &'static str, took: Duration| {
            metrics.backend_called(&name, call, result, took);
        });
        backends.insert(backend.name.clone(), Arc::new(Metered::new(connected, observer)));
    }
    Ok(backends)
}

fn connect_one(
    backend: &BackendConfig,
    instance: &InstanceId,
    agent: Option<AgentBinary>,
) -> anyhow::Result<SharedBackend> {
    let set_up = || format!("backend {:?} can not be set up", backend.name);
    if let Some(docker) = &backend.docker {
        return DockerBackend::connect(docker, instance.clone(), agent).with_context(set_up);
    }
    if let Some(proxmox) = &backend.proxmox {
        return ProxmoxBackend::connect(proxmox, instance.clone(), agent).with_context(set_up);
    }
    if let Some(memory) = &backend.memory {
        return Ok(MemoryBackend::new(memory, instance.clone()));
    }
    anyhow::bail!("backend {:?} has no kind", backend.name)
}

fn read_ca_bundles(config: &Config) -> anyhow::Result<BTreeMap<String, String>> {
    let mut bundles = BTreeMap::new();
    for backend in &config.backends {
        if let Some(file) = backend.surroundings().ca_bundle_file {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("caBundleFile of backend {:?}: {}", backend.name, file.display()))?;
            bundles.insert(backend.name.clone(), text);
        }
    }
    Ok(bundles)
}

/// This replica's name: the pod's, with something that tells two runs of it apart.
fn identity() -> String {
    let host = std::env::var("POD_NAME")
        .or_else(|_| std::env::var("HOSTNAME"))
        .unwrap_or_else(|_| "berth".to_owned());
    format!("{host}_{}", hex::encode(rand::random::<[u8; 4]>()))
}

fn cancel_on_signal(stop: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop: finishing what is under way");
        stop.cancel();
    })
}

/// Connects to every host of a backend and prints what was found. `templates` are VMIDs of a Proxmox
/// VE cluster that have to be usable templates.
pub async fn check_backend(config: &Config, name: &str, templates: &[u32]) -> anyhow::Result<()> {
    let known: Vec<&str> = config.backends.iter().map(|backend| backend.name.as_str()).collect();
    let backend = config
        .backend(name)
        .with_context(|| format!("the configuration has no backend {name:?}, but {}", known.join(", ")))?;
    if let Some(proxmox) = &backend.proxmox {
        return check_proxmox(proxmox, name, templates).await;
    }
    anyhow::ensure!(templates.is_empty(), "backend {name:?} is no Proxmox VE cluster: it has no templates");
    let connected = connect_one(backend, &InstanceId("berth-backend-check".to_owned()), None)?;
    let mut changes = connected.changes();
    let deadline = tokio::time::Instant::now() + CHECK_TIME;
    while connected.hosts().iter().any(|host| host.unreachable.is_some()) {
        if tokio::time::timeout_at(deadline, changes.recv()).await.is_err() {
            break;
        }
    }
    let mut unreachable = 0;
    for host in connected.hosts() {
        match &host.unreachable {
            None => println!(
                "{}: reachable, {} CPUs, {} MiB of memory",
                host.name,
                host.cpus,
                host.memory_bytes >> 20
            ),
            Some(reason) => {
                unreachable += 1;
                println!("{}: NOT reachable: {reason}", host.name);
            }
        }
    }
    anyhow::ensure!(unreachable == 0, "{unreachable} host(s) of backend {name:?} can not be used");
    Ok(())
}

async fn check_proxmox(
    config: &crate::config::ProxmoxBackend,
    name: &str,
    templates: &[u32],
) -> anyhow::Result<()> {
    let findings = check::check(config, templates).await?;
    for finding in &findings {
        println!("{finding}");
    }
    let missing = findings.iter().filter(|finding| finding.verdict == check::Verdict::Missing).count();
    anyhow::ensure!(missing == 0, "{missing} thing(s) that backend {name:?} needs are missing");
    Ok(())
}
