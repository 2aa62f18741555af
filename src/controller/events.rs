//! Kubernetes Events: one for each change of phase and each new failure.

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, Resource, ResourceExt, api::PostParams};

use crate::api::condition::truncate;

/// Greatest length of an event's note, by the API's own rules.
const NOTE_LIMIT: usize = 1023;

/// What to tell people about an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// Whether it is bad news.
    pub warning: bool,
    /// A stable word.
    pub reason: String,
    /// A sentence.
    pub note: String,
}

/// Publishes an event about an object. A failure is logged, and nothing else depends on it.
pub async fn publish<K>(client: &Client, identity: &str, object: &K, notice: Notice)
where
    K: Resource<DynamicType = ()>,
{
    let namespace = object.namespace().unwrap_or_else(|| "default".to_owned());
    let event = Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{:016x}", truncate_name(&object.name_any()), rand::random::<u64>())),
            namespace: Some(namespace.clone()),
            ..Default::default()
        },
        action: Some("Reconcile".to_owned()),
        event_time: Some(MicroTime(Timestamp::now())),
        note: Some(truncate(&notice.note, NOTE_LIMIT)),
        reason: Some(notice.reason),
        regarding: Some(ObjectReference {
            uid: object.uid(),
            resource_version: object.resource_version(),
            ..object.object_ref(&())
        }),
        reporting_controller: Some("berth.dev/operator".to_owned()),
        reporting_instance: Some(truncate(identity, 128)),
        type_: Some(if notice.warning { "Warning" } else { "Normal" }.to_owned()),
        ..Default::default()
    };
    let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
    if let Err(error) = api.create(&PostParams::default(), &event).await {
        tracing::warn!(%error, "an event could not be published");
    }
}

/// Room for the random part within a name's 253 characters.
fn truncate_name(name: &str) -> &str {
    name.get(..200).unwrap_or(name)
}
