//! Getting images onto a host.

use berth::backend::{BackendError, ImageRequest, Pull, Reason, RegistryCredential, Report};
use tokio::sync::watch;

use super::{
    registry::{PASSWORD, Registry, USER},
    world::{HOST, PATIENCE, World, container_ref, docker, image, spec},
};

fn log_in(registry: &Registry, password: &str) -> RegistryCredential {
    RegistryCredential {
        registry: format!("http://127.0.0.1:{}/v2/", registry.port),
        username: USER.into(),
        password: password.into(),
    }
}

async fn pull(world: &World, image: &str, credentials: &[RegistryCredential]) -> Result<(), BackendError> {
    let request = ImageRequest { image: image.into(), pull: Pull::Always, credentials: credentials.to_vec() };
    world.backend.prepare_image(HOST, &request, &watch::Sender::default()).await
}

#[tokio::test]
async fn a_pull_tells_how_far_it_is() {
    World::run(async |world| {
        let registry = Registry::open().await;
        let credentials = vec![log_in(&registry, PASSWORD)];
        let image = registry.image("open/image:1");
        let request = ImageRequest { image: image.clone(), pull: Pull::IfNotPresent, credentials };
        let progress = watch::Sender::default();
        let mut shown = progress.subscribe();
        let watch = async {
            let half =
                |report: &Report| report.words.ends_with("% of 4.1 MB") && !report.words.contains(" 0%");
            tokio::time::timeout(PATIENCE, shown.wait_for(half)).await.unwrap().unwrap();
            registry.goes_on.send_replace(true);
        };
        let (pulled, ()) = tokio::join!(world.backend.prepare_image(HOST, &request, &progress), watch);
        pulled.unwrap();
        drop(registry);
        // Now nobody has to be asked.
        world.backend.prepare_image(HOST, &request, &progress).await.unwrap();
        docker(&["rmi", &image]);
    })
    .await;
}

#[tokio::test]
async fn a_registry_that_wants_a_log_in_gets_the_one_that_fits() {
    World::run(async |world| {
        let registry = Registry::open().await;
        registry.goes_on.send_replace(true);
        let image = registry.image("closed/image:1");
        let (good, bad) = (log_in(&registry, PASSWORD), log_in(&registry, "wrong"));
        let elsewhere = RegistryCredential { registry: "elsewhere.example".into(), ..good.clone() };
        for refused in [&[][..], std::slice::from_ref(&bad), &[elsewhere]] {
            let error = pull(world, &image, refused).await.unwrap_err();
            assert_eq!(error.reason, Reason::ImagePullDenied, "{error}");
            assert!(!error.message.contains("wrong") && !error.message.contains(PASSWORD), "{error}");
        }
        pull(world, &image, &[bad, good.clone()]).await.unwrap();
        docker(&["rmi", &image]);
        let error = pull(world, &registry.image("open/image:2"), &[good]).await.unwrap_err();
        assert_eq!(error.reason, Reason::ImageNotFound, "{error}");
    })
    .await;
}

#[tokio::test]
async fn images_that_are_there_are_not_asked_for() {
    World::run(async |world| {
        let progress = watch::Sender::default();
        let mut request = ImageRequest { image: image(), pull: Pull::IfNotPresent, credentials: Vec::new() };
        world.backend.prepare_image(HOST, &request, &progress).await.unwrap();
        request.pull = Pull::Never;
        world.backend.prepare_image(HOST, &request, &progress).await.unwrap();
        assert_eq!(progress.borrow().words, "");
        request.image = "berth-test/nothing:none".into();
        let error = world.backend.prepare_image(HOST, &request, &progress).await.unwrap_err();
        assert_eq!(error.reason, Reason::ImageNotFound);
        // Nobody listens on port 1.
        request.image = "127.0.0.1:1/nothing".into();
        request.pull = Pull::Always;
        let error = world.backend.prepare_image(HOST, &request, &progress).await.unwrap_err();
        assert_eq!(error.reason, Reason::ImagePullFailed, "{error}");
        assert_eq!(progress.borrow().words, "pulling 127.0.0.1:1/nothing");
        let container = container_ref("web");
        let mut wanted = spec();
        wanted.image = "berth-test/nothing:none".into();
        let error = world.backend.create(&container.body, &wanted, &Default::default()).await.unwrap_err();
        assert_eq!(error.reason, Reason::ImageNotFound, "{error}");
        wanted.image = image();
        wanted.cpu_millis = 1_000_000;
        let error = world.backend.create(&container.body, &wanted, &Default::default()).await.unwrap_err();
        assert_eq!(error.reason, Reason::Unsupported, "{error}");
    })
    .await;
}
