//! A gateway with many links: its memory, and how long it takes until all are back after all
//! broke at once.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use berth::{
    api::Workspace,
    backend::InstanceId,
    link::{
        keys,
        token::{Bearer, Epoch, TokenKeys},
    },
};
use futures::{StreamExt, stream};
use kube::{Api, api::ListParams};
use secrecy::ExposeSecret;
use serde_json::json;

use super::{
    agents::Agents,
    figures::{megabytes, seconds},
    support::{ControlPlane, Namespace, Operator, Settings, eventually, eventually_every, objects},
};

/// Time for everything that is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

/// Measures, and prints it.
pub async fn measure(plane: &ControlPlane) {
    let count: usize =
        std::env::var("BERTH_BENCH_LINKS").ok().and_then(|text| text.parse().ok()).unwrap_or(1000);
    let namespace = plane.namespace("links").await;
    let controller = controller(plane, &namespace).await;
    let mut gateway = gateway(&controller.settings).await;
    let without = gateway.resident_bytes();
    objects::template(&namespace).await;
    let mut agents = Agents::of(&controller.settings.gateway_url().replace("localhost", "127.0.0.1"));
    linked_workspaces(&namespace, &controller, &mut agents, count).await;
    all_linked(&gateway, count).await;
    let with = gateway.resident_bytes();

    let cut = Instant::now();
    let before = connects(&gateway).await;
    agents.cut();
    eventually(PATIENCE, "all agents dialled anew", || async {
        let now = connects(&gateway).await;
        if now - before >= count { Ok(()) } else { Err(now) }
    })
    .await;
    all_linked(&gateway, count).await;
    let after_cut = cut.elapsed();

    gateway.kill().await;
    let started = Instant::now();
    gateway.restart().await;
    let served = started.elapsed();
    all_linked(&gateway, count).await;
    let after_kill = started.elapsed();

    println!("\n### A gateway with {count} links\n");
    println!("| | measured |\n|---|---|");
    println!("| resident memory without a link | {:.0} MiB |", megabytes(without));
    println!("| with {count} links at rest | {:.0} MiB |", megabytes(with));
    println!("| after all were cut and came back | {:.0} MiB |", megabytes(gateway.resident_bytes()));
    println!("| all connections cut at once, until all links are back | {} |", seconds(after_cut));
    println!("| gateway killed and started again, until it serves | {} |", seconds(served));
    println!("| the same, until all links are back | {} |", seconds(after_kill));
    drop((agents, gateway, controller));
    namespace.delete().await;
}

/// The controllers, with hosts that exist only inside their process.
async fn controller(plane: &ControlPlane, namespace: &Namespace) -> Operator {
    let mut settings = Settings::with_gateway(plane.kubeconfig(), &namespace.name);
    settings.role = "controller";
    settings.config["backends"] = json!([{"name": "memory", "memory": {"hosts": ["a", "b"]}}]);
    settings.config["controller"] = json!({"concurrency": 16});
    settings.config["log"]["filter"] = json!("info");
    Operator::start(settings).await
}

async fn gateway(controller: &Settings) -> Operator {
    let mut settings = controller.clone();
    settings.role = "gateway";
    settings.config["backends"] = json!([]);
    Operator::start(settings).await
}

/// Makes workspaces, and starts the agent of each once that has a token.
async fn linked_workspaces(namespace: &Namespace, controller: &Operator, agents: &mut Agents, count: usize) {
    let instance = InstanceId(controller.settings.instance.clone());
    let keys = keys::obtain(&namespace.client, &namespace.name, "berth-keys", &instance, false).await.tokens;
    let making = stream::iter(0..count).for_each_concurrent(16, |number| async move {
        objects::workspace(namespace, &format!("w{number}"), json!({})).await;
    });
    let api: Api<Workspace> = namespace.api();
    let starting = async {
        let started = std::cell::RefCell::new((HashSet::new(), agents));
        eventually_every(Duration::from_secs(1), PATIENCE, "all have an agent", || async {
            let found = api.list(&ListParams::default().match_any()).await.expect("no list");
            let (started, agents) = &mut *started.borrow_mut();
            for bearer in found.iter().filter_map(bearer) {
                if started.insert(bearer.id) {
                    agents.start(&token(&keys, bearer));
                }
            }
            if started.len() == count { Ok(()) } else { Err(started.len()) }
        })
        .await;
    };
    tokio::join!(making, starting);
}

/// Whose token the agent of a workspace has, once it is there.
fn bearer(workspace: &Workspace) -> Option<Bearer> {
    let status = workspace.status.as_ref()?;
    Some(Bearer { id: status.id.as_ref()?.parse().ok()?, epoch: Epoch(status.incarnation?) })
}

fn token(keys: &TokenKeys, bearer: Bearer) -> String {
    keys.mint(bearer).expect("there is no key").expose_secret().to_owned()
}

async fn all_linked(gateway: &Operator, count: usize) {
    eventually(PATIENCE, "all have a link", || async {
        let linked = metric(gateway, "berth_agents_linked ").await;
        if linked == count { Ok(()) } else { Err(linked) }
    })
    .await;
}

/// Links that were opened so far.
async fn connects(gateway: &Operator) -> usize {
    metric(gateway, "berth_agent_connects_total ").await
}

async fn metric(gateway: &Operator, name: &str) -> usize {
    let (_, metrics) = gateway.get("/metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}
