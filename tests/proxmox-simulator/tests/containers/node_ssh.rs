//! The shell on a node, as OpenSSH's client sees it.

use std::{collections::BTreeMap, net::SocketAddr, process::Stdio, sync::Arc, time::Duration};

use async_trait::async_trait;
use berth_proxmox_simulator::{
    containers::Containers as _,
    node_ssh::{Configurations, Node, serve},
};
use rstest::rstest;
use russh::keys::{Algorithm, PrivateKey, PublicKey};
use tokio::{io::AsyncWriteExt as _, net::TcpListener, sync::Mutex, task::JoinHandle, time::timeout};

use crate::world::{SYSVINIT, World, boot};

const PATIENCE: Duration = Duration::from_secs(30);
const CONFIG: &str = "arch: amd64\nhostname: box\nlock: backup\n";

#[derive(Default)]
struct Texts(Mutex<BTreeMap<u32, String>>);

#[async_trait]
impl Configurations for Texts {
    async fn vmids(&self, node: &str) -> Vec<u32> {
        if node == "pve1" { self.0.lock().await.keys().copied().collect() } else { Vec::new() }
    }
    async fn config_text(&self, _node: &str, vmid: u32) -> Option<String> {
        self.0.lock().await.get(&vmid).cloned()
    }
    async fn set_config_text(&self, _node: &str, vmid: u32, text: &str) -> Result<(), String> {
        let mut texts = self.0.lock().await;
        *texts.get_mut(&vmid).ok_or("no such container")? = text.to_owned();
        Ok(())
    }
    async fn unlock(&self, vmid: u32) -> Result<(), String> {
        let mut texts = self.0.lock().await;
        let text = texts.get_mut(&vmid).ok_or("no such container")?;
        *text =
            text.lines().filter(|line| !line.starts_with("lock:")).map(|line| format!("{line}\n")).collect();
        Ok(())
    }
}

/// A node with container 105, which runs if it was asked for.
struct Shell {
    world: Arc<World>,
    texts: Arc<Texts>,
    address: SocketAddr,
    server: JoinHandle<std::io::Result<()>>,
}

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Shell {
    async fn new() -> Self {
        let world = Arc::new(World::new().await);
        let texts = Arc::new(Texts::default());
        texts.0.lock().await.insert(105, CONFIG.to_owned());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let node = Node {
            name: "pve1".to_owned(),
            host_key: PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap(),
            authorized_keys: vec![PublicKey::from_openssh(&world.public_key()).unwrap()],
            program: env!("CARGO_BIN_EXE_proxmox-simulator").into(),
            configurations: Arc::clone(&texts) as Arc<dyn Configurations>,
            containers: world.containers.clone(),
        };
        let server = tokio::spawn(serve(listener, node));
        Self { world, texts, address, server }
    }

    async fn with_container() -> Self {
        let shell = Self::new().await;
        shell.world.create(105, SYSVINIT).await;
        shell.world.containers.start(105, &boot("box", "dhcp")).await.unwrap();
        shell
    }

    async fn text(&self) -> String {
        self.texts.config_text("pve1", 105).await.unwrap()
    }

    async fn run(&self, command: &str) -> Ended {
        self.run_with(command, b"").await
    }

    async fn run_with(&self, command: &str, input: &[u8]) -> Ended {
        let mut ssh = self.ssh("root", command).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = ssh.stdin.take().unwrap();
        let write = async {
            // A command need not read all of it.
            let _ = stdin.write_all(input).await;
            drop(stdin);
        };
        let ended = async { tokio::join!(write, ssh.wait_with_output()).1.unwrap() };
        let output = timeout(PATIENCE, ended).await.unwrap();
        Ended {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn ssh(&self, user: &str, command: &str) -> tokio::process::Command {
        let mut ssh = self.world.ssh_command();
        ssh.args(["-p", &self.address.port().to_string(), &format!("{user}@127.0.0.1"), command]);
        ssh.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        ssh
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[rstest]
#[case::name("hostname", "pve1\n")]
#[case::root("id -un", "root\n")]
#[case::file("cat /etc/pve/lxc/105.conf", CONFIG)]
#[case::file_of_the_node("cat /etc/pve/nodes/pve1/lxc/105.conf", CONFIG)]
#[case::pipeline("grep hostname /etc/pve/lxc/*.conf | cut -d' ' -f2", "box\n")]
#[case::config("pct config 105 | grep arch", "arch: amd64\n")]
#[tokio::test]
async fn a_command_sees_a_host(#[case] command: &str, #[case] expected: &str) {
    let ended = Shell::new().await.run(command).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (0, expected), "{}", ended.stderr);
}

#[rstest]
#[case::whole("cat > /etc/pve/lxc/105.conf", "arch: arm64\n", "arch: arm64\n")]
#[case::tee(
    "tee -a /etc/pve/lxc/105.conf >/dev/null",
    "memory: 512\n",
    "arch: amd64\nhostname: box\nlock: backup\nmemory: 512\n"
)]
#[case::replaced(
    "sed -i s/amd64/i386/ /etc/pve/lxc/105.conf",
    "",
    "arch: i386\nhostname: box\nlock: backup\n"
)]
#[case::unlocked("pct unlock 105", "", "arch: amd64\nhostname: box\n")]
#[case::both(
    "echo a: b >>/etc/pve/lxc/105.conf; pct unlock 105; cat /etc/pve/lxc/105.conf >&2",
    "",
    "arch: amd64\nhostname: box\na: b\n"
)]
#[tokio::test]
async fn what_it_writes_is_the_configuration(
    #[case] command: &str,
    #[case] input: &str,
    #[case] expected: &str,
) {
    let shell = Shell::new().await;
    let ended = shell.run_with(command, input.as_bytes()).await;
    assert_eq!((ended.code, shell.text().await.as_str()), (0, expected), "{}", ended.stderr);
    assert!(!std::path::Path::new("/etc/pve").exists(), "this machine is no Proxmox VE host");
}

