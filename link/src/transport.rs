//! A WebSocket as a stream of bytes, and the HTTP/2 settings of both ends.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use futures::{Sink, Stream};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message, protocol::WebSocketConfig},
};

/// How much one stream may have in flight.
pub const STREAM_WINDOW: u32 = 512 << 10;
/// Streams of one link at a time.
pub const MAX_STREAMS: u32 = 128;
/// How much all streams of a link may have in flight together: so much that streams which nobody
/// reads, however many, never keep another one waiting.
pub const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_STREAMS;
/// Largest frame of HTTP/2.
const FRAME_SIZE: u32 = 64 << 10;
/// Most bytes of headers that one end takes from the other.
const MAX_HEADERS: u32 = 16 << 10;
/// Time between two looks whether the other end is still there.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Time that the other end has to answer such a look.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(15);
/// Written bytes go out together once there are this many, or when they are flushed.
const COALESCE: usize = 64 << 10;
/// Most bytes that are read from the connection at once. Every link keeps a buffer of this size,
/// idle or not, and a gateway has thousands.
const READ_BUFFER: usize = 32 << 10;

/// Limits of the WebSocket itself.
pub fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(1 << 20))
        .max_frame_size(Some(1 << 20))
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(4 << 20)
}

/// The gateway's end of HTTP/2.
pub fn client() -> hyper::client::conn::http2::Builder<TokioExecutor> {
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_SIZE)
        .max_header_list_size(MAX_HEADERS)
        .max_concurrent_reset_streams(64)
        .max_send_buf_size(256 << 10)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    builder
}

/// The agent's end of HTTP/2.
pub fn server() -> hyper::server::conn::http2::Builder<TokioExecutor> {
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_frame_size(FRAME_SIZE)
        .max_header_list_size(MAX_HEADERS)
        .max_send_buf_size(256 << 10)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    builder
}

/// A WebSocket of binary messages as a stream of bytes. What is written is gathered until it is
/// flushed, so that the many small writes of HTTP/2 become few messages.
#[derive(Debug)]
pub struct ByteStream<S> {
    socket: WebSocketStream<S>,
    unread: Bytes,
    unsent: BytesMut,
}

impl<S> ByteStream<S> {
    /// Takes an open WebSocket.
    pub fn new(socket: WebSocketStream<S>) -> Self {
        Self { socket, unread: Bytes::new(), unsent: BytesMut::new() }
    }
}

fn broken(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            io::ErrorKind::BrokenPipe.into()
        }
        error => io::Error::other(error),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ByteStream<S> {
    /// Hands over what was gathered.
    fn poll_send(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unsent.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let mut socket = Pin::new(&mut self.socket);
        ready!(socket.as_mut().poll_ready(task)).map_err(broken)?;
        let message = Message::Binary(self.unsent.split().freeze());
        Poll::Ready(socket.start_send(message).map_err(broken))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ByteStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.unread.is_empty() {
                let length = self.unread.len().min(buffer.remaining());
                buffer.put_slice(&self.unread[..length]);
                self.unread.advance(length);
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.socket).poll_next(task)) {
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Ok(Message::Text(_))) => {
                    return Poll::Ready(Err(io::Error::other("a text message, where only bytes belong")));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ByteStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.unsent.len() >= COALESCE {
            ready!(self.poll_send(task))?;
        }
        let length = bytes.len().min(COALESCE);
        self.unsent.extend_from_slice(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(task))?;
        Pin::new(&mut self.socket).poll_flush(task).map_err(broken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(task))?;
        match ready!(Pin::new(&mut self.socket).poll_close(task)) {
            Ok(()) | Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => {
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(broken(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    async fn pair() -> (ByteStream<tokio::io::DuplexStream>, ByteStream<tokio::io::DuplexStream>) {
        let (one, other) = tokio::io::duplex(8 << 10);
        let config = Some(websocket_config());
        let client = WebSocketStream::from_raw_socket(one, Role::Client, config).await;
        let server = WebSocketStream::from_raw_socket(other, Role::Server, config).await;
        (ByteStream::new(client), ByteStream::new(server))
    }

    #[tokio::test]
    async fn bytes_arrive_whole_and_in_order() {
        let (mut one, mut other) = pair().await;
        let sent: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move {
            for part in sent.chunks(70_001) {
                one.write_all(part).await.unwrap();
            }
            one.shutdown().await.unwrap();
        });
        let mut seen = Vec::new();
        other.read_to_end(&mut seen).await.unwrap();
        writer.await.unwrap();
        assert!(seen == expected, "{} of {} bytes", seen.len(), expected.len());
    }

    #[tokio::test]
    async fn a_flush_sends_what_was_written() {
        let (mut one, mut other) = pair().await;
        one.write_all(b"hello").await.unwrap();
        one.flush().await.unwrap();
        let mut seen = [0; 5];
        other.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"hello");
    }
}
