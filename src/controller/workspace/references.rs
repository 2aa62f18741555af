//! Secrets and ConfigMaps that a spec refers to. Read only when an action needs them, one `get`
//! each, and never kept.

use std::collections::{BTreeMap, HashMap};

use base64::Engine;
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{Api, Client};
use secrecy::SecretString;

use crate::{
    api::{EnvVar, SecretKeyRef, condition},
    backend::RegistryCredential,
    provision::{Credential, Environment},
};

use super::{
    problem::Problem,
    validate::{CredentialRef, Desired, DesiredRepository, EnvLayer},
};

/// Reads Secrets and ConfigMaps for one action, each at most once.
pub struct References {
    client: Client,
    secrets: HashMap<(String, String), Option<Secret>>,
    config_maps: HashMap<(String, String), Option<ConfigMap>>,
}

impl References {
    /// Nothing read yet.
    pub fn new(client: Client) -> Self {
        Self { client, secrets: HashMap::new(), config_maps: HashMap::new() }
    }

    /// The environment of a workspace: layers in order, later ones win.
    pub async fn environment(&mut self, layers: &[EnvLayer]) -> Result<Environment, Problem> {
        let mut public = BTreeMap::new();
        let mut secret = BTreeMap::new();
        for layer in layers {
            for source in &layer.from {
                let prefix = source.prefix.as_deref().unwrap_or_default();
                if let Some(reference) = &source.secret_ref {
                    let found = self.secret(&layer.namespace, &reference.name).await?;
                    for (key, value) in
                        keys(found, reference.optional, "Secret", &layer.namespace, &reference.name)?
                    {
                        let name = format!("{prefix}{key}");
                        check_name(&name, "Secret", &layer.namespace, &reference.name)?;
                        public.remove(&name);
                        secret.insert(name, SecretString::from(value));
                    }
                }
                if let Some(reference) = &source.config_map_ref {
                    let found = self.config_map(&layer.namespace, &reference.name).await?;
                    let found = found.map(|map| map.data.unwrap_or_default());
                    if found.is_none() && !reference.optional {
                        return Err(missing("ConfigMap", &layer.namespace, &reference.name, None));
                    }
                    for (key, value) in found.unwrap_or_default() {
                        let name = format!("{prefix}{key}");
                        check_name(&name, "ConfigMap", &layer.namespace, &reference.name)?;
                        secret.remove(&name);
                        public.insert(name, value);
                    }
                }
            }
            for variable in &layer.variables {
                self.variable(layer, variable, &mut public, &mut secret).await?;
            }
        }
        Ok(Environment { public, secret })
    }

    async fn variable(
        &mut self,
        layer: &EnvLayer,
        variable: &EnvVar,
        public: &mut BTreeMap<String, String>,
        secret: &mut BTreeMap<String, SecretString>,
    ) -> Result<(), Problem> {
        let name = variable.name.clone();
        let namespace = &layer.namespace;
        if let Some(value) = &variable.value {
            secret.remove(&name);
            public.insert(name, value.clone());
            return Ok(());
        }
        let Some(source) = &variable.value_from else { return Ok(()) };
        if let Some(reference) = &source.secret_key_ref {
            match self.secret_key(namespace, &reference.name, &reference.key).await {
                Ok(value) => {
                    public.remove(&name);
                    secret.insert(name, value);
                }
                Err(problem) if reference.optional && is_missing(&problem) => {}
                Err(problem) => return Err(problem),
            }
        } else if let Some(reference) = &source.config_map_key_ref {
            let found = self.config_map(namespace, &reference.name).await?;
            let exists = found.is_some();
            let value = found.and_then(|map| map.data?.remove(&reference.key));
            match value {
                Some(value) => {
                    secret.remove(&name);
                    public.insert(name, value);
                }
                None if reference.optional => {}
                None => {
                    let key = exists.then_some(reference.key.as_str());
                    return Err(missing("ConfigMap", namespace, &reference.name, key));
                }
            }
        }
        Ok(())
    }

    /// What is needed to read a repository.
    pub async fn git_credential(
        &mut self,
        namespace: &str,
        repository: &DesiredRepository,
    ) -> Result<Credential, Problem> {
        Ok(match &repository.credential {
            CredentialRef::None => Credential::None,
            CredentialRef::Token(reference) => Credential::Token {
                username: repository.url.username().unwrap_or("git").to_owned(),
                token: self.repository_secret(namespace, reference, "token").await?,
            },
            CredentialRef::SshKey(reference) => Credential::SshKey {
                key: self.repository_secret(namespace, reference, "ssh-privatekey").await?,
            },
        })
    }

