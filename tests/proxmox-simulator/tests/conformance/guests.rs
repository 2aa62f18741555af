//! Containers before and after a conversation. Nothing is touched but the target's own VMIDs.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    case::{Given, Place},
    target::Target,
};

/// How long a task may take: on a real cluster, growing a disk takes over 20 s.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Refuses if a number is somebody's.
pub async fn require_free(target: &Target) -> Result<(), String> {
    for vmid in &target.vmids {
        let answer = target.ask("GET", &format!("/cluster/nextid?vmid={vmid}"), "").await?;
        if answer.status != 200 {
            return Err(format!("{vmid} is not free, so nothing was done: {}", answer.text));
        }
    }
    Ok(())
}

/// Makes `{ct}`.
pub async fn prepare(target: &Target, given: Given, place: Place) -> Result<(), String> {
    if given == Given::Nothing {
        return Ok(());
    }
    let name = |name: &str| target.names[name].as_str();
    let storage = match place {
        Place::Storage => name("storage"),
        Place::Directory => name("directory"),
    };
    let (node, ct) = (name("node"), name("ct"));
    let fields = [
        ("vmid", ct.to_owned()),
        ("ostemplate", name("os_template").to_owned()),
        ("storage", storage.to_owned()),
        ("rootfs", format!("{storage}:1")),
        ("hostname", "conformance".to_owned()),
        ("tags", "b;a".to_owned()),
        ("memory", "256".to_owned()),
        ("features", "nesting=1".to_owned()),
        ("net0", format!("name=eth0,bridge={},ip=manual", name("bridge"))),
    ];
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let path = format!("/nodes/{node}/lxc");
    done(target, "POST", &path, &form).await?;
    match given {
        Given::Nothing | Given::Stopped => Ok(()),
        Given::Running => done(target, "POST", &format!("{path}/{ct}/status/start"), "").await,
        Given::Template => {
            target.ask("POST", &format!("{path}/{ct}/template"), "").await?.data()?;
            let deadline = Instant::now() + PATIENCE;
            loop {
                let config = target.ask("GET", &format!("{path}/{ct}/config"), "").await?.data()?;
                if config["template"] == 1 {
                    return Ok(());
                }
                if Instant::now() > deadline {
                    return Err(format!("{ct} does not become a template"));
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// Makes a call and waits for its task to end well.
async fn done(target: &Target, method: &str, path: &str, form: &str) -> Result<(), String> {
    let upid = target.ask(method, path, form).await?.data()?;
    let upid = upid.as_str().ok_or_else(|| format!("{method} {path} names no task"))?;
    match ended(target, upid).await?.as_str() {
        end if end == "OK" || end.starts_with("WARNINGS: ") => Ok(()),
        end => Err(format!("{method} {path}: {end}")),
    }
}

/// Waits for a task, and returns how it ended.
pub async fn ended(target: &Target, upid: &str) -> Result<String, String> {
    let node = upid.split(':').nth(1).ok_or_else(|| format!("{upid} is no UPID"))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = target.ask("GET", &format!("/nodes/{node}/tasks/{upid}/status"), "").await?.data()?;
        if let Some(end) = status["exitstatus"].as_str() {
            return Ok(end.to_owned());
        }
        if Instant::now() > deadline {
            return Err(format!("{upid} does not end"));
        }
        sleep(PAUSE).await;
    }
}

/// Removes every container and the pool that a case may have made.
pub async fn remove_all(target: &Target) -> Result<(), String> {
    abort_tasks(target).await?;
    // A template is the first, and its clones go before it.
    for vmid in target.vmids.iter().rev() {
        let deadline = Instant::now() + PATIENCE;
        while let Err(words) = remove(target, *vmid).await {
            if Instant::now() > deadline {
                return Err(format!("{vmid} was NOT removed: {words}"));
            }
            sleep(PAUSE).await;
        }
    }
    let pool = &target.names["pool"];
    let pools = target.ask("GET", "/pools", "").await?.data()?;
    if pools.as_array().is_some_and(|pools| pools.iter().any(|known| known["poolid"] == pool.as_str())) {
        target.ask("DELETE", &format!("/pools?poolid={pool}"), "").await?.data()?;
    }
    Ok(())
}

async fn abort_tasks(target: &Target) -> Result<(), String> {
    let node = &target.names["node"];
    let active = target.ask("GET", &format!("/nodes/{node}/tasks?source=active"), "").await?.data()?;
    let ids: Vec<String> = target.vmids.iter().map(u32::to_string).collect();
    let ours = |task: &&Value| ids.iter().any(|id| task["id"] == id.as_str());
    for task in active.as_array().map(Vec::as_slice).unwrap_or_default().iter().filter(ours) {
        if let Some(upid) = task["upid"].as_str() {
            // It may have ended meanwhile.
            let _ = target.ask("DELETE", &format!("/nodes/{node}/tasks/{upid}"), "").await?;
            ended(target, upid).await?;
        }
    }
    Ok(())
}

async fn remove(target: &Target, vmid: u32) -> Result<(), String> {
    let path = format!("/nodes/{}/lxc/{vmid}", target.names["node"]);
    let config = target.ask("GET", &format!("{path}/config"), "").await?;
    if config.reason.ends_with("does not exist") {
        return Ok(());
    }
    if config.data()?["protection"] == 1 {
        target.ask("PUT", &format!("{path}/config"), "protection=0").await?.data()?;
    }
    let status = target.ask("GET", &format!("{path}/status/current"), "").await?.data()?;
    if status["status"] == "running" {
        done(target, "POST", &format!("{path}/status/stop"), "overrule-shutdown=1").await?;
    }
    done(target, "DELETE", &format!("{path}?purge=1&destroy-unreferenced-disks=1"), "").await
}
