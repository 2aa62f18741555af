//! The environment variables of a workspace, as files that a shell reads.
//!
//! Two files: [`PROFILE`] for what everybody may see, and [`SECRETS`] on a file system in memory
//! for what only the user may. `/etc/profile` of every distribution reads the first in login
//! shells (`sh -l`, `bash -l`, SSH), and it reads the second. What is started in another way, as
//! by `docker exec`, has neither: such commands begin with `. /etc/profile.d/berth.sh`, as Berth's
//! own jobs do, or run in a login shell.

use std::{collections::BTreeMap, fmt::Write};

use secrecy::{ExposeSecret, SecretString};

use super::{ProvisionError, ProvisionReason};
use crate::backend::shell::quote;

/// The file with the public variables; anybody may read it.
pub const PROFILE: &str = "/etc/profile.d/berth.sh";

/// The file with the secret variables; the user's alone.
pub const SECRETS: &str = "/run/berth/secrets.env";

/// Variables that shells refuse to set, or that break them when set to just any text.
const OF_THE_SHELL: &[&str] =
    &["BASHOPTS", "BASH_VERSINFO", "EUID", "LINENO", "OPTIND", "PPID", "SHELLOPTS", "UID", "_"];

/// The environment variables of a workspace.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Those that anybody in the container may read.
    pub public: BTreeMap<String, String>,
    /// Those that only the user may read. Where a name is in both, this one counts.
    pub secret: BTreeMap<String, SecretString>,
}

impl Environment {
    /// Adds variables that the user did not set.
    pub fn add_defaults<'a>(&mut self, defaults: impl IntoIterator<Item = (&'a str, String)>) {
        for (name, value) in defaults {
            if !self.has(name) {
                self.public.insert(name.to_owned(), value);
            }
        }
    }

    /// Whether a variable of this name is set.
    pub fn has(&self, name: &str) -> bool {
        self.public.contains_key(name) || self.secret.contains_key(name)
    }

    /// What stands in [`PROFILE`].
    pub fn profile(&self) -> Result<String, ProvisionError> {
        let mut text = String::from("# Written by Berth whenever the workspace starts or changes.\n");
        for (name, value) in &self.public {
            export(&mut text, name, value)?;
        }
        // Owned: the user can write to the file, so nobody else, and root least of all, runs it.
        let _ = writeln!(text, "if [ -O {SECRETS} ] && [ -r {SECRETS} ]; then\n    . {SECRETS}\nfi");
        Ok(text)
    }

    /// What stands in [`SECRETS`].
    pub fn secrets(&self) -> Result<SecretString, ProvisionError> {
        let mut text = String::from("# Written by Berth whenever the workspace starts or changes.\n");
        for (name, value) in &self.secret {
            export(&mut text, name, value.expose_secret())?;
        }
        Ok(text.into())
    }
}

fn export(text: &mut String, name: &str, value: &str) -> Result<(), ProvisionError> {
    if !is_name(name) {
        return Err(invalid(name, "is not a name that a shell knows"));
    }
    if OF_THE_SHELL.contains(&name) {
        return Err(invalid(name, "belongs to the shell and can not be set"));
    }
    if value.contains('\0') {
        return Err(invalid(name, "contains a zero byte, which no environment variable can hold"));
    }
    let _ = writeln!(text, "export {name}={}", quote(value));
    Ok(())
}

fn invalid(name: &str, why: &str) -> ProvisionError {
    ProvisionError::new(ProvisionReason::EnvironmentInvalid, format!("environment variable {name} {why}"))
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|each| each.is_ascii_alphanumeric() || each == '_')
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// The variable's value as a process gets it that a shell starts after reading the file.
    fn through(shell: &[&str], text: &str) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("profile");
        std::fs::write(&file, text).unwrap();
        let output = Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", ". \"$0\"; exec env -0", file.to_str().unwrap()])
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        output
            .stdout
            .split(|byte| *byte == 0)
            .find_map(|variable| variable.strip_prefix(b"BERTHTEST="))
            .map(<[u8]>::to_vec)
            .unwrap_or_default()
    }

    fn environment(value: &str) -> Environment {
        Environment {
            public: BTreeMap::from([("BERTHTEST".to_owned(), value.to_owned())]),
            secret: BTreeMap::new(),
        }
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            proptest::collection::vec(any::<char>().prop_filter("zero", |c| *c != '\0'), 0..60)
                .prop_map(|characters| characters.into_iter().collect()),
            "[\\x01-\\x20'\"$`\\\\!~*?#;&|<>(){}\\[\\]=%\u{7f}\u{80}-\u{9f}äé€😀]{0,40}",
            "[a-z'\\n]{0,20}\\n{0,3}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn values_survive_a_shell(value in value()) {
            let profile = environment(&value).profile().unwrap();
            prop_assert_eq!(through(&["sh"], &profile), value.as_bytes());
        }
    }

    #[rstest]
    #[case("it's")]
    #[case("'")]
    #[case("")]
    #[case("$(id) `id` $HOME \\ \" \n\n")]
    #[case("\u{1}\u{7f}\u{81}\r")]
    fn values_survive_bash_too(#[case] value: &str) {
        let profile = environment(value).profile().unwrap();
        assert_eq!(through(&["bash", "--norc"], &profile), value.as_bytes());
    }

    #[rstest]
    #[case(
        "A",
        "x\0y",
        "environment variable A contains a zero byte, which no environment variable can hold"
    )]
    #[case("UID", "1", "environment variable UID belongs to the shell and can not be set")]
    #[case("A B", "1", "environment variable A B is not a name that a shell knows")]
    #[case("", "1", "environment variable is not a name that a shell knows")]
    #[case("9A", "1", "environment variable 9A is not a name that a shell knows")]
    fn what_no_shell_can_hold_is_refused(#[case] name: &str, #[case] value: &str, #[case] message: &str) {
        let mut environment = Environment::default();
        environment.secret.insert(name.to_owned(), value.to_owned().into());
        let error = environment.secrets().unwrap_err();
        assert_eq!((error.message.as_str(), error.reason), (message, ProvisionReason::EnvironmentInvalid));
    }

    #[test]
    fn secrets_stand_in_their_own_file() {
        let mut environment = environment("seen");
        environment.secret.insert("KEY".to_owned(), "hidden".to_owned().into());
        assert!(!environment.profile().unwrap().contains("hidden"));
        assert!(environment.secrets().unwrap().expose_secret().contains("export KEY='hidden'\n"));
        assert!(!format!("{environment:?}").contains("hidden"));
    }

    #[test]
    fn defaults_give_way() {
        let mut environment = environment("mine");
        environment.secret.insert("B".to_owned(), "mine".to_owned().into());
        environment.add_defaults([("BERTHTEST", "x".into()), ("B", "x".into()), ("C", "x".into())]);
        assert_eq!(environment.public["BERTHTEST"], "mine");
        assert!(!environment.public.contains_key("B"));
        assert_eq!(environment.public["C"], "x");
    }
}
