//! Starts, stops and restarts that somebody asked for beside the spec: what becomes of a command,
//! and how long it holds. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use crate::api::{OperatingMode, PowerStatus, condition::truncate};

/// Longest name of whoever gave a command that is written down, in bytes.
const NAME_LIMIT: usize = 256;
/// `status.power.reason` of a command.
const REQUESTED: &str = "Requested";

/// A command to a workspace.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Command {
    /// Start the container where a command stopped it.
    Start,
    /// Stop the container until a command starts it, or the operating mode is changed.
    Stop,
    /// Stop the container and start it again.
    Restart,
}

impl Command {
    /// The subresource that it is given on.
    pub fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }
}

/// What a command left to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PowerState {
    /// The container is to run.
    Running,
    /// The container is to be stopped.
    Suspended,
    /// The container is to be stopped, and then to run.
    Restarting,
}

impl PowerState {
    const ALL: [Self; 3] = [Self::Running, Self::Suspended, Self::Restarting];

    /// The word in `status.power.state`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Suspended => "Suspended",
            Self::Restarting => "Restarting",
        }
    }
}

/// The last command, as it was written down.
#[derive(Clone, Debug, PartialEq)]
pub struct Power {
    /// What is to be done.
    pub state: PowerState,
    /// Why it was recorded, in a word.
    pub reason: String,
    /// Who gave it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Generation of the spec at that time.
    pub generation: i64,
}

impl Power {
    /// Reads what was written. A state of a newer operator's counts as none.
    pub fn parse(status: &PowerStatus) -> Option<Self> {
        let state = PowerState::ALL.into_iter().find(|state| state.as_str() == status.state)?;
        Some(Self {
            state,
            reason: status.reason.clone(),
            by: status.by.clone(),
            at: status.at.0,
            generation: status.generation,
        })
    }

    /// What is written.
    pub fn written(&self) -> PowerStatus {
        PowerStatus {
            state: self.state.as_str().to_owned(),
            reason: self.reason.clone(),
            by: self.by.clone(),
            at: Time(self.at),
            generation: self.generation,
        }
    }

    /// Whether it still counts. It is void once the operating mode was changed: seen by
    /// `Suspended`, which wins over every command, or by several changes of the spec since
    /// `observed`, the last generation that was looked at. Among those may have been a change of
    /// the mode and back, and in doubt the spec is right.
    pub fn holds(&self, mode: OperatingMode, generation: i64, observed: Option<i64>) -> bool {
        let seen = observed.unwrap_or_default().max(self.generation);
        mode == OperatingMode::Running && generation <= seen.saturating_add(1)
    }
}

/// Why a command is not taken.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
pub enum Refusal {
    /// The spec says otherwise.
    #[error("spec.operatingMode is Suspended, which wins over commands; set it to Running")]
    OperatingModeSuspended,
    /// It is on its way out.
    #[error("the workspace is being deleted")]
    Deleted,
    /// The controllers do not know it.
    #[error("the workspace is not known to the controller")]
    Unknown,
    /// Others are waiting already.
    #[error("too many commands to this workspace wait for an answer")]
    TooMany,
    /// The API server did not take the write, or the leader changed.
    #[error("the command could not be written down; nothing is known to have come of it")]
    NotRecorded,
}

/// What is written down for a command; `before` is the command that holds until then. The same
/// stop again changes nothing.
pub fn decide(
    command: Command,
    mode: OperatingMode,
    before: Option<&Power>,
    by: &str,
    at: Timestamp,
    generation: i64,
) -> Result<Power, Refusal> {
    let state = match command {
        Command::Stop => PowerState::Suspended,
        _ if mode == OperatingMode::Suspended => return Err(Refusal::OperatingModeSuspended),
        Command::Start => PowerState::Running,
        Command::Restart => PowerState::Restarting,
    };
    match before {
        Some(before) if before.state == state && state == PowerState::Suspended => Ok(before.clone()),
        _ => Ok(Power { state, reason: REQUESTED.to_owned(), by: truncate(by, NAME_LIMIT), at, generation }),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn power(state: PowerState) -> Power {
        Power {
            state,
            reason: REQUESTED.into(),
            by: "ada".into(),
            at: Timestamp::from_second(1_800_000_000).unwrap(),
            generation: 3,
        }
    }

    #[rstest]
    #[case::nothing_changed(OperatingMode::Running, 3, Some(3), true)]
    #[case::one_change_that_is_seen_now(OperatingMode::Running, 4, Some(3), true)]
    #[case::many_changes_that_were_seen(OperatingMode::Running, 9, Some(8), true)]
    #[case::some_that_were_not(OperatingMode::Running, 5, Some(3), false)]
    #[case::the_mode_changed(OperatingMode::Suspended, 4, Some(3), false)]
    #[case::before_the_first_look(OperatingMode::Running, 3, None, true)]
    fn a_command_holds_until_the_mode_changes(
        #[case] mode: OperatingMode,
        #[case] generation: i64,
        #[case] observed: Option<i64>,
        #[case] expected: bool,
    ) {
        assert_eq!(power(PowerState::Suspended).holds(mode, generation, observed), expected);
    }

    #[rstest]
    #[case(Command::Start, OperatingMode::Running, Ok(PowerState::Running))]
    #[case(Command::Stop, OperatingMode::Running, Ok(PowerState::Suspended))]
    #[case(Command::Restart, OperatingMode::Running, Ok(PowerState::Restarting))]
    #[case(Command::Stop, OperatingMode::Suspended, Ok(PowerState::Suspended))]
    #[case(Command::Start, OperatingMode::Suspended, Err(Refusal::OperatingModeSuspended))]
    #[case(Command::Restart, OperatingMode::Suspended, Err(Refusal::OperatingModeSuspended))]
    fn what_becomes_of_a_command(
        #[case] command: Command,
        #[case] mode: OperatingMode,
        #[case] expected: Result<PowerState, Refusal>,
    ) {
        let decided = decide(command, mode, None, "ada", Timestamp::UNIX_EPOCH, 7);
        assert_eq!(decided.as_ref().map(|power| power.state), expected.as_ref().copied());
        if let Ok(power) = decided {
            assert_eq!((power.by.as_str(), power.reason.as_str(), power.generation), ("ada", "Requested", 7));
        }
    }

    #[test]
    fn a_second_stop_is_the_first_ones() {
        let before = power(PowerState::Suspended);
        let now = Timestamp::UNIX_EPOCH;
        let decided = decide(Command::Stop, OperatingMode::Running, Some(&before), "eve", now, 4);
        assert_eq!(decided, Ok(before));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for state in PowerState::ALL {
            assert_eq!(Power::parse(&power(state).written()), Some(power(state)));
        }
        let unknown = PowerStatus { state: "Hibernating".into(), ..power(PowerState::Running).written() };
        assert_eq!(Power::parse(&unknown), None);
    }

    #[test]
    fn names_are_cut() {
        let name = "n".repeat(10_000);
        let decided = decide(Command::Stop, OperatingMode::Running, None, &name, Timestamp::UNIX_EPOCH, 1);
        assert!(decided.unwrap().by.len() <= NAME_LIMIT);
    }
}
