//! What the operator tells an agent, and where things stand in a workspace.
//!
//! Everything is on a file system in memory: after a stop of the container nothing of it is left,
//! and the operator tells it anew.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// The settings; root's, and anybody may read them.
pub const SETTINGS: &str = "/run/berth/agent.json";
/// The token; the user's alone.
pub const TOKEN: &str = "/run/berth/agent.token";
/// The number of the process that is told of new settings by SIGHUP: the init.
pub const INIT_PID: &str = "/run/berth/init.pid";
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
    /// The way out, where it is not open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// The binary to run as link, where it is not this one: an update. When it does not come up,
    /// this one is run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<String>,
}

/// Proxies between the workspace and everything else. The names are those of the variables that
/// programs know.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Proxy {
    /// For a gateway at an `http:` address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// For a gateway at an `https:` address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https: Option<String>,
    /// Hosts, domains and networks that are reached without one, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_proxy: Option<String>,
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

/// Replaces a file at once: nobody ever sees half of it.
pub fn replace(path: &str, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let beside = format!("{path}.{}", std::process::id());
    let _ = fs::remove_file(&beside);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)
        .with_context(|| beside.clone())?;
    file.write_all(content)?;
    fs::rename(&beside, path).with_context(|| path.to_owned())
}
