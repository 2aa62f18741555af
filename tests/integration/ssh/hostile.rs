//! A server that means no good: it is the tenant's.

use std::{path::Path, sync::Arc, time::Duration};

use berth::backend::{
    ExecRequest, Guest, Reason,
    ssh::{Pool, PrivateKeys, Settings, SshGuest, Target},
};
use russh::{
    Channel, ChannelId,
    keys::load_secret_key,
    server::{self, Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey},
};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::server::make_key;

/// What the server does with a command.
#[derive(Clone, Copy)]
enum Malice {
    /// Opens channels to the client, and says how many were let in.
    OpensChannels,
    /// Sends on both outputs without end, and never says that the command has ended.
    NeverEnds,
    /// Ends the command without an exit code.
    SaysNothing,
    /// Refuses every key, and wants words.
    Asks,
}

struct Hostile(Malice);

impl server::Handler for Hostile {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, _: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        Ok(if matches!(self.0, Malice::Asks) { Auth::reject() } else { Auth::Accept })
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        _: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(id)?;
        let (handle, malice) = (session.handle(), self.0);
        tokio::spawn(async move {
            let _ = handle.extended_data(id, 1, "4711\n".as_bytes()).await;
            match malice {
                Malice::OpensChannels => {
                    let mut let_in = 0;
                    for _ in 0..50 {
                        let_in += usize::from(handle.channel_open_session().await.is_ok());
                        let_in += usize::from(handle.channel_open_agent().await.is_ok());
                        let_in += usize::from(handle.channel_open_x11("::1", 1).await.is_ok());
                        let_in += usize::from(
                            handle.channel_open_forwarded_tcpip("::1", 1, "::1", 1).await.is_ok(),
                        );
                    }
                    let _ = handle.data(id, format!("{let_in} let in")).await;
                    let _ = handle.exit_status_request(id, 0).await;
                    let _ = handle.close(id).await;
                }
                Malice::NeverEnds => {
                    while handle.data(id, vec![b'x'; 30_000]).await.is_ok()
                        && handle.extended_data(id, 1, vec![b'y'; 30_000]).await.is_ok()
                    {}
                }
                Malice::SaysNothing | Malice::Asks => {
                    let _ = handle.close(id).await;
                }
            }
        });
        Ok(())
    }
}

/// Serves one connection.
async fn serve(folder: &Path, malice: Malice) -> (Target, AbortOnDropHandle<()>) {
    make_key(folder, "host");
    let key = load_secret_key(folder.join("host"), None).unwrap();
    let config =
        server::Config { keys: vec![key], auth_rejection_time: Duration::ZERO, ..server::Config::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let session = server::run_stream(Arc::new(config), stream, Hostile(malice)).await.unwrap();
        let _ = session.await;
    });
    let target = Target { host: "127.0.0.1".to_owned(), port, user: "root".to_owned() };
    (target, AbortOnDropHandle::new(serving))
}

fn pool(folder: &Path) -> Pool {
    make_key(folder, "operator");
    Pool::new(Settings {
        keys: PrivateKeys::file(folder.join("operator")),
        connect_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
    })
}

async fn run(guest: &SshGuest) -> Result<berth::backend::ExecOutput, berth::backend::BackendError> {
    let request = ExecRequest {
        timeout: Duration::from_secs(3),
        output_limit: 1000,
        ..ExecRequest::script("root", "true")
    };
    // The time limit is kept also where the server takes no part in ending the command.
    tokio::time::timeout(Duration::from_secs(20), guest.run(request)).await.unwrap()
}

#[tokio::test]
async fn nobody_is_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let (target, _serving) = serve(folder.path(), Malice::OpensChannels).await;
    let guest = pool(folder.path()).guest("one", &target, None).await.unwrap();
    assert_eq!(run(&guest).await.unwrap().stdout, "0 let in");
}

#[tokio::test]
async fn output_without_end_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let (target, _serving) = serve(folder.path(), Malice::NeverEnds).await;
    let guest = pool(folder.path()).guest("one", &target, None).await.unwrap();
    let output = run(&guest).await.unwrap();
    assert_eq!((output.exit_code, output.stdout.len(), output.stderr.len()), (124, 1000, 1000));
}

#[tokio::test]
async fn an_end_without_a_code_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (target, _serving) = serve(folder.path(), Malice::SaysNothing).await;
    let guest = pool(folder.path()).guest("one", &target, None).await.unwrap();
    assert_eq!(run(&guest).await.unwrap_err().reason, Reason::SshUnreachable);
}

#[tokio::test]
async fn questions_are_not_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (target, _serving) = serve(folder.path(), Malice::Asks).await;
    let error = pool(folder.path()).guest("one", &target, None).await.err().unwrap();
    assert_eq!(error.reason, Reason::SshAuthFailed, "{error}");
}
