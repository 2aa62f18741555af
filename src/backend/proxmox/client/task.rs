//! Tasks: what a node does after it has answered.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::{
    Again, Cause, Client, Error, Missing, Upid,
    call::{Call, Parameters},
    failure::one_line,
    retry::verdict,
    wire,
};

/// Where a task stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TaskState {
    /// It goes on.
    Running,
    /// It did what it should. Of a resize even when the file system did not grow: see
    /// [`TaskLog::filesystem_did_not_grow`].
    Done {
        /// How many warnings its log has.
        warnings: u32,
    },
    /// It failed.
    Failed {
        /// What its words mean.
        cause: Cause,
        /// Its words.
        words: String,
    },
    /// The node does not know it: it began this instant, or it is long over.
    Unknown,
}

/// A part of the log of a task.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TaskLog {
    /// How many lines the whole log has.
    pub total: u64,
    /// The lines.
    pub lines: Vec<String>,
}

impl TaskLog {
    /// Whether a resize grew the disk and not the file system on it.
    pub fn filesystem_did_not_grow(&self) -> bool {
        self.lines.iter().any(|line| line.contains("Failed to update the container's filesystem"))
    }
}

/// Most lines that are asked for at once.
const MOST_LINES: u64 = 500;
/// Pause between two looks at a task.
const INTERVAL: Duration = Duration::from_secs(1);
/// For how long a task may be unknown after it began.
const APPEARS_WITHIN: Duration = Duration::from_secs(5);

impl Client {
    /// Where a task stands, as the node says that it runs on.
    pub async fn task(&self, upid: &Upid) -> Result<TaskState, Error> {
        match self.transport.call(call(upid, "status")).await {
            Ok(Sent { status, exitstatus }) => Ok(state(&status, exitstatus.as_deref())),
            Err(error) if error.cause() == Some(&Cause::Missing(Missing::Task)) => Ok(TaskState::Unknown),
            Err(error) => Err(error),
        }
    }

    /// Waits for the end of a task, but not longer than `limit`: then it is still
    /// [`TaskState::Running`]. That a node does not answer for a while ends nothing. For tasks of
    /// a few seconds; what takes longer is looked at again later.
    pub async fn wait_for_task(&self, upid: &Upid, limit: Duration) -> Result<TaskState, Error> {
        let began = Instant::now();
        loop {
            let state = match self.task(upid).await {
                Err(error) if verdict(&error.failure, error.kind).again == Again::No => return Err(error),
                Err(error) if began.elapsed() + INTERVAL >= limit => return Err(error),
                Err(_) => TaskState::Running,
                Ok(TaskState::Unknown) if began.elapsed() < APPEARS_WITHIN => TaskState::Running,
                Ok(state) => state,
            };
            if state != TaskState::Running || began.elapsed() + INTERVAL >= limit {
                return Ok(state);
            }
            sleep(INTERVAL).await;
        }
    }

    /// Lines of the log of a task, 500 at most. Of a task that is not known there are none.
    pub async fn task_log(&self, upid: &Upid, start: u64, lines: u64) -> Result<TaskLog, Error> {
        let parameters = Parameters::default().text("start", start).text("limit", lines.clamp(1, MOST_LINES));
        let call = call(upid, "log").with(parameters);
        let (lines, total) = self.transport.part::<Option<Vec<Line>>>(call).await?;
        Ok(log(lines.unwrap_or_default(), total))
    }

    /// The last lines of the log of a task, which say most when it failed.
    pub async fn task_log_end(&self, upid: &Upid, lines: u64) -> Result<TaskLog, Error> {
        let first = self.task_log(upid, 0, lines).await?;
        if first.total <= lines {
            return Ok(first);
        }
        self.task_log(upid, first.total - lines, lines).await
    }

    /// Asks a task to end. Takes some seconds. An aborted clone cleans up after itself.
    pub async fn abort_task(&self, upid: &Upid) -> Result<(), Error> {
        let call = Call::delete(&["nodes", upid.node().as_str(), "tasks", upid.as_str()]);
        self.transport.call(call.repeatable().at(upid.node(), None)).await
    }
}

fn call(upid: &Upid, what: &str) -> Call {
    let path = ["nodes", upid.node().as_str(), "tasks", upid.as_str(), what];
    Call::get(&path).at(upid.node(), None)
}

#[derive(Deserialize)]
struct Sent {
    status: String,
    #[serde(default, deserialize_with = "wire::optional_text")]
    exitstatus: Option<String>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default, deserialize_with = "wire::optional_number")]
    n: Option<u64>,
    #[serde(default, deserialize_with = "wire::optional_text")]
    t: Option<String>,
}

fn state(status: &str, exit: Option<&str>) -> TaskState {
    if status == "running" {
        return TaskState::Running;
    }
    // Said of a worker that was killed; one that left nothing was killed as well.
    let exit = exit.unwrap_or("unexpected status");
    if exit == "OK" {
        return TaskState::Done { warnings: 0 };
    }
    if let Some(warnings) = exit.strip_prefix("WARNINGS: ").and_then(|count| count.trim().parse().ok()) {
        return TaskState::Done { warnings };
    }
    TaskState::Failed { cause: Cause::of(exit), words: one_line(exit) }
}

/// What is said in place of a log that is empty or not there.
const NO_LOG: [&str; 2] = ["no content", "unable to open file - No such file or directory"];

