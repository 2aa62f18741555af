//! Commands of root's on a node, and the device that only root can give.

use std::path::PathBuf;

use berth::backend::{
    ExecRequest, Reason,
    proxmox::node_shell::{authorize, give_tun, inside},
    ssh::{HostShell, SshHost},
};

use super::server::Server;

const CONFIGURATION: &str = "arch: amd64\nmemory: 512\n\n[before]\nmemory: 256\n";
const WITH_TUN: &str = "arch: amd64\nmemory: 512\nlxc.cgroup2.devices.allow: c 10:200 rwm\n\
    lxc.mount.entry: /dev/net/tun dev/net/tun none bind,create=file\n\n[before]\nmemory: 256\n";

fn known_hosts(server: &Server, key: &str) -> PathBuf {
    let file = server.key_file("known_hosts");
    std::fs::write(&file, format!("{} {key}\n", server.target().host)).unwrap();
    file
}

async fn node() -> (Server, SshHost) {
    let server = Server::start().await;
    server.sh(&format!("mkdir -p /etc/pve/lxc; cat >/etc/pve/lxc/105.conf <<'END'\n{CONFIGURATION}END"));
    let pool = server.pool();
    let host =
        SshHost::open(&pool, &server.target(), &known_hosts(&server, &server.host_key())).await.unwrap();
    (server, host)
}

#[tokio::test]
async fn a_node_is_known_by_the_key_that_is_listed() {
    let server = Server::start().await;
    let pool = server.pool();
    let target = server.target();
    let other = server.make_key("other");
    let error = SshHost::open(&pool, &target, &known_hosts(&server, &other)).await.err().unwrap();
    assert_eq!(error.reason, Reason::HostKeyChanged);
    assert!(error.message.contains("known hosts file"), "{error}");
    let error = SshHost::open(&pool, &target, &server.key_file("missing")).await.err().unwrap();
    assert_eq!(error.reason, Reason::HostKeyChanged);
    let host = SshHost::open(&pool, &target, &known_hosts(&server, &server.host_key())).await.unwrap();
    assert_eq!(host.run(ExecRequest::script("root", "id -un")).await.unwrap().stdout, "root\n");
}

#[tokio::test]
async fn commands_reach_a_container_through_its_node() {
    let (server, host) = node().await;
    server.sh(r#"printf '#!/bin/sh\nprintf "%%s|" "$@"; cat\n' >/usr/sbin/pct; chmod 755 /usr/sbin/pct"#);
    let command = ExecRequest {
        stdin: Some("input".into()),
        ..ExecRequest::script("root", "cat >\"$1\"").with_args(["a 'b'"])
    };
    let output = host.run(inside("105".parse().unwrap(), command)).await.unwrap();
    assert_eq!(output.stdout, "exec|105|--|/bin/sh|-c|cat >\"$1\"|berth|a 'b'|input");
}

#[tokio::test]
async fn keys_are_let_in_once_and_beside_others() {
    let (server, host) = node().await;
    // The container is the node itself.
    server.sh(r#"printf '#!/bin/sh\nshift 3\nexec "$@"\n' >/usr/sbin/pct; chmod 755 /usr/sbin/pct"#);
    let keys = "/root/.ssh/authorized_keys";
    let before = server.sh(&format!("cat {keys}"));
    // Some editors leave the last line without its end.
    server.sh(&format!("printf %s 'ssh-ed25519 AAAA ann' >>{keys}"));
    let mine = ["ssh-ed25519 BBBB".to_owned(), "ssh-rsa CCCC".to_owned()];
    for _ in 0..2 {
        authorize(&host, "105".parse().unwrap(), &mine).await.unwrap();
    }
    let expected = format!("{before}\nssh-ed25519 AAAA ann\nssh-ed25519 BBBB\nssh-rsa CCCC");
    assert_eq!(server.sh(&format!("cat {keys}")), expected);
    server.sh("printf '#!/bin/sh\necho \"CT 105 not running\" >&2; exit 255\n' >/usr/sbin/pct");
    let error = authorize(&host, "105".parse().unwrap(), &mine).await.unwrap_err();
    assert_eq!(error.reason, Reason::SshAuthFailed, "{error}");
    assert!(error.message.contains("CT 105 not running"), "{error}");
}

#[tokio::test]
async fn the_device_is_given_once() {
    let (server, host) = node().await;
    let vmid = "105".parse().unwrap();
    assert!(give_tun(&host, vmid).await.unwrap());
    assert!(!give_tun(&host, vmid).await.unwrap());
    assert_eq!(server.sh("cat /etc/pve/lxc/105.conf") + "\n", WITH_TUN);
    assert_eq!(server.sh("ls -A /etc/pve/lxc"), "105.conf");
    let error = give_tun(&host, "106".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.reason, Reason::NotFound, "{error}");
}

#[tokio::test]
async fn a_configuration_that_is_locked_is_left_alone() {
    let (server, host) = node().await;
    server.sh("mkdir -p /run/lock/lxc
         flock /run/lock/lxc/pve-config-105.lock sh -c 'touch /tmp/locked; sleep 60' >/dev/null 2>&1 &");
    server.until("test -e /tmp/locked").await;
    let error = give_tun(&host, "105".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.reason, Reason::Locked, "{error}");
    assert_eq!(server.sh("cat /etc/pve/lxc/105.conf") + "\n", CONFIGURATION);
}
