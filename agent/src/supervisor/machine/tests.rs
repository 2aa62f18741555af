//! Tables of what becomes of a process.

use std::collections::BTreeMap;

use berth_link::wire::process::{ErrorDetection, Health, LogLimits, Restart};
use proptest::prelude::*;
use rstest::rstest;

use super::*;

const AT: Timestamp = Timestamp::UNIX_EPOCH;

fn spec() -> ProcessSpec {
    ProcessSpec {
        id: "web".parse().unwrap(),
        run: true,
        command: "serve".to_owned(),
        workdir: "/workspace".to_owned(),
        env: BTreeMap::new(),
        port: Some(3000),
        restart: Restart {
            policy: RestartPolicy::OnFailure,
            max_restarts: 2,
            initial_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(60),
            reset_after: Duration::from_secs(300),
        },
        health: Health {
            path: None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            startup_grace: Duration::from_secs(10),
            failure_threshold: 3,
        },
        logs: LogLimits { max_lines: 1000, max_bytes: 1 << 20 },
        errors: ErrorDetection { json: true, text: true, fatal: Vec::new() },
        restart_nonce: String::new(),
    }
}

/// The machine and what it asked for, without its notes.
struct Scene {
    machine: Machine,
    asked: Vec<Action>,
}

impl Scene {
    fn new(spec: ProcessSpec) -> Self {
        let mut scene = Self { machine: Machine::new(spec.clone()), asked: Vec::new() };
        scene.wants(spec);
        scene
    }

    fn running(spec: ProcessSpec) -> Self {
        let mut scene = Self::new(spec);
        scene.is(Event::Started { pid: 7, port_was_taken: false });
        scene
    }

    fn is(&mut self, event: Event) {
        let actions = self.machine.apply(event, AT);
        self.asked = actions.into_iter().filter(|action| !matches!(action, Action::Note(_))).collect();
    }

    fn wants(&mut self, spec: ProcessSpec) {
        self.is(Event::Wanted(Box::new(spec)));
    }

    fn ends(&mut self, code: i32, ran_for: u64) {
        self.is(ended(Some(code), ran_for));
    }

    fn checked(&mut self, failure: Option<&str>, age: u64) {
        let failure = failure.map(str::to_owned);
        self.is(Event::Checked(Check {
            port_open: failure.is_none(),
            failure,
            age: Duration::from_secs(age),
        }));
    }

    #[track_caller]
    fn shows(&self, phase: ProcessPhase, reason: Option<&str>, asked: &[Action]) {
        let state = self.machine.state();
        assert_eq!((state.phase, state.reason.as_deref(), self.asked.as_slice()), (phase, reason, asked));
    }
}

fn ended(code: Option<i32>, ran_for: u64) -> Event {
    let signal = if code.is_none() { Some(9) } else { None };
    Event::Ended(End {
        exit: Exit { code, signal },
        ran_for: Duration::from_secs(ran_for),
        port_is_taken: false,
        output: "the last words".to_owned(),
    })
}

#[rstest]
#[case::always_after_success(RestartPolicy::Always, Some(0), ProcessPhase::Restarting, Some("Exited"))]
#[case::always_after_failure(RestartPolicy::Always, Some(1), ProcessPhase::Restarting, Some("Exited"))]
#[case::on_failure_after_success(RestartPolicy::OnFailure, Some(0), ProcessPhase::Stopped, None)]
#[case::on_failure_after_failure(RestartPolicy::OnFailure, Some(1), ProcessPhase::Restarting, Some("Exited"))]
#[case::on_failure_after_signal(RestartPolicy::OnFailure, None, ProcessPhase::Restarting, Some("Exited"))]
#[case::never_after_success(RestartPolicy::Never, Some(0), ProcessPhase::Stopped, None)]
#[case::never_after_failure(RestartPolicy::Never, Some(1), ProcessPhase::Failed, Some("Exited"))]
fn an_end_by_itself_follows_the_policy(
    #[case] policy: RestartPolicy,
    #[case] code: Option<i32>,
    #[case] phase: ProcessPhase,
    #[case] reason: Option<&str>,
) {
    let mut wanted = spec();
    wanted.restart.policy = policy;
    let mut scene = Scene::running(wanted);
    scene.is(ended(code, 1));
    let waits = [Action::Wait(Duration::from_secs(1))];
    scene.shows(phase, reason, if phase == ProcessPhase::Restarting { &waits } else { &[] });
}

