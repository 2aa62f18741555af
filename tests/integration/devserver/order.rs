//! Several DevServers in one Workspace, and one leader after the other.

use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_port_belongs_to_the_older_until_it_goes() {
    let world = World::new().await;
    let leader = world.lead().await;
    let id = world.workspace("ws").await;
    // Of two made in the same second the first by name counts as older.
    world.devserver("a", json!({"port": 3000})).await;
    world.devserver("b", json!({"port": 3000})).await;
    let refused = world.until_ready_is("b", "False PortConflict").await;
    assert!(condition(&refused, "Accepted").contains("belongs to DevServer \"a\""), "{refused:#?}");
    leader.until_processes_are(id, &["a"]).await;
    world.remove("a").await;
    leader.until_processes_are(id, &["b"]).await;
    leader.tells(id, vec![running("b")]);
    world.until_ready_is("b", "True Running").await;
    world.namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_wants_the_same_and_makes_no_new_host() {
    let world = World::new().await;
    let leader = world.lead().await;
    let id = world.workspace("ws").await;
    for name in ["a", "b", "c"] {
        world.devserver(name, json!({})).await;
    }
    world.devserver("web", json!({"port": 3000})).await;
    let before = leader.until_processes_are(id, &["a", "b", "c", "web"]).await;
    leader.tells(id, vec![running("web")]);
    let seen = world.until_ready_is("web", "True Running").await;
    drop(leader);

    let next = world.lead().await;
    // The first set that it wants is the whole one: what is missing in a set is ended.
    let wanted =
        next.until_wanted("the processes are told", |wanted| wanted.processes.contains_key(&id)).await;
    assert_eq!(wanted.processes[&id].processes, before);
    let after = world.api().get("web").await.unwrap();
    assert_eq!(host(&after), host(&seen));
    // It has not heard of the agent yet, and takes nothing back because of that.
    assert!(condition(&after, "Ready").starts_with("True Running"), "{after:#?}");
    world.namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_devserver_that_was_deleted_while_nobody_led_is_wanted_no_more() {
    let world = World::new().await;
    let leader = world.lead().await;
    let id = world.workspace("ws").await;
    world.devserver("web", json!({})).await;
    leader.until_processes_are(id, &["web"]).await;
    drop(leader);
    world.remove("web").await;
    let next = world.lead().await;
    next.until_processes_are(id, &[]).await;
    world.namespace.delete().await;
}
