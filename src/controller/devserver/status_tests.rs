//! What is said of a DevServer, by situation.

use berth_link::wire::process::{Exit, ProcessPhase, ProcessState};
use serde_json::{Value, json};

use super::{
    fixtures::{World, at, state},
    situation::{AgentWord, Home},
    status::{describe, differs},
};
use crate::{
    api::{DevServerStatus, condition},
    controller::workspace::problem::Problem,
};

fn said(world: &World) -> DevServerStatus {
    describe(&DevServerStatus::default(), &world.situation())
}

fn word(status: &DevServerStatus, type_: &str) -> String {
    let found = status.conditions.iter().find(|one| one.type_ == type_);
    found.map_or("absent".to_owned(), |one| format!("{} {}", one.status, one.reason))
}

fn ready_message(status: &DevServerStatus) -> &str {
    let ready = status.conditions.iter().find(|one| one.type_ == condition::READY).unwrap();
    &ready.message
}

fn phase(status: &DevServerStatus) -> &str {
    status.phase.as_deref().unwrap_or_default()
}

#[test]
fn a_devserver_that_is_well() {
    let status = said(&World::well(json!({})));
    assert_eq!((phase(&status), status.pid, status.observed_generation), ("Running", Some(42), Some(2)));
    for (type_, expected) in [
        (condition::READY, "True Running"),
        (condition::ACCEPTED, "True Accepted"),
        (condition::WORKSPACE_READY, "True Usable"),
        (condition::PROCESS_RUNNING, "True Running"),
        (condition::PORT_OPEN, "True Open"),
        (condition::PREVIEW_READY, "True Published"),
        (condition::RECONCILING, "absent"),
        (condition::STALLED, "absent"),
    ] {
        assert_eq!(word(&status, type_), expected, "{type_}");
    }
    let preview = status.preview.unwrap();
    assert_eq!(preview.url.unwrap(), "https://web-ws-0011223344556677.preview.example/");
    assert!(preview.expires_at.is_none());
}

#[rstest::rstest]
#[case::starting(ProcessPhase::Starting, "Starting", "False Starting", "True Starting", false)]
#[case::restarting(ProcessPhase::Restarting, "Restarting", "False Restarting", "False Restarting", false)]
#[case::ended_to_start_again(
    ProcessPhase::Stopping,
    "Restarting",
    "False Restarting",
    "True Stopping",
    false
)]
#[case::came_to_its_end(ProcessPhase::Stopped, "Stopped", "False Completed", "False Stopped", true)]
#[case::failed(ProcessPhase::Failed, "Failed", "False ProcessFailed", "False Failed", true)]
fn a_process_that_is_not_well(
    #[case] told: ProcessPhase,
    #[case] expected: &str,
    #[case] ready: &str,
    #[case] running: &str,
    #[case] stalled: bool,
) {
    let exit = Some(Exit { code: Some(0), signal: None });
    let status = said(&World::well(json!({})).telling(ProcessState { last_exit: exit, ..state(told) }));
    assert_eq!(phase(&status), expected);
    assert_eq!(word(&status, condition::READY), ready);
    assert_eq!(word(&status, condition::PROCESS_RUNNING), running);
    assert_eq!(word(&status, condition::PREVIEW_READY), "False PortClosed");
    assert_eq!(word(&status, condition::STALLED) != "absent", stalled);
    assert_eq!(word(&status, condition::RECONCILING) != "absent", !stalled);
}

#[test]
fn a_process_that_was_stopped_and_is_wanted_again_is_on_its_way() {
    let exit = Some(Exit { code: None, signal: Some(15) });
    let told = ProcessState { last_exit: exit, ..state(ProcessPhase::Stopped) };
    let status = said(&World::well(json!({})).telling(told));
    assert_eq!((phase(&status), word(&status, condition::READY).as_str()), ("Starting", "False Starting"));
}

#[test]
fn a_crash_says_why_and_that_it_is_not_the_end() {
    let told = ProcessState {
        reason: Some("Exited".into()),
        message: Some("exited with code 1".into()),
        last_output: Some("Error: x\n".into()),
        ..state(ProcessPhase::Restarting)
    };
    let status = said(&World::well(json!({})).telling(told));
    assert_eq!(word(&status, condition::READY), "False Exited");
    assert_eq!(ready_message(&status), "exited with code 1; it is started again; last output: Error: x");
    assert_eq!(status.last_output, None);
}

