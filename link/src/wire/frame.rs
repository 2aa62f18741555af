//! Frames of a stream that carries more than bytes: a streaming command, a terminal.
//!
//! One byte for the kind, four for the length of the payload, most significant first, then the
//! payload: at most [`MAX_PAYLOAD`] bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};

/// The longest payload that is taken.
pub const MAX_PAYLOAD: usize = 1 << 20;
const HEADER: usize = 5;

/// What a frame is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Kind {
    /// Towards the agent: bytes of standard input.
    Stdin = 0,
    /// From the agent: bytes of standard output, or of a terminal.
    Stdout = 1,
    /// From the agent: bytes of standard error.
    Stderr = 2,
    /// From the agent, last: an [`super::exec::Ended`].
    Ended = 3,
    /// Towards the agent: a [`super::terminal::Size`].
    Resize = 4,
    /// Towards the agent: standard input is at its end.
    StdinClosed = 5,
    /// Towards the agent, first: an [`super::exec::ExecStart`].
    Start = 6,
    /// From the agent: a [`super::terminal::Position`].
    Position = 7,
    /// From the agent, last: an [`super::AgentProblem`].
    Problem = 8,
}

impl TryFrom<u8> for Kind {
    type Error = FrameError;

    fn try_from(byte: u8) -> Result<Self, Self::Error> {
        Ok(match byte {
            0 => Self::Stdin,
            1 => Self::Stdout,
            2 => Self::Stderr,
            3 => Self::Ended,
            4 => Self::Resize,
            5 => Self::StdinClosed,
            6 => Self::Start,
            7 => Self::Position,
            8 => Self::Problem,
            other => return Err(FrameError::UnknownKind(other)),
        })
    }
}

/// Why bytes are no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A kind that nobody knows.
    #[error("frame of unknown kind {0}")]
    UnknownKind(u8),
    /// Too much.
    #[error("frame of {0} bytes; at most {MAX_PAYLOAD} are allowed")]
    TooLong(usize),
    /// The payload is not what the kind says.
    #[error("frame with a payload that can not be read: {0}")]
    Payload(#[from] serde_json::Error),
}

/// One frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// What it carries.
    pub payload: Bytes,
}

impl Frame {
    /// A frame of bytes, at most [`MAX_PAYLOAD`] of them.
    pub fn bytes(kind: Kind, payload: impl Into<Bytes>) -> Self {
        Self { kind, payload: payload.into() }
    }

    /// A frame with a value as JSON.
    pub fn json<T: Serialize>(kind: Kind, value: &T) -> Result<Self, FrameError> {
        Ok(Self { kind, payload: serde_json::to_vec(value)?.into() })
    }

    /// The value in the frame.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        Ok(serde_json::from_slice(&self.payload)?)
    }

    /// The frame as it goes over the wire.
    pub fn encode(&self) -> Bytes {
        let mut wire = BytesMut::with_capacity(HEADER + self.payload.len());
        wire.put_u8(self.kind as u8);
        wire.put_u32(u32::try_from(self.payload.len()).unwrap_or(u32::MAX));
        wire.put_slice(&self.payload);
        wire.freeze()
    }
}

/// Puts frames together from bytes as they come.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Takes more bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let [kind, length @ ..] = match self.buffer.first_chunk::<HEADER>() {
            Some(header) => *header,
            None => return Ok(None),
        };
        let kind = Kind::try_from(kind)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > MAX_PAYLOAD {
            return Err(FrameError::TooLong(length));
        }
        if self.buffer.len() < HEADER + length {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        Ok(Some(Frame { kind, payload: self.buffer.split_to(length).freeze() }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
            step in 1_usize..40,
        ) {
            let frames: Vec<_> =
                payloads.into_iter().map(|payload| Frame::bytes(Kind::Stdout, payload)).collect();
            let wire: Vec<u8> = frames.iter().flat_map(|frame| frame.encode().to_vec()).collect();
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for part in wire.chunks(step) {
                decoder.push(part);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            prop_assert_eq!(seen, frames);
        }

        #[test]
        fn nonsense_is_refused_or_waited_for(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next_frame() {}
        }
    }

    #[test]
    fn too_long_a_frame_is_refused_before_it_is_read() {
        let mut decoder = Decoder::default();
        decoder.push(&[1, 0, 16, 0, 1]);
        assert!(matches!(decoder.next_frame(), Err(FrameError::TooLong(1_048_577))));
    }
}
