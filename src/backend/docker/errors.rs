//! What the Docker client reports, translated into [`BackendError`].

use std::{io, time::Duration};

use bollard::errors::Error;

use crate::backend::{BackendError, Reason};

/// The error of a call on a host.
pub(super) fn from_docker(host: &str, action: &str, error: &Error) -> BackendError {
    let (reason, words) = classify(error);
    BackendError::new(reason, format!("docker host {host}: {action}: {words}"))
}

/// The error of a call that took too long.
pub(super) fn timed_out(host: &str, action: &str, limit: Duration) -> BackendError {
    let seconds = limit.as_secs();
    BackendError::new(
        Reason::Unreachable,
        format!("docker host {host}: {action}: no answer within {seconds} s"),
    )
}

/// An error that was found by looking at the host, not by failing.
pub(super) fn refuse(host: &str, reason: Reason, words: impl std::fmt::Display) -> BackendError {
    BackendError::new(reason, format!("docker host {host}: {words}"))
}

/// Whether the daemon said that what a call was about is not there.
pub(super) fn is_not_found(error: &Error) -> bool {
    status(error) == Some(404)
}

/// Whether the daemon said that a name or state stands in the way.
pub(super) fn is_conflict(error: &Error) -> bool {
    status(error) == Some(409)
}

fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Whether there is certainly no daemon at the other end, as opposed to a slow one.
pub(super) fn nobody_listens(error: &Error) -> bool {
    io_error(error).is_some_and(|error| {
        matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
    })
}

fn io_error(error: &Error) -> Option<&io::Error> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = match error {
        Error::IOError { err } => Some(err),
        Error::HyperLegacyError { err } => Some(err),
        Error::HyperResponseError { err } => Some(err),
        _ => None,
    };
    let mut found = None;
    while let Some(error) = next {
        found = error.downcast_ref::<io::Error>().or(found);
        next = error.source();
    }
    found
}

fn classify(error: &Error) -> (Reason, String) {
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            (by_status(*status_code, message), message.clone())
        }
        Error::DockerStreamError { error } => (by_words(error).unwrap_or(Reason::Failed), error.clone()),
        Error::RequestTimeoutError
        | Error::IOError { .. }
        | Error::HyperResponseError { .. }
        | Error::HyperLegacyError { .. } => (Reason::Unreachable, innermost(error)),
        other => (Reason::Failed, other.to_string()),
    }
}

fn by_status(status: u16, message: &str) -> Reason {
    if let Some(reason) = by_words(message) {
        return reason;
    }
    match status {
        400 => Reason::Unsupported,
        404 => Reason::NotFound,
        409 => Reason::Conflict,
        _ => Reason::Failed,
    }
}

/// Docker's status codes are coarse, and differ between its versions; its words tell more.
fn by_words(message: &str) -> Option<Reason> {
    let message = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    if says(&["no space left on device", "disk quota exceeded"]) {
        Some(Reason::OutOfSpace)
    } else if says(&["no such image"]) {
        Some(Reason::ImageNotFound)
    } else if says(&[
        "pool overlaps",
        "networks have overlapping ipv4",
        "non-overlapping ipv4 address pool",
        "no available ipv4 addresses",
    ]) {
        Some(Reason::AddressesExhausted)
    } else if says(&["is not running", "is paused", "is restarting, wait until", "in a stopped container"]) {
        Some(Reason::NotRunning)
    } else if says(&["docker-init"]) {
        Some(Reason::Unsupported)
    } else {
        None
    }
}

/// The reason for which a pull failed, as far as Docker's words tell.
pub(super) fn pull_error(host: &str, image: &str, error: &Error) -> BackendError {
    let (reason, words) = classify(error);
    let reason = match reason {
        Reason::Unreachable | Reason::OutOfSpace => reason,
        _ => pull_reason(&words),
    };
    BackendError::new(reason, format!("docker host {host}: pull {image}: {words}"))
}

