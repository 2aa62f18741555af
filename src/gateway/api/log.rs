//! What is told as it happens: the output of a container and of a dev server, and the events of an
//! agent.

use std::time::Duration;

use axum::{body::Body, response::Response};
use berth_link::wire::process::{LOG_OFFSET_HEADER, ProcessId};
use futures::StreamExt;
use http::{HeaderName, HeaderValue, Method, header};

use super::{
    Controller,
    agent::{Agent, PATIENCE, bounded, request, with_query},
    gate::Admission,
    objects::WorkspaceView,
    problem::Problem,
    query::Query,
};
use crate::backend::LogRequest;

/// Most lines from the end.
const MOST_LINES: u64 = 2_000;
/// Most bytes of a log that is read to its end.
const MOST_BYTES: u64 = 64 << 20;
/// Time for a log that is read to its end.
const TIME: Duration = Duration::from_secs(60);

/// Which part of a log is wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Wanted {
    path: String,
    follow: bool,
}

/// Answers with what the processes of a workspace's container printed, as text.
pub async fn of_container(
    controller: &dyn Controller,
    workspace: &WorkspaceView,
    query: Option<&str>,
    admission: Admission,
) -> Result<Response, Problem> {
    let wanted = container_log(query)?;
    let follow = wanted.follow;
    let body = controller.log(workspace, wanted).await?;
    let mut response = Response::new(match follow {
        true => until_revoked(body, admission),
        false => bounded(body, MOST_BYTES, Some(TIME)),
    });
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    Ok(response)
}

fn container_log(query: Option<&str>) -> Result<LogRequest, Problem> {
    let query = Query::parse(query, &["tailLines", "sinceSeconds", "follow", "timestamps"])?;
    let tail = query.value("tailLines")?.unwrap_or(MOST_LINES);
    if !(1..=MOST_LINES).contains(&tail) {
        return Err(Problem::invalid(format!("tailLines: from 1 to {MOST_LINES}")));
    }
    let since: Option<u64> = query.value("sinceSeconds")?;
    if since == Some(0) {
        return Err(Problem::invalid("sinceSeconds: 1 or more"));
    }
    Ok(LogRequest {
        tail: u32::try_from(tail).unwrap_or(u32::MAX),
        since: since.map(Duration::from_secs),
        follow: query.flag("follow")?.unwrap_or(false),
        timestamps: query.flag("timestamps")?.unwrap_or(false),
    })
}

/// Answers with lines as text.
pub async fn read(
    agent: &Agent,
    process: &ProcessId,
    query: Option<&str>,
    admission: Admission,
) -> Result<Response, Problem> {
    let wanted = wanted(process, query)?;
    let answer = agent.send(request(Method::GET, &wanted.path, Body::empty())?, PATIENCE).await?;
    let (parts, body) = answer.into_parts();
    let body = match wanted.follow {
        true => until_revoked(body, admission),
        false => bounded(body, MOST_BYTES, Some(TIME)),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Some(offset) = offset(&parts.headers) {
        headers.insert(HeaderName::from_static(LOG_OFFSET_HEADER), offset.into());
    }
    Ok(response)
}

/// Answers with what the agent tells, as it happens: a JSON document a line, without end.
pub async fn events(agent: &Agent, admission: Admission) -> Result<Response, Problem> {
    let answer = agent.send(request(Method::GET, "/v1/events", Body::empty())?, PATIENCE).await?;
    let mut response = Response::new(until_revoked(answer.into_body(), admission));
    let lines = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, lines);
    Ok(response)
}

fn offset(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(LOG_OFFSET_HEADER)?.to_str().ok()?.parse().ok()
}

/// What an agent sends, for as long as the client may see it.
pub fn until_revoked(body: Body, admission: Admission) -> Body {
    let revoked = Box::pin(async move {
        admission.until_revoked().await;
    });
    Body::from_stream(body.into_data_stream().take_until(revoked))
}

fn wanted(process: &ProcessId, query: Option<&str>) -> Result<Wanted, Problem> {
    let query = Query::parse(query, &["tailLines", "sinceOffset", "follow", "timestamps"])?;
    let tail: Option<u64> = query.value("tailLines")?;
    let since: Option<u64> = query.value("sinceOffset")?;
    if tail.is_some_and(|lines| !(1..=MOST_LINES).contains(&lines)) {
        return Err(Problem::invalid(format!("tailLines: from 1 to {MOST_LINES}")));
    }
    if tail.is_some() && since.is_some() {
        return Err(Problem::invalid("tailLines and sinceOffset can not both be set"));
    }
    let follow = query.flag("follow")?.unwrap_or(false);
    let mut pairs = Vec::new();
    pairs.extend(tail.map(|lines| ("tail", lines.to_string())));
    pairs.extend(since.map(|offset| ("since", offset.to_string())));
    pairs.extend(follow.then(|| ("follow", "true".to_owned())));
    pairs.extend(query.flag("timestamps")?.unwrap_or(false).then(|| ("timestamps", "true".to_owned())));
    let path = with_query(&format!("/v1/processes/{process}/log"), pairs);
    Ok(Wanted { path, follow })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::gateway::api::problem::Reason;

    fn web() -> ProcessId {
        "web".parse().unwrap()
    }

    #[rstest]
    #[case(None, "/v1/processes/web/log", false)]
    #[case(Some("tailLines=2000&timestamps=true"), "/v1/processes/web/log?tail=2000&timestamps=true", false)]
    #[case(Some("sinceOffset=0&follow=true"), "/v1/processes/web/log?since=0&follow=true", true)]
    fn a_part_of_the_log(#[case] query: Option<&str>, #[case] path: &str, #[case] follow: bool) {
        let expected = Wanted { path: path.to_owned(), follow };
        assert_eq!(wanted(&web(), query).unwrap(), expected);
    }

    #[rstest]
    #[case(None, 2000, None, false)]
    #[case(Some("tailLines=7&sinceSeconds=60&follow"), 7, Some(60), true)]
    fn a_part_of_the_containers_log(
        #[case] query: Option<&str>,
        #[case] tail: u32,
        #[case] since: Option<u64>,
        #[case] follow: bool,
    ) {
        let since = since.map(Duration::from_secs);
        let expected = LogRequest { tail, since, follow, timestamps: false };
        assert_eq!(container_log(query).unwrap(), expected);
    }

    #[rstest]
    #[case("tailLines=0", Reason::Invalid)]
    #[case("tailLines=2001", Reason::Invalid)]
    #[case("sinceSeconds=0", Reason::Invalid)]
    #[case("sinceSeconds=-5", Reason::BadRequest)]
    #[case("sinceOffset=5", Reason::BadRequest)]
    fn no_part_of_the_containers_log(#[case] query: &str, #[case] expected: Reason) {
        assert_eq!(container_log(Some(query)).unwrap_err().reason, expected);
    }

    #[rstest]
    #[case("tailLines=0", Reason::Invalid)]
    #[case("tailLines=2001", Reason::Invalid)]
    #[case("tailLines=1&sinceOffset=0", Reason::Invalid)]
    #[case("tailLines=-1", Reason::BadRequest)]
    #[case("follow=perhaps", Reason::BadRequest)]
    fn no_part_of_the_log(#[case] query: &str, #[case] expected: Reason) {
        assert_eq!(wanted(&web(), Some(query)).unwrap_err().reason, expected);
    }
}
