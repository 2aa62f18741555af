//! Making the container of a body, with all it needs.

use std::collections::HashMap;

use bollard::{
    models::{
        ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, RestartPolicy,
        RestartPolicyNameEnum,
    },
    query_parameters::CreateContainerOptionsBuilder,
};

use super::{
    agent,
    containers::{self, Listed},
    errors,
    host::{CHANGE, Host},
    labels, networks, owner_file, volumes,
};
use crate::{
    backend::{BackendError, BodyRef, ContainerName, ContainerRef, ContainerSpec, Reason},
    config::docker::RestartPolicy as ConfiguredPolicy,
};

/// Runs until it is told to end, and then tells all other processes, as `docker stop` would only
/// tell this one. Docker kills what is left when the grace is over. The container's init reaps
/// orphans.
const KEEPALIVE: &str = r#"
others() {
  for process in /proc/[0-9]*; do
    case "${process#/proc/}" in 1|$$) ;; *) return 0 ;; esac
  done
  return 1
}
end() {
  trap '' TERM INT
  kill -TERM -1 2>/dev/null
  wait
  while others; do sleep 0.1; done
  exit 0
}
trap end TERM INT
while :; do sleep 86400 & wait $!; done
"#;

/// What root in a container may do: install packages, change owners, become another user.
const CAPABILITIES: [&str; 7] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"];
/// How long Docker waits for the container when it stops it by itself.
const OWN_GRACE_SECONDS: i64 = 10;

/// Makes network, volumes and container, and marks the owner.
pub(super) async fn create(host: &Host, body: &BodyRef, spec: &ContainerSpec) -> Result<(), BackendError> {
    let container = ContainerRef { body: body.clone(), incarnation: spec.incarnation };
    if let Some(found) = containers::one(host, &container).await? {
        return finish(host, &container, &found).await;
    }
    let (_, _, agent) = futures::try_join!(
        networks::ensure(host, body),
        volumes::ensure(host, body),
        agent::provide(host, &spec.image)
    )?;
    let name = ContainerName::new(&body.owner, body.id, spec.incarnation).to_string();
    let options = CreateContainerOptionsBuilder::new().name(&name).build();
    let creation = host.docker.create_container(Some(options), description(host, body, spec, agent));
    match host.try_call("create container", CHANGE, creation).await? {
        Ok(made) => owner_file::write(host, &made.id, body, spec.incarnation).await,
        // The name is taken: by a call whose answer was lost, or by a stranger.
        Err(error) if errors::is_conflict(&error) => match containers::one(host, &container).await? {
            Some(found) => finish(host, &container, &found).await,
            None => {
                let words = format!("there is a container {name} that is not ours");
                Err(errors::refuse(&host.name, Reason::Conflict, words))
            }
        },
        Err(error) => Err(errors::from_docker(&host.name, "create container", &error)),
    }
}

/// Writes the owner's mark, unless the container was started before: then it has one, and its
/// inside is no longer ours to write.
async fn finish(host: &Host, container: &ContainerRef, found: &Listed) -> Result<(), BackendError> {
    if found.only_created && owner_file::read(host, &found.docker_id).await?.is_none() {
        owner_file::write(host, &found.docker_id, &container.body, container.incarnation).await?;
    }
    Ok(())
}

fn description(
    host: &Host,
    body: &BodyRef,
    spec: &ContainerSpec,
    agent: Option<Mount>,
) -> ContainerCreateBody {
    let entrypoint = match agent {
        Some(_) => agent::entrypoint(),
        None => ["/bin/sh", "-c", KEEPALIVE].map(str::to_owned).to_vec(),
    };
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: Some(entrypoint),
        cmd: Some(Vec::new()),
        user: Some("0:0".to_owned()),
        working_dir: Some("/workspace".to_owned()),
        hostname: Some(spec.hostname.clone()),
        env: Some(vec!["container=docker".to_owned()]),
        labels: Some(labels::of_container(&host.instance, body.id, spec.incarnation)),
        stop_signal: Some("SIGTERM".to_owned()),
        stop_timeout: Some(OWN_GRACE_SECONDS),
        host_config: Some(host_config(host, body, spec, agent)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(host: &Host, body: &BodyRef, spec: &ContainerSpec, agent: Option<Mount>) -> HostConfig {
    let dns = if spec.dns_servers.is_empty() { &host.dns_servers } else { &spec.dns_servers };
    let memory = i64::try_from(spec.memory_bytes).unwrap_or(i64::MAX);
    let home = if spec.user == "root" { "/root".to_owned() } else { format!("/home/{}", spec.user) };
    HostConfig {
        // The agent's init does what Docker's would.
        init: Some(agent.is_none()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        memory: Some(memory),
        // Together with swap, so: no swap.
        memory_swap: Some(memory),
        nano_cpus: i64::try_from(spec.cpu_millis).ok().and_then(|millis| millis.checked_mul(1_000_000)),
        pids_limit: Some(spec.pids),
        restart_policy: Some(restart_policy(host.restart_policy)),
        network_mode: Some(labels::network_name(body.id)),
        dns: Some(dns.iter().map(ToString::to_string).collect()),
        mounts: Some(
            [
                volume(labels::workspace_volume(body.id), "/workspace".to_owned()),
                volume(labels::cache_volume(body.id), format!("{home}/.cache")),
            ]
            .into_iter()
            .chain(agent)
            .collect(),
        ),
        tmpfs: Some(HashMap::from([(
            "/run/berth".to_owned(),
            "rw,nosuid,nodev,noexec,mode=0755,size=16m".to_owned(),
        )])),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(
                [("max-size", "1m"), ("max-file", "1")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            ),
        }),
        ..HostConfig::default()
    }
}

fn volume(name: String, target: String) -> Mount {
    Mount { typ: Some(MountType::VOLUME), source: Some(name), target: Some(target), ..Mount::default() }
}

fn restart_policy(configured: ConfiguredPolicy) -> RestartPolicy {
    let (name, maximum_retry_count) = match configured {
        ConfiguredPolicy::No => (RestartPolicyNameEnum::NO, None),
        ConfiguredPolicy::OnFailure => (RestartPolicyNameEnum::ON_FAILURE, Some(0)),
        ConfiguredPolicy::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
    };
    RestartPolicy { name: Some(name), maximum_retry_count }
}
