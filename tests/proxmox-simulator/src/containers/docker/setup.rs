//! What a container made from an OS template gets before its first boot: keys of its own and a way
//! in.

use bollard::Docker;
use russh::keys::{Algorithm, EcdsaCurve, PrivateKey, ssh_key::LineEnding};

use super::archive::{self, Files};
use crate::containers::Setup;

/// Enough for a password that protects a simulated machine.
const BCRYPT_COST: u32 = 6;

/// Writes SSH host keys, and root's password and keys if they are given.
pub(super) async fn write(docker: &Docker, container: &str, setup: &Setup) -> Result<(), String> {
    let mut files = host_keys(Files::default(), &setup.hostname)?;
    if let Some(keys) = &setup.ssh_public_keys {
        let keys = format!("{}\n", keys.trim_end());
        files = files.folder("root/.ssh", 0o700).file("root/.ssh/authorized_keys", 0o600, keys);
    }
    if let Some(password) = &setup.root_password {
        let shadow = archive::read(docker, container, "/etc/shadow").await?.unwrap_or_default();
        let hash =
            bcrypt::hash(password, BCRYPT_COST).map_err(|error| format!("root's password: {error}"))?;
        let changed = with_password(&String::from_utf8_lossy(&shadow.content), &hash);
        files = files.file_of(shadow.group, "etc/shadow", 0o640, changed);
    }
    archive::write(docker, container, &files).await
}

fn host_keys(files: Files, hostname: &str) -> Result<Files, String> {
    let kinds =
        [("ed25519", Algorithm::Ed25519), ("ecdsa", Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 })];
    kinds.into_iter().try_fold(files, |files, (name, algorithm)| {
        let (private, public) =
            host_key(algorithm, hostname).map_err(|error| format!("{name} host key: {error}"))?;
        let path = format!("etc/ssh/ssh_host_{name}_key");
        Ok(files.file(&path, 0o600, private).file(&format!("{path}.pub"), 0o644, public))
    })
}

fn host_key(algorithm: Algorithm, hostname: &str) -> Result<(String, String), russh::keys::ssh_key::Error> {
    let mut key = PrivateKey::random(&mut russh::keys::key::safe_rng(), algorithm)?;
    key.set_comment(format!("root@{hostname}"));
    let public = format!("{}\n", key.public_key().to_openssh()?);
    Ok((key.to_openssh(LineEnding::LF)?.to_string(), public))
}

/// The file with this hash as root's password.
fn with_password(shadow: &str, hash: &str) -> String {
    let line = |line: &str| match line.strip_prefix("root:").and_then(|rest| rest.split_once(':')) {
        Some((_, rest)) => format!("root:{hash}:{rest}\n"),
        None => format!("{line}\n"),
    };
    shadow.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_of_root_changes() {
        let shadow = "root:*:20000:0:99999:7:::\ndaemon:*:20000:0:99999:7:::\n";
        let expected = "root:$2b$x:20000:0:99999:7:::\ndaemon:*:20000:0:99999:7:::\n";
        assert_eq!(with_password(shadow, "$2b$x"), expected);
    }

    #[test]
    fn a_host_key_is_one_that_openssh_reads() {
        let (private, public) = host_key(Algorithm::Ed25519, "box").unwrap();
        let key = PrivateKey::from_openssh(&private).unwrap();
        assert_eq!(format!("{}\n", key.public_key().to_openssh().unwrap()), public);
        assert!(public.ends_with(" root@box\n"));
    }
}
