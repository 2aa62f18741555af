//! The agent as a service of a container's own init.

use berth::{
    backend::{AgentBinary, AgentProgram, ssh::agent::deliver},
    provision::{AgentSettings, AgentSetup, AgentStatus, Setup, agent_status, configure},
};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::server::{PATIENCE, Server, make_key};
use crate::support::{docker::docker, eventually, operator::agent_binary, word};

const SYSTEMD: &str = "berth-demo/debian-12-standard:bookworm";
const OPENRC: &str = "berth-demo/debian-12-openrc:bookworm";
const SYSVINIT: &str = "berth-demo/debian-12-sysvinit:bookworm";

/// Lets root in with the key of the test, and starts the container's own init.
const BOOT: &str = r#"
mkdir -p /root/.ssh
printf '%s\n' "$1" >/root/.ssh/authorized_keys
chmod -R go= /root/.ssh
ssh-keygen -A >/dev/null
# systemd wants a cgroup tree of its own that it can write to.
mount -o remount,bind,rw /sys/fs/cgroup/systemd 2>/dev/null || mount -o remount,bind,rw /sys/fs/cgroup
exec /sbin/init
"#;

impl Server {
    /// Starts a container with an init of its own.
    async fn boot(image: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = make_key(folder.path(), "operator");
        let container = format!("berth-test-ssh-{}", word());
        let options = "run --detach --cap-add SYS_ADMIN --cgroupns private --env container=lxc \
            --tmpfs /run:rw,exec,nosuid,nodev,mode=755 --tmpfs /run/lock:rw,mode=1777 --user 0:0 --name";
        let mut arguments: Vec<&str> = options.split_whitespace().collect();
        arguments.extend([container.as_str(), image, "/bin/sh", "-c", BOOT, "boot", &key]);
        docker(&arguments);
        Self::of(container, folder).await
    }

    /// The process that runs as the agent's init, when there is one.
    fn init(&self) -> Result<String, String> {
        let script = "read -r pid </run/berth/init.pid && read -r name </proc/$pid/comm && \
            [ $name = berth-agent ] && [ $pid != 1 ] && echo $pid || ps -ef";
        let shown = self.sh(script);
        if shown.bytes().all(|byte| byte.is_ascii_digit()) { Ok(shown) } else { Err(shown) }
    }

    /// Another one than that which was.
    async fn next_init(&self, before: &str) -> String {
        eventually(PATIENCE, "an init runs", async || {
            self.init().and_then(|pid| if pid == before { Err(pid) } else { Ok(pid) })
        })
        .await
    }
}

fn setup() -> Setup {
    let settings = AgentSettings {
        proxy: None,
        gateways: vec!["http://127.0.0.1:1".to_owned()],
        user: "ada".to_owned(),
        certificate_authorities: None,
        update: None,
    };
    Setup {
        user: "ada".to_owned(),
        agent: Some(AgentSetup { settings, token: "token".to_owned().into() }),
        ..Setup::default()
    }
}

const ROLES: &str = "[ $(pgrep -fc -u ada '^/opt/berth/.*/berth-agent supervise') = 1 ] && \
    [ $(pgrep -fc -u ada '^/opt/berth/.*/berth-agent link') = 1 ]";

/// Fails where there is none.
const SUPERVISOR: &str = "pgrep -f '^/opt/berth/.*/berth-agent supervise'";

async fn is_a_service(image: &str) {
    let server = Server::boot(image).await;
    let pool = server.pool();
    let guest = server.guest(&pool).await;
    let agent = AgentBinary::read(&agent_binary()).unwrap();

    assert_eq!(deliver(&guest, &agent).await.unwrap(), AgentProgram::Present);
    let first = server.next_init("").await;
    assert_eq!(deliver(&guest, &agent).await.unwrap(), AgentProgram::Present);
    assert_eq!(server.init().unwrap(), first);
    let program = format!("/opt/berth/{}/berth-agent", agent.digest);
    let shown = server.sh(&format!("stat -c '%U %a' {program}; sha256sum <{program} | cut -c 1-64"));
    assert_eq!(shown, format!("root 755\n{}", hex::encode(Sha256::digest(&agent.content))));

    // It is told of its settings, without a word to the container's own init.
    configure(&guest, &setup()).await.unwrap();
    server.until(ROLES).await;
    eventually(PATIENCE, "the link says how it is doing", async || {
        match agent_status(&guest).await.unwrap() {
            AgentStatus::Link(status) => Ok(status),
            other => Err(other),
        }
    })
    .await;

    // Its end leaves what people have running.
    let supervisor = server.sh(SUPERVISOR);
    server.sh(&format!("kill -KILL {first}"));
    let second = server.next_init(&first).await;
    server.until(ROLES).await;
    assert_eq!(server.sh(SUPERVISOR), supervisor);

    // The same when it is stopped.
    server.sh(&format!("kill {second}"));
    server.next_init(&second).await;
    assert_eq!(server.sh(SUPERVISOR), supervisor);

    // A program that is damaged is replaced, and another version is put beside it.
    server.sh(&format!("cp {program} /tmp/x; echo >>/tmp/x; chmod 755 /tmp/x; mv /tmp/x {program}"));
    assert_eq!(deliver(&guest, &agent).await.unwrap(), AgentProgram::Present);
    let mut content = agent.content.to_vec();
    content.push(0);
    let mut digest = hex::encode(Sha256::digest(&content));
    digest.truncate(12);
    let later = AgentBinary { content: Bytes::from(content), digest };
    let place = format!("/opt/berth/{}/berth-agent", later.digest);
    assert_eq!(deliver(&guest, &later).await.unwrap(), AgentProgram::Update(place.clone()));
    assert!(server.holds(&format!("{place} --version")));

    // It starts with the container, and waits for its settings, which were in memory.
    docker(&["restart", "--time", "20", &server.container]);
    server.next_init("").await;
    assert!(!server.holds(SUPERVISOR));
}

#[tokio::test]
async fn the_agent_is_a_service_of_systemd() {
    is_a_service(SYSTEMD).await;
}

#[tokio::test]
async fn the_agent_is_a_service_of_sysvinit() {
    is_a_service(SYSVINIT).await;
}

#[tokio::test]
async fn the_agent_is_a_service_of_openrc() {
    is_a_service(OPENRC).await;
}
