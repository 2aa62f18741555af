//! A supervisor that is killed, and the one that comes after it.

use std::{
    env, fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use rstest::rstest;

use super::*;
use crate::supervisor::group::{Together, processes};

/// Says, in a process of its own, where it is to supervise.
const FOLDER: &str = "BERTH_TEST_SUPERVISOR_FOLDER";

/// Not a test: what a process runs that is killed in one.
#[tokio::test]
#[ignore = "started by other tests"]
async fn be_a_supervisor() {
    let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else { return };
    serve(settings(&folder), CancellationToken::new()).await.unwrap();
}

/// A supervisor in a process of its own, which is killed when this is dropped.
struct Apart(Child);

impl Apart {
    fn begin(folder: &Path) -> Self {
        let child = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "supervisor::tests::successor::be_a_supervisor"])
            .env(FOLDER, folder)
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// How many processes have this in their command line.
fn count(mark: &str) -> usize {
    let has_mark =
        |pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(mark));
    processes(|_| true).into_iter().filter(|each| has_mark(each.pid)).count()
}

const PLAIN: &str = "sleep MARK & sleep MARK; wait";

#[rstest]
#[case::leader_is_there(PLAIN, false, false)]
#[case::leader_has_ended(PLAIN, true, false)]
#[case::no_record(PLAIN, false, true)]
#[case::no_environment("exec env -i sh -c 'sleep MARK & sleep MARK; wait'", false, false)]
#[tokio::test]
async fn a_successor_goes_on_with_one_process_of_each(
    #[case] command: &str,
    #[case] leader_ends: bool,
    #[case] no_record: bool,
) {
    let folder = tempfile::tempdir().unwrap();
    let apart = Apart::begin(folder.path());
    let client = soon(connect(&settings(folder.path()).socket)).await;
    let scene =
        Scene { folder, stop: CancellationToken::new(), serving: tokio::spawn(async { Ok(()) }), client };
    let mark = format!("1000.{:019}", rand::random::<u64>());
    let command = command.replace("MARK", &mark);
    scene.want([scene.spec("web", &command)]).await;
    let first = scene.until_phase(ProcessPhase::Running).await.pid.unwrap();
    soon(async { while count(&mark) < 3 {} }).await;
    let offset: u64 = {
        let answer = scene.send("GET", "/v1/processes/web/log", Body::empty()).await;
        answer.headers()[LOG_OFFSET_HEADER].to_str().unwrap().parse().unwrap()
    };
    drop(apart);
    if leader_ends {
        let leader = nix::unistd::Pid::from_raw(first.try_into().unwrap());
        nix::sys::signal::kill(leader, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    if no_record {
        fs::remove_file(scene.path("state/groups.json")).unwrap();
    }
    assert!(count(&mark) >= 2);

    let scene = Scene::begin(scene.folder).await;
    let second = scene.until_phase(ProcessPhase::Running).await.pid.unwrap();
    assert_ne!(first, second);
    assert!(Together::group(first).members().is_empty());
    let answer = scene.send("GET", &format!("/v1/processes/web/log?since={offset}"), Body::empty()).await;
    let new = String::from_utf8(whole(answer).await.to_vec()).unwrap();
    assert!(
        new.contains(&format!("started, process {second}")) && !new.contains(&first.to_string()),
        "{new}"
    );
    scene.stop().await;
    assert_eq!(count(&mark), 0);
}
