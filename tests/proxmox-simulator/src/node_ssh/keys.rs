//! The keys of a node's SSH server, as people give them.

use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use russh::keys::{Algorithm, PrivateKey, PublicKey, key::safe_rng, load_secret_key, ssh_key::LineEnding};

/// The host key in a file of OpenSSH's format, which is made if it is not there. Beside it, the public
/// key is written into a file with `.pub` at the end.
///
/// # Errors
///
/// Why the file can not be read or made.
pub fn host_key(file: &Path) -> Result<PrivateKey, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    if file.exists() {
        return load_secret_key(file, None).map_err(|error| failed(&error));
    }
    let key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).map_err(|error| failed(&error))?;
    let private = key.to_openssh(LineEnding::LF).map_err(|error| failed(&error))?;
    let public = key.public_key().to_openssh().map_err(|error| failed(&error))?;
    let mut options = std::fs::OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(file);
    made.and_then(|mut made| made.write_all(private.as_bytes())).map_err(|error| failed(&error))?;
    std::fs::write(file.with_added_extension("pub"), format!("{public}\n"))
        .map_err(|error| failed(&error))?;
    Ok(key)
}

/// The keys of an `authorized_keys` file: one a line, without options. Comments are left out.
///
/// # Errors
///
/// Which line is no key.
pub fn authorized_keys(text: &str) -> Result<Vec<PublicKey>, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| PublicKey::from_openssh(line).map_err(|error| format!("{line}: {error}"))).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ me";

    #[test]
    fn a_host_key_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("host_key");
        let made = host_key(&file).unwrap();
        assert_eq!(host_key(&file).unwrap().public_key().key_data(), made.public_key().key_data());
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let public = std::fs::read_to_string(folder.path().join("host_key.pub")).unwrap();
        assert_eq!(PublicKey::from_openssh(&public).unwrap().key_data(), made.public_key().key_data());
    }

    #[test]
    fn a_file_that_is_no_key_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("host_key");
        std::fs::write(&file, "precious").unwrap();
        assert!(host_key(&file).unwrap_err().starts_with(&file.display().to_string()));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    }

    #[test]
    fn keys_are_read_line_by_line() {
        assert_eq!(authorized_keys(&format!("# mine\n{KEY}\n\n{KEY}\n")).unwrap().len(), 2);
        assert!(authorized_keys(&format!("{KEY}\nnonsense\n")).unwrap_err().starts_with("nonsense: "));
    }
}
