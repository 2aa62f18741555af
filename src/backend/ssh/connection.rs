//! One connection to a guest, and the commands that run over it at the same time.

use std::{sync::Arc, time::Duration};

use russh::{
    ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig,
    client::{Handle, Msg},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use super::{
    HostKey, SshError, command_line,
    session::{Client, LoggedIn},
};
use crate::backend::output::Output;

/// OpenSSH allows ten sessions for a connection. One is left for ending a command, one for others.
const SESSIONS: usize = 8;
/// A connection that opens no session within this time is taken for dead.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// Wait before a session that was refused is asked for again.
const PAUSE: Duration = Duration::from_millis(50);
/// So long the outputs of a command that has ended may be silent: one that it left in the
/// background may keep them open.
const SILENCE: Duration = Duration::from_millis(500);
/// Number of the extended data that is the standard error.
const STDERR: u32 = 1;

/// An open connection. It closes when it is dropped.
pub(super) struct Connection {
    session: Handle<Client>,
    host_key: HostKey,
    sessions: Arc<Semaphore>,
}

impl Connection {
    pub(super) fn new(logged_in: LoggedIn) -> Self {
        let LoggedIn { session, host_key } = logged_in;
        Self { session, host_key, sessions: Arc::new(Semaphore::new(SESSIONS)) }
    }

    /// The key that the server showed.
    pub(super) fn host_key(&self) -> &HostKey {
        &self.host_key
    }

    /// Whether it is of no use any more.
    pub(super) fn is_closed(&self) -> bool {
        self.session.is_closed()
    }

    /// Opens a session for one command, when there is room for it. Nothing has happened in the
    /// guest when this fails.
    pub(super) async fn open(&self, patience: Duration) -> Result<CommandSession, SshError> {
        match timeout(patience, Arc::clone(&self.sessions).acquire_owned()).await {
            Ok(Ok(place)) => self.open_with(Some(place)).await,
            Ok(Err(_)) | Err(_) => Err(SshError::Busy),
        }
    }

    /// Opens a session that does not wait for others to end: it is to end one of them.
    pub(super) async fn open_at_once(&self) -> Result<CommandSession, SshError> {
        self.open_with(None).await
    }

    async fn open_with(&self, place: Option<OwnedSemaphorePermit>) -> Result<CommandSession, SshError> {
        let open = async {
            loop {
                match self.session.channel_open_session().await {
                    // One that has ended may still be counted.
                    Err(russh::Error::ChannelOpenFailure(_)) => sleep(PAUSE).await,
                    opened => return opened,
                }
            }
        };
        let opened = timeout(OPEN_LIMIT, open).await;
        let (read, write) = opened.map_err(|_| SshError::Slow("opening a session"))??.split();
        Ok(CommandSession { read, write: Some(write), place })
    }
}

/// A session that runs one command. The server is told when it is dropped, however that happens.
pub(super) struct CommandSession {
    read: ChannelReadHalf,
    write: Option<ChannelWriteHalf<Msg>>,
    place: Option<OwnedSemaphorePermit>,
}

impl CommandSession {
    /// Runs the command line of [`command_line`] with these inputs, one after the other, and gives
    /// its exit code; `output` is filled as it comes.
    pub(super) async fn run(&mut self, input: [&[u8]; 2], output: &mut Output) -> Result<i64, SshError> {
        let Self { read, write: Some(write), .. } = self else { return Err(SshError::Lost) };
        write.exec(true, command_line::command()).await?;
        let writing = async {
            for part in input {
                // A command need not read all of its input.
                let _ = write.data(part).await;
            }
            let _ = write.eof().await;
        };
        let reading = follow(read, output);
        tokio::pin!(writing, reading);
        tokio::select! {
            code = &mut reading => code,
            () = &mut writing => reading.await,
        }
    }
}

impl Drop for CommandSession {
    fn drop(&mut self) {
        if let (Some(write), Ok(runtime)) = (self.write.take(), tokio::runtime::Handle::try_current()) {
            let place = self.place.take();
            runtime.spawn(async move {
                let _ = write.close().await;
                drop(place);
            });
        }
    }
}

async fn follow(read: &mut ChannelReadHalf, output: &mut Output) -> Result<i64, SshError> {
    let mut code = None;
    loop {
        let message = match code {
            None => read.wait().await,
            Some(_) => timeout(SILENCE, read.wait()).await.unwrap_or(None),
        };
        match message {
            Some(ChannelMsg::Data { data }) => output.stdout.push(&data),
            Some(ChannelMsg::ExtendedData { data, ext: STDERR }) => output.push_stderr(&data),
            Some(ChannelMsg::ExitStatus { exit_status }) => code = Some(i64::from(exit_status)),
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => code = Some(128 + number(&signal_name)),
            Some(ChannelMsg::Failure) => return Err(SshError::Refused),
            Some(ChannelMsg::Close) | None => return code.ok_or(SshError::Lost),
            Some(_) => {}
        }
    }
}

/// The number of a signal, as on Linux.
fn number(signal: &Sig) -> i64 {
    match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::USR1 => 10,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM => 15,
        Sig::Custom(_) => 127,
    }
}
