//! Commands inside a container.

use std::time::{Duration, Instant};

use berth::backend::{ExecRequest, Guest, Reason};

use super::server::{Server, output_of};

#[tokio::test]
async fn commands_run_as_they_were_asked_to() {
    let server = Server::start().await;
    let pool = server.pool();
    let guest = server.guest(&pool).await;
    let script = r#"id -un; id -G; pwd; echo "$HOME $GREETING"; cat; echo "$1|$2"; echo oops >&2; exit 7"#;
    for (user, who) in [("dev", "dev\n1000\n/tmp\n/home/dev"), ("root", "root\n0\n/tmp\n/root")] {
        let request = ExecRequest {
            cwd: Some("/tmp".into()),
            env: [("GREETING".to_owned(), "hello 'you'".to_owned())].into(),
            stdin: Some("from outside\n".into()),
            ..ExecRequest::script(user, script).with_args(["a b", "$(id)"])
        };
        let output = guest.run(request).await.unwrap();
        assert_eq!(output.exit_code, 7, "{output:?}");
        assert_eq!(output.stdout, format!("{who} hello 'you'\nfrom outside\na b|$(id)\n"));
        assert_eq!(output.stderr, "oops\n");
    }
    let missing = ExecRequest { argv: vec!["no-such-command".into()], ..ExecRequest::script("dev", "") };
    assert_eq!(guest.run(missing).await.unwrap().exit_code, 127);
    let killed = guest.run(ExecRequest::script("dev", "kill -KILL $$")).await.unwrap();
    assert_eq!(killed.exit_code, 137);
}

#[tokio::test]
async fn nothing_of_a_request_is_seen_before_its_command() {
    let server = Server::start().await;
    let pool = server.pool();
    let guest = server.guest(&pool).await;
    server.sh("mv /bin/setpriv /bin/setpriv.real || mv /usr/bin/setpriv /usr/bin/setpriv.real");
    server.sh(
        r#"printf '#!/bin/sh\nfor p in /proc/[0-9]*; do tr "\\0" " " <$p/cmdline; tr "\\0" " " <$p/environ; done >>/tmp/seen\nexec setpriv.real "$@"\n' >/usr/bin/setpriv
        chmod 755 /usr/bin/setpriv"#,
    );
    let mut request = ExecRequest::script("dev", "echo $1").with_args(["in-argv"]);
    request.env.insert("SECRET".to_owned(), "in-environment".to_owned());
    assert_eq!(guest.run(request).await.unwrap().stdout, "in-argv\n");
    let seen = server.sh("cat /tmp/seen");
    assert!(seen.contains("--init-groups"), "{seen}");
    assert!(!seen.contains("in-argv") && !seen.contains("in-environment"), "{seen}");
}

#[tokio::test]
async fn users_are_become_with_whatever_tool_there_is() {
    let server = Server::start().await;
    let pool = server.pool();
    let guest = server.guest(&pool).await;
    let script = r#"id -un; echo "$HOME" "$VALUE"; exit 3"#;
    for tool in ["nothing", "setpriv", "runuser"] {
        server.sh(&format!("rm -f /usr/bin/{tool} /bin/{tool} /usr/sbin/{tool} /sbin/{tool}"));
        let mut request = ExecRequest::script("dev", script);
        request.env.insert("VALUE".to_owned(), "it's".to_owned());
        let output = guest.run(request).await.unwrap();
        assert_eq!(
            (output.exit_code, output.stdout.as_str()),
            (3, "dev\n/home/dev it's\n"),
            "without {tool}"
        );
        let endless = ExecRequest {
            timeout: Duration::from_secs(1),
            ..ExecRequest::script("dev", "sleep 4321 & sleep 4321")
        };
        assert_eq!(guest.run(endless).await.unwrap().exit_code, 124);
        server.until("! pgrep -f '^sleep 4321'").await;
    }
}

