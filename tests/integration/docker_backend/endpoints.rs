//! The other ways to a daemon: TLS and SSH.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use berth::backend::{JobRequest, JobState};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    net::{TcpListener, UnixStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::{
    proxy::{Place, Proxy},
    world::{PATIENCE, SOCKET, World, until},
};

/// Everything that uses the connection in a way of its own: calls, an upload, streams with input
/// that ends before the output does.
async fn works(world: &World) {
    until("the host is up", async || world.host_is_up()).await;
    let container = world.running("web").await;
    let guest = world.guest(&container).await;
    let job = JobRequest {
        name: "a".into(),
        script: "cat /etc/berth/owner".into(),
        user: "dev".into(),
        env: [].into(),
    };
    guest.start_job(job).await.unwrap();
    match guest.look_at_job("a", PATIENCE).await.unwrap() {
        JobState::Exited { code: 0, output } => assert!(output.contains("uid-of-web"), "{output}"),
        other => panic!("{other:?}"),
    }
    world.backend.remove(&container.body, false).await.unwrap();
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes `<name>.pem` and `<name>.key`.
fn certificate(folder: &Path, name: &str, by: &CertifiedIssuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, by).unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

/// A TLS end in front of the daemon that insists on certificates of the authority.
async fn tls_front(folder: &Path, authority: &CertifiedIssuer<'static, KeyPair>) -> (u16, JoinSet<()>) {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_file(folder.join("server.pem")).unwrap()],
            PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut running = JoinSet::new();
    running.spawn(async move {
        let mut links = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            links.spawn(async move {
                if let Ok(mut client) = acceptor.accept(stream).await {
                    let mut daemon = UnixStream::connect(SOCKET).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut daemon).await;
                }
            });
        }
    });
    (port, running)
}

fn tls_host(folder: &Path, port: u16, authority: &str, client: &str) -> String {
    let file = |name: &str| folder.join(name).display().to_string();
    format!(
        "endpoint: 'tcp://localhost:{port}', tls: {{caFile: {}, certFile: {}, keyFile: {}}}",
        file(&format!("{authority}.ca")),
        file(&format!("{client}.pem")),
        file(&format!("{client}.key")),
    )
}

#[tokio::test]
async fn a_daemon_behind_tls() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    std::fs::write(folder.join("ours.ca"), ours.pem()).unwrap();
    std::fs::write(folder.join("theirs.ca"), theirs.pem()).unwrap();
    certificate(folder, "server", &ours);
    certificate(folder, "client", &ours);
    certificate(folder, "stranger", &theirs);
    let (port, _running) = tls_front(folder, &ours).await;
    World::run_at(&tls_host(folder, port, "ours", "client"), works).await;
    for (authority, client, words) in
        [("ours", "stranger", ""), ("theirs", "client", "UnknownIssuer"), ("ours", "missing", "missing.")]
    {
        World::run_at(&tls_host(folder, port, authority, client), async |world| {
            let error = world.backend.list("here").await.unwrap_err();
            assert!(error.message.contains(words), "{error}");
            assert!(!world.host_is_up());
        })
        .await;
    }
}

/// An SSH server of our own on a free port.
struct Sshd {
    folder: PathBuf,
    port: u16,
    server: Child,
}

impl Sshd {
    fn start(folder: &Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        for key in ["host", "user", "stranger"] {
            let file = folder.join(key);
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(&file)
                .status()
                .unwrap();
            assert!(made.success());
        }
        std::fs::copy(folder.join("user.pub"), folder.join("authorized_keys")).unwrap();
        let place = folder.display();
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {place}/host\nAuthorizedKeysFile {place}/authorized_keys\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        );
        std::fs::write(folder.join("sshd_config"), config).unwrap();
        // Where sshd locks itself in; the service's unit makes it otherwise.
        std::fs::create_dir_all("/run/sshd").unwrap();
        let server = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(folder.join("sshd_config"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { folder: folder.to_owned(), port, server }
    }

    fn know(&self, port: u16, key: &str) {
        let key = std::fs::read_to_string(self.folder.join(format!("{key}.pub"))).unwrap();
        std::fs::write(self.folder.join("known_hosts"), format!("[localhost]:{port} {key}")).unwrap();
    }

    fn host(&self, port: u16, key: &str) -> String {
        let place = self.folder.display();
        let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        format!(
            "endpoint: 'ssh://{user}@localhost:{port}', \
             ssh: {{keyFile: {place}/{key}, knownHostsFile: {place}/known_hosts}}"
        )
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[tokio::test]
async fn a_daemon_behind_ssh() {
    let folder = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(folder.path());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut proxy = Proxy::start(Place::Port(port), Place::Port(sshd.port)).await;
    sshd.know(port, "host");
    World::run_at(&sshd.host(port, "user"), async |world| {
        works(world).await;
        proxy.stop().await;
        until("the host is down", async || !world.host_is_up()).await;
        proxy.resume().await;
        works(world).await;
    })
    .await;
    World::run_at(&sshd.host(port, "stranger"), async |world| {
        let error = world.backend.list("here").await.unwrap_err();
        assert!(error.message.contains("does not accept the key"), "{error}");
    })
    .await;
    sshd.know(port, "stranger");
    World::run_at(&sshd.host(port, "user"), async |world| {
        let error = world.backend.list("here").await.unwrap_err();
        assert!(error.message.contains("host key"), "{error}");
    })
    .await;
}
