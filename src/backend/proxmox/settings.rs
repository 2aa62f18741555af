//! From the configuration file to a connection.

use std::{collections::BTreeSet, fs, path::Path};

use secrecy::SecretString;

use super::client::{ApiToken, Connection, Limits, Trust};
use crate::{
    backend::{BackendError, Reason},
    config::ProxmoxBackend,
};

/// Reads the files that the configuration names.
pub(super) fn connection(config: &ProxmoxBackend) -> Result<Connection, BackendError> {
    let secret = read("token.secretFile", &config.token.secret_file)?;
    let trust = match (&config.tls.ca_file, config.tls.fingerprints.is_empty()) {
        (Some(file), _) => Trust::Authorities(read("tls.caFile", file)?),
        (None, false) => Trust::Pinned(fingerprints(config)?),
        (None, true) if config.tls.insecure_skip_verify => Trust::InsecureSkipVerify,
        (None, true) => Trust::SystemRoots,
    };
    Ok(Connection {
        endpoints: config.endpoints.clone(),
        token: ApiToken { id: config.token.id.clone(), secret: SecretString::from(secret.trim().to_owned()) },
        trust,
        limits: Limits::default(),
    })
}

/// Reads a file of the configuration. Its content is in no error.
pub(super) fn read(field: &str, file: &Path) -> Result<String, BackendError> {
    fs::read_to_string(file).map_err(|error| {
        BackendError::new(Reason::Unsupported, format!("{field}: can not read {}: {error}", file.display()))
    })
}

fn fingerprints(config: &ProxmoxBackend) -> Result<BTreeSet<super::client::Fingerprint>, BackendError> {
    let parse = |text: &String| {
        text.parse().map_err(|error| {
            BackendError::new(Reason::Unsupported, format!("tls.fingerprints: {text:?}: {error}"))
        })
    };
    config.tls.fingerprints.iter().map(parse).collect()
}
