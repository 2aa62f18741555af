//! What becomes of one supervised process: events in, the next state and what is to be done out.
//! No clock, no process, no file: those are [`super::keeper`]'s.

use std::time::Duration;

use berth_link::wire::process::{Exit, ProcessPhase, ProcessSpec, ProcessState, RestartPolicy};
use jiff::Timestamp;

mod event;

pub use event::{Action, Check, End, Event};

const PORT_IN_USE: &str = "PortInUse";
const NOT_WELL: &str = "Unhealthy";

/// What is wrong, in a stable word and for people.
#[derive(Clone, Debug, PartialEq)]
struct Trouble {
    reason: &'static str,
    message: String,
}

/// What follows when the process has ended.
#[derive(Clone, Debug, PartialEq)]
enum Then {
    Stop,
    Start,
    Forget,
    CountCrash(Trouble),
}

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    Idle,
    Alive { failures: u32 },
    Waiting,
    Ending(Then),
    Forgotten,
}

/// One supervised process.
#[derive(Clone, Debug)]
pub struct Machine {
    spec: ProcessSpec,
    state: ProcessState,
    stage: Stage,
}

impl Machine {
    /// A process that was never started. The first [`Event::Wanted`] says whether it is to be.
    pub fn new(spec: ProcessSpec) -> Self {
        let state = ProcessState {
            id: spec.id.clone(),
            phase: ProcessPhase::Stopped,
            reason: None,
            message: None,
            pid: None,
            restart_count: 0,
            started_at: None,
            stopped_at: None,
            next_start_at: None,
            last_exit: None,
            port_open: false,
            healthy: false,
            error_count: 0,
            last_error: None,
            last_output: None,
            restart_nonce: spec.restart_nonce.clone(),
        };
        Self { spec: ProcessSpec { run: false, ..spec }, state, stage: Stage::Idle }
    }

    /// What is wanted of it.
    pub fn spec(&self) -> &ProcessSpec {
        &self.spec
    }

    /// How it is. What its output tells is not in here.
    pub fn state(&self) -> &ProcessState {
        &self.state
    }

    /// Whether its port and health are to be looked at.
    pub fn wants_checks(&self) -> bool {
        matches!(self.stage, Stage::Alive { .. }) && self.spec.port.is_some()
    }

    /// Takes an event, and says what is to be done.
    pub fn apply(&mut self, event: Event, at: Timestamp) -> Vec<Action> {
        match event {
            Event::Wanted(spec) => self.wanted(*spec, at),
            Event::Unwanted => self.unwanted(),
            Event::RestartAsked => self.restart_asked(),
            Event::Started { pid, port_was_taken } => self.started(pid, port_was_taken, at),
            Event::NotStarted { message } => {
                let trouble = Trouble { reason: "StartFailed", message };
                self.stage = Stage::Idle;
                self.stopped(at);
                self.crashed(trouble, at)
            }
            Event::WaitOver if self.stage == Stage::Waiting => self.start(),
            Event::WaitOver => Vec::new(),
            Event::Checked(check) => self.checked(check),
            Event::FatalOutput { line } => self.fatal(&line),
            Event::Ended(end) => self.ended(end, at),
        }
    }

    fn wanted(&mut self, spec: ProcessSpec, at: Timestamp) -> Vec<Action> {
        let anew = starts_anew(&self.spec, &spec);
        let turned_on = spec.run && !self.spec.run;
        let run = spec.run;
        self.spec = spec;
        match (&mut self.stage, run) {
            (Stage::Forgotten, _) => Vec::new(),
            (Stage::Idle, true) if anew || turned_on => self.start_fresh(),
            (Stage::Waiting, true) if anew => self.start_fresh(),
            (Stage::Alive { .. }, true) if anew => self.end("ended: what is wanted has changed", Then::Start),
            (Stage::Idle | Stage::Waiting | Stage::Alive { .. }, true) => Vec::new(),
            (Stage::Ending(then), true) => {
                if anew || matches!(then, Then::Stop | Then::Forget) {
                    *then = Then::Start;
                }
                Vec::new()
            }
            (Stage::Idle | Stage::Waiting, false) => {
                self.stage = Stage::Idle;
                self.rest(at);
                Vec::new()
            }
            (Stage::Alive { .. }, false) => self.end("stopped: not wanted now", Then::Stop),
            (Stage::Ending(then), false) => {
                *then = Then::Stop;
                Vec::new()
            }
        }
    }

