//! How a command of the plugin ends: its exit code, and what it says when it did not go well.

use kube::core::Status;

/// What went wrong, as programs see it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Anything that has no code of its own.
    Failed,
    /// The command line asks for something that can not be.
    Usage,
    /// It is not ready, or was not within the time.
    NotReady,
    /// There is no such thing.
    NotFound,
    /// You may not do this.
    Forbidden,
    /// Nobody reads the output any more. It is no failure, and nothing is said of it.
    Closed,
}

impl Kind {
    /// The exit code that goes with it.
    pub fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotReady => 3,
            Self::NotFound => 4,
            Self::Forbidden => 5,
            // As where SIGPIPE had ended it.
            Self::Closed => 141,
        }
    }
}

/// Why a command failed: one line, and what to do about it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What went wrong.
    pub kind: Kind,
    /// What happened, for people, in one line.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure of a kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// The command line asks for something that can not be.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Anything that has no code of its own.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// The same, with what to do about it.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The lines that are shown.
    pub fn text(&self) -> String {
        match &self.hint {
            Some(hint) => format!("error: {}\n{hint}", self.message),
            None => format!("error: {}", self.message),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::failed(format!("an answer can not be read: {error}"))
    }
}

/// What a request was about, for the words of a refusal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subject {
    /// `workspace` or `devserver`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

impl Subject {
    /// A workspace.
    pub fn workspace(name: &str, namespace: &str) -> Self {
        Self { kind: "workspace", name: name.to_owned(), namespace: namespace.to_owned() }
    }

    /// A dev server.
    pub fn dev_server(name: &str, namespace: &str) -> Self {
        Self { kind: "devserver", name: name.to_owned(), namespace: namespace.to_owned() }
    }

    /// Why a request about it failed.
    pub fn failure(&self, error: kube::Error) -> Failure {
        match error {
            kube::Error::Api(status) => self.refusal(&status),
            other => unreachable_server(&other),
        }
    }

    /// What a refusal of the API server means.
    pub fn refusal(&self, status: &Status) -> Failure {
        let Self { kind, name, namespace } = self;
        let message = one_line(&status.message);
        // Without the API service nobody knows the path, and there is no word of the object.
        let unserved = status.code == 404
            && ["could not find the requested resource", "page not found"]
                .iter()
                .any(|words| message.contains(words));
        match (status.code, status.reason.as_str()) {
            _ if unserved => Failure::failed("the cluster does not serve this part of Berth")
                .hint("Is Berth installed, with its gateway? kubectl get apiservices | grep berth.dev"),
            (404, _) if names_the_object(status, name) => {
                Failure::new(Kind::NotFound, format!("{kind} {name:?} not found in namespace {namespace:?}"))
                    .hint(format!(
                        "kubectl get {kind}s -n {namespace} lists what there is; -n names another namespace."
                    ))
            }
            (404, _) => Failure::new(Kind::NotFound, message),
            (401, _) => Failure::new(Kind::Forbidden, "the cluster does not know you (401 Unauthorized)")
                .hint("Log in again, or look at the credentials of your kubeconfig."),
            (403, _) => Failure::new(Kind::Forbidden, message)
                .hint(format!("Ask an administrator for the right in namespace {namespace:?}.")),
            (409, "Suspended") => Failure::new(Kind::NotReady, message)
                .hint(format!("kubectl berth resume {name} -n {namespace}")),
            (409, "NotRunning") | (502..=504, _) => {
                let what = if self.kind == "workspace" { name.clone() } else { format!("dev/{name}") };
                Failure::new(Kind::NotReady, message)
                    .hint(format!("kubectl berth why {what} -n {namespace} says more."))
            }
            (400 | 422, _) => Failure::usage(message),
            _ => Failure::failed(message),
        }
    }
}

/// Whether a 404 is about the object itself, not about something in it.
fn names_the_object(status: &Status, name: &str) -> bool {
    status.details.as_ref().is_some_and(|details| details.name == name)
        || status.message.contains(&format!("{name:?} not found"))
}

/// Why the API server could not be asked.
pub fn unreachable_server(error: &kube::Error) -> Failure {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    Failure::failed(one_line(&text)).hint("Does `kubectl version` reach the cluster?")
}

/// Text without line breaks.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn status(code: u16, reason: &str, message: &str) -> Status {
        Status::failure(message, reason).with_code(code)
    }

    #[rstest]
    #[case(
        404,
        "NotFound",
        "workspaces.berth.dev \"x\" not found",
        Kind::NotFound,
        "workspace \"x\" not found in namespace \"y\""
    )]
    #[case(
        404,
        "NotFound",
        "the server could not find the requested resource",
        Kind::Failed,
        "the cluster does not serve this part of Berth"
    )]
    #[case(404, "PathNotFound", "there is no /workspace/a", Kind::NotFound, "there is no /workspace/a")]
    #[case(403, "Forbidden", "you may not", Kind::Forbidden, "you may not")]
    #[case(
        401,
        "Unauthorized",
        "Unauthorized",
        Kind::Forbidden,
        "the cluster does not know you (401 Unauthorized)"
    )]
    #[case(409, "Suspended", "it is suspended", Kind::NotReady, "it is suspended")]
    #[case(409, "Conflict", "it exists", Kind::Failed, "it exists")]
    #[case(503, "NotReady", "its agent\nis not there", Kind::NotReady, "its agent is not there")]
    #[case(422, "Invalid", "cols is 0", Kind::Usage, "cols is 0")]
    fn a_refusal_is_one_line_and_a_code(
        #[case] code: u16,
        #[case] reason: &str,
        #[case] message: &str,
        #[case] kind: Kind,
        #[case] expected: &str,
    ) {
        let failure = Subject::workspace("x", "y").refusal(&status(code, reason, message));
        assert_eq!((failure.kind, failure.message.as_str()), (kind, expected));
    }

    #[test]
    fn somebody_who_waits_for_a_suspended_workspace_is_told_how_to_wake_it() {
        let failure = Subject::workspace("x", "y").refusal(&status(409, "Suspended", "it is suspended"));
        assert_eq!(failure.text(), "error: it is suspended\nkubectl berth resume x -n y");
    }
}
