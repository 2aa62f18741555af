//! The SSH server of a node.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use russh::{
    Channel, ChannelId, MethodKind, MethodSet,
    server::{self, Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey},
};
use tokio::net::{TcpListener, TcpStream};

use super::{Node, command};

/// One who is not let in waits this long for the answer.
const REJECTION: Duration = Duration::from_millis(500);

/// Serves a node's SSH, until it is dropped. Commands that run then end with it.
///
/// # Errors
///
/// Why no connection can be accepted any more.
pub async fn serve(listener: TcpListener, node: Node) -> io::Result<()> {
    let config = Arc::new(server::Config {
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        keys: vec![node.host_key.clone()],
        auth_rejection_time: REJECTION,
        auth_rejection_time_initial: Some(Duration::ZERO),
        inactivity_timeout: None,
        nodelay: true,
        ..server::Config::default()
    });
    let mut sessions = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            connection = listener.accept() => {
                let (stream, _) = connection?;
                sessions.spawn(converse(stream, Arc::clone(&config), node.clone()));
            }
            Some(_) = sessions.join_next() => {}
        }
    }
}

async fn converse(stream: TcpStream, config: Arc<server::Config>, node: Node) {
    let client = Client { node, waiting: HashMap::new(), commands: tokio::task::JoinSet::new() };
    let ended = match server::run_stream(config, stream, client).await {
        Ok(session) => session.await,
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an SSH connection to a node ended");
    }
}

/// One connection.
struct Client {
    node: Node,
    /// Channels that were opened and have no command yet.
    waiting: HashMap<ChannelId, Channel<Msg>>,
    commands: tokio::task::JoinSet<()>,
}

impl Client {
    fn run(&mut self, id: ChannelId, command: String, session: &mut Session) -> Result<(), russh::Error> {
        let Some(channel) = self.waiting.remove(&id) else { return session.channel_failure(id) };
        session.channel_success(id)?;
        self.commands.spawn(command::run(self.node.clone(), command, channel));
        while self.commands.try_join_next().is_some() {}
        Ok(())
    }
}

impl server::Handler for Client {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let shown = key.public_key.key_data();
        let is_known = self.node.authorized_keys.iter().any(|key| key.key_data() == shown);
        Ok(if user == "root" && is_known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.waiting.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.run(id, String::from_utf8_lossy(command).into_owned(), session)
    }

    /// A shell that reads its commands from the input; there are no terminals.
    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.run(id, "exec bash".to_owned(), session)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn channel_close(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.waiting.remove(&id);
        Ok(())
    }
}
