//! Gets the repository into the workspace, as a job that goes on without the operator.
//!
//! The script never removes anything of the user's. It clones into a hidden folder beside the
//! place and moves the result there; killed at any point, the next run takes up where it was left
//! or starts afresh. Credentials reach it in the job's environment; it puts an SSH key into a file
//! in memory for as long as it runs, and a token nowhere.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use crate::backend::JobRequest;

use super::{RemoteUrl, WORKSPACE_FOLDER};

/// Name of the job. A later attempt on the same boot of the container needs one of its own.
pub const JOB_NAME: &str = "clone";

const SCRIPT: &str = include_str!("scripts/clone.sh");

/// What to clone, and how to get at it.
#[derive(Clone, Debug)]
pub struct CloneRequest {
    /// Address of the repository.
    pub url: RemoteUrl,
    /// Branch to check out, made when the repository does not have it. Absent: its default.
    pub branch: Option<String>,
    /// Only this many commits of history.
    pub depth: Option<u32>,
    /// Submodules too, recursively.
    pub submodules: bool,
    /// What the server is shown.
    pub credential: Credential,
    /// Host keys of the SSH server. Absent: the key that it shows first is trusted.
    pub known_hosts: Option<String>,
    /// The user whose the checkout is to be.
    pub user: String,
}

/// What a git server is shown.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Nothing but what the image is set up with.
    None,
    /// An access token or password, for HTTP and HTTPS.
    Token {
        /// The user name that goes with it, unless there is one in the address.
        username: String,
        /// The token.
        token: SecretString,
    },
    /// A private SSH key without a passphrase.
    SshKey {
        /// The key, as OpenSSH writes it.
        key: SecretString,
    },
}

/// The job that clones. Its outcome is read by [`outcome`](super::outcome).
pub fn clone_job(request: &CloneRequest) -> JobRequest {
    clone_job_into(request, WORKSPACE_FOLDER)
}

fn clone_job_into(request: &CloneRequest, folder: &str) -> JobRequest {
    let mut env = BTreeMap::new();
    let mut set = |name: &str, value: String| env.insert(name.to_owned(), SecretString::from(value));
    set("BERTH_CLONE_DIRECTORY", folder.to_owned());
    set("BERTH_CLONE_URL", request.url.to_string());
    set("BERTH_GIT_PROTOCOL", request.url.transport().as_str().to_owned());
    set("BERTH_GIT_HOST", request.url.host().to_owned());
    if let Some(branch) = &request.branch {
        set("BERTH_CLONE_BRANCH", branch.clone());
    }
    if let Some(depth) = request.depth {
        set("BERTH_CLONE_DEPTH", depth.to_string());
    }
    if request.submodules {
        set("BERTH_CLONE_SUBMODULES", "yes".to_owned());
    }
    if let Some(known_hosts) = &request.known_hosts {
        set("BERTH_GIT_KNOWN_HOSTS", lines(known_hosts));
    }
    match &request.credential {
        Credential::None => {}
        Credential::Token { username, token } => {
            set("BERTH_GIT_USERNAME", username.clone());
            // One line: a line break in it would end the value in git's credential protocol.
            set("BERTH_GIT_TOKEN", token.expose_secret().trim().to_owned());
        }
        Credential::SshKey { key } => {
            set("BERTH_GIT_SSH_KEY", lines(key.expose_secret()));
        }
    }
    JobRequest { name: JOB_NAME.to_owned(), script: SCRIPT.to_owned(), user: request.user.clone(), env }
}

/// Lines of Unix, the last one without its end: the script writes that. OpenSSH reads no other.
fn lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n").trim().to_owned()
}

#[cfg(test)]
#[path = "clone_tests.rs"]
mod tests;
