//! Jobs that go on without the operator.

use std::{collections::BTreeMap, time::Duration};

use berth::backend::{JobRequest, JobState};

use super::world::{PATIENCE, SOCKET, World};

fn job(name: &str, script: &str) -> JobRequest {
    JobRequest { name: name.into(), script: script.into(), user: "dev".into(), env: BTreeMap::new() }
}

const NOW: Duration = Duration::ZERO;

#[tokio::test]
async fn a_job_runs_with_its_environment_and_reports() {
    World::run(async |world| {
        let container = world.running("web").await;
        let guest = world.guest(&container).await;
        assert_eq!(guest.look_at_job("clone", NOW).await.unwrap(), JobState::Missing);
        let secret = "it's a \"secret\" $HOME\n`id` \\ é\u{1}\u{7f}";
        let mut request = job(
            "clone",
            "id -un; printf '%s' \"$TOKEN\" | od -An -v -tx1 | tr -d ' \\n'; echo; echo late >&2; exit 3",
        );
        request.env.insert("TOKEN".into(), secret.into());
        guest.start_job(request).await.unwrap();
        let state = guest.look_at_job("clone", PATIENCE).await.unwrap();
        let output = format!("dev\n{}\nlate\n", hex::encode(secret));
        assert_eq!(state, JobState::Exited { code: 3, output });
        let left =
            world.sh(&container, "cd /run/berth/jobs; stat -c '%U %a %n' . clone; ls -A clone").await.stdout;
        assert_eq!(left, "root 755 .\ndev 700 clone\nexit\noutput\npid\nscript\n");
    })
    .await;
}

#[tokio::test]
async fn a_job_survives_the_operator_and_is_not_started_twice() {
    World::run(async |world| {
        let container = world.running("web").await;
        let script = "echo begun; echo run >>/tmp/runs; until [ -e /tmp/go ]; do sleep 0.05; done; echo done";
        world.guest(&container).await.start_job(job("build", script)).await.unwrap();
        let running = |state| matches!(state, JobState::Running { output } if output == "begun\n");
        super::world::until("it has begun", async || {
            running(world.guest(&container).await.look_at_job("build", NOW).await.unwrap())
        })
        .await;
        let successor = world.again(&format!("endpoint: 'unix://{SOCKET}'"));
        let guest = successor.guest(&container).await;
        for _ in 0..3 {
            guest.start_job(job("build", script)).await.unwrap();
        }
        assert!(running(guest.look_at_job("build", Duration::from_millis(300)).await.unwrap()));
        world.sh(&container, "touch /tmp/go").await;
        let state = guest.look_at_job("build", PATIENCE).await.unwrap();
        assert_eq!(state, JobState::Exited { code: 0, output: "begun\ndone\n".into() });
        guest.start_job(job("build", script)).await.unwrap();
        assert_eq!(world.sh(&container, "cat /tmp/runs").await.stdout, "run\n");
    })
    .await;
}

#[tokio::test]
async fn of_several_that_start_a_job_at_once_one_does() {
    World::run(async |world| {
        let container = world.running("web").await;
        let guest = world.guest(&container).await;
        let starts = (0..4).map(|_| guest.start_job(job("once", "echo run >>/tmp/runs")));
        futures::future::try_join_all(starts).await.unwrap();
        assert!(matches!(
            guest.look_at_job("once", PATIENCE).await.unwrap(),
            JobState::Exited { code: 0, .. }
        ));
        assert_eq!(world.sh(&container, "cat /tmp/runs").await.stdout, "run\n");
    })
    .await;
}

#[tokio::test]
async fn a_killed_job_is_missing_and_starts_again() {
    World::run(async |world| {
        let container = world.running("web").await;
        let guest = world.guest(&container).await;
        let script = "echo run >>/tmp/runs; [ -e /tmp/go ] || sleep 4321; echo \"$SECRET\"";
        let mut request = job("build", script);
        request.env.insert("SECRET".into(), "still known".into());
        guest.start_job(request.clone()).await.unwrap();
        super::world::until("it runs", async || {
            world.sh(&container, "test -e /tmp/runs").await.exit_code == 0
        })
        .await;
        world
            .sh(&container, "touch /tmp/go; read pid start </run/berth/jobs/build/pid; kill -9 \"-$pid\"")
            .await;
        super::world::until("it is gone", async || {
            guest.look_at_job("build", NOW).await.unwrap() == JobState::Missing
        })
        .await;
        guest.start_job(request).await.unwrap();
        let state = guest.look_at_job("build", PATIENCE).await.unwrap();
        assert_eq!(state, JobState::Exited { code: 0, output: "still known\n".into() });
    })
    .await;
}

#[tokio::test]
async fn a_restart_of_the_container_forgets_its_jobs() {
    World::run(async |world| {
        let container = world.running("web").await;
        world.guest(&container).await.start_job(job("build", "true")).await.unwrap();
        world.backend.stop(&container, Duration::ZERO).await.unwrap();
        world.backend.start(&container).await.unwrap();
        let state = world.guest(&container).await.look_at_job("build", NOW).await.unwrap();
        assert_eq!(state, JobState::Missing);
    })
    .await;
}

#[tokio::test]
async fn only_the_end_of_much_output_is_shown() {
    World::run(async |world| {
        let container = world.running("web").await;
        let guest = world.guest(&container).await;
        guest.start_job(job("noise", "head -c 100000 /dev/zero | tr '\\0' x; echo end")).await.unwrap();
        match guest.look_at_job("noise", PATIENCE).await.unwrap() {
            JobState::Exited { code: 0, output } => {
                assert_eq!(output, "x".repeat(4092) + "end\n");
            }
            other => panic!("{other:?}"),
        }
        assert!(guest.start_job(job("../x", "true")).await.is_err());
        let mut bad = job("bad", "true");
        bad.env.insert("A;id".into(), "x".into());
        assert!(guest.start_job(bad).await.is_err());
    })
    .await;
}
