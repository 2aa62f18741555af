//! Who the commits made in a workspace are by.

use crate::backend::ExecRequest;

const SCRIPT: &str = include_str!("scripts/git_identity.sh");

/// `user.name` and `user.email` of git. What is absent stays as it is in the container.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GitIdentity {
    /// `user.name`.
    pub name: Option<String>,
    /// `user.email`.
    pub email: Option<String>,
}

impl GitIdentity {
    /// The command that sets what is given, as the user whose it is: in a container without git it
    /// does nothing. `None` when nothing is given.
    pub fn command(&self, user: &str) -> Option<ExecRequest> {
        if self.name.is_none() && self.email.is_none() {
            return None;
        }
        let values = [&self.name, &self.email].map(|value| value.clone().unwrap_or_default());
        Some(ExecRequest::script(user, SCRIPT).with_args(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision::testing::run_locally;

    fn identity(name: &str, email: &str) -> GitIdentity {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        GitIdentity { name: given(name), email: given(email) }
    }

    #[tokio::test]
    async fn only_what_is_given_is_written() {
        let home = tempfile::tempdir().unwrap();
        for identity in [
            identity("Ann '$(id)' \"B\"", "ann@example.com"),
            identity("--get", ""),
            identity("", "b@example.com"),
        ] {
            let output = run_locally(home.path(), identity.command("dev").unwrap()).await;
            assert_eq!(output.exit_code, 0, "{output:?}");
        }
        let written = std::fs::read_to_string(home.path().join(".gitconfig")).unwrap();
        assert_eq!(written, "[user]\n\tname = --get\n\temail = b@example.com\n");
        assert!(GitIdentity::default().command("dev").is_none());
    }
}
