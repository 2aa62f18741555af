//! Supervised processes.

use std::fs;

use berth_link::wire::{AgentProblem, process::DetectedErrors};
use nix::sys::signal::Signal;
use rstest::rstest;

use super::*;
use crate::supervisor::group::Together;

fn group_is_empty(leader: u32) -> bool {
    Together::group(leader).members().is_empty()
}

#[tokio::test]
async fn a_process_runs_with_its_environment_and_its_output_is_kept() {
    let scene = Scene::new().await;
    let mut spec = scene.spec("web", "echo $HOST $PORT $DEV_SERVER_ID $MORE; pwd >&2; exec sleep 1000");
    spec.env.insert("MORE".to_owned(), "and more".to_owned());
    assert_eq!(scene.text_status("/v1/processes/web/log").await, StatusCode::NOT_FOUND);
    let states = scene.want([spec.clone()]).await.processes;
    assert_eq!(states.len(), 1);
    assert_eq!((states[0].phase, states[0].healthy), (ProcessPhase::Running, true));
    let mut log = scene.send("GET", "/v1/processes/web/log?follow=true", Body::empty()).await;
    let mut text = String::new();
    while text.lines().count() < 3 {
        let frame = soon(log.body_mut().frame()).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    let started = format!("started, process {}", states[0].pid.unwrap());
    assert_eq!(lines, [scene.path("").trim_end_matches('/'), "0.0.0.0 web and more", &started]);
    let answer = scene.send("GET", "/v1/processes/web/log?tail=1&timestamps=true", Body::empty()).await;
    let offset = answer.headers()[LOG_OFFSET_HEADER].to_str().unwrap().to_owned();
    let line = whole(answer).await;
    assert!(line.starts_with(b"[2") && line.ends_with(b"\n"), "{line:?}");
    assert_eq!(scene.text(&format!("/v1/processes/web/log?since={offset}")).await, "");
    scene.stop().await;
    assert!(group_is_empty(states[0].pid.unwrap()));
}

#[tokio::test]
async fn a_crash_loop_ends_as_failed_with_the_last_output() {
    let scene = Scene::new().await;
    let mut spec = scene.spec("web", "seq 5000; echo it is broken; exit 3");
    spec.logs.max_lines = 100_000;
    scene.want([spec]).await;
    let state = scene.until_phase(ProcessPhase::Failed).await;
    assert_eq!(state.reason.as_deref(), Some("CrashLoop"));
    assert_eq!(state.message.as_deref(), Some("exited with code 3; not started again after 2 restarts"));
    assert!(state.last_output.unwrap().ends_with("\n4999\n5000\nit is broken\n"));
    assert_eq!((state.restart_count, state.last_exit.unwrap().code), (2, Some(3)));
    let log = scene.text("/v1/processes/web/log?since=0").await;
    assert_eq!(log.matches("it is broken").count(), 3);
    assert_eq!(log.matches("exited with code 3; starts again in").count(), 2);
    scene.stop().await;
}

#[tokio::test]
async fn a_restart_is_done_and_so_is_a_stop_and_nothing_is_left() {
    let scene = Scene::new().await;
    let spec = scene.spec("web", "sleep 1000 & sleep 1000 & wait");
    scene.want([spec.clone()]).await;
    let first = scene.until_phase(ProcessPhase::Running).await.pid.unwrap();
    let answer = scene.send("POST", "/v1/processes/web/restart", Body::empty()).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let running = |state: &ProcessState| state.phase == ProcessPhase::Running && state.pid != Some(first);
    let second = scene.until_one(running).await.pid.unwrap();
    assert!(group_is_empty(first));
    let anew = ProcessSpec { restart_nonce: "2".to_owned(), ..spec };
    scene.want([anew.clone()]).await;
    let state =
        scene.until_one(|state| state.phase == ProcessPhase::Running && state.restart_nonce == "2").await;
    assert!(group_is_empty(second));
    scene.want([ProcessSpec { run: false, ..anew }]).await;
    scene.until_phase(ProcessPhase::Stopped).await;
    assert!(group_is_empty(state.pid.unwrap()));
    let log = scene.send("GET", "/v1/processes/web/log?follow=true", Body::empty()).await;
    scene.want([]).await;
    scene.until(<[_]>::is_empty).await;
    assert!(whole(log).await.ends_with(b"ended by signal 15\n"));
    assert_eq!(scene.text_status("/v1/processes/web/log").await, StatusCode::NOT_FOUND);
    assert!(!fs::exists(scene.path("logs/web.log")).unwrap());
    scene.stop().await;
}

#[tokio::test]
async fn who_leaves_the_group_ends_as_well() {
    let scene = Scene::new().await;
    let mut spec = scene.spec("web", "setsid sh -c 'echo $$; exec sleep 1000' & exec sleep 1000");
    scene.want([spec.clone(), scene.spec("other", "exec sleep 1000")]).await;
    let stray: u32 = soon(async {
        loop {
            let log = scene.text("/v1/processes/web/log").await;
            if let Some(number) = log.lines().find_map(|line| line.parse().ok()) {
                return number;
            }
        }
    })
    .await;
    assert!(!group_is_empty(stray));
    spec.run = false;
    scene.want([spec, scene.spec("other", "exec sleep 1000")]).await;
    let states = scene.until(|states| states[1].phase == ProcessPhase::Stopped).await;
    assert!(group_is_empty(stray));
    assert_eq!((states[0].phase, states[0].restart_count), (ProcessPhase::Running, 0));
    scene.stop().await;
}

#[tokio::test]
async fn what_can_not_be_started_says_so() {
    let scene = Scene::new().await;
    let spec = ProcessSpec { workdir: "/no/such/folder".to_owned(), ..scene.spec("web", "true") };
    scene.want([spec]).await;
    let state = scene.until_phase(ProcessPhase::Failed).await;
    assert_eq!(state.reason.as_deref(), Some("StartFailed"));
    assert!(state.message.unwrap().starts_with("there is no folder /no/such/folder"));
    scene.stop().await;
}

#[tokio::test]
async fn a_dev_server_is_running_when_its_port_answers() {
    let scene = Scene::new().await;
    let port = free_port();
    let command = "exec python3 -u -m http.server --bind 127.0.0.1 $PORT";
    let mut spec = ProcessSpec { port: Some(port), ..scene.spec("web", command) };
    spec.health.path = Some("/nothing/here".to_owned());
    let states = scene.want([spec.clone()]).await.processes;
    assert_eq!((states[0].phase, states[0].healthy), (ProcessPhase::Starting, false));
    let state = scene.until_phase(ProcessPhase::Running).await;
    assert!(state.port_open && state.healthy);
    Together::group(state.pid.unwrap()).signal(Signal::SIGSTOP);
    spec.health.startup_grace = Duration::ZERO;
    spec.health.timeout = Duration::from_millis(100);
    spec.restart.initial_delay = DEADLINE;
    spec.restart.max_delay = DEADLINE;
    scene.want([spec]).await;
    let state = scene.until_one(|state| state.reason.as_deref() == Some("HealthCheckFailed")).await;
    assert!(state.message.unwrap().contains("within 100ms (2 times in a row)"));
    scene.stop().await;
}

#[tokio::test]
async fn errors_are_counted_and_a_fatal_one_ends_the_process() {
    let scene = Scene::new().await;
    let script = "echo 'TypeError: a:1:2'; echo 'TypeError: a:3:4'; echo '{\"level\":60,\"msg\":\"down\"}'; \
                  echo 'heap out of memory' >&2; exec sleep 1000";
    let mut spec = scene.spec("web", script);
    spec.errors.fatal = vec!["Out Of Memory".to_owned()];
    spec.restart.max_restarts = 0;
    scene.want([spec]).await;
    let state = scene.until_phase(ProcessPhase::Failed).await;
    assert_eq!(state.reason.as_deref(), Some("CrashLoop"));
    assert!(state.message.unwrap().starts_with("its output says: heap out of memory"));
    assert_eq!(state.error_count, 4);
    assert_eq!(state.pid, None);
    let mut errors = scene.get::<DetectedErrors>("/v1/processes/web/errors").await.errors;
    errors.sort_by_key(|error| error.message.clone());
    let seen: Vec<_> =
        errors.iter().map(|error| (error.level, error.message.as_str(), error.count)).collect();
    assert_eq!(seen, [(50, "TypeError: a:3:4", 2), (60, "down", 1), (60, "heap out of memory", 1)]);
    scene.stop().await;
}

#[tokio::test]
async fn a_process_that_floods_its_output_disturbs_nobody() {
    let scene = Scene::new().await;
    let flood = ProcessSpec {
        logs: LogLimits { max_lines: 1000, max_bytes: 256 << 10 },
        ..scene.spec("flood", "exec yes Error: flood")
    };
    scene
        .want([flood, scene.spec("web", "while read line; do echo $line; done; echo hello; exec sleep 1000")])
        .await;
    scene.until(|states| states[0].error_count > 30_000).await;
    soon(async { while !scene.text("/v1/processes/web/log").await.contains("hello") {} }).await;
    assert!(scene.text("/v1/processes/flood/log?tail=2000").await.lines().count() <= 1000);
    assert!(fs::metadata(scene.path("logs/flood.log")).unwrap().len() <= 256 << 10);
    assert_eq!(scene.get::<DetectedErrors>("/v1/processes/flood/errors").await.errors.len(), 1);
    scene.stop().await;
}

#[tokio::test]
async fn a_port_that_somebody_else_has_is_named() {
    let scene = Scene::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut spec = ProcessSpec { port: Some(port), ..scene.spec("web", "exit 1") };
    spec.restart.initial_delay = DEADLINE;
    spec.restart.max_delay = DEADLINE;
    scene.want([spec]).await;
    let state = scene.until_phase(ProcessPhase::Restarting).await;
    assert_eq!(state.message.unwrap(), format!("exited with code 1; another process has port {port}"));
    scene.stop().await;
}

#[rstest]
#[case::no_lines("GET", "/v1/processes/web/log?tail=0", "", StatusCode::BAD_REQUEST, "Invalid")]
#[case::too_many_lines("GET", "/v1/processes/web/log?tail=2001", "", StatusCode::BAD_REQUEST, "Invalid")]
#[case::no_number("GET", "/v1/processes/web/log?tail=x", "", StatusCode::BAD_REQUEST, "Invalid")]
#[case::unknown("GET", "/v1/processes/other/log", "", StatusCode::NOT_FOUND, "ProcessNotFound")]
#[case::restart("POST", "/v1/processes/other/restart", "", StatusCode::NOT_FOUND, "ProcessNotFound")]
#[case::not_to_run("POST", "/v1/processes/web/restart", "", StatusCode::CONFLICT, "ProcessStopped")]
#[case::no_route("GET", "/v1/nothing", "", StatusCode::NOT_FOUND, "NotFound")]
#[case::no_json("PUT", "/v1/processes", "{", StatusCode::BAD_REQUEST, "Invalid")]
#[case::no_set("PUT", "/v1/processes", "{}", StatusCode::BAD_REQUEST, "Invalid")]
#[tokio::test]
async fn what_is_wrong_is_refused(
    #[case] method: &str,
    #[case] path: &str,
    #[case] body: &'static str,
    #[case] status: StatusCode,
    #[case] code: &str,
) {
    let scene = Scene::new().await;
    scene.want([ProcessSpec { run: false, ..scene.spec("web", "true") }]).await;
    let answer = scene.send(method, path, body).await;
    assert_eq!(answer.status(), status);
    let problem: AgentProblem = serde_json::from_slice(&whole(answer).await).unwrap();
    assert_eq!(problem.code, code);
    assert_eq!(scene.text("/v1/processes/web/log").await, "(no log yet)\n");
    assert_eq!(scene.get::<Processes>("/v1/processes").await.processes.len(), 1);
    scene.stop().await;
}

impl Scene {
    async fn text_status(&self, path: &str) -> StatusCode {
        self.send("GET", path, Body::empty()).await.status()
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
