//! OS templates that a node can download.

use serde_json::{Value, json};

use crate::{
    failure::Failure,
    server::call::{Answer, Call},
    tasks::{self, Worker},
};

/// How long a download takes, in seconds.
const DOWNLOAD: f64 = 5.0;

/// What a file's name says: `NAME_VERSION_ARCHITECTURE.tar.zst`.
fn described(file: &str) -> Value {
    let mut parts = file.splitn(3, '_');
    let package = parts.next().unwrap_or_default();
    let version = parts.next().unwrap_or_default();
    let architecture = parts.next().and_then(|rest| rest.split('.').next()).unwrap_or("amd64");
    let os = package.rsplit_once('-').map_or(package, |(os, _)| os);
    json!({
        "template": file, "package": package, "version": version, "os": os, "architecture": architecture,
        "type": "lxc", "section": "system", "source": "https://download.proxmox.com/images",
        "location": format!("https://download.proxmox.com/images/system/{file}"),
        "headline": format!("LXC default image for {os} ({version})"), "sha512sum": "0".repeat(128),
    })
}

/// `GET /nodes/{node}/aplinfo`
pub fn list(call: &Call) -> Answer {
    let state = call.cluster.state();
    json!(state.appliances.iter().map(|file| described(file)).collect::<Vec<_>>()).into()
}

/// `POST /nodes/{node}/aplinfo`: downloads one to a storage.
///
/// # Errors
///
/// What is refused before a worker starts.
pub fn download(call: &Call) -> Result<Answer, Failure> {
    let (name, file) = (call.text("storage"), call.text("template"));
    {
        let state = call.cluster.state();
        if !state.appliances.contains(&file) {
            return Err(Failure::parameter("template", "no such template"));
        }
        let storage = state
            .storages
            .get(&name)
            .ok_or_else(|| Failure::other(format!("storage '{name}' does not exist")))?;
        if !storage.is_on(&call.node) {
            let words = format!("storage '{name}' is not available on node '{}'", call.node);
            return Err(Failure::other(words));
        }
        if !storage.content.contains("vztmpl") {
            return Err(Failure::other(format!("storage '{name}' does not support templates")));
        }
    }
    let id = file.clone();
    let work = |worker: Worker| async move {
        worker.log(format!("downloading https://download.proxmox.com/images/system/{file}"));
        worker.work(DOWNLOAD).await?;
        if let Some(storage) = worker.cluster.state().storages.get_mut(&name) {
            storage.templates.insert(file);
        }
        Ok(())
    };
    Ok(tasks::fork(&call.cluster, &call.identity, &call.node, "download", &id, work).into())
}
