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
    stay::Stay,
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
/// It is cut where the visitor may stay no longer.
pub struct Download {
    body: Incoming,
    place: Place,
    end: End,
}

/// When a download is cut. Most are over before it has to be looked for.
enum End {
    Later(Option<Stay>, Instant),
    Watched(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl End {
    /// Whether it has come.
    fn poll(&mut self, context: &mut Context<'_>, waits: bool) -> Poll<()> {
        match self {
            Self::Watched(end) => end.as_mut().poll(context),
            Self::Later(stay, began) => {
                let long = stay.as_ref().is_some_and(|stay| began.elapsed() >= stay.look_every);
                let Some(stay) = stay.take_if(|_| waits || long) else { return Poll::Pending };
                let mut end: Pin<Box<dyn Future<Output = ()> + Send>> =
                    Box::pin(async move { stay.ended().await });
                let ended = end.as_mut().poll(context);
                *self = Self::Watched(end);
                ended
            }
        }
    }
}

impl Download {
    /// The body of an answer.
    pub fn new(body: Incoming, place: Place, stay: Stay) -> Self {
        Self { body, place, end: End::Later(Some(stay), Instant::now()) }
    }
}

impl HttpBody for Download {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if self.end.poll(context, frame.is_pending()).is_ready() {
            return Poll::Ready(Some(Err("the preview has ended".into())));
        }
        if let Poll::Ready(Some(Ok(_))) = &frame {
            self.place.touch();
        }
        frame.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
