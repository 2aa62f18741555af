//! The end of a terminal's output, by byte offsets.

use std::collections::VecDeque;

use bytes::Bytes;

/// Keeps the last bytes of a stream.
#[derive(Debug)]
pub struct Ring {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// Offset of the first byte that is kept.
    start: u64,
}

/// What a ring has from some offset on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reading {
    /// These bytes.
    Bytes(Bytes),
    /// Nothing yet.
    Nothing,
    /// They are no longer kept; from this offset on they are.
    Dropped(u64),
}

impl Ring {
    /// Keeps this many bytes.
    pub fn new(capacity: usize) -> Self {
        Self { bytes: VecDeque::new(), capacity, start: 0 }
    }

    /// Takes more bytes, and drops the oldest.
    pub fn push(&mut self, bytes: &[u8]) {
        let end = self.end() + bytes.len() as u64;
        let kept = &bytes[bytes.len().saturating_sub(self.capacity)..];
        let surplus = (self.bytes.len() + kept.len()).saturating_sub(self.capacity);
        self.bytes.drain(..surplus);
        self.bytes.extend(kept);
        self.start = end - self.bytes.len() as u64;
    }

    /// Offset of the first byte that is kept.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Offset behind the last byte.
    pub fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// What there is from this offset on, up to this many bytes.
    pub fn read(&self, offset: u64, most: usize) -> Reading {
        if offset < self.start {
            return Reading::Dropped(self.start);
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        if from >= self.bytes.len() {
            return Reading::Nothing;
        }
        let to = self.bytes.len().min(from.saturating_add(most));
        let (first, second) = self.bytes.as_slices();
        let first_part = &first[from.min(first.len())..to.min(first.len())];
        let second_part = &second[from.saturating_sub(first.len())..to.saturating_sub(first.len())];
        Reading::Bytes([first_part, second_part].concat().into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_ring_is_the_end_of_what_was_pushed(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 0..20),
            capacity in 1_usize..40,
            offset in 0_u64..300,
            most in 1_usize..50,
        ) {
            let mut ring = Ring::new(capacity);
            for part in &parts {
                ring.push(part);
            }
            let all = parts.concat();
            let start = all.len().saturating_sub(capacity);
            prop_assert_eq!((ring.start(), ring.end()), (start as u64, all.len() as u64));
            let from = usize::try_from(offset).unwrap();
            let expected = if from < start {
                Reading::Dropped(start as u64)
            } else if from >= all.len() {
                Reading::Nothing
            } else {
                Reading::Bytes(all[from..all.len().min(from + most)].to_vec().into())
            };
            prop_assert_eq!(ring.read(offset, most), expected);
        }
    }
}
