//! Holds a conversation.

use std::{panic::AssertUnwindSafe, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Request, header};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    case::{Case, Need, Place, Step, Task},
    client::{Answer, body},
    expected::{Names, difference, filled, filled_value, has_item, text_is},
    guests,
    target::Target,
};

/// How long a question is repeated.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(50);

/// What became of a case.
pub enum Outcome {
    Passed,
    /// The cluster, or what we know of it, lacks something.
    NotAsked(String),
}

/// Holds a case against the target. Whatever it made is gone afterwards.
pub async fn run(target: &Target, case: &Case) -> Result<Outcome, String> {
    if let Some(missing) = missing(target, case).await? {
        return Ok(Outcome::NotAsked(missing));
    }
    guests::require_free(target).await?;
    let held = AssertUnwindSafe(hold(target, case)).catch_unwind().await;
    let removed = guests::remove_all(target).await;
    match (held, removed) {
        (Ok(Ok(())), Ok(())) => Ok(Outcome::Passed),
        (Ok(Err(words)), Ok(())) | (Ok(Ok(())), Err(words)) => Err(words),
        (Ok(Err(words)), Err(more)) => Err(format!("{words}; and {more}")),
        (Err(_), _) => Err("it panicked".to_owned()),
    }
}

/// What the case needs and there is not.
async fn missing(target: &Target, case: &Case) -> Result<Option<String>, String> {
    for need in &case.needs {
        let words = match need {
            Need::Snapshots if !target.has_snapshots().await? => "the storage has no snapshots",
            Need::SecondNode if !target.names.contains_key("node2") => "PROXMOX_SECOND_NODE is not set",
            Need::Simulator if !target.simulated => "only the simulator can be asked",
            _ => continue,
        };
        return Ok(Some(words.to_owned()));
    }
    if case.on == Place::Directory && !target.names.contains_key("directory") {
        return Ok(Some("PROXMOX_DIRECTORY is not set".to_owned()));
    }
    for caller in case.steps.iter().filter_map(|step| step.caller.as_deref()) {
        if target.credentials(Some(caller)).await?.is_none() {
            return Ok(Some(format!("there is no caller {caller:?}")));
        }
    }
    Ok(None)
}

async fn hold(target: &Target, case: &Case) -> Result<(), String> {
    guests::prepare(target, case.given, case.on).await?;
    let mut names = target.names.clone();
    for step in &case.steps {
        take(target, step, &mut names).await.map_err(|words| format!("{}: {words}", step.call))?;
    }
    Ok(())
}

async fn take(target: &Target, step: &Step, names: &mut Names) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    let answer = loop {
        let answer = target.client.send(request(target, step, names).await?).await?;
        match check(step, &answer, names) {
            Ok(()) => break answer,
            Err(words) if !step.until || Instant::now() > deadline => return Err(words),
            Err(_) => sleep(PAUSE).await,
        }
    };
    let json = answer.json().unwrap_or_default();
    for (name, pointer) in &step.keep {
        let value = match json["data"].pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => return Err(format!("{pointer} is absent: {}", answer.text)),
        };
        names.insert(name.clone(), value);
    }
    match &step.task {
        Some(task) => follow(target, step, task, &json["data"], names).await,
        None => Ok(()),
    }
}

