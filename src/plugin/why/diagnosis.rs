//! What an object's status and events say of what is wrong with it. No I/O.

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Event, apimachinery::pkg::apis::meta::v1::Condition};
use kube::ResourceExt;
use serde::Serialize;
use serde_json::Value;

use crate::api::{
    ErrorStatus, Workspace,
    condition::{AVAILABLE, READY, RECONCILING, STALLED},
};

/// Events that are shown.
const EVENTS: usize = 3;

/// How an object is, and why it is not as wanted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// Kind of the object.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub phase: String,
    /// How far it has come, while it is on its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// What is wrong; absent where nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
    /// The end of its output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_output: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub todo: Vec<String>,
    /// The newest warnings, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<SeenEvent>,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trouble {
    /// A stable word for programs.
    pub reason: String,
    /// What happened, for people.
    pub message: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// A warning of somebody's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeenEvent {
    /// When it last happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// A stable word for programs.
    pub reason: String,
    /// What happened, for people.
    pub message: String,
}

impl Diagnosis {
    /// Adds the newest warnings, where something is wrong.
    pub fn add_events(&mut self, events: &[Event]) {
        if self.trouble.is_none() {
            return;
        }
        let mut warnings: Vec<_> =
            events.iter().filter(|event| event.type_.as_deref() == Some("Warning")).map(seen).collect();
        warnings.sort_by_key(|event| std::cmp::Reverse(event.at));
        warnings.truncate(EVENTS);
        self.events = warnings;
    }
}

fn seen(event: &Event) -> SeenEvent {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
    let at = series
        .or(event.event_time.as_ref())
        .map(|time| time.0)
        .or(event.last_timestamp.as_ref().map(|time| time.0));
    SeenEvent {
        at,
        reason: event.reason.clone().unwrap_or_default(),
        message: event.message.clone().unwrap_or_default(),
    }
}

/// How a workspace is.
pub fn of_workspace(workspace: &Workspace) -> Diagnosis {
    let name = workspace.name_any();
    let status = workspace.status.clone().unwrap_or_default();
    let suspended = workspace.is_to_be_suspended();
    let seen = status.observed_generation == workspace.metadata.generation;
    let unseen =
        (!seen).then(|| unseen(status.observed_generation, workspace.creation_timestamp().map(|t| t.0)));
    let at_rest = suspended && status.phase.as_deref() == Some("Suspended") && status.error.is_none();
    let trouble = unseen.or_else(|| {
        if at_rest { None } else { failed(status.error.as_ref()).or_else(|| obstacle(&status.conditions)) }
    });
    let progress = status.step.as_ref().filter(|_| trouble.is_some()).map(|step| {
        let place = match (status.step_index, status.total_steps) {
            (Some(index), Some(total)) => format!(" (step {index} of {total})"),
            _ => String::new(),
        };
        let message = status.step_message.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
        format!("{step}{place}{message}")
    });
    let mut todo = Vec::new();
    if let Some(error) = status.error.as_ref().filter(|_| seen) {
        todo.extend(error.hint.clone());
        todo.push(match error.retryable {
            true => "Berth tries again by itself.".to_owned(),
            false => format!(
                "When that is done: kubectl annotate workspace {name} --overwrite berth.dev/retry-nonce=\"$(date +%s)\""
            ),
        });
    } else if !seen {
        todo.push("Is the operator running? Its log and its leader's Lease tell.".to_owned());
    } else if at_rest {
        todo.push(format!("It is suspended, as wanted. To start it: kubectl berth resume {name}"));
    }
    Diagnosis {
        kind: "Workspace".to_owned(),
        phase: status.phase.unwrap_or_else(|| "Pending".to_owned()),
        name,
        progress,
        trouble,
        todo,
        ..Diagnosis::default()
    }
}

