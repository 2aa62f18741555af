//! What a Workspace costs: time from nothing to Ready beside plain Docker, writes to the API
//! server, and memory and writes of thousands at rest. Prints Markdown for docs/benchmarks.md.
//!
//! `cargo bench --bench workspace`, after hack/tools.sh, hack/docker.sh up, hack/images.sh and
//! hack/agent.sh.
//! `BERTH_BENCH_WORKSPACES` sets how many are kept at rest (5000); with 0 that part is left out.

// A benchmark that fails is one that panics.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/integration/support/mod.rs"]
mod support;

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use berth::api::Workspace;
use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api,
    api::{WatchEvent, WatchParams},
};
use serde_json::{Value, json};
use support::{
    ControlPlane, Docker, Namespace, Operator, Settings,
    control_plane::install_definitions,
    docker::docker,
    eventually, git_server,
    objects::{self, IMAGE},
};

/// Size of the repository, in megabytes.
const REPOSITORY: usize = 10;
/// Runs of each side.
const RUNS: usize = 15;
/// Time over which workspaces at rest are watched.
const REST: Duration = Duration::from_secs(60);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("no runtime");
    runtime.block_on(async {
        let folder = tempfile::tempdir().expect("no temporary folder");
        let audit = folder.path().join("audit.log");
        let plane = ControlPlane::start_with("bench", &[("BERTH_AUDIT_LOG", audit.as_path())]);
        install_definitions(&plane.client().await).await;
        cold_start(&plane, &audit).await;
        at_rest(&plane, &audit).await;
    });
}

/// Time from the user's create to Ready, beside `docker run` and `git clone`.
async fn cold_start(plane: &ControlPlane, audit: &Path) {
    let namespace = plane.namespace("cold").await;
    // With a gateway, so that there is an agent, and Ready means that it has its link.
    let mut settings = Settings::with_gateway(plane.kubeconfig(), &namespace.name);
    settings.config["log"]["filter"] = json!("info");
    let operator = Operator::start(settings).await;
    let _docker = Docker::of(operator.instance());
    let url = git_server().await.large(REPOSITORY);
    objects::template(&namespace).await;
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for run in 0..=RUNS {
        let (made, direct) = (workspace_ready(&namespace, &format!("w{run}"), &url).await, docker_run(&url));
        // The first run of each warms the caches of both.
        if run > 0 {
            ours.push(made);
            plain.push(direct);
        }
        if run == RUNS {
            writes_of_one(&namespace, audit, &format!("w{run}")).await;
        }
        objects::delete(&namespace, &format!("w{run}")).await;
        objects::gone(&namespace, &format!("w{run}")).await;
    }
    println!("\n### From create to Ready, repository of {REPOSITORY} MB, {RUNS} runs\n");
    println!("| | median | least | most |\n|---|---|---|---|");
    println!("| Workspace: create to Ready | {} |", figures(&mut ours));
    println!("| `docker run -d` + `docker exec git clone` | {} |", figures(&mut plain));
    let ratio = median(&mut ours).as_secs_f64() / median(&mut plain).as_secs_f64();
    println!("\nRatio of the medians: {ratio:.2} (target: at most 1.5)");
    namespace.delete().await;
}

async fn workspace_ready(namespace: &Namespace, name: &str, url: &str) -> Duration {
    let api: Api<Workspace> = namespace.api();
    let parameters = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut changes = api.watch(&parameters, "0").await.expect("no watch").boxed();
    let started = Instant::now();
    objects::workspace(namespace, name, json!({"repository": {"url": url}})).await;
    while let Some(change) = changes.try_next().await.expect("the watch broke") {
        if let WatchEvent::Added(one) | WatchEvent::Modified(one) = change
            && objects::condition(&one, "Ready").starts_with("True")
        {
            return started.elapsed();
        }
    }
    panic!("{name} did not become Ready while it was watched")
}

fn docker_run(url: &str) -> Duration {
    let started = Instant::now();
    let container = docker(&["run", "--detach", IMAGE, "sleep", "infinity"]).remove(0);
    docker(&["exec", &container, "git", "clone", "--quiet", url, "/tmp/clone"]);
    let took = started.elapsed();
    docker(&["rm", "--force", "--volumes", &container]);
    took
}