    async fn repository_secret(
        &mut self,
        namespace: &str,
        reference: &SecretKeyRef,
        default_key: &str,
    ) -> Result<SecretString, Problem> {
        self.secret_key(namespace, &reference.name, reference.key.as_deref().unwrap_or(default_key)).await
    }

    /// The log-ins of pull secrets.
    pub async fn registry_credentials(
        &mut self,
        namespace: &str,
        names: &[String],
    ) -> Result<Vec<RegistryCredential>, Problem> {
        let mut credentials = Vec::new();
        for name in names {
            let config = self.secret_key(namespace, name, ".dockerconfigjson").await?;
            credentials.extend(parse_docker_config(&config).ok_or_else(|| {
                Problem::transient(
                    condition::SECRETS_READY,
                    "SecretInvalid",
                    format!("key .dockerconfigjson of Secret {namespace}/{name} is not a Docker configuration with auths"),
                )
            })?);
        }
        Ok(credentials)
    }

    /// Checks that everything a Workspace refers to is there, before anything is made.
    pub async fn check(&mut self, desired: &Desired) -> Result<(), Problem> {
        self.environment(&desired.env).await?;
        if let Some(repository) = &desired.repository {
            self.git_credential(&desired.subject.owner.namespace, repository).await?;
        }
        if let Some(template) = &desired.template {
            self.registry_credentials(&template.snapshot.namespace, &template.pull_secrets).await?;
        }
        Ok(())
    }

