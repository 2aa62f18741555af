//! Containers from template to destruction.

use serde_json::{Value, json};

use crate::client::World;

#[tokio::test]
async fn a_template_is_cloned_started_configured_and_destroyed() {
    let world = World::new().await;
    world.clone_105().await;
    let config = world.get("/nodes/pve1/lxc/105/config").await.data();
    assert_eq!(config["hostname"], "one");
    assert_eq!(config["tags"], "a;b");
    assert_eq!(config["rootfs"], "local-lvm:vm-105-disk-0,size=8G");
    assert_eq!(config["memory"], 512);
    assert_eq!(config.get("lock"), None);
    assert_eq!(world.get("/cluster/nextid").await.data(), "100");
    assert_eq!(world.get("/nodes/pve1/lxc/105/interfaces").await.data(), Value::Null);
    let started = world.post("/nodes/pve1/lxc/105/status/start", "").await;
    let connection: Vec<_> = started.head.lines().filter(|line| line.starts_with("connection:")).collect();
    let connection = connection.join(" ");
    assert!(connection.contains("close") && connection.contains("keep-alive"), "{connection}");
    assert_eq!(world.done(started).await, "OK");
    let again = world.post("/nodes/pve1/lxc/105/status/start", "").await;
    assert_eq!((again.status, again.reason.as_str()), (500, "CT 105 already running"));
    let interfaces = world.get("/nodes/pve1/lxc/105/interfaces").await.data();
    assert_eq!(interfaces[1]["ip-addresses"][0]["prefix"], "16");
    let refused = world.delete("/nodes/pve1/lxc/105").await;
    assert_eq!(refused.reason, "unable to destroy CT 105 - container is running");
    assert_eq!(world.done(world.post("/nodes/pve1/lxc/105/status/shutdown", "").await).await, "OK");
    assert_eq!(world.done(world.delete("/nodes/pve1/lxc/105").await).await, "OK");
    assert_eq!(world.get("/nodes/pve1/lxc/105/config").await.status, 500);
}

#[tokio::test]
async fn a_second_clone_of_a_source_finds_it_locked() {
    let world = World::with(|_| {}, 0.05).await;
    world.template().await;
    let path = "/nodes/pve1/lxc/9000/clone";
    let first = world.post(path, "newid=105&full=1").await.data();
    let second = world.post(path, "newid=105&full=1").await;
    assert_eq!((second.status, second.reason.as_str()), (500, "CT is locked (disk)"));
    let half = world.get("/nodes/pve1/lxc/105/config").await.data();
    assert_eq!((&half["lock"], half.get("rootfs")), (&json!("create"), None));
    assert_eq!(world.ended(&first).await, "OK");
    let taken = world.post(path, "newid=105&full=1").await;
    assert_eq!(taken.reason, "CT 105 already exists on node 'pve1'");
}

#[tokio::test]
async fn an_aborted_clone_leaves_nothing() {
    let world = World::with(|_| {}, 0.05).await;
    world.template().await;
    let upid = world.post("/nodes/pve1/lxc/9000/clone", "newid=105&full=1").await.data();
    let path = format!("/nodes/pve1/tasks/{}", upid.as_str().unwrap());
    assert_eq!(world.delete(&path).await.data(), Value::Null);
    assert_eq!(world.ended(&upid).await, "clone failed: interrupted by signal");
    assert_eq!(world.get("/nodes/pve1/lxc/105/config").await.status, 500);
    assert_eq!(world.get("/nodes/pve1/lxc/9000/config").await.data().get("lock"), None);
    let log = world.get(&format!("{path}/log?limit=0")).await.data();
    assert_eq!(
        log.as_array().unwrap().last().unwrap()["t"],
        "TASK ERROR: clone failed: interrupted by signal"
    );
}

#[tokio::test]
async fn a_failed_change_is_stored_all_the_same() {
    let world = World::new().await;
    world.clone_105().await;
    let path = "/nodes/pve1/lxc/105/config";
    let failed = world.put(path, "net0=name%3Deth0,bridge%3Dvmbr9&cores=3").await;
    assert_eq!((failed.status, failed.reason.as_str()), (500, "bridge 'vmbr9' does not exist"));
    assert_eq!(world.get(path).await.data()["cores"], 3);
    let stale = world.put(path, "cores=4&digest=0000").await;
    assert_eq!(stale.reason, "detected modified configuration - file changed by other user? Try again.");
    assert_eq!(world.put(path, "net0=name%3Deth0,bridge%3Dvmbr0,ip%3Ddhcp").await.status, 200);
    assert_eq!(world.done(world.post("/nodes/pve1/lxc/105/status/start", "").await).await, "OK");
    assert_eq!(world.put(path, "nameserver=10.0.0.1").await.status, 200);
    assert_eq!(world.get(path).await.data()["nameserver"], "10.0.0.1");
    assert_eq!(world.get(&format!("{path}?current=1")).await.data().get("nameserver"), None);
}

#[tokio::test]
async fn a_long_shutdown_starves_stop_unless_it_is_overruled() {
    let world = World::new().await;
    world.clone_105().await;
    world.containers.ignore_shutdown(105);
    let path = "/nodes/pve1/lxc/105/status";
    assert_eq!(world.done(world.post(&format!("{path}/start"), "").await).await, "OK");
    let shutdown = world.post(&format!("{path}/shutdown"), "timeout=600").await.data();
    let starved = world.post(&format!("{path}/stop"), "").await;
    let words = "can't lock file '/run/lock/lxc/pve-config-105.lock' - got timeout";
    assert_eq!(world.done(starved).await, words);
    let stop = world.post(&format!("{path}/stop"), "overrule-shutdown=1").await;
    assert_eq!(world.done(stop).await, "OK");
    assert_eq!(world.ended(&shutdown).await, "interrupted by signal");
}

#[tokio::test]
async fn a_resize_grows_and_nothing_else() {
    let world = World::new().await;
    world.clone_105().await;
    let path = "/nodes/pve1/lxc/105/resize";
    assert_eq!(world.put(path, "disk=rootfs&size=7G").await.reason, "unable to shrink disk size");
    assert_eq!(world.put(path, "disk=rootfs&size=8G").await.reason, "disk is already at specified size");
    assert_eq!(world.done(world.put(path, "disk=rootfs&size=%2B1G").await).await, "OK");
    let config = world.get("/nodes/pve1/lxc/105/config").await.data();
    assert_eq!(config["rootfs"], "local-lvm:vm-105-disk-0,size=9G");
}