/// The writes to the API server about one workspace, from its creation to Ready.
async fn writes_of_one(namespace: &Namespace, audit: &Path, name: &str) {
    let of_it = |line: &Value| {
        let object = &line["objectRef"];
        let named = object["name"].as_str().unwrap_or_default();
        object["namespace"] == namespace.name
            && (named == name || named.starts_with(&format!("{name}.")))
            && object["resource"] != "leases"
    };
    let counts = writes(audit, 0, of_it);
    println!("\n### Writes to the API server for one Workspace, from its creation to Ready\n");
    println!("| verb and resource | writes |\n|---|---|");
    for (what, count) in &counts {
        println!("| {what} | {count} |");
    }
    println!("\nTogether: {} (target: at most 12)", counts.values().sum::<usize>());
}

/// Thousands of workspaces on the memory backend, with nothing to do.
async fn at_rest(plane: &ControlPlane, audit: &Path) {
    let count: usize =
        std::env::var("BERTH_BENCH_WORKSPACES").ok().and_then(|text| text.parse().ok()).unwrap_or(5000);
    if count == 0 {
        return;
    }
    let namespace = plane.namespace("rest").await;
    let backends = json!([{"name": "memory", "memory": {"hosts": ["a", "b"]}}]);
    let mut settings = Settings::new(plane.kubeconfig(), &namespace.name, backends);
    settings.config["controller"] = json!({"concurrency": 16});
    settings.config["log"]["filter"] = json!("info");
    settings.config["leaderElection"] = json!({"leaseName": "berth"});
    let operator = Operator::start(settings).await;
    objects::template(&namespace).await;
    let started = Instant::now();
    stream::iter(0..count)
        .for_each_concurrent(32, |number| {
            let namespace = &namespace;
            async move { drop(objects::workspace(namespace, &format!("w{number}"), json!({})).await) }
        })
        .await;
    let limit = Duration::from_secs(900);
    eventually(limit, "all are running", || async {
        let running = running(&operator).await;
        if running == count { Ok(()) } else { Err(running) }
    })
    .await;
    let until_running = started.elapsed();
    let before = std::fs::metadata(audit).expect("no audit log").len();
    // The figure is about a stretch of time, so this waits for one.
    tokio::time::sleep(REST).await;
    let of_us = |line: &Value| {
        line["objectRef"]["resource"] != "leases" && line["objectRef"]["namespace"] == namespace.name
    };
    let written: usize = writes(audit, before, of_us).values().sum();
    let resident = operator.resident_bytes() as f64 / f64::from(1 << 20);
    println!("\n### {count} Workspaces at rest, memory backend\n");
    println!("| | measured | target |\n|---|---|---|");
    println!("| until all were Running | {:.0} s | |", until_running.as_secs_f64());
    println!("| resident memory of the operator | {resident:.0} MB | under 200 MB |");
    println!("| writes to the API server in a minute, the Lease not counted | {written} | under 10 |");
    drop(operator);
    namespace.delete().await;
}

async fn running(operator: &Operator) -> usize {
    let (_, metrics) = operator.get("/metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix("berth_workspaces{phase=\"Running\"} "));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}

/// Successful writes in the audit log from an offset on, by verb and resource. What the control
/// plane itself writes does not count.
fn writes(audit: &Path, from: u64, counts: impl Fn(&Value) -> bool) -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(audit).expect("no audit log");
    let mut found = BTreeMap::new();
    for line in text[from as usize..].lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let verb = line["verb"].as_str().unwrap_or_default();
        let user = line["user"]["username"].as_str().unwrap_or_default();
        let succeeded = line["responseStatus"]["code"].as_u64().unwrap_or_default() < 300;
        if ["create", "update", "patch", "delete"].contains(&verb)
            && !user.starts_with("system:")
            && succeeded
            && counts(&line)
        {
            let object = &line["objectRef"];
            let part = object["subresource"].as_str().map(|part| format!("/{part}")).unwrap_or_default();
            let what = format!("{verb} {}{part}", object["resource"].as_str().unwrap_or_default());
            *found.entry(what).or_default() += 1;
        }
    }
    found
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn figures(times: &mut [Duration]) -> String {
    let middle = median(times);
    let show = |time: Duration| format!("{:.2} s", time.as_secs_f64());
    format!("{} | {} | {}", show(middle), show(times[0]), show(times[times.len() - 1]))
}
