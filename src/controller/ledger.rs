//! The ledger: what deletions had to leave on backends that did not answer, kept in a ConfigMap
//! of the operator's namespace until the sweep has done it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::backend::Owner;

/// Name of the ConfigMap.
pub const LEDGER: &str = "berth-ledger";

/// One body that is still to be removed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Whose it was.
    pub owner: Owner,
    /// The backend; absent when it is not known where the body is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The host; absent when it is not known where the body is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The body's id; absent when it was never known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The number of its container; absent where the backend numbers none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// Whether everything goes. Absent: what holds somebody's files stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub everything: bool,
    /// Since when, RFC 3339.
    pub since: String,
}

/// The ConfigMap.
pub struct Ledger {
    api: Api<ConfigMap>,
}

impl Ledger {
    /// The ledger in the operator's namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace) }
    }

    /// Writes an entry. When this returns, the entry is safe.
    pub async fn add(&self, entry: &Entry) -> kube::Result<()> {
        let text = serde_json::to_string(entry).map_err(kube::Error::SerdeError)?;
        let change = json!({"data": {entry.owner.uid.clone(): text}});
        match self.patch(&change).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let empty = ConfigMap {
                    metadata: kube::api::ObjectMeta { name: Some(LEDGER.to_owned()), ..Default::default() },
                    ..Default::default()
                };
                match self.api.create(&PostParams::default(), &empty).await {
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    other => drop(other?),
                }
                self.patch(&change).await
            }
            other => other,
        }
    }

    /// Every entry. One that can not be read is left alone and logged.
    pub async fn entries(&self) -> kube::Result<Vec<Entry>> {
        let data: BTreeMap<String, String> =
            self.api.get_opt(LEDGER).await?.and_then(|map| map.data).unwrap_or_default();
        let read = |(key, text): (String, String)| match serde_json::from_str(&text) {
            Ok(entry) => Some(entry),
            Err(error) => {
                tracing::warn!(key, %error, "an entry of the ledger can not be read; it is left as it is");
                None
            }
        };
        Ok(data.into_iter().filter_map(read).collect())
    }

    /// Strikes an entry out.
    pub async fn done(&self, entry: &Entry) -> kube::Result<()> {
        self.patch(&json!({"data": {entry.owner.uid.clone(): null}})).await
    }

    async fn patch(&self, change: &serde_json::Value) -> kube::Result<()> {
        self.api.patch(LEDGER, &PatchParams::default(), &Patch::Merge(change)).await.map(drop)
    }
}
