//! The agent's program: which build of it runs, and an update that did not come up.

use std::{fs, io};

use berth_link::wire::FailedUpdate;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config;

/// Where the init notes an update that it gave up; root's, and anybody may read it.
const GIVEN_UP: &str = "/run/berth/agent-update.json";
/// Most characters of why it was given up.
const LONGEST: usize = 512;

/// An update that was given up.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct GivenUp {
    /// Its program.
    pub program: String,
    /// Why, for people.
    pub message: String,
}

impl GivenUp {
    /// Notes it, for the link to tell.
    pub fn store(&self) {
        let text = serde_json::to_vec(self).unwrap_or_default();
        if let Err(error) = config::replace(GIVEN_UP, &text, 0o644) {
            eprintln!("berth-agent: {error:#}");
        }
    }

    /// Forgets it: another update is tried, or none is wanted any more.
    pub fn forget() {
        let _ = fs::remove_file(GIVEN_UP);
    }

    fn load() -> Option<Self> {
        serde_json::from_slice(&fs::read(GIVEN_UP).ok()?).ok()
    }
}

/// The update that was given up, as gateways are told.
pub fn failed() -> Option<FailedUpdate> {
    let given_up = GivenUp::load()?;
    let build = build(&given_up.program).unwrap_or_default();
    Some(FailedUpdate { build, message: given_up.message.chars().take(LONGEST).collect() })
}

/// Tells one build of the program from another: the first 12 hexadecimal digits of its SHA-256.
pub fn build(program: &str) -> io::Result<String> {
    let mut digest = Sha256::new();
    io::copy(&mut fs::File::open(program)?, &mut digest)?;
    Ok(digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_named_by_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("berth-agent");
        fs::write(&program, "abc").unwrap();
        assert_eq!(build(program.to_str().unwrap()).unwrap(), "ba7816bf8f01");
        assert!(build("/nowhere").is_err());
    }
}
