//! Which function does which call.

use serde_json::json;

use super::{
    auth,
    call::{Answer, Call},
};
use crate::{
    cluster::{appliances, pools, reads, storage},
    failure::Failure,
    lxc, tasks,
};

/// Does a checked call.
///
/// # Errors
///
/// What the call says.
pub async fn run(method: &str, pattern: &str, call: &Call) -> Result<Answer, Failure> {
    if let Some(rest) = pattern.strip_prefix("/nodes/{node}/lxc") {
        return container(method, rest, call).await;
    }
    match (method, pattern) {
        ("GET", "/version") => {
            Ok(json!({"version": "9.2.11", "release": "9.2", "repoid": "3e1a54f2b6c7d890"}).into())
        }
        ("GET", "/access/permissions") => Ok(auth::permissions(call)),
        ("GET", "/cluster/nextid") => reads::next_id(call),
        ("GET", "/cluster/resources") => Ok(reads::resources(call)),
        ("GET", "/nodes") => Ok(reads::nodes(call)),
        ("GET", "/nodes/{node}/aplinfo") => Ok(appliances::list(call)),
        ("POST", "/nodes/{node}/aplinfo") => appliances::download(call),
        ("GET", "/nodes/{node}/network") => Ok(reads::network(call)),
        ("GET", "/nodes/{node}/status") => Ok(reads::node_status(call)),
        ("GET", "/nodes/{node}/storage") => storage::list(call),
        ("GET", "/nodes/{node}/storage/{storage}/status") => storage::status(call),
        ("GET", "/nodes/{node}/storage/{storage}/content") => storage::content(call),
        ("GET", "/nodes/{node}/tasks") => Ok(tasks::reads::list(call)),
        ("GET", "/nodes/{node}/tasks/{upid}") => Ok(json!([{"name": "log"}, {"name": "status"}]).into()),
        ("GET", "/nodes/{node}/tasks/{upid}/status") => tasks::reads::status(call),
        ("GET", "/nodes/{node}/tasks/{upid}/log") => tasks::reads::log(call),
        ("DELETE", "/nodes/{node}/tasks/{upid}") => tasks::reads::stop(call).await,
        ("GET", "/pools") => pools::list(call),
        ("POST", "/pools") => pools::create(call),
        ("PUT", "/pools" | "/pools/{poolid}") => pools::update(call),
        ("DELETE", "/pools" | "/pools/{poolid}") => pools::remove(call),
        ("GET", "/pools/{poolid}") => pools::one(call),
        _ => Err(not_simulated(method, pattern)),
    }
}

async fn container(method: &str, rest: &str, call: &Call) -> Result<Answer, Failure> {
    match (method, rest) {
        ("GET", "") => Ok(lxc::status::list(call).await),
        ("POST", "") => lxc::create::create(call).await,
        ("GET", "/{vmid}") => Ok(json!([{"subdir": "config"}, {"subdir": "status"}]).into()),
        ("DELETE", "/{vmid}") => lxc::destroy::destroy(call).await,
        ("POST", "/{vmid}/clone") => lxc::clone::clone(call).await,
        ("GET", "/{vmid}/config") => lxc::update::read(call),
        ("PUT", "/{vmid}/config") => lxc::update::update(call).await,
        ("GET", "/{vmid}/pending") => lxc::update::pending(call),
        ("GET", "/{vmid}/feature") => lxc::status::feature(call),
        ("GET", "/{vmid}/interfaces") => lxc::status::interfaces(call).await,
        ("PUT", "/{vmid}/resize") => lxc::resize::resize(call).await,
        ("GET", "/{vmid}/status/current") => lxc::status::current(call).await,
        ("POST", "/{vmid}/status/start") => lxc::power::start(call).await,
        ("POST", "/{vmid}/status/stop") => lxc::power::stop(call).await,
        ("POST", "/{vmid}/status/shutdown") => lxc::power::shutdown(call).await,
        ("POST", "/{vmid}/status/reboot") => lxc::power::reboot(call).await,
        ("POST", "/{vmid}/template") => lxc::template::template(call).await,
        ("GET", "/{vmid}/snapshot") => lxc::snapshot::list(call).await,
        ("POST", "/{vmid}/snapshot") => lxc::snapshot::take(call).await,
        ("DELETE", "/{vmid}/snapshot/{snapname}") => lxc::snapshot::remove(call).await,
        ("POST", "/{vmid}/snapshot/{snapname}/rollback") => lxc::snapshot::rollback(call).await,
        ("GET", "/{vmid}/snapshot/{snapname}") => Ok(json!([{"cmd": "rollback"}, {"cmd": "config"}]).into()),
        _ => Err(not_simulated(method, &format!("/nodes/{{node}}/lxc{rest}"))),
    }
}

fn not_simulated(method: &str, pattern: &str) -> Failure {
    Failure::proxy(501, format!("Method '{method} {pattern}' not implemented"))
}
