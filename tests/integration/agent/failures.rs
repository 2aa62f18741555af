//! Parts that are killed, and ways that are cut: the DevServer is there again, once, and was
//! started again only where it had to be.

use std::{process::Stdio, time::Duration};

use rstest::rstest;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use super::scene::{Run, Scene, fetch};
use crate::support::{
    Settings,
    docker::{docker, run},
    objects::{devserver_condition, devserver_until},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_killed_comes_back_and_touches_nothing() {
    let scene = Scene::new("killlink").await;
    let before = scene.well().await;
    let link = scene.part("link").unwrap();
    scene.kill(link);
    scene.replaced("link", link).await;
    assert_eq!(scene.well().await, before);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_is_killed_has_a_successor_with_one_process_of_each() {
    let scene = Scene::new("killsupervisor").await;
    let before = scene.well().await;
    let supervisor = scene.part("supervise").unwrap();
    scene.kill(supervisor);
    scene.replaced("supervise", supervisor).await;
    started_once_more(&scene, &before).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_parts_of_the_agent_may_be_killed_at_once() {
    let scene = Scene::new("killboth").await;
    let before = scene.well().await;
    let (link, supervisor) = (scene.part("link").unwrap(), scene.part("supervise").unwrap());
    scene.inside(&format!("kill -9 {link} {supervisor}"));
    scene.replaced("link", link).await;
    scene.replaced("supervise", supervisor).await;
    started_once_more(&scene, &before).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_is_started_once_more() {
    let scene = Scene::new("killapp").await;
    let before = scene.well().await;
    scene.kill(before.pid);
    started_once_more(&scene, &before).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_killed_finds_everything_as_it_was() {
    let mut scene = Scene::new("killoperator").await;
    let before = scene.well().await;
    scene.operator.kill().await;
    scene.operator.restart().await;
    assert_eq!(scene.well().await, before);
    scene.end().await;
}

#[rstest]
#[case::stopped_and_started("restart")]
#[case::killed("kill")]
#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_ends_on_its_host_is_back_with_its_devserver(#[case] how: &str) {
    let scene = Scene::new("container").await;
    let before = scene.well().await;
    docker(&[how, &scene.container()]);
    // Numbers of processes begin anew with the container.
    started_until(&scene, before.starts + 1).await;
    scene.end().await;
}

#[rstest]
#[case::all_processes("killall", "kill -9 -1")]
#[case::all_processes_and_the_agents_notes(
    "wipe",
    "rm -rf /run/berth/user/agent/* /var/log/berth/*; kill -9 -1"
)]
#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_ends_all_of_their_own_has_the_devserver_again(
    #[case] prefix: &str,
    #[case] script: &str,
) {
    let scene = Scene::new(prefix).await;
    let before = scene.well().await;
    let (link, supervisor) = (scene.part("link").unwrap(), scene.part("supervise").unwrap());
    // The shell is one of those that end.
    run(&["exec", "--user", "dev", &scene.container(), "sh", "-c", script]);
    scene.replaced("link", link).await;
    scene.replaced("supervise", supervisor).await;
    started_once_more(&scene, &before).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_paused_answers_in_time_that_it_does_not() {
    let scene = Scene::new("pause").await;
    let before = scene.well().await;
    let container = scene.container();
    docker(&["pause", &container]);
    let code =
        fetch(&scene.url, &["--max-time", "30", "--output", "/dev/null", "--write-out", "%{http_code}"]);
    docker(&["unpause", &container]);
    assert_eq!(code, "504");
    assert_eq!(scene.well().await, before);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_cut_in_the_middle_of_a_stream_costs_the_stream_alone() {
    // Without grace the loss of the link is told at once.
    let graceless = |settings: &mut Settings| settings.config["gateway"]["agent"]["grace"] = json!("1s");
    let scene = Scene::beginning("cut", graceless).await.made().await;
    let before = scene.well().await;
    let mut stream = Command::new("curl")
        .args(["--silent", "--no-buffer", &format!("{}/stream", scene.url.trim_end_matches('/'))])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(stream.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("here"));
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("tick"));

    let (network, container) = (&scene.docker.networks()[0], scene.container());
    docker(&["network", "disconnect", network, &container]);
    devserver_until(&scene.namespace, "web", "not known to be Ready", |web| {
        !devserver_condition(web, "Ready").starts_with("True")
    })
    .await;
    let drained = async { while let Ok(Some(_)) = lines.next_line().await {} };
    tokio::time::timeout(Duration::from_secs(60), drained).await.expect("the stream does not end");
    docker(&["network", "connect", network, &container]);

    assert_eq!(scene.well().await, before);
    scene.end().await;
}

/// The DevServer is well, as another process than before, after one start more.
async fn started_once_more(scene: &Scene, before: &Run) {
    let after = started_until(scene, before.starts + 1).await;
    assert_ne!(after.pid, before.pid);
}

/// Waits until it is well after so many starts, and sees that it was not started more often.
async fn started_until(scene: &Scene, starts: usize) -> Run {
    let well = async {
        loop {
            let run = scene.well().await;
            assert!(run.starts <= starts, "{run:?} instead of {starts} starts");
            if run.starts == starts {
                return run;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), well).await.expect("it is not started again")
}
