//! Nobody touches what belongs to somebody else.

use berth::backend::{BackendError, BodyRef, ContainerName, Found, Incarnation, Owner, Reason, RunState};

use super::world::{HOST, SOCKET, World, clean_up, container_ref, docker, image, owner, spec};

#[tokio::test]
async fn two_instances_on_one_host_do_not_see_each_other() {
    World::run(async |world| {
        let other = World::open(&format!("endpoint: 'unix://{SOCKET}'"));
        let container = other.created("web").await;
        let seen = world.backend.inspect(&container.body).await.unwrap();
        assert_eq!(seen, Default::default());
        assert_eq!(world.backend.find(&owner("web")).await.unwrap(), []);
        assert_eq!(world.backend.list(HOST).await.unwrap(), []);
        assert_eq!(world.backend.start(&container).await.unwrap_err().reason, Reason::NotFound);
        world.backend.remove(&container.body, false).await.unwrap();
        assert_eq!(
            world.backend.create(&container.body, &spec(), &Default::default()).await.unwrap_err().reason,
            Reason::Conflict
        );
        assert_eq!(other.look(&container).await.state, RunState::Created);
        assert_eq!(other.backend.list(HOST).await.unwrap().len(), 4);
        clean_up(&other.instance);
    })
    .await;
}

#[tokio::test]
async fn another_owners_container_is_left_alone() {
    World::run(async |world| {
        let container = world.running("web").await;
        let mut stranger = container.clone();
        stranger.body.owner = owner("mail");
        let seconds = std::time::Duration::from_secs(1);
        let refusals: [Result<(), BackendError>; 7] = [
            world.backend.inspect(&stranger.body).await.map(drop),
            world.backend.create(&stranger.body, &spec(), &Default::default()).await,
            world.backend.start(&stranger).await,
            world.backend.stop(&stranger, seconds).await,
            world.backend.remove_container(&stranger).await,
            world.backend.remove(&stranger.body, false).await,
            world.backend.guest(&stranger).await.map(drop),
        ];
        for refusal in refusals {
            let error = refusal.unwrap_err();
            assert_eq!(error.reason, Reason::NotOwned);
            assert!(error.message.contains("team.web") && error.message.contains("team/mail"), "{error}");
        }
        assert_eq!(world.look(&container).await.state, RunState::Running);
    })
    .await;
}

fn found(body: &BodyRef, incarnation: Incarnation) -> Found {
    Found { body: body.clone(), incarnation }
}

#[tokio::test]
async fn what_belongs_to_an_owner_is_found_without_its_id() {
    World::run(async |world| {
        let container = world.running("web").await;
        world.created("mail").await;
        assert_eq!(
            world.backend.find(&owner("web")).await.unwrap(),
            [found(&container.body, Incarnation::FIRST)]
        );
        // A workspace of the same name that was made later is somebody else.
        let successor = Owner { uid: "another".into(), ..owner("web") };
        assert_eq!(world.backend.find(&successor).await.unwrap(), []);
        world.backend.remove(&container.body, true).await.unwrap();
        assert_eq!(
            world.backend.find(&owner("web")).await.unwrap(),
            [found(&container.body, Incarnation::NONE)]
        );
        assert_eq!(world.backend.find(&successor).await.unwrap(), []);
        world.backend.remove(&container.body, false).await.unwrap();
        assert_eq!(world.backend.find(&owner("web")).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn a_creation_that_was_interrupted_is_found_and_finished() {
    World::run(async |world| {
        let container = container_ref("web");
        let (body, incarnation) = (&container.body, container.incarnation);
        let name = ContainerName::new(&body.owner, body.id, incarnation).to_string();
        let labels = [
            format!("berth.dev/instance={}", world.instance),
            format!("berth.dev/id={}", body.id),
            "berth.dev/incarnation=1".to_owned(),
        ];
        let create =
            ["create", "--name", &name, "--label", &labels[0], "--label", &labels[1], "--label", &labels[2]];
        docker(&[&create[..], &[&image(), "true"]].concat());
        assert_eq!(world.backend.find(&body.owner).await.unwrap(), [found(body, incarnation)]);
        // Once it ran without a mark, nobody knows whose work is in it.
        docker(&["start", &name]);
        docker(&["wait", &name]);
        assert_eq!(world.backend.find(&body.owner).await.unwrap(), []);
        docker(&["rm", &name]);
        docker(&[&create[..], &[&image(), "true"]].concat());
        world.backend.create(body, &spec(), &Default::default()).await.unwrap();
        let successor = Owner { uid: "another".into(), ..owner("web") };
        assert_eq!(world.backend.find(&successor).await.unwrap(), []);
        assert_eq!(world.backend.find(&body.owner).await.unwrap(), [found(body, incarnation)]);
    })
    .await;
}