#[tokio::test]
async fn much_input_and_output_do_not_block_each_other() {
    let server = Server::start().await;
    let pool = server.pool();
    let guest = server.guest(&pool).await;
    let line = "0123456789abcdef".repeat(64);
    let text = format!("{line}\n").repeat(4096) + "the end";
    let request = ExecRequest {
        stdin: Some(text.clone().into()),
        output_limit: 100,
        ..ExecRequest::script("dev", "tee /dev/stderr | cat")
    };
    let output = guest.run(request).await.unwrap();
    let end = &text[text.len() - 100..];
    assert_eq!((output.exit_code, output.stdout.as_str(), output.stderr.as_str()), (0, end, end));
    // Nobody reads it.
    let unread =
        ExecRequest { stdin: Some(text.into()), ..ExecRequest::script("dev", "exec <&-; echo done") };
    assert_eq!(guest.run(unread).await.unwrap().stdout, "done\n");
}

#[tokio::test]
async fn endless_output_is_bounded_and_ends_with_the_time_limit() {
    let server = Server::start().await;
    let pool = server.pool();
    let guest = server.guest(&pool).await;
    let endless = ExecRequest {
        timeout: Duration::from_secs(2),
        output_limit: 1000,
        ..ExecRequest::script("dev", "yes & yes >&2")
    };
    let begin = Instant::now();
    // Others go on meanwhile.
    let (output, other) = tokio::join!(guest.run(endless), output_of(&guest, "dev", "echo here"));
    let output = output.unwrap();
    assert_eq!((output.exit_code, output.stdout.len(), output.stderr.len()), (124, 1000, 1000));
    assert_eq!(other, "here\n");
    assert!(begin.elapsed() < Duration::from_secs(15));
    server.until("! pgrep -x yes").await;
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_ended_with_its_children() {
    let server = Server::start().await;
    let pool = server.pool();
    let guest = server.guest(&pool).await;
    let request = ExecRequest {
        timeout: Duration::from_secs(1),
        ..ExecRequest::script("dev", "trap '' TERM; echo begun; sleep 4321 & sleep 4321; true")
    };
    let output = guest.run(request).await.unwrap();
    assert_eq!((output.exit_code, output.stdout.as_str()), (124, "begun\n"));
    assert!(!server.holds("pgrep -f '^sleep 4321'"));
}

#[tokio::test]
async fn what_goes_on_in_the_background_is_not_waited_for() {
    let server = Server::start().await;
    let pool = server.pool();
    let guest = server.guest(&pool).await;
    let begin = Instant::now();
    let output = guest.run(ExecRequest::script("dev", "sleep 4321 & echo begun; exit 5")).await.unwrap();
    assert_eq!((output.exit_code, output.stdout.as_str()), (5, "begun\n"));
    assert!(begin.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn many_commands_share_a_connection() {
    let server = Server::start().await;
    let pool = server.pool();
    let guest = server.guest(&pool).await;
    let outputs = (0..30).map(|number| {
        let request = ExecRequest::script("dev", "sleep 0.2; echo $1").with_args([number.to_string()]);
        guest.run(request)
    });
    let outputs = futures::future::try_join_all(outputs).await.unwrap();
    let numbers: Vec<i32> = outputs.iter().map(|output| output.stdout.trim().parse().unwrap()).collect();
    assert_eq!(numbers, (0..30).collect::<Vec<_>>());
    assert_eq!(server.sh("pgrep -fc '^sshd: root@notty'"), "1");
}

#[tokio::test]
async fn what_can_not_be_run_is_an_error() {
    let server = Server::start().await;
    let pool = server.pool();
    let guest = server.guest(&pool).await;
    let error = guest.run(ExecRequest::script("nobody-here", "true")).await.unwrap_err();
    assert_eq!(error.reason, Reason::Failed);
    assert!(error.message.contains("user nobody-here does not exist"), "{error}");
    let nowhere = ExecRequest { cwd: Some("/nowhere".into()), ..ExecRequest::script("dev", "true") };
    let error = guest.run(nowhere).await.unwrap_err();
    assert!(error.message.contains("/nowhere"), "{error}");
    server.sh("usermod --shell /usr/sbin/nologin root");
    // The server remembers the shell for as long as a connection lasts.
    let pool = server.pool();
    let error = server.guest(&pool).await.run(ExecRequest::script("dev", "true")).await.unwrap_err();
    assert!(error.message.contains("not available"), "{error}");
}
