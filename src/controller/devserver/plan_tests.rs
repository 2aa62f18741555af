//! What is done about a DevServer, by situation.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;

use super::{
    fixtures::{World, at},
    plan::{Wanted, look_again, needs_host, wanted},
    situation::Home,
};
use crate::{api::condition, controller::workspace::problem::Problem};

fn process(wanted: Option<Wanted>) -> berth_link::wire::process::ProcessSpec {
    match wanted {
        Some(Wanted::Process(process)) => *process,
        other => panic!("{other:?}"),
    }
}

fn gone(reason: &'static str) -> Problem {
    Problem::transient(condition::SECRETS_READY, reason, "gone")
}

#[test]
fn the_agent_is_told_what_the_spec_says() {
    let world = World::well(json!({
        "restart": {"policy": "Always", "initialDelay": "500ms"},
        "health": {"path": "/up"},
        "logs": {"maxBytes": "64Ki"},
        "restartNonce": "2",
    }));
    let told = process(wanted(&world.situation(), None));
    assert!(told.run);
    assert_eq!((told.command.as_str(), told.workdir.as_str()), ("npm run dev", "/workspace"));
    assert_eq!((told.port, told.env["A"].as_str()), (Some(3000), "1"));
    assert_eq!((told.restart.initial_delay, told.restart.max_restarts), (Duration::from_millis(500), 3));
    assert_eq!(told.restart.reset_after, Duration::from_secs(300));
    assert_eq!((told.health.path.as_deref(), told.health.failure_threshold), (Some("/up"), 2));
    assert_eq!((told.logs.max_lines, told.logs.max_bytes), (1000, 64 << 10));
    assert!(told.errors.json && told.errors.text && !told.errors.fatal.is_empty());
    assert_eq!(told.restart_nonce, "2");
}

#[rstest::rstest]
#[case::running(json!({}), true)]
#[case::stopped(json!({"operatingMode": "Stopped"}), false)]
#[case::expired(json!({"preview": {"lifetime": "1m"}}), false)]
#[case::expired_but_to_go_on(json!({"preview": {"lifetime": "1m", "stopProcessOnExpiry": false}}), true)]
#[case::not_expired_yet(json!({"preview": {"lifetime": "2m"}}), true)]
fn whether_the_process_is_to_run(#[case] spec: serde_json::Value, #[case] run: bool) {
    assert_eq!(process(wanted(&World::well(spec).situation(), None)).run, run);
}

#[test]
fn a_suspended_workspace_is_told_the_same_for_when_it_is_back() {
    let mut world = World::well(json!({}));
    world.home = Home::Suspended;
    assert!(process(wanted(&world.situation(), None)).run);
}

#[test]
fn one_that_is_refused_is_no_process_of_its_workspace() {
    let mut world = World::well(json!({}));
    world.place.refused = Some(Problem::permanent(condition::ACCEPTED, "PortConflict", "taken"));
    assert_eq!(wanted(&world.situation(), None), Some(Wanted::Nothing));
    let mut world = World::well(json!({}));
    world.desired = Err(Problem::permanent(condition::ACCEPTED, "InvalidSpec", "bad"));
    assert_eq!(wanted(&world.situation(), None), Some(Wanted::Nothing));
}

#[test]
fn a_process_is_not_started_without_its_secrets() {
    let mut world = World::well(json!({}));
    world.environment = Err(gone("SecretNotFound"));
    assert!(!process(wanted(&world.situation(), None)).run);
}

#[test]
fn a_process_goes_on_when_its_secrets_go() {
    let mut world = World::well(json!({}));
    let last = wanted(&world.situation(), None);
    world.environment = Err(gone("SecretNotFound"));
    assert_eq!(wanted(&world.situation(), last.as_ref()), last);
}

#[test]
fn a_process_can_be_stopped_when_its_secrets_are_gone() {
    let mut world = World::well(json!({}));
    let last = wanted(&world.situation(), None);
    world.desired = World::well(json!({"operatingMode": "Stopped"})).desired;
    world.environment = Err(gone("SecretNotFound"));
    let told = process(wanted(&world.situation(), last.as_ref()));
    assert_eq!((told.run, told.env), (false, BTreeMap::from([("A".to_owned(), "1".to_owned())])));
}

#[test]
fn nothing_is_told_on_the_word_of_an_api_server_that_does_not_answer() {
    let mut world = World::well(json!({}));
    world.environment = Err(gone("ApiServerFailed"));
    assert_eq!(wanted(&world.situation(), None), None);
}

#[rstest::rstest]
#[case::at_first(json!({}), true)]
#[case::no_port(json!({"port": null}), false)]
#[case::switched_off(json!({"preview": {"enabled": false}}), false)]
fn when_a_host_name_is_made(#[case] spec: serde_json::Value, #[case] made: bool) {
    let mut world = World::well(spec);
    assert!(!needs_host(&world.situation()), "there is one already");
    world.published = None;
    assert_eq!(needs_host(&world.situation()), made);
    world.config.domain = None;
    assert!(!needs_host(&world.situation()), "there is no domain");
}

#[test]
fn the_next_look_is_at_the_end_of_the_preview() {
    let mut world = World::well(json!({"preview": {"lifetime": "2m"}}));
    world.now = at(90);
    let usual = Duration::from_secs(300);
    assert_eq!(look_again(&world.situation(), usual), Duration::from_secs(30));
    world.now = at(200);
    assert_eq!(look_again(&world.situation(), usual), usual);
}
