//! The host keys that an administrator listed.

use std::{io, path::Path};

use russh::keys::{Algorithm, PublicKey, known_hosts};

/// The keys of one server in a file of OpenSSH's `known_hosts` format, and no others.
#[derive(Clone, Debug)]
pub struct KnownHosts {
    accepted: Vec<PublicKey>,
    /// Lines about keys that must never be accepted again.
    revoked: Vec<String>,
}

impl KnownHosts {
    /// Reads what the file says of a server. That it says nothing is an error.
    pub fn read(file: &Path, host: &str, port: u16) -> io::Result<Self> {
        let unreadable =
            |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", file.display()));
        // The library takes a file that can not be read for an empty one.
        let text = std::fs::read_to_string(file).map_err(|error| unreadable(&error))?;
        let revoked = text.lines().filter(|line| line.starts_with("@revoked")).map(str::to_owned).collect();
        let accepted: Vec<_> = known_hosts::known_host_keys_path(host, port, file)
            .map_err(|error| unreadable(&error))?
            .into_iter()
            .map(|(_, key)| key)
            .collect();
        if accepted.is_empty() {
            return Err(unreadable(&format_args!("has no key of {host} port {port}")));
        }
        Ok(Self { accepted, revoked })
    }

    /// Whether a key of this algorithm is listed. The server is asked for no other: it would
    /// choose one.
    pub(super) fn lists(&self, wanted: &Algorithm) -> bool {
        self.accepted.iter().any(|key| match (key.algorithm(), wanted) {
            (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
            (key, wanted) => key == *wanted,
        })
    }

    /// Whether this key is listed, and not revoked.
    pub(super) fn accepts(&self, key: &PublicKey) -> bool {
        let Ok(written) = key.to_openssh() else { return false };
        let Some(encoded) = written.split_whitespace().nth(1) else { return false };
        let revoked = self.revoked.iter().any(|line| line.contains(encoded));
        !revoked && self.accepted.iter().any(|accepted| accepted.key_data() == key.key_data())
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, path::PathBuf};

    use super::*;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";

    fn known_hosts(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        (folder, path)
    }

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).unwrap()
    }

    #[test]
    fn only_listed_keys_are_accepted() {
        let (_folder, file) = known_hosts(&format!("box {ONE}\n"));
        let known = KnownHosts::read(&file, "box", 22).unwrap();
        assert!(known.accepts(&key(ONE)));
        assert!(!known.accepts(&key(OTHER)));
        assert!(known.lists(&Algorithm::Ed25519));
        assert!(!known.lists(&Algorithm::Rsa { hash: None }));
    }

    #[test]
    fn another_host_or_port_is_another_key() {
        let (_folder, file) = known_hosts(&format!("box {ONE}\n"));
        assert!(KnownHosts::read(&file, "box", 2222).is_err());
        assert!(KnownHosts::read(&file, "bax", 22).is_err());
        assert!(KnownHosts::read(Path::new("/nowhere"), "box", 22).is_err());
    }

    #[test]
    fn a_revoked_key_is_not_accepted() {
        let (_folder, file) = known_hosts(&format!("box {ONE}\n@revoked * {ONE}\n"));
        assert!(!KnownHosts::read(&file, "box", 22).unwrap().accepts(&key(ONE)));
    }
}
