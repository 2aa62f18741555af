//! WebSockets: after both ends have agreed, bytes in both directions.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    lane::{Place, Pulse},
    metrics::PreviewMetrics,
    stay::Stay,
};

const BUFFER: usize = 16 << 10;

/// Passes bytes on until one end closes, or until it may not stay open any longer.
pub async fn pass(
    client: OnUpgrade,
    dev_server: OnUpgrade,
    place: Place,
    metrics: Arc<PreviewMetrics>,
    stay: Stay,
) {
    let (client, dev_server) = match tokio::try_join!(client, dev_server) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "a WebSocket was not opened");
            return;
        }
    };
    let _open = metrics.websocket_opened();
    let mut client = Watched { io: TokioIo::new(client), pulse: place.pulse() };
    let mut dev_server = TokioIo::new(dev_server);
    let passing = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut dev_server, BUFFER, BUFFER);
    tokio::select! {
        // Either end may hang up as it likes.
        _ = passing => {}
        () = stay.ended() => {}
    }
}

/// A client whose bytes are noticed.
struct Watched {
    io: TokioIo<Upgraded>,
    pulse: Arc<Pulse>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        self.pulse.touch();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(context, bytes))?;
        self.pulse.touch();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
