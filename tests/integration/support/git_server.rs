//! A git server for the tests: HTTP, HTTPS with a token, and SSH with a key, in a container.
//!
//! Docker keeps its bridge networks apart, published ports included, so the workspaces reach the
//! server through this process: on the host's address on Docker's default bridge.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
};

use super::{docker::docker, word};

const IMAGE: &str = "berth-demo/git-server:bookworm";
/// The password of the private repositories.
pub const TOKEN: &str = "correct-horse-battery";

/// A running git server.
pub struct GitServer {
    folder: PathBuf,
    host: IpAddr,
    http: u16,
    https: u16,
    ssh: u16,
    // Held for its standard input: the container ends when that closes.
    _container: Child,
}

/// The git server of this test binary, started by the first test that asks for it.
pub async fn git_server() -> &'static GitServer {
    static RUNNING: OnceLock<GitServer> = OnceLock::new();
    tokio::task::spawn_blocking(|| RUNNING.get_or_init(GitServer::start))
        .await
        .expect("the git server does not start")
}

impl GitServer {
    fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("berth-git-{}-{}", std::process::id(), word()));
        let host = bridge_address();
        make_repositories(&folder);
        make_keys(&folder, host);
        let name = format!("berth-test-git-{}", word());
        let mut container = Command::new("docker")
            .args(["run", "--rm", "--interactive", "--name", &name, "--volume"])
            .arg(format!("{}:/srv", folder.display()))
            .args([IMAGE, "bash", "-c", "git-server & cat >/dev/null; kill %1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("docker does not start");
        let mut line = String::new();
        let mut stdout = BufReader::new(container.stdout.take().expect("it has an output"));
        stdout.read_line(&mut line).expect("its output can be read");
        assert_eq!(line.trim(), "ready", "the git server did not start");
        // Its output must be read on, or it ends at its next word.
        thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        let inside: IpAddr = docker(&["inspect", "--format", "{{.NetworkSettings.IPAddress}}", &name])[0]
            .parse()
            .expect("the git server has no address");
        let forward = |port| forward(host, SocketAddr::new(inside, port));
        Self { http: forward(80), https: forward(443), ssh: forward(22), folder, host, _container: container }
    }

    /// Address of a public repository: `sample`, `empty` or `with-submodule`.
    pub fn public(&self, name: &str) -> String {
        format!("http://{}:{}/git/public/{name}.git", self.host, self.http)
    }

    /// Address of a public repository of so many megabytes that can not be compressed, in files of
    /// one megabyte each; made when it is asked for.
    pub fn large(&self, megabytes: usize) -> String {
        let name = format!("large-{megabytes}");
        let bare = self.folder.join(format!("git/public/{name}.git"));
        if !bare.exists() {
            let work = self.folder.join("work").join(&name);
            for number in 0..megabytes {
                let bytes: Vec<u8> = std::iter::repeat_with(rand::random::<u8>).take(1 << 20).collect();
                commit(&work, &format!("file-{number}"), &bytes);
            }
            git(
                &self.folder,
                &["init", "--quiet", "--bare", "--initial-branch=main", &bare.to_string_lossy()],
            );
            push(&work, &bare);
        }
        self.public(&name)
    }

    /// Address of the private repository `secret`, which wants [`TOKEN`].
    pub fn private(&self) -> String {
        format!("https://{}:{}/git/private/secret.git", self.host, self.https)
    }

    /// Address of the private repository by SSH.
    pub fn ssh(&self) -> String {
        format!("ssh://git@{}:{}/srv/git/private/secret.git", self.host, self.ssh)
    }

    /// The CA that signed the server's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("tls.crt")
    }

    /// The private key that the server accepts.
    pub fn ssh_key(&self) -> String {
        fs::read_to_string(self.folder.join("client")).expect("no key")
    }

    /// The server's host key, as `known_hosts` has it.
    pub fn known_hosts(&self) -> String {
        let key = fs::read_to_string(self.folder.join("ssh_host_ed25519_key.pub")).expect("no host key");
        format!("[{}]:{} {}", self.host, self.ssh, key.trim())
    }

    /// The commit that a branch of a repository is at.
    pub fn head(&self, repository: &str, branch: &str) -> String {
        let folder = self.folder.join("git").join(format!("{repository}.git"));
        git(&folder, &["rev-parse", &format!("refs/heads/{branch}")]).trim().to_owned()
    }
}

