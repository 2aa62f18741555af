//! What a command writes, as far as it is kept.

use std::collections::VecDeque;

/// More than this before the first line's end is no announcement of a process.
const LONGEST_ANNOUNCEMENT: usize = 32;

/// The end of a stream of bytes.
pub(super) struct Tail {
    limit: usize,
    kept: VecDeque<u8>,
    is_cut: bool,
}

impl Tail {
    /// Keeps this many bytes: the last ones.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, kept: VecDeque::new(), is_cut: false }
    }

    /// Takes in more.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let skipped = bytes.len().saturating_sub(self.limit);
        let wanted = bytes.get(skipped..).unwrap_or_default();
        let surplus = (self.kept.len() + wanted.len()).saturating_sub(self.limit);
        self.is_cut |= skipped > 0 || surplus > 0;
        self.kept.drain(..surplus.min(self.kept.len()));
        self.kept.extend(wanted);
    }

    /// What was kept, as text. Half a character at the cut is left out.
    pub(super) fn text(&self) -> String {
        let is_continuation = |byte: &&u8| **byte & 0b1100_0000 == 0b1000_0000;
        let torn = if self.is_cut { self.kept.iter().take(3).take_while(is_continuation).count() } else { 0 };
        let bytes: Vec<u8> = self.kept.iter().skip(torn).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Both outputs of a command, and the announcement of its process, which is the first line of its
/// standard error.
pub(super) struct Output {
    /// Standard output.
    pub(super) stdout: Tail,
    /// Standard error after the announcement.
    pub(super) stderr: Tail,
    head: Vec<u8>,
    is_announced: bool,
}

impl Output {
    /// Keeps this many bytes of each.
    pub(super) fn new(limit: usize) -> Self {
        Self { stdout: Tail::new(limit), stderr: Tail::new(limit), head: Vec::new(), is_announced: false }
    }

    /// Takes in more of the standard error.
    pub(super) fn push_stderr(&mut self, bytes: &[u8]) {
        if self.is_announced {
            return self.stderr.push(bytes);
        }
        self.head.extend_from_slice(bytes);
        match self.head.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                let rest = self.head.split_off(end + 1);
                self.is_announced = true;
                self.stderr.push(&rest);
            }
            None => self.is_announced = self.head.len() > LONGEST_ANNOUNCEMENT,
        }
    }

    /// The process in the container, if it came to announcing itself.
    pub(super) fn process(&self) -> Option<String> {
        let line = std::str::from_utf8(&self.head).ok()?.trim();
        let is_number = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit());
        (self.is_announced && is_number && line != "0" && line != "1").then(|| line.to_owned())
    }

    /// What stood in the place of the announcement.
    pub(super) fn head(&self) -> String {
        String::from_utf8_lossy(&self.head).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_last_bytes_are_kept(
            chunks in proptest::collection::vec("[a-z]{0,12}", 0..20),
            limit in 0usize..40,
        ) {
            let mut tail = Tail::new(limit);
            chunks.iter().for_each(|chunk| tail.push(chunk.as_bytes()));
            let whole = chunks.concat();
            prop_assert_eq!(tail.text(), &whole[whole.len().saturating_sub(limit)..]);
        }

        #[test]
        fn the_announcement_is_read_however_it_is_cut(cut in 0usize..=12) {
            let mut output = Output::new(100);
            let (first, second) = b"4711\nan error".split_at(cut);
            output.push_stderr(first);
            output.push_stderr(second);
            prop_assert_eq!(output.process(), Some("4711".to_owned()));
            prop_assert_eq!(output.stderr.text(), "an error");
        }
    }

    #[test]
    fn a_torn_character_is_left_out() {
        let mut tail = Tail::new(4);
        tail.push("aé€".as_bytes());
        assert_eq!(tail.text(), "€");
    }

    #[test]
    fn other_first_lines_announce_nothing() {
        for text in ["sh: not found\n", "1\n", "0\n", "\n", "12"] {
            let mut output = Output::new(100);
            output.push_stderr(text.as_bytes());
            assert_eq!(output.process(), None, "{text:?}");
        }
    }
}
