//! Sends calls to a cluster and reads what comes back.

use std::time::Duration;

use hyper::ext::ReasonPhrase;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::{
    call::Call,
    connection::{self, Connection, InvalidConnection, Limits},
    endpoints::{Endpoint, Endpoints},
    failure::{Answer, Error, Failure, one_line},
    gates::Gates,
    retry::{Again, CallKind, Effect, verdict},
    tls,
};

/// A node closes a connection that was idle for 5 s; ours must be the earlier.
const IDLE: Duration = Duration::from_secs(4);
/// Largest answer that is read: the list of a cluster with some ten thousand guests.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;
/// Pause before a call is sent again; doubled each time.
const PAUSE: Duration = Duration::from_millis(250);

/// The way to a cluster.
pub(super) struct Transport {
    endpoints: Endpoints,
    /// Keeps connections open for the next call.
    reading: reqwest::Client,
    /// Opens a connection for each call: on one that is used again it can not be told whether a
    /// request that got no answer was received.
    writing: reqwest::Client,
    limits: Limits,
    gates: Gates,
}

/// A successful answer.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Success {
    #[serde(default)]
    data: Value,
    /// How many there are where only a part was asked for.
    #[serde(default, deserialize_with = "super::wire::optional_number")]
    pub(super) total: Option<u64>,
}

/// What was sent, for the errors of what came back.
pub(super) struct Sent {
    name: String,
    kind: CallKind,
}

impl Sent {
    fn error(&self, failure: Failure, effect: Effect) -> Error {
        Error { call: self.name.clone(), kind: self.kind, failure, effect }
    }

    /// An answer of success that makes no sense.
    pub(super) fn nonsense(&self, words: impl std::fmt::Display) -> Error {
        let failure = Failure::Unexpected { status: 200, words: one_line(&words.to_string()) };
        let effect = verdict(&failure, self.kind).effect;
        self.error(failure, effect)
    }
}

impl Transport {
    pub(super) fn new(connection: &Connection) -> Result<Self, InvalidConnection> {
        let endpoints = Endpoints::new(&connection.endpoints)?;
        let authorization = connection::authorization(&connection.token)?;
        let tls = tls::config(&connection.trust)?;
        let client = |idle_connections: usize| {
            let headers = [(http::header::AUTHORIZATION, authorization.clone())];
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .default_headers(headers.into_iter().collect())
                .http1_only()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .connect_timeout(connection.limits.connect)
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(idle_connections)
                .build()
                .map_err(|error| InvalidConnection::Client(innermost(&error)))
        };
        Ok(Self {
            endpoints,
            reading: client(4)?,
            writing: client(0)?,
            limits: connection.limits,
            gates: Gates::default(),
        })
    }

