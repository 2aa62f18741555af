//! One pass over one Template.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{ResourceExt, runtime::controller::Action};

use crate::{
    api::{Template, TemplateStatus},
    backend::{BackendError, BodyRef, Known, Reason, SharedBackend, TemplatePlace},
    controller::{
        backoff::with_jitter,
        context::Context,
        workspace::{
            Templates, default_of,
            plan::{Limits, Observed, Search},
            problem::Problem,
        },
    },
};

use super::{
    execute::{Flow, Stop},
    phase::{State, Step},
    plan::{self, Facts, Plan},
    record::Record,
    status::{self, Progress, Situation},
    validate::{self, Subject, Wanted},
};

/// Actions of one pass. A Template needs a dozen from nothing to Ready.
const MAX_ACTIONS: usize = 32;
/// Templates of images depend on nothing outside the cluster.
const RESYNC: Duration = Duration::from_secs(3600);
/// Time between two looks for a template that is not there.
const MISSING: Duration = Duration::from_secs(60);

/// A pass under way.
pub struct Pass<'a> {
    pub(super) context: &'a Context,
    pub(super) object: Arc<Template>,
    pub(super) subject: Subject,
    pub(super) record: Record,
    pub(super) search: Search,
    pub(super) observed: Observed,
    pub(super) place: Option<Result<TemplatePlace, BackendError>>,
}

impl<'a> Pass<'a> {
    /// A pass over a Template as it was last seen.
    pub fn new(context: &'a Context, object: Arc<Template>) -> Self {
        let subject = Subject::parse(&object);
        let record = Record::parse(object.status.as_ref());
        let known = !subject.has_finalizer || context.is_without_body(&subject.owner.uid);
        let search = if known { Search::NotNeeded } else { Search::Needed };
        let pass =
            Self { context, object, subject, record, search, observed: Observed::Nothing, place: None };
        pass.remember_body();
        pass
    }

    /// Works until nothing more can be done at once.
    pub async fn run(&mut self) -> Result<Action, kube::Error> {
        if self.subject.deletion.is_some() {
            return self.remove().await;
        }
        if let Some(left) = self.context.backoff.remaining(self.uid(), &self.backoff_subject()) {
            return Ok(Action::requeue(left));
        }
        for _ in 0..MAX_ACTIONS {
            let wanted = match validate::validate(&self.object, &self.context.config) {
                Ok(wanted) => wanted,
                Err(problem) => return self.fail(None, Step::Initializing, problem).await,
            };
            self.observe(&wanted).await;
            self.follow_spec(&wanted);
            let facts = Facts {
                subject: &self.subject,
                record: &self.record,
                observed: &self.observed,
                place: self.place.as_ref(),
                search: self.search,
                limits: self.limits(),
                now: Timestamp::now(),
            };
            let plan = plan::plan(&wanted, facts);
            tracing::debug!(?plan, "planned");
            let flow = match (plan, &wanted) {
                (Plan::Usable, _) => return self.settle(&wanted, &Progress::Usable).await,
                (Plan::Stage, _) => {
                    self.record.staging_ip = self.address();
                    return self.settle(&wanted, &Progress::Staging).await;
                }
                (Plan::Stalled, _) => return self.settle(&wanted, &Progress::Standing).await,
                (Plan::Blocked(step, problem), _) => Err(Stop::Problem(step, problem)),
                (plan, Wanted::Build(build)) => {
                    if let Some(progress) = self.announce(&plan) {
                        self.say(Some(&wanted), &progress).await?;
                    }
                    self.execute(build, &wanted, plan).await
                }
                // Nothing is done for what is not built.
                (_, Wanted::Image | Wanted::Existing { .. }) => Ok(Flow::Continue),
            };
            match flow {
                Ok(Flow::Continue) => {}
                Ok(Flow::Wait { progress, look_again }) => {
                    self.say(Some(&wanted), &progress).await?;
                    return Ok(Action::requeue(look_again));
                }
                Err(Stop::Problem(step, problem)) => {
                    let action = self.fail(Some(&wanted), step, problem).await?;
                    // What stands now has something to be removed.
                    let half_made =
                        self.record.body.as_ref().is_some_and(|body| body.state != Some(State::Converted));
                    if self.record.standing.is_none() || !half_made {
                        return Ok(action);
                    }
                }
                Err(Stop::Api(error)) => return Err(error),
            }
        }
        tracing::warn!("the pass took too many actions; it goes on later");
        Ok(Action::requeue(with_jitter(Duration::from_secs(5))))
    }

    pub(super) fn uid(&self) -> &str {
        &self.subject.owner.uid
    }

    pub(super) fn limits(&self) -> Limits {
        let timeouts = &self.context.config.timeouts;
        Limits { ip: timeouts.ip.0, deletion: timeouts.deletion.0 }
    }

    pub(super) fn backoff_subject(&self) -> String {
        format!("{}/{}", self.subject.generation, self.subject.retry_nonce.as_deref().unwrap_or_default())
    }

    pub(super) fn status(&self) -> TemplateStatus {
        self.object.status.clone().unwrap_or_default()
    }

    /// The backend and the body on it, once there is one.
    pub(super) fn home(&self) -> Option<(SharedBackend, BodyRef)> {
        let body = self.record.body.as_ref()?;
        let backend = self.context.backends.get(&body.backend)?;
        let reference = BodyRef {
            host: body.node.clone(),
            id: body.id,
            owner: self.subject.owner.clone(),
            // Its keys are taken out before anybody else sees it.
            known: Known { number: body.number, host_key: None },
        };
        Some((Arc::clone(backend), reference))
    }

