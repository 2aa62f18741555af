//! The calls about tasks.

use serde_json::{Value, json};

use super::{Task, upid::Upid};
use crate::{
    access::Identity,
    cluster::state::State,
    failure::Failure,
    server::call::{Answer, Call},
};

fn named(call: &Call) -> Result<(String, Upid), Failure> {
    let text = call.text("upid");
    let upid: Upid = text.parse().map_err(|words| Failure::parameter("upid", words))?;
    Ok((text, upid))
}

/// Whether a task is the caller's. A user's tokens' tasks are the user's, not the other way.
fn is_own(identity: &Identity, upid: &Upid) -> bool {
    upid.user == identity.name()
        || (identity.token.is_none() && upid.user.starts_with(&format!("{}!", identity.user)))
}

fn allow(state: &State, call: &Call, upid: &Upid, privilege: &str) -> Result<(), Failure> {
    if is_own(&call.identity, upid) {
        return Ok(());
    }
    state.require(&call.identity, &format!("/nodes/{}", call.node), &[privilege])
}

fn find<'a>(state: &'a State, call: &Call, text: &str) -> Result<&'a Task, Failure> {
    let task = state.tasks.get(text).filter(|task| task.upid.node == call.node);
    task.ok_or_else(|| Failure::parameter("upid", "no such task"))
}

/// `GET /nodes/{node}/tasks/{upid}/status`
pub fn status(call: &Call) -> Result<Answer, Failure> {
    let (text, upid) = named(call)?;
    let state = call.cluster.state();
    let task = find(&state, call, &text)?;
    allow(&state, call, &upid, "Sys.Audit")?;
    Ok(Answer::from(described(task)))
}

fn described(task: &Task) -> Value {
    let upid = &task.upid;
    let (user, token) =
        upid.user.split_once('!').map_or((upid.user.as_str(), None), |(user, token)| (user, Some(token)));
    let mut value = json!({
        "upid": upid.to_string(), "node": upid.node, "pid": upid.pid, "pstart": upid.pstart,
        "starttime": upid.start, "type": upid.kind, "id": upid.id, "user": user,
        "status": if task.exit.is_some() { "stopped" } else { "running" },
    });
    if let Some(token) = token {
        value["tokenid"] = json!(token);
    }
    if let Some(exit) = &task.exit {
        value["exitstatus"] = json!(exit);
    }
    value
}

/// `GET /nodes/{node}/tasks/{upid}/log`
pub fn log(call: &Call) -> Result<Answer, Failure> {
    let (text, upid) = named(call)?;
    let state = call.cluster.state();
    allow(&state, call, &upid, "Sys.Audit")?;
    let lines = match state.tasks.get(&text).filter(|task| task.upid.node == call.node) {
        None => vec!["unable to open file - No such file or directory".to_owned()],
        Some(task) if task.log.is_empty() => vec!["no content".to_owned()],
        Some(task) => task.log.clone(),
    };
    let start: usize = call.params.number("start").unwrap_or(0);
    let limit = match call.params.number("limit").unwrap_or(50) {
        0 => usize::MAX,
        limit => limit,
    };
    let shown = lines.iter().enumerate().skip(start).take(limit);
    let shown: Vec<_> = shown.map(|(index, line)| json!({"n": index + 1, "t": line})).collect();
    Ok(Answer { data: json!(shown), total: Some(lines.len()) })
}

/// `DELETE /nodes/{node}/tasks/{upid}`
pub async fn stop(call: &Call) -> Result<Answer, Failure> {
    let (text, upid) = named(call)?;
    {
        let state = call.cluster.state();
        allow(&state, call, &upid, "Sys.Modify")?;
        find(&state, call, &text)?.abort.cancel();
    }
    tokio::time::sleep(call.cluster.clock.work(3.0)).await;
    Ok(Answer::from(Value::Null))
}

/// `GET /nodes/{node}/tasks`
pub fn list(call: &Call) -> Answer {
    let state = call.cluster.state();
    let audits = state.may(&call.identity, &format!("/nodes/{}", call.node), &["Sys.Audit"]);
    let source = call.params.get("source").unwrap_or("archive");
    let vmid = call.params.get("vmid");
    let mut tasks: Vec<&Task> = state
        .tasks
        .values()
        .filter(|task| {
            task.upid.node == call.node
                && (audits || is_own(&call.identity, &task.upid))
                && match source {
                    "active" => task.exit.is_none(),
                    "all" => true,
                    _ => task.exit.is_some(),
                }
                && vmid.is_none_or(|vmid| task.upid.id == vmid)
                && call.params.get("typefilter").is_none_or(|kind| task.upid.kind == kind)
                && (!call.params.flag("errors") || task.exit.as_deref().is_some_and(|exit| exit != "OK"))
        })
        .collect();
    tasks.sort_by_key(|task| std::cmp::Reverse((task.upid.start, task.upid.pid)));
    let total = tasks.len();
    let start = call.params.number("start").unwrap_or(0);
    let limit = call.params.number("limit").unwrap_or(50);
    let shown: Vec<Value> = tasks
        .into_iter()
        .skip(start)
        .take(limit)
        .map(|task| {
            let mut value = described(task);
            if let Some(object) = value.as_object_mut() {
                object.remove("exitstatus");
                object.remove("status");
            }
            value["status"] = json!(task.exit.as_deref().unwrap_or("RUNNING"));
            if let Some(ended) = task.ended {
                value["endtime"] = json!(ended);
            }
            value
        })
        .collect();
    Answer { data: json!(shown), total: Some(total) }
}
