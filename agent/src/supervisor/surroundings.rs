//! What a process or a shell is started with: the shell and the environment.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::Path,
};

use berth_link::wire::process::{ProcessId, ProcessSpec};

use super::Settings;

const BASH: [&str; 3] = ["/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash"];
/// Tells the processes of one supervisor from all others.
const MARK: &str = "BERTH_SUPERVISOR";
/// Variables that are the agent's, and nobody else's.
const OWN: [&str; 7] =
    [MARK, "AGENT_TOKEN", "GATEWAY_URL", "LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET", "RUST_LOG"];
const OWN_PREFIX: &str = "BERTH_AGENT_";

/// The login shell for commands: bash, or sh where there is no bash.
pub fn command_shell() -> &'static str {
    BASH.into_iter().find(|path| Path::new(path).exists()).unwrap_or("/bin/sh")
}

/// The user's login shell, or bash where that lets nobody in.
pub fn login_shell(settings: &Settings) -> &Path {
    let shell = settings.shell.as_path();
    let lets_in = !matches!(shell.file_name().and_then(OsStr::to_str), Some("nologin" | "false"));
    if lets_in && shell.exists() { shell } else { Path::new(command_shell()) }
}

/// The user's environment: the agent's, without what is the agent's own.
pub fn environment(
    settings: &Settings,
    own: impl IntoIterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    let is_own = |name: &OsStr| {
        let name = name.to_string_lossy();
        OWN.contains(&&*name) || name.starts_with(OWN_PREFIX)
    };
    let mut environment: BTreeMap<_, _> = own.into_iter().filter(|(name, _)| !is_own(name)).collect();
    environment.insert("HOME".into(), settings.home.clone().into());
    for name in ["USER", "LOGNAME"] {
        environment.insert(name.into(), settings.user.clone().into());
    }
    environment.insert("SHELL".into(), settings.shell.clone().into());
    environment
}

/// How a variable begins that every process of this supervisor has in its environment, and nobody
/// else.
pub fn mark(settings: &Settings) -> String {
    format!("{MARK}={}:", settings.socket.display())
}

/// The same variable as a whole, as the processes of one id have it.
pub fn mark_of(id: &ProcessId, settings: &Settings) -> String {
    format!("{}{id}", mark(settings))
}

/// What a supervised process has beside that; its own settings go before ours.
pub fn process_environment(spec: &ProcessSpec, settings: &Settings) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::from([
        ("HOST".to_owned(), "0.0.0.0".to_owned()),
        ("DEV_SERVER_ID".to_owned(), spec.id.to_string()),
    ]);
    if let Some(port) = spec.port {
        environment.insert("PORT".to_owned(), port.to_string());
    }
    environment.extend(spec.env.clone());
    environment.insert(MARK.to_owned(), format!("{}:{}", settings.socket.display(), spec.id));
    environment
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::supervisor::tests::settings;

    #[rstest]
    #[case("PATH", Some("x"))]
    #[case("WORKSPACE_NAME", Some("x"))]
    #[case("BERTH_AGENT_TOKEN", None)]
    #[case("AGENT_TOKEN", None)]
    #[case("NOTIFY_SOCKET", None)]
    #[case("HOME", Some("/home/dev"))]
    #[case("USER", Some("dev"))]
    #[case("SHELL", Some("/bin/zsh"))]
    fn the_environment_is_the_user_s(#[case] name: &str, #[case] expected: Option<&str>) {
        let settings = Settings {
            home: "/home/dev".into(),
            user: "dev".to_owned(),
            shell: "/bin/zsh".into(),
            ..settings(Path::new("/folder"))
        };
        let environment = environment(&settings, [(name.into(), "x".into())]);
        assert_eq!(environment.get(OsStr::new(name)).map(OsString::as_os_str), expected.map(OsStr::new));
    }
}
