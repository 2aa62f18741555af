//! Terminals and their viewers.

use std::fs;

use berth_link::wire::{
    exec::Ended,
    frame::{Decoder, Frame, Kind},
    terminal::{Position, Size, Terminals},
};
use futures::{channel::mpsc, stream::StreamExt};
use rstest::rstest;

use super::*;

/// Somebody who looks at a terminal and types.
struct Viewer {
    typing: mpsc::UnboundedSender<Result<Bytes, std::io::Error>>,
    answer: Response<Incoming>,
    decoder: Decoder,
    seen: String,
}

impl Viewer {
    async fn join(scene: &Scene, path: &str) -> Self {
        let (typing, typed) = mpsc::unbounded();
        let answer = scene.send("POST", path, Body::from_stream(typed.boxed())).await;
        assert_eq!(answer.status(), StatusCode::OK);
        Self { typing, answer, decoder: Decoder::default(), seen: String::new() }
    }

    fn send(&self, frame: &Frame) {
        self.typing.unbounded_send(Ok(frame.encode())).unwrap();
    }

    fn types(&self, text: &str) {
        self.send(&Frame::bytes(Kind::Stdin, text.to_owned()));
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

    async fn position(&mut self) -> Position {
        let frame = self.next().await.unwrap();
        assert_eq!(frame.kind, Kind::Position);
        frame.parse().unwrap()
    }

    /// Waits until this has been seen.
    async fn sees(&mut self, text: &str) {
        while !self.seen.contains(text) {
            let frame = self.next().await.unwrap();
            assert_eq!(frame.kind, Kind::Stdout, "after {}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&frame.payload));
        }
    }

    async fn sees_the_end(&mut self) -> Ended {
        loop {
            let frame = self.next().await.unwrap();
            match frame.kind {
                Kind::Stdout => self.seen.push_str(&String::from_utf8_lossy(&frame.payload)),
                Kind::Ended => break frame.parse().unwrap(),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_shell_runs_in_the_workspace_and_its_end_is_told() {
    let scene = Scene::new().await;
    let mut viewer = Viewer::join(&scene, "/v1/terminals/main?cols=91&rows=33").await;
    assert_eq!(viewer.position().await.offset, 0);
    viewer.types("echo [$TERM $COLORTERM] [$(pwd)] [$(stty size)] [$(shopt login_shell)]\r");
    viewer
        .sees(&format!(
            "[xterm-256color truecolor] [{}] [33 91] [login_shell on]",
            scene.folder.path().display()
        ))
        .await;
    viewer.send(&Frame::json(Kind::Resize, &Size { cols: 70, rows: 20 }).unwrap());
    viewer.types("echo size $(stty size); exit 7\r");
    let ended = viewer.sees_the_end().await;
    assert!(viewer.seen.contains("size 20 70"), "{}", viewer.seen);
    assert_eq!(ended, Ended { exit_code: Some(7), signal: None, timed_out: false });
    assert!(viewer.next().await.is_none());
    assert_eq!(scene.get::<Terminals>("/v1/terminals").await, Terminals::default());
    scene.stop().await;
}

#[tokio::test]
async fn a_terminal_stays_and_no_byte_is_lost_or_doubled() {
    let scene = Scene::new().await;
    let mut first = Viewer::join(&scene, "/v1/terminals/main").await;
    let id = first.position().await.terminal;
    first.types("echo one$((1))\r");
    first.sees("one1").await;
    let offset = first.seen.len();
    drop(first);
    let mut second = Viewer::join(&scene, "/v1/terminals/main").await;
    assert_eq!(second.position().await, Position { terminal: id.clone(), offset: 0 });
    second.types("echo two$((2))\r");
    second.sees("two2").await;
    let mut third =
        Viewer::join(&scene, &format!("/v1/terminals/main?since={offset}&terminal={id}&existing=true")).await;
    assert_eq!(third.position().await, Position { terminal: id.clone(), offset: offset as u64 });
    third.sees("two2").await;
    let length = (second.seen.len() - offset).min(third.seen.len());
    assert_eq!(third.seen[..length], second.seen[offset..][..length]);
    let mut fourth = Viewer::join(&scene, "/v1/terminals/main?since=5&terminal=another").await;
    assert_eq!(fourth.position().await, Position { terminal: id, offset: 0 });
    let terminals = scene.get::<Terminals>("/v1/terminals").await.terminals;
    assert_eq!((terminals.len(), terminals[0].viewers), (1, 3));
    scene.stop().await;
}

#[tokio::test]
async fn a_slow_viewer_stalls_nobody_and_is_told_what_it_missed() {
    let scene = Scene::new().await;
    let mut slow = Viewer::join(&scene, "/v1/terminals/main").await;
    let mut quick = Viewer::join(&scene, "/v1/terminals/main").await;
    quick.position().await;
    quick.types("head -c 8000000 /dev/zero | tr '\\0' x; echo; echo do''ne\r");
    let mut total = 0;
    let mut last = Vec::new();
    while !last.windows(4).any(|part| part == b"done") {
        let frame = quick.next().await.unwrap();
        if frame.kind == Kind::Stdout {
            total += frame.payload.len();
            last.extend_from_slice(&frame.payload);
            last.drain(..last.len().saturating_sub(100));
        }
    }
    assert!(total > 1 << 20);
    assert_eq!(slow.position().await.offset, 0);
    let (mut offset, mut positions) = (0, 0);
    let end = scene.get::<Terminals>("/v1/terminals").await.terminals[0].offset;
    while offset < end {
        let frame = slow.next().await.unwrap();
        match frame.kind {
            Kind::Stdout => offset += frame.payload.len() as u64,
            Kind::Position => {
                let position: Position = frame.parse().unwrap();
                assert!(position.offset > offset);
                offset = position.offset;
                positions += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(positions > 0);
    scene.stop().await;
}

#[tokio::test]
async fn what_is_pasted_arrives_whole() {
    let scene = Scene::new().await;
    let mut viewer = Viewer::join(&scene, "/v1/terminals/main").await;
    viewer.position().await;
    let pasted: Vec<u8> = (0..1_000_000_u32).map(|number| b'a' + (number % 23) as u8).collect();
    fs::write(scene.path("expected"), &pasted).unwrap();
    viewer.types(
        "stty raw -echo; echo rea''dy; head -c 1000000 > pasted; cmp pasted expected && echo sa''me\r",
    );
    viewer.sees("ready").await;
    for part in pasted.chunks(300_000) {
        viewer.send(&Frame::bytes(Kind::Stdin, part.to_vec()));
    }
    viewer.sees("same").await;
    scene.stop().await;
}

#[tokio::test]
async fn an_ended_terminal_leaves_nothing_of_its_session() {
    let scene = Scene::new().await;
    let mut viewer = Viewer::join(&scene, "/v1/terminals/main").await;
    viewer.position().await;
    viewer.types("trap '' HUP TERM; sleep 1000 & echo $$; echo rea''dy; sleep 1000\r");
    viewer.sees("ready").await;
    let shell = viewer.seen.lines().find_map(|line| line.trim().parse().ok()).unwrap();
    let session = crate::supervisor::group::Together::session(shell);
    assert!(!session.members().is_empty());
    let answer = scene.send("DELETE", "/v1/terminals/main", Body::empty()).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(session.members(), []);
    assert_eq!(viewer.sees_the_end().await.signal, Some(9));
    scene.stop().await;
}

#[rstest]
#[case::unknown("POST", "/v1/terminals/main?existing=true", StatusCode::NOT_FOUND)]
#[case::nothing_to_end("DELETE", "/v1/terminals/main", StatusCode::NOT_FOUND)]
#[case::bad_name("POST", "/v1/terminals/..", StatusCode::BAD_REQUEST)]
#[case::bad_size("POST", "/v1/terminals/main?cols=x", StatusCode::BAD_REQUEST)]
#[tokio::test]
async fn what_is_wrong_is_refused(#[case] method: &str, #[case] path: &str, #[case] status: StatusCode) {
    let scene = Scene::new().await;
    assert_eq!(scene.send(method, path, Body::empty()).await.status(), status);
    scene.stop().await;
}

#[tokio::test]
async fn there_is_a_bound_to_the_number_of_terminals() {
    let scene = Scene::new().await;
    for number in 0..20 {
        Viewer::join(&scene, &format!("/v1/terminals/{number}")).await;
    }
    let answer = scene.send("POST", "/v1/terminals/more", Body::empty()).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    scene.stop().await;
}

#[tokio::test]
async fn nonsense_from_a_viewer_ends_its_view_only() {
    let scene = Scene::new().await;
    let mut viewer = Viewer::join(&scene, "/v1/terminals/main").await;
    viewer.position().await;
    viewer.typing.unbounded_send(Ok(Bytes::from_static(&[99, 0, 0, 0, 0]))).unwrap();
    loop {
        match viewer.next().await.unwrap().kind {
            Kind::Stdout => {}
            Kind::Problem => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(viewer.next().await.is_none());
    assert_eq!(scene.get::<Terminals>("/v1/terminals").await.terminals.len(), 1);
    scene.stop().await;
}
