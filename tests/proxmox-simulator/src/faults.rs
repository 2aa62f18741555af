//! What goes wrong on purpose, and the record of all calls.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// The record keeps this many calls.
const LONGEST_RECORD: usize = 100_000;

/// Something that happens to the next calls of a kind.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The method; any unless it is given.
    #[serde(default)]
    pub method: Option<String>,
    /// The path below `/api2/json`. `*` stands for one part, `**` at the end for all that follow.
    pub path: String,
    /// How many calls it happens to.
    #[serde(default = "once")]
    pub times: u32,
    /// What happens.
    pub effect: Effect,
}

/// What happens to a call.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Effect {
    /// It is not done, and answered so. Above 500 the body is empty.
    Answer {
        /// The status.
        status: u16,
        /// The reason phrase and message.
        reason: String,
    },
    /// It waits, then it is done.
    Delay {
        /// For this long, whatever the time scale is.
        milliseconds: u64,
    },
    /// It is done, but the answer is a 596.
    Lose {
        /// The reason phrase.
        #[serde(default = "timed_out")]
        reason: String,
    },
    /// The answer is a 596, and it is begun after that.
    Late {
        /// After this long, whatever the time scale is.
        milliseconds: u64,
    },
}

/// Something that happens to the next tasks of a type.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TaskFault {
    /// The type, such as `vzclone`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the task is about, such as a VMID; any unless it is given.
    #[serde(default)]
    pub id: Option<String>,
    /// How many tasks it happens to.
    #[serde(default = "once")]
    pub times: u32,
    /// What the task fails with; it only takes longer without.
    #[serde(default)]
    pub error: Option<String>,
    /// How much longer it takes, whatever the time scale is.
    #[serde(default)]
    pub delay_milliseconds: u64,
}

/// A call that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// The method.
    pub method: String,
    /// The path below `/api2/json`.
    pub path: String,
    /// The parameters, those of the path too, without passwords.
    pub parameters: BTreeMap<String, Option<String>>,
    /// The status of the answer.
    pub status: u16,
    /// The message of a failure.
    pub reason: String,
}

fn once() -> u32 {
    1
}

fn timed_out() -> String {
    "Connection timed out".into()
}

impl TaskFault {
    fn is_due(&self, kind: &str, id: &str) -> bool {
        self.times > 0 && self.kind == kind && self.id.as_deref().is_none_or(|planned| planned == id)
    }
}

#[derive(Default)]
struct Plans {
    calls: Vec<Fault>,
    tasks: Vec<TaskFault>,
    record: VecDeque<Recorded>,
}

/// What goes wrong, and what was called.
#[derive(Default)]
pub struct Faults(Mutex<Plans>);

impl Faults {
    fn plans(&self) -> MutexGuard<'_, Plans> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plans a fault of calls.
    pub fn plan(&self, fault: Fault) {
        self.plans().calls.push(fault);
    }

    /// Plans a fault of tasks.
    pub fn plan_task(&self, fault: TaskFault) {
        self.plans().tasks.push(fault);
    }

    /// Forgets what was planned.
    pub fn clear(&self) {
        let mut plans = self.plans();
        plans.calls.clear();
        plans.tasks.clear();
    }

    /// What happens to this call. The fault has happened then.
    pub fn take(&self, method: &str, path: &str) -> Option<Effect> {
        let mut plans = self.plans();
        let fault = plans.calls.iter_mut().find(|fault| {
            fault.times > 0
                && fault.method.as_deref().is_none_or(|planned| planned == method)
                && matches(&fault.path, path)
        })?;
        fault.times -= 1;
        Some(fault.effect.clone())
    }

    /// What this task fails with. The fault has happened then.
    pub fn task_error(&self, kind: &str, id: &str) -> Option<String> {
        let mut plans = self.plans();
        let fault = plans.tasks.iter_mut().find(|fault| fault.is_due(kind, id) && fault.error.is_some())?;
        fault.times -= 1;
        fault.error.clone()
    }

    /// How much longer this task takes. The fault has happened then.
    pub fn task_delay(&self, kind: &str, id: &str) -> Duration {
        let mut plans = self.plans();
        let fault = plans.tasks.iter_mut().find(|fault| fault.is_due(kind, id) && fault.error.is_none());
        fault.map_or(Duration::ZERO, |fault| {
            fault.times -= 1;
            Duration::from_millis(fault.delay_milliseconds)
        })
    }

    /// Records a call.
    pub fn record(&self, call: Recorded) {
        let record = &mut self.plans().record;
        if record.len() == LONGEST_RECORD {
            record.pop_front();
        }
        record.push_back(call);
    }

    /// The calls so far.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.plans().record.iter().cloned().collect()
    }

    /// Starts a new record.
    pub fn forget(&self) {
        self.plans().record.clear();
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) | (Some("**"), Some(_)) => return true,
            (Some(pattern), Some(part)) if pattern == "*" || pattern == part => {}
            _ => return false,
        }
    }
}
