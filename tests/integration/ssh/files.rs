//! Files and jobs inside a container.

use std::{collections::BTreeMap, time::Duration};

use berth::backend::{Guest, JobRequest, JobState, guest::FileRequest};

use super::server::{PATIENCE, Server};

fn file(path: &str, content: &str) -> FileRequest {
    FileRequest { path: path.into(), content: content.into(), owner: "dev".into(), mode: 0o640 }
}

fn job(name: &str, script: &str) -> JobRequest {
    JobRequest { name: name.into(), script: script.into(), user: "dev".into(), env: BTreeMap::new() }
}

#[tokio::test]
async fn files_are_written_byte_for_byte_with_owner_and_mode() {
    let server = Server::start().await;
    let pool = server.pool();
    let guest = server.guest(&pool).await;
    let every: String = (1..=255u8).map(char::from).collect();
    for content in [every.as_str(), "it's \"$HOME\" `id` \\ \n\n", "", "\n", "no newline"] {
        guest.write_file(file("/opt/new/folder/a file's \"name\"", content)).await.unwrap();
        let shown = server.sh(
            r#"cd /opt/new/folder; stat -c '%U %G %a' a*; od -An -v -tx1 a* | tr -d ' \n'; ls -A | wc -l"#,
        );
        assert_eq!(shown, format!("dev dev 640\n{}1", hex::encode(content)));
    }
    let big = "0123456789".repeat(1_000_000);
    guest.write_file(file("/tmp/big", &big)).await.unwrap();
    assert_eq!(server.sh("wc -c </tmp/big"), "10000000");
}

#[tokio::test]
async fn nobody_sees_half_a_file() {
    let server = Server::start().await;
    let pool = server.pool();
    let guest = server.guest(&pool).await;
    let whole = ["a", "b"].map(|letter| letter.repeat(3_000_000));
    guest.write_file(file("/tmp/file", &whole[0])).await.unwrap();
    let writing = guest.write_file(file("/tmp/file", &whole[1]));
    let looking = async {
        for _ in 0..20 {
            let seen =
                super::server::output_of(&guest, "root", "head -c 1 /tmp/file; wc -c </tmp/file").await;
            assert!(["a3000000\n", "b3000000\n"].contains(&seen.as_str()), "{seen}");
        }
    };
    let (written, ()) = tokio::join!(writing, looking);
    written.unwrap();
    // The connection breaks while it is written: the file stays, and nothing is left beside it.
    let big = "c".repeat(200_000_000);
    let writing = guest.write_file(file("/tmp/file", &big));
    let cutting = async {
        server.until("ls /tmp/.berth.*").await;
        server.cut_connections();
    };
    let (written, ()) = tokio::join!(writing, cutting);
    written.unwrap_err();
    server.until("! ls /tmp/.berth.*").await;
    assert_eq!(server.sh("head -c 1 /tmp/file"), "b");
}

#[tokio::test]
async fn a_file_that_can_not_be_written_is_an_error() {
    let server = Server::start().await;
    let pool = server.pool();
    let guest = server.guest(&pool).await;
    let error = guest.write_file(file("/tmp", "x")).await.unwrap_err();
    assert!(error.message.contains("is a folder"), "{error}");
    let nobody = FileRequest { owner: "nobody-here".into(), ..file("/tmp/x", "x") };
    assert!(guest.write_file(nobody).await.unwrap_err().message.contains("nobody-here"));
    assert_eq!(server.sh("ls -A /tmp"), "");
}

#[tokio::test]
async fn a_job_survives_a_disconnect() {
    let server = Server::start().await;
    let pool = server.pool();
    let guest = server.guest(&pool).await;
    let secret = "it's a \"secret\" $HOME\n`id`";
    let script = "id -un; printf '%s' \"$TOKEN\" | od -An -v -tx1 | tr -d ' \\n'; echo run >>/tmp/runs
        until [ -e /tmp/go ]; do sleep 0.05; done; exit 3";
    let mut request = job("build", script);
    request.env.insert("TOKEN".into(), secret.into());
    guest.start_job(request.clone()).await.unwrap();
    server.until("test -e /tmp/runs").await;
    server.cut_connections();
    let state = guest.look_at_job("build", Duration::ZERO).await.unwrap();
    assert!(matches!(state, JobState::Running { .. }), "{state:?}");
    drop((guest, pool));
    let pool = server.pool();
    let guest = server.guest(&pool).await;
    guest.start_job(request).await.unwrap();
    server.sh("touch /tmp/go");
    let output = format!("dev\n{}", hex::encode(secret));
    assert_eq!(guest.look_at_job("build", PATIENCE).await.unwrap(), JobState::Exited { code: 3, output });
    assert_eq!(server.sh("cat /tmp/runs"), "run");
    assert_eq!(guest.look_at_job("other", Duration::ZERO).await.unwrap(), JobState::Missing);
}
