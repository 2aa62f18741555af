//! Looking at the containers of a body, and at their owner's mark.

use bollard::{
    models::{
        ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, ContainerSummaryStateEnum,
    },
    query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder},
};
use futures::future::try_join_all;

use super::{
    errors,
    host::{Host, LOOK},
    labels::{self, Filters},
};
use crate::backend::{
    BackendError, BodyId, BodyRef, Container, ContainerName, ContainerRef, Incarnation, Reason, RunState,
};

/// A container of this instance, as the list shows it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Listed {
    /// Docker's own identifier.
    pub(super) docker_id: String,
    /// Its name; tells the owner.
    pub(super) name: String,
    /// The body.
    pub(super) id: BodyId,
    /// Which container of it.
    pub(super) incarnation: Incarnation,
    /// Whether it was made, but never started.
    pub(super) only_created: bool,
}

impl Listed {
    /// What stands for the owner in the name; `None` when somebody gave it a name of their own.
    pub(super) fn owner_part(&self) -> Option<String> {
        self.name.parse::<ContainerName>().ok().filter(|name| name.id == self.id).map(|name| name.owner)
    }
}

/// All containers of this instance on the host.
pub(super) async fn of_instance(host: &Host) -> Result<Vec<Listed>, BackendError> {
    list(host, labels::instance_filters(&host.instance)).await
}

/// All containers of a body, oldest incarnation first. Fails when one belongs to another owner.
pub(super) async fn of_body(host: &Host, body: &BodyRef) -> Result<Vec<Listed>, BackendError> {
    let containers = list(host, labels::body_filters(&host.instance, body.id)).await?;
    let wanted = ContainerName::owner_part(&body.owner);
    match containers.iter().find(|container| container.owner_part().as_ref() != Some(&wanted)) {
        Some(foreign) => Err(errors::refuse(
            &host.name,
            Reason::NotOwned,
            format_args!(
                "{} belongs to {}, not to {}",
                foreign.name,
                foreign.owner_part().as_deref().unwrap_or("somebody unknown"),
                body.owner
            ),
        )),
        None => Ok(containers),
    }
}

/// One container of a body. Fails when it, or another of its body, belongs to another owner.
pub(super) async fn one(host: &Host, container: &ContainerRef) -> Result<Option<Listed>, BackendError> {
    let all = of_body(host, &container.body).await?;
    Ok(all.into_iter().find(|one| one.incarnation == container.incarnation))
}

/// One container of a body that has to be there.
pub(super) async fn existing(host: &Host, container: &ContainerRef) -> Result<Listed, BackendError> {
    one(host, container).await?.ok_or_else(|| {
        let name = ContainerName::new(&container.body.owner, container.body.id, container.incarnation);
        errors::refuse(&host.name, Reason::NotFound, format_args!("there is no container {name}"))
    })
}

async fn list(host: &Host, filters: Filters) -> Result<Vec<Listed>, BackendError> {
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let found = host.call("list containers", LOOK, host.docker.list_containers(Some(options))).await?;
    let mut containers: Vec<_> = found.into_iter().filter_map(listed).collect();
    containers.sort_by_key(|container| (container.id, container.incarnation.0));
    Ok(containers)
}

fn listed(summary: ContainerSummary) -> Option<Listed> {
    let labels = summary.labels?;
    // Legacy links add names with a second slash.
    let name = summary.names?.into_iter().find_map(|name| {
        let name = name.strip_prefix('/').unwrap_or(&name);
        (!name.contains('/')).then(|| name.to_owned())
    })?;
    Some(Listed {
        docker_id: summary.id?,
        name,
        id: labels::id(&labels)?,
        incarnation: labels::incarnation(&labels)?,
        only_created: summary.state == Some(ContainerSummaryStateEnum::CREATED),
    })
}

/// The state of the containers of a body. One that goes away meanwhile is left out.
pub(super) async fn inspect(host: &Host, body: &BodyRef) -> Result<Vec<Container>, BackendError> {
    let containers = of_body(host, body).await?;
    let looks = containers.iter().map(async |container| {
        let look = host.docker.inspect_container(&container.docker_id, None::<InspectContainerOptions>);
        match host.try_call("inspect container", LOOK, look).await? {
            Ok(found) => Ok(Some(describe(container, &found))),
            Err(error) if errors::is_not_found(&error) => Ok(None),
            Err(error) => Err(errors::from_docker(&host.name, "inspect container", &error)),
        }
    });
    Ok(try_join_all(looks).await?.into_iter().flatten().collect())
}

fn describe(container: &Listed, found: &ContainerInspectResponse) -> Container {
    let state = found.state.clone().unwrap_or_default();
    let run_state = run_state(state.status);
    let networks = found.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
    let network = networks.and_then(|networks| networks.get(&labels::network_name(container.id)));
    Container {
        id: container.docker_id.clone(),
        name: container.name.clone(),
        incarnation: container.incarnation,
        state: run_state,
        exit_code: state.exit_code.filter(|_| matches!(run_state, RunState::Exited | RunState::Dead)),
        out_of_memory: state.oom_killed.unwrap_or(false),
        ip: network.and_then(|network| network.ip_address.as_deref()?.parse().ok()),
        started_at: state.started_at.filter(|time| !time.is_empty() && !time.starts_with("0001-")),
        running_for: None,
        has_tun: false,
        disk_bytes: None,
    }
}

fn run_state(status: Option<ContainerStateStatusEnum>) -> RunState {
    use ContainerStateStatusEnum as Status;
    match status {
        Some(Status::RUNNING | Status::STOPPING) => RunState::Running,
        Some(Status::PAUSED) => RunState::Paused,
        Some(Status::RESTARTING) => RunState::Restarting,
        Some(Status::REMOVING) => RunState::Removing,
        Some(Status::EXITED) => RunState::Exited,
        Some(Status::DEAD) => RunState::Dead,
        Some(Status::CREATED | Status::EMPTY) | None => RunState::Created,
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ContainerState;

    use super::*;

    fn described(state: ContainerState) -> Container {
        let listed = Listed {
            docker_id: "1".into(),
            name: "berth-team.web-0011223344556677-1".into(),
            id: "0011223344556677".parse().unwrap(),
            incarnation: Incarnation::FIRST,
            only_created: false,
        };
        describe(
            &listed,
            &ContainerInspectResponse { state: Some(state), ..ContainerInspectResponse::default() },
        )
    }

    #[test]
    fn an_end_for_want_of_memory_is_told() {
        let ended = described(ContainerState {
            status: Some(ContainerStateStatusEnum::EXITED),
            exit_code: Some(137),
            oom_killed: Some(true),
            started_at: Some("2026-01-02T03:04:05Z".into()),
            ..ContainerState::default()
        });
        assert_eq!((ended.state, ended.exit_code, ended.out_of_memory), (RunState::Exited, Some(137), true));
        assert_eq!(ended.started_at.as_deref(), Some("2026-01-02T03:04:05Z"));
    }

    #[test]
    fn a_container_that_never_ran_has_no_past() {
        let made = described(ContainerState {
            status: Some(ContainerStateStatusEnum::CREATED),
            exit_code: Some(0),
            started_at: Some("0001-01-01T00:00:00Z".into()),
            ..ContainerState::default()
        });
        assert_eq!((made.state, made.exit_code, made.started_at), (RunState::Created, None, None));
    }
}
