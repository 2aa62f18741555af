//! Whether a cluster has all that the operator needs of it: what `berth backend check` says. Only
//! looks, and changes nothing.
//!
//! Decisions are in [`needs`] and [`numbers`], which know no client.

mod endpoints;
pub mod finding;
mod needs;
mod numbers;
mod places;
#[cfg(test)]
mod tests;
mod ways;

use super::{client::Client, settings};
use crate::{
    backend::{BackendError, Reason},
    config::ProxmoxBackend,
};

pub use finding::{Finding, Verdict};

/// Looks at a cluster. `templates` are the VMIDs that Templates are to name; without, all templates
/// that the token sees are only shown. What is missing is among the findings; it is an error when a
/// file of the configuration can not be read.
pub async fn check(config: &ProxmoxBackend, templates: &[u32]) -> Result<Vec<Finding>, BackendError> {
    let connection = settings::connection(config)?;
    let mut findings = vec![endpoints::trust(config)];
    let (reached, found) = endpoints::endpoints(config, &connection).await;
    findings.extend(found);
    findings.push(ways::key(config).await);
    if !reached {
        return Ok(findings);
    }
    let client = Client::new(&connection).map_err(|error| BackendError::new(Reason::Unsupported, error))?;
    let (nodes, found) = places::nodes(&client, config).await;
    findings.extend(found);
    let (guests, found) = places::guests(&client).await;
    findings.extend(found);
    let (known, found) = places::templates(&client, &guests, templates).await;
    findings.extend(found);
    let archives = places::archives(&client, &nodes).await;
    for need in needs::needs(config, &nodes, &known, &archives) {
        let paths = [Some(&need.path), need.or_on.as_ref()].into_iter().flatten();
        let asked = paths.map(|path| client.permissions(Some(path)));
        findings.push(match futures::future::try_join_all(asked).await {
            Ok(granted) => need.held_against(&granted.into_iter().collect(), &config.token.id),
            Err(error) => Finding::missing(format!("privileges on {}", need.path), format!("known: {error}")),
        });
    }
    findings.extend(places::pool(&client, config).await);
    for node in &nodes {
        findings.extend(places::storages(&client, node, &needs::storages(config, &known)).await);
        findings.extend(places::bridges(&client, node, &needs::bridges(config)).await);
    }
    let used = guests.iter().map(|guest| guest.vmid.get()).collect();
    // What the cluster offers to others is a hint; it may have nothing to offer.
    let next = client.next_id().await.ok().map(|vmid| vmid.get());
    findings.extend(numbers::ranges(&config.vmids, &used, next));
    findings.extend(ways::nodes(config, &nodes).await);
    finding::say_once(&mut findings);
    Ok(findings)
}
