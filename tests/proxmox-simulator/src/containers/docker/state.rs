//! What a container is doing.

use bollard::Docker;
use serde::Deserialize;
use tokio::time::{Duration, timeout};

use super::{exec, make};
use crate::containers::{Init, Interface, RunState};

/// A look inside takes no longer.
const LOOK: Duration = Duration::from_secs(5);

/// The state of a container.
pub(super) async fn of(docker: &Docker, cluster: &str, vmid: u32) -> Result<RunState, String> {
    let Some(init) = init(docker, cluster, vmid).await? else { return Ok(RunState::default()) };
    let interfaces = interfaces(docker, cluster, vmid).await;
    Ok(RunState { pid: Some(init.pid), started: init.started, interfaces })
}

/// The init of a container, if it runs.
pub(super) async fn init(docker: &Docker, cluster: &str, vmid: u32) -> Result<Option<Init>, String> {
    let container = make::inspect(docker, cluster, vmid).await?;
    if !make::is_running(&container) {
        return Ok(None);
    }
    let state = container.state.unwrap_or_default();
    let started = state.started_at.and_then(|time| humantime::parse_rfc3339(&time).ok());
    let pid = state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
    Ok(pid.map(|pid| Init { pid, started }))
}

/// A container that is just ending, or a guest without the command or that is stuck, has none to show.
async fn interfaces(docker: &Docker, cluster: &str, vmid: u32) -> Vec<Interface> {
    let argv = ["ip", "-json", "address"].map(str::to_owned);
    match timeout(LOOK, exec::collect(docker, cluster, vmid, &argv, &[])).await {
        Ok(Ok(output)) => parse(&output.stdout),
        _ => Vec::new(),
    }
}

fn parse(json: &[u8]) -> Vec<Interface> {
    let links: Vec<Link> = serde_json::from_slice(json).unwrap_or_default();
    links.into_iter().map(Interface::from).collect()
}

/// What `ip` says about a network interface.
#[derive(Deserialize)]
struct Link {
    ifname: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Deserialize)]
struct Address {
    family: String,
    local: String,
    prefixlen: u8,
}

impl From<Link> for Interface {
    fn from(link: Link) -> Self {
        let of = |family: &str| {
            let addresses = link.addr_info.iter().filter(|address| address.family == family);
            addresses.map(|address| format!("{}/{}", address.local, address.prefixlen)).collect()
        };
        let (inet, inet6) = (of("inet"), of("inet6"));
        Self { name: link.ifname, hwaddr: link.address, inet, inet6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart_by_family() {
        let json = br#"[{"ifindex":1,"ifname":"lo","address":"00:00:00:00:00:00","addr_info":[
            {"family":"inet","local":"127.0.0.1","prefixlen":8},
            {"family":"inet6","local":"::1","prefixlen":128}]}]"#;
        let [lo] = parse(json).try_into().unwrap_or_else(|_| panic!("one interface"));
        assert_eq!((lo.name.as_str(), lo.hwaddr.as_str()), ("lo", "00:00:00:00:00:00"));
        assert_eq!((lo.inet, lo.inet6), (vec!["127.0.0.1/8".to_owned()], vec!["::1/128".to_owned()]));
    }

    #[test]
    fn what_is_no_list_is_no_interface() {
        assert!(parse(b"ip: not found").is_empty());
    }
}
