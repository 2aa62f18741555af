//! What is to be done about a DevServer, from what is known of it. Pure.

use std::time::Duration;

use berth_link::wire::process::ProcessSpec;

use crate::api::devserver::ProcessMode;

use super::{preview::PreviewState, references::says_nothing, situation::Situation, validate::Desired};

/// What the agent is to be told of a DevServer.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// This process.
    Process(Box<ProcessSpec>),
    /// Nothing: it is not among the processes of its Workspace.
    Nothing,
}

/// What the agent is to be told, given what it was told last. `None`: that is not known yet, and
/// until it is the agent is told nothing at all.
pub fn wanted(situation: &Situation<'_>, last: Option<&Wanted>) -> Option<Wanted> {
    let Ok(desired) = situation.desired else { return Some(Wanted::Nothing) };
    if situation.place.refused.is_some() {
        return Some(Wanted::Nothing);
    }
    let run = desired.mode == ProcessMode::Running && !PreviewState::of(situation).ends_process(situation);
    match (situation.environment, last) {
        (Ok(env), _) => Some(process(desired, run, env.clone())),
        // It goes on as it was started, and is not started anew with half of what it needs.
        (Err(_), Some(Wanted::Process(last))) => {
            let run = last.run && run;
            Some(Wanted::Process(Box::new(ProcessSpec { run, ..(**last).clone() })))
        }
        (Err(problem), _) if says_nothing(problem) => None,
        (Err(_), _) => Some(process(desired, false, Default::default())),
    }
}

fn process(desired: &Desired, run: bool, env: std::collections::BTreeMap<String, String>) -> Wanted {
    Wanted::Process(Box::new(ProcessSpec {
        id: desired.id.clone(),
        run,
        command: desired.command.clone(),
        workdir: desired.workdir.clone(),
        env,
        port: desired.port,
        restart: desired.restart,
        health: desired.health.clone(),
        logs: desired.logs,
        errors: desired.errors.clone(),
        restart_nonce: desired.restart_nonce.clone(),
    }))
}

/// Whether a host name is to be made for the preview now.
pub fn needs_host(situation: &Situation<'_>) -> bool {
    situation.published.is_none() && matches!(PreviewState::of(situation), PreviewState::Published { .. })
}

/// When to look again at the latest: when the preview ends, else after the usual time.
pub fn look_again(situation: &Situation<'_>, resync: Duration) -> Duration {
    let PreviewState::Published { expires: Some(end) } = PreviewState::of(situation) else { return resync };
    Duration::try_from(end.duration_since(situation.now)).map_or(resync, |left| left.min(resync))
}
