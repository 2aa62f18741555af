//! What the processes of a container printed, as `docker logs` shows it.

use std::{sync::Arc, time::Duration};

use bollard::{container::LogOutput, query_parameters::LogsOptionsBuilder};
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use tokio::time::timeout;

use super::{
    containers, errors,
    host::{Host, LOOK},
};
use crate::backend::{BackendError, ContainerRef, LogRequest, LogStream};

/// How long a log that is followed may be silent before it counts as opened.
const SILENCE: Duration = Duration::from_secs(1);

/// Opens the log of a container, running or not.
pub(super) async fn open(
    host: &Arc<Host>,
    container: &ContainerRef,
    request: &LogRequest,
) -> Result<LogStream, BackendError> {
    host.usable(LOOK).await?;
    let found = containers::existing(host, container).await?;
    let options = LogsOptionsBuilder::new()
        .stdout(true)
        .stderr(true)
        .follow(request.follow)
        .timestamps(request.timestamps)
        .tail(&request.tail.to_string())
        .since(since(request.since, Timestamp::now()))
        .build();
    let parts = read(host, host.docker.logs(&found.docker_id, Some(options)));
    let mut parts = Box::pin(parts.peekable());
    // A refusal comes first, and is worth more than a stream that breaks off.
    let patience = if request.follow { SILENCE } else { LOOK };
    match timeout(patience, parts.as_mut().peek()).await {
        Ok(Some(Err(error))) => Err(error.clone()),
        Err(_) if !request.follow => Err(errors::timed_out(&host.name, "read the log", LOOK)),
        Ok(_) | Err(_) => Ok(parts),
    }
}

/// From when on, in the seconds of Unix; 0: from the beginning.
fn since(age: Option<Duration>, now: Timestamp) -> i32 {
    let age = age.map(|age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    let since = age.map_or(0, |age| now.as_second().saturating_sub(age).max(0));
    i32::try_from(since).unwrap_or(i32::MAX)
}

/// What was printed, for as long as the host answers.
fn read(
    host: &Arc<Host>,
    log: impl Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send + 'static,
) -> impl Stream<Item = Result<bytes::Bytes, BackendError>> + Send + 'static {
    let (name, watched) = (host.name.clone(), Arc::clone(host));
    log.map(move |part| {
        part.map(LogOutput::into_bytes).map_err(|error| errors::from_docker(&name, "read the log", &error))
    })
    .take_until(Box::pin(async move { watched.down().await }))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(None, 0)]
    #[case(Some(60), 1_800_000_000 - 60)]
    #[case(Some(u64::MAX), 0)]
    fn the_beginning_of_a_log(#[case] age: Option<u64>, #[case] expected: i32) {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        assert_eq!(since(age.map(Duration::from_secs), now), expected);
    }
}
