//! The agent's program, as backends bring it into containers.

use std::{fs, path::Path};

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Where the program stands in a container that was made with it.
pub const PROGRAM: &str = "/opt/berth/berth-agent";

/// The program that is brought into containers: one static file.
#[derive(Clone)]
pub struct AgentBinary {
    /// Its content.
    pub content: Bytes,
    /// The first 12 hexadecimal digits of its SHA-256: one version from another.
    pub digest: String,
}

impl AgentBinary {
    /// Reads the program.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        let content = Bytes::from(fs::read(path)?);
        if !content.starts_with(b"\x7fELF") {
            return Err(std::io::Error::other("is no Linux program"));
        }
        let mut digest = hex::encode(Sha256::digest(&content));
        digest.truncate(12);
        Ok(Self { content, digest })
    }
}

/// The program in one container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AgentProgram {
    /// At [`PROGRAM`], in the present version.
    Present,
    /// At [`PROGRAM`] is an older version; the present one was put here.
    Update(String),
    /// The container was made without one, and can not get one any more.
    Missing,
}
