//! Names and labels of what stands on a host for a body.

use std::collections::HashMap;

use crate::backend::{
    BodyId, BodyRef, Incarnation, InstanceId, Owner,
    identity::{
        LABEL_ID, LABEL_INCARNATION, LABEL_INSTANCE, LABEL_OWNER_NAME, LABEL_OWNER_NAMESPACE, LABEL_OWNER_UID,
    },
};

/// Labels as Docker has them.
pub(super) type Labels = HashMap<String, String>;
/// Filters of a list.
pub(super) type Filters = HashMap<&'static str, Vec<String>>;

/// Name of the network of a body.
pub(super) fn network_name(id: BodyId) -> String {
    format!("berth-{id}")
}

/// Name of the network's interface on the host; Linux allows 15 characters. Firewall rules can
/// match its prefix.
pub(super) fn bridge_name(id: BodyId) -> String {
    let id = id.to_string();
    format!("bth-{}", id.get(..11).unwrap_or(&id))
}

/// Name of the volume that holds the work.
pub(super) fn workspace_volume(id: BodyId) -> String {
    format!("berth-{id}-workspace")
}

/// Name of the volume that holds what can be fetched again.
pub(super) fn cache_volume(id: BodyId) -> String {
    format!("berth-{id}-cache")
}

/// The labels of everything of a body.
pub(super) fn of_body(instance: &InstanceId, id: BodyId) -> Labels {
    Labels::from([(LABEL_INSTANCE.to_owned(), instance.to_string()), (LABEL_ID.to_owned(), id.to_string())])
}

/// The labels of a container.
pub(super) fn of_container(instance: &InstanceId, id: BodyId, incarnation: Incarnation) -> Labels {
    let mut labels = of_body(instance, id);
    labels.insert(LABEL_INCARNATION.to_owned(), incarnation.to_string());
    labels
}

/// The labels of a volume: it may outlive its containers, and with them their names.
pub(super) fn of_volume(instance: &InstanceId, body: &BodyRef) -> Labels {
    let mut labels = of_body(instance, body.id);
    let Owner { namespace, name, uid } = body.owner.clone();
    labels.insert(LABEL_OWNER_NAMESPACE.to_owned(), namespace);
    labels.insert(LABEL_OWNER_NAME.to_owned(), name);
    labels.insert(LABEL_OWNER_UID.to_owned(), uid);
    labels
}

/// The owner that a volume was made for.
pub(super) fn owner(labels: &Labels) -> Option<Owner> {
    let read = |label| labels.get(label).cloned();
    Some(Owner {
        namespace: read(LABEL_OWNER_NAMESPACE)?,
        name: read(LABEL_OWNER_NAME)?,
        uid: read(LABEL_OWNER_UID)?,
    })
}

/// The body that something belongs to.
pub(super) fn id(labels: &Labels) -> Option<BodyId> {
    labels.get(LABEL_ID)?.parse().ok()
}

/// Which container of its body one is.
pub(super) fn incarnation(labels: &Labels) -> Option<Incarnation> {
    labels.get(LABEL_INCARNATION)?.parse().ok().map(Incarnation)
}

/// Whether all of these labels are on a thing.
pub(super) fn carries(found: Option<&Labels>, wanted: &Labels) -> bool {
    found.is_some_and(|found| wanted.iter().all(|(label, value)| found.get(label) == Some(value)))
}

/// Filter of what belongs to an instance.
pub(super) fn instance_filter(instance: &InstanceId) -> String {
    format!("{LABEL_INSTANCE}={instance}")
}

/// Filters of everything of an instance.
pub(super) fn instance_filters(instance: &InstanceId) -> Filters {
    Filters::from([("label", vec![instance_filter(instance)])])
}

/// Filters of everything of a body.
pub(super) fn body_filters(instance: &InstanceId, id: BodyId) -> Filters {
    Filters::from([("label", vec![instance_filter(instance), format!("{LABEL_ID}={id}")])])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_has_a_name_that_linux_takes() {
        assert_eq!(bridge_name("0123456789abcdef".parse().unwrap()), "bth-0123456789a");
    }

    #[test]
    fn a_volume_tells_its_owner() {
        let owner = Owner { namespace: "a".into(), name: "b".into(), uid: "c".into() };
        let body = BodyRef {
            host: "h".into(),
            id: BodyId::random(),
            owner: owner.clone(),
            known: crate::backend::Known::default(),
        };
        let labels = of_volume(&InstanceId("i".into()), &body);
        assert_eq!(super::owner(&labels), Some(owner));
        assert_eq!(id(&labels), Some(body.id));
        assert!(carries(Some(&labels), &of_body(&InstanceId("i".into()), body.id)));
        assert!(!carries(Some(&labels), &of_body(&InstanceId("j".into()), body.id)));
        assert!(!carries(None, &of_body(&InstanceId("i".into()), body.id)));
    }
}
