//! Opening a session: connecting, checking the host key, logging in.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use russh::{
    Channel,
    client::{self, ChannelOpenHandle, Handle, Msg, Session},
    keys::{Algorithm, PrivateKeyWithHashAlg, PublicKeyOrCertificate},
};
use tokio::{net::TcpStream, time::timeout};

use super::{HostKey, KnownHosts, PrivateKeys, SshError};

/// A server that does not answer is given up after three of these.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const KEEP_ALIVES: usize = 2;
/// What a server may send on a channel before we have taken it in.
const WINDOW: u32 = 512 << 10;
/// Messages of a channel that are kept for us. While they are not taken in, the whole session waits.
const MESSAGES: usize = 32;

/// Where to log in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// Name or address of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The user.
    pub user: String,
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}:{}", self.user, self.host, self.port)
    }
}

/// Which host keys are accepted.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Any: it is the first connection. The key that is shown is to be remembered.
    FirstUse,
    /// This one, which was shown before.
    Pinned(HostKey),
    /// Those that an administrator listed.
    Listed(KnownHosts),
}

/// An open session, and the key that the server showed.
pub struct LoggedIn {
    /// The session. It ends when this is dropped.
    pub session: Handle<Client>,
    /// The key.
    pub host_key: HostKey,
}

/// Logs in, within a time limit.
pub async fn log_in(
    target: &Target,
    keys: &PrivateKeys,
    trust: Trust,
    limit: Duration,
) -> Result<LoggedIn, SshError> {
    let keys = keys.load().await?;
    let attempt = async {
        let stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
        stream.set_nodelay(true)?;
        let client = Client { host: target.host.clone(), trust, seen: Arc::default() };
        let seen = Arc::clone(&client.seen);
        let config = Arc::new(client.config());
        let mut session = client::connect_stream(config, stream, client).await?;
        let host_key = seen.get().cloned().ok_or(russh::Error::UnknownKey)?;
        for key in keys {
            let hash = match key.algorithm() {
                Algorithm::Rsa { .. } => session.best_supported_rsa_hash().await?.flatten(),
                _ => None,
            };
            let key = PrivateKeyWithHashAlg::new(key, hash);
            if session.authenticate_publickey(&target.user, key).await?.success() {
                return Ok(LoggedIn { session, host_key });
            }
        }
        Err(SshError::AuthFailed { host: target.host.clone(), user: target.user.clone() })
    };
    timeout(limit, attempt).await.map_err(|_| SshError::Slow("logging in"))?
}

/// Our end of a session. It checks the host key; and nobody may open a channel to us.
pub struct Client {
    host: String,
    trust: Trust,
    /// The key that was shown; a session keeps it when it renews its keys.
    seen: Arc<OnceLock<HostKey>>,
}

impl Client {
    fn config(&self) -> client::Config {
        let mut config = client::Config {
            keepalive_interval: Some(KEEP_ALIVE),
            keepalive_max: KEEP_ALIVES,
            window_size: WINDOW,
            channel_buffer_size: MESSAGES,
            nodelay: true,
            ..client::Config::default()
        };
        let mut algorithms = config.preferred.key.to_vec();
        match &self.trust {
            Trust::FirstUse => {}
            // A server that has the expected key is to show it, and not another one that it has.
            Trust::Pinned(key) => {
                algorithms.sort_by_key(|algorithm| !is_of_same_kind(algorithm, &key.algorithm()));
            }
            Trust::Listed(known) => algorithms.retain(|algorithm| known.lists(algorithm)),
        }
        config.preferred.key = algorithms.into();
        config
    }

    fn check(&self, shown: &PublicKeyOrCertificate) -> Result<(), SshError> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else {
            // None was asked for.
            return Err(russh::Error::UnknownKey.into());
        };
        let seen = HostKey::from(key);
        let host = self.host.clone();
        let expected = match (self.seen.get(), &self.trust) {
            (Some(expected), _) | (None, Trust::Pinned(expected)) => expected,
            (None, Trust::FirstUse) => &seen,
            (None, Trust::Listed(known)) if known.accepts(key) => &seen,
            (None, Trust::Listed(_)) => {
                return Err(SshError::HostKeyUnknown { host, seen: seen.fingerprint() });
            }
        };
        if *expected != seen {
            let expected = expected.fingerprint();
            return Err(SshError::HostKeyChanged { host, expected, seen: seen.fingerprint() });
        }
        self.seen.get_or_init(|| seen);
        Ok(())
    }
}

fn is_of_same_kind(one: &Algorithm, other: &Algorithm) -> bool {
    matches!((one, other), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. })) || one == other
}

/// A reply that is dropped refuses.
impl client::Handler for Client {
    type Error = SshError;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, SshError> {
        self.check(shown).map(|()| true)
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), SshError> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), SshError> {
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), SshError> {
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), SshError> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), SshError> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), SshError> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), SshError> {
        Ok(())
    }
}
