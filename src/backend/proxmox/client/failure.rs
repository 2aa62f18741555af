//! Why a call failed.

use std::{collections::BTreeMap, fmt};

use super::{
    cause::{Cause, Missing, between},
    retry::{CallKind, Effect},
};

/// A failed call.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{call}: {failure}")]
pub struct Error {
    /// Method and path of the call.
    pub call: String,
    /// Whether the call reads or writes.
    pub kind: CallKind,
    /// What went wrong, the last time if the call was sent more than once.
    pub failure: Failure,
    /// What the call may have done although it failed, all attempts together.
    pub effect: Effect,
}

impl Error {
    /// The meaning of the node's words, when a node refused.
    pub fn cause(&self) -> Option<&Cause> {
        match &self.failure {
            Failure::Refused { cause, .. } => Some(cause),
            _ => None,
        }
    }

    /// Whether the container that the call was about is not there, or not on this node.
    pub fn is_missing_container(&self) -> bool {
        matches!(self.cause(), Some(Cause::Missing(Missing::Container(_))))
    }
}

/// What went wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The request can not be made from these values. Nothing was sent.
    Unsendable(String),
    /// Other calls to the node or the container took all the time. Nothing was sent.
    Busy,
    /// No endpoint could be connected. Nothing was sent.
    Unreachable(String),
    /// The request was sent, wholly or in part, and no whole answer came back in time.
    Lost(String),
    /// The token is unknown, wrong, expired or disabled.
    Unauthorized(String),
    /// The token may not do this. Without the right to look, an absent container is this as well.
    Denied {
        /// The node's words.
        words: String,
        /// What is needed, as far as the words tell.
        needs: Needs,
    },
    /// A parameter is not as the API wants it, or could not be applied.
    Parameters {
        /// The node's words.
        words: String,
        /// What is wrong, by parameter.
        errors: BTreeMap<String, String>,
    },
    /// The node refused or failed.
    Refused {
        /// What its words mean.
        cause: Cause,
        /// The node's words.
        words: String,
    },
    /// One node could not pass the call on to another, or to its own daemon.
    Proxy {
        /// How far the call came.
        reached: Reached,
        /// The node's words.
        words: String,
    },
    /// An answer that the API never gives: another release, or not Proxmox VE.
    Unexpected {
        /// The status code.
        status: u16,
        /// The words, as far as there are any.
        words: String,
    },
}

/// How far a call came that a node passed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reached {
    /// There was no connection: nothing was done.
    Nobody,
    /// It may have been received. The work may be going on, or begin later.
    Perhaps,
}

/// What a denied call needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Needs {
    /// Any one of these privileges on a path.
    Privilege {
        /// The path, as `/vms/105`.
        path: String,
        /// The privileges, as `VM.Audit`.
        any_of: Vec<String>,
    },
    /// A pool that exists.
    Pool(String),
    /// To be the real `root@pam`, which no token is.
    Root,
    /// The words do not tell.
    Unknown,
}

/// Longest words that are kept of an answer.
const LONGEST_WORDS: usize = 2000;
/// Most parameters that are kept of an answer.
const MOST_PARAMETERS: usize = 50;

/// What a node answered, as far as it tells why a call failed.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The reason phrase. Where it is the standard one of the status it tells nothing.
    pub(super) reason: Option<String>,
    pub(super) body: Vec<u8>,
}

impl Failure {
    /// The meaning of an answer that is no success.
    pub(super) fn of(answer: &Answer) -> Self {
        let body = serde_json::from_slice::<ErrorBody>(&answer.body).unwrap_or_default();
        let errors = body.errors();
        let message = one_line(body.message.as_deref().unwrap_or_default());
        let words = answer
            .reason
            .as_deref()
            .map(one_line)
            .filter(|reason| !reason.is_empty())
            .or_else(|| Some(message.clone()).filter(|message| !message.is_empty()))
            .unwrap_or_else(|| standard_words(answer.status));
        match answer.status {
            401 => Self::Unauthorized(words),
            403 => Self::Denied { needs: Needs::of(&words), words },
            400 | 500 => refused(answer.status, words, &message, errors),
            595 => Self::Proxy { reached: Reached::Nobody, words },
            // The last three: from something else that stands before the nodes.
            596..=599 | 502..=504 => Self::Proxy { reached: Reached::Perhaps, words },
            status => Self::Unexpected { status, words },
        }
    }
}

