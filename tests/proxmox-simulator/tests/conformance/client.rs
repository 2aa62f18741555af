//! A plain HTTPS client: a connection for each request, nothing retried, nothing interpreted.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{body::Frame, client::conn::http1, ext::ReasonPhrase};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

/// How long an answer may take; the proxy itself gives up after 30 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub reason: String,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn line(&self) -> String {
        format!("{} {}", self.status, self.reason)
    }

    pub fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.text).ok()
    }

    /// `data` of a success.
    pub fn data(&self) -> Result<Value, String> {
        match self.json() {
            Some(json) if self.status == 200 => Ok(json["data"].clone()),
            _ => Err(format!("{}: {}", self.line(), self.text)),
        }
    }
}

/// A body, in one piece or in chunks.
pub fn body(bytes: Bytes, chunked: bool) -> BoxBody<Bytes, Infallible> {
    if chunked {
        BodyExt::boxed(StreamBody::new(futures::stream::iter([Ok(Frame::data(bytes))])))
    } else {
        BodyExt::boxed(Full::new(bytes))
    }
}

/// The way to a cluster.
pub struct Client {
    host: String,
    port: u16,
    connector: TlsConnector,
}

impl Client {
    /// A client that trusts the certificate with this SHA-256 fingerprint and no other.
    pub fn new(url: &Url, fingerprint: &str) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let pinned = Pinned { fingerprint: fingerprint.to_owned(), provider: Arc::clone(&provider) };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(pinned))
            .with_no_client_auth();
        Self {
            host: url.host_str().unwrap().to_owned(),
            port: url.port().unwrap_or(8006),
            connector: TlsConnector::from(Arc::new(config)),
        }
    }

    /// Sends a request.
    pub async fn send(&self, request: Request<BoxBody<Bytes, Infallible>>) -> Result<Answer, String> {
        let answer = tokio::time::timeout(PATIENCE, self.exchange(request)).await;
        answer.map_err(|_| "no answer".to_owned())?
    }

    async fn exchange(&self, mut request: Request<BoxBody<Bytes, Infallible>>) -> Result<Answer, String> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let stream =
            TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| words(&error))?;
        let name = ServerName::try_from(self.host.clone()).map_err(|error| words(&error))?;
        let stream = self.connector.connect(name, stream).await.map_err(|error| words(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| words(&error))?;
        // What goes wrong with the connection is what the request says.
        tokio::spawn(connection);
        let host = format!("{}:{}", self.host, self.port).parse().map_err(|error| words(&error))?;
        request.headers_mut().insert(http::header::HOST, host);
        let response = sender.send_request(request).await.map_err(|error| words(&error))?;
        let (head, body) = response.into_parts();
        let reason = match head.extensions.get::<ReasonPhrase>() {
            Some(reason) => String::from_utf8_lossy(reason.as_bytes()).into_owned(),
            None => head.status.canonical_reason().unwrap_or_default().to_owned(),
        };
        let bytes = body.collect().await.map_err(|error| words(&error))?.to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Answer { status: head.status.as_u16(), reason, headers: head.headers, text })
    }
}

/// Trusts one certificate.
#[derive(Debug)]
struct Pinned {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let digest = Sha256::digest(certificate).iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>();
        let shown = digest.join(":");
        if shown.eq_ignore_ascii_case(&self.fingerprint) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(format!("the certificate is {shown}")))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
