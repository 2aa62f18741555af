//! A container with an SSH server, and keys for it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use berth::backend::{
    ExecRequest, Guest,
    ssh::{Pool, PrivateKeys, Settings, SshGuest, Target},
};

use crate::support::{
    docker::{docker, run},
    eventually, word,
};

/// Longest time anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

const IMAGE: &str = "berth-demo/git-server:bookworm";

/// Makes the user `dev`, lets root in with the key of the test, and serves until it is stopped.
const SERVE: &str = r#"
set -e
useradd --create-home --shell /bin/bash dev
mkdir -p /run/sshd /root/.ssh
printf '%s\n' "$1" >/root/.ssh/authorized_keys
chmod -R go= /root/.ssh
cat >/etc/ssh/sshd_config <<END
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication yes
UsePAM no
PrintMotd no
PidFile /run/sshd.pid
Banner /etc/ssh/banner
END
yes 'Welcome to a long banner' | head -n 2000 >/etc/ssh/banner
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
/usr/sbin/sshd -e
while :; do sleep 1; done
"#;

pub struct Server {
    pub container: String,
    /// Of the keys.
    folder: tempfile::TempDir,
    address: String,
}

impl Server {
    /// Starts a container whose SSH server answers.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = make_key(folder.path(), "operator");
        let container = format!("berth-test-ssh-{}", word());
        docker(&["run", "--detach", "--rm", "--name", &container, IMAGE, "bash", "-c", SERVE, "serve", &key]);
        Self::of(container, folder).await
    }

    /// Waits for the SSH server of a container that has been started, with the operator's keys in a
    /// folder.
    pub async fn of(container: String, folder: tempfile::TempDir) -> Self {
        let address =
            docker(&["inspect", "--format", "{{.NetworkSettings.IPAddress}}", &container]).remove(0);
        let server = Self { container, folder, address };
        eventually(PATIENCE, "the SSH server answers", async || {
            tokio::net::TcpStream::connect((server.address.as_str(), 22)).await.map(drop)
        })
        .await;
        server
    }

    pub fn target(&self) -> Target {
        Target { host: self.address.clone(), port: 22, user: "root".to_owned() }
    }

    /// The operator's keys.
    pub fn keys(&self) -> PrivateKeys {
        PrivateKeys::file(self.key_file("operator"))
    }

    /// A private key that has been made.
    pub fn key_file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes another pair of keys; gives the public one.
    pub fn make_key(&self, name: &str) -> String {
        make_key(self.folder.path(), name)
    }

    pub fn pool(&self) -> Pool {
        self.pool_with(self.keys())
    }

    pub fn pool_with(&self, keys: PrivateKeys) -> Pool {
        let limits = (Duration::from_secs(20), Duration::from_secs(60));
        Pool::new(Settings { keys, connect_timeout: limits.0, idle_timeout: limits.1 })
    }

    pub async fn guest(&self, pool: &Pool) -> SshGuest {
        pool.guest(&self.container, &self.target(), None).await.unwrap()
    }

    /// What a script of root's prints, run from outside; it has to succeed.
    pub fn sh(&self, script: &str) -> String {
        docker(&["exec", "--user", "root", &self.container, "sh", "-c", script]).join("\n")
    }

    /// Whether a script of root's succeeds.
    pub fn holds(&self, script: &str) -> bool {
        run(&["exec", "--user", "root", &self.container, "sh", "-c", script]).status.success()
    }

    /// Waits until a script of root's succeeds.
    pub async fn until(&self, script: &str) {
        eventually(PATIENCE, script, async || self.holds(script).then_some(()).ok_or("not yet")).await;
    }

    /// Ends every connection there is.
    pub fn cut_connections(&self) {
        self.sh("pkill -KILL -f '^sshd: root'; true");
    }

    /// The host key of the server, as it is in its file.
    pub fn host_key(&self) -> String {
        let line = self.sh("cat /etc/ssh/ssh_host_ed25519_key.pub");
        line.split(' ').take(2).collect::<Vec<_>>().join(" ")
    }

    /// Gives the server another host key.
    pub fn change_host_key(&self) {
        self.sh(
            "cd /etc/ssh; rm ssh_host_ed25519_key*; ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key; \
             kill -HUP $(cat /run/sshd.pid)",
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = run(&["rm", "--force", &self.container]);
    }
}

/// Makes a pair of keys; gives the public one.
pub fn make_key(folder: &Path, name: &str) -> String {
    let file = folder.join(name);
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file).status();
    assert!(made.unwrap().success());
    fs::read_to_string(file.with_extension("pub")).unwrap().trim().to_owned()
}

/// Standard output of a script that has to succeed, run by way of SSH.
pub async fn output_of(guest: &SshGuest, user: &str, script: &str) -> String {
    let output = guest.run(ExecRequest::script(user, script)).await.unwrap();
    assert_eq!(output.exit_code, 0, "{output:?}");
    output.stdout
}
