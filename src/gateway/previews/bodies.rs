//! Bodies on their way through.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::{
    lane::{Place, Pulse},
    refusal::Refusal,
};

/// When an upload last got on.
pub struct Progress {
    began: Instant,
    last: AtomicU64,
}

impl Progress {
    /// Begins now.
    pub fn begin() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), last: AtomicU64::new(0) })
    }

    fn note(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Waits for an answer for so long after the upload last got on.
    pub async fn answer_within<T>(
        &self,
        limit: Duration,
        answer: impl Future<Output = T>,
    ) -> Result<T, Refusal> {
        let mut answer = std::pin::pin!(answer);
        loop {
            let deadline = self.began + Duration::from_millis(self.last.load(Ordering::Relaxed)) + limit;
            if let Ok(answer) = tokio::time::timeout_at(deadline, answer.as_mut()).await {
                return Ok(answer);
            }
            let last = self.began + Duration::from_millis(self.last.load(Ordering::Relaxed));
            if last + limit <= Instant::now() {
                return Err(Refusal::TimedOut);
            }
        }
    }
}

/// What a client sends.
pub struct Upload {
    body: Body,
    watch: Option<(Arc<Pulse>, Arc<Progress>)>,
}

impl Upload {
    /// Nothing.
    pub fn empty() -> Self {
        Self { body: Body::empty(), watch: None }
    }

    /// The body of a request.
    pub fn new(body: Body, pulse: Arc<Pulse>, progress: Arc<Progress>) -> Self {
        Self { body, watch: Some((pulse, progress)) }
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let (Some((pulse, progress)), Some(Ok(_))) = (&self.watch, &frame) {
            pulse.touch();
            progress.note();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What a dev server answers. The request has its place until the end of it.
pub struct Download {
    body: Incoming,
    place: Place,
}

impl Download {
    /// The body of an answer.
    pub fn new(body: Incoming, place: Place) -> Self {
        Self { body, place }
    }
}

impl HttpBody for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(_)) = &frame {
            self.place.touch();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
