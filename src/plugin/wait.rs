//! `wait`: until a workspace is as wanted, with its progress on the way.

use std::{io::IsTerminal, time::Duration};

use futures::TryStreamExt;
use kube::runtime::{WatchStreamExt, watcher};

use super::{
    arguments::{Goal, Output},
    client::Cluster,
    exit::{Failure, Kind, Subject},
    lifecycle::workspaces,
    local,
    table::plain,
};
use crate::api::{Workspace, condition::READY};

/// What a look at the workspace says.
#[derive(Debug, Eq, PartialEq)]
enum Look {
    /// It is as wanted.
    There,
    /// It will not get there by itself.
    Stuck(String),
    /// It is on its way.
    OnTheWay(String),
}

/// Waits for it.
pub async fn run(
    cluster: &Cluster,
    name: &str,
    goal: Goal,
    limit: Duration,
    output: Output,
) -> Result<u8, Failure> {
    let subject = Subject::workspace(name, &cluster.namespace);
    let api = workspaces(cluster);
    // One that is not there is not waited for.
    let first = async { api.get(name).await.map_err(|error| subject.failure(error)) };
    cluster.in_time(first).await?;
    let mut progress = Progress::new();
    let mut last = String::new();
    let waiting = async {
        let mut seen = std::pin::pin!(watcher::watch_object(api.clone(), name).default_backoff());
        loop {
            let found = match seen.try_next().await {
                Ok(Some(Some(found))) => found,
                Ok(Some(None)) => {
                    return Err(Failure::new(Kind::NotFound, format!("workspace {name:?} was deleted")));
                }
                Ok(None) => return Err(Failure::failed("the watch ended")),
                // It is started again, after a pause.
                Err(_) => continue,
            };
            match look(&found, goal) {
                Look::There => return Ok(found),
                Look::Stuck(why) => {
                    return Err(Failure::new(Kind::NotReady, format!("workspace {name:?}: {why}"))
                        .hint(format!("kubectl berth why {name} -n {} says more.", cluster.namespace)));
                }
                Look::OnTheWay(line) => {
                    progress.show(&line);
                    last = line;
                }
            }
        }
    };
    let found = tokio::time::timeout(limit, waiting).await;
    progress.clear();
    let found = found.unwrap_or_else(|_| {
        let limit = humantime::format_duration(limit);
        Err(Failure::new(
            Kind::NotReady,
            format!("workspace {name:?} is not {} after {limit}: {last}", word(goal)),
        )
        .hint(format!("kubectl berth why {name} -n {} says more.", cluster.namespace)))
    })?;
    match output {
        Output::Json => local::json(&found)?,
        Output::Text => local::line(&format!("workspace/{name} is {}", word(goal)))?,
    }
    Ok(0)
}

fn word(goal: Goal) -> &'static str {
    match goal {
        Goal::Ready => "ready",
        Goal::Suspended => "suspended",
    }
}

fn look(workspace: &Workspace, goal: Goal) -> Look {
    let status = workspace.status.clone().unwrap_or_default();
    let phase = status.phase.as_deref().unwrap_or("Pending");
    if status.observed_generation != workspace.metadata.generation {
        return Look::OnTheWay(format!("{phase}: the operator has not seen the last change yet"));
    }
    let ready = status.conditions.iter().any(|one| one.type_ == READY && one.status == "True");
    match goal {
        Goal::Ready if ready => return Look::There,
        Goal::Suspended if phase == "Suspended" => return Look::There,
        Goal::Ready if phase == "Suspended" => {
            return Look::Stuck("it is suspended; kubectl berth resume starts it".to_owned());
        }
        Goal::Suspended if ready => {
            return Look::Stuck(
                "it is not meant to be suspended; kubectl berth suspend does that".to_owned(),
            );
        }
        _ => {}
    }
    match &status.error {
        Some(error) if !error.retryable => {
            Look::Stuck(format!("{}: {}", error.reason, plain(&error.message)))
        }
        error => {
            let step = match (&status.step, status.step_index, status.total_steps) {
                (Some(step), Some(index), Some(total)) => format!(" {index}/{total} {step}"),
                (Some(step), ..) => format!(" {step}"),
                (None, ..) => String::new(),
            };
            let message = error
                .as_ref()
                .map(|error| format!("{}: {}", error.reason, error.message))
                .or(status.step_message.clone())
                .map(|message| format!(": {}", plain(&message)))
                .unwrap_or_default();
            Look::OnTheWay(format!("{phase}{step}{message}"))
        }
    }
}

/// The line about the progress: one that is written over on a terminal, else a new one for each
/// change.
struct Progress {
    terminal: bool,
    last: String,
}

impl Progress {
    fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), last: String::new() }
    }

    fn show(&mut self, line: &str) {
        if self.last == line {
            return;
        }
        self.last = line.to_owned();
        if !self.terminal {
            return local::note(&format!("{line}\n"));
        }
        let width = usize::from(local::size().cols).saturating_sub(1);
        let cut: String = line.chars().take(width).collect();
        local::print_error(format!("\r\u{1b}[2K{cut}").as_bytes());
    }

    fn clear(&self) {
        if self.terminal && !self.last.is_empty() {
            local::print_error(b"\r\x1b[2K");
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn at(status: Value, goal: Goal) -> Look {
        let object = json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Workspace", "metadata": {"name": "a", "generation": 1}, "spec": {}, "status": status});
        look(&serde_json::from_value(object).unwrap(), goal)
    }

    fn ready(status: &str) -> Value {
        json!([{"type": "Ready", "status": status, "reason": "R", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}])
    }

    fn error(retryable: bool) -> Value {
        json!({"step": "S", "reason": "ImageNotFound", "message": "no", "at": "2026-01-01T00:00:00Z", "retryable": retryable})
    }

    #[rstest]
    #[case(json!({"observedGeneration": 1, "conditions": ready("True")}), Goal::Ready)]
    #[case(json!({"observedGeneration": 1, "phase": "Suspended", "conditions": ready("False")}), Goal::Suspended)]
    fn it_is_there(#[case] status: Value, #[case] goal: Goal) {
        assert_eq!(at(status, goal), Look::There);
    }

    #[rstest]
    #[case(json!({"observedGeneration": 1, "phase": "Suspended", "conditions": ready("False")}), Goal::Ready)]
    #[case(json!({"observedGeneration": 1, "phase": "Running", "conditions": ready("True")}), Goal::Suspended)]
    #[case(json!({"observedGeneration": 1, "phase": "Failed", "error": error(false)}), Goal::Ready)]
    fn it_will_not_get_there(#[case] status: Value, #[case] goal: Goal) {
        assert!(matches!(at(status, goal), Look::Stuck(_)));
    }

    #[rstest]
    #[case(json!({}), "Pending: the operator has not seen the last change yet")]
    #[case(json!({"observedGeneration": 0, "conditions": ready("True")}), "Pending: the operator has not seen the last change yet")]
    #[case(json!({"observedGeneration": 1, "phase": "Provisioning", "step": "CloningRepository", "stepIndex": 5, "totalSteps": 8, "stepMessage": "40 %"}), "Provisioning 5/8 CloningRepository: 40 %")]
    #[case(json!({"observedGeneration": 1, "phase": "Provisioning", "error": error(true)}), "Provisioning: ImageNotFound: no")]
    fn it_is_on_its_way(#[case] status: Value, #[case] line: &str) {
        assert_eq!(at(status, Goal::Ready), Look::OnTheWay(line.to_owned()));
    }
}