    /// One key of a Secret.
    pub async fn secret_key(
        &mut self,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> Result<SecretString, Problem> {
        let secret =
            self.secret(namespace, name).await?.ok_or_else(|| missing("Secret", namespace, name, None))?;
        let value = secret
            .data
            .and_then(|mut data| data.remove(key))
            .ok_or_else(|| missing("Secret", namespace, name, Some(key)))?;
        utf8(value, namespace, name, key).map(SecretString::from)
    }

    async fn secret(&mut self, namespace: &str, name: &str) -> Result<Option<Secret>, Problem> {
        let slot = (namespace.to_owned(), name.to_owned());
        if let Some(known) = self.secrets.get(&slot) {
            return Ok(known.clone());
        }
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let found = api.get_opt(name).await.map_err(|error| unreadable("Secret", namespace, name, &error))?;
        self.secrets.insert(slot, found.clone());
        Ok(found)
    }

    async fn config_map(&mut self, namespace: &str, name: &str) -> Result<Option<ConfigMap>, Problem> {
        let slot = (namespace.to_owned(), name.to_owned());
        if let Some(known) = self.config_maps.get(&slot) {
            return Ok(known.clone());
        }
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let found =
            api.get_opt(name).await.map_err(|error| unreadable("ConfigMap", namespace, name, &error))?;
        self.config_maps.insert(slot, found.clone());
        Ok(found)
    }
}

fn keys(
    found: Option<Secret>,
    optional: bool,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Result<Vec<(String, String)>, Problem> {
    match found {
        Some(secret) => secret
            .data
            .unwrap_or_default()
            .into_iter()
            .map(|(key, value)| utf8(value, namespace, name, &key).map(|value| (key, value)))
            .collect(),
        None if optional => Ok(Vec::new()),
        None => Err(missing(kind, namespace, name, None)),
    }
}

/// Keys of whole Secrets and ConfigMaps are not checked by the API server to be names of
/// variables, and the reserved ones are not kept out of them.
fn check_name(variable: &str, kind: &str, namespace: &str, name: &str) -> Result<(), Problem> {
    let mut characters = variable.chars();
    let valid = characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_');
    let reserved = crate::api::RESERVED_ENV.contains(&variable)
        || crate::api::RESERVED_ENV_PREFIXES.iter().any(|prefix| variable.starts_with(prefix));
    if valid && !reserved {
        return Ok(());
    }
    let why = if reserved { "is a reserved variable" } else { "can not be the name of a variable" };
    Err(Problem::transient(
        condition::SECRETS_READY,
        "EnvironmentInvalid",
        format!("envFrom: {variable:?} of {kind} {namespace}/{name} {why}"),
    ))
}

fn utf8(value: ByteString, namespace: &str, name: &str, key: &str) -> Result<String, Problem> {
    String::from_utf8(value.0).ok().filter(|text| !text.contains('\0')).ok_or_else(|| {
        Problem::transient(
            condition::SECRETS_READY,
            "SecretInvalid",
            format!("key {key:?} of Secret {namespace}/{name} is not UTF-8 text without NUL"),
        )
    })
}

/// Reason of a reference that could not be read, which says nothing about whether it exists.
pub const API_SERVER_FAILED: &str = "ApiServerFailed";

const MISSING: [&str; 4] =
    ["SecretNotFound", "SecretKeyNotFound", "ConfigMapNotFound", "ConfigMapKeyNotFound"];

/// Whether what a spec refers to does not exist.
pub fn is_missing(problem: &Problem) -> bool {
    MISSING.contains(&problem.reason)
}

fn missing(kind: &str, namespace: &str, name: &str, key: Option<&str>) -> Problem {
    let [secret, secret_key, config_map, config_map_key] = MISSING;
    let (reason, message) = match (kind, key) {
        ("Secret", None) => (secret, format!("Secret {namespace}/{name} does not exist")),
        ("Secret", Some(key)) => (secret_key, format!("Secret {namespace}/{name} has no key {key:?}")),
        (_, None) => (config_map, format!("ConfigMap {namespace}/{name} does not exist")),
        (_, Some(key)) => (config_map_key, format!("ConfigMap {namespace}/{name} has no key {key:?}")),
    };
    Problem::transient(condition::SECRETS_READY, reason, message)
        .hint("the workspace goes on by itself soon after it does")
}

fn unreadable(kind: &str, namespace: &str, name: &str, error: &kube::Error) -> Problem {
    let forbidden = matches!(error, kube::Error::Api(status) if status.code == 403);
    if forbidden {
        let reason = if kind == "Secret" { "SecretForbidden" } else { "ConfigMapForbidden" };
        return Problem::transient(
            condition::SECRETS_READY,
            reason,
            format!("the operator may not read {kind} {namespace}/{name}"),
        )
        .hint("bind the ClusterRole for references to the operator in this namespace");
    }
    Problem::transient(
        condition::SECRETS_READY,
        API_SERVER_FAILED,
        format!("reading {kind} {namespace}/{name} failed: {error}"),
    )
}

fn parse_docker_config(config: &SecretString) -> Option<Vec<RegistryCredential>> {
    #[derive(serde::Deserialize)]
    struct DockerConfig {
        auths: HashMap<String, Auth>,
    }
    #[derive(serde::Deserialize)]
    struct Auth {
        auth: Option<String>,
        username: Option<String>,
        password: Option<String>,
    }
    use secrecy::ExposeSecret;
    let parsed: DockerConfig = serde_json::from_str(config.expose_secret()).ok()?;
    parsed
        .auths
        .into_iter()
        .map(|(registry, auth)| {
            let (username, password) = match (auth.username, auth.password, auth.auth) {
                (Some(username), Some(password), _) => (username, password),
                (_, _, Some(encoded)) => {
                    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
                    let text = String::from_utf8(decoded).ok()?;
                    let (username, password) = text.split_once(':')?;
                    (username.to_owned(), password.to_owned())
                }
                _ => return None,
            };
            Some(RegistryCredential { registry, username, password: SecretString::from(password) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn docker_configurations_are_read_in_both_writings() {
        let config = r#"{"auths": {"a.example": {"auth": "dTpwOnE="}, "b.example": {"username": "x", "password": "y"}}}"#;
        let mut found = parse_docker_config(&SecretString::from(config)).unwrap();
        found.sort_by(|a, b| a.registry.cmp(&b.registry));
        assert_eq!((found[0].username.as_str(), found[0].password.expose_secret()), ("u", "p:q"));
        assert_eq!((found[1].username.as_str(), found[1].password.expose_secret()), ("x", "y"));
        for broken in ["", "{}", r#"{"auths": {"a": {}}}"#, r#"{"auths": {"a": {"auth": "%%"}}}"#] {
            assert!(parse_docker_config(&SecretString::from(broken)).is_none(), "{broken}");
        }
    }
}
