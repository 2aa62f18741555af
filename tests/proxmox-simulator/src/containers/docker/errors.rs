//! What Docker reports, in words.

use bollard::errors::Error;

/// Makes the words of a failed call.
pub(super) fn during(action: &str) -> impl Fn(Error) -> String {
    move |error| match error {
        Error::DockerResponseServerError { message, .. } => format!("docker: {action}: {message}"),
        other => format!("docker: {action}: {other}"),
    }
}

/// Whether what the call was about is not there.
pub(super) fn is_not_found(error: &Error) -> bool {
    status(error) == Some(404)
}

/// Whether the daemon refuses because of the state of things: in use, taken, on its way already.
pub(super) fn is_conflict(error: &Error) -> bool {
    status(error) == Some(409)
}

/// Leaves out the error of a call whose work was done before.
pub(super) fn unless(done: fn(&Error) -> bool, result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if done(&error) => Ok(()),
        other => other,
    }
}

fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}
