//! `logs`: the output of a dev server, or of a workspace's container. kube-apiserver and everything between may cut a stream
//! that follows a dev server; it goes on at the byte offset where it was cut.

use std::time::Duration;

use berth_link::wire::process::LOG_OFFSET_HEADER;
use futures::StreamExt;
use http_body_util::BodyExt;

use super::{
    arguments::{LogSource, Logs, Target},
    client::{Cluster, Subresources, whole},
    exit::{Failure, Kind},
    local,
};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Prints it.
pub async fn run(cluster: &Cluster, wanted: &Logs) -> Result<u8, Failure> {
    match &wanted.source {
        LogSource::Said(Target::DevServer(name)) => of_dev_server(cluster, name, wanted).await,
        LogSource::Said(Target::Workspace(name)) => of_workspace(cluster, name, wanted).await,
        LogSource::Named(name) if wanted.since.is_some() => of_workspace(cluster, name, wanted).await,
        LogSource::Named(name) => match of_dev_server(cluster, name, wanted).await {
            Err(missing) if missing.kind == Kind::NotFound => {
                let shown = of_workspace(cluster, name, wanted).await;
                shown.map_err(|failure| if failure.kind == Kind::NotFound { missing } else { failure })
            }
            shown => shown,
        },
    }
}

/// Prints what the processes of a container printed, until there is no more or, where it is
/// followed, until the container ends.
async fn of_workspace(cluster: &Cluster, name: &str, wanted: &Logs) -> Result<u8, Failure> {
    let mut query = vec![
        ("tailLines", wanted.tail.to_string()),
        ("follow", wanted.follow.to_string()),
        ("timestamps", wanted.timestamps.to_string()),
    ];
    query.extend(wanted.since.map(|since| ("sinceSeconds", since.as_secs().max(1).to_string())));
    let answer = cluster.workspace(name).get("log", &query).await?;
    let mut parts = answer.into_body().into_data_stream();
    while let Some(part) = parts.next().await {
        local::print(&part.map_err(|error| Failure::failed(error.to_string()))?)?;
    }
    Ok(0)
}

async fn of_dev_server(cluster: &Cluster, name: &str, wanted: &Logs) -> Result<u8, Failure> {
    if wanted.since.is_some() {
        return Err(Failure::usage("--since is for a workspace's own log"));
    }
    let dev_server = cluster.dev_server(name);
    let mut printer = Printer { timestamps: wanted.timestamps };
    let mut offset = once(&dev_server, ("tailLines", wanted.tail.to_string()), &mut printer).await?;
    if !wanted.follow {
        return Ok(0);
    }
    let mut pause = FIRST_PAUSE;
    loop {
        let before = offset;
        match follow(&dev_server, &mut offset, &mut printer).await {
            Err(failure) if matches!(failure.kind, Kind::NotFound | Kind::Forbidden | Kind::Usage) => {
                return Err(failure);
            }
            Ok(()) | Err(_) => {}
        }
        pause = if offset > before { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::time::sleep(pause).await;
        // What came while nobody listened; it also tells where the log stands by now.
        match once(&dev_server, ("sinceOffset", offset.to_string()), &mut printer).await {
            Ok(end) => offset = end,
            Err(failure) if matches!(failure.kind, Kind::NotFound | Kind::Forbidden) => return Err(failure),
            Err(_) => {}
        }
    }
}

/// Prints a part of the log; gives the offset of its end.
async fn once(
    dev_server: &Subresources<'_>,
    part: (&str, String),
    printer: &mut Printer,
) -> Result<u64, Failure> {
    let answer = dev_server.get("log", &[part, ("timestamps", "true".to_owned())]).await?;
    let end = answer.headers().get(LOG_OFFSET_HEADER).and_then(|offset| offset.to_str().ok()?.parse().ok());
    let text = whole(answer).await?;
    printer.lines(&text)?;
    end.ok_or_else(|| Failure::failed("the answer does not tell where the log ends"))
}

/// Prints what comes, until the stream ends. The offset goes along with whole lines, so that the
/// next stream begins with one.
async fn follow(
    dev_server: &Subresources<'_>,
    offset: &mut u64,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let query = [
        ("sinceOffset", offset.to_string()),
        ("follow", "true".to_owned()),
        ("timestamps", "true".to_owned()),
    ];
    let mut parts = dev_server.get("log", &query).await?.into_body().into_data_stream();
    let mut start = Vec::new();
    while let Some(part) = parts.next().await {
        start.extend_from_slice(&part.map_err(|error| Failure::failed(error.to_string()))?);
        let whole = start.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let lines: Vec<u8> = start.drain(..whole).collect();
        printer.lines(&lines)?;
        *offset += lines.len() as u64;
    }
    Ok(())
}

/// Prints lines, with what stands before them or without.
struct Printer {
    timestamps: bool,
}

impl Printer {
    fn lines(&mut self, lines: &[u8]) -> Result<(), Failure> {
        let shown: Vec<u8> = match self.timestamps {
            true => lines.to_vec(),
            false => lines.split_inclusive(|byte| *byte == b'\n').flat_map(text_of).copied().collect(),
        };
        local::print(&shown)
    }
}

/// A line without the `[time] [stream]` before it.
fn text_of(line: &[u8]) -> &[u8] {
    let after = |text: &'_ [u8]| -> Option<usize> {
        text.starts_with(b"[")
            .then(|| text.iter().position(|byte| *byte == b']'))
            .flatten()
            .map(|end| end + 2)
    };
    after(line)
        .and_then(|time| Some(time + after(line.get(time..)?)?))
        .and_then(|start| line.get(start..))
        .unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("[2026-01-01T00:00:00Z] [stdout] ready\n", "ready\n")]
    #[case("[2026-01-01T00:00:00Z] [stderr] [vite] ready\n", "[vite] ready\n")]
    #[case("[2026-01-01T00:00:00Z] [stdout] \n", "\n")]
    #[case("no time\n", "no time\n")]
    #[case("[half", "[half")]
    #[case("[]", "[]")]
    fn times_are_taken_off(#[case] line: &str, #[case] expected: &str) {
        assert_eq!(text_of(line.as_bytes()), expected.as_bytes());
    }
}