/// How a dev server is.
pub fn of_dev_server(name: &str, generation: Option<i64>, object: &Value) -> Diagnosis {
    let status = &object["status"];
    let text = |field: &str| status[field].as_str().map(str::to_owned);
    let conditions: Vec<Condition> = serde_json::from_value(status["conditions"].clone()).unwrap_or_default();
    let observed = status["observedGeneration"].as_i64();
    let phase = text("phase").unwrap_or_else(|| "Pending".to_owned());
    let stopped = object["spec"]["operatingMode"] == "Stopped" && phase == "Stopped";
    let trouble = match observed == generation {
        false => Some(unseen(observed, None)),
        true if stopped => None,
        true => obstacle(&conditions),
    };
    let workspace = object["spec"]["workspaceRef"]["name"].as_str().unwrap_or_default();
    let todo = match &trouble {
        _ if stopped => vec![format!(
            "It is stopped, as wanted. To start it: kubectl patch devserver {name} --type merge -p '{{\"spec\":{{\"operatingMode\":\"Running\"}}}}'"
        )],
        None => Vec::new(),
        Some(trouble) => advice(trouble, name, workspace),
    };
    Diagnosis {
        kind: "DevServer".to_owned(),
        name: name.to_owned(),
        progress: status["restartCount"]
            .as_u64()
            .filter(|count| *count > 0 && trouble.is_some())
            .map(|count| format!("started again {count} times since its last good run")),
        last_output: text("lastOutput").or_else(|| text("lastError")).filter(|_| trouble.is_some()),
        phase,
        trouble,
        todo,
        events: Vec::new(),
    }
}

fn advice(trouble: &Trouble, name: &str, workspace: &str) -> Vec<String> {
    match trouble.reason.as_str() {
        reason if reason.starts_with("Workspace") || reason.starts_with("Agent") => {
            vec![format!("kubectl berth why {workspace} says more.")]
        }
        "NotObserved" => vec!["Is the operator running? Its log and its leader's Lease tell.".to_owned()],
        _ => vec![
            format!("Its output: kubectl berth logs {name}"),
            format!("When that is done: kubectl berth restart dev/{name}"),
        ],
    }
}

fn unseen(observed: Option<i64>, since: Option<Timestamp>) -> Trouble {
    let message = match observed {
        None => "nobody has looked at this object yet",
        Some(_) => "the last change of this object was not acted on yet",
    };
    Trouble { reason: "NotObserved".to_owned(), message: message.to_owned(), since }
}

fn failed(error: Option<&ErrorStatus>) -> Option<Trouble> {
    error.map(|error| Trouble {
        reason: error.reason.clone(),
        message: format!("{}: {}", error.step, error.message),
        since: Some(error.at.0),
    })
}

