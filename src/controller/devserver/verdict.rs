//! The one answer to "how is it, and why not better": phase, and reason and message of Ready. Pure.

use berth_link::wire::process::{Exit, ProcessPhase, ProcessState, RestartPolicy};

use crate::{
    api::{DevServerStatus, condition, devserver::ProcessMode},
    controller::workspace::problem::Problem,
};

use super::{
    phase::Phase,
    preview::PreviewState,
    situation::{AgentWord, Home, Situation},
    validate::Desired,
    words,
};

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What it is doing.
    pub phase: Phase,
    /// What that means.
    pub outcome: Outcome,
    /// The stable word for programs.
    pub reason: String,
    /// The words for people; empty where there is nothing to say.
    pub message: String,
}

/// Whether a DevServer is as wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It is.
    AsWanted,
    /// Not yet, and nobody need do anything.
    Working,
    /// Not before somebody changes something.
    Stuck,
    /// Nobody can say now.
    Unknown,
    /// Nobody can say yet, and what was said last may well still hold: it stands.
    Keep,
}

impl Verdict {
    /// The answer for this situation.
    pub fn of(before: &DevServerStatus, situation: &Situation<'_>, preview: &PreviewState) -> Self {
        let desired = match situation.desired {
            Ok(desired) => desired,
            Err(problem) => return Self::blocked(Phase::Failed, problem),
        };
        if let Some(problem) = &situation.place.refused {
            return Self::blocked(Phase::Failed, problem);
        }
        match situation.home {
            Home::Missing => {
                let name = &situation.subject.home.name;
                let message = format!("there is no Workspace {name:?}; the process starts once there is");
                return Self::new(Phase::Pending, Outcome::Working, "WorkspaceNotFound", message);
            }
            Home::Terminating => {
                let message = "the Workspace is being deleted";
                return Self::new(Phase::Pending, Outcome::Working, "WorkspaceTerminating", message);
            }
            Home::Suspended | Home::NotReady(_) | Home::Usable => {}
        }
        if preview.ends_process(situation) {
            let message = "the preview's lifetime is over, and the process was ended with it; a longer spec.preview.lifetime brings both back";
            return Self::new(Phase::Expired, Outcome::Stuck, "Expired", message);
        }
        if *situation.home == Home::Suspended {
            return match desired.mode {
                ProcessMode::Running => {
                    let message = "the Workspace is suspended; the process starts again with it";
                    Self::new(Phase::Suspended, Outcome::AsWanted, "Suspended", message)
                }
                ProcessMode::Stopped => Self::stopped(),
            };
        }
        let process = match situation.agent {
            AgentWord::Told(state) => Self::told(desired, state.as_deref()),
            AgentWord::Unheard | AgentWord::Disconnected => return Self::untold(before, situation),
        };
        process.with_environment(situation).with_preview(situation, preview)
    }

    fn new(phase: Phase, outcome: Outcome, reason: &str, message: impl Into<String>) -> Self {
        Self { phase, outcome, reason: reason.to_owned(), message: message.into() }
    }

    fn blocked(phase: Phase, problem: &Problem) -> Self {
        let outcome = if problem.is_transient() { Outcome::Working } else { Outcome::Stuck };
        Self::new(phase, outcome, problem.reason, problem.text())
    }

    fn stopped() -> Self {
        Self::new(Phase::Stopped, Outcome::AsWanted, "Stopped", "the process is stopped on request")
    }

    /// The agent tells nothing: what was known stays, unless its Workspace explains the silence.
    fn untold(before: &DevServerStatus, situation: &Situation<'_>) -> Self {
        if let Home::NotReady(phase) = situation.home {
            let message = format!("the Workspace is {phase}; the process starts when it is Running");
            return Self::new(Phase::Pending, Outcome::Working, "WorkspaceNotReady", message);
        }
        let known = before.phase.as_deref().and_then(Phase::parse);
        let said = before.conditions.iter().any(|one| one.type_ == condition::READY);
        let outcome = match situation.agent {
            AgentWord::Unheard if said => Outcome::Keep,
            _ => Outcome::Unknown,
        };
        let message = "the workspace's agent is not connected; what is shown is what it told last";
        Self::new(known.unwrap_or(Phase::Pending), outcome, "AgentNotConnected", message)
    }