#[test]
fn restarts_wait_longer_each_time_and_come_to_an_end() {
    let mut scene = Scene::running(spec());
    for wait in [1, 2] {
        scene.ends(1, 1);
        scene.shows(ProcessPhase::Restarting, Some("Exited"), &[Action::Wait(Duration::from_secs(wait))]);
        scene.is(Event::WaitOver);
        scene.shows(ProcessPhase::Starting, Some("Exited"), &[Action::Start]);
        scene.is(Event::Started { pid: 8, port_was_taken: false });
    }
    scene.ends(1, 1);
    scene.shows(ProcessPhase::Failed, Some("CrashLoop"), &[]);
    let state = scene.machine.state();
    assert_eq!(state.last_output.as_deref(), Some("the last words"));
    assert_eq!(state.last_exit, Some(Exit { code: Some(1), signal: None }));
    assert_eq!(state.restart_count, 2);
}

#[test]
fn a_good_run_forgets_earlier_crashes() {
    let mut scene = Scene::running(spec());
    for _ in 0..10 {
        scene.ends(1, 300);
        scene.shows(ProcessPhase::Restarting, Some("Exited"), &[Action::Wait(Duration::from_secs(1))]);
        assert_eq!(scene.machine.state().restart_count, 1);
        scene.is(Event::WaitOver);
        scene.is(Event::Started { pid: 8, port_was_taken: false });
    }
}

#[rstest]
#[case(0, 1)]
#[case(3, 8)]
#[case(5, 32)]
#[case(6, 60)]
#[case(4_000_000_000, 60)]
fn the_wait_doubles_up_to_its_bound(#[case] earlier: u32, #[case] seconds: u64) {
    let wait = delay(Duration::from_secs(1), Duration::from_secs(60), earlier);
    assert_eq!(wait, Duration::from_secs(seconds));
}

#[rstest]
#[case::command(|spec: &mut ProcessSpec| spec.command.push('x'))]
#[case::workdir(|spec: &mut ProcessSpec| spec.workdir.push('x'))]
#[case::environment(|spec: &mut ProcessSpec| drop(spec.env.insert("A".to_owned(), "B".to_owned())))]
#[case::port(|spec: &mut ProcessSpec| spec.port = None)]
#[case::nonce(|spec: &mut ProcessSpec| spec.restart_nonce.push('x'))]
fn what_a_process_runs_with_starts_it_anew(#[case] change: fn(&mut ProcessSpec)) {
    let mut changed = spec();
    change(&mut changed);

    let mut scene = Scene::running(spec());
    scene.wants(changed.clone());
    scene.shows(ProcessPhase::Stopping, None, &[Action::End]);
    scene.is(ended(None, 1));
    scene.shows(ProcessPhase::Starting, None, &[Action::Start]);
    scene.is(Event::Started { pid: 9, port_was_taken: false });
    assert_eq!(scene.machine.state().restart_nonce, changed.restart_nonce);

    let mut scene = Scene::running(spec());
    scene.ends(1, 1);
    scene.wants(changed.clone());
    scene.shows(ProcessPhase::Starting, Some("Exited"), &[Action::Start]);
    assert_eq!(scene.machine.state().restart_count, 0);

    let mut failed = spec();
    failed.restart.max_restarts = 0;
    let mut scene = Scene::running(failed);
    scene.ends(1, 1);
    scene.wants(changed);
    scene.shows(ProcessPhase::Starting, Some("CrashLoop"), &[Action::Start]);
}

