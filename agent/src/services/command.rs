//! From what is asked for to what is started: program, arguments, folder and environment.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
};

use berth_link::wire::exec::Command;

use super::{Settings, problem::Refused};
use crate::supervisor::{self, surroundings};

/// What is started. Always by a login shell: that is where the variables of the workspace come
/// from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Start {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The folder that it starts in.
    pub folder: PathBuf,
    /// Its whole environment.
    pub environment: BTreeMap<OsString, OsString>,
}

impl Start {
    /// Checks what is asked for. Without a command, only `interactive` ones can be started: the
    /// user's login shell.
    pub fn new(command: &Command, settings: &Settings, interactive: bool) -> Result<Self, Refused> {
        let (program, arguments) = words(command, settings, interactive)?;
        let folder = folder(command.cwd.as_deref(), &settings.workspace);
        if !folder.is_dir() {
            let missing = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no such folder");
            return Err(Refused::from(missing).at(&folder));
        }
        let mut environment = environment(settings);
        for (name, value) in &command.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(Refused::invalid(format!("env: {name:?} can not be a variable")));
            }
            environment.insert(name.into(), value.into());
        }
        Ok(Self { program, arguments, folder, environment })
    }

    /// As a child of ours that leads a process group, with pipes for its output.
    pub fn piped(&self, stdin: Stdio) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(&self.arguments)
            .current_dir(&self.folder)
            .env_clear()
            .envs(&self.environment)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        command
    }
}

/// The user's environment, before a login shell has added the workspace's.
pub fn environment(settings: &Settings) -> BTreeMap<OsString, OsString> {
    surroundings::environment(&as_supervisor(settings), std::env::vars_os())
}

fn as_supervisor(settings: &Settings) -> supervisor::Settings {
    supervisor::Settings {
        workspace: settings.workspace.clone(),
        home: settings.home.clone(),
        user: settings.user.clone(),
        shell: settings.shell.clone(),
        // A command of its own has no use for these.
        socket: PathBuf::new(),
        state: PathBuf::new(),
        logs: PathBuf::new(),
    }
}

fn words(
    command: &Command,
    settings: &Settings,
    interactive: bool,
) -> Result<(PathBuf, Vec<String>), Refused> {
    if command.argv.iter().chain(&command.shell).any(|word| word.contains('\0')) {
        return Err(Refused::invalid("a command can not hold NUL characters"));
    }
    let by_shell = |arguments: Vec<String>| (PathBuf::from(surroundings::command_shell()), arguments);
    match (command.argv.as_slice(), command.shell.as_deref()) {
        ([], Some(line)) => Ok(by_shell(vec!["-lc".to_owned(), line.to_owned()])),
        ([], None) if interactive => {
            let shell = surroundings::login_shell(&as_supervisor(settings)).to_owned();
            Ok((shell, vec!["-l".to_owned()]))
        }
        ([], None) => Err(Refused::invalid("argv or shell is wanted")),
        (_, Some(_)) => Err(Refused::invalid("argv and shell can not both be set")),
        (argv, None) => {
            let mut arguments = ["-lc", r#"exec "$@""#, "berth"].map(str::to_owned).to_vec();
            arguments.extend_from_slice(argv);
            Ok(by_shell(arguments))
        }
    }
}

fn folder(wanted: Option<&str>, workspace: &Path) -> PathBuf {
    match wanted.map(str::trim) {
        None | Some("") => workspace.to_owned(),
        // An absolute path takes the place of the workspace's.
        Some(path) => workspace.join(path),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(None, "/workspace")]
    #[case(Some(" "), "/workspace")]
    #[case(Some("src/app"), "/workspace/src/app")]
    #[case(Some("/tmp"), "/tmp")]
    fn folders(#[case] wanted: Option<&str>, #[case] expected: &str) {
        assert_eq!(folder(wanted, Path::new("/workspace")), Path::new(expected));
    }

    fn command(json: serde_json::Value) -> Result<Start, Refused> {
        let settings = Settings { workspace: "/tmp".into(), ..Settings::default() };
        Start::new(&serde_json::from_value(json).unwrap(), &settings, false)
    }

    #[test]
    fn words_of_a_command_stay_words() {
        let start = command(serde_json::json!({"argv": ["echo", "a b; c"]})).unwrap();
        assert_eq!(start.arguments, ["-lc", r#"exec "$@""#, "berth", "echo", "a b; c"]);
    }

    #[rstest]
    #[case(serde_json::json!({}), 400)]
    #[case(serde_json::json!({"argv": ["ls"], "shell": "ls"}), 400)]
    #[case(serde_json::json!({"argv": ["l\u{0}s"]}), 400)]
    #[case(serde_json::json!({"shell": "l\u{0}s"}), 400)]
    #[case(serde_json::json!({"argv": ["ls"], "env": {"A=B": "C"}}), 400)]
    #[case(serde_json::json!({"argv": ["ls"], "cwd": "no/such/folder"}), 404)]
    fn what_can_not_be_is_refused(#[case] json: serde_json::Value, #[case] status: u16) {
        assert_eq!(command(json).unwrap_err().status.as_u16(), status);
    }
}
