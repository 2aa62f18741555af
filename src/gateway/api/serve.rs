//! Serving the aggregated face: TLS, the front proxy's certificate, and who asks.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::Request;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::{ServerConfig, server::ResolvesServerCert, sign::CertifiedKey};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::front_proxy::{FrontProxy, Settings};

/// Longest time for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest time for the headers of a request.
const HEADERS: Duration = Duration::from_secs(15);
/// Connections at a time. kube-apiserver needs few: its requests share them.
const CONNECTIONS: usize = 1_024;
/// Time that requests have to end in when serving stops.
const DRAIN: Duration = Duration::from_secs(10);
/// Wait after a connection could not be taken, such as when there are no more file descriptors.
const BREATHER: Duration = Duration::from_millis(100);

/// The certificate and key of the server, which are replaced now and then. Without one no
/// connection is taken.
pub type ServingCertificate = watch::Receiver<Option<Arc<CertifiedKey>>>;

/// Serves until `stop` is cancelled. A client without a certificate of the front proxy gets no
/// connection; neither does any while the settings of the front proxy are missing.
///
/// Each request carries the [`super::identity::Identity`] that the front proxy names as an
/// extension, and none of the headers that name it.
pub async fn serve_aggregated(
    listener: TcpListener,
    certificate: ServingCertificate,
    front_proxy: watch::Receiver<Settings>,
    router: Router,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = async {
                let place = free.clone().acquire_owned().await;
                (place, listener.accept().await)
            } => accepted,
        };
        let stream = match accepted {
            (Ok(place), Ok((stream, _))) => (place, stream),
            (_, Err(error)) => {
                tracing::warn!(%error, "a connection to the aggregated API can not be taken");
                tokio::time::sleep(BREATHER).await;
                continue;
            }
            (Err(_), _) => break,
        };
        let connection = Connection {
            certificate: certificate.clone(),
            front_proxy: front_proxy.clone(),
            router: router.clone(),
            stop: stop.clone(),
        };
        connections.spawn(async move {
            let (_place, stream) = stream;
            if let Err(error) = connection.serve(stream).await {
                tracing::debug!(%error, "a connection to the aggregated API ended");
            }
        });
    }
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::info!("requests to the aggregated API were cut off");
    }
}

struct Connection {
    certificate: ServingCertificate,
    front_proxy: watch::Receiver<Settings>,
    router: Router,
    stop: CancellationToken,
}

