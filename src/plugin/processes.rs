//! `ps`: the processes in a workspace.

use berth_link::wire::system::{SystemProcess, SystemProcesses};

use super::{arguments::Output, client::Cluster, exit::Failure, local, table};

/// Lists them.
pub async fn run(cluster: &Cluster, name: &str, output: Output) -> Result<u8, Failure> {
    let found: SystemProcesses = cluster.workspace(name).document("processes/system").await?;
    match output {
        Output::Json => local::json(&found)?,
        Output::Text => local::print(listing(&found.processes, jiff::Timestamp::now()).as_bytes())?,
    }
    Ok(0)
}

fn listing(processes: &[SystemProcess], now: jiff::Timestamp) -> String {
    let rows: Vec<_> = processes
        .iter()
        .map(|process| {
            let ports: Vec<_> = process.ports.iter().map(u16::to_string).collect();
            [
                process.pid.to_string(),
                process.user.clone(),
                process.state.clone(),
                table::bytes(process.resident_bytes),
                format!("{}s", process.cpu_ms / 1_000),
                process.started_at.map(|started| table::age(started, now)).unwrap_or_default(),
                ports.join(","),
                process.supervised.clone().unwrap_or_default(),
                process.command.clone(),
            ]
        })
        .collect();
    table::render(["PID", "USER", "STATE", "MEMORY", "CPU", "AGE", "PORTS", "DEVSERVER", "COMMAND"], &rows)
}
