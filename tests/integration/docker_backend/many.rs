//! More workspaces than Docker's own address pools could take.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};

use super::world::{World, container_ref, docker, spec};

#[tokio::test]
async fn sixty_workspaces_fit_on_one_host() {
    World::run(async |world| {
        let containers: Vec<_> = (0..60).map(|number| container_ref(&format!("web-{number}"))).collect();
        let wanted = spec();
        let progress = Default::default();
        stream::iter(&containers)
            .map(|container| world.backend.create(&container.body, &wanted, &progress))
            .buffer_unordered(6)
            .try_collect::<Vec<()>>()
            .await
            .unwrap();
        let filter = format!("label=berth.dev/instance={}", world.instance);
        let ids = docker(&["network", "ls", "-q", "--filter", &filter]);
        let ids: Vec<_> = ids.lines().collect();
        assert_eq!(ids.len(), 60);
        let format = ["network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}"];
        let subnets = docker(&[&format[..], &ids].concat());
        let subnets: BTreeSet<_> = subnets.lines().collect();
        assert_eq!(subnets.len(), 60);
        assert!(subnets.iter().all(|subnet| subnet.starts_with("10.231.") && subnet.ends_with("/28")));
        world.backend.start(&containers[59]).await.unwrap();
        stream::iter(&containers)
            .map(|container| world.backend.remove(&container.body, false))
            .buffer_unordered(6)
            .try_collect::<Vec<()>>()
            .await
            .unwrap();
        assert_eq!(world.backend.list(super::world::HOST).await.unwrap(), []);
    })
    .await;
}
