//! Words of a Template's status: its steps, and how far a building has come.

/// What is being done for a Template.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// The spec is checked, and a place is chosen.
    Initializing,
    /// The container is made from the OS template.
    CreatingContainer,
    /// The container is started.
    StartingContainer,
    /// The container gets its address.
    ConfiguringNetwork,
    /// Packages and user are set up in it.
    Provisioning,
    /// What must not be shared is taken out of it.
    Cleaning,
    /// The template is made of it.
    Converting,
    /// Nothing is left to do.
    Ready,
}

impl Step {
    const ALL: [Self; 8] = [
        Self::Initializing,
        Self::CreatingContainer,
        Self::StartingContainer,
        Self::ConfiguringNetwork,
        Self::Provisioning,
        Self::Cleaning,
        Self::Converting,
        Self::Ready,
    ];

    /// The word in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "Initializing",
            Self::CreatingContainer => "CreatingContainer",
            Self::StartingContainer => "StartingContainer",
            Self::ConfiguringNetwork => "ConfiguringNetwork",
            Self::Provisioning => "Provisioning",
            Self::Cleaning => "Cleaning",
            Self::Converting => "Converting",
            Self::Ready => "Ready",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == word)
    }

    /// What is being done, for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Initializing => "choosing a place",
            Self::CreatingContainer => "making the container from the OS template",
            Self::StartingContainer => "starting the container",
            Self::ConfiguringNetwork => "waiting for the container's address",
            Self::Provisioning => "installing packages and setting up the user",
            Self::Cleaning => "taking out what must not be shared",
            Self::Converting => "making a template of the container",
            Self::Ready => "all is done",
        }
    }
}

/// How far a building has come. What is not written down is found out anew.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum State {
    /// Packages, user and key are in the container.
    Provisioned,
    /// What must not be shared is out of it.
    Cleaned,
    /// It is a template.
    Converted,
}

impl State {
    const ALL: [Self; 3] = [Self::Provisioned, Self::Cleaned, Self::Converted];

    /// The word in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioned => "Provisioned",
            Self::Cleaned => "Cleaned",
            Self::Converted => "Converted",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}