/// The reason phrase is the first line of the message; texts by parameter tell more than both.
fn refused(status: u16, words: String, message: &str, errors: BTreeMap<String, String>) -> Failure {
    let texts = [words.as_str(), message].into_iter().chain(errors.values().map(String::as_str));
    let cause = texts.map(Cause::of).find(|cause| *cause != Cause::Other).unwrap_or(Cause::Other);
    // The words of an interface that could not be plugged in are about the node, and the rest of the
    // change may be in force.
    let in_part = errors.values().any(|text| text.contains("unable to hotplug"));
    if in_part || (cause == Cause::Other && (status == 400 || !errors.is_empty())) {
        return Failure::Parameters { words, errors };
    }
    let details = errors.iter().map(|(name, text)| format!("; {name}: {text}"));
    Failure::Refused { words: details.fold(words, |words, detail| words + &detail), cause }
}

impl Needs {
    fn of(words: &str) -> Self {
        let detail = words.split_once('(').and_then(|(_, rest)| Some(rest.rsplit_once(')')?.0));
        let Some(detail) = detail else { return Self::Unknown };
        if words.contains("only allowed for root@pam") {
            return Self::Root;
        }
        if let Some(pool) = between(detail, "pool '", "' does not exist") {
            return Self::Pool(pool.to_owned());
        }
        match detail.rsplit_once(", ") {
            Some((path, privileges)) if path.starts_with('/') => Self::Privilege {
                path: path.to_owned(),
                any_of: privileges.split('|').map(|privilege| privilege.trim().to_owned()).collect(),
            },
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsendable(words) => write!(f, "not sent: {words}"),
            Self::Busy => f.write_str("other calls to this node or container take too long"),
            Self::Unreachable(words) => write!(f, "no endpoint can be reached: {words}"),
            Self::Lost(words) => write!(f, "no answer: {words}"),
            Self::Unauthorized(words) => write!(f, "the token is not accepted: {words}"),
            Self::Denied { words, .. } | Self::Refused { words, .. } => f.write_str(words),
            Self::Parameters { words, errors } => {
                f.write_str(words.trim_end_matches('.'))?;
                errors.iter().try_for_each(|(name, text)| write!(f, "; {name}: {text}"))
            }
            Self::Proxy { words, .. } => write!(f, "the node could not pass the call on: {words}"),
            Self::Unexpected { status, words } => write!(f, "unexpected answer {status}: {words}"),
        }
    }
}

#[derive(Default, serde::Deserialize)]
struct ErrorBody {
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    errors: serde_json::Value,
}

impl ErrorBody {
    fn errors(&self) -> BTreeMap<String, String> {
        let Some(errors) = self.errors.as_object() else { return BTreeMap::new() };
        errors
            .iter()
            .take(MOST_PARAMETERS)
            .map(|(name, text)| {
                let text = super::wire::text_of(text).unwrap_or_default();
                (one_line(name), one_line(&text))
            })
            .collect()
    }
}

/// Words on one line and of a length that a status can take.
pub(super) fn one_line(words: &str) -> String {
    let mut line = String::new();
    for word in words.split(|char: char| char.is_whitespace() || char.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > LONGEST_WORDS {
            return line.chars().take(LONGEST_WORDS).collect();
        }
    }
    line
}

