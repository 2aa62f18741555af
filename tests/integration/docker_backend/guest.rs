//! Commands and files inside a container.

use std::time::{Duration, Instant};

use berth::backend::{ExecRequest, Reason, guest::FileRequest};

use super::world::World;

#[tokio::test]
async fn commands_run_as_they_were_asked_to() {
    World::run(async |world| {
        let container = world.running("web").await;
        let guest = world.guest(&container).await;
        let script = r#"id -un; pwd; echo "$GREETING"; cat; echo "$1|$2"; echo oops >&2; exit 7"#;
        let request = ExecRequest {
            cwd: Some("/workspace".into()),
            env: [("GREETING".to_owned(), "hello 'you'".to_owned())].into(),
            stdin: Some("from outside\n".into()),
            ..ExecRequest::script("dev", script).with_args(["a b", "$(id)"])
        };
        let output = guest.run(request).await.unwrap();
        assert_eq!(output.exit_code, 7);
        assert_eq!(output.stdout, "dev\n/workspace\nhello 'you'\nfrom outside\na b|$(id)\n");
        assert_eq!(output.stderr, "oops\n");
        let missing = ExecRequest { argv: vec!["no-such-command".into()], ..ExecRequest::script("dev", "") };
        let output = guest.run(missing).await.unwrap();
        assert_eq!(output.exit_code, 127, "{output:?}");
    })
    .await;
}

#[tokio::test]
async fn much_input_and_output_do_not_block_each_other() {
    World::run(async |world| {
        let container = world.running("web").await;
        let line = "0123456789abcdef".repeat(64);
        let text = format!("{line}\n").repeat(2048) + "the end";
        let request = ExecRequest {
            stdin: Some(text.clone().into()),
            output_limit: 100,
            ..ExecRequest::script("dev", "tee /dev/stderr | cat")
        };
        let output = world.guest(&container).await.run(request).await.unwrap();
        let end = &text[text.len() - 100..];
        assert_eq!((output.exit_code, output.stdout.as_str(), output.stderr.as_str()), (0, end, end));
    })
    .await;
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_ended_with_its_children() {
    World::run(async |world| {
        let container = world.running("web").await;
        let begin = Instant::now();
        let request = ExecRequest {
            timeout: Duration::from_secs(1),
            ..ExecRequest::script("dev", "echo begun; sleep 4321 & sleep 4321; true")
        };
        let output = world.guest(&container).await.run(request).await.unwrap();
        assert_eq!((output.exit_code, output.stdout.as_str()), (124, "begun\n"));
        assert!(begin.elapsed() < Duration::from_secs(10));
        let script = r"for p in /proc/[0-9]*; do tr '\0' ' ' <$p/cmdline; echo; done | grep -c '^sleep 4321'";
        assert_eq!(world.sh(&container, script).await.stdout, "0\n");
    })
    .await;
}

#[tokio::test]
async fn what_docker_can_not_run_is_an_error() {
    World::run(async |world| {
        let container = world.running("web").await;
        let guest = world.guest(&container).await;
        let error = guest.run(ExecRequest::script("nobody-here", "true")).await.unwrap_err();
        assert!(error.message.contains("nobody-here"), "{error}");
        let nowhere = ExecRequest { cwd: Some("/nowhere".into()), ..ExecRequest::script("dev", "true") };
        let error = guest.run(nowhere).await.unwrap_err();
        assert!(error.message.contains("/nowhere"), "{error}");
        world.backend.stop(&container, Duration::ZERO).await.unwrap();
        let error = guest.run(ExecRequest::script("dev", "true")).await.unwrap_err();
        assert_eq!(error.reason, Reason::NotRunning, "{error}");
        world.backend.remove_container(&container).await.unwrap();
        let error = guest.run(ExecRequest::script("dev", "true")).await.unwrap_err();
        assert_eq!(error.reason, Reason::NotFound, "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_command_whose_container_ends_does_not_hang() {
    World::run(async |world| {
        let container = world.running("web").await;
        let guest = world.guest(&container).await;
        let command = guest
            .run(ExecRequest::script("root", "touch /tmp/begun; trap '' TERM; while :; do sleep 1; done"));
        let stop = async {
            super::world::until("it runs", async || {
                world.sh(&container, "test -e /tmp/begun").await.exit_code == 0
            })
            .await;
            world.backend.stop(&container, Duration::ZERO).await.unwrap();
        };
        let (output, ()) = tokio::join!(command, stop);
        match output {
            Ok(output) => assert_eq!(output.exit_code, 137),
            Err(error) => assert_eq!(error.reason, Reason::NotRunning, "{error}"),
        }
    })
    .await;
}

fn file(path: &str, content: &str) -> FileRequest {
    FileRequest { path: path.into(), content: content.into(), owner: "dev".into(), mode: 0o640 }
}

#[tokio::test]
async fn files_are_written_byte_for_byte() {
    World::run(async |world| {
        let container = world.running("web").await;
        let guest = world.guest(&container).await;
        let every: String = (1..=255u8).map(char::from).collect();
        for content in [every.as_str(), "it's \"$HOME\" `id` \\ \n\n", "", "\n", "no newline"] {
            guest.write_file(file("/opt/new/folder/a file's \"name\"", content)).await.unwrap();
            let shown = world
                .sh(&container, r#"cd /opt/new/folder; stat -c '%U %G %a' a*; od -An -v -tx1 a* | tr -d ' \n'; ls -A | wc -l"#)
                .await
                .stdout;
            assert_eq!(shown, format!("dev dev 640\n{}1\n", hex::encode(content)));
        }
        let folder = world.sh(&container, "stat -c '%U %a' /opt/new").await.stdout;
        assert_eq!(folder, "root 755\n");
        let big = "0123456789".repeat(100_000);
        guest.write_file(file("/tmp/big", &big)).await.unwrap();
        assert_eq!(world.sh(&container, "wc -c </tmp/big").await.stdout.trim(), "1000000");
    })
    .await;
}

#[tokio::test]
async fn a_file_that_can_not_be_written_is_an_error() {
    World::run(async |world| {
        let container = world.running("web").await;
        let guest = world.guest(&container).await;
        let error = guest.write_file(file("/tmp", "x")).await.unwrap_err();
        assert!(error.message.contains("is a folder"), "{error}");
        let nobody = FileRequest { owner: "nobody-here".into(), ..file("/tmp/x", "x") };
        let error = guest.write_file(nobody).await.unwrap_err();
        assert!(error.message.contains("nobody-here"), "{error}");
        assert!(guest.write_file(file("relative", "x")).await.is_err());
        assert_eq!(world.sh(&container, "ls -A /tmp").await.stdout, "");
    })
    .await;
}
