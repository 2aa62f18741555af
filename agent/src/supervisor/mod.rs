//! Owns supervised processes and terminals. Speaks HTTP/2 on a Unix socket.

use std::path::PathBuf;

mod files;
mod group;
mod lines;
mod log;
mod machine;
mod probe;
mod surroundings;

/// What a supervisor is given.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The Unix socket that it listens on.
    pub socket: PathBuf,
    /// Folder for what its successor needs, should it be killed. Best in memory: it is worth
    /// nothing after the container has ended, and it holds environments.
    pub state: PathBuf,
    /// Folder for the logs of the processes.
    pub logs: PathBuf,
    /// Folder that terminals start in.
    pub workspace: PathBuf,
    /// Home of the user.
    pub home: PathBuf,
    /// Name of the user.
    pub user: String,
    /// Login shell of the user.
    pub shell: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            socket: "/run/berth/supervisor/socket".into(),
            state: "/run/berth/supervisor".into(),
            logs: "/var/log/berth".into(),
            workspace: "/workspace".into(),
            home: "/root".into(),
            user: "root".to_owned(),
            shell: "/bin/bash".into(),
        }
    }
}