#[rstest]
#[case::health(|spec: &mut ProcessSpec| spec.health.failure_threshold = 9)]
#[case::logs(|spec: &mut ProcessSpec| spec.logs.max_lines = 9)]
#[case::errors(|spec: &mut ProcessSpec| spec.errors.text = false)]
#[case::restarts(|spec: &mut ProcessSpec| spec.restart.max_restarts = 9)]
#[case::nothing(|_: &mut ProcessSpec| ())]
fn other_changes_leave_it_running(#[case] change: fn(&mut ProcessSpec)) {
    let mut changed = spec();
    change(&mut changed);
    let mut scene = Scene::running(spec());
    scene.wants(changed.clone());
    scene.shows(ProcessPhase::Starting, None, &[]);
    assert_eq!(scene.machine.spec(), &changed);
}

#[test]
fn the_same_wish_does_not_revive_what_came_to_its_end() {
    let mut scene = Scene::running(spec());
    scene.ends(0, 1);
    scene.wants(spec());
    scene.shows(ProcessPhase::Stopped, None, &[]);
}

#[test]
fn a_stop_is_no_crash() {
    let off = ProcessSpec { run: false, ..spec() };
    let mut scene = Scene::running(spec());
    scene.wants(off.clone());
    scene.shows(ProcessPhase::Stopping, None, &[Action::End]);
    scene.is(ended(None, 1));
    scene.shows(ProcessPhase::Stopped, None, &[]);
    assert_eq!(scene.machine.state().restart_count, 0);
    scene.wants(spec());
    scene.shows(ProcessPhase::Starting, None, &[Action::Start]);

    let mut scene = Scene::running(spec());
    scene.ends(1, 1);
    scene.wants(off);
    scene.shows(ProcessPhase::Stopped, None, &[]);
    scene.is(Event::WaitOver);
    scene.shows(ProcessPhase::Stopped, None, &[]);
}

#[test]
fn a_wish_that_changes_while_it_ends_is_heard() {
    let off = ProcessSpec { run: false, ..spec() };
    let mut scene = Scene::running(spec());
    scene.wants(off.clone());
    scene.wants(spec());
    scene.is(ended(None, 1));
    scene.shows(ProcessPhase::Starting, None, &[Action::Start]);

    let mut scene = Scene::running(spec());
    scene.is(Event::RestartAsked);
    scene.wants(off);
    scene.is(ended(None, 1));
    scene.shows(ProcessPhase::Stopped, None, &[]);
}

#[test]
fn what_is_not_wanted_any_more_is_ended_and_forgotten() {
    let mut scene = Scene::running(spec());
    scene.is(Event::Unwanted);
    scene.shows(ProcessPhase::Stopping, None, &[Action::End]);
    scene.is(ended(None, 1));
    assert_eq!(scene.asked, [Action::Forget]);

    let mut scene = Scene::running(spec());
    scene.is(Event::Unwanted);
    scene.wants(spec());
    scene.is(ended(None, 1));
    scene.shows(ProcessPhase::Starting, None, &[Action::Start]);

    let mut scene = Scene::running(spec());
    scene.ends(1, 1);
    scene.is(Event::Unwanted);
    assert_eq!(scene.asked, [Action::Forget]);
}

#[test]
fn a_restart_on_request_forgets_crashes() {
    let mut scene = Scene::running(spec());
    scene.ends(1, 1);
    scene.is(Event::RestartAsked);
    scene.shows(ProcessPhase::Starting, Some("Exited"), &[Action::Start]);
    assert_eq!(scene.machine.state().restart_count, 0);
    scene.is(Event::Started { pid: 8, port_was_taken: false });
    scene.is(Event::RestartAsked);
    scene.shows(ProcessPhase::Stopping, None, &[Action::End]);

    let mut scene = Scene::new(ProcessSpec { run: false, ..spec() });
    scene.is(Event::RestartAsked);
    scene.shows(ProcessPhase::Stopped, None, &[]);
}

