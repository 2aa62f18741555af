//! What the gateway costs: previews beside the same server asked directly, commands and terminals
//! through the public API, a thousand links at rest and after all broke at once. Prints Markdown
//! for docs/benchmarks.md.
//!
//! `cargo bench --bench gateway`, after hack/tools.sh, hack/docker.sh up, hack/images.sh and
//! hack/agent.sh; it needs `wrk` and `curl`. `BERTH_BENCH_LINKS` sets the number of links (1000).

// A benchmark that fails is one that panics.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../tests/integration/support/mod.rs"]
mod support;

mod agents;
mod calls;
mod figures;
mod links;
mod load;
mod program;
mod server;
mod workspace;

use support::{ControlPlane, control_plane::install_definitions};

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("no runtime");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, port] = arguments.as_slice()
        && command == "serve"
    {
        return runtime.block_on(server::serve(port.parse().expect("it is no port")));
    }
    runtime.block_on(async {
        let plane = ControlPlane::start("bench");
        install_definitions(&plane.client().await).await;
        workspace::measure(&plane).await;
        links::measure(&plane).await;
    });
}