#[test]
fn a_crash_loop_says_why_in_one_line() {
    let told = ProcessState {
        reason: Some("CrashLoop".into()),
        message: Some("ended 4 times\nwithin 5 minutes".into()),
        last_output: Some("> vite\n\u{1b}[31mError: Cannot find module 'vite'\n\n".into()),
        last_exit: Some(Exit { code: Some(1), signal: None }),
        restart_count: 3,
        ..state(ProcessPhase::Failed)
    };
    let status = said(&World::well(json!({})).telling(told));
    assert_eq!(word(&status, condition::READY), "False CrashLoop");
    assert_eq!(
        ready_message(&status),
        "ended 4 times within 5 minutes; last output: [31mError: Cannot find module 'vite'"
    );
    assert_eq!((status.restart_count, status.last_exit.unwrap().code), (Some(3), Some(1)));
    assert!(status.last_output.unwrap().starts_with("> vite\n"));
}

#[rstest::rstest]
#[case::ended(ProcessPhase::Stopped, "Stopped", "True Stopped")]
#[case::had_failed(ProcessPhase::Failed, "Stopped", "True Stopped")]
#[case::ending(ProcessPhase::Stopping, "Running", "False Stopping")]
#[case::yet_to_end(ProcessPhase::Running, "Running", "False Stopping")]
fn a_process_that_is_to_be_stopped(#[case] told: ProcessPhase, #[case] expected: &str, #[case] ready: &str) {
    let status = said(&World::well(json!({"operatingMode": "Stopped"})).telling(state(told)));
    assert_eq!((phase(&status), word(&status, condition::READY).as_str()), (expected, ready));
}

#[test]
fn a_port_that_is_not_open_is_not_ready() {
    let told = ProcessState { port_open: false, ..state(ProcessPhase::Running) };
    let status = said(&World::well(json!({})).telling(told));
    assert_eq!(word(&status, condition::READY), "False PortClosed");
    assert_eq!(word(&status, condition::PORT_OPEN), "False Closed");
}

#[test]
fn a_process_of_an_earlier_nonce_is_on_its_way() {
    let status = said(&World::well(json!({"restartNonce": "2"})));
    assert_eq!(
        (phase(&status), word(&status, condition::READY).as_str()),
        ("Restarting", "False Restarting")
    );
    assert_eq!(status.observed_restart_nonce, None);
}

#[rstest::rstest]
#[case::missing(Home::Missing, "Pending", "False WorkspaceNotFound", "False WorkspaceNotFound")]
#[case::going(Home::Terminating, "Pending", "False WorkspaceTerminating", "False WorkspaceTerminating")]
#[case::suspended(Home::Suspended, "Suspended", "True Suspended", "True Suspended")]
#[case::coming(Home::NotReady("Provisioning".into()), "Pending", "False WorkspaceNotReady", "False WorkspaceNotReady")]
#[case::usable(Home::Usable, "Pending", "Unknown AgentNotConnected", "True Usable")]
fn without_an_agent_the_workspace_says_why(
    #[case] home: Home,
    #[case] expected: &str,
    #[case] ready: &str,
    #[case] workspace: &str,
) {
    let world = World { home, agent: AgentWord::Disconnected, ..World::well(json!({})) };
    let status = said(&world);
    assert_eq!(phase(&status), expected);
    assert_eq!(word(&status, condition::READY), ready);
    assert_eq!(word(&status, condition::WORKSPACE_READY), workspace);
}

#[test]
fn an_agent_that_is_linked_counts_more_than_a_workspace_that_is_not_well() {
    let world = World { home: Home::NotReady("Degraded".into()), ..World::well(json!({})) };
    let status = said(&world);
    assert_eq!(word(&status, condition::READY), "True Running");
    assert_eq!(word(&status, condition::WORKSPACE_READY), "True AgentConnected");
}

#[test]
fn when_the_agent_is_gone_what_was_known_stays() {
    let before = said(&World::well(json!({})));
    let world = World { agent: AgentWord::Disconnected, ..World::well(json!({})) };
    let after = describe(&before, &world.situation());
    assert_eq!((phase(&after), after.pid, &after.started_at), ("Running", Some(42), &before.started_at));
    for type_ in
        [condition::READY, condition::PROCESS_RUNNING, condition::PORT_OPEN, condition::PREVIEW_READY]
    {
        assert_eq!(word(&after, type_), "Unknown AgentNotConnected", "{type_}");
    }
}

#[test]
fn a_short_silence_changes_nothing() {
    let before = said(&World::well(json!({})));
    let world = World { agent: AgentWord::Unheard, now: at(500), ..World::well(json!({})) };
    let after = describe(&before, &world.situation());
    assert!(!differs(&before, &after), "{before:#?} {after:#?}");
}

#[test]
fn nothing_changes_while_nothing_changes() {
    let before = said(&World::well(json!({})));
    let world = World { now: at(500), ..World::well(json!({})) };
    assert!(!differs(&before, &describe(&before, &world.situation())));
}

