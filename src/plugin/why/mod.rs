//! `why`: what is wrong, since when, and what to do. It needs the API server alone: a gateway or
//! an agent that is away is often what is wrong.

mod diagnosis;
mod text;

use k8s_openapi::api::core::v1::Event;
use kube::{Api, ResourceExt, api::ListParams};

use super::{
    arguments::{Output, Target},
    client::Cluster,
    exit::{Failure, Kind, Subject},
    lifecycle::{dev_servers, workspaces},
    local,
};
use diagnosis::Diagnosis;

/// Says it. The exit code is 3 where something is wrong.
pub async fn run(cluster: &Cluster, target: Option<&Target>, output: Output) -> Result<u8, Failure> {
    let mut found = cluster
        .in_time(async {
            match target {
                Some(Target::Workspace(name)) => Ok(vec![workspace(cluster, name).await?]),
                Some(Target::DevServer(name)) => Ok(vec![dev_server(cluster, name).await?]),
                None => all(cluster).await,
            }
        })
        .await?;
    for one in &mut found {
        // Events help, and are not worth a failure.
        one.add_events(&events(cluster, one).await.unwrap_or_default());
    }
    match output {
        Output::Json => local::json(&found)?,
        Output::Text if found.is_empty() => {
            local::line(&format!("There are no workspaces in namespace {:?}.", cluster.namespace))?;
        }
        Output::Text => {
            let now = jiff::Timestamp::now();
            let texts: Vec<_> = found.iter().map(|one| text::render(one, now)).collect();
            local::print(texts.join("\n").as_bytes())?;
        }
    }
    Ok(if found.iter().all(|one| one.trouble.is_none()) { 0 } else { Kind::NotReady.code() })
}

async fn workspace(cluster: &Cluster, name: &str) -> Result<Diagnosis, Failure> {
    let found = workspaces(cluster).get(name).await;
    let found = found.map_err(|error| Subject::workspace(name, &cluster.namespace).failure(error))?;
    Ok(diagnosis::of_workspace(&found))
}

async fn dev_server(cluster: &Cluster, name: &str) -> Result<Diagnosis, Failure> {
    let found = dev_servers(cluster).get(name).await;
    let found = found.map_err(|error| Subject::dev_server(name, &cluster.namespace).failure(error))?;
    Ok(diagnosis::of_dev_server(name, found.metadata.generation, &found.data))
}

async fn all(cluster: &Cluster) -> Result<Vec<Diagnosis>, Failure> {
    let subject = Subject::workspace("", &cluster.namespace);
    let list = ListParams::default();
    let spaces = workspaces(cluster).list(&list).await.map_err(|error| subject.failure(error))?;
    let mut found: Vec<_> = spaces.iter().map(diagnosis::of_workspace).collect();
    // An older cluster has no dev servers.
    let servers = dev_servers(cluster).list(&list).await.map(|list| list.items).unwrap_or_default();
    found.extend(servers.iter().map(|server| {
        diagnosis::of_dev_server(&server.name_any(), server.metadata.generation, &server.data)
    }));
    Ok(found)
}

async fn events(cluster: &Cluster, of: &Diagnosis) -> Result<Vec<Event>, kube::Error> {
    let api: Api<Event> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let fields = format!("involvedObject.kind={},involvedObject.name={}", of.kind, of.name);
    Ok(api.list(&ListParams::default().fields(&fields).limit(100)).await?.items)
}
