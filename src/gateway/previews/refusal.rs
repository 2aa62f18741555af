//! Why a request was not answered by a dev server.

use http::StatusCode;

use crate::gateway::access::AgentError;

/// Why a request was not answered by a dev server.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The request is no good HTTP, or could be read in two ways.
    #[error("{0}")]
    Malformed(&'static str),
    /// Its method is none for a web server.
    #[error("previews do not answer this method")]
    Method,
    /// Its headers are too long.
    #[error("the headers of the request are too long")]
    HeadersTooLong,
    /// There is no such preview, or nothing at this address of ours.
    #[error("there is no preview at this address")]
    Unknown,
    /// There was one.
    #[error("this preview has expired")]
    Expired,
    /// A page of another site sent it.
    #[error("pages of other sites may not do this")]
    ForeignOrigin,
    /// Its password is asked for.
    #[error("this preview asks for a password")]
    Password {
        /// Whether the one that was given is wrong.
        wrong: bool,
    },
    /// Nobody knows the password.
    #[error("the password of this preview is not known yet")]
    PasswordUnknown,
    /// Too many wrong passwords.
    #[error("too many attempts; try again in a minute")]
    TooManyAttempts,
    /// A ticket is asked for.
    #[error("this preview is private; open it with `kubectl berth open`")]
    Private,
    /// The ticket is no good.
    #[error("this link has been used or is too old; get a new one with `kubectl berth open`")]
    Ticket,
    /// Tickets can not be looked at now.
    #[error("tickets can not be checked now")]
    TicketsUnavailable,
    /// The workspace is suspended.
    #[error("the workspace of this preview is suspended")]
    Suspended,
    /// The workspace or the dev server is being started.
    #[error("the preview is being started: {0}")]
    Starting(String),
    /// Too much is under way.
    #[error("too many requests to this preview are under way")]
    Busy,
    /// The agent can not be asked.
    #[error("the workspace of this preview can not be reached")]
    Unreachable,
    /// Nothing listens.
    #[error("nothing listens on port {0}")]
    PortClosed(u16),
    /// The dev server hung up, or answered with something that is no HTTP.
    #[error("the dev server gave no usable answer")]
    BadAnswer,
    /// It took too long.
    #[error("the dev server did not answer in time")]
    TimedOut,
}

impl Refusal {
    /// Its status code.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::HeadersTooLong => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::Expired => StatusCode::GONE,
            Self::ForeignOrigin => StatusCode::FORBIDDEN,
            Self::Password { .. } | Self::Private | Self::Ticket => StatusCode::UNAUTHORIZED,
            Self::TooManyAttempts => StatusCode::TOO_MANY_REQUESTS,
            Self::PasswordUnknown
            | Self::TicketsUnavailable
            | Self::Suspended
            | Self::Starting(_)
            | Self::Busy
            | Self::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
            Self::PortClosed(_) | Self::BadAnswer => StatusCode::BAD_GATEWAY,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Its stable name, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "MalformedRequest",
            Self::Method => "MethodNotAllowed",
            Self::HeadersTooLong => "HeadersTooLong",
            Self::Unknown => "PreviewNotFound",
            Self::Expired => "PreviewExpired",
            Self::ForeignOrigin => "ForeignOrigin",
            Self::Password { .. } => "PasswordRequired",
            Self::PasswordUnknown => "PasswordUnknown",
            Self::TooManyAttempts => "TooManyAttempts",
            Self::Private => "TicketRequired",
            Self::Ticket => "TicketInvalid",
            Self::TicketsUnavailable => "TicketsUnavailable",
            Self::Suspended => "WorkspaceSuspended",
            Self::Starting(_) => "PreviewStarting",
            Self::Busy => "Busy",
            Self::Unreachable => "AgentNotConnected",
            Self::PortClosed(_) => "PortClosed",
            Self::BadAnswer => "BadAnswer",
            Self::TimedOut => "TimedOut",
        }
    }

    /// After so many seconds another attempt makes sense; a browser is told to make it by itself.
    pub fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Busy => Some(1),
            Self::Starting(_) | Self::Unreachable | Self::PortClosed(_) => Some(2),
            Self::Suspended | Self::PasswordUnknown | Self::TicketsUnavailable => Some(5),
            Self::TooManyAttempts => Some(60),
            _ => None,
        }
    }
}

impl From<&AgentError> for Refusal {
    fn from(error: &AgentError) -> Self {
        match error {
            AgentError::NotConnected | AgentError::Broken(_) => Self::Unreachable,
            AgentError::TimedOut(_) => Self::TimedOut,
            AgentError::Busy => Self::Busy,
            AgentError::PortClosed(port) => Self::PortClosed(*port),
        }
    }
}