    /// Does a call and reads its answer as a type.
    pub(super) async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        let (success, sent) = self.answer(call).await?;
        serde_json::from_value(success.data).map_err(|error| sent.nonsense(error))
    }

    /// Does a call and reads a part of a list.
    pub(super) async fn part<T: DeserializeOwned>(&self, call: Call) -> Result<(T, Option<u64>), Error> {
        let (success, sent) = self.answer(call).await?;
        let data = serde_json::from_value(success.data).map_err(|error| sent.nonsense(error))?;
        Ok((data, success.total))
    }

    async fn answer(&self, call: Call) -> Result<(Success, Sent), Error> {
        let limit = if call.kind == CallKind::Read { self.limits.read } else { self.limits.write };
        let sent = Sent { name: call.name(), kind: call.kind };
        let _leave = match &call.worker {
            Some(worker) => match timeout(limit, self.gates.enter(worker)).await {
                Ok(Ok(leave)) => Some(leave),
                _ => return Err(sent.error(Failure::Busy, Effect::Nothing)),
            },
            None => None,
        };
        // Not from before: a call that is sent with little time left could only fail doubtfully.
        match self.attempts(&call, Instant::now() + limit).await {
            Ok(success) => Ok((success, sent)),
            Err((failure, effect)) => Err(sent.error(failure, effect)),
        }
    }

    /// Sends a call as often as is safe. What an earlier attempt may have done is not forgotten
    /// when a later one fails for certain.
    async fn attempts(&self, call: &Call, deadline: Instant) -> Result<Success, (Failure, Effect)> {
        let most = match call.kind {
            CallKind::Read => 3,
            CallKind::Repeatable => 2,
            CallKind::Once => 1,
        };
        let mut failed = None;
        let mut effect = Effect::Nothing;
        let mut attempt = 1;
        loop {
            let (failure, endpoint) = match self.attempt(call, deadline, failed).await {
                Ok(success) => return Ok(success),
                Err(failed) => failed,
            };
            let verdict = verdict(&failure, call.kind);
            if verdict.effect == Effect::Unknown {
                effect = Effect::Unknown;
            }
            let pause = PAUSE * 2_u32.pow(attempt - 1);
            if verdict.again != Again::Now || attempt >= most || Instant::now() + pause >= deadline {
                return Err((failure, effect));
            }
            failed = endpoint;
            attempt += 1;
            sleep(pause).await;
        }
    }

    /// Sends a call to the first endpoint that can be connected.
    async fn attempt(
        &self,
        call: &Call,
        deadline: Instant,
        failed: Option<usize>,
    ) -> Result<Success, (Failure, Option<usize>)> {
        let mut words = Vec::new();
        for endpoint in self.endpoints.in_order(failed) {
            match self.send(call, endpoint, deadline).await {
                Err(Failure::Unreachable(why)) => {
                    self.endpoints.note(endpoint, false);
                    words.push(format!("{}: {why}", endpoint.name));
                }
                answered => {
                    self.endpoints.note(endpoint, true);
                    return answered.map_err(|failure| (failure, Some(endpoint.index)));
                }
            }
        }
        Err((Failure::Unreachable(words.join("; ")), None))
    }

    async fn send(&self, call: &Call, endpoint: &Endpoint, deadline: Instant) -> Result<Success, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::Unreachable("no time is left".to_owned()));
        }
        let client = if call.kind == CallKind::Read { &self.reading } else { &self.writing };
        let address = call.address(&endpoint.base).map_err(Failure::Unsendable)?;
        let mut request = client.request(call.method.clone(), address).timeout(left);
        if let Some(body) = call.body().map_err(Failure::Unsendable)? {
            request = request
                .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded; charset=UTF-8")
                // By itself hyper leaves it out of an empty body.
                .header(http::header::CONTENT_LENGTH, body.len())
                .body(body);
        }
        let response = request.send().await.map_err(|error| not_answered(&error))?;
        let answer = read(response).await?;
        if !(200..300).contains(&answer.status) {
            return Err(Failure::of(&answer));
        }
        serde_json::from_slice(&answer.body).map_err(|error| Failure::Unexpected {
            status: answer.status,
            words: format!("no JSON of the API: {error}"),
        })
    }
}

async fn read(mut response: reqwest::Response) -> Result<Answer, Failure> {
    let status = response.status();
    let reason = response
        .extensions()
        .get::<ReasonPhrase>()
        .map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| not_answered(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_ANSWER {
            return Err(Failure::Unexpected {
                status: status.as_u16(),
                words: format!("an answer of more than {LARGEST_ANSWER} bytes"),
            });
        }
    }
    Ok(Answer { status: status.as_u16(), reason, body })
}

/// Only of a connection that did not come about is it certain that nothing was sent.
fn not_answered(error: &reqwest::Error) -> Failure {
    if error.is_builder() {
        Failure::Unsendable(innermost(error))
    } else if error.is_connect() {
        Failure::Unreachable(innermost(error))
    } else {
        Failure::Lost(innermost(error))
    }
}

/// The words of the innermost cause: those around it repeat the address and say that it failed.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    one_line(&cause.to_string())
}
