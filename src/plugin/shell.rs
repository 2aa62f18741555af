//! `shell`: a named terminal of a workspace. It stays there when the connection breaks; we come
//! back to it at the byte where we were, so that nothing is lost or shown twice.

use std::time::Duration;

use berth_link::wire::terminal::Position;
use bytes::Bytes;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::sleep,
};

use super::{
    arguments::Shelling,
    channels,
    client::{Cluster, Subresources},
    ending::{self, Ending},
    exec,
    exit::{Failure, Kind},
    local,
};

/// Ctrl-], which leaves the terminal when it is pressed three times in a row.
const LEAVE: u8 = 0x1d;
const LEAVES: u8 = 3;
/// Ctrl-C, which gives up coming back.
const INTERRUPT: u8 = 0x03;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How a connection to a terminal ended.
enum Parted {
    /// Its shell ended.
    Exited(u8),
    /// The user left; the terminal stays.
    Left,
    /// The connection broke.
    Broken,
}

/// Opens it; gives the exit code of its shell.
pub async fn run(cluster: &Cluster, wanted: &Shelling) -> Result<u8, Failure> {
    let workspace = cluster.workspace(&wanted.workspace);
    if wanted.new {
        return exec::login_shell(&workspace).await;
    }
    let raw = local::RawTerminal::take()?;
    let mut viewer = Viewer {
        workspace,
        terminal: &wanted.terminal,
        position: None,
        leaving: Leaving::default(),
        input: local::input(),
        resized: signal(SignalKind::window_change())?,
    };
    let parted = viewer.stay().await;
    drop(raw);
    match parted? {
        Parted::Exited(code) => Ok(code),
        Parted::Left | Parted::Broken => {
            local::note(&format!(
                "\nThe terminal {:?} goes on; kubectl berth shell joins it again.",
                wanted.terminal
            ));
            Ok(0)
        }
    }
}

/// Somebody in front of a terminal.
struct Viewer<'a> {
    workspace: Subresources<'a>,
    terminal: &'a str,
    /// Which terminal this is, and how much of its output was shown.
    position: Option<Position>,
    leaving: Leaving,
    input: mpsc::Receiver<Bytes>,
    resized: Signal,
}

impl Viewer<'_> {
    /// Stays with the terminal over broken connections.
    async fn stay(&mut self) -> Result<Parted, Failure> {
        let mut pause = FIRST_PAUSE;
        let mut joined = false;
        loop {
            match self.join(&mut joined).await {
                Ok(Parted::Broken) => pause = FIRST_PAUSE,
                Ok(parted) => return Ok(parted),
                Err(failure) if joined && may_pass(&failure) => pause = (pause * 2).min(LONGEST_PAUSE),
                Err(failure) => return Err(failure),
            }
            local::print_error(b"\r\n[the connection broke; coming back, Ctrl-C gives up]\r\n");
            if self.gives_up_within(pause).await {
                return Ok(Parted::Left);
            }
        }
    }

    /// Whether the user gives up during a pause. Other keys are dropped: nobody sees them.
    async fn gives_up_within(&mut self, pause: Duration) -> bool {
        let gives_up = async {
            while let Some(bytes) = self.input.recv().await {
                if bytes.contains(&INTERRUPT) {
                    return;
                }
            }
        };
        tokio::time::timeout(pause, gives_up).await.is_ok()
    }

    /// One connection to the terminal.
    async fn join(&mut self, joined: &mut bool) -> Result<Parted, Failure> {
        let query = self.query();
        let (mut sender, mut receiver) = channels::open(&self.workspace, "attach", &query).await?;
        *joined = true;
        loop {
            tokio::select! {
                message = receiver.next() => match message {
                    Some((channels::STDOUT, bytes)) => {
                        local::print(&bytes)?;
                        if let Some(position) = &mut self.position {
                            position.offset += bytes.len() as u64;
                        }
                    }
                    Some((channels::POSITION, bytes)) => {
                        self.position = serde_json::from_slice(&bytes).ok();
                    }
                    Some((channels::STATUS, bytes)) => match ending::of(&bytes, &self.workspace.subject) {
                        Ending::Exited(code) => return Ok(Parted::Exited(code)),
                        Ending::Broken(_) => return Ok(Parted::Broken),
                        Ending::Refused(failure) => return Err(failure),
                    },
                    Some(_) => {}
                    None => return Ok(Parted::Broken),
                },
                bytes = self.input.recv() => {
                    let Some(bytes) = bytes else { return Ok(Parted::Left) };
                    if self.leaving.typed(&bytes) {
                        return Ok(Parted::Left);
                    }
                    if sender.send(channels::STDIN, &bytes).await.is_err() {
                        return Ok(Parted::Broken);
                    }
                }
                _ = self.resized.recv() => {
                    if sender.resize(local::size()).await.is_err() {
                        return Ok(Parted::Broken);
                    }
                }
                () = sleep(Duration::from_secs(30)) => {
                    // A way that is gone without a word shows when something is sent.
                    if sender.resize(local::size()).await.is_err() {
                        return Ok(Parted::Broken);
                    }
                }
            }
        }
    }

    fn query(&self) -> Vec<(&'static str, String)> {
        let size = local::size();
        let mut query = vec![
            ("terminal", self.terminal.to_owned()),
            ("cols", size.cols.to_string()),
            ("rows", size.rows.to_string()),
        ];
        if let Some(position) = &self.position {
            query.push(("since", position.offset.to_string()));
            query.push(("id", position.terminal.clone()));
        }
        query
    }
}

/// Whether a refusal on the way back may pass by itself.
fn may_pass(failure: &Failure) -> bool {
    match failure.kind {
        Kind::Failed => true,
        Kind::NotReady => !failure.hint.as_deref().unwrap_or_default().contains("resume"),
        Kind::Usage | Kind::NotFound | Kind::Forbidden | Kind::Closed => false,
    }
}

/// Counts the keys that leave a terminal.
#[derive(Default)]
struct Leaving {
    pressed: u8,
}

impl Leaving {
    /// Whether the user leaves with these keys.
    fn typed(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().any(|byte| {
            self.pressed = if *byte == LEAVE { self.pressed + 1 } else { 0 };
            self.pressed >= LEAVES
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&["\x1d\x1d\x1d"], true)]
    #[case(&["a\x1d", "\x1d", "\x1db"], true)]
    #[case(&["\x1d\x1d", "a", "\x1d"], false)]
    #[case(&["abc"], false)]
    fn three_in_a_row_leave(#[case] pieces: &[&str], #[case] expected: bool) {
        let mut leaving = Leaving::default();
        assert_eq!(pieces.iter().any(|piece| leaving.typed(piece.as_bytes())), expected);
    }

    #[test]
    fn a_suspended_workspace_is_not_come_back_to() {
        let suspended = Failure::new(Kind::NotReady, "x").hint("kubectl berth resume a");
        assert!(!may_pass(&suspended));
        assert!(may_pass(&Failure::new(Kind::NotReady, "x")));
    }
}
