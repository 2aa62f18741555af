//! Host keys: pinned at first use, and never another one.

use berth::backend::{Reason, ssh::HostKey};

use super::server::{Server, output_of};

#[tokio::test]
async fn the_key_that_was_seen_is_given_back_and_accepted_again() {
    let server = Server::start().await;
    let seen = server.guest(&server.pool()).await.seen().clone();
    assert_eq!(seen.to_string(), server.host_key());
    let pool = server.pool();
    let guest = pool.guest(&server.container, &server.target(), Some(seen.clone())).await.unwrap();
    assert_eq!(guest.seen(), &seen);
}

#[tokio::test]
async fn another_key_than_the_expected_one_is_refused() {
    let server = Server::start().await;
    let expected: HostKey = server.make_key("other").parse().unwrap();
    let pool = server.pool();
    let attempt = pool.guest(&server.container, &server.target(), Some(expected.clone())).await;
    let error = attempt.err().unwrap();
    assert_eq!(error.reason, Reason::HostKeyChanged);
    let seen: HostKey = server.host_key().parse().unwrap();
    for fingerprint in [expected.fingerprint(), seen.fingerprint()] {
        assert!(error.message.contains(&fingerprint), "{error}");
    }
}

#[tokio::test]
async fn a_key_that_changes_is_refused_when_the_connection_is_dialled_again() {
    let server = Server::start().await;
    let pool = server.pool();
    let guest = server.guest(&pool).await;
    let first = guest.seen().clone();
    server.change_host_key();
    server.cut_connections();
    let error =
        berth::backend::Guest::run(&guest, berth::backend::ExecRequest::script("root", "touch /tmp/x"))
            .await
            .unwrap_err();
    assert_eq!(error.reason, Reason::HostKeyChanged, "{error}");
    assert!(!server.holds("test -e /tmp/x"));
    let attempt = pool.guest(&server.container, &server.target(), Some(first)).await;
    assert_eq!(attempt.err().unwrap().reason, Reason::HostKeyChanged);
    // Whoever forgets the first key on purpose gets in.
    let guest = server.guest(&pool).await;
    assert_eq!(output_of(&guest, "root", "echo here").await, "here\n");
    assert_eq!(guest.seen().to_string(), server.host_key());
}

#[tokio::test]
async fn a_server_with_several_keys_is_asked_for_the_expected_one() {
    let server = Server::start().await;
    server.sh("ssh-keygen -q -t ecdsa -N '' -f /etc/ssh/ssh_host_ecdsa_key; \
         echo 'HostKey /etc/ssh/ssh_host_ecdsa_key' >>/etc/ssh/sshd_config; kill -HUP $(cat /run/sshd.pid)");
    server.until("[ $(ssh-keyscan -t ecdsa localhost 2>/dev/null | wc -l) = 1 ]").await;
    for kind in ["ecdsa", "ed25519"] {
        let expected: HostKey = server.sh(&format!("cat /etc/ssh/ssh_host_{kind}_key.pub")).parse().unwrap();
        let pool = server.pool();
        let guest = pool.guest(&server.container, &server.target(), Some(expected.clone())).await.unwrap();
        assert_eq!(guest.seen(), &expected);
    }
}
