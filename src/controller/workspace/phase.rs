//! Phases and steps: the words in the status, and their order.

/// Where a Workspace is in its life.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// Seen, and not yet given a place on a backend.
    Pending,
    /// Being made for the first time.
    Provisioning,
    /// As wanted.
    Running,
    /// It ran, and something is wrong with it now.
    Degraded,
    /// Being stopped.
    Suspending,
    /// Stopped on request.
    Suspended,
    /// Being started again.
    Resuming,
    /// Given up until somebody changes something.
    Failed,
    /// Being deleted.
    Terminating,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Provisioning,
        Self::Running,
        Self::Degraded,
        Self::Suspending,
        Self::Suspended,
        Self::Resuming,
        Self::Failed,
        Self::Terminating,
    ];

    /// The word in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Provisioning => "Provisioning",
            Self::Running => "Running",
            Self::Degraded => "Degraded",
            Self::Suspending => "Suspending",
            Self::Suspended => "Suspended",
            Self::Resuming => "Resuming",
            Self::Failed => "Failed",
            Self::Terminating => "Terminating",
        }
    }

    /// The phase a status names, if it is one of ours.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == word)
    }
}

/// What is being done, in the order it is done.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Step {
    /// Finding template, Secrets and a place.
    Initializing,
    /// Getting the image; making network, volumes and container.
    CreatingContainer,
    /// Starting the container.
    StartingContainer,
    /// Waiting for its address; setting up user and environment.
    ConfiguringNetwork,
    /// Cloning the repository.
    CloningRepository,
    /// Starting the agent.
    StartingAgent,
    /// Waiting for the agent's link to a gateway.
    Connecting,
    /// Nothing: all is done.
    Ready,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 8] = [
        Self::Initializing,
        Self::CreatingContainer,
        Self::StartingContainer,
        Self::ConfiguringNetwork,
        Self::CloningRepository,
        Self::StartingAgent,
        Self::Connecting,
        Self::Ready,
    ];

    /// The word in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "Initializing",
            Self::CreatingContainer => "CreatingContainer",
            Self::StartingContainer => "StartingContainer",
            Self::ConfiguringNetwork => "ConfiguringNetwork",
            Self::CloningRepository => "CloningRepository",
            Self::StartingAgent => "StartingAgent",
            Self::Connecting => "Connecting",
            Self::Ready => "Ready",
        }
    }

    /// Its number, from 1.
    pub fn index(self) -> i32 {
        Self::ALL.iter().position(|step| *step == self).map_or(1, |index| index as i32 + 1)
    }

    /// How many there are.
    pub fn total() -> i32 {
        Self::ALL.len() as i32
    }

    /// The step a status names, if it is one of ours.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == word)
    }
}
