//! The ways by SSH: the operator's key for the containers, and root's shell on the nodes.

use std::path::Path;

use super::finding::{Finding, quoted};
use crate::{
    backend::{
        ExecRequest,
        proxmox::{IDLE, client::NodeName, nodes},
        ssh::{Pool, PrivateKeys, Settings, host::HostShell, host::SshHost},
    },
    config::{ProxmoxBackend, proxmox::HostSsh},
};

/// The operator's key for the containers. Templates need its public half.
pub(super) async fn key(config: &ProxmoxBackend) -> Finding {
    let file = &config.ssh.key_file;
    let subject = "SSH key for the containers";
    match PrivateKeys::file(file).public().await {
        Ok(keys) => Finding::fine(subject, keys.join(", ")),
        Err(error) => Finding::missing(subject, format!("usable: {error}")).mended_by(make(file)),
    }
}

fn make(file: &Path) -> String {
    format!("ssh-keygen -t ed25519 -N '' -C berth -f {}", quoted(&file.display().to_string()))
}

/// Root's shell on each node, where the operator is to have one.
pub(super) async fn nodes(config: &ProxmoxBackend, nodes: &[NodeName]) -> Vec<Finding> {
    let Some(host_ssh) = &config.host_ssh else { return Vec::new() };
    let pool = Pool::new(Settings {
        keys: PrivateKeys::file(&host_ssh.key_file),
        connect_timeout: config.ssh.connect_timeout.0,
        idle_timeout: IDLE,
    });
    let mut findings = Vec::new();
    for node in nodes {
        findings.push(shell(&pool, host_ssh, node).await);
    }
    findings
}

async fn shell(pool: &Pool, host_ssh: &HostSsh, node: &NodeName) -> Finding {
    let target = nodes::target(host_ssh, node);
    let subject = format!("SSH to node {node}");
    let known_hosts = &host_ssh.known_hosts_file;
    let request = ExecRequest::script("root", "command -v pct");
    let run = async { SshHost::open(pool, &target, known_hosts).await?.run(request).await }.await;
    match run {
        Ok(output) if output.exit_code == 0 => Finding::fine(subject, format!("{target}, pct is there")),
        Ok(output) => {
            let words = format!("a node of Proxmox VE: {target} has no pct (exit code {})", output.exit_code);
            Finding::missing(subject, words)
        }
        Err(error) => {
            let (key, known_hosts) =
                (host_ssh.key_file.display().to_string(), known_hosts.display().to_string());
            Finding::missing(subject, format!("usable: {error}"))
                .mended_by(format!(
                    "ssh-copy-id -i {} -p {} {}@{}",
                    quoted(&key),
                    target.port,
                    quoted(&target.user),
                    quoted(&target.host)
                ))
                .mended_by(format!(
                    "ssh-keyscan -p {} {} >> {}    # and compare with the key on the node",
                    target.port,
                    quoted(&target.host),
                    quoted(&known_hosts)
                ))
        }
    }
}