/// The host's own address on Docker's default bridge: the first of its range unless it was set.
fn bridge_address() -> IpAddr {
    let shown = docker(&[
        "network",
        "inspect",
        "bridge",
        "--format",
        "{{with index .IPAM.Config 0}}{{.Gateway}} {{.Subnet}}{{end}}",
    ]);
    let (gateway, subnet) = shown[0].split_once(' ').expect("Docker's default bridge has no addresses");
    gateway.parse().unwrap_or_else(|_| {
        let subnet: ipnet::IpNet = subnet.parse().expect("Docker's default bridge has no range");
        subnet.hosts().next().expect("the range is empty")
    })
}

/// Passes connections on from a free port of the host; gives the port.
fn forward(host: IpAddr, target: SocketAddr) -> u16 {
    let listener = TcpListener::bind((host, 0)).expect("no free port");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || {
                if let Ok(server) = TcpStream::connect(target) {
                    join(client, server);
                }
            });
        }
    });
    port
}

fn join(client: TcpStream, server: TcpStream) {
    let (Ok(mut from), Ok(mut to)) = (client.try_clone(), server.try_clone()) else { return };
    let up = thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (server, client);
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
    let _ = up.join();
}

fn make_repositories(folder: &Path) {
    let (public, private, work) =
        (folder.join("git/public"), folder.join("git/private"), folder.join("work"));
    for path in [&public, &private, &work] {
        fs::create_dir_all(path).expect("no folder");
    }
    for bare in [
        public.join("sample.git"),
        public.join("empty.git"),
        public.join("with-submodule.git"),
        private.join("secret.git"),
    ] {
        git(folder, &["init", "--quiet", "--bare", "--initial-branch=main", &bare.to_string_lossy()]);
    }
    let sample = work.join("sample");
    commit(&sample, "README.md", "# A sample\n");
    commit(&sample, "app.py", "print('hello')\n");
    git(&sample, &["branch", "feature/one.two"]);
    push(&sample, &public.join("sample.git"));
    let secret = work.join("secret");
    commit(&secret, "secret.txt", "nobody else reads this\n");
    push(&secret, &private.join("secret.git"));
    let outer = work.join("outer");
    commit(&outer, "outer.txt", "outer\n");
    let modules = "[submodule \"inner\"]\n\tpath = inner\n\turl = ../sample.git\n";
    fs::write(outer.join(".gitmodules"), modules).expect("no file");
    git(&outer, &["add", ".gitmodules"]);
    let head = git(&sample, &["rev-parse", "HEAD"]);
    git(&outer, &["update-index", "--add", "--cacheinfo", &format!("160000,{},inner", head.trim())]);
    git(&outer, &["commit", "--quiet", "--message", "a submodule"]);
    push(&outer, &public.join("with-submodule.git"));
}

fn commit(folder: &Path, file: &str, content: impl AsRef<[u8]>) {
    if !folder.exists() {
        fs::create_dir_all(folder).expect("no folder");
        git(folder, &["init", "--quiet", "--initial-branch=main"]);
    }
    fs::write(folder.join(file), content).expect("no file");
    git(folder, &["add", file]);
    git(folder, &["commit", "--quiet", "--message", file]);
}

fn push(folder: &Path, bare: &Path) {
    git(folder, &["push", "--quiet", "--all", &bare.to_string_lossy()]);
    git(bare, &["update-server-info"]);
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "safe.directory=*"])
        .args(arguments)
        .output()
        .expect("git does not start");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn make_keys(folder: &Path, host: IpAddr) {
    for (name, comment) in [("client", "client"), ("ssh_host_ed25519_key", "host")] {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"])
            .arg(folder.join(name))
            .status()
            .expect("ssh-keygen does not start");
        assert!(made.success());
    }
    fs::copy(folder.join("client.pub"), folder.join("authorized_keys")).expect("no key");
    fs::write(folder.join("token"), TOKEN).expect("no token");
    let made = rcgen::generate_simple_self_signed(vec![host.to_string()]).expect("no certificate");
    fs::write(folder.join("tls.crt"), made.cert.pem()).expect("no certificate");
    fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).expect("no key");
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("no permissions");
}
