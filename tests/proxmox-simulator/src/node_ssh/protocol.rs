//! What `pct` and the simulator say to each other over a command's socket: a request in one line of
//! JSON with the input behind it, and frames of outputs that end with the exit code.

use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The variable with the socket's path.
pub(super) const SOCKET: &str = "PROXMOX_SIMULATOR_SOCKET";
/// No frame is longer.
const LONGEST: u32 = 1 << 20;

/// What `pct` is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "command")]
pub(super) enum Request {
    /// `pct exec`
    Exec { vmid: u32, argv: Vec<String> },
    /// `pct status`
    Status { vmid: u32 },
    /// `pct config`
    Config { vmid: u32 },
    /// `pct unlock`
    Unlock { vmid: u32 },
}

/// A piece of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// For the standard output.
    Stdout(Bytes),
    /// For the standard error.
    Stderr(Bytes),
    /// The end, with the exit code.
    Exit(i32),
}

impl Frame {
    /// Writes one.
    pub(super) async fn write(&self, mut stream: impl AsyncWrite + Unpin) -> io::Result<()> {
        let code;
        let (kind, content): (u8, &[u8]) = match self {
            Self::Stdout(bytes) => (1, bytes),
            Self::Stderr(bytes) => (2, bytes),
            Self::Exit(exit) => {
                code = exit.to_be_bytes();
                (3, &code)
            }
        };
        // An empty piece would be one too many; a long one becomes several.
        for part in content.chunks(LONGEST as usize) {
            stream.write_u8(kind).await?;
            stream.write_u32(part.len() as u32).await?;
            stream.write_all(part).await?;
        }
        stream.flush().await
    }

    /// Reads one.
    pub(super) async fn read(mut stream: impl AsyncRead + Unpin) -> io::Result<Self> {
        let kind = stream.read_u8().await?;
        let length = stream.read_u32().await?;
        if length > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut content = vec![0; length as usize];
        stream.read_exact(&mut content).await?;
        match (kind, <[u8; 4]>::try_from(content.as_slice())) {
            (1, _) => Ok(Self::Stdout(content.into())),
            (2, _) => Ok(Self::Stderr(content.into())),
            (3, Ok(code)) => Ok(Self::Exit(i32::from_be_bytes(code))),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::output(Frame::Stdout("text".into()))]
    #[case::errors(Frame::Stderr("text".into()))]
    #[case::the_end(Frame::Exit(-1))]
    #[tokio::test]
    async fn a_frame_is_read_as_it_was_written(#[case] frame: Frame) {
        let mut wire = Vec::new();
        frame.write(&mut wire).await.unwrap();
        assert_eq!(Frame::read(&*wire).await.unwrap(), frame);
    }

    #[rstest]
    #[case::too_long(&[1, 255, 255, 255, 255])]
    #[case::unknown(&[9, 0, 0, 0, 0])]
    #[case::no_code(&[3, 0, 0, 0, 1, 0])]
    #[case::cut(&[1, 0, 0, 0, 5, 0])]
    #[tokio::test]
    async fn anything_else_is_refused(#[case] wire: &[u8]) {
        assert!(Frame::read(wire).await.is_err());
    }
}
