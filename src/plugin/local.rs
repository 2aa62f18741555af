//! The terminal and the streams of this machine.

use std::io::{IsTerminal, Read, Write};

use berth_link::wire::terminal::Size;
use bytes::Bytes;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

use super::exit::{Failure, Kind};

/// The terminal of this machine, passing every key on as it is. It is put back when this is
/// dropped.
pub struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Takes it; there has to be one.
    pub fn take() -> Result<Self, Failure> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return Err(Failure::usage("standard input is no terminal")
                .hint("Without a terminal, use kubectl berth exec WORKSPACE -i -- COMMAND."));
        }
        let before = tcgetattr(&input).map_err(std::io::Error::from)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&input, OptionalActions::Now, &raw).map_err(std::io::Error::from)?;
        Ok(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.before);
    }
}

/// The size of this machine's terminal.
pub fn size() -> Size {
    tcgetwinsize(std::io::stdout())
        .ok()
        .filter(|size| size.ws_col > 0 && size.ws_row > 0)
        .map_or_else(Size::default, |size| Size { cols: size.ws_col, rows: size.ws_row })
}

/// Standard input, piece by piece; it ends where standard input ends.
pub fn input() -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(8);
    // A thread of its own: a read of standard input can not be ended, and ends with the process.
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut buffer = vec![0; 16 << 10];
        while let Ok(length @ 1..) = input.read(&mut buffer) {
            if sender.blocking_send(Bytes::copy_from_slice(&buffer[..length])).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Writes bytes to standard output at once. Where nobody reads it any more, that ends the command
/// without a word, as it does others: `kubectl berth ps a | head -1`.
pub fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    output.write_all(bytes).and_then(|()| output.flush()).map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::new(Kind::Closed, "nobody reads the output"),
        _ => error.into(),
    })
}

/// Writes a line to standard output.
pub fn line(text: &str) -> Result<(), Failure> {
    print(format!("{text}\n").as_bytes())
}

/// Writes a document to standard output.
pub fn json(document: &impl serde::Serialize) -> Result<(), Failure> {
    line(&serde_json::to_string_pretty(document)?)
}

/// Writes bytes to standard error at once. That nobody reads it ends nothing.
pub fn print_error(bytes: &[u8]) {
    let mut output = std::io::stderr().lock();
    let _ = output.write_all(bytes).and_then(|()| output.flush());
}

/// Writes a line to standard error.
pub fn note(text: &str) {
    print_error(format!("{text}\n").as_bytes());
}
