//! A command or a terminal over a WebSocket: Kubernetes' channels on one side, the agent's frames
//! on the other.

use berth_link::wire::{
    AgentProblem,
    exec::Ended,
    frame::{Frame, Kind},
    terminal::{Position, Size},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    agent::{nonsense, told},
    channels::{self, Gone, Incoming, Receiver, Sender},
    frames::{FrameReceiver, FrameSender},
    gate::Admission,
    problem::{Problem, Reason},
};

/// Which streams the client wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Streams {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

impl Streams {
    /// All of them.
    pub const ALL: Self = Self { stdin: true, stdout: true, stderr: true };
}

/// Carries a session until one of its ends is gone or the client may no longer.
pub async fn run(
    mut sender: Sender,
    mut receiver: Receiver,
    to_agent: FrameSender,
    mut from_agent: FrameReceiver,
    streams: Streams,
    admission: Admission,
) {
    // As kubelet does: an empty message tells the client that the command is under way.
    if sender.send(channels::STDOUT, &[]).await.is_err() {
        return;
    }
    let status = tokio::select! {
        status = down(&mut sender, &mut from_agent, streams) => status.ok(),
        () = up(&mut receiver, &to_agent, streams) => None,
        refused = admission.until_revoked() => Some(refused.kubernetes_status()),
    };
    if let Some(status) = status {
        let status = status.to_string();
        if sender.send(channels::STATUS, status.as_bytes()).await.is_err() {
            return;
        }
    }
    sender.close().await;
}

/// From the agent to the client, until the end, which is a status.
async fn down(sender: &mut Sender, agent: &mut FrameReceiver, streams: Streams) -> Result<Value, Gone> {
    loop {
        let frame = match sender.wait_for(agent.next()).await? {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(nonsense("the stream has no end").kubernetes_status()),
            Err(problem) => return Ok(problem.kubernetes_status()),
        };
        match frame.kind {
            Kind::Stdout if streams.stdout => sender.send(channels::STDOUT, &frame.payload).await?,
            Kind::Stderr if streams.stderr => sender.send(channels::STDERR, &frame.payload).await?,
            Kind::Stdout | Kind::Stderr => {}
            Kind::Position => match position(&frame) {
                Ok(position) => sender.send(channels::POSITION, position.as_bytes()).await?,
                Err(problem) => return Ok(problem.kubernetes_status()),
            },
            Kind::Ended => {
                return Ok(frame
                    .parse::<Ended>()
                    .map_or_else(|error| nonsense(error).kubernetes_status(), ended));
            }
            Kind::Problem => {
                return Ok(frame
                    .parse::<AgentProblem>()
                    .map_or_else(nonsense, |said| told(StatusCode::CONFLICT, said))
                    .kubernetes_status());
            }
            Kind::Stdin | Kind::Resize | Kind::StdinClosed | Kind::Start => {
                return Ok(nonsense("a frame that is not its to send").kubernetes_status());
            }
        }
    }
}

fn position(frame: &Frame) -> Result<String, Problem> {
    let position: Position = frame.parse().map_err(nonsense)?;
    serde_json::to_string(&position).map_err(nonsense)
}

/// From the client to the agent, until one of them is gone.
async fn up(receiver: &mut Receiver, agent: &FrameSender, streams: Streams) {
    while let Some(incoming) = receiver.next().await {
        let Some(frame) = frame(incoming, streams) else { continue };
        if !agent.send(&frame).await {
            // How it ended is on its way to the client: only that ends the session.
            std::future::pending::<()>().await;
        }
    }
}

/// A size as Kubernetes' clients send it.
#[derive(Deserialize)]
struct TerminalSize {
    #[serde(rename = "Width")]
    width: u16,
    #[serde(rename = "Height")]
    height: u16,
}

fn frame(incoming: Incoming, streams: Streams) -> Option<Frame> {
    match incoming {
        Incoming::Bytes(channels::STDIN, bytes) if streams.stdin && !bytes.is_empty() => {
            Some(Frame::bytes(Kind::Stdin, bytes))
        }
        Incoming::Ended(channels::STDIN) if streams.stdin => {
            Some(Frame::bytes(Kind::StdinClosed, Vec::new()))
        }
        Incoming::Bytes(channels::RESIZE, bytes) => {
            let size: TerminalSize = serde_json::from_slice(&bytes).ok()?;
            Frame::json(Kind::Resize, &Size { cols: size.width.max(1), rows: size.height.max(1) }).ok()
        }
        Incoming::Bytes(..) | Incoming::Ended(_) => None,
    }
}

/// How it ended, as kubelet says it.
fn ended(ended: Ended) -> Value {
    if ended.timed_out {
        return Problem::new(Reason::Timeout, "the command was killed: its time was over")
            .kubernetes_status();
    }
    match exit_code(ended) {
        0 => json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}),
        code => json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with non-zero exit code: {code}"),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
    }
}

/// An exit code as a shell gives it: 128 and the number where a signal ended it.
fn exit_code(ended: Ended) -> i32 {
    ended.exit_code.or(ended.signal.map(|signal| signal.saturating_add(128))).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Ended { exit_code: Some(0), ..Ended::default() }, "Success", None)]
    #[case(Ended { exit_code: Some(3), ..Ended::default() }, "Failure", Some("3"))]
    #[case(Ended { signal: Some(9), ..Ended::default() }, "Failure", Some("137"))]
    #[case(Ended::default(), "Failure", Some("1"))]
    fn the_end_is_told_as_kubelet_tells_it(
        #[case] end: Ended,
        #[case] expected: &str,
        #[case] code: Option<&str>,
    ) {
        let status = ended(end);
        assert_eq!(status["status"], expected);
        assert_eq!(status["details"]["causes"][0]["message"].as_str(), code);
    }

    #[test]
    fn a_command_that_took_too_long_says_so() {
        let status = ended(Ended { timed_out: true, exit_code: Some(0), signal: None });
        assert_eq!(status["reason"], "Timeout");
    }

    #[rstest]
    #[case(Incoming::Bytes(0, Bytes::from_static(b"ls\n")), Some(Kind::Stdin))]
    #[case(Incoming::Bytes(0, Bytes::new()), None)]
    #[case(Incoming::Ended(0), Some(Kind::StdinClosed))]
    #[case(Incoming::Ended(1), None)]
    #[case(Incoming::Bytes(4, Bytes::from_static(br#"{"Width":80,"Height":24}"#)), Some(Kind::Resize))]
    #[case(Incoming::Bytes(4, Bytes::from_static(b"wide")), None)]
    #[case(Incoming::Bytes(9, Bytes::from_static(b"x")), None)]
    fn what_a_client_says_becomes_a_frame(#[case] incoming: Incoming, #[case] expected: Option<Kind>) {
        assert_eq!(frame(incoming, Streams::ALL).map(|frame| frame.kind), expected);
    }

    #[test]
    fn input_that_was_not_asked_for_is_dropped() {
        let none = Streams { stdin: false, ..Streams::ALL };
        assert_eq!(frame(Incoming::Bytes(0, Bytes::from_static(b"x")), none), None);
        assert_eq!(frame(Incoming::Ended(0), none), None);
    }
}
