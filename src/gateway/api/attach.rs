//! `attach`: joining a named terminal over a WebSocket. The position in the terminal's output
//! comes on [`super::channels::POSITION`], so that a viewer can come back to where it was.

use axum::{body::Body, response::Response};
use berth_link::wire::process::ProcessId;
use http::Request;

use super::{
    agent::{Agent, with_query},
    channels::Handshake,
    frames,
    gate::Admission,
    problem::Problem,
    query::Query,
    session::{self, Streams},
};

/// Joins a terminal.
pub async fn attach(
    agent: &Agent,
    mut request: Request<Body>,
    admission: Admission,
) -> Result<Response, Problem> {
    let path = path(request.uri().query())?;
    let handshake = Handshake::begin(&mut request)?;
    let (to_agent, from_agent) = frames::open(agent, &path, None).await?;
    handshake.accept(move |sender, receiver| {
        session::run(sender, receiver, to_agent, from_agent, Streams::ALL, admission)
    })
}

/// What the agent is asked for.
fn path(query: Option<&str>) -> Result<String, Problem> {
    let query = Query::parse(query, &["terminal", "since", "id", "cols", "rows", "existing"])?;
    let name: ProcessId =
        query.value("terminal")?.ok_or_else(|| Problem::invalid("terminal: a name is wanted"))?;
    let since: Option<u64> = query.value("since")?;
    let mut pairs = Vec::new();
    pairs.extend(since.map(|offset| ("since", offset.to_string())));
    pairs.extend(query.text("id").map(|id| ("terminal", id.to_owned())));
    for side in ["cols", "rows"] {
        let length: Option<u16> = query.value(side)?;
        if length == Some(0) {
            return Err(Problem::invalid("cols and rows are at least 1"));
        }
        pairs.extend(length.map(|length| (side, length.to_string())));
    }
    pairs.extend(query.flag("existing")?.unwrap_or(false).then(|| ("existing", "true".to_owned())));
    Ok(with_query(&format!("/v1/terminals/{name}"), pairs))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("terminal=main", "/v1/terminals/main")]
    #[case(
        "terminal=main&since=7&id=t1&cols=80&rows=24&existing=true",
        "/v1/terminals/main?since=7&terminal=t1&cols=80&rows=24&existing=true"
    )]
    fn a_terminal_is_asked_for(#[case] query: &str, #[case] expected: &str) {
        assert_eq!(path(Some(query)).unwrap(), expected);
    }

    #[rstest]
    #[case("")]
    #[case("terminal=..%2Fprocesses")]
    #[case("terminal=a%3Fexisting")]
    #[case("terminal=main&cols=0")]
    #[case("terminal=main&since=-1")]
    fn no_terminal_is_meant(#[case] query: &str) {
        assert!(path(Some(query)).is_err());
    }
}