#[test]
fn one_that_is_refused_says_so_before_all_else() {
    let mut world = World::well(json!({}));
    world.place.refused = Some(Problem::permanent(condition::ACCEPTED, "PortConflict", "taken"));
    let status = said(&world);
    assert_eq!((phase(&status), word(&status, condition::READY).as_str()), ("Failed", "False PortConflict"));
    assert_eq!(word(&status, condition::ACCEPTED), "False PortConflict");
    assert_eq!(word(&status, condition::STALLED), "True PortConflict");
    assert_eq!(word(&status, condition::PROCESS_RUNNING), "absent");
}

#[rstest::rstest]
#[case::by_default(json!({}), "True Running")]
#[case::asked_for(json!({"preview": {"enabled": true}}), "False PreviewsDisabled")]
#[case::switched_off(json!({"preview": {"enabled": false}}), "True Running")]
fn without_a_domain_only_a_preview_that_was_asked_for_is_missed(#[case] spec: Value, #[case] ready: &str) {
    let mut world = World::well(spec);
    world.config.domain = None;
    let status = said(&world);
    assert_eq!(word(&status, condition::READY), ready);
    assert_eq!(status.preview.unwrap().url, None);
}

#[test]
fn a_password_that_is_missing_keeps_the_preview_back() {
    let spec = json!({"preview": {"access": "Password", "passwordSecretRef": {"name": "s"}}});
    let mut world = World::well(spec);
    world.password = Err(Problem::transient(condition::PREVIEW_READY, "PasswordMissing", "no Secret"));
    let status = said(&world);
    assert_eq!(word(&status, condition::PREVIEW_READY), "False PasswordMissing");
    assert_eq!(word(&status, condition::READY), "False PasswordMissing");
    assert_eq!(word(&status, condition::PROCESS_RUNNING), "True Running");
    assert_eq!(status.preview.unwrap().url, None);
}

#[test]
fn a_preview_that_nothing_leads_to_is_not_ready() {
    let mut world = World::well(json!({}));
    world.route = Err(Problem::transient(condition::PREVIEW_READY, "RouteFailed", "its Ingress: no"));
    let status = said(&world);
    assert_eq!(word(&status, condition::PREVIEW_READY), "False RouteFailed");
    assert_eq!(word(&status, condition::READY), "False RouteFailed");
}

#[rstest::rstest]
#[case::with_its_process(true, ProcessPhase::Stopped, "Expired", "False Expired")]
#[case::alone(false, ProcessPhase::Running, "Running", "True Running")]
fn a_preview_ends(
    #[case] stop: bool,
    #[case] told: ProcessPhase,
    #[case] expected: &str,
    #[case] ready: &str,
) {
    let spec = json!({"preview": {"lifetime": "1m", "stopProcessOnExpiry": stop}});
    let status = said(&World::well(spec).telling(state(told)));
    assert_eq!((phase(&status), word(&status, condition::READY).as_str()), (expected, ready));
    assert_eq!(word(&status, condition::PREVIEW_READY), "False Expired");
    let preview = status.preview.unwrap();
    assert_eq!(preview.host.as_deref(), Some("web-ws-0011223344556677"));
    assert_eq!((preview.url, preview.expires_at.unwrap().0), (None, at(60)));
}

#[rstest::rstest]
#[case::yet_to_start(ProcessPhase::Stopped, "Pending")]
#[case::still_running(ProcessPhase::Running, "Running")]
fn a_secret_that_is_missing(#[case] told: ProcessPhase, #[case] expected: &str) {
    let mut world = World::well(json!({})).telling(state(told));
    world.environment = Err(Problem::transient(condition::SECRETS_READY, "SecretNotFound", "no s"));
    let status = said(&world);
    assert_eq!(
        (phase(&status), word(&status, condition::READY).as_str()),
        (expected, "False SecretNotFound")
    );
    assert_eq!(word(&status, condition::SECRETS_READY), "False SecretNotFound");
}

#[test]
fn what_an_agent_tells_is_bounded() {
    let told = ProcessState {
        reason: Some("x y\n".repeat(1000)),
        message: Some("m".repeat(100_000)),
        last_error: Some("e".repeat(100_000)),
        last_output: Some("o".repeat(100_000)),
        restart_nonce: "n".repeat(100_000),
        ..state(ProcessPhase::Failed)
    };
    let mut world = World::well(json!({})).telling(told);
    if let Ok(desired) = &mut world.desired {
        desired.restart_nonce = "n".repeat(100_000);
    }
    let size = serde_json::to_string(&said(&world)).unwrap().len();
    assert!(size < 8192, "{size} bytes");
}
