//! The health check of a host: the only thing that decides whether it is up or down.

use std::{sync::Arc, time::Duration};

use bollard::errors::Error;
use tokio::time::{sleep, timeout};

use super::{
    errors,
    host::{Health, Host, Reachable},
};
use crate::backend::Change;

const INTERVAL: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(3);
/// While a doubt is open, it is settled faster.
const RECHECK: Duration = Duration::from_secs(1);

/// Checks a host for as long as the backend lives.
pub(super) async fn watch(host: Arc<Host>) {
    let mut failures = 0u32;
    loop {
        let mut pause = INTERVAL;
        match check(&host).await {
            Ok(health) => {
                failures = 0;
                announce(&host, health);
            }
            Err(failure) => {
                failures = failures.saturating_add(1);
                let last = host.health.borrow().clone();
                // One lost answer of a busy host is no reason to give it up.
                if failures > 1 || failure.certain || last.reachable != Reachable::Yes {
                    announce(&host, Health { reachable: Reachable::No(failure.words), ..last });
                } else {
                    pause = RECHECK;
                }
            }
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = host.suspicion.notified() => {}
        }
    }
}

struct Failure {
    words: String,
    /// Nobody listens, so there is nothing to wait for.
    certain: bool,
}

async fn check(host: &Host) -> Result<Health, Failure> {
    let known = host.health.borrow().clone();
    if known.reachable == Reachable::Yes {
        return within_limit(host, host.docker.ping()).await.map(|_| known);
    }
    // A daemon that is back may be another version, on a machine that grew.
    within_limit(host, host.docker.clone().negotiate_version()).await?;
    let info = within_limit(host, host.docker.info()).await?;
    Ok(Health {
        reachable: Reachable::Yes,
        memory_bytes: info.mem_total.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default(),
        cpus: info.ncpu.and_then(|count| count.try_into().ok()).unwrap_or_default(),
    })
}

async fn within_limit<T>(host: &Host, call: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
    match timeout(LIMIT, call).await {
        Ok(answer) => answer.map_err(|error| Failure {
            words: errors::from_docker(&host.name, "connect", &error).message,
            certain: errors::nobody_listens(&error),
        }),
        Err(_) => {
            Err(Failure { words: errors::timed_out(&host.name, "ping", LIMIT).message, certain: false })
        }
    }
}

fn announce(host: &Host, health: Health) {
    let was = host.health.borrow().reachable.clone();
    let changed = std::mem::discriminant(&was) != std::mem::discriminant(&health.reachable);
    if changed {
        match &health.reachable {
            Reachable::No(words) => tracing::warn!(host = host.name, "{words}"),
            _ => tracing::info!(host = host.name, "docker host answers"),
        }
    }
    host.health.send_replace(health);
    if changed {
        host.announce(Change::Host(host.name.clone()));
    }
}
