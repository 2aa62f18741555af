//! Why a clone failed, from what git and ssh printed in the C locale.

use super::{ProvisionError, ProvisionReason, progress::is_progress};

/// What the programs say, in lower case, and what it means. The first entry that is found
/// anywhere in the output decides: a broken connection is often reported in addition to its cause.
const SIGNS: &[(ProvisionReason, &[&str])] = &[
    (
        ProvisionReason::OutOfMemory,
        &["died of signal 9", "out of memory", "cannot allocate memory", "unable to create thread"],
    ),
    (ProvisionReason::GitOutOfSpace, &["no space left on device", "disk quota exceeded"]),
    (
        ProvisionReason::GitHostKeyMismatch,
        &["host key verification failed", "remote host identification has changed", "host key is known for"],
    ),
    // A key that is none is refused by the server as well; this says more.
    (ProvisionReason::GitAuthFailed, &["load key "]),
    (
        ProvisionReason::GitAuthFailed,
        &[
            "authentication failed",
            "could not read username",
            "could not read password",
            "terminal prompts disabled",
            "permission denied (",
            "permission denied, please try again",
            "too many authentication failures",
            "access denied",
            "returned error: 401",
            "returned error: 403",
            "invalid username or",
            "invalid credentials",
            "sign_and_send_pubkey",
        ],
    ),
    (
        ProvisionReason::GitRepositoryNotFound,
        &[
            "repository not found",
            "returned error: 404",
            "returned error: 410",
            "does not appear to be a git repository",
            "not valid: is this a git repository",
            "project you were looking for could not be found",
            "cannot find repository",
            "no such repository",
            "repository does not exist",
        ],
    ),
    (
        ProvisionReason::GitUrlInvalid,
        &[
            "transport '",
            "unable to find remote helper",
            "is not a git command",
            "url rejected",
            "malformed",
            "no path specified",
            "strange hostname",
            "strange pathname",
            "unsupported protocol",
            "invalid port number",
            "port number was not a decimal",
        ],
    ),
    (
        ProvisionReason::GitNetwork,
        &[
            "could not resolve",
            "couldn't resolve",
            "name or service not known",
            "temporary failure in name resolution",
            "connection refused",
            "failed to connect",
            "couldn't connect",
            "timed out",
            "connection reset",
            "network is unreachable",
            "no route to host",
            "connection closed",
            "connection was reset",
            "kex_exchange_identification",
            "banner exchange",
            "broken pipe",
            "ssl certificate",
            "certificate verif",
            "certificate subject",
            "gnutls",
            "ssl_connect",
            "ssl_error",
            "openssl ssl_",
            "tls ",
            "early eof",
            "rpc failed",
            "hung up unexpectedly",
            "unexpected disconnect",
            "returned error: 429",
            "returned error: 5",
            "returned error: 407",
            "proxy connect",
            "from proxy",
            "too slow",
            "recv failure",
            "send failure",
            "empty reply from server",
            "transfer closed",
            "http/2 stream",
        ],
    ),
];

/// Lines that follow a failure and explain nothing.
const IDLE_TALK: &[&str] = &[
    "please make sure you have the correct access rights",
    "and the repository exists.",
    "fatal: could not read from remote repository.",
    "cloning into ",
    "warning: ",
    "fatal: fetch-pack: invalid index-pack output",
    "fatal: the remote end hung up unexpectedly",
    "retry scheduled",
    "remote: enumerating objects",
    "berth:",
];

/// The failure of a clone that ended with this code and this output.
pub(super) fn failure(code: i64, output: &str) -> ProvisionError {
    let lines: Vec<&str> = output
        .split(['\n', '\r'])
        .map(str::trim)
        .filter(|line| !line.is_empty() && !is_progress(line))
        .collect();
    let last_word = telling_line(&lines).unwrap_or("git ended without a word").to_owned();
    let said_by_script = || {
        let line = lines.iter().rev().find_map(|line| line.strip_prefix("berth: "));
        line.map_or_else(|| last_word.clone(), str::to_owned)
    };
    match code {
        81 | 83 => ProvisionError::new(ProvisionReason::GitMissing, said_by_script()),
        82 => ProvisionError::new(ProvisionReason::WorkspaceNotEmpty, said_by_script()),
        84 => ProvisionError::new(ProvisionReason::GitFailed, said_by_script()),
        137 => ProvisionError::new(
            ProvisionReason::OutOfMemory,
            "the clone was killed, most likely because the container ran out of memory",
        ),
        _ => {
            let (reason, line) = diagnose(&lines).unwrap_or((ProvisionReason::GitFailed, &last_word));
            ProvisionError::new(reason, line)
        }
    }
}

/// What the output is a sign of, and the last line that says so.
fn diagnose<'a>(lines: &[&'a str]) -> Option<(ProvisionReason, &'a str)> {
    SIGNS.iter().find_map(|(reason, signs)| {
        let says_so = |line: &&&str| is_sign(line, *reason, signs);
        lines.iter().rev().find(says_so).map(|line| (*reason, *line))
    })
}

fn is_sign(line: &str, reason: ProvisionReason, signs: &[&str]) -> bool {
    let line = line.to_lowercase();
    let missing = reason == ProvisionReason::GitRepositoryNotFound
        && line.starts_with("fatal: repository '")
        && line.ends_with("' not found");
    missing || signs.iter().any(|sign| line.contains(sign))
}

/// The line to show for a failure of no known kind: the last complaint, else the last line.
fn telling_line<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let idle = |line: &str| IDLE_TALK.iter().any(|talk| line.to_lowercase().starts_with(talk));
    let mut speaking = lines.iter().rev().filter(|line| !idle(line));
    let complaint =
        |line: &&&str| ["fatal: ", "error: "].iter().any(|mark| line.to_lowercase().starts_with(mark));
    speaking
        .clone()
        .find(complaint)
        .or_else(|| speaking.next())
        .or_else(|| lines.iter().rev().find(complaint))
        .or(lines.last())
        .copied()
}

#[cfg(test)]
#[path = "clone_failure_tests.rs"]
mod tests;
