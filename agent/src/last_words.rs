//! What a process says on its error output: passed on to ours, and its last line kept.

use std::{
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd},
    process::ChildStderr,
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Most bytes that are kept.
const KEPT: usize = 1 << 10;

/// The error output of one process.
#[derive(Debug)]
pub struct LastWords {
    pipe: ChildStderr,
    open: bool,
    tail: Vec<u8>,
}

impl LastWords {
    /// Nothing heard yet. From now on reading never waits.
    pub fn of(pipe: ChildStderr) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&pipe, FcntlArg::F_GETFL)?);
        fcntl(&pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Self { pipe, open: true, tail: Vec::new() })
    }

    /// What to wait on until there is more to hear; absent: there will be no more.
    pub fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.open.then(|| self.pipe.as_fd())
    }

    /// Passes on what was said since.
    pub fn listen(&mut self) {
        let mut part = [0; 4096];
        while self.open {
            match self.pipe.read(&mut part) {
                Ok(0) => self.open = false,
                Ok(length) => {
                    let _ = io::stderr().write_all(&part[..length]);
                    self.hear(&part[..length]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.open = false,
            }
        }
    }

    fn hear(&mut self, part: &[u8]) {
        self.tail.extend_from_slice(part);
        self.tail.drain(..self.tail.len().saturating_sub(KEPT));
    }

    /// The last line with anything in it.
    pub fn last_line(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.tail);
        text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rstest::rstest;

    use super::*;

    fn words_of(script: &str) -> LastWords {
        let mut child = Command::new("sh").args(["-c", script]).stderr(Stdio::piped()).spawn().unwrap();
        let mut words = LastWords::of(child.stderr.take().unwrap()).unwrap();
        child.wait().unwrap();
        words.listen();
        words
    }

    #[rstest]
    #[case::silent("", None)]
    #[case::lines("echo first >&2; echo 'second line' >&2; echo >&2", Some("second line"))]
    #[case::half_a_line("printf half >&2", Some("half"))]
    fn the_last_line_is_kept(#[case] script: &str, #[case] expected: Option<&str>) {
        let words = words_of(script);
        assert_eq!(words.last_line().as_deref(), expected);
        assert!(words.pipe().is_none(), "it ended");
    }

    #[test]
    fn a_process_that_talks_on_and_on_is_not_kept_whole() {
        let words = words_of("head -c 50000 /dev/zero | tr '\\0' x >&2; echo end >&2");
        assert!(words.tail.len() <= KEPT);
        assert!(words.last_line().unwrap().ends_with("xend"));
    }
}
