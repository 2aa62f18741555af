//! How a streaming command or a terminal ended, from the status at the end of its stream.

use kube::core::Status;

use super::exit::{Failure, Kind, Subject};

/// What the last word of a stream means.
#[derive(Debug, Eq, PartialEq)]
pub enum Ending {
    /// The command ended with this exit code.
    Exited(u8),
    /// The way to it broke; it may go on.
    Broken(String),
    /// It was refused, or ended by somebody else.
    Refused(Failure),
}

/// Reads the status at the end of a stream.
pub fn of(payload: &[u8], subject: &Subject) -> Ending {
    let Ok(status) = serde_json::from_slice::<Status>(payload) else {
        return Ending::Broken("the stream ended with nonsense".to_owned());
    };
    if status.is_success() {
        return Ending::Exited(0);
    }
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    if let Some(code) = causes.iter().find(|cause| cause.reason == "ExitCode") {
        return Ending::Exited(code.message.parse().unwrap_or(1));
    }
    match status.reason.as_str() {
        "Timeout" => Ending::Refused(Failure::new(Kind::NotReady, status.message)),
        _ if matches!(status.code, 0 | 502 | 503) => Ending::Broken(status.message),
        _ => Ending::Refused(subject.refusal(&status)),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn ending(status: serde_json::Value) -> Ending {
        of(status.to_string().as_bytes(), &Subject::workspace("x", "y"))
    }

    #[rstest]
    #[case(json!({"status": "Success"}), 0)]
    #[case(json!({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": "3"}]}}), 3)]
    #[case(json!({"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "999"}]}}), 1)]
    fn a_command_ends_with_its_exit_code(#[case] status: serde_json::Value, #[case] code: u8) {
        assert_eq!(ending(status), Ending::Exited(code));
    }

    #[test]
    fn a_broken_way_is_no_end() {
        assert!(matches!(
            ending(json!({"status": "Failure", "code": 502, "message": "x"})),
            Ending::Broken(_)
        ));
    }

    #[test]
    fn a_revoked_right_is_an_end() {
        let Ending::Refused(failure) = ending(json!({"status": "Failure", "code": 403, "message": "no"}))
        else {
            panic!("it goes on");
        };
        assert_eq!(failure.kind, Kind::Forbidden);
    }
}
