//! The program, as a shell starts it: its flags and the line that it says when it is ready.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use rstest::rstest;

const PROGRAM: &str = env!("CARGO_BIN_EXE_proxmox-simulator");

/// A cluster without containers, and root's key to its nodes.
struct Cluster {
    program: Child,
    ready: String,
    folder: tempfile::TempDir,
}

impl Cluster {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = make_key(folder.path(), "key");
        let ssh = ["--ssh", "pve1=127.0.0.1:0", "--ssh", "pve2=127.0.0.1:0"];
        let mut program = serve(folder.path(), &ssh, &key.with_added_extension("pub"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(program.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        Self { program, ready, folder }
    }

    /// What follows a word of the ready line.
    fn said(&self, word: &str) -> &str {
        let mut words = self.ready.split_whitespace().skip_while(|found| *found != word);
        words.nth(1).unwrap_or_else(|| panic!("no {word}: {}", self.ready))
    }

    /// Puts a container on a node, as another client.
    fn put(&self, vmid: u32, node: &str, config: &str) {
        let body = serde_json::json!({"node": node, "config": config}).to_string();
        let mut stream = TcpStream::connect(self.said("control").trim_start_matches("http://")).unwrap();
        let head = "Host: simulator\r\nContent-Type: application/json\r\nConnection: close\r\n";
        let length = body.len();
        write!(stream, "PUT /guests/{vmid} HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\n{body}")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    }

    /// Runs a command on a node, which is known by the file that the program wrote.
    fn run(&self, node: &str, command: &str) -> Output {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let (host, port) = self.said(node).rsplit_once(':').unwrap();
        Command::new("ssh")
            .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"])
            .args(["-o", &format!("UserKnownHostsFile={}", file("known_hosts")), "-i", &file("key")])
            .args(["-p", port, &format!("root@{host}"), command])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn make_key(folder: &Path, name: &str) -> PathBuf {
    let key = folder.join(name);
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(made.unwrap().success());
    key
}

fn serve(folder: &Path, ssh: &[&str], authorized: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"])
        .args(ssh)
        .arg("--ssh-host-key")
        .arg(folder.join("host_key"))
        .arg("--ssh-known-hosts")
        .arg(folder.join("known_hosts"))
        .arg("--ssh-authorized-keys")
        .arg(authorized);
    command
}

#[test]
fn each_node_has_a_shell_that_sees_its_own_containers() {
    let cluster = Cluster::start();
    cluster.put(105, "pve1", "hostname: box\n");
    cluster.put(106, "pve2", "hostname: other\n");
    for (node, vmid, hostname) in [("pve1", 105, "box"), ("pve2", 106, "other")] {
        let output = cluster.run(node, &format!("hostname; ls /etc/pve/lxc; pct config {vmid}"));
        let expected = format!("{node}\n{vmid}.conf\nhostname: {hostname}\n");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{output:?}");
    }
}

#[test]
fn what_a_shell_writes_is_the_configuration() {
    let cluster = Cluster::start();
    cluster.put(105, "pve1", "hostname: box\n");
    let written = cluster.run("pve1", "echo 'lxc.environment: A=b' >>/etc/pve/lxc/105.conf");
    assert!(written.status.success(), "{written:?}");
    let read = cluster.run("pve1", "cat /etc/pve/nodes/pve1/lxc/105.conf");
    assert_eq!(String::from_utf8_lossy(&read.stdout), "hostname: box\nlxc.environment: A=b\n");
}

#[test]
fn pct_is_where_a_host_has_it() {
    let found = Cluster::start().run("pve1", "env -i PATH=/usr/sbin:/usr/bin sh -c 'command -v pct'");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "/usr/sbin/pct\n", "{found:?}");
    assert!(!Path::new("/usr/sbin/pct").exists(), "this machine is no Proxmox VE host");
}

#[rstest]
#[case::unknown_node(&["--ssh", "pve3=127.0.0.1:0"], "key.pub", "--ssh: there is no node pve3")]
#[case::node_twice(&["--ssh", "pve1=127.0.0.1:0", "--ssh", "pve1=127.0.0.1:0"], "key.pub", "--ssh: pve1 is there twice")]
#[case::no_address(&["--ssh", "pve1"], "key.pub", "is NODE=ADDRESS:PORT")]
#[case::no_keys(&["--ssh", "pve1=127.0.0.1:0"], "missing", "missing: No such file or directory")]
fn what_is_wrong_is_said(#[case] ssh: &[&str], #[case] authorized: &str, #[case] words: &str) {
    let folder = tempfile::tempdir().unwrap();
    make_key(folder.path(), "key");
    let output = serve(folder.path(), ssh, &folder.path().join(authorized)).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(words), "{said}");
}
