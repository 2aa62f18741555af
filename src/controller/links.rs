//! One gateway, seen from the leader: what it tells, and what it is told.

use std::{collections::HashMap, sync::Arc};

use berth_link::wire::{Event, process::DesiredProcesses, system::Activity};
use futures::{Stream, StreamExt};
use jiff::Timestamp;

use super::{agents::Wanted, context::Context, workspace::activity::last_activity};
use crate::{backend::BodyId, internal::messages::Down, link::hub::Report};

/// Attends to a gateway until its reports end, or it no longer takes what it is told. Then its
/// links count as lost.
pub async fn attend<R, F>(
    context: &Context,
    gateway: &str,
    address: &str,
    reports: R,
    tell: impl Fn(Down) -> F,
) where
    R: Stream<Item = Report>,
    F: Future<Output = bool>,
{
    let listen = async {
        let mut reports = std::pin::pin!(reports);
        while let Some(report) = reports.next().await {
            note(context, gateway, address, report);
        }
    };
    tokio::select! {
        () = listen => {}
        () = speak(context, tell) => {}
    }
    for id in context.agents.held_by(gateway) {
        if context.agents.lost(id, gateway) {
            context.triggers.agent(id);
        }
    }
}

fn note(context: &Context, gateway: &str, address: &str, report: Report) {
    match report {
        Report::Linked(id, link) => {
            // What a gateway calls itself is not taken from each of its reports.
            let link = super::agents::Link { gateway: gateway.to_owned(), ..*link };
            context.agents.linked(id, link, address);
            context.triggers.agent(id);
        }
        Report::Lost(id) => {
            if context.agents.lost(id, gateway) {
                context.triggers.agent(id);
            }
        }
        Report::Told(id, Event::Processes(processes)) => {
            if context.agents.note(id, |agent| agent.processes = Some(Arc::new(processes))) {
                context.triggers.processes(id);
            }
        }
        Report::Told(id, Event::Activity(activity)) => {
            let known = context.agents.note(id, |agent| {
                agent.activity = Some(agent.activity.take().unwrap_or_default().merged(&activity));
            });
            if known && is_to_be_written(context, id, &activity) {
                context.triggers.work(id);
            }
        }
    }
}

/// Whether work is so much newer than what is written of it that a pass is worthwhile.
fn is_to_be_written(context: &Context, id: BodyId, activity: &Activity) -> bool {
    let found = context.workspace_of(id).and_then(|key| context.objects.workspace(&key));
    let status = found.as_ref().and_then(|found| found.status.as_ref());
    let before = status.and_then(|status| status.last_activity_at.as_ref()).map(|time| time.0);
    last_activity(before, activity.last(), Timestamp::now()) != before
}

/// Tells a gateway all that it has to know, and then what changes, until it does not listen.
async fn speak<F: Future<Output = bool>>(context: &Context, tell: impl Fn(Down) -> F) {
    let (mut wanted, mut holders) = (context.agents.wanted(), context.agents.holders());
    let (mut told, mut told_holders) = (Wanted::default(), HashMap::new());
    loop {
        let now = wanted.borrow_and_update().clone();
        let now_holders = holders.borrow_and_update().clone();
        let messages = changes(&told, &now).into_iter().chain(moves(&told_holders, &now_holders));
        for message in messages {
            if !tell(message).await {
                return;
            }
        }
        (told, told_holders) = (now, now_holders);
        let changed = tokio::select! {
            changed = wanted.changed() => changed,
            changed = holders.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

fn changes(before: &Wanted, now: &Wanted) -> Vec<Down> {
    let said = |id: &BodyId, desired: Option<&Arc<DesiredProcesses>>| Down::Processes {
        id: *id,
        desired: desired.map(|desired| DesiredProcesses::clone(desired)),
    };
    let said_password =
        |host: &String, hash: Option<&String>| Down::Password { host: host.clone(), hash: hash.cloned() };
    let mut messages = Vec::new();
    messages.extend(difference(&before.processes, &now.processes).map(|(id, desired)| said(id, desired)));
    messages
        .extend(difference(&before.passwords, &now.passwords).map(|(host, hash)| said_password(host, hash)));
    messages
}

fn moves(before: &HashMap<BodyId, String>, now: &HashMap<BodyId, String>) -> Vec<Down> {
    difference(before, now).map(|(id, address)| Down::Held { id: *id, address: address.cloned() }).collect()
}

/// What is new or other than before, and what is gone.
fn difference<'a, K: std::hash::Hash + Eq, V: PartialEq>(
    before: &'a HashMap<K, V>,
    now: &'a HashMap<K, V>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>)> {
    let new = now.iter().filter(|(key, value)| before.get(key) != Some(value));
    let gone = before.keys().filter(|key| !now.contains_key(key));
    new.map(|(key, value)| (key, Some(value))).chain(gone.map(|key| (key, None)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&'static str, u8)]) -> HashMap<&'static str, u8> {
        entries.iter().copied().collect()
    }

    #[test]
    fn only_what_changed_is_told() {
        let (before, now) =
            (map(&[("same", 1), ("other", 1), ("gone", 1)]), map(&[("same", 1), ("other", 2), ("new", 1)]));
        let mut told: Vec<_> = difference(&before, &now).map(|(key, value)| (*key, value.copied())).collect();
        told.sort_unstable();
        assert_eq!(told, [("gone", None), ("new", Some(1)), ("other", Some(2))]);
    }
}
