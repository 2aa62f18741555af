//! A daemon's socket on another machine, through SSH.
//!
//! One SSH session serves all connections to a host: each is a channel of it, forwarded to the
//! socket by the SSH server. A session that broke is replaced by the next connection.

use std::{io, path::Path, sync::Arc, time::Duration};

use russh::{
    ChannelStream,
    client::{self, Handle, Msg},
    keys::{
        Algorithm, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate, known_hosts, load_secret_key,
    },
};
use tokio::{net::TcpStream, sync::Mutex};

use crate::config::docker::DockerSsh;

/// Opens connections to a remote socket.
pub(super) struct SshDialer {
    user: String,
    host: String,
    port: u16,
    files: DockerSsh,
    session: Mutex<Option<Arc<Handle<HostKeyCheck>>>>,
}

impl SshDialer {
    pub(super) fn new(user: &str, host: &str, port: u16, files: &DockerSsh) -> Self {
        Self {
            user: user.to_owned(),
            host: host.to_owned(),
            port,
            files: files.clone(),
            session: Mutex::new(None),
        }
    }

    /// A new connection to the remote socket.
    pub(super) async fn dial(&self) -> io::Result<ChannelStream<Msg>> {
        let (session, reused) = self.session().await?;
        match self.open(&session).await {
            Err(_) if reused && session.is_closed() => {
                let (session, _) = self.session().await?;
                self.open(&session).await
            }
            opened => opened,
        }
    }

    async fn open(&self, session: &Handle<HostKeyCheck>) -> io::Result<ChannelStream<Msg>> {
        let socket = self.files.socket.display().to_string();
        match session.channel_open_direct_streamlocal(socket.clone()).await {
            Ok(channel) => Ok(channel.into_stream()),
            Err(russh::Error::ChannelOpenFailure(_)) => Err(io::Error::new(
                io::ErrorKind::ConnectionRefused,
                format!("{} does not let {} connect to {socket}", self.host, self.user),
            )),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// The shared session, and whether it was there already.
    async fn session(&self) -> io::Result<(Arc<Handle<HostKeyCheck>>, bool)> {
        let mut shared = self.session.lock().await;
        if let Some(session) = shared.as_ref().filter(|session| !session.is_closed()) {
            return Ok((Arc::clone(session), true));
        }
        let session = Arc::new(self.log_in().await?);
        *shared = Some(Arc::clone(&session));
        Ok((session, false))
    }

    async fn log_in(&self) -> io::Result<Handle<HostKeyCheck>> {
        let key_file = self.files.key_file.clone();
        let key = load_secret_key(&key_file, None)
            .map_err(|error| io::Error::other(format!("{}: {error}", key_file.display())))?;
        let check = HostKeyCheck::read(&self.files.known_hosts_file, &self.host, self.port)?;
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let mut session = client::connect_stream(Arc::new(check.config()), stream, check)
            .await
            .map_err(|error| io::Error::other(error.to_string()))?;
        let hash = session.best_supported_rsa_hash().await.map_err(io::Error::other)?.flatten();
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
        let answer = session.authenticate_publickey(&self.user, key).await.map_err(io::Error::other)?;
        if !answer.success() {
            let words = format!("ssh: {} does not accept the key of {}", self.host, self.user);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, words));
        }
        Ok(session)
    }
}

/// Accepts the host keys that the administrator listed, and no others.
#[derive(Debug)]
pub(super) struct HostKeyCheck {
    host: String,
    accepted: Vec<PublicKey>,
    /// Lines about keys that must never be accepted again.
    revoked: Vec<String>,
}

impl HostKeyCheck {
    fn read(file: &Path, host: &str, port: u16) -> io::Result<Self> {
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
        Ok(Self { host: host.to_owned(), accepted, revoked })
    }

    /// Asks the server for a key of a kind that is listed; it would choose another one otherwise.
    fn config(&self) -> client::Config {
        let mut config = client::Config {
            keepalive_interval: Some(Duration::from_secs(5)),
            keepalive_max: 2,
            nodelay: true,
            ..client::Config::default()
        };
        let listed = |wanted: &Algorithm| {
            self.accepted.iter().any(|key| match (key.algorithm(), wanted) {
                (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
                (key, wanted) => key == *wanted,
            })
        };
        config.preferred.key =
            config.preferred.key.iter().filter(|algorithm| listed(algorithm)).cloned().collect();
        config
    }

    fn accepts(&self, key: &PublicKey) -> bool {
        let Ok(written) = key.to_openssh() else { return false };
        let Some(encoded) = written.split_whitespace().nth(1) else { return false };
        let revoked = self.revoked.iter().any(|line| line.contains(encoded));
        !revoked && self.accepted.iter().any(|accepted| accepted.key_data() == key.key_data())
    }
}

impl client::Handler for HostKeyCheck {
    type Error = SshError;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, SshError> {
        match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } if self.accepts(key) => Ok(true),
            _ => Err(SshError::HostKey(self.host.clone())),
        }
    }
}

/// Why a session could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum SshError {
    /// The server is not the one that is expected.
    #[error("ssh: the host key of {0} is not the one in the known hosts file")]
    HostKey(String),
    /// Anything else.
    #[error("ssh: {0}")]
    Protocol(#[from] russh::Error),
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
        let check = HostKeyCheck::read(&file, "box", 22).unwrap();
        assert!(check.accepts(&key(ONE)));
        assert!(!check.accepts(&key(OTHER)));
        assert_eq!(check.config().preferred.key.to_vec(), [Algorithm::Ed25519]);
    }

    #[test]
    fn another_host_or_port_is_another_key() {
        let (_folder, file) = known_hosts(&format!("box {ONE}\n"));
        assert!(HostKeyCheck::read(&file, "box", 2222).is_err());
        assert!(HostKeyCheck::read(&file, "bax", 22).is_err());
        assert!(HostKeyCheck::read(Path::new("/nowhere"), "box", 22).is_err());
    }

    #[test]
    fn a_revoked_key_is_not_accepted() {
        let (_folder, file) = known_hosts(&format!("box {ONE}\n@revoked * {ONE}\n"));
        assert!(!HostKeyCheck::read(&file, "box", 22).unwrap().accepts(&key(ONE)));
    }
}