fn standard_words(status: u16) -> String {
    let standard = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    standard.map_or_else(|| format!("status {status}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::backend::proxmox::client::{VmId, cause::Lock};

    fn failure(status: u16, reason: &str, body: &Value) -> Failure {
        let reason = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        Failure::of(&Answer { status, reason, body })
    }

    #[rstest]
    #[case("Permission check failed (/vms/105, VM.Audit)", privilege("/vms/105", &["VM.Audit"]))]
    #[case(
        "Permission check failed (/storage/x, Datastore.Audit|Datastore.AllocateSpace)",
        privilege("/storage/x", &["Datastore.Audit", "Datastore.AllocateSpace"])
    )]
    #[case(
        "Permission check failed (/sdn/zones/localnetwork/vmbr0/10, SDN.Use)",
        privilege("/sdn/zones/localnetwork/vmbr0/10", &["SDN.Use"])
    )]
    #[case("Permission check failed (pool 'team' does not exist)", Needs::Pool("team".into()))]
    #[case("Permission check failed (/pool/team, VM.Allocate)", privilege("/pool/team", &["VM.Allocate"]))]
    #[case(
        "Permission check failed (configuring device passthrough is only allowed for root@pam)",
        Needs::Root
    )]
    #[case(
        "Permission check failed (changing feature flags (except nesting) is only allowed for root@pam)",
        Needs::Root
    )]
    #[case("Permission check failed", Needs::Unknown)]
    #[case("Forbidden", Needs::Unknown)]
    fn a_denied_call_tells_what_it_needs(#[case] words: &str, #[case] needs: Needs) {
        assert_eq!(failure(403, words, &Value::Null), Failure::Denied { words: words.into(), needs });
    }

    fn privilege(path: &str, any_of: &[&str]) -> Needs {
        Needs::Privilege {
            path: path.into(),
            any_of: any_of.iter().map(|&privilege| privilege.to_owned()).collect(),
        }
    }

    #[test]
    fn the_reason_phrase_is_read_before_the_message() {
        let expected =
            Failure::Refused { cause: Cause::Locked(Lock::Disk), words: "CT is locked (disk)".into() };
        assert_eq!(failure(500, "CT is locked (disk)", &Value::Null), expected);
        assert_eq!(failure(500, "CT is locked (disk)", &json!({"data": null})), expected);
        let with_message = json!({"data": null, "message": "CT is locked (disk)\n"});
        assert_eq!(failure(500, "CT is locked (disk)", &with_message), expected);
        assert_eq!(failure(500, "", &with_message), expected);
    }

    #[test]
    fn a_second_line_of_the_message_counts_when_the_first_means_nothing() {
        let body = json!({"data": null, "message": "could not do it\nCT is locked (disk)\n"});
        let failure = failure(500, "could not do it", &body);
        assert!(matches!(failure, Failure::Refused { cause: Cause::Locked(Lock::Disk), .. }));
    }

    #[test]
    fn wrong_parameters_are_named() {
        let text = "invalid format - format error\nnet0.name: property is missing and it is not optional\n";
        let failure = failure(400, "Parameter verification failed.", &json!({"errors": {"net0": text}}));
        assert_eq!(
            failure.to_string(),
            "Parameter verification failed; net0: invalid format - format error net0.name: property is \
             missing and it is not optional"
        );
        assert!(matches!(failure, Failure::Parameters { .. }));
    }

    #[rstest]
    #[case(json!({"vmid": "VM 218 already exists"}), Cause::AlreadyExists(VmId::new(218)))]
    #[case(json!({"upid": "no such task"}), Cause::Missing(Missing::Task))]
    fn a_parameter_error_may_mean_more(#[case] errors: Value, #[case] expected: Cause) {
        let failure = failure(400, "Parameter verification failed.", &json!({"errors": errors}));
        assert!(matches!(failure, Failure::Refused { cause, .. } if cause == expected));
    }

    #[test]
    fn an_interface_that_could_not_be_plugged_in_is_no_refusal() {
        let errors = json!({"net0": "unable to hotplug net0: CT is locked (disk)"});
        let failure = failure(400, "Parameter verification failed.", &json!({"errors": errors}));
        assert!(matches!(failure, Failure::Parameters { .. }), "{failure:?}");
    }

    #[rstest]
    #[case(401, "Authentication failed!", Failure::Unauthorized("Authentication failed!".into()))]
    #[case(401, "", Failure::Unauthorized("Unauthorized".into()))]
    #[case(595, "Connection refused", proxy(Reached::Nobody, "Connection refused"))]
    #[case(595, "", proxy(Reached::Nobody, "status 595"))]
    #[case(596, "Connection timed out", proxy(Reached::Perhaps, "Connection timed out"))]
    #[case(599, "Too many redirections", proxy(Reached::Perhaps, "Too many redirections"))]
    #[case(504, "", proxy(Reached::Perhaps, "Gateway Timeout"))]
    #[case(
        501,
        "Method 'GET /x' not implemented",
        Failure::Unexpected { status: 501, words: "Method 'GET /x' not implemented".into() }
    )]
    #[case(302, "", Failure::Unexpected { status: 302, words: "Found".into() })]
    fn answers_without_a_body(#[case] status: u16, #[case] reason: &str, #[case] expected: Failure) {
        assert_eq!(failure(status, reason, &Value::Null), expected);
    }

    fn proxy(reached: Reached, words: &str) -> Failure {
        Failure::Proxy { reached, words: words.into() }
    }

    #[test]
    fn words_are_one_line_of_bounded_length() {
        let failure = failure(500, &"long\u{7} \nwords ".repeat(10_000), &Value::Null);
        let words = failure.to_string();
        assert!(words.starts_with("long words long words"));
        assert_eq!(words.len(), LONGEST_WORDS);
    }
}