#[test]
fn a_failed_start_is_tried_again_and_keeps_its_name() {
    let mut scene = Scene::new(spec());
    for _ in 0..2 {
        scene.is(Event::NotStarted { message: "no such folder".to_owned() });
        assert!(matches!(scene.asked[..], [Action::Wait(_)]));
        scene.is(Event::WaitOver);
    }
    scene.is(Event::NotStarted { message: "no such folder".to_owned() });
    scene.shows(ProcessPhase::Failed, Some("StartFailed"), &[]);
    scene.wants(ProcessSpec { restart_nonce: "2".to_owned(), ..spec() });
    scene.is(Event::NotStarted { message: "no such folder".to_owned() });
    assert_eq!(scene.machine.state().restart_nonce, "2");
}

#[test]
fn it_runs_once_its_check_is_good() {
    let mut scene = Scene::running(spec());
    scene.checked(Some("port 3000 is closed"), 1);
    scene.shows(ProcessPhase::Starting, None, &[]);
    scene.checked(None, 2);
    scene.shows(ProcessPhase::Running, None, &[]);
    let state = scene.machine.state();
    assert!(state.healthy && state.port_open);

    let scene = Scene::running(ProcessSpec { port: None, ..spec() });
    scene.shows(ProcessPhase::Running, None, &[]);
    assert!(scene.machine.state().healthy && !scene.machine.wants_checks());
}

#[test]
fn failed_checks_in_a_row_end_it_and_count_as_a_crash() {
    let mut scene = Scene::running(spec());
    for _ in 0..10 {
        scene.checked(Some("closed"), 9);
        scene.shows(ProcessPhase::Starting, None, &[]);
    }
    scene.checked(Some("closed"), 10);
    scene.checked(Some("closed"), 15);
    scene.shows(ProcessPhase::Starting, Some("Unhealthy"), &[]);
    assert_eq!(scene.machine.state().message.as_deref(), Some("closed"));
    scene.checked(None, 20);
    scene.shows(ProcessPhase::Running, None, &[]);
    scene.checked(Some("closed"), 25);
    scene.checked(Some("closed"), 30);
    scene.shows(ProcessPhase::Running, Some("Unhealthy"), &[]);
    scene.checked(Some("closed"), 35);
    scene.shows(ProcessPhase::Stopping, Some("HealthCheckFailed"), &[Action::End]);
    scene.ends(0, 36);
    scene.shows(ProcessPhase::Restarting, Some("HealthCheckFailed"), &[Action::Wait(Duration::from_secs(1))]);
}

#[test]
fn without_a_threshold_failed_checks_end_nothing() {
    let mut wanted = spec();
    wanted.health.failure_threshold = 0;
    let mut scene = Scene::running(wanted);
    for age in 0..1000 {
        scene.checked(Some("closed"), age);
    }
    scene.shows(ProcessPhase::Starting, Some("Unhealthy"), &[]);
}

#[test]
fn a_fatal_error_ends_it_and_counts_as_a_crash() {
    let mut scene = Scene::running(spec());
    scene.is(Event::FatalOutput { line: "out of memory".to_owned() });
    scene.shows(ProcessPhase::Stopping, Some("FatalError"), &[Action::End]);
    scene.is(ended(None, 1));
    scene.shows(ProcessPhase::Restarting, Some("FatalError"), &[Action::Wait(Duration::from_secs(1))]);
}

#[test]
fn a_port_that_was_taken_before_is_told_until_it_is_let_go() {
    let mut scene = Scene::new(spec());
    scene.is(Event::Started { pid: 7, port_was_taken: true });
    scene.shows(ProcessPhase::Starting, Some("PortInUse"), &[]);
    scene.checked(None, 1);
    scene.shows(ProcessPhase::Running, Some("PortInUse"), &[]);
    scene.checked(Some("closed"), 2);
    scene.shows(ProcessPhase::Running, None, &[]);
    scene.ends(1, 3);
    scene.shows(ProcessPhase::Restarting, Some("Exited"), &[Action::Wait(Duration::from_secs(1))]);
}