    fn told(desired: &Desired, state: Option<&ProcessState>) -> Self {
        match (desired.mode, state) {
            (ProcessMode::Running, None) => Self::starting("the agent has yet to start the process"),
            (ProcessMode::Running, Some(state))
                if state.started_at.is_some() && state.restart_nonce != desired.restart_nonce =>
            {
                let message = "the process is being started anew for spec.restartNonce";
                Self::new(Phase::Restarting, Outcome::Working, "Restarting", message)
            }
            (ProcessMode::Running, Some(state)) => Self::to_run(desired, state),
            (ProcessMode::Stopped, None) => Self::stopped(),
            (ProcessMode::Stopped, Some(state)) => match state.phase {
                ProcessPhase::Stopped | ProcessPhase::Failed => Self::stopped(),
                ProcessPhase::Restarting => Self::stopping(Phase::Restarting),
                ProcessPhase::Starting => Self::stopping(Phase::Starting),
                ProcessPhase::Running | ProcessPhase::Stopping => Self::stopping(Phase::Running),
            },
        }
    }

    fn starting(message: &str) -> Self {
        Self::new(Phase::Starting, Outcome::Working, "Starting", message)
    }

    fn stopping(phase: Phase) -> Self {
        Self::new(phase, Outcome::Working, "Stopping", "the process is being ended")
    }

    /// A process that is meant to run.
    fn to_run(desired: &Desired, state: &ProcessState) -> Self {
        match state.phase {
            ProcessPhase::Starting => Self::starting(&match desired.port {
                Some(port) if !state.port_open => format!("the process has yet to open port {port}"),
                _ => "the process was started".to_owned(),
            }),
            ProcessPhase::Running => match desired.port {
                Some(port) if !state.port_open => {
                    let message = format!("the process runs, but port {port} is not open");
                    Self::new(Phase::Running, Outcome::Working, "PortClosed", message)
                }
                _ => Self::new(Phase::Running, Outcome::AsWanted, "Running", ""),
            },
            ProcessPhase::Restarting | ProcessPhase::Stopping => {
                let reason =
                    state.reason.as_deref().map_or("Restarting".to_owned(), |word| words::reason(Some(word)));
                let text = format!("{}; it is started again", cause(state));
                Self::new(Phase::Restarting, Outcome::Working, &reason, with_output(text, state))
            }
            // What ended otherwise was stopped on request, and is wanted again now.
            ProcessPhase::Stopped if state.last_exit.is_none_or(|exit| exit.code != Some(0)) => {
                Self::starting("the agent has yet to start the process")
            }
            ProcessPhase::Stopped => {
                let policy = match desired.restart.policy {
                    RestartPolicy::Always => "Always",
                    RestartPolicy::OnFailure => "OnFailure",
                    RestartPolicy::Never => "Never",
                };
                let message = format!(
                    "the process {}, and restart.policy {policy} does not start it again; change spec.restartNonce to do so",
                    ended(state.last_exit)
                );
                Self::new(Phase::Stopped, Outcome::Stuck, "Completed", message)
            }
            ProcessPhase::Failed => {
                let reason = words::reason(state.reason.as_deref());
                Self::new(Phase::Failed, Outcome::Stuck, &reason, with_output(cause(state), state))
            }
        }
    }

    /// Variables that can not be had keep a process from being started.
    fn with_environment(self, situation: &Situation<'_>) -> Self {
        let Err(problem) = situation.environment else { return self };
        let phase = match self.phase {
            Phase::Starting | Phase::Stopped => Phase::Pending,
            other => other,
        };
        if self.reason == "Stopped" { self } else { Self::blocked(phase, problem) }
    }

    /// A process that is well is not as wanted while its preview can not be opened.
    fn with_preview(self, situation: &Situation<'_>, preview: &PreviewState) -> Self {
        let problem = match preview {
            PreviewState::Blocked { problem, counts: true } => Some(problem),
            PreviewState::Published { .. } => situation.route.as_ref().err(),
            PreviewState::Blocked { .. } | PreviewState::Unwanted | PreviewState::Expired { .. } => None,
        };
        match problem {
            Some(problem) if self.outcome == Outcome::AsWanted && self.phase == Phase::Running => {
                Self::blocked(self.phase, problem)
            }
            _ => self,
        }
    }
}

fn ended(exit: Option<Exit>) -> String {
    match exit {
        Some(Exit { signal: Some(signal), .. }) => format!("was ended by signal {signal}"),
        Some(Exit { code: Some(code), .. }) => format!("ended with exit code {code}"),
        _ => "ended".to_owned(),
    }
}

/// Why it ended: the agent's word, else how it ended.
fn cause(state: &ProcessState) -> String {
    match state.message.as_deref().map(words::line).filter(|message| !message.is_empty()) {
        Some(message) => message,
        None => format!("the process {}", ended(state.last_exit)),
    }
}

fn with_output(text: String, state: &ProcessState) -> String {
    match state.last_output.as_deref().and_then(words::last_line) {
        Some(line) if !text.contains(&line) => format!("{text}; last output: {line}"),
        _ => text,
    }
}
