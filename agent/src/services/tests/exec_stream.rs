use berth_link::wire::frame::{Decoder, Frame, Kind};
use futures::StreamExt;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::mpsc;

use super::*;

struct Session {
    to_command: mpsc::Sender<Frame>,
    answer: Response<Incoming>,
    decoder: Decoder,
}

impl Session {
    async fn start(scene: &Scene, start: Value) -> Self {
        let (to_command, frames) = mpsc::channel(4);
        to_command.send(Frame::json(Kind::Start, &start).unwrap()).await.unwrap();
        let frames = futures::stream::unfold(frames, |mut frames: mpsc::Receiver<Frame>| async move {
            Some((frames.recv().await?.encode(), frames))
        });
        let body = Body::from_stream(frames.map(Ok::<_, std::io::Error>));
        let answer = scene.send("POST", "/v1/exec/stream", body).await;
        Self { to_command, answer, decoder: Decoder::default() }
    }

    async fn give(&self, text: &str) {
        self.to_command.send(Frame::bytes(Kind::Stdin, text.to_owned())).await.unwrap();
    }

    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            let part = soon(self.answer.body_mut().frame()).await?.unwrap();
            self.decoder.push(part.data_ref().unwrap());
        }
    }

    /// Output up to and with this text.
    async fn until(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            let frame = self.next().await.unwrap_or_else(|| panic!("no {text:?} in {seen:?}"));
            seen += &String::from_utf8_lossy(&frame.payload);
        }
        seen
    }

    /// What is left of standard output and standard error, and how it ended.
    async fn rest(mut self) -> (Vec<u8>, Vec<u8>, Value) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(frame) = self.next().await {
            match frame.kind {
                Kind::Stdout => stdout.extend(frame.payload),
                Kind::Stderr => stderr.extend(frame.payload),
                _ => {
                    let ended = frame.parse().unwrap();
                    assert!(self.next().await.is_none(), "the end is the last");
                    return (stdout, stderr, ended);
                }
            }
        }
        panic!("no end came");
    }
}

#[tokio::test]
async fn input_becomes_output() {
    let scene = Scene::new().await;
    let line = "while read -r word; do echo got $word; done; echo done >&2; exit 4";
    let mut session = Session::start(&scene, json!({"shell": line, "stdin": true})).await;
    session.give("one\n").await;
    assert_eq!(session.until("\n").await, "got one\n");
    session.give("two\n").await;
    session.to_command.send(Frame::bytes(Kind::StdinClosed, "")).await.unwrap();
    let (stdout, stderr, ended) = session.rest().await;
    assert_eq!((stdout.as_slice(), stderr.as_slice()), (&b"got two\n"[..], &b"done\n"[..]));
    assert_eq!(ended["exitCode"], json!(4));
}

#[tokio::test]
async fn a_terminal_has_its_size_and_all_output() {
    let scene = Scene::new().await;
    let start = json!({
        "shell": "stty size; echo $TERM; read -r word; stty size; seq 20000",
        "stdin": true, "tty": {"cols": 80, "rows": 24}
    });
    let mut session = Session::start(&scene, start).await;
    assert_eq!(session.until("xterm-256color").await.lines().next(), Some("24 80"));
    session
        .to_command
        .send(Frame::json(Kind::Resize, &json!({"cols": 99, "rows": 33})).unwrap())
        .await
        .unwrap();
    session.give("go\n").await;
    session.until("33 99").await;
    let (stdout, _, ended) = session.rest().await;
    assert!(String::from_utf8_lossy(&stdout).ends_with("\r\n20000\r\n"));
    assert_eq!(ended["exitCode"], json!(0));
}

#[tokio::test]
async fn a_reader_who_does_not_read_holds_the_command_up_and_misses_nothing() {
    let scene = Scene::new().await;
    // Far more than all windows and pipes together.
    let line = "echo $$ > pid; head -c 20000000 /dev/zero; echo > finished";
    let session = Session::start(&scene, json!({"shell": line})).await;
    until(|| is_alive(&scene.path("pid"))).await;
    // The command comes to a halt before it is done.
    let idle = tokio::time::timeout(Duration::from_millis(500), until(|| scene.path("finished").exists()));
    assert!(idle.await.is_err(), "it was not held up");
    let (stdout, _, _) = session.rest().await;
    assert_eq!(stdout.len(), 20_000_000);
}

#[rstest::rstest]
#[case(json!({"shell": "sleep 1000 & echo $! > pid; wait"}))]
#[case(json!({"shell": "sleep 1000 & echo $! > pid; wait", "tty": {"cols": 80, "rows": 24}}))]
#[case(json!({"shell": "trap '' HUP; echo $$ > pid; yes"}))]
#[tokio::test]
async fn a_client_that_goes_away_ends_its_command(#[case] start: Value) {
    let scene = Scene::new().await;
    let session = Session::start(&scene, start).await;
    until(|| is_alive(&scene.path("pid"))).await;
    drop(session);
    until(|| !is_alive(&scene.path("pid"))).await;
}

#[rstest::rstest]
#[case(json!({"shell": "sleep 1000", "timeoutMs": 100}))]
#[case(json!({"shell": "sleep 1000", "timeoutMs": 100, "tty": {"cols": 80, "rows": 24}}))]
#[tokio::test]
async fn time_runs_out(#[case] start: Value) {
    let scene = Scene::new().await;
    let (_, _, ended) = Session::start(&scene, start).await.rest().await;
    assert_eq!((&ended["timedOut"], &ended["exitCode"]), (&json!(true), &Value::Null));
}

#[tokio::test]
async fn the_first_frame_starts() {
    let scene = Scene::new().await;
    let answer = scene.send("POST", "/v1/exec/stream", Frame::bytes(Kind::Stdin, "x").encode()).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_is_no_frame_is_answered_with_a_problem() {
    let scene = Scene::new().await;
    let session = Session::start(&scene, json!({"shell": "sleep 1000", "stdin": true})).await;
    session.to_command.send(Frame::bytes(Kind::Resize, "huge")).await.unwrap();
    let (_, _, problem) = session.rest().await;
    assert_eq!(problem["code"], json!("Invalid"));
}

#[rstest::rstest]
#[case::output(json!({"shell": "read -r word < gate; echo seen"}), "")]
#[case::input(json!({"shell": "cat > /dev/null", "stdin": true}), "typed\n")]
#[tokio::test]
async fn a_command_that_runs_on_is_work_whenever_it_has_input_or_output(
    #[case] start: Value,
    #[case] input: &str,
) {
    let scene = Scene::new().await;
    nix::unistd::mkfifo(&scene.path("gate"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut session = Session::start(&scene, start).await;
    let begun = worked_at(&scene);
    // Moments are told to the millisecond.
    while Timestamp::now() < begun + Duration::from_millis(2) {
        tokio::task::yield_now().await;
    }
    if input.is_empty() {
        tokio::fs::write(scene.path("gate"), "go\n").await.unwrap();
        session.until("seen").await;
    } else {
        session.give(input).await;
    }
    until(|| worked_at(&scene) > begun).await;
}

fn worked_at(scene: &Scene) -> Timestamp {
    scene.activity.shown().terminal_at.unwrap()
}
