//! The key by which an SSH server is known.

use std::{fmt, str::FromStr};

use russh::keys::{Algorithm, HashAlg, PublicKey};

/// The public key of an SSH server, without a comment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostKey(PublicKey);

impl HostKey {
    /// Its fingerprint, as OpenSSH shows it: `SHA256:` and base64.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// Its algorithm.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.0.algorithm()
    }
}

impl From<&PublicKey> for HostKey {
    fn from(key: &PublicKey) -> Self {
        Self(PublicKey::new(key.key_data().clone(), ""))
    }
}

/// OpenSSH's format: the algorithm and the key in base64. A comment after them is left out.
impl FromStr for HostKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match PublicKey::from_openssh(text.trim()) {
            Ok(key) => Ok(Self::from(&key)),
            Err(error) => Err(format!("is no public key in OpenSSH's format: {error}")),
        }
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_openssh().map_err(|_| fmt::Error)?;
        formatter.write_str(text.trim())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[rstest]
    #[case(KEY.to_owned())]
    #[case(format!("{KEY} root@box\n"))]
    #[case(format!("  {KEY}"))]
    fn it_is_written_without_comment(#[case] text: String) {
        let key: HostKey = text.parse().unwrap();
        assert_eq!(key.to_string(), KEY);
        assert_eq!(key, KEY.parse().unwrap());
    }

    #[test]
    fn its_fingerprint_is_that_of_openssh() {
        // As `ssh-keygen -lf` prints it.
        let key: HostKey = KEY.parse().unwrap();
        assert_eq!(key.fingerprint(), "SHA256:T7SvZ2cslqpPj6nKzitCBHHlpVF3r3MvLwmFL0fk0IE");
    }

    #[rstest]
    #[case("")]
    #[case("ssh-ed25519")]
    #[case("ssh-ed25519 AAAA")]
    #[case("ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ")]
    fn other_texts_are_no_keys(#[case] text: &str) {
        assert!(text.parse::<HostKey>().is_err());
    }
}