fn pull_reason(message: &str) -> Reason {
    let message = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    if says(&["unauthorized", "denied", "authentication required", "no basic auth credentials", "forbidden"])
    {
        Reason::ImagePullDenied
    } else if says(&["no such host", "dial tcp", "toomanyrequests", "timeout"]) {
        Reason::ImagePullFailed
    } else if says(&[
        "manifest unknown",
        "name unknown",
        "not found",
        "no matching manifest",
        "does not exist",
        "no such image",
        "invalid reference format",
    ]) {
        Reason::ImageNotFound
    } else {
        Reason::ImagePullFailed
    }
}

/// The words of the innermost cause: those of the layers around it only say that something failed.
fn innermost(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    io_error(error).map_or_else(|| cause.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn answer(status_code: u16, message: &str) -> Error {
        Error::DockerResponseServerError { status_code, message: message.to_owned() }
    }

    #[rstest]
    #[case(404, "No such image: nothing:latest", Reason::ImageNotFound)]
    #[case(404, "No such container: abc", Reason::NotFound)]
    #[case(409, "Conflict. The container name \"/x\" is already in use", Reason::Conflict)]
    #[case(409, "Container 1234 is not running", Reason::NotRunning)]
    #[case(409, "Container 1234 is paused, unpause the container before exec", Reason::NotRunning)]
    #[case(403, "Pool overlaps with other one on this address space", Reason::AddressesExhausted)]
    #[case(
        403,
        "cannot create network 05 (bth-d9): conflicts with network 58 (bth-4c): networks have overlapping IPv4",
        Reason::AddressesExhausted
    )]
    #[case(500, "write /var/lib/docker/tmp/x: no space left on device", Reason::OutOfSpace)]
    #[case(400, "Range of CPUs is from 0.01 to 2.00", Reason::Unsupported)]
    #[case(500, "exec: \"docker-init\": executable file not found in $PATH", Reason::Unsupported)]
    #[case(500, "something else", Reason::Failed)]
    fn answers_of_the_daemon(#[case] status: u16, #[case] message: &str, #[case] reason: Reason) {
        let error = from_docker("one", "create", &answer(status, message));
        assert_eq!(error.reason, reason);
        assert_eq!(error.message, format!("docker host one: create: {message}"));
    }

    #[rstest]
    #[case("manifest for debian:nope not found: manifest unknown", Reason::ImageNotFound)]
    #[case(
        "pull access denied for x, repository does not exist or may require login",
        Reason::ImagePullDenied
    )]
    #[case("unauthorized: authentication required", Reason::ImagePullDenied)]
    #[case("Get https://r/v2/: dial tcp: lookup r: no such host", Reason::ImagePullFailed)]
    #[case("Get https://r/v2/: net/http: TLS handshake timeout", Reason::ImagePullFailed)]
    #[case("toomanyrequests: too many failed logins", Reason::ImagePullFailed)]
    #[case("write /tmp/x: no space left on device", Reason::OutOfSpace)]
    fn failures_of_a_pull(#[case] message: &str, #[case] reason: Reason) {
        let error = Error::DockerStreamError { error: message.to_owned() };
        assert_eq!(pull_error("one", "x", &error).reason, reason);
        assert_eq!(pull_error("one", "x", &answer(500, message)).reason, reason);
    }

    #[test]
    fn a_lost_connection_means_unreachable() {
        let error = Error::IOError { err: io::Error::from(io::ErrorKind::ConnectionRefused) };
        assert!(nobody_listens(&error));
        assert_eq!(from_docker("one", "ping", &error).reason, Reason::Unreachable);
        let error = Error::IOError { err: io::Error::from(io::ErrorKind::ConnectionReset) };
        assert!(!nobody_listens(&error));
        assert_eq!(from_docker("one", "ping", &error).reason, Reason::Unreachable);
    }
}
