//! The operator's private keys.

use std::{path::PathBuf, sync::Arc};

use russh::keys::{Algorithm, PrivateKey, decode_secret_key};
use secrecy::{ExposeSecret, SecretString};

use super::SshError;

/// Where a private key without a passphrase comes from.
#[derive(Clone, Debug)]
pub enum PrivateKeySource {
    /// A file, read anew for each connection: the key in it can be replaced.
    File(PathBuf),
    /// The key itself, as OpenSSH or PEM has it.
    Text(SecretString),
}

impl PrivateKeySource {
    async fn load(&self) -> Result<Arc<PrivateKey>, SshError> {
        let unusable = |cause: String| match self {
            Self::File(path) => SshError::KeyUnusable(format!("{}: {cause}", path.display())),
            Self::Text(_) => SshError::KeyUnusable(cause),
        };
        let text = match self {
            Self::File(path) => {
                let text = tokio::fs::read_to_string(path).await;
                SecretString::from(text.map_err(|error| unusable(error.to_string()))?)
            }
            Self::Text(text) => text.clone(),
        };
        let key = decode_secret_key(text.expose_secret(), None);
        key.map(Arc::new).map_err(|error| unusable(error.to_string()))
    }
}

/// The private keys that are tried, one after the other.
#[derive(Clone, Debug)]
pub struct PrivateKeys(Vec<PrivateKeySource>);

impl PrivateKeys {
    /// Keys from several places, in any order.
    pub fn new(sources: Vec<PrivateKeySource>) -> Self {
        Self(sources)
    }

    /// One key from a file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(vec![PrivateKeySource::File(path.into())])
    }

    /// Their public halves, as they stand in an `authorized_keys`.
    pub async fn public(&self) -> Result<Vec<String>, SshError> {
        let keys = self.load().await?;
        let public = keys.iter().map(|key| key.public_key().to_openssh());
        public.map(|key| key.map_err(|error| SshError::KeyUnusable(error.to_string()))).collect()
    }

    /// Reads all of them. The order is that of their algorithms: Ed25519, ECDSA, RSA.
    pub(super) async fn load(&self) -> Result<Vec<Arc<PrivateKey>>, SshError> {
        let mut keys = Vec::with_capacity(self.0.len());
        for source in &self.0 {
            keys.push(source.load().await?);
        }
        keys.sort_by_key(|key| match key.algorithm() {
            Algorithm::Ed25519 => 0,
            Algorithm::Ecdsa { .. } => 1,
            _ => 2,
        });
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn generate(folder: &std::path::Path, kind: &str) -> PathBuf {
        let path = folder.join(kind);
        let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", kind, "-f"]).arg(&path).status();
        assert!(made.unwrap().success());
        path
    }

    #[tokio::test]
    async fn the_order_is_that_of_the_algorithms() {
        let folder = tempfile::tempdir().unwrap();
        let [rsa, ecdsa, ed25519] = ["rsa", "ecdsa", "ed25519"].map(|kind| generate(folder.path(), kind));
        let text = std::fs::read_to_string(ed25519).unwrap();
        let keys = PrivateKeys::new(vec![
            PrivateKeySource::File(rsa),
            PrivateKeySource::File(ecdsa),
            PrivateKeySource::Text(text.into()),
        ]);
        let loaded = keys.load().await.unwrap();
        let names: Vec<_> = loaded.iter().map(|key| key.algorithm().as_str().to_owned()).collect();
        assert_eq!(names, ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"]);
    }

    #[tokio::test]
    async fn a_key_that_can_not_be_used_is_named_and_not_shown() {
        let missing = PrivateKeys::file("/nowhere/key").load().await.unwrap_err();
        assert!(missing.to_string().contains("/nowhere/key"), "{missing}");
        let text = PrivateKeys::new(vec![PrivateKeySource::Text("very secret".into())]);
        let unusable = text.load().await.unwrap_err();
        assert!(!format!("{unusable} {unusable:?} {text:?}").contains("very secret"));
    }
}
