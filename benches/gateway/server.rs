//! The small HTTP server that is measured through the preview and beside it. It is this program
//! itself, copied into the workspace: so it is as fast as one written in Rust is, and the image
//! needs nothing. For that, image and machine must have the same C library.

use std::{convert::Infallible, net::Ipv4Addr};

use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Response, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Bytes of `/large`.
pub const LARGE: usize = 1 << 30;
/// They are written in parts of so many bytes.
const PART: usize = 64 << 10;

/// Serves on all addresses, so that it can be reached at the container's too.
pub async fn serve(port: u16) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.expect("the port is taken");
    loop {
        let (stream, _) = listener.accept().await.expect("no connection can be taken");
        stream.set_nodelay(true).expect("the connection is gone");
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if request.uri().path() != "/large" {
        return Ok(Response::new(Body::from("hello\n")));
    }
    let part = Bytes::from_static(&[b'x'; PART]);
    let parts = stream::repeat(part).take(LARGE / PART).map(Ok::<_, Infallible>);
    let mut response = Response::new(Body::from_stream(parts));
    response.headers_mut().insert(header::CONTENT_LENGTH, LARGE.into());
    Ok(response)
}
