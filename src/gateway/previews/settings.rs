//! What can be set.

use std::{num::NonZeroU32, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto,
};
use ipnet::IpNet;
use secrecy::SecretSlice;

use crate::config::{GatewayLimits, RatesConfig};

/// Settings of the proxy.
pub struct PreviewSettings {
    /// Previews are `<label>.<domain>`.
    pub domain: String,
    /// Proxies in front of the gateway: what they say of the client and the scheme is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Signs the cookies. At least 32 random bytes, the same on all replicas.
    pub session_key: SecretSlice<u8>,
    /// Guesses of a password that one client has for one preview in a minute.
    pub password_attempts_per_minute: NonZeroU32,
    /// So often it is asked whether who had a ticket for a private preview still may see it.
    pub authorize_every: Duration,
    /// So often it is looked whether an open WebSocket, upload or download may go on.
    pub look_every: Duration,
    /// Requests under way to one preview, open WebSockets among them.
    pub max_requests: usize,
    /// Bytes that the headers of a request or answer may have.
    pub max_header_bytes: usize,
    /// So long a client may take for the headers of a request.
    pub header_timeout: Duration,
    /// So long a dev server may take for the headers of its answer, after the last byte of an
    /// upload.
    pub answer_timeout: Duration,
    /// Connections to a dev server that are kept while nobody uses them.
    pub max_idle_connections: usize,
    /// They are kept for so long. Node.js closes its end after five seconds.
    pub idle_timeout: Duration,
}

impl PreviewSettings {
    /// The usual settings.
    pub fn new(domain: impl Into<String>, session_key: SecretSlice<u8>) -> Self {
        Self {
            domain: domain.into().to_ascii_lowercase(),
            trusted_proxies: Vec::new(),
            session_key,
            password_attempts_per_minute: NonZeroU32::MIN.saturating_add(9),
            authorize_every: Duration::from_secs(180),
            look_every: Duration::from_secs(15),
            max_requests: 512,
            max_header_bytes: 64 << 10,
            header_timeout: Duration::from_secs(20),
            answer_timeout: Duration::from_secs(120),
            max_idle_connections: 64,
            idle_timeout: Duration::from_secs(4),
        }
    }

    /// The same, with what an administrator set.
    #[must_use]
    pub fn configured(
        mut self,
        limits: &GatewayLimits,
        rates: &RatesConfig,
        trusted_proxies: &[IpNet],
    ) -> Self {
        self.trusted_proxies = trusted_proxies.to_vec();
        self.max_requests = usize::try_from(limits.preview_requests).unwrap_or(self.max_requests);
        self.authorize_every = limits.review_interval.0;
        let attempts = NonZeroU32::new(rates.preview_password);
        self.password_attempts_per_minute = attempts.unwrap_or(self.password_attempts_per_minute);
        self
    }

    /// A server for the listener that passes requests on to the proxy, with the limits that only
    /// the listener can keep. Serve its connections with upgrades.
    pub fn server(&self) -> auto::Builder<TokioExecutor> {
        let mut server = auto::Builder::new(TokioExecutor::new());
        server
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(self.max_header_bytes.max(8 << 10));
        server
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(self.max_header_bytes).unwrap_or(u32::MAX))
            .max_concurrent_streams(200)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        server
    }
}