    fn unwanted(&mut self) -> Vec<Action> {
        match &mut self.stage {
            Stage::Alive { .. } => self.end("stopped: not wanted any more", Then::Forget),
            Stage::Ending(then) => {
                *then = Then::Forget;
                Vec::new()
            }
            Stage::Idle | Stage::Waiting => self.forget(),
            Stage::Forgotten => Vec::new(),
        }
    }

    fn restart_asked(&mut self) -> Vec<Action> {
        if !self.spec.run {
            return Vec::new();
        }
        match &mut self.stage {
            Stage::Alive { .. } => self.end("restarted on request", Then::Start),
            Stage::Idle | Stage::Waiting => self.start_fresh(),
            Stage::Ending(then @ Then::CountCrash(_)) => {
                *then = Then::Start;
                Vec::new()
            }
            Stage::Ending(_) | Stage::Forgotten => Vec::new(),
        }
    }

    /// Starts it with earlier crashes forgotten.
    fn start_fresh(&mut self) -> Vec<Action> {
        self.state.restart_count = 0;
        self.start()
    }

    fn start(&mut self) -> Vec<Action> {
        self.stage = Stage::Alive { failures: 0 };
        self.state.phase = ProcessPhase::Starting;
        self.state.next_start_at = None;
        self.state.restart_nonce.clone_from(&self.spec.restart_nonce);
        vec![Action::Start]
    }

    fn started(&mut self, pid: u32, port_was_taken: bool, at: Timestamp) -> Vec<Action> {
        let well = self.spec.port.is_none();
        self.state.phase = if well { ProcessPhase::Running } else { ProcessPhase::Starting };
        self.state.healthy = well;
        self.state.port_open = false;
        self.state.pid = Some(pid);
        self.state.started_at = Some(at);
        self.state.last_output = None;
        let mut actions = vec![Action::Note(format!("started, process {pid}"))];
        match self.spec.port {
            Some(port) if port_was_taken => {
                let message = format!("port {port} was open already before it was started");
                actions.push(Action::Note(message.clone()));
                self.set_trouble(Trouble { reason: PORT_IN_USE, message });
            }
            _ => self.clear_trouble(),
        }
        actions
    }

    fn checked(&mut self, check: Check) -> Vec<Action> {
        let Stage::Alive { failures } = self.stage else { return Vec::new() };
        self.state.port_open = check.port_open;
        self.state.healthy = check.failure.is_none();
        let Some(failure) = check.failure else {
            self.stage = Stage::Alive { failures: 0 };
            self.state.phase = ProcessPhase::Running;
            self.clear_trouble_named(NOT_WELL);
            return Vec::new();
        };
        if !check.port_open {
            // Whoever had it has let it go.
            self.clear_trouble_named(PORT_IN_USE);
        }
        if check.age < self.spec.health.startup_grace {
            return Vec::new();
        }
        let failures = failures + 1;
        self.stage = Stage::Alive { failures };
        if self.spec.health.failure_threshold == 0 || failures < self.spec.health.failure_threshold {
            self.set_trouble(Trouble { reason: NOT_WELL, message: failure });
            return Vec::new();
        }
        let message = format!("{failure} ({failures} times in a row)");
        self.end_as_crash(Trouble { reason: "HealthCheckFailed", message })
    }

    fn fatal(&mut self, line: &str) -> Vec<Action> {
        if !matches!(self.stage, Stage::Alive { .. }) {
            return Vec::new();
        }
        self.end_as_crash(Trouble { reason: "FatalError", message: format!("its output says: {line}") })
    }

    fn end_as_crash(&mut self, trouble: Trouble) -> Vec<Action> {
        self.set_trouble(trouble.clone());
        let note = format!("ended: {}", trouble.message);
        self.end(&note, Then::CountCrash(trouble))
    }

    fn end(&mut self, note: &str, then: Then) -> Vec<Action> {
        self.stage = Stage::Ending(then);
        self.state.phase = ProcessPhase::Stopping;
        self.state.healthy = false;
        vec![Action::Note(note.to_owned()), Action::End]
    }

