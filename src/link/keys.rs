//! The Secret with the keys that this installation makes for itself: once, at its first start.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use secrecy::SecretSlice;

use super::token::TokenKeys;
use crate::backend::InstanceId;

/// Prefix of the entries that hold keys of tokens; the rest is the key's name.
const TOKEN_PREFIX: &str = "token-";
/// Entry that names the key for new tokens.
const CURRENT: &str = "current-token";
/// Entry with the key of sessions and tickets.
const SESSION: &str = "session";
const KEY_BYTES: usize = 32;
const RETRY: Duration = Duration::from_secs(2);

/// The keys of an installation.
#[derive(Clone, Debug)]
pub struct Keys {
    /// For the agents' tokens.
    pub tokens: TokenKeys,
    /// For cookies of browsers.
    pub sessions: SecretSlice<u8>,
}

/// Reads the keys. Where there are none yet, a process with the controllers (`controls`) makes
/// them, and another one waits for that. Waits while the API server does not answer.
pub async fn obtain(
    client: &Client,
    namespace: &str,
    name: &str,
    instance: &InstanceId,
    controls: bool,
) -> Keys {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    loop {
        let keys = if controls {
            read_or_make(&secrets, name, instance).await.map(Some)
        } else {
            read(&secrets, name, instance).await
        };
        match keys {
            Ok(Some(keys)) => return keys,
            Ok(None) => tracing::info!("waiting for the controller to make the keys in Secret {name}"),
            Err(error) => tracing::warn!("the keys in Secret {namespace}/{name} can not be had: {error:#}"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn read(secrets: &Api<Secret>, name: &str, instance: &InstanceId) -> anyhow::Result<Option<Keys>> {
    secrets.get_opt(name).await?.map(|secret| parse(secret, instance)).transpose()
}

async fn read_or_make(secrets: &Api<Secret>, name: &str, instance: &InstanceId) -> anyhow::Result<Keys> {
    if let Some(keys) = read(secrets, name, instance).await? {
        return Ok(keys);
    }
    match secrets.create(&PostParams::default(), &fresh(name)?).await {
        Ok(secret) => {
            tracing::info!("made the keys in Secret {name}");
            parse(secret, instance)
        }
        // Another replica was faster.
        Err(kube::Error::Api(status)) if status.code == 409 => parse(secrets.get(name).await?, instance),
        Err(error) => Err(error.into()),
    }
}

fn fresh(name: &str) -> anyhow::Result<Secret> {
    let key = || -> anyhow::Result<ByteString> {
        let mut bytes = vec![0; KEY_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
        Ok(ByteString(bytes))
    };
    let first = "1";
    let data = BTreeMap::from([
        (format!("{TOKEN_PREFIX}{first}"), key()?),
        (CURRENT.to_owned(), ByteString(first.into())),
        (SESSION.to_owned(), key()?),
    ]);
    Ok(Secret {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(data),
        type_: Some("berth.dev/keys".to_owned()),
        ..Secret::default()
    })
}

fn parse(secret: Secret, instance: &InstanceId) -> anyhow::Result<Keys> {
    let mut data = secret.data.unwrap_or_default();
    let mut entry = |name: &str| {
        data.remove(name).map(|value| value.0).ok_or_else(|| anyhow::anyhow!("entry {name} is missing"))
    };
    let current = String::from_utf8(entry(CURRENT)?)?;
    let sessions = entry(SESSION)?;
    let keys: BTreeMap<String, SecretSlice<u8>> = data
        .into_iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(TOKEN_PREFIX)?.to_owned(), value.0)))
        .filter(|(_, key)| key.len() >= KEY_BYTES)
        .map(|(name, key)| (name, key.into()))
        .collect();
    anyhow::ensure!(sessions.len() >= KEY_BYTES, "entry {SESSION} is shorter than {KEY_BYTES} bytes");
    let tokens = TokenKeys::new(instance.clone(), &current, keys)
        .ok_or_else(|| anyhow::anyhow!("there is no entry {TOKEN_PREFIX}{current} of {KEY_BYTES} bytes"))?;
    Ok(Keys { tokens, sessions: sessions.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance() -> InstanceId {
        InstanceId("i".to_owned())
    }

    #[test]
    fn fresh_keys_are_read_back() {
        let keys = parse(fresh("k").unwrap(), &instance()).unwrap();
        assert_eq!(keys.tokens.current(), "1");
    }

    #[test]
    fn two_installations_have_different_keys() {
        assert_ne!(fresh("k").unwrap().data, fresh("k").unwrap().data);
    }

    #[test]
    fn a_secret_without_the_current_key_is_refused() {
        let mut secret = fresh("k").unwrap();
        secret.data.as_mut().unwrap().insert(CURRENT.to_owned(), ByteString("2".into()));
        let error = parse(secret, &instance()).unwrap_err();
        assert_eq!(error.to_string(), "there is no entry token-2 of 32 bytes");
    }
}