    pub(super) fn remember_body(&self) {
        if let Some(body) = &self.record.body {
            self.context.note_template_body(body.id, self.subject.key.clone());
        }
    }

    /// Asks the backend for the container that the Template is built in.
    pub(super) async fn observe_body(&mut self) {
        self.observed = match self.home() {
            None if self.record.body.is_some() => Observed::Failed(BackendError::new(
                Reason::Unreachable,
                "the operator's configuration no longer has this Template's backend",
            )),
            None => Observed::Nothing,
            Some((backend, body)) => match backend.inspect(&body).await {
                Ok(found) => Observed::Body(found),
                Err(error) => Observed::Failed(error),
            },
        };
    }

    /// Asks the backend what is there.
    async fn observe(&mut self, wanted: &Wanted) {
        self.observe_body().await;
        let body = self.record.body.as_ref();
        let asked = match (wanted, body) {
            (Wanted::Existing { backend, vmid }, None) => Some((backend, *vmid)),
            (_, Some(body)) if body.state == Some(State::Converted) => {
                body.number.map(|number| (&body.backend, number))
            }
            _ => None,
        };
        self.place = match asked {
            None => None,
            Some((name, number)) => match self.context.backends.get(name) {
                Some(backend) => Some(backend.template(number).await),
                None => Some(Err(BackendError::new(
                    Reason::Unreachable,
                    format!("backend {name:?} is not there"),
                ))),
            },
        };
        if let (Some(body), Some(Ok(place))) = (&mut self.record.body, &self.place) {
            body.node.clone_from(&place.host);
            body.storage.clone_from(&place.storage);
        }
    }

    /// A generation that changes nothing of what is built is built as well.
    fn follow_spec(&mut self, wanted: &Wanted) {
        if let (Some(body), Wanted::Build(build)) = (&mut self.record.body, wanted)
            && body.fingerprint == build.fingerprint
        {
            body.built_generation = self.subject.generation;
        }
    }

    pub(super) fn address(&self) -> Option<String> {
        match &self.observed {
            Observed::Body(body) => body.containers.last()?.ip.map(|ip| ip.to_string()),
            Observed::Nothing | Observed::Failed(_) => None,
        }
    }

    /// What to say before the planned action is carried out.
    fn announce(&self, plan: &Plan) -> Option<Progress> {
        let step = match plan {
            Plan::Create => Step::CreatingContainer,
            Plan::Start => Step::StartingContainer,
            Plan::AwaitAddress => Step::ConfiguringNetwork,
            Plan::Clean => Step::Cleaning,
            Plan::Stop | Plan::Convert => Step::Converting,
            // The others say themselves what they do, or are over at once.
            _ => return None,
        };
        let tasks_speak = matches!(plan, Plan::Create | Plan::Clean | Plan::Convert | Plan::Stop)
            && self.record.step == Some(step);
        if tasks_speak {
            return None;
        }
        Some(match status::retrying(&self.status(), &self.record, step) {
            true => Progress::Retrying(step),
            false => Progress::Doing { step, message: None },
        })
    }

    /// Writes the status that goes with this progress, if it differs from the present one.
    pub(super) async fn say(
        &mut self,
        wanted: Option<&Wanted>,
        progress: &Progress,
    ) -> Result<(), kube::Error> {
        let default = default_of(&self.context.objects.of_namespace(&self.subject.owner.namespace));
        let is_default = default.as_ref().is_some_and(|default| default.uid() == self.object.uid());
        let rival = default.filter(|_| self.object.spec.default && !is_default);
        let before = self.status();
        let situation = Situation {
            subject: &self.subject,
            wanted,
            record: &self.record,
            place: self.place.as_ref(),
            is_default,
            rival: rival.map(|rival| rival.name_any()),
            progress,
            now: Timestamp::now(),
        };
        let after = status::describe(&before, &situation);
        if status::differs(&before, &after) {
            self.write_status(&before, after).await?;
        }
        Ok(())
    }

    async fn settle(&mut self, wanted: &Wanted, progress: &Progress) -> Result<Action, kube::Error> {
        self.say(Some(wanted), progress).await?;
        self.context.backoff.clear(self.uid());
        Ok(Action::requeue(match wanted {
            Wanted::Image => RESYNC,
            Wanted::Existing { .. } | Wanted::Build(_) => {
                with_jitter(self.context.config.controller.resync.0)
            }
        }))
    }

    /// Says what is wrong, and when to try again.
    async fn fail(
        &mut self,
        wanted: Option<&Wanted>,
        step: Step,
        problem: Problem,
    ) -> Result<Action, kube::Error> {
        let problem = in_words_of_templates(problem);
        self.context.metrics.failed(problem.reason);
        tracing::warn!(reason = problem.reason, step = step.as_str(), message = problem.message, "blocked");
        let (transient, reason) = (problem.is_transient(), problem.reason);
        self.say(wanted, &Progress::Failed(step, problem)).await?;
        if transient && reason == Reason::TemplateMissing.as_str() {
            return Ok(Action::requeue(with_jitter(MISSING)));
        }
        let subject = self.backoff_subject();
        Ok(Action::requeue(match transient {
            true => self.context.backoff.failed(self.uid(), &subject, step.as_str()),
            false => with_jitter(self.context.config.controller.resync.0),
        }))
    }
}

/// The hints of a backend's problems speak of Workspaces.
fn in_words_of_templates(mut problem: Problem) -> Problem {
    if problem.reason == Reason::ImageNotFound.as_str() {
        problem.hint =
            Some("check spec.proxmox.osTemplate, or put the archive on a storage of the node".to_owned());
    }
    problem
}
