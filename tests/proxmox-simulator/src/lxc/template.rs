//! Making a container a template.

use serde_json::Value;

use super::{CONFIG_PATIENCE, config::Config, volumes};
use crate::{
    failure::Failure,
    server::call::{Answer, Call},
    tasks,
};

/// `POST template`. The answer does not name the task.
///
/// # Errors
///
/// Why it can not become one.
pub async fn template(call: &Call) -> Result<Answer, Failure> {
    let (vmid, node) = (call.vmid(), call.node.clone());
    let _lock = call.cluster.lock_config(vmid, CONFIG_PATIENCE).await.map_err(Failure::other)?;
    {
        let state = call.cluster.state();
        allowed(&state.guest(&node, vmid)?.config).map_err(Failure::other)?;
    }
    if call.cluster.runs(vmid).await {
        return Err(Failure::other("you can't convert a CT to template if the CT is running"));
    }
    tasks::fork(
        &call.cluster,
        &call.identity,
        &call.node,
        "vztemplate",
        &vmid.to_string(),
        |worker| async move {
            // Without the file's lock: that was the call's.
            worker.work(2.0).await?;
            let mut state = worker.cluster.state();
            let config = &mut state.guest_mut(&node, vmid).map_err(|failure| failure.message)?.config;
            config.set("template", "1");
            if let Some(rootfs) = config.get("rootfs").map(str::to_owned) {
                config.set("rootfs", volumes::base(&rootfs));
            }
            Ok(())
        },
    );
    Ok(Value::Null.into())
}

fn allowed(config: &Config) -> Result<(), String> {
    config.check_lock()?;
    if !config.snapshots.is_empty() {
        return Err("unable to create template, because CT contains snapshots".into());
    }
    if config.flag("template") {
        return Err("you can't convert a template to a template".into());
    }
    Ok(())
}
