//! A way to a daemon that can be cut, blocked, or made to swallow answers.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
};

/// Where connections come in, or where they go.
#[derive(Clone, Debug)]
pub enum Place {
    Socket(PathBuf),
    Port(u16),
}

pub struct Proxy {
    from: Place,
    to: Place,
    is_blocked: watch::Sender<bool>,
    loses_creation: Arc<AtomicBool>,
    /// Ends, with all connections, when this is dropped.
    running: Option<JoinSet<()>>,
}

impl Proxy {
    pub async fn start(from: Place, to: Place) -> Self {
        let loses_creation = Arc::default();
        let mut proxy =
            Self { from, to, is_blocked: watch::Sender::new(false), loses_creation, running: None };
        proxy.resume().await;
        proxy
    }

    /// Cuts all connections; new ones are refused.
    pub async fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.shutdown().await;
        }
        if let Place::Socket(path) = &self.from {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Lets connections through again.
    pub async fn resume(&mut self) {
        let mut running = JoinSet::new();
        let link = Link {
            to: self.to.clone(),
            is_blocked: self.is_blocked.subscribe(),
            loses_creation: Arc::clone(&self.loses_creation),
        };
        match &self.from {
            Place::Socket(path) => {
                let listener = UnixListener::bind(path).unwrap();
                running.spawn(async move {
                    let mut links = JoinSet::new();
                    while let Ok((stream, _)) = listener.accept().await {
                        links.spawn(link.clone().serve(stream));
                    }
                });
            }
            Place::Port(port) => {
                let listener = TcpListener::bind(("127.0.0.1", *port)).await.unwrap();
                running.spawn(async move {
                    let mut links = JoinSet::new();
                    while let Ok((stream, _)) = listener.accept().await {
                        links.spawn(link.clone().serve(stream));
                    }
                });
            }
        }
        self.running = Some(running);
    }

    /// Keeps connections open, but passes nothing on.
    pub fn block(&self, block: bool) {
        self.is_blocked.send_replace(block);
    }

    /// Cuts the connection when the daemon answers the next request to create a container.
    pub fn lose_next_creation(&self) {
        self.loses_creation.store(true, Ordering::SeqCst);
    }
}

#[derive(Clone)]
struct Link {
    to: Place,
    is_blocked: watch::Receiver<bool>,
    loses_creation: Arc<AtomicBool>,
}

impl Link {
    async fn serve<S: AsyncRead + AsyncWrite + Send + 'static>(self, client: S) {
        match &self.to {
            Place::Socket(path) => {
                if let Ok(server) = UnixStream::connect(path).await {
                    self.pass(client, server).await;
                }
            }
            Place::Port(port) => {
                if let Ok(server) = TcpStream::connect(("127.0.0.1", *port)).await {
                    self.pass(client, server).await;
                }
            }
        }
    }

    async fn pass(self, client: impl AsyncRead + AsyncWrite, server: impl AsyncRead + AsyncWrite) {
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let (mut from_server, mut to_server) = tokio::io::split(server);
        let is_lost = AtomicBool::new(false);
        let mut blocked = self.is_blocked.clone();
        let mut blocked_too = self.is_blocked.clone();
        let up = async {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(count) = from_client.read(&mut buffer).await {
                let _ = blocked.wait_for(|blocked| !blocked).await;
                let data = &buffer[..count];
                let creates = data.windows(19).any(|window| window == b"/containers/create?");
                if creates && self.loses_creation.swap(false, Ordering::SeqCst) {
                    is_lost.store(true, Ordering::SeqCst);
                }
                if count == 0 || to_server.write_all(data).await.is_err() {
                    break;
                }
            }
            let _ = to_server.shutdown().await;
        };
        let down = async {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(count) = from_server.read(&mut buffer).await {
                let _ = blocked_too.wait_for(|blocked| !blocked).await;
                if count == 0
                    || is_lost.load(Ordering::SeqCst)
                    || to_client.write_all(&buffer[..count]).await.is_err()
                {
                    break;
                }
            }
            let _ = to_client.shutdown().await;
        };
        // The client may end its half first, as after the input of a command.
        tokio::select! {
            () = down => {}
            () = async { up.await; std::future::pending::<()>().await } => {}
        }
    }
}