async fn request(
    target: &Target,
    step: &Step,
    names: &Names,
) -> Result<Request<http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>>, String> {
    let (method, path) = step.call.split_once(' ').ok_or("a call is METHOD PATH")?;
    let mut request = Request::builder().method(method).uri(format!("/api2/json{}", filled(path, names)));
    let credentials = target.credentials(step.caller.as_deref()).await?.unwrap_or_default();
    // A header that the step writes itself stands in the place of the caller's.
    let own = step.headers.iter().map(|(name, value)| (name.clone(), filled(value, names)));
    for (name, value) in
        credentials.into_iter().filter(|(name, _)| !step.headers.contains_key(name)).chain(own)
    {
        request = request.header(name, value);
    }
    let bytes = if let Some(json) = &step.json {
        request = request.header(header::CONTENT_TYPE, "application/json");
        Bytes::from(filled_value(json, names).to_string())
    } else if let Some(text) = &step.text {
        Bytes::from(text.clone())
    } else if let Some(length) = step.bytes {
        Bytes::from(vec![b'a'; length])
    } else if !step.form.is_empty() {
        request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let pairs = step.form.iter().map(|(key, value)| match value {
            Value::String(text) => (key, filled(text, names)),
            other => (key, other.to_string()),
        });
        Bytes::from(url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
    } else {
        Bytes::new()
    };
    request.body(body(bytes, step.chunked)).map_err(|error| error.to_string())
}

/// What is wrong with an answer.
fn check(step: &Step, answer: &Answer, names: &Names) -> Result<(), String> {
    let whole = || format!("{}\n    {}", answer.line(), answer.text);
    let (status, reason) = step.answer.split_once(' ').unwrap_or((&step.answer, "~.*"));
    if status != answer.status.to_string() || !text_is(reason, &answer.reason, names) {
        return Err(format!("answered {}, expected {}", whole(), filled(&step.answer, names)));
    }
    form_of(answer)?;
    if let Some(body) = &step.body
        && !text_is(body, &answer.text, names)
    {
        return Err(format!("the body is {:?}", answer.text));
    }
    for (name, expected) in &step.carries {
        let values: Vec<_> =
            answer.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        if !text_is(expected, &values.join(", "), names) {
            return Err(format!("{name} is {values:?}, not {expected}"));
        }
    }
    let json = answer.json().unwrap_or_default();
    if let Some(errors) = &step.errors {
        let found = json["errors"].as_object().cloned().unwrap_or_default();
        let is_expected = |(name, words): (&String, &String)| {
            let found = found.get(&filled(name, names)).and_then(Value::as_str);
            found.is_some_and(|found| text_is(words, found, names))
        };
        if found.len() != errors.len() || !errors.iter().all(is_expected) {
            return Err(format!("answered {}, expected errors {errors:?}", whole()));
        }
    }
    if let Some(expected) = &step.data
        && let Some(words) = difference("data", expected, &json["data"], names)
    {
        return Err(format!("{words}\n    {}", answer.text));
    }
    if let Some(lacking) = step.includes.iter().find(|item| !has_item(item, &json["data"], names)) {
        return Err(format!("data does not include {}\n    {}", filled_value(lacking, names), answer.text));
    }
    if let Some(present) = step.excludes.iter().find(|item| has_item(item, &json["data"], names)) {
        return Err(format!("data includes {}\n    {}", filled_value(present, names), answer.text));
    }
    Ok(())
}

/// What every answer has in common, whatever was asked.
fn form_of(answer: &Answer) -> Result<(), String> {
    let has = |name: header::HeaderName, value: &str| {
        answer
            .headers
            .get_all(name)
            .iter()
            .any(|found| found.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
    };
    if answer.status >= 400 && !has(header::CONNECTION, "close") {
        return Err(format!("{} without Connection: close", answer.line()));
    }
    if answer.status == 200 && !has(header::CONTENT_TYPE, "application/json;charset=UTF-8") {
        return Err("a success of another content type".to_owned());
    }
    match answer.json() {
        Some(json) if answer.status != 200 => {
            // Before http-server 5.2.0 there is no message.
            let message = json["message"].as_str().unwrap_or(&answer.reason);
            let same = message.lines().next().unwrap_or_default() == answer.reason;
            let bare = json["data"] == Value::Null;
            if same && bare { Ok(()) } else { Err(format!("the body is not that of a failure: {json}")) }
        }
        _ => Ok(()),
    }
}

/// Looks at the task that an answer names.
async fn follow(
    target: &Target,
    step: &Step,
    task: &Task,
    data: &Value,
    names: &mut Names,
) -> Result<(), String> {
    let upid = data.as_str().ok_or_else(|| format!("data is no UPID: {data}"))?.to_owned();
    let who = match step.caller.as_deref() {
        None => "{user}",
        Some("root") => "root@pam",
        Some(_) => "[^:]+",
    };
    let expected = format!(
        "~UPID:{{node}}:[0-9A-F]{{8}}:[0-9A-F]{{8,9}}:[0-9A-F]{{8}}:{}:{}:{who}:",
        task.kind, task.id
    );
    if !text_is(&expected, &upid, names) {
        return Err(format!("the task is {upid}, not {expected}"));
    }
    if let Some(expected) = &task.ends {
        let end = guests::ended(target, &upid).await?;
        let as_expected = match expected.as_str() {
            "well" => text_is("~OK|WARNINGS: [0-9]+", &end, names),
            words => text_is(words, &end, names),
        };
        if !as_expected {
            return Err(format!("the task ended {end:?}, not {:?}", filled(expected, names)));
        }
    }
    if let Some(line) = &task.log {
        let node = &names["node"];
        let log = target.ask("GET", &format!("/nodes/{node}/tasks/{upid}/log?limit=0"), "").await?.data()?;
        if !has_item(&serde_json::json!({"t": line}), &log, names) {
            return Err(format!("the log is {log}"));
        }
    }
    names.insert("upid".to_owned(), upid);
    Ok(())
}