impl Connection {
    async fn serve(mut self, stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let front_proxy = self.front_proxy.borrow_and_update().clone()?;
        let acceptor = TlsAcceptor::from(Arc::new(tls(self.certificate.clone(), &front_proxy)?));
        let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await??;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        if !certificate.is_some_and(|certificate| front_proxy.allows(certificate)) {
            anyhow::bail!("the client's certificate carries none of the allowed names");
        }
        let service = identified(self.router, front_proxy);
        let builder = builder();
        let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut served = std::pin::pin!(served);
        tokio::select! {
            ended = served.as_mut() => return ended.map_err(anyhow::Error::from_boxed),
            // New settings hold for new connections; this one takes no more requests.
            _ = self.front_proxy.changed() => {}
            () = self.stop.cancelled() => {}
        }
        served.as_mut().graceful_shutdown();
        served.await.map_err(anyhow::Error::from_boxed)
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(64 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(250)
        .max_header_list_size(64 << 10)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(16 << 20)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// The router, with the identity in place of the headers that tell it.
fn identified(
    router: Router,
    front_proxy: Arc<FrontProxy>,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone {
    hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        let identity = front_proxy.identity(request.headers());
        front_proxy.strip(request.headers_mut());
        if let Some(identity) = identity {
            request.extensions_mut().insert(identity);
        }
        router.clone().oneshot(request)
    })
}

fn tls(certificate: ServingCertificate, front_proxy: &FrontProxy) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(front_proxy.verifier()?)
        .with_cert_resolver(Arc::new(Newest(certificate)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A session that is taken up again would not show its certificate to new settings.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The newest certificate at each handshake.
#[derive(Debug)]
struct Newest(ServingCertificate);

impl ResolvesServerCert for Newest {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::{Extension, routing::get};
    use http::HeaderMap;
    use http_body_util::BodyExt;
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    };
    use rstest::rstest;
    use rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    };
    use tokio_rustls::{TlsConnector, client::TlsStream};

    use super::*;
    use crate::gateway::api::identity::Identity;

    struct Authority(Issuer<'static, KeyPair>, CertificateDer<'static>, String);

    type Pair = (CertificateDer<'static>, PrivateKeyDer<'static>);

    impl Authority {
        fn new() -> Self {
            let key = KeyPair::generate().unwrap();
            let mut parameters = CertificateParams::default();
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let certificate = parameters.self_signed(&key).unwrap();
            let pem = certificate.pem();
            Self(Issuer::new(parameters, key), certificate.into(), pem)
        }

        fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> Pair {
            let key = KeyPair::generate().unwrap();
            let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            parameters.distinguished_name.push(DnType::CommonName, name);
            parameters.extended_key_usages = vec![usage];
            let certificate = parameters.signed_by(&key, &self.0).unwrap();
            (certificate.into(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        }

        fn client(&self, name: &str) -> Pair {
            self.issue(name, ExtendedKeyUsagePurpose::ClientAuth)
        }

        fn server(&self) -> Arc<CertifiedKey> {
            let (certificate, key) = self.issue("server", ExtendedKeyUsagePurpose::ServerAuth);
            let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
            Arc::new(CertifiedKey::new(vec![certificate], key))
        }
    }

    struct Running {
        address: SocketAddr,
        authority: Authority,
        front_proxy: watch::Sender<Settings>,
        certificate: watch::Sender<Option<Arc<CertifiedKey>>>,
        stop: CancellationToken,
        served: tokio::task::JoinHandle<()>,
    }

    impl Running {
        async fn start() -> Self {
            let authority = Authority::new();
            let certificate = watch::Sender::new(Some(authority.server()));
            let front_proxy = watch::Sender::new(settings(&authority));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let stop = CancellationToken::new();
            let router = Router::new().route("/who", get(who));
            let served = tokio::spawn(serve_aggregated(
                listener,
                certificate.subscribe(),
                front_proxy.subscribe(),
                router,
                stop.clone(),
            ));
            Self { address, authority, front_proxy, certificate, stop, served }
        }

        async fn connect(&self, client: Option<Pair>) -> std::io::Result<TlsStream<TcpStream>> {
            let mut roots = RootCertStore::empty();
            roots.add(self.authority.1.clone()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots);
            let config = match client {
                Some((certificate, key)) => config.with_client_auth_cert(vec![certificate], key).unwrap(),
                None => config.with_no_client_auth(),
            };
            let stream = TcpStream::connect(self.address).await?;
            let name = ServerName::try_from("localhost").unwrap();
            TlsConnector::from(Arc::new(config)).connect(name, stream).await
        }

        async fn ask(&self, client: Option<Pair>) -> anyhow::Result<String> {
            let stream = TokioIo::new(self.connect(client).await?);
            let (mut requests, connection) = hyper::client::conn::http1::handshake(stream).await?;
            tokio::spawn(connection);
            let request = Request::get("/who")
                .header("x-remote-user", "ada")
                .header("x-remote-group", "team")
                .body(Body::empty())?;
            let answer = requests.send_request(request).await?;
            Ok(String::from_utf8(answer.into_body().collect().await?.to_bytes().to_vec())?)
        }
    }

    async fn who(identity: Option<Extension<Identity>>, headers: HeaderMap) -> String {
        let headers = headers.keys().filter(|name| name.as_str().starts_with("x-remote")).count();
        let Extension(identity) = identity.unwrap_or_default();
        format!("{} of {:?}, {headers} headers", identity.user, identity.groups)
    }

    fn settings(authority: &Authority) -> Settings {
        let data = [
            ("requestheader-client-ca-file", authority.2.as_str()),
            ("requestheader-allowed-names", r#"["front-proxy"]"#),
            ("requestheader-username-headers", r#"["X-Remote-User"]"#),
            ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
        ];
        let data = data.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        FrontProxy::parse(&data).map(Arc::new)
    }

    const ADA: &str = r#"ada of ["team"], 0 headers"#;

    #[tokio::test]
    async fn the_front_proxy_says_who_asks() {
        let running = Running::start().await;
        let client = running.authority.client("front-proxy");
        assert_eq!(running.ask(Some(client)).await.unwrap(), ADA);
    }

    #[rstest]
    #[case::none(None)]
    #[case::other_name(Some("somebody"))]
    #[tokio::test]
    async fn nobody_else_gets_an_answer(#[case] name: Option<&str>) {
        let running = Running::start().await;
        let client = name.map(|name| running.authority.client(name));
        assert!(running.ask(client).await.is_err());
    }

    #[tokio::test]
    async fn another_authority_stands_for_nobody() {
        let running = Running::start().await;
        assert!(running.ask(Some(Authority::new().client("front-proxy"))).await.is_err());
    }

    #[tokio::test]
    async fn without_settings_nothing_is_served() {
        let running = Running::start().await;
        let _ = running
            .front_proxy
            .send_replace(Err(crate::gateway::api::front_proxy::FrontProxyError::NoConfigMap));
        let client = || Some(running.authority.client("front-proxy"));
        assert!(running.ask(client()).await.is_err());
        let _ = running.front_proxy.send_replace(settings(&running.authority));
        assert_eq!(running.ask(client()).await.unwrap(), ADA);
    }

    #[tokio::test]
    async fn a_new_certificate_is_shown_at_once() {
        let running = Running::start().await;
        let shown = async || {
            let stream = running.connect(Some(running.authority.client("front-proxy"))).await.unwrap();
            stream.get_ref().1.peer_certificates().unwrap()[0].clone()
        };
        let before = shown().await;
        assert_eq!(shown().await, before);
        running.certificate.send_replace(Some(running.authority.server()));
        assert_ne!(shown().await, before);
    }

    #[tokio::test]
    async fn it_stops() {
        let running = Running::start().await;
        let _idle = running.connect(Some(running.authority.client("front-proxy"))).await.unwrap();
        running.stop.cancel();
        tokio::time::timeout(DRAIN * 2, running.served).await.unwrap().unwrap();
    }
}
