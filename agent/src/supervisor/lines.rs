//! Lines of output: put together from bytes, written down with their time, and read again.

use bytes::BytesMut;
use jiff::Timestamp;

/// A line is cut here.
pub const LONGEST_LINE: usize = 16 << 10;
const CUT: &str = " [cut]";

/// Where a line comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// The process's standard output.
    Stdout,
    /// The process's standard error.
    Stderr,
    /// The supervisor.
    Monitor,
}

impl Source {
    const ALL: [Self; 3] = [Self::Stdout, Self::Stderr, Self::Monitor];

    fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Monitor => "monitor",
        }
    }
}

/// One line, without its end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// When it came.
    pub at: Timestamp,
    /// Where it comes from.
    pub source: Source,
    /// What it says.
    pub text: String,
}

impl Line {
    /// Writes it down: `[time] [source] text`.
    pub fn write(&self, buffer: &mut Vec<u8>) {
        buffer.extend(format!("[{:.3}] [{}] ", self.at, self.source.as_str()).as_bytes());
        buffer.extend(self.text.as_bytes());
        buffer.push(b'\n');
    }
}

/// What a written line says, without time and source.
pub fn text_of(written: &[u8]) -> &[u8] {
    let Some(end) = written.iter().take(40).position(|byte| *byte == b']') else { return written };
    let rest = &written[end + 1..];
    Source::ALL
        .into_iter()
        .find_map(|source| rest.strip_prefix(format!(" [{}] ", source.as_str()).as_bytes()))
        .filter(|_| written.starts_with(b"["))
        .unwrap_or(written)
}

/// Puts lines together from bytes as they come. It holds one line at most.
#[derive(Debug, Default)]
pub struct Splitter {
    line: BytesMut,
    cut: bool,
}

impl Splitter {
    /// Takes more bytes, and gives the lines that are whole by now.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut whole = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let content = part.strip_suffix(b"\n").unwrap_or(part);
            let room = LONGEST_LINE - self.line.len();
            self.line.extend_from_slice(&content[..content.len().min(room)]);
            self.cut |= content.len() > room;
            if content.len() < part.len() {
                whole.push(self.take());
            }
        }
        whole
    }

    /// What is left when no more bytes come.
    pub fn finish(&mut self) -> Option<String> {
        if self.line.is_empty() { None } else { Some(self.take()) }
    }

    fn take(&mut self) -> String {
        let line = self.line.split();
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        let mut text = String::from_utf8_lossy(line).into_owned();
        if std::mem::take(&mut self.cut) {
            text.push_str(CUT);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    proptest! {
        #[test]
        fn lines_survive_any_cutting(lines in proptest::collection::vec("[a-zü ]{0,40}", 0..20), step in 1_usize..30) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let mut splitter = Splitter::default();
            let seen: Vec<_> = text.as_bytes().chunks(step).flat_map(|part| splitter.push(part)).collect();
            prop_assert_eq!(seen, lines);
            prop_assert_eq!(splitter.finish(), None);
        }

        #[test]
        fn what_is_written_down_is_read_again(text in "[^\n]{0,80}") {
            let line = Line { at: Timestamp::UNIX_EPOCH, source: Source::Stderr, text: text.clone() };
            let mut written = Vec::new();
            line.write(&mut written);
            prop_assert_eq!(text_of(&written[..written.len() - 1]), text.as_bytes());
        }
    }

    #[rstest]
    #[case("[2026-01-02T03:04:05.678Z] [monitor] started", "started")]
    #[case("[x] [stdout] ", "")]
    #[case("half of a line", "half of a line")]
    #[case("2026] [stdout] no beginning", "2026] [stdout] no beginning")]
    #[case("[2026] [other] text", "[2026] [other] text")]
    #[case("", "")]
    fn only_time_and_source_are_taken_away(#[case] written: &str, #[case] text: &str) {
        assert_eq!(text_of(written.as_bytes()), text.as_bytes());
    }

    #[test]
    fn a_line_without_an_end_does_not_grow() {
        let mut splitter = Splitter::default();
        for _ in 0..1000 {
            assert_eq!(splitter.push(&[b'x'; 1000]), Vec::<String>::new());
        }
        assert_eq!(splitter.line.len(), LONGEST_LINE);
        assert_eq!(splitter.push(b"\nnext\r\n"), ["x".repeat(LONGEST_LINE) + CUT, "next".to_owned()]);
    }
}
