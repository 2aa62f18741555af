//! Removing what was made.

use bollard::{
    Docker,
    models::ImageSummary,
    query_parameters::{
        ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptionsBuilder,
        RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
    },
};

use super::{errors, labels};

/// Removes everything that simulators made in Docker: of one cluster, or of all.
///
/// # Errors
///
/// What Docker says when it can not be asked or does not remove something.
pub async fn cleanup(docker: &Docker, cluster: Option<&str>) -> Result<(), String> {
    let filters = labels::filter(cluster);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let containers =
        docker.list_containers(Some(options)).await.map_err(errors::during("list containers"))?;
    for id in containers.into_iter().filter_map(|container| container.id) {
        remove_container(docker, &id).await?;
    }
    let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
    let networks = docker.list_networks(Some(options)).await.map_err(errors::during("list networks"))?;
    for id in networks.into_iter().filter_map(|network| network.id) {
        let removed = docker.remove_network(&id).await;
        errors::unless(errors::is_not_found, removed).map_err(errors::during("remove network"))?;
    }
    remove_images(docker, cluster, |_| true).await
}

/// Removes a container, running or not.
pub(super) async fn remove_container(docker: &Docker, id: &str) -> Result<(), String> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    let removed = docker.remove_container(id, Some(options)).await;
    errors::unless(errors::is_not_found, removed).map_err(errors::during("remove container"))
}

/// Removes copies of file systems that nothing needs any longer: no container is made of them, and
/// the container that they are a copy of is gone.
pub(super) async fn remove_spare_images(docker: &Docker, cluster: &str) -> Result<(), String> {
    let filters = labels::filter(Some(cluster));
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let containers =
        docker.list_containers(Some(options)).await.map_err(errors::during("list containers"))?;
    remove_images(docker, Some(cluster), |image| {
        let source = image.labels.get(labels::COPY_OF).and_then(|version| version.split('@').next());
        !containers.iter().any(|container| container.id.as_deref() == source)
    })
    .await
}

async fn remove_images(
    docker: &Docker,
    cluster: Option<&str>,
    is_spare: impl Fn(&ImageSummary) -> bool,
) -> Result<(), String> {
    let filters = labels::filter(cluster);
    let options = ListImagesOptionsBuilder::new().all(true).filters(&filters).build();
    let mut images = docker.list_images(Some(options)).await.map_err(errors::during("list images"))?;
    // A copy of a copy goes before what it was made from.
    images.sort_by_key(|image| std::cmp::Reverse(image.created));
    for image in images.iter().filter(|image| is_spare(image)) {
        let options = RemoveImageOptionsBuilder::new().build();
        match docker.remove_image(&image.id, Some(options), None).await {
            Ok(_) => {}
            // In use, or gone together with another.
            Err(error) if errors::is_conflict(&error) || errors::is_not_found(&error) => {}
            Err(error) => return Err(errors::during("remove image")(error)),
        }
    }
    Ok(())
}
