//! One pass over one DevServer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use berth_link::wire::process::ProcessId;
use jiff::Timestamp;
use kube::{ResourceExt, runtime::controller::Action};
use tracing::Instrument;

use crate::{
    api::{DevServer, DevServerStatus, Workspace, devserver::PreviewAccess},
    backend::BodyId,
    config::is_dns_label,
    controller::{agents::Agent, backoff::with_jitter, context::Context, trigger::WorkspaceKey},
};

use super::{
    plan,
    preview::{self, PreviewState},
    references::{self, Found},
    routes,
    siblings::Place,
    situation::{AgentWord, Home, Published, Situation},
    status,
    validate::{self, Desired, Subject},
    write,
};

/// A link that broke, or that a new leader has not heard of, may be there again within this time,
/// where nothing says how long. Until then what was said of a process stands.
const GRACE: Duration = Duration::from_secs(30);

/// Looks at one DevServer, tells its agent what is wanted, and says how it is.
pub async fn reconcile(object: Arc<DevServer>, context: Arc<Context>) -> Result<Action, kube::Error> {
    let object = context.objects.freshest_devserver(object);
    let span = tracing::info_span!(
        "reconcile",
        devserver = format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any()),
        trace_id = format!("{:032x}", rand::random::<u128>()),
    );
    let started = Instant::now();
    let result = run(&context, Arc::clone(&object)).instrument(span).await;
    // What this pass noted about one that went meanwhile, nobody would ever forget.
    if !context.objects.has_devserver(&object) {
        forget(&context, &object);
    }
    context.metrics.reconciled("DevServer", result.is_ok(), started.elapsed());
    result
}

/// Forgets a DevServer that is gone, and takes its process out of its Workspace.
pub fn forget(context: &Context, object: &DevServer) {
    let uid = object.uid().unwrap_or_default();
    if let Some(host) = context.devservers.forget(&uid) {
        context.agents.want_password(&host, None);
    }
    context.backoff.clear(&uid);
    context.objects.forget(&uid);
    tell_agent(context, &validate::home_of(object));
}

async fn run(context: &Context, object: Arc<DevServer>) -> Result<Action, kube::Error> {
    let subject = Subject::parse(&object);
    if object.metadata.deletion_timestamp.is_some() {
        tell_agent(context, &subject.home);
        return Ok(Action::await_change());
    }
    let desired = validate::validate(&object);
    let siblings = context.objects.devservers_of(&subject.home);
    let place = Place::among(&object, &siblings, context.config.preview.max_per_workspace);
    let workspace = context.objects.workspace(&subject.home);
    let home = Home::of(workspace.as_deref());
    let found = match &desired {
        Ok(desired) => references::find(context, &subject, desired).await,
        Err(_) => Arc::new(Found::nothing()),
    };
    let (agent, grace) = agent_word(context, workspace.as_deref(), &desired);
    let before = object.status.clone().unwrap_or_default();
    let written_down = published(&before);
    let mut situation = Situation {
        subject: &subject,
        desired: &desired,
        place: &place,
        home: &home,
        environment: &found.environment,
        password: &found.password,
        route: &Ok(()),
        published: written_down.as_ref(),
        agent: &agent,
        config: &context.config.preview,
        now: Timestamp::now(),
    };
    let made = plan::needs_host(&situation)
        .then(|| Published { host: preview::mint(&subject.name, &subject.home.name), since: situation.now });
    situation.published = made.as_ref().or(situation.published);

    let wanted = plan::wanted(&situation, context.devservers.wanted(&subject.uid).as_ref());
    context.devservers.note_wanted(&subject.uid, wanted);
    tell_agent(context, &subject.home);

    // Nothing leads to a name before it is written down.
    let route = match &written_down {
        Some(known) => {
            let over =
                matches!(PreviewState::of(&situation), PreviewState::Unwanted | PreviewState::Expired { .. });
            routes::keep(context, &object, &known.host, !over).await
        }
        None => Ok(()),
    };
    situation.route = &route;

    let mut object = object;
    if let Some(workspace) = workspace.as_deref().filter(|_| home != Home::Terminating)
        && !write::is_owned(&object, workspace)
    {
        object = note(context, write::owner(context, &object, workspace).await?);
    }
    let resync = with_jitter(context.config.controller.resync.0);
    let mut look_again = plan::look_again(&situation, resync).min(grace.unwrap_or(resync));
    if route.is_err() {
        look_again = look_again.min(routes::RETRY);
    }
    if desired.is_ok() {
        look_again = look_again.min(found.remaining());
    }
    let after = status::describe(&before, &situation);
    if status::differs(&before, &after) {
        if let Some(wait) = context.devservers.wait_to_write(&subject.uid) {
            return Ok(Action::requeue(wait));
        }
        note(context, write::status(context, &object, &after).await?);
        context.devservers.note_write(&subject.uid);
    }
    if let Some(published) = situation.published {
        let guarded = desired.as_ref().is_ok_and(|desired| {
            desired.preview.as_ref().is_some_and(|one| one.access == PreviewAccess::Password)
        });
        tell_password(context, &subject, &published.host, guarded, &found);
    }
    Ok(Action::requeue(look_again.max(Duration::from_millis(100))))
}

