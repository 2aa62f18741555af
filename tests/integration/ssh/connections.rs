//! Connections that break, that are refused, and that nobody needs any more.

use std::time::{Duration, Instant};

use berth::backend::{
    ExecRequest, Guest, Reason,
    ssh::{Pool, PrivateKeySource, PrivateKeys, Settings, Target},
};
use tokio::net::TcpListener;

use super::server::{PATIENCE, Server, output_of};
use crate::support::eventually;

#[tokio::test]
async fn a_dead_connection_is_dialled_again() {
    let server = Server::start().await;
    let pool = server.pool();
    let guest = server.guest(&pool).await;
    for _ in 0..3 {
        assert_eq!(output_of(&guest, "dev", "echo here").await, "here\n");
        server.cut_connections();
    }
}

#[tokio::test]
async fn a_connection_that_is_never_answered_is_given_up_for_another() {
    let server = Server::start().await;
    let target = server.target();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let address = (target.host.clone(), target.port);
    tokio::spawn(async move {
        let _silent = listener.accept().await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut server = tokio::net::TcpStream::connect(address).await.unwrap();
        tokio::io::copy_bidirectional(&mut stream, &mut server).await
    });
    let pool = server.pool();
    let target = Target { host: "127.0.0.1".to_owned(), port, ..target };
    let begun = Instant::now();
    let guest = pool.guest("booting", &target, None).await.unwrap();
    assert_eq!(output_of(&guest, "dev", "echo here").await, "here\n");
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_command_whose_connection_breaks_is_an_error() {
    let server = Server::start().await;
    let pool = server.pool();
    let guest = server.guest(&pool).await;
    let command = guest.run(ExecRequest::script("root", "touch /tmp/begun; sleep 30"));
    let cut = async {
        server.until("test -e /tmp/begun").await;
        server.cut_connections();
    };
    let (ended, ()) = tokio::join!(command, cut);
    let error = ended.unwrap_err();
    assert_eq!(error.reason, Reason::SshUnreachable, "{error}");
    assert_eq!(output_of(&guest, "dev", "echo here").await, "here\n");
}

#[tokio::test]
async fn a_command_that_nobody_waits_for_gives_up_its_session() {
    let server = Server::start().await;
    let pool = server.pool();
    let guest = server.guest(&pool).await;
    // More than a connection has room for.
    for _ in 0..20 {
        let command = guest.run(ExecRequest::script("dev", "echo begun; sleep 4321"));
        assert!(tokio::time::timeout(Duration::from_millis(100), command).await.is_err());
    }
    assert_eq!(output_of(&guest, "dev", "echo here").await, "here\n");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = Server::start().await;
    let (connect_timeout, idle_timeout) = (Duration::from_secs(20), Duration::from_millis(500));
    let pool = Pool::new(Settings { keys: server.keys(), connect_timeout, idle_timeout });
    let guest = server.guest(&pool).await;
    // One that is used is not.
    assert_eq!(output_of(&guest, "dev", "sleep 2; echo here").await, "here\n");
    drop(guest);
    eventually(PATIENCE, "it closes", async || if pool.is_empty() { Ok(()) } else { Err(pool.len()) }).await;
    server.until("! pgrep -f '^sshd: root'").await;
    assert_eq!(output_of(&server.guest(&pool).await, "dev", "echo here").await, "here\n");
}

#[tokio::test]
async fn of_several_keys_the_one_that_fits_is_found() {
    let server = Server::start().await;
    server.make_key("stranger");
    let text = std::fs::read_to_string(server.key_file("operator")).unwrap();
    let keys = PrivateKeys::new(vec![
        PrivateKeySource::File(server.key_file("stranger")),
        PrivateKeySource::Text(text.into()),
    ]);
    let pool = server.pool_with(keys);
    assert_eq!(output_of(&server.guest(&pool).await, "root", "echo here").await, "here\n");
}

#[tokio::test]
async fn a_key_that_is_not_accepted_is_an_error_of_its_own() {
    let server = Server::start().await;
    server.make_key("stranger");
    let pool = server.pool_with(PrivateKeys::file(server.key_file("stranger")));
    let error = pool.guest("one", &server.target(), None).await.err().unwrap();
    assert_eq!(error.reason, Reason::SshAuthFailed);
    assert!(error.message.contains("does not accept the key of root"), "{error}");
    let pool = server.pool_with(PrivateKeys::file("/nowhere"));
    let error = pool.guest("one", &server.target(), None).await.err().unwrap();
    assert_eq!(error.reason, Reason::SshAuthFailed, "{error}");
}

async fn connecting_to(port: u16) -> (berth::backend::BackendError, Duration) {
    let folder = tempfile::tempdir().unwrap();
    super::server::make_key(folder.path(), "operator");
    let keys = PrivateKeys::file(folder.path().join("operator"));
    let limits = (Duration::from_secs(1), Duration::from_secs(60));
    let pool = Pool::new(Settings { keys, connect_timeout: limits.0, idle_timeout: limits.1 });
    let target = Target { host: "127.0.0.1".into(), port, user: "root".into() };
    let begin = Instant::now();
    (pool.guest("one", &target, None).await.err().unwrap(), begin.elapsed())
}

#[tokio::test]
async fn nobody_there_is_an_error() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let (error, _) = connecting_to(port).await;
    assert_eq!(error.reason, Reason::SshUnreachable);
    assert!(error.message.contains(&format!("root@127.0.0.1:{port}")), "{error}");
}

/// Somebody who takes the connection and says nothing, or says words without end.
#[rstest::rstest]
#[case::silent(b"".as_slice())]
#[case::lines(b"hello\r\n".as_slice())]
#[case::one_line(b"hello ".as_slice())]
#[tokio::test]
async fn somebody_who_speaks_no_ssh_is_given_up(#[case] words: &'static [u8]) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let _speaking = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while words.is_empty() || tokio::io::AsyncWriteExt::write_all(&mut stream, words).await.is_ok() {
            if words.is_empty() {
                std::future::pending::<()>().await;
            }
        }
    }));
    let (error, time) = connecting_to(port).await;
    assert_eq!(error.reason, Reason::SshUnreachable, "{error}");
    assert!(time < Duration::from_secs(10));
}