/// What keeps an object from being Ready: the first condition that names a cause, else Ready
/// itself.
fn obstacle(conditions: &[Condition]) -> Option<Trouble> {
    let ready = conditions.iter().find(|condition| condition.type_ == READY)?;
    if ready.status == "True" {
        return None;
    }
    let summaries = [READY, AVAILABLE, RECONCILING, STALLED];
    let cause = conditions
        .iter()
        .find(|condition| condition.status != "True" && !summaries.contains(&condition.type_.as_str()))
        .unwrap_or(ready);
    Some(Trouble {
        reason: cause.reason.clone(),
        message: cause.message.clone(),
        since: Some(cause.last_transition_time.0),
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn workspace(mode: &str, status: Value) -> Workspace {
        serde_json::from_value(json!({
            "apiVersion": "berth.dev/v1alpha1",
            "kind": "Workspace",
            "metadata": {"name": "a", "generation": 2},
            "spec": {"operatingMode": mode},
            "status": status,
        }))
        .unwrap()
    }

    fn condition(type_: &str, status: &str, reason: &str) -> Value {
        json!({"type": type_, "status": status, "reason": reason, "message": "words", "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    fn reason(found: &Diagnosis) -> Option<&str> {
        found.trouble.as_ref().map(|trouble| trouble.reason.as_str())
    }

    #[rstest]
    #[case::well("Running", json!({"observedGeneration": 2, "phase": "Running", "conditions": [condition("Ready", "True", "Ready")]}), None)]
    #[case::unseen("Running", json!({"observedGeneration": 1, "conditions": [condition("Ready", "True", "Ready")]}), Some("NotObserved"))]
    #[case::cause("Running", json!({"observedGeneration": 2, "conditions": [condition("Ready", "False", "X"), condition("Available", "False", "Y"), condition("SecretsReady", "False", "SecretNotFound")]}), Some("SecretNotFound"))]
    #[case::no_cause("Running", json!({"observedGeneration": 2, "conditions": [condition("Ready", "False", "X"), condition("Reconciling", "True", "Y")]}), Some("X"))]
    #[case::suspended("Suspended", json!({"observedGeneration": 2, "phase": "Suspended", "conditions": [condition("Ready", "False", "Suspended")]}), None)]
    #[case::suspending("Suspended", json!({"observedGeneration": 2, "phase": "Suspending", "conditions": [condition("Ready", "False", "Suspending")]}), Some("Suspending"))]
    fn a_workspace_is_in_trouble_for(
        #[case] mode: &str,
        #[case] status: Value,
        #[case] expected: Option<&str>,
    ) {
        assert_eq!(reason(&of_workspace(&workspace(mode, status))), expected);
    }

    #[rstest]
    #[case(true, "Berth tries again by itself.")]
    #[case(false, "berth.dev/retry-nonce")]
    fn an_error_says_what_to_do(#[case] retryable: bool, #[case] expected: &str) {
        let error = json!({"step": "CloningRepository", "reason": "GitAuthFailed", "message": "no", "hint": "Give a token.", "at": "2026-01-01T00:00:00Z", "retryable": retryable});
        let found = of_workspace(&workspace("Running", json!({"observedGeneration": 2, "error": error})));
        assert_eq!(reason(&found), Some("GitAuthFailed"));
        assert_eq!(found.todo[0], "Give a token.");
        assert!(found.todo[1].contains(expected), "{:?}", found.todo);
    }

    #[test]
    fn a_crashing_dev_server_shows_its_output() {
        let object = json!({
            "spec": {"workspaceRef": {"name": "a"}},
            "status": {"observedGeneration": 1, "phase": "Failed", "restartCount": 3, "lastOutput": "boom",
                "conditions": [condition("Ready", "False", "X"), condition("ProcessRunning", "False", "CrashLoop")]},
        });
        let found = of_dev_server("web", Some(1), &object);
        assert_eq!((reason(&found), found.last_output.as_deref()), (Some("CrashLoop"), Some("boom")));
        assert_eq!(found.todo[0], "Its output: kubectl berth logs web");
    }

    #[test]
    fn a_dev_server_without_its_workspace_leads_there() {
        let object = json!({
            "spec": {"workspaceRef": {"name": "a"}},
            "status": {"observedGeneration": 1, "conditions": [condition("Ready", "False", "WorkspaceNotReady")]},
        });
        assert_eq!(of_dev_server("web", Some(1), &object).todo, ["kubectl berth why a says more."]);
    }

    #[test]
    fn only_warnings_are_shown_the_newest_first() {
        let event = |type_: &str, reason: &str, second: i64| {
            let at = Timestamp::from_second(second).unwrap().to_string();
            serde_json::from_value::<Event>(json!({"metadata": {}, "involvedObject": {}, "type": type_, "reason": reason, "lastTimestamp": at})).unwrap()
        };
        let mut found = of_workspace(&workspace("Running", json!({})));
        found.add_events(&[
            event("Warning", "Old", 1),
            event("Normal", "Good", 3),
            event("Warning", "New", 2),
        ]);
        let reasons: Vec<_> = found.events.iter().map(|event| event.reason.as_str()).collect();
        assert_eq!(reasons, ["New", "Old"]);
    }
}
