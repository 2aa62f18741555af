//! What goes wrong on purpose, and what only looks wrong.

use std::time::{Duration, Instant};

use berth_proxmox_simulator::faults::{Effect, Fault, TaskFault};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::{TOKEN, World};

#[tokio::test]
async fn a_lost_answer_is_596_and_the_work_goes_on() {
    let world = World::new().await;
    world.clone_105().await;
    let effect = Effect::Lose { reason: "Connection timed out".into() };
    let path = "/nodes/*/lxc/*/status/start".into();
    world.simulator.cluster.faults.plan(Fault { method: None, path, times: 1, effect });
    let lost = world.post("/nodes/pve1/lxc/105/status/start", "").await;
    assert_eq!((lost.status, lost.reason.as_str(), lost.text.as_str()), (596, "Connection timed out", ""));
    let deadline = Instant::now() + Duration::from_secs(10);
    while world.get("/nodes/pve1/lxc/105/status/current").await.data()["status"] != "running" {
        assert!(Instant::now() < deadline, "it never runs");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let calls = world.simulator.cluster.faults.recorded();
    assert!(calls.iter().any(|call| call.status == 596 && call.path.ends_with("/105/status/start")));
}

#[tokio::test]
async fn a_failing_clone_tidies_up() {
    let world = World::new().await;
    world.template().await;
    let error = Some("no space left".to_owned());
    let fault = TaskFault { kind: "vzclone".into(), id: None, times: 1, error, delay_milliseconds: 0 };
    world.simulator.cluster.faults.plan_task(fault);
    let path = "/nodes/pve1/lxc/9000/clone";
    assert_eq!(world.done(world.post(path, "newid=105&full=1").await).await, "clone failed: no space left");
    assert_eq!(world.get("/nodes/pve1/lxc/105/config").await.status, 500);
    assert_eq!(world.done(world.post(path, "newid=105&full=1").await).await, "OK");
}

#[tokio::test]
async fn a_node_that_is_offline_is_595_and_one_that_is_unknown_500() {
    let world = World::new().await;
    world.simulator.cluster.state().offline.insert("pve2".into());
    let reply = world.get("/nodes/pve2/lxc").await;
    assert_eq!((reply.status, reply.reason.as_str(), reply.text.as_str()), (595, "No route to host", ""));
    let reply = world.get("/nodes/x/lxc").await;
    assert!(reply.status == 500 && reply.reason.starts_with("hostname lookup 'x' failed - "), "{reply:?}");
}

#[tokio::test]
async fn resources_lag_behind() {
    let world = World::with(|_| {}, 0.0).await;
    world.clone_105().await;
    let cluster = &world.simulator.cluster;
    cluster.state().seen.remove(&105);
    cluster.state().guests.get_mut(&105).unwrap().node = "pve2".into();
    cluster.state().offline.insert("pve2".into());
    let all = world.get("/cluster/resources?type=vm").await.data();
    let seen = all.as_array().unwrap().iter().find(|guest| guest["vmid"] == 105).unwrap();
    assert_eq!((&seen["status"], seen.get("name"), &seen["tags"]), (&json!("unknown"), None, &json!("a;b")));
}

#[tokio::test]
async fn a_token_scoped_to_a_pool_sees_a_clone_only_while_it_is_a_member() {
    let world = World::with(
        |settings| {
            settings.pools.push("p".into());
            for (path, role) in [
                ("/pool/p", "PVEVMAdmin"),
                ("/vms/9000", "PVETemplateUser"),
                ("/storage", "PVEDatastoreUser"),
                ("/sdn", "PVESDNUser"),
            ] {
                settings.add_token("poor@pve", "ci", "p", role, path);
            }
        },
        0.02,
    )
    .await;
    world.template().await;
    let token = "Authorization: PVEAPIToken=poor@pve!ci=p\r\n";
    let path = "/nodes/pve1/lxc/9000/clone";
    let refused = world.form("POST", path, token, "newid=105&full=1").await;
    assert_eq!((refused.status, refused.reason.as_str()), (403, "Permission check failed"));
    let upid = world.form("POST", path, token, "newid=105&full=1&pool=p").await.data();
    let config = "/nodes/pve1/lxc/105/config";
    assert_eq!(world.raw("GET", config, token, "").await.status, 403);
    assert_eq!(world.ended(&upid).await, "OK");
    assert_eq!(world.raw("GET", config, token, "").await.status, 200);
    let destroyed = world.raw("DELETE", "/nodes/pve1/lxc/105", token, "").await.data();
    assert_eq!(world.ended(&destroyed).await, "OK");
    assert_eq!(world.raw("GET", config, token, "").await.status, 403);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_five_seconds() {
    let world = World::new().await;
    let mut stream = world.connect().await;
    let request = format!("GET /api2/json/version HTTP/1.1\r\nHost: localhost\r\n{TOKEN}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 1];
    stream.read_exact(&mut first).await.unwrap();
    let answered = Instant::now();
    let mut rest = Vec::new();
    // An end without a TLS goodbye is one.
    let _ = tokio::time::timeout(Duration::from_secs(15), stream.read_to_end(&mut rest)).await.unwrap();
    let idle = answered.elapsed();
    assert!((4.0..9.0).contains(&idle.as_secs_f64()), "{idle:?}");
}
