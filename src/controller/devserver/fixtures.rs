//! A DevServer and all that is known of it, for the tables of the tests.

use std::collections::BTreeMap;

use berth_link::wire::process::{ProcessPhase, ProcessState};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    siblings::Place,
    situation::{AgentWord, Home, Published, Situation},
    validate::{Desired, Subject, validate},
};
use crate::{api::DevServer, config::PreviewConfig, controller::workspace::problem::Problem};

/// A DevServer of Workspace `ws`, with these fields of its spec set.
pub fn object(name: &str, spec: Value) -> DevServer {
    let mut whole = json!({"workspaceRef": {"name": "ws"}, "command": "npm run dev"});
    for (field, value) in spec.as_object().into_iter().flatten() {
        whole[field] = value.clone();
    }
    let mut made = DevServer::new(name, serde_json::from_value(whole).unwrap());
    made.metadata.namespace = Some("ns".to_owned());
    made.metadata.uid = Some(name.to_owned());
    made.metadata.generation = Some(2);
    made
}

/// A time.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// All that is known of one DevServer: at first of `web`, well and with its preview.
pub struct World {
    pub subject: Subject,
    pub desired: Result<Desired, Problem>,
    pub place: Place,
    pub home: Home,
    pub environment: Result<BTreeMap<String, String>, Problem>,
    pub password: Result<Option<String>, Problem>,
    pub route: Result<(), Problem>,
    pub published: Option<Published>,
    pub agent: AgentWord,
    pub config: PreviewConfig,
    pub now: Timestamp,
}

impl World {
    /// A DevServer that is well, with these fields of its spec set.
    pub fn well(spec: Value) -> Self {
        let mut whole = json!({"port": 3000});
        for (field, value) in spec.as_object().into_iter().flatten() {
            whole[field] = value.clone();
        }
        let object = object("web", whole);
        Self {
            subject: Subject::parse(&object),
            desired: validate(&object),
            place: Place::default(),
            home: Home::Usable,
            environment: Ok(BTreeMap::from([("A".to_owned(), "1".to_owned())])),
            password: Ok(None),
            route: Ok(()),
            published: Some(Published { host: "web-ws-0011223344556677".to_owned(), since: at(0) }),
            agent: AgentWord::Told(Some(Box::new(state(ProcessPhase::Running)))),
            config: serde_yaml::from_str("domain: preview.example").unwrap(),
            now: at(60),
        }
    }

    /// The same, with this told by its agent.
    pub fn telling(mut self, state: ProcessState) -> Self {
        self.agent = AgentWord::Told(Some(Box::new(state)));
        self
    }

    pub fn situation(&self) -> Situation<'_> {
        Situation {
            subject: &self.subject,
            desired: &self.desired,
            place: &self.place,
            home: &self.home,
            environment: &self.environment,
            password: &self.password,
            route: &self.route,
            published: self.published.as_ref(),
            agent: &self.agent,
            config: &self.config,
            now: self.now,
        }
    }
}

/// A process in this phase, with its port open while it runs.
pub fn state(phase: ProcessPhase) -> ProcessState {
    let runs = matches!(phase, ProcessPhase::Running | ProcessPhase::Starting | ProcessPhase::Stopping);
    ProcessState {
        id: "web".parse().unwrap(),
        phase,
        reason: None,
        message: None,
        pid: runs.then_some(42),
        restart_count: 0,
        started_at: Some(at(10)),
        stopped_at: None,
        next_start_at: None,
        last_exit: None,
        port_open: phase == ProcessPhase::Running,
        healthy: phase == ProcessPhase::Running,
        error_count: 0,
        last_error: None,
        last_output: None,
        restart_nonce: String::new(),
    }
}