#[rstest]
#[case::before(true, false, "PortInUse")]
#[case::after(false, true, "PortInUse")]
#[case::never(false, false, "Exited")]
fn a_crash_for_want_of_a_port_is_told(#[case] before: bool, #[case] after: bool, #[case] reason: &str) {
    let mut scene = Scene::new(spec());
    scene.is(Event::Started { pid: 7, port_was_taken: before });
    let Event::Ended(end) = ended(Some(1), 1) else { unreachable!() };
    scene.is(Event::Ended(End { port_is_taken: after, ..end }));
    scene.shows(ProcessPhase::Restarting, Some(reason), &[Action::Wait(Duration::from_secs(1))]);
}

#[derive(Clone, Debug)]
enum Turn {
    Wanted { run: bool, nonce: u8 },
    Unwanted,
    RestartAsked,
    Ends(i32),
    WaitIsOver,
    Checked { well: bool },
    Fatal,
}

fn turns() -> impl Strategy<Value = Vec<(Turn, bool)>> {
    let turn = prop_oneof![
        (any::<bool>(), 0_u8..3).prop_map(|(run, nonce)| Turn::Wanted { run, nonce }),
        Just(Turn::Unwanted),
        Just(Turn::RestartAsked),
        (0..2).prop_map(Turn::Ends),
        Just(Turn::WaitIsOver),
        any::<bool>().prop_map(|well| Turn::Checked { well }),
        Just(Turn::Fatal),
    ];
    proptest::collection::vec((turn, proptest::bool::weighted(0.8)), 0..40)
}

proptest! {
    #[test]
    fn there_is_never_a_second_process(turns in turns()) {
        let mut machine = Machine::new(spec());
        let (mut alive, mut waits, mut forgotten) = (false, false, false);
        for (turn, can_start) in turns {
            let event = match turn {
                Turn::Wanted { run, nonce } => {
                    Event::Wanted(Box::new(ProcessSpec { run, restart_nonce: nonce.to_string(), ..spec() }))
                }
                Turn::Unwanted => Event::Unwanted,
                Turn::RestartAsked => Event::RestartAsked,
                Turn::Ends(code) if alive => {
                    alive = false;
                    ended(Some(code), 1)
                }
                Turn::WaitIsOver if waits => {
                    waits = false;
                    Event::WaitOver
                }
                Turn::Checked { well } if alive => {
                    let failure = (!well).then(|| "closed".to_owned());
                    Event::Checked(Check { port_open: well, failure, age: Duration::from_secs(60) })
                }
                Turn::Fatal if alive => Event::FatalOutput { line: String::new() },
                _ => continue,
            };
            let mut events = vec![event];
            while let Some(event) = events.pop() {
                for action in machine.apply(event, AT) {
                    match action {
                        Action::Start if can_start => {
                            prop_assert!(!alive && !forgotten);
                            (alive, waits) = (true, false);
                            events.push(Event::Started { pid: 7, port_was_taken: false });
                        }
                        Action::Start => events.push(Event::NotStarted { message: String::new() }),
                        Action::End => prop_assert!(alive),
                        Action::Wait(_) => waits = true,
                        Action::Forget => {
                            prop_assert!(!alive);
                            forgotten = true;
                        }
                        Action::Note(_) => {}
                    }
                }
            }
            prop_assert_eq!(machine.state().pid.is_some(), alive);
            let resting = matches!(machine.state().phase, ProcessPhase::Stopped | ProcessPhase::Failed);
            prop_assert!(!(resting && alive));
            let waiting = machine.state().phase == ProcessPhase::Restarting;
            prop_assert!(!waiting || waits || forgotten);
            if forgotten {
                break;
            }
        }
    }
}
