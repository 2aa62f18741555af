//! Telling agents what is wanted of them: on every new link, and on every change.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::body::Body;
use berth_link::wire::process::DesiredProcesses;
use http::{Request, header};
use tokio::sync::watch;

use super::hub::{Hub, Open, Report};
use crate::{backend::BodyId, controller::agents::Wanted};

/// Time for an agent to take the set.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time until one that did not take it is told again.
const RETRY: Duration = Duration::from_secs(2);

/// Tells the agents with a link here, until what is wanted is no longer known.
///
/// An agent of which nothing is said keeps what it has: it was told by an earlier leader, and the
/// present one has not come to it yet.
pub async fn run(hub: Arc<Hub>, mut wanted: watch::Receiver<Wanted>) {
    let (_, mut reports) = hub.subscribe();
    let mut told: HashMap<BodyId, Arc<DesiredProcesses>> = HashMap::new();
    loop {
        let all_told = {
            let now = wanted.borrow_and_update().clone();
            tell(&hub, &now, &mut told).await
        };
        let retry =
            async { if all_told { std::future::pending().await } else { tokio::time::sleep(RETRY).await } };
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            report = reports.recv() => match report {
                Ok(Report::Linked(id, _) | Report::Lost(id)) => { told.remove(&id); }
                Ok(Report::Told(..)) => {}
                // What was missed may be a link.
                Err(_) => told.clear(),
            },
            () = retry => {}
        }
    }
}

/// Tells each agent that does not know yet. Returns whether all know now.
async fn tell(hub: &Hub, wanted: &Wanted, told: &mut HashMap<BodyId, Arc<DesiredProcesses>>) -> bool {
    let late: Vec<_> = hub
        .links()
        .into_iter()
        .filter_map(|open| Some((wanted.processes.get(&open.id())?.clone(), open)))
        .filter(|(desired, open)| told.get(&open.id()) != Some(desired))
        .collect();
    let results = futures::future::join_all(late.iter().map(|(desired, open)| put(open, desired))).await;
    let mut all = true;
    for ((desired, open), result) in late.iter().zip(results) {
        match result {
            Ok(()) => {
                told.insert(open.id(), Arc::clone(desired));
            }
            Err(error) => {
                tracing::debug!(id = %open.id(), "the agent did not take its processes: {error:#}");
                all = false;
            }
        }
    }
    all
}

async fn put(open: &Open, desired: &DesiredProcesses) -> anyhow::Result<()> {
    let request = Request::put("/v1/processes")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(serde_json::to_vec(desired)?))?;
    let answer = tokio::time::timeout(PATIENCE, open.send(request)).await??;
    anyhow::ensure!(answer.status().is_success(), "it answered {}", answer.status());
    Ok(())
}
