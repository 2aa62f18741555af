//! The stream of events of a host, as far as they are about this instance's containers.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bollard::{models::EventMessage, query_parameters::EventsOptionsBuilder};
use futures::StreamExt;
use jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    errors,
    host::{Host, LOOK, Reachable},
    labels,
};
use crate::backend::{BackendError, Change, Reason, identity::LABEL_ID};

/// A stream whose other end vanished silently looks just like a quiet one, so it is never kept
/// for long.
const RENEW: Duration = Duration::from_secs(300);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const ACTIONS: [&str; 10] =
    ["create", "start", "die", "oom", "stop", "destroy", "pause", "unpause", "rename", "restart"];

/// Follows the events of a host for as long as the backend lives.
pub(super) async fn watch(host: Arc<Host>) {
    let mut pause = FIRST_PAUSE;
    let mut seen = None;
    loop {
        let started = Instant::now();
        match follow(&host, &mut seen).await {
            Ok(()) => pause = FIRST_PAUSE,
            Err(error) => {
                tracing::debug!(host = host.name, "events: {error}");
                seen = None;
                if started.elapsed() > LONGEST_PAUSE {
                    pause = FIRST_PAUSE;
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Follows one stream until it ends or gets old. `seen` is the host's time up to which no event
/// was missed; without it the listeners are told to look at everything.
async fn follow(host: &Host, seen: &mut Option<Timestamp>) -> Result<(), BackendError> {
    let mut health = host.health.subscribe();
    // Ends only with the host itself.
    let _ = health.wait_for(|health| health.reachable == Reachable::Yes).await;
    let since = match *seen {
        Some(time) => time,
        None => {
            let now = host_time(host).await?;
            host.announce(Change::Host(host.name.clone()));
            now
        }
    };
    let filters = HashMap::from([
        ("type", vec!["container".to_owned()]),
        ("label", vec![labels::instance_filter(&host.instance)]),
        ("event", ACTIONS.map(str::to_owned).to_vec()),
    ]);
    let options = EventsOptionsBuilder::new().since(&seconds(since)).filters(&filters).build();
    let mut events = std::pin::pin!(host.docker.events(Some(options)));
    let old = Instant::now() + RENEW;
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => announce(host, &event),
                Some(Err(error)) => return Err(errors::from_docker(&host.name, "events", &error)),
                None => {
                    return Err(errors::refuse(&host.name, Reason::Unreachable, "the stream of events ended"));
                }
            },
            error = host.down() => return Err(error),
            () = sleep_until(old) => {
                *seen = Some(host_time(host).await?);
                return Ok(());
            }
        }
    }
}

/// The host's own clock, on which its events are dated.
async fn host_time(host: &Host) -> Result<Timestamp, BackendError> {
    let info = host.call("read the clock", LOOK, host.docker.info()).await?;
    let written = info.system_time.map(|time| time.to_string()).unwrap_or_default();
    written
        .parse()
        .map_err(|error| errors::refuse(&host.name, Reason::Failed, format_args!("its clock: {error}")))
}

fn seconds(time: Timestamp) -> String {
    format!("{}.{:09}", time.as_second(), time.subsec_nanosecond())
}

fn announce(host: &Host, event: &EventMessage) {
    let attributes = event.actor.as_ref().and_then(|actor| actor.attributes.as_ref());
    let id = attributes.and_then(|attributes| attributes.get(LABEL_ID)).and_then(|id| id.parse().ok());
    if let Some(id) = id {
        host.announce(Change::Body(id));
    }
}