fn log(lines: Vec<Line>, total: Option<u64>) -> TaskLog {
    if let [Line { n: Some(1), t: Some(text) }] = lines.as_slice()
        && NO_LOG.contains(&text.as_str())
    {
        return TaskLog::default();
    }
    let total = total.unwrap_or(lines.len() as u64);
    TaskLog { total, lines: lines.into_iter().map(|line| one_line(&line.t.unwrap_or_default())).collect() }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::backend::proxmox::client::{
        Lock,
        scripted::{Node, Step, answer, data, refusal},
    };

    const UPID: &str = "UPID:pve2:0001A2B3:00C0FFEE:6740AB12:vzclone:9000:berth@pve!test:";
    const STATUS: &str = "GET /api2/json/nodes/pve2/tasks/\
                          UPID:pve2:0001A2B3:00C0FFEE:6740AB12:vzclone:9000:berth@pve!test:/status";

    #[rstest]
    #[case("running", None, TaskState::Running)]
    #[case("stopped", Some("OK"), TaskState::Done { warnings: 0 })]
    #[case("stopped", Some("WARNINGS: 3"), TaskState::Done { warnings: 3 })]
    #[case("stopped", Some("CT is locked (disk)"), failed(Cause::Locked(Lock::Disk), "CT is locked (disk)"))]
    #[case("stopped", Some("unexpected status"), failed(Cause::Interrupted, "unexpected status"))]
    #[case("stopped", None, failed(Cause::Interrupted, "unexpected status"))]
    #[case("stopped", Some("a \u{7} b"), failed(Cause::Other, "a b"))]
    fn states(#[case] status: &str, #[case] exit: Option<&str>, #[case] expected: TaskState) {
        assert_eq!(state(status, exit), expected);
    }

    fn failed(cause: Cause, words: &str) -> TaskState {
        TaskState::Failed { cause, words: words.to_owned() }
    }

    fn unknown() -> Step {
        Step::Say(answer(
            "400 Parameter verification failed.",
            r#"{"data":null,"message":"Parameter verification failed.\n","errors":{"upid":"no such task"}}"#,
        ))
    }

    #[tokio::test]
    async fn a_task_is_asked_of_the_node_in_its_id_and_may_appear_late() {
        let running = data(r#"{"status":"running","pid":1}"#);
        let done = data(r#"{"status":"stopped","exitstatus":"WARNINGS: 1"}"#);
        let node = Node::start([unknown(), running, refusal("595 Connection refused"), done]).await;
        let state = node.client().wait_for_task(&UPID.parse().unwrap(), Duration::from_secs(30)).await;
        assert_eq!(state, Ok(TaskState::Done { warnings: 1 }));
        assert_eq!(node.lines(), [STATUS; 4]);
    }

    #[tokio::test]
    async fn a_task_that_goes_on_is_not_waited_for_without_end() {
        let node = Node::start([data(r#"{"status":"running"}"#)]).await;
        let state = node.client().wait_for_task(&UPID.parse().unwrap(), Duration::ZERO).await;
        assert_eq!(state, Ok(TaskState::Running));
    }

    #[tokio::test]
    async fn a_task_that_is_unknown_is_no_error() {
        let node = Node::start([unknown()]).await;
        assert_eq!(node.client().task(&UPID.parse().unwrap()).await, Ok(TaskState::Unknown));
    }

    #[tokio::test]
    async fn the_end_of_a_log_is_asked_for_by_its_length() {
        let first = r#"{"data":[{"n":1,"t":"one"},{"n":2,"t":"two"}],"total":5}"#;
        let last = r#"{"data":[{"n":4,"t":"four"},{"n":5,"t":"TASK ERROR: five"}],"total":"5"}"#;
        let node = Node::start([first, last].map(|body| Step::Say(answer("200 OK", body)))).await;
        let log = node.client().task_log_end(&UPID.parse().unwrap(), 2).await.unwrap();
        assert_eq!(log, TaskLog { total: 5, lines: vec!["four".into(), "TASK ERROR: five".into()] });
        let [_, line] = node.lines().try_into().unwrap();
        assert!(line.ends_with("/log?start=3&limit=2"), "{line}");
    }

    #[rstest]
    #[case("no content")]
    #[case("unable to open file - No such file or directory")]
    #[tokio::test]
    async fn an_empty_log_has_no_lines(#[case] text: &str) {
        let body = format!(r#"{{"data":[{{"n":1,"t":"{text}"}}],"total":1}}"#);
        let node = Node::start([Step::Say(answer("200 OK", &body))]).await;
        let log = node.client().task_log_end(&UPID.parse().unwrap(), 10).await;
        assert_eq!(log, Ok(TaskLog::default()));
    }

    #[test]
    fn a_file_system_that_did_not_grow_is_seen_in_the_log() {
        let line = "Failed to update the container's filesystem: command 'resize2fs' failed";
        assert!(TaskLog { total: 1, lines: vec![line.into()] }.filesystem_did_not_grow());
        assert!(!TaskLog { total: 1, lines: vec!["TASK OK".into()] }.filesystem_did_not_grow());
    }

    #[tokio::test]
    async fn an_abort_is_a_delete_without_a_body() {
        let node = Node::start([data("null")]).await;
        node.client().abort_task(&UPID.parse().unwrap()).await.unwrap();
        let [request] = node.received().try_into().unwrap();
        assert!(request.line().starts_with("DELETE /api2/json/nodes/pve2/tasks/UPID:pve2:"));
        assert_eq!(request.body, "");
    }
}
