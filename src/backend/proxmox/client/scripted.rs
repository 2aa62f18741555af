//! A node that answers as a script says, byte by byte.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::{ApiToken, Client, Connection, Fingerprint, Limits, Trust};

/// What is done with one request.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Answers and waits for the next request.
    Say(String),
    /// Answers and closes.
    SayAndClose(String),
    /// Closes without an answer.
    HangUp,
    /// Never answers.
    Hang,
}

/// A successful answer with this data.
pub(super) fn data(data: impl std::fmt::Display) -> Step {
    Step::Say(answer("200 OK", &format!("{{\"data\":{data}}}")))
}

/// An answer that is no success, with its reason phrase and without a body.
pub(super) fn refusal(status_line: &str) -> Step {
    Step::SayAndClose(format!("HTTP/1.1 {status_line}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
}

/// A whole answer.
pub(super) fn answer(status_line: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status_line}\r\nConnection: Keep-Alive\r\n\
         Content-Type: application/json;charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) head: String,
    pub(super) body: String,
    /// The how many-eth connection it came on, from 1.
    pub(super) connection: usize,
}

impl Received {
    /// `METHOD ADDRESS`.
    pub(super) fn line(&self) -> &str {
        self.head.lines().next().unwrap().trim_end_matches(" HTTP/1.1")
    }
}

/// A node that answers as a script says.
pub(super) struct Node {
    pub(super) address: SocketAddr,
    pub(super) certificate: Option<rcgen::CertifiedKey<rcgen::KeyPair>>,
    received: watch::Receiver<Vec<Received>>,
    _tasks: JoinSet<()>,
}

impl Node {
    pub(super) async fn start(script: impl IntoIterator<Item = Step>) -> Self {
        Self::listen(script, None).await
    }

    pub(super) async fn with_tls(script: impl IntoIterator<Item = Step>) -> Self {
        let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        Self::listen(script, Some(certificate)).await
    }

    async fn listen(
        script: impl IntoIterator<Item = Step>,
        certificate: Option<rcgen::CertifiedKey<rcgen::KeyPair>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(script.into_iter().collect::<VecDeque<_>>()));
        let (sender, received) = watch::channel(Vec::new());
        let sender = Arc::new(sender);
        let acceptor = certificate.as_ref().map(acceptor);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, sender, acceptor) = (Arc::clone(&script), Arc::clone(&sender), acceptor.clone());
                connections.spawn(async move {
                    match acceptor {
                        None => converse(stream, number, &script, &sender).await,
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => converse(stream, number, &script, &sender).await,
                            Err(_) => None,
                        },
                    };
                });
            }
        });
        Self { address, certificate, received, _tasks: tasks }
    }

    /// Everything that was received so far.
    pub(super) fn received(&self) -> Vec<Received> {
        self.received.borrow().clone()
    }

    /// The methods and addresses of what was received so far.
    pub(super) fn lines(&self) -> Vec<String> {
        self.received().iter().map(|request| request.line().to_owned()).collect()
    }

    /// Waits until so many requests were received.
    pub(super) async fn wait_for(&mut self, requests: usize) {
        let waited = self.received.wait_for(|received| received.len() >= requests);
        tokio::time::timeout(Duration::from_secs(10), waited).await.unwrap().unwrap();
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::new(Sha256::digest(self.certificate.as_ref().unwrap().cert.der()).into())
    }

    pub(super) fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    pub(super) fn client(&self) -> Client {
        Client::new(&connection(&[&self.url()])).unwrap()
    }
}

/// An address where nobody listens.
pub(super) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Settings for these endpoints.
pub(super) fn connection(endpoints: &[&str]) -> Connection {
    Connection {
        endpoints: endpoints.iter().map(|endpoint| endpoint.parse().unwrap()).collect(),
        token: ApiToken { id: "berth@pve!test".to_owned(), secret: "11-22".into() },
        trust: Trust::InsecureSkipVerify,
        limits: Limits {
            connect: Duration::from_secs(5),
            read: Duration::from_secs(10),
            write: Duration::from_secs(10),
        },
    }
}

fn acceptor(certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> TlsAcceptor {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: usize,
    script: &Mutex<VecDeque<Step>>,
    received: &watch::Sender<Vec<Received>>,
) -> Option<()> {
    loop {
        let request = read_request(&mut stream, connection).await?;
        let step = script.lock().unwrap().pop_front();
        received.send_modify(|all| all.push(request));
        match step? {
            Step::Say(raw) => stream.write_all(raw.as_bytes()).await.ok()?,
            Step::SayAndClose(raw) => {
                stream.write_all(raw.as_bytes()).await.ok()?;
                return stream.shutdown().await.ok();
            }
            Step::HangUp => return None,
            Step::Hang => std::future::pending().await,
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin), connection: usize) -> Option<Received> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Received { head, body: String::from_utf8(body).unwrap(), connection })
}
