//! What the operator tells an agent, and where things stand in a workspace.
//!
//! Everything is on a file system in memory: after a stop of the container nothing of it is left,
//! and the operator tells it anew.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use anyhow::Context;
use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};

use crate::users::User;

/// The settings; root's, and anybody may read them.
pub const SETTINGS: &str = "/run/berth/agent.json";
/// The token; the user's alone.
pub const TOKEN: &str = "/run/berth/agent.token";
/// Folder of the user's where supervisor and link keep sockets and state.
pub const STATE: &str = "/run/berth/user/agent";
/// Folder of the user's for the output of supervised processes.
pub const LOGS: &str = "/var/log/berth";
/// Folder of the workspace.
pub const WORKSPACE: &str = "/workspace";
/// The supervisor's socket.
pub const SUPERVISOR_SOCKET: &str = "/run/berth/user/agent/supervisor.sock";
/// How the link is doing, as [`crate::link::LinkStatus`].
pub const LINK_STATUS: &str = "/run/berth/user/agent/link.json";

/// How an agent is to work.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Addresses of the gateway, `http:` or `https:`; one after the other is tried.
    pub gateways: Vec<String>,
    /// Name of the user that works here.
    pub user: String,
    /// Certificate authorities to trust beside the image's, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authorities: Option<String>,
    /// The binary to run as link, where it is not this one: an update. When it does not come up,
    /// this one is run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<String>,
}

/// What `berth-agent configure` reads from standard input.
#[derive(Deserialize, Serialize)]
pub struct Configuration {
    /// The settings.
    pub settings: Settings,
    /// The token.
    pub token: String,
}

impl Settings {
    /// Reads the settings; `None` while there are none.
    pub fn load() -> anyhow::Result<Option<Self>> {
        match fs::read(SETTINGS) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text).context(SETTINGS)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(SETTINGS),
        }
    }
}

impl Configuration {
    /// Puts everything into its place. For root.
    pub fn install(&self) -> anyhow::Result<()> {
        let user = User::find(&self.settings.user)?;
        fs::create_dir_all("/run/berth")?;
        for folder in [STATE, LOGS] {
            make_folder(Path::new(folder), &user)?;
        }
        replace(TOKEN, self.token.as_bytes(), 0o600, Some((user.uid, user.gid)))?;
        replace(SETTINGS, &serde_json::to_vec(&self.settings)?, 0o644, None)
    }
}

/// Makes a folder the user's own. One that is a symbolic link is left alone: the user could have
/// put it there.
fn make_folder(folder: &Path, user: &User) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    anyhow::ensure!(fs::symlink_metadata(folder)?.is_dir(), "{} is no folder", folder.display());
    std::os::unix::fs::lchown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    Ok(())
}

/// Replaces a file at once: nobody ever sees half of it.
pub fn replace(path: &str, content: &[u8], mode: u32, owner: Option<(Uid, Gid)>) -> anyhow::Result<()> {
    let beside = format!("{path}.{}", std::process::id());
    let _ = fs::remove_file(&beside);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)
        .with_context(|| beside.clone())?;
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::fchown(&file, Some(uid.as_raw()), Some(gid.as_raw()))?;
    }
    file.write_all(content)?;
    fs::rename(&beside, path).with_context(|| path.to_owned())
}
