//! Telling kube-apiserver whom to believe behind the aggregated API.

use std::time::Duration;

use k8s_openapi::{ByteString, kube_aggregator::pkg::apis::apiregistration::v1::APIService};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::certificates::Store;

/// Name of the APIService.
pub const NAME: &str = "v1alpha1.subresources.berth.dev";
const FIELD_MANAGER: &str = "berth-certificates";
/// Time between two looks; somebody may have made the APIService anew.
const INTERVAL: Duration = Duration::from_secs(30);
/// Time between two looks while there is none.
const FIRST: Duration = Duration::from_secs(2);

/// Keeps the installation's authority in the APIService, for ever. One that does not exist is not
/// made: whether there is one is the administrator's choice.
pub async fn keep(client: Client, store: Store) {
    let services: Api<APIService> = Api::all(client);
    loop {
        let pause = match refresh(&services, &store).await {
            Ok(true) => INTERVAL,
            Ok(false) => FIRST,
            Err(error) => {
                tracing::warn!("the authority can not be put into the APIService {NAME}: {error:#}");
                FIRST
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn refresh(services: &Api<APIService>, store: &Store) -> anyhow::Result<bool> {
    let Some(service) = services.get_opt(NAME).await? else { return Ok(false) };
    let authority = store.authority().await?;
    let wanted = ByteString(authority.certificate().as_bytes().to_vec());
    let spec = service.spec.unwrap_or_default();
    if spec.ca_bundle.as_ref() == Some(&wanted) {
        return Ok(true);
    }
    let patch = json!({"spec": {"caBundle": wanted}});
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    services.patch(NAME, &params, &Patch::Merge(&patch)).await?;
    tracing::info!("put the authority into the APIService {NAME}");
    Ok(true)
}
