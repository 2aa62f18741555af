//! The words in the status for what a DevServer is doing.

/// What a DevServer is doing.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Phase {
    /// It waits for its Workspace, for its agent, or for a spec that can be used.
    Pending,
    /// The process was started and is not well yet.
    Starting,
    /// The process runs and is well.
    Running,
    /// The process ended and is about to be started again.
    Restarting,
    /// The process is not running: it was not to run, or came to its end.
    Stopped,
    /// The process is not running, and is not started again by itself.
    Failed,
    /// Its Workspace is suspended.
    Suspended,
    /// Its preview's lifetime is over, and the process was ended with it.
    Expired,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Starting,
        Self::Running,
        Self::Restarting,
        Self::Stopped,
        Self::Failed,
        Self::Suspended,
        Self::Expired,
    ];

    /// The word in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Restarting => "Restarting",
            Self::Stopped => "Stopped",
            Self::Failed => "Failed",
            Self::Suspended => "Suspended",
            Self::Expired => "Expired",
        }
    }

    /// The phase a status names, if it is one of ours.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == word)
    }
}
