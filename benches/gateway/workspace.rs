//! One workspace with a dev server: its preview, and calls of the public API.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    calls::Program,
    figures::milliseconds,
    load::{CONNECTIONS, Requests, Site},
    program, server,
    support::{
        ControlPlane, Docker, Namespace, Operator, Settings,
        docker::docker,
        objects::{self, IMAGE},
    },
};
use crate::figures::{Latency, megabytes};

/// Port of the dev server.
const PORT: u16 = 3000;
/// Time of each load.
const LOAD: Duration = Duration::from_secs(10);
/// Commands and keys.
const CALLS: usize = 500;
/// Commands by `docker exec`.
const DIRECT_CALLS: usize = 50;

/// Measures, and prints it.
pub async fn measure(plane: &ControlPlane) {
    let namespace = plane.namespace("gateway").await;
    let mut settings = Settings::with_gateway(plane.kubeconfig(), &namespace.name);
    settings.config["log"]["filter"] = json!("info");
    // How many commands one identity may run in a minute is no matter of speed.
    settings.config["gateway"]["rates"] = json!({"exec": 0});
    let gateway = settings.gateway_url().replace("http://localhost", "127.0.0.1");
    let operator = Operator::start(settings).await;
    let docker = Docker::of(operator.instance());
    // All there is: the dev server and the agent are to have what they would have without limits.
    let processors = std::thread::available_parallelism().expect("no processors").get();
    let spec = json!({
        "docker": {"image": IMAGE, "pullPolicy": "Never"},
        "resources": {"cpu": processors.to_string()},
    });
    objects::template_with(&namespace, "base", spec).await;
    objects::workspace(&namespace, "one", json!({})).await;
    objects::ready(&namespace, "one").await;
    let container = docker.containers().remove(0);
    let preview = preview(&namespace, &container, &gateway).await;
    let address = docker.inspect(&container, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
    let place = format!("{address}:{PORT}");
    previews(&Site { host: place.clone(), place }, &preview);
    let program = Program {
        token: program::token(&namespace).await,
        workspace: format!("/api/v1/namespaces/{}/workspaces/one", namespace.name),
        gateway,
    };
    calls(&program, &container).await;
    objects::delete(&namespace, "one").await;
    objects::gone(&namespace, "one").await;
    drop(operator);
    namespace.delete().await;
}

/// Puts the server into the container, and has it previewed.
async fn preview(namespace: &Namespace, container: &str, gateway: &str) -> Site {
    let ourselves = std::env::current_exe().expect("this program has no file");
    docker(&["cp", &ourselves.to_string_lossy(), &format!("{container}:/workspace/server")]);
    let spec = json!({
        "workspaceRef": {"name": "one"},
        "command": "exec /workspace/server serve \"$PORT\"",
        "port": PORT,
    });
    objects::devserver(namespace, "web", spec).await;
    let web = objects::devserver_ready(namespace, "web").await;
    let url = web.status.and_then(|status| status.preview?.url).expect("it has no preview");
    let host = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    Site { place: gateway.to_owned(), host }
}

fn previews(direct: &Site, preview: &Site) {
    // The first load opens connections and warms caches.
    preview.requests(Duration::from_secs(2));
    let (through, beside) = (preview.requests(LOAD), direct.requests(LOAD));
    println!("\n### A preview, {CONNECTIONS} connections, {} s\n", LOAD.as_secs());
    println!("| | requests/s | p50 | p99 | one file of 1 GiB |\n|---|---|---|---|---|");
    let row = |what: &str, requests: &Requests, site: &Site| {
        let (p50, p99) = (milliseconds(requests.latency.p50), milliseconds(requests.latency.p99));
        let large = megabytes(site.throughput(server::LARGE) as u64);
        println!("| {what} | {:.0} | {p50} | {p99} | {large:.0} MiB/s |", requests.a_second);
    };
    row("through the gateway and the agent", &through, preview);
    row("directly, at the container's address", &beside, direct);
    println!("| target, through the gateway | 25,000 | | | 250 MB/s |");
}

async fn calls(program: &Program, container: &str) {
    let (keys, commands) = (program.keys(CALLS).await, program.commands(CALLS).await);
    let direct = (0..DIRECT_CALLS).map(|_| docker_exec(container)).collect();
    println!("\n### Calls of the public API, {CALLS} one after the other\n");
    println!("| | p50 | p99 |\n|---|---|---|");
    for (what, times) in [
        ("a key typed into a terminal, to its echo", keys),
        ("`true` by `POST exec`", commands),
        ("`docker exec true`", direct),
    ] {
        let Latency { p50, p99 } = Latency::of(times);
        println!("| {what} | {} | {} |", milliseconds(p50), milliseconds(p99));
    }
}

fn docker_exec(container: &str) -> Duration {
    let started = Instant::now();
    docker(&["exec", container, "true"]);
    started.elapsed()
}