    fn ended(&mut self, end: End, at: Timestamp) -> Vec<Action> {
        let mut actions = vec![Action::Note(describe(end.exit))];
        self.stopped(at);
        self.state.last_exit = Some(end.exit);
        if end.ran_for >= self.spec.restart.reset_after {
            self.state.restart_count = 0;
        }
        let stage = std::mem::replace(&mut self.stage, Stage::Idle);
        actions.extend(match stage {
            Stage::Ending(Then::Stop) => {
                self.rest(at);
                Vec::new()
            }
            Stage::Ending(Then::Start) => self.start_fresh(),
            Stage::Ending(Then::Forget) => self.forget(),
            Stage::Ending(Then::CountCrash(trouble)) => {
                self.state.last_output = Some(end.output);
                self.crashed(trouble, at)
            }
            Stage::Alive { .. } | Stage::Idle | Stage::Waiting | Stage::Forgotten => {
                self.ended_by_itself(end, at)
            }
        });
        actions
    }

    fn ended_by_itself(&mut self, end: End, at: Timestamp) -> Vec<Action> {
        let good = end.exit.code == Some(0);
        if good && self.spec.restart.policy != RestartPolicy::Always {
            self.rest(at);
            return Vec::new();
        }
        self.state.last_output = Some(end.output);
        let how = describe(end.exit);
        let trouble = match self.spec.port {
            Some(port) if end.port_is_taken || self.state.reason.as_deref() == Some(PORT_IN_USE) => {
                Trouble { reason: PORT_IN_USE, message: format!("{how}; another process has port {port}") }
            }
            _ => Trouble { reason: "Exited", message: how },
        };
        self.crashed(trouble, at)
    }

    /// It ended without being asked to: restart, or give up.
    fn crashed(&mut self, trouble: Trouble, at: Timestamp) -> Vec<Action> {
        let restart = self.spec.restart;
        let earlier = self.state.restart_count;
        if restart.policy == RestartPolicy::Never {
            return self.fail(trouble);
        }
        if earlier >= restart.max_restarts {
            let reason = if trouble.reason == "StartFailed" { trouble.reason } else { "CrashLoop" };
            let message = format!("{}; not started again after {earlier} restarts", trouble.message);
            return self.fail(Trouble { reason, message });
        }
        let delay = delay(restart.initial_delay, restart.max_delay, earlier);
        self.stage = Stage::Waiting;
        self.state.restart_count = earlier + 1;
        self.state.phase = ProcessPhase::Restarting;
        self.state.next_start_at = at.checked_add(delay).ok();
        let note = format!("{}; starts again in {delay:?}", trouble.message);
        self.set_trouble(trouble);
        vec![Action::Note(note), Action::Wait(delay)]
    }

    fn fail(&mut self, trouble: Trouble) -> Vec<Action> {
        self.stage = Stage::Idle;
        self.state.phase = ProcessPhase::Failed;
        let note = format!("failed: {}", trouble.message);
        self.set_trouble(trouble);
        vec![Action::Note(note)]
    }

    fn forget(&mut self) -> Vec<Action> {
        self.stage = Stage::Forgotten;
        vec![Action::Forget]
    }

    /// Not running, and that is as it should be.
    fn rest(&mut self, at: Timestamp) {
        self.state.phase = ProcessPhase::Stopped;
        self.state.next_start_at = None;
        self.state.restart_count = 0;
        self.state.restart_nonce.clone_from(&self.spec.restart_nonce);
        if self.state.started_at.is_some() {
            self.state.stopped_at.get_or_insert(at);
        }
        self.clear_trouble();
    }

    fn stopped(&mut self, at: Timestamp) {
        self.state.pid = None;
        self.state.port_open = false;
        self.state.healthy = false;
        self.state.stopped_at = Some(at);
    }

    fn set_trouble(&mut self, trouble: Trouble) {
        self.state.reason = Some(trouble.reason.to_owned());
        self.state.message = Some(trouble.message);
    }

    fn clear_trouble_named(&mut self, reason: &str) {
        if self.state.reason.as_deref() == Some(reason) {
            self.clear_trouble();
        }
    }

    fn clear_trouble(&mut self) {
        self.state.reason = None;
        self.state.message = None;
    }
}

/// Whether a running process has to be ended and started again to be as wanted.
fn starts_anew(old: &ProcessSpec, new: &ProcessSpec) -> bool {
    old.command != new.command
        || old.workdir != new.workdir
        || old.env != new.env
        || old.port != new.port
        || old.restart_nonce != new.restart_nonce
}

/// The wait before a restart, after so many earlier ones.
fn delay(initial: Duration, max: Duration, earlier: u32) -> Duration {
    initial.saturating_mul(2_u32.saturating_pow(earlier)).min(max)
}

/// How a process ended, for people.
fn describe(exit: Exit) -> String {
    match (exit.code, exit.signal) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests;
