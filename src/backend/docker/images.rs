//! Getting images onto a host.

use std::time::Duration;

use bollard::{auth::DockerCredentials, query_parameters::CreateImageOptionsBuilder};
use futures::StreamExt;
use secrecy::ExposeSecret;
use tokio::{sync::watch, time::timeout};

use super::{
    errors,
    host::{Host, LOOK},
    progress::Progress,
    reference,
};
use crate::backend::{BackendError, ImageRequest, Pull, Reason, RegistryCredential, Report};

/// A pull that moves is never too slow; one that does not is given up after this time.
const STALL: Duration = Duration::from_secs(60);

/// Makes an image available, asking the registry as the request says.
pub(super) async fn prepare(
    host: &Host,
    request: &ImageRequest,
    progress: &watch::Sender<Report>,
) -> Result<(), BackendError> {
    let present = match request.pull {
        Pull::Always => false,
        Pull::IfNotPresent | Pull::Never => is_present(host, &request.image).await?,
    };
    if present {
        return Ok(());
    }
    if request.pull == Pull::Never {
        let words = format!("image {} is not there, and it may not be pulled", request.image);
        return Err(errors::refuse(&host.name, Reason::ImageNotFound, words));
    }
    host.usable(LOOK).await?;
    let log_ins = reference::fitting(&request.image, &request.credentials);
    let mut denied = None;
    for log_in in &log_ins {
        match pull(host, &request.image, Some(log_in), progress).await {
            Err(error) if error.reason == Reason::ImagePullDenied => denied = Some(error),
            answer => return answer,
        }
    }
    match denied {
        Some(error) => Err(error),
        None => pull(host, &request.image, None, progress).await,
    }
}

async fn is_present(host: &Host, image: &str) -> Result<bool, BackendError> {
    match host.try_call("inspect image", LOOK, host.docker.inspect_image(image)).await? {
        Ok(_) => Ok(true),
        Err(error) if errors::is_not_found(&error) => Ok(false),
        Err(error) => Err(errors::from_docker(&host.name, "inspect image", &error)),
    }
}

async fn pull(
    host: &Host,
    image: &str,
    log_in: Option<&RegistryCredential>,
    progress: &watch::Sender<Report>,
) -> Result<(), BackendError> {
    let options = CreateImageOptionsBuilder::new().from_image(&reference::with_tag(image)).build();
    let credentials = log_in.map(|log_in| DockerCredentials {
        username: Some(log_in.username.clone()),
        password: Some(log_in.password.expose_secret().to_owned()),
        serveraddress: Some(log_in.registry.clone()),
        ..DockerCredentials::default()
    });
    let mut state = Progress::new(image);
    progress.send_replace(state.line().into());
    let mut reports = std::pin::pin!(host.docker.create_image(Some(options), None, credentials));
    loop {
        let report = tokio::select! {
            report = timeout(STALL, reports.next()) => report,
            error = host.down() => return Err(error),
        };
        match report {
            Ok(Some(Ok(report))) => {
                state.note(&report);
                let line = state.line();
                progress.send_if_modified(|shown| {
                    let changed = shown.words != line;
                    if changed {
                        shown.words.clone_from(&line);
                    }
                    changed
                });
            }
            Ok(Some(Err(error))) => return Err(errors::pull_error(&host.name, image, &error)),
            Ok(None) => return Ok(()),
            Err(_) => {
                let words = format!("pull {image}: no progress for {} s", STALL.as_secs());
                return Err(errors::refuse(&host.name, Reason::ImagePullFailed, words));
            }
        }
    }
}