/// Keeps what the API server answered, until the watch shows it.
fn note(context: &Context, written: DevServer) -> Arc<DevServer> {
    let mut written = written;
    written.managed_fields_mut().clear();
    let written = Arc::new(written);
    context.objects.wrote_devserver(Arc::clone(&written));
    written
}

/// Tells the agent of a Workspace all of its processes. Only for when every DevServer is known:
/// what is missing is ended.
pub fn tell_agent(context: &Context, home: &WorkspaceKey) {
    let workspace = context.objects.workspace(home);
    // What goes away is told nothing more, and may be forgotten already.
    let staying = workspace.filter(|workspace| workspace.metadata.deletion_timestamp.is_none());
    if let Some(body) = staying.as_deref().and_then(body_of) {
        context.note_body(body, home.clone());
        context.devservers.publish(body, &context.objects.devservers_of(home), &context.agents);
    }
}

/// Tells the gateways the password of a preview. While it can not be read they keep the one that
/// they have: without one they let nobody in.
fn tell_password(context: &Context, subject: &Subject, host: &str, guarded: bool, found: &Found) {
    match &found.password {
        Ok(hash) => context.agents.want_password(host, hash.clone().filter(|_| guarded)),
        Err(_) => return,
    }
    context.devservers.note_host(&subject.uid, host);
}

fn body_of(workspace: &Workspace) -> Option<BodyId> {
    workspace.status.as_ref()?.id.as_ref()?.parse().ok()
}

/// What is written down of the preview.
fn published(status: &DevServerStatus) -> Option<Published> {
    let preview = status.preview.as_ref()?;
    Some(Published {
        host: preview.host.clone().filter(|host| is_dns_label(host))?,
        since: preview.created_at.as_ref()?.0,
    })
}

/// What the agent told of the process; and where it may be about to tell, when to look again.
fn agent_word(
    context: &Context,
    workspace: Option<&Workspace>,
    desired: &Result<Desired, impl Sized>,
) -> (AgentWord, Option<Duration>) {
    let (Some(body), Ok(desired)) = (workspace.and_then(body_of), desired) else {
        return (AgentWord::Disconnected, None);
    };
    let grace = context.delivery.as_ref().map_or(GRACE, |delivery| delivery.grace);
    word(&context.agents.get(body), &desired.id, context.agents.began, grace)
}

fn word(agent: &Agent, id: &ProcessId, began: Instant, grace: Duration) -> (AgentWord, Option<Duration>) {
    if !agent.is_linked() {
        let since = agent.unlinked_since().unwrap_or(began);
        return match grace.checked_sub(since.elapsed()) {
            Some(left) => (AgentWord::Unheard, Some(left)),
            None => (AgentWord::Disconnected, None),
        };
    }
    match &agent.processes {
        Some(processes) => {
            let state = processes.processes.iter().find(|one| one.id == *id);
            (AgentWord::Told(state.cloned().map(Box::new)), None)
        }
        None => (AgentWord::Unheard, None),
    }
}
