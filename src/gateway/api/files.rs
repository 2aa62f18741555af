//! `files`: reading and writing what is in a workspace.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use berth_link::wire::files::Listing;
use futures::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};

use super::{
    Settings,
    agent::{Agent, PATIENCE, bounded, request as asking, with_query},
    operation::Operation,
    problem::{Problem, Reason},
    query::Query,
};

/// Time for one file or archive.
const TRANSFER: Duration = Duration::from_secs(1_800);
/// Longest path.
const PATH: usize = 4_096;
/// Longest entity tag.
const TAG: usize = 128;

/// Does what is asked of a file, a folder or an archive of one.
pub async fn perform(
    agent: &Agent,
    settings: &Settings,
    operation: &Operation,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let query = request.uri().query();
    match operation {
        Operation::ReadFile => {
            let path = path("/v1/files", query, &["offset", "limit"], request.headers())?;
            read(agent, settings, &path, "application/octet-stream").await
        }
        Operation::ReadArchive => {
            let path = path("/v1/files/archive", query, &[], request.headers())?;
            read(agent, settings, &path, "application/x-tar").await
        }
        Operation::ListFiles => {
            let path = path("/v1/files/list", query, &[], request.headers())?;
            Ok(Json(agent.get::<Listing>(&path).await?).into_response())
        }
        Operation::DeleteFile => {
            let path = path("/v1/files", query, &["recursive", "ifMatch"], request.headers())?;
            agent.send(asking(Method::DELETE, &path, Body::empty())?, TRANSFER).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Operation::WriteArchive => {
            let path = path("/v1/files/archive", query, &[], request.headers())?;
            write(agent, settings, &path, request).await
        }
        _ => {
            let path = path("/v1/files", query, &["mode", "ifMatch"], request.headers())?;
            write(agent, settings, &path, request).await
        }
    }
}

/// What the agent is asked for. Besides the path, only these parameters are taken; a condition
/// may stand in the headers of HTTP too.
fn path(
    route: &str,
    query: Option<&str>,
    taken: &[&'static str],
    headers: &HeaderMap,
) -> Result<String, Problem> {
    let known: Vec<_> = [&["path"], taken].concat();
    let query = Query::parse(query, &known)?;
    let path = query.text("path").unwrap_or(if route == "/v1/files" { "" } else { "." });
    if path.is_empty() {
        return Err(Problem::invalid("path: which file is meant?"));
    }
    if path.len() > PATH || path.contains('\0') {
        return Err(Problem::invalid(format!("path: at most {PATH} bytes, and no NUL")));
    }
    let mut pairs = vec![("path", path.to_owned())];
    for name in taken.iter().copied() {
        let value = match name {
            "offset" | "limit" => query.value::<u64>(name)?.map(|number| number.to_string()),
            "recursive" => query.flag(name)?.map(|yes| yes.to_string()),
            "ifMatch" => query.text(name).map(str::to_owned).or_else(|| condition(headers)),
            _ => query.text(name).map(str::to_owned),
        };
        pairs.extend(value.map(|value| (name, value)));
    }
    Ok(with_query(route, pairs))
}

/// The condition in the headers: an entity tag, or `*` for "only where there is none yet".
fn condition(headers: &HeaderMap) -> Option<String> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::to_owned);
    let none = text(header::IF_NONE_MATCH).filter(|value| value == "*");
    none.or_else(|| text(header::IF_MATCH).filter(|value| value != "*"))
}

async fn read(
    agent: &Agent,
    settings: &Settings,
    path: &str,
    kind: &'static str,
) -> Result<Response, Problem> {
    let answer = agent.send(asking(Method::GET, path, Body::empty())?, PATIENCE).await?;
    let (parts, body) = answer.into_parts();
    let mut response = Response::new(bounded(body, settings.largest_transfer, Some(TRANSFER)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.extend(tag(&parts.headers).map(|tag| (header::ETAG, tag)));
    Ok(response)
}

/// The entity tag of an answer, if it is one.
fn tag(headers: &HeaderMap) -> Option<HeaderValue> {
    let tag = headers.get(header::ETAG)?;
    let text = tag.to_str().ok()?;
    let whole = text.strip_prefix("W/").unwrap_or(text);
    let quoted = whole.len() >= 2 && whole.starts_with('"') && whole.ends_with('"');
    (quoted && text.len() <= TAG).then(|| tag.clone())
}

async fn write(
    agent: &Agent,
    settings: &Settings,
    path: &str,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let most = settings.largest_transfer;
    let too_large =
        || Problem::new(Reason::RequestEntityTooLarge, format!("at most {most} bytes are taken at once"));
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length > most) {
        return Err(too_large());
    }
    let (body, exceeded) = at_most(request.into_body(), most);
    match agent.send(asking(Method::PUT, path, body)?, TRANSFER).await {
        _ if exceeded.load(Ordering::Acquire) => Err(too_large()),
        Err(problem) => Err(problem),
        Ok(answer) => {
            let mut response = StatusCode::NO_CONTENT.into_response();
            response.headers_mut().extend(tag(answer.headers()).map(|tag| (header::ETAG, tag)));
            Ok(response)
        }
    }
}

/// A body that breaks off once it is too long, and says that it did.
fn at_most(body: Body, most: u64) -> (Body, Arc<AtomicBool>) {
    let exceeded = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&exceeded);
    let mut seen = 0_u64;
    let parts = body.into_data_stream().map(move |part| {
        let part = part.map_err(std::io::Error::other)?;
        seen = seen.saturating_add(part.len() as u64);
        if seen > most {
            flag.store(true, Ordering::Release);
            return Err(std::io::Error::from(std::io::ErrorKind::FileTooLarge));
        }
        Ok(part)
    });
    (Body::from_stream(parts), exceeded)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[rstest]
    #[case("path=a%26b", &[], "/v1/files?path=a%26b")]
    #[case("path=a&mode=755&ifMatch=7", &[], "/v1/files?path=a&mode=755&ifMatch=7")]
    #[case("path=a", &[("if-match", "\"7\"")], "/v1/files?path=a&ifMatch=%227%22")]
    #[case("path=a", &[("if-none-match", "*")], "/v1/files?path=a&ifMatch=*")]
    #[case("path=a", &[("if-match", "*")], "/v1/files?path=a")]
    fn a_file_is_written_under_conditions(
        #[case] query: &str,
        #[case] sent: &[(&'static str, &'static str)],
        #[case] expected: &str,
    ) {
        let asked = path("/v1/files", Some(query), &["mode", "ifMatch"], &headers(sent)).unwrap();
        assert_eq!(asked, expected);
    }

    #[rstest]
    #[case(None)]
    #[case(Some("path="))]
    #[case(Some("path=a%00b"))]
    #[case(Some("path=a&recursive=true"))]
    fn no_file_is_meant(#[case] query: Option<&str>) {
        assert!(path("/v1/files", query, &["mode"], &HeaderMap::new()).is_err());
    }

    #[test]
    fn without_a_path_a_listing_is_of_the_workspace() {
        let asked = path("/v1/files/list", None, &[], &HeaderMap::new()).unwrap();
        assert_eq!(asked, "/v1/files/list?path=.");
    }

    #[rstest]
    #[case("\"7\"", true)]
    #[case("W/\"7\"", true)]
    #[case("7", false)]
    #[case("\"", false)]
    fn entity_tags_are_passed_on(#[case] value: &'static str, #[case] expected: bool) {
        assert_eq!(tag(&headers(&[("etag", value)])).is_some(), expected);
    }
}