#[rstest]
#[case::code("exit 7", 7, "")]
#[case::missing("pct status 999", 2, "Configuration file 'nodes/pve1/lxc/999.conf' does not exist\n")]
#[case::stopped("pct exec 105 -- true", 255, "container '105' not running!\n")]
#[case::unknown("pct migrate 105", 255, "ERROR: unknown command 'pct migrate'\n")]
#[case::no_container("echo x >/etc/pve/lxc/106.conf", 1, "/etc/pve/lxc/106.conf: no such container\n")]
#[tokio::test]
async fn a_failure_has_its_code_and_words(#[case] command: &str, #[case] code: i32, #[case] words: &str) {
    let ended = Shell::new().await.run(command).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (code, words));
}

#[tokio::test]
async fn pct_exec_runs_inside_with_input_and_code() {
    let shell = Shell::with_container().await;
    assert_eq!(shell.run("pct status 105").await.stdout, "status: running\n");
    let script = "cat >/root/in; echo out; echo err >&2; exit 4";
    let input = vec![b'x'; 200_000];
    let ended = shell.run_with(&format!("pct exec 105 -- sh -c '{script}'"), &input).await;
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (4, "out\n", "err\n"));
    let inside = shell.run("pct exec 105 -- wc -c /root/in; pct exec 105 -- hostname").await;
    assert_eq!(inside.stdout, "200000 /root/in\nbox\n");
}

#[tokio::test]
async fn a_command_does_not_wait_for_an_input_that_does_not_end() {
    let shell = Shell::with_container().await;
    let mut ssh = shell.ssh("root", "pct exec 105 -- echo out").stdin(Stdio::piped()).spawn().unwrap();
    let open = ssh.stdin.take();
    let output = timeout(PATIENCE, ssh.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(output.stdout, b"out\n");
    drop(open);
}

#[tokio::test]
async fn outputs_come_while_a_command_runs() {
    let shell = Shell::with_container().await;
    let mut ssh = shell.ssh("root", "pct exec 105 -- cat").stdin(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (ssh.stdin.take().unwrap(), ssh.stdout.take().unwrap());
    for word in [b"one\n", b"two\n"] {
        stdin.write_all(word).await.unwrap();
        let mut answer = [0; 4];
        let read = tokio::io::AsyncReadExt::read_exact(&mut stdout, &mut answer);
        timeout(PATIENCE, read).await.unwrap().unwrap();
        assert_eq!(&answer, word);
    }
    drop(stdin);
    assert!(timeout(PATIENCE, ssh.wait()).await.unwrap().unwrap().success());
}

#[tokio::test]
async fn only_root_with_the_key_is_let_in() {
    let shell = Shell::new().await;
    let somebody = shell.ssh("dev", "true").stdin(Stdio::null()).output().await.unwrap();
    assert_eq!(somebody.status.code(), Some(255));
    let other = Shell::new().await;
    let mut ssh = other.world.ssh_command();
    ssh.args(["-p", &shell.address.port().to_string(), "root@127.0.0.1", "true"]);
    let stranger = ssh.stdin(Stdio::null()).output().await.unwrap();
    assert_eq!(stranger.status.code(), Some(255));
}
