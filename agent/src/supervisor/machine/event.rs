//! What a machine is told, and what it asks for.

use std::time::Duration;

use berth_link::wire::process::{Exit, ProcessSpec};

/// Something happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// This is wanted of the process now.
    Wanted(Box<ProcessSpec>),
    /// The process is no longer wanted at all.
    Unwanted,
    /// Somebody asked for a restart.
    RestartAsked,
    /// It was started.
    Started {
        /// The new process.
        pid: u32,
        /// Whether its port was open already: somebody else has it.
        port_was_taken: bool,
    },
    /// It could not be started.
    NotStarted {
        /// Why.
        message: String,
    },
    /// The wait before a restart is over.
    WaitOver,
    /// Its port and its health were looked at.
    Checked(Check),
    /// Its output says that it is beyond help.
    FatalOutput {
        /// The line that says so.
        line: String,
    },
    /// It ended, and nothing of its group is left.
    Ended(End),
}

/// What a look at a running process showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Whether its port is open.
    pub port_open: bool,
    /// What is wrong, where it is not well.
    pub failure: Option<String>,
    /// How long it has been running.
    pub age: Duration,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// How it ended.
    pub exit: Exit,
    /// How long it ran.
    pub ran_for: Duration,
    /// Whether its port is still open: somebody else has it.
    pub port_is_taken: bool,
    /// The last of its output.
    pub output: String,
}

/// Something that is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start it. [`Event::Started`] or [`Event::NotStarted`] follows.
    Start,
    /// End it, with its whole group. [`Event::Ended`] follows.
    End,
    /// [`Event::WaitOver`] after this time, unless something else is to be done before.
    Wait(Duration),
    /// A line for the log.
    Note(String),
    /// It is over: forget it.
    Forget,
}
