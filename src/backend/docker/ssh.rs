//! A daemon's socket on another machine, through SSH.
//!
//! One SSH session serves all connections to a host: each is a channel of it, forwarded to the
//! socket by the SSH server. A session that broke is replaced by the next connection.

use std::{io, sync::Arc, time::Duration};

use russh::{
    ChannelStream,
    client::{Handle, Msg},
};
use tokio::sync::Mutex;

use crate::{
    backend::ssh::{
        KnownHosts, PrivateKeys, Target, Trust,
        session::{self, Client},
    },
    config::docker::DockerSsh,
};

/// Calls have shorter limits of their own.
const LOG_IN_LIMIT: Duration = Duration::from_secs(30);

/// Opens connections to a remote socket.
pub(super) struct SshDialer {
    target: Target,
    files: DockerSsh,
    session: Mutex<Option<Arc<Handle<Client>>>>,
}

impl SshDialer {
    pub(super) fn new(user: &str, host: &str, port: u16, files: &DockerSsh) -> Self {
        Self {
            target: Target { host: host.to_owned(), port, user: user.to_owned() },
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

    async fn open(&self, session: &Handle<Client>) -> io::Result<ChannelStream<Msg>> {
        let socket = self.files.socket.display().to_string();
        match session.channel_open_direct_streamlocal(socket.clone()).await {
            Ok(channel) => Ok(channel.into_stream()),
            Err(russh::Error::ChannelOpenFailure(_)) => Err(io::Error::new(
                io::ErrorKind::ConnectionRefused,
                format!("{} does not let {} connect to {socket}", self.target.host, self.target.user),
            )),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// The shared session, and whether it was there already.
    async fn session(&self) -> io::Result<(Arc<Handle<Client>>, bool)> {
        let mut shared = self.session.lock().await;
        if let Some(session) = shared.as_ref().filter(|session| !session.is_closed()) {
            return Ok((Arc::clone(session), true));
        }
        let session = Arc::new(self.log_in().await?);
        *shared = Some(Arc::clone(&session));
        Ok((session, false))
    }

    async fn log_in(&self) -> io::Result<Handle<Client>> {
        let known = KnownHosts::read(&self.files.known_hosts_file, &self.target.host, self.target.port)?;
        let keys = PrivateKeys::file(&self.files.key_file);
        let logged_in = session::log_in(&self.target, &keys, Trust::Listed(known), LOG_IN_LIMIT).await?;
        Ok(logged_in.session)
    }
}
