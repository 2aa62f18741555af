//! `open`: a preview or a terminal in the browser.

use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::json;

use super::{
    arguments::Open,
    client::Cluster,
    exit::{Failure, Kind, Subject},
    lifecycle::dev_servers,
    local,
};

/// A ticket, as the gateway mints it.
#[derive(Deserialize)]
struct Ticket {
    /// The address to open, with the ticket in it.
    url: String,
}

/// Prints the address, and opens it unless only that is wanted.
pub async fn run(cluster: &Cluster, wanted: &Open) -> Result<u8, Failure> {
    let address = match (&wanted.terminal, &wanted.dev_server) {
        (Some(workspace), _) => terminal(cluster, workspace).await?,
        (None, Some(dev_server)) => preview(cluster, &dev_server.0).await?,
        (None, None) => return Err(Failure::usage("give a dev server or --terminal WORKSPACE")),
    };
    // What is opened comes from the cluster: nothing but a web page.
    let url = url::Url::parse(&address)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| Failure::failed(format!("{address:?} is no address of a web page")))?;
    local::line(url.as_str())?;
    if !wanted.print && !browse(&url) {
        local::note("No browser was found; set $BROWSER, or open the address yourself.");
    }
    Ok(0)
}

async fn terminal(cluster: &Cluster, workspace: &str) -> Result<String, Failure> {
    let (workspace, wanted) = (cluster.workspace(workspace), json!({"for": "terminal"}));
    ticket(cluster.in_time(workspace.post("ticket", &wanted)).await?)
}

fn ticket(answer: impl AsRef<[u8]>) -> Result<String, Failure> {
    let ticket: Ticket = serde_json::from_slice(answer.as_ref())?;
    Ok(ticket.url)
}

/// The address of a preview; of a private one with a ticket, which lets one browser in.
async fn preview(cluster: &Cluster, name: &str) -> Result<String, Failure> {
    let subject = Subject::dev_server(name, &cluster.namespace);
    let found = async { dev_servers(cluster).get(name).await.map_err(|error| subject.failure(error)) };
    let found = cluster.in_time(found).await?;
    if found.data["spec"]["preview"]["access"] == "Private" {
        let dev_server = cluster.dev_server(name);
        return ticket(cluster.in_time(dev_server.post("ticket", &json!({}))).await?);
    }
    found.data["status"]["preview"]["url"].as_str().map(str::to_owned).ok_or_else(|| {
        Failure::new(Kind::NotReady, format!("devserver {name:?} has no preview"))
            .hint(format!("kubectl berth why dev/{name} -n {} says more.", cluster.namespace))
    })
}

/// Starts the browser; it is not waited for.
fn browse(url: &url::Url) -> bool {
    let chosen = std::env::var("BROWSER").ok().filter(|browser| !browser.is_empty());
    let usual = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    Command::new(chosen.as_deref().unwrap_or(usual))
        .arg(url.as_str())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .is_ok()
}
