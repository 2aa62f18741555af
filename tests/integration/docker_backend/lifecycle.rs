//! A body from its creation to its removal.

use std::time::Duration;

use berth::backend::{Change, ContainerRef, ItemKind, JobRequest, Reason, RunState};

use super::{
    proxy::{Place, Proxy},
    world::{HOST, SOCKET, World, announced, clean_up, container_ref, docker, image, spec, until},
};

#[tokio::test]
async fn a_workspace_is_made_used_stopped_and_removed() {
    World::run(async |world| {
        let container = world.created("web").await;
        let made = world.look(&container).await;
        assert_eq!((made.state, made.started_at, made.exit_code), (RunState::Created, None, None));
        assert_eq!(made.name, format!("berth-team.web-{}-1", container.body.id));

        world.backend.start(&container).await.unwrap();
        world.backend.start(&container).await.unwrap();
        let running = world.look(&container).await;
        assert_eq!(running.state, RunState::Running);
        assert!(running.started_at.is_some());
        assert!(running.ip.unwrap().to_string().starts_with("10.231."), "{running:?}");

        let written = world
            .sh(&container, "echo kept >/workspace/file && hostname && stat -c %U:%a /etc/berth/owner")
            .await;
        assert_eq!((written.exit_code, written.stdout.as_str()), (0, "web\nroot:644\n"));

        world.backend.stop(&container, Duration::from_secs(10)).await.unwrap();
        world.backend.stop(&container, Duration::from_secs(10)).await.unwrap();
        let stopped = world.look(&container).await;
        assert_eq!((stopped.state, stopped.exit_code), (RunState::Exited, Some(0)));
        assert_eq!(world.backend.guest(&container).await.err().unwrap().reason, Reason::NotRunning);

        world.backend.start(&container).await.unwrap();
        assert_ne!(world.look(&container).await.started_at, running.started_at);
        assert_eq!(world.sh(&container, "cat /workspace/file").await.stdout, "kept\n");

        world.backend.remove(&container.body, true).await.unwrap();
        let rest = world.backend.inspect(&container.body).await.unwrap();
        assert!(rest.containers.is_empty() && !rest.network);
        assert_eq!(rest.volumes.len(), 2);

        world.backend.create(&container.body, &spec(), &Default::default()).await.unwrap();
        world.backend.start(&container).await.unwrap();
        assert_eq!(world.sh(&container, "cat /workspace/file").await.stdout, "kept\n");

        let kinds: Vec<_> =
            world.backend.list(HOST).await.unwrap().into_iter().map(|item| item.kind).collect();
        assert_eq!(kinds, [ItemKind::Container, ItemKind::Network, ItemKind::Volume, ItemKind::Volume]);
        world.backend.remove(&container.body, false).await.unwrap();
        world.backend.remove(&container.body, false).await.unwrap();
        assert_eq!(world.backend.list(HOST).await.unwrap(), []);
        assert_eq!(world.backend.start(&container).await.unwrap_err().reason, Reason::NotFound);
        world.backend.remove_container(&container).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn creating_again_changes_nothing() {
    World::run(async |world| {
        let container = world.created("web").await;
        let before = world.look(&container).await;
        world.backend.create(&container.body, &spec(), &Default::default()).await.unwrap();
        world.backend.start(&container).await.unwrap();
        world.backend.create(&container.body, &spec(), &Default::default()).await.unwrap();
        assert_eq!(world.look(&container).await.id, before.id);
        assert_eq!(world.backend.list(HOST).await.unwrap().len(), 4);
    })
    .await;
}

#[tokio::test]
async fn a_second_incarnation_stands_beside_the_first() {
    World::run(async |world| {
        let first = world.created("web").await;
        let second = ContainerRef { incarnation: first.incarnation.next(), ..first.clone() };
        let mut wanted = spec();
        wanted.incarnation = second.incarnation;
        world.backend.create(&first.body, &wanted, &Default::default()).await.unwrap();
        let found = world.backend.inspect(&first.body).await.unwrap().containers;
        assert_eq!(found.iter().map(|one| one.incarnation.0).collect::<Vec<_>>(), [1, 2]);
        world.backend.remove_container(&first).await.unwrap();
        assert_eq!(world.backend.inspect(&first.body).await.unwrap().containers.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_container_whose_creation_was_not_answered_is_adopted() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let proxy = Proxy::start(Place::Socket(socket.clone()), Place::Socket(SOCKET.into())).await;
    World::run_at(&format!("endpoint: 'unix://{}'", socket.display()), async |world| {
        let container = container_ref("web");
        until("the host is up", async || world.host_is_up()).await;
        proxy.lose_next_creation();
        let lost = world.backend.create(&container.body, &spec(), &Default::default()).await.unwrap_err();
        assert_eq!(lost.reason, Reason::Unreachable, "{lost}");
        until("the container is there", async || {
            !world.backend.inspect(&container.body).await.unwrap().containers.is_empty()
        })
        .await;
        let made = world.look(&container).await;
        world.backend.create(&container.body, &spec(), &Default::default()).await.unwrap();
        assert_eq!(world.look(&container).await.id, made.id);
        world.backend.start(&container).await.unwrap();
        assert_eq!(world.sh(&container, "grep -c uid-of-web /etc/berth/owner").await.stdout, "1\n");
    })
    .await;
}

#[tokio::test]
async fn a_pruned_network_comes_back_at_the_start() {
    World::run(async |world| {
        let container = world.running("web").await;
        world.backend.stop(&container, Duration::ZERO).await.unwrap();
        docker(&["network", "rm", &format!("berth-{}", container.body.id)]);
        world.backend.start(&container).await.unwrap();
        assert!(world.look(&container).await.ip.is_some());
    })
    .await;
}

#[tokio::test]
async fn processes_are_told_before_they_are_killed() {
    World::run(async |world| {
        let container = world.running("web").await;
        let script = "trap 'echo saved >/workspace/state; exit 0' TERM; touch /workspace/ready; while :; do sleep 1; done";
        let guest = world.guest(&container).await;
        guest
            .start_job(JobRequest {
                name: "server".into(),
                script: script.into(),
                user: "root".into(),
                env: [].into(),
            })
            .await
            .unwrap();
        until("the server is ready", async || {
            world.sh(&container, "test -e /workspace/ready").await.exit_code == 0
        })
        .await;
        world.backend.stop(&container, Duration::from_secs(20)).await.unwrap();
        assert_eq!(world.look(&container).await.exit_code, Some(0));
        world.backend.start(&container).await.unwrap();
        assert_eq!(world.sh(&container, "cat /workspace/state").await.stdout, "saved\n");
    })
    .await;
}

#[tokio::test]
async fn containers_are_closed() {
    World::run(async |world| {
        let container = world.running("web").await;
        let status = world.sh(&container, "grep -E '^(NoNewPrivs|CapBnd)' /proc/self/status").await.stdout;
        assert_eq!(status.split_whitespace().collect::<Vec<_>>(), ["CapBnd:", "00000000000004eb", "NoNewPrivs:", "1"]);
        let id = world.look(&container).await.id;
        let shown = docker(&["inspect", "-f", "{{json .Config.Env}} {{json .HostConfig.PortBindings}}", &id]);
        assert!(shown.contains("container=docker"), "{shown}");
        assert!(shown.ends_with("null") || shown.ends_with("{}"), "{shown}");
        let limits = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} {{.HostConfig.RestartPolicy.Name}}";
        assert_eq!(docker(&["inspect", "-f", limits, &id]), "134217728 134217728 500000000 128 unless-stopped");
        let mount = world.sh(&container, "grep ' /run/berth ' /proc/mounts").await.stdout;
        for option in ["nosuid", "nodev", "noexec", "size=16384k", "mode=755"] {
            assert!(mount.contains(option), "{option} in {mount}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_command_that_takes_too_much_memory_is_killed_alone() {
    World::run(async |world| {
        let container = world.running("web").await;
        let mut changes = world.backend.changes();
        let greedy = world.sh(&container, "tail /dev/zero").await;
        assert_eq!(greedy.exit_code, 137, "{greedy:?}");
        announced(&mut changes, Change::Body(container.body.id)).await;
        assert_eq!(world.look(&container).await.state, RunState::Running);
    })
    .await;
}

#[tokio::test]
async fn events_name_the_body() {
    World::run(async |world| {
        let mut changes = world.backend.changes();
        let container = world.created("web").await;
        announced(&mut changes, Change::Body(container.body.id)).await;
        let name = world.look(&container).await.name;
        for action in ["start", "pause", "unpause", "kill"] {
            let mut changes = world.backend.changes();
            docker(&[action, &name]);
            announced(&mut changes, Change::Body(container.body.id)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_network_in_use_by_strangers_is_left() {
    World::run(async |world| {
        let container = world.running("web").await;
        let network = format!("berth-{}", container.body.id);
        let stranger = docker(&["create", "--network", &network, &image(), "sleep", "600"]);
        docker(&["start", &stranger]);
        let refused = world.backend.remove(&container.body, false).await;
        docker(&["rm", "-f", &stranger]);
        assert_eq!(refused.unwrap_err().reason, Reason::Conflict);
        world.backend.remove(&container.body, false).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn names_that_are_taken_by_others_are_refused() {
    World::run(async |world| {
        let container = container_ref("web");
        let name = format!("berth-team.web-{}-1", container.body.id);
        let stranger = docker(&["create", "--name", &name, &image(), "true"]);
        let refused = world.backend.create(&container.body, &spec(), &Default::default()).await;
        docker(&["rm", &stranger]);
        assert_eq!(refused.unwrap_err().reason, Reason::Conflict);

        let other = World::open(&format!("endpoint: 'unix://{SOCKET}'"));
        let volume = format!("berth-{}-workspace", container_ref("web").body.id);
        docker(&["volume", "create", "--label", &format!("berth.dev/instance={}", other.instance), &volume]);
        let mut same = container_ref("web");
        same.body.id = volume["berth-".len()..][..16].parse().unwrap();
        let refused = world.backend.create(&same.body, &spec(), &Default::default()).await;
        clean_up(&other.instance);
        assert_eq!(refused.unwrap_err().reason, Reason::Conflict);
    })
    .await;
}
