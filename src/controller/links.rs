//! What the gateways tell the leader, and what it tells them.

use std::sync::{Arc, PoisonError};

use berth_link::wire::Event;
use tokio::sync::broadcast::error::RecvError;

use super::context::Context;
use crate::{backend::BodyId, gateway::Gateway, link::hub::Report};

/// Keeps what is known of the agents up to date with one gateway, and tells it what is wanted.
/// Runs until the gateway is gone.
pub async fn follow(context: Arc<Context>, gateway: Gateway) {
    let mut wanted = context.agents.wanted();
    let forward = async {
        loop {
            gateway.wanted.send_replace(wanted.borrow_and_update().clone());
            if wanted.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::join!(forward, listen(&context, &gateway));
}

async fn listen(context: &Context, gateway: &Gateway) {
    loop {
        let (known, mut reports) = gateway.hub.subscribe();
        for report in known {
            note(context, report);
        }
        loop {
            match reports.recv().await {
                Ok(report) => note(context, report),
                // What was missed is in the next subscription's beginning; what was lost meanwhile
                // is not, so that is found out here.
                Err(RecvError::Lagged(_)) => {
                    for id in context.agents.linked() {
                        if !gateway.hub.holds(id) {
                            note(context, Report::Lost(id));
                        }
                    }
                    break;
                }
                Err(RecvError::Closed) => return,
            }
        }
    }
}

fn note(context: &Context, report: Report) {
    let (id, changed) = match report {
        Report::Linked(id, link) => (
            id,
            context.agents.note(id, |agent| {
                agent.link = Some(*link);
                agent.linked_at = Some(std::time::Instant::now());
                agent.lost_at = None;
            }),
        ),
        Report::Lost(id) => (
            id,
            context.agents.note(id, |agent| {
                agent.link = None;
                agent.lost_at = Some(std::time::Instant::now());
            }),
        ),
        Report::Told(id, Event::Processes(processes)) => {
            (id, context.agents.note(id, |agent| agent.processes = Some(Arc::new(processes))))
        }
        Report::Told(id, Event::Activity(activity)) => {
            context.agents.note(id, |agent| agent.activity = Some(activity));
            return;
        }
    };
    if changed {
        wake(context, id);
    }
}

fn wake(context: &Context, id: BodyId) {
    let key = context.bodies.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
    if let Some(key) = key {
        context.triggers.workspace(key);
    }
}
