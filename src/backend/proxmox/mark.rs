//! The mark on a container: lines in its notes (Proxmox calls them the description), and tags.
//!
//! The notes say whose the container is and which creation made it; they can be given along with
//! the clone, so a container is never there without them. People write notes of their own: every
//! other line is left as it is, and their order does not matter. Tags are how all of an operator's
//! containers are found in one look at the cluster.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::backend::{BodyId, BodyRef, Incarnation, InstanceId, Owner};

/// On everything that any operator made.
pub(super) const TAG_PRODUCT: &str = "berth";
const TAG_ID: &str = "berth-id-";
const TAG_INSTANCE: &str = "berth-instance-";

const LINE_INSTANCE: &str = "berth-instance";
const LINE_ID: &str = "berth-id";
const LINE_INCARNATION: &str = "berth-incarnation";
const LINE_OWNER: &str = "berth-owner";
const LINE_UID: &str = "berth-uid";
const LINE_ADOPT: &str = "berth-adopt";

/// What the notes of a container of ours say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mark {
    /// The operator.
    pub instance: InstanceId,
    /// The body.
    pub id: BodyId,
    /// Which container of it.
    pub incarnation: Incarnation,
    /// Whose it is.
    pub owner: Owner,
}

impl Mark {
    /// The mark of a container of a body.
    pub fn new(instance: &InstanceId, body: &BodyRef, incarnation: Incarnation) -> Self {
        Self { instance: instance.clone(), id: body.id, incarnation, owner: body.owner.clone() }
    }

    /// Reads the notes of a container. `None`: it is not marked, or not wholly.
    pub fn read(notes: &str) -> Option<Self> {
        let (namespace, name) = line(notes, LINE_OWNER)?.split_once('/')?;
        Some(Self {
            instance: InstanceId(line(notes, LINE_INSTANCE)?.to_owned()),
            id: line(notes, LINE_ID)?.parse().ok()?,
            incarnation: Incarnation(line(notes, LINE_INCARNATION)?.parse().ok()?),
            owner: Owner {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                uid: line(notes, LINE_UID)?.to_owned(),
            },
        })
    }

    /// The notes with this mark in them, and with every line that is not of a mark.
    pub fn write(&self, notes: &str) -> String {
        let mut lines = foreign_lines(notes);
        lines.extend([
            format!("{LINE_OWNER}: {}", self.owner),
            format!("{LINE_UID}: {}", self.owner.uid),
            format!("{LINE_ID}: {}", self.id),
            format!("{LINE_INCARNATION}: {}", self.incarnation),
            format!("{LINE_INSTANCE}: {}", self.instance),
        ]);
        lines.join("\n")
    }

    /// Whether it says the same as another, whichever container of the body it is on.
    pub fn is_of(&self, instance: &InstanceId, body: &BodyRef) -> bool {
        self.instance == *instance && self.id == body.id && self.owner == body.owner
    }

    /// The tags that go with it.
    pub fn tags(&self) -> [String; 3] {
        [TAG_PRODUCT.to_owned(), instance_tag(&self.instance), format!("{TAG_ID}{}", self.id)]
    }
}

/// The notes without a mark.
pub(super) fn without_mark(notes: &str) -> String {
    foreign_lines(notes).join("\n")
}

/// Whether an administrator marked a container to be taken over by exactly this owner.
pub(super) fn may_be_adopted_by(notes: &str, owner: &Owner) -> bool {
    line(notes, LINE_ADOPT) == Some(&owner.to_string())
}

/// The body that the tags of a container of this instance tell of.
pub(super) fn id_of(tags: &BTreeSet<String>, instance: &InstanceId) -> Option<BodyId> {
    if !tags.contains(&instance_tag(instance)) {
        return None;
    }
    tags.iter().find_map(|tag| tag.strip_prefix(TAG_ID)?.parse().ok())
}

/// The tags of a container with those of a mark: what it has from its template or from people
/// stays, marks of others do not.
pub(super) fn merge_tags(
    present: &BTreeSet<String>,
    wanted: impl IntoIterator<Item = String>,
) -> BTreeSet<String> {
    let foreign = present.iter().filter(|tag| !is_ours(tag)).cloned();
    foreign.chain(wanted).map(|tag| tag.to_ascii_lowercase()).collect()
}

/// Whether a tag is part of a mark.
pub(super) fn is_ours(tag: &str) -> bool {
    tag.starts_with(TAG_ID) || tag.starts_with(TAG_INSTANCE)
}

/// An instance may hold characters that a tag may not.
pub(super) fn instance_tag(instance: &InstanceId) -> String {
    let digest = Sha256::digest(instance.0.as_bytes());
    let short: String = hex::encode(digest).chars().take(12).collect();
    format!("{TAG_INSTANCE}{short}")
}

fn line<'a>(notes: &'a str, name: &str) -> Option<&'a str> {
    notes.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':').map(str::trim))
}

fn foreign_lines(notes: &str) -> Vec<String> {
    let names = [LINE_OWNER, LINE_UID, LINE_ID, LINE_INCARNATION, LINE_INSTANCE, LINE_ADOPT];
    let of_a_mark = |line: &str| {
        names.iter().any(|name| line.trim().strip_prefix(name).is_some_and(|rest| rest.starts_with(':')))
    };
    let mut lines: Vec<String> =
        notes.lines().filter(|line| !of_a_mark(line)).map(|line| line.trim_end().to_owned()).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mark() -> Mark {
        Mark {
            instance: InstanceId("cluster/berth-system".to_owned()),
            id: "0011223344556677".parse().unwrap(),
            incarnation: Incarnation(3),
            owner: Owner { namespace: "team".into(), name: "web".into(), uid: "u-1".into() },
        }
    }

    #[rstest::rstest]
    #[case::nothing_else("")]
    #[case::what_people_write("Ask Ann\nbefore you touch this.\n")]
    #[case::another_mark("berth-id: ffffffffffffffff\nberth-owner: a/b\nberth-uid: x\nnote")]
    fn a_mark_is_read_back(#[case] notes: &str) {
        let written = mark().write(notes);
        assert_eq!(Mark::read(&written), Some(mark()));
        assert_eq!(Mark::read(&format!("{written}\n")), Some(mark()));
    }

    #[test]
    fn what_people_write_stays() {
        let written = mark().write("Ask Ann\n\nbefore you touch this.\n");
        assert!(
            written.starts_with("Ask Ann\n\nbefore you touch this.\nberth-owner: team/web\n"),
            "{written}"
        );
        assert_eq!(without_mark(&written), "Ask Ann\n\nbefore you touch this.");
    }

    #[rstest::rstest]
    #[case("")]
    #[case("berth-id: 0011223344556677")]
    #[case(
        "berth-owner: web\nberth-uid: u\nberth-id: 0011223344556677\nberth-incarnation: 1\nberth-instance: i"
    )]
    fn half_a_mark_is_none(#[case] notes: &str) {
        assert_eq!(Mark::read(notes), None);
    }

    #[test]
    fn tags_of_a_template_and_of_people_stay() {
        let present = ["node", "berth-id-ffffffffffffffff", "ann"].map(str::to_owned).into();
        let merged = merge_tags(&present, mark().tags().into_iter().chain(["App".to_owned()]));
        let merged: Vec<&str> = merged.iter().map(String::as_str).collect();
        let instance = instance_tag(&mark().instance);
        assert_eq!(merged, ["ann", "app", "berth", "berth-id-0011223344556677", &instance, "node"]);
    }

    #[test]
    fn a_container_of_another_instance_is_not_ours() {
        let tags: BTreeSet<String> = mark().tags().into();
        assert_eq!(id_of(&tags, &mark().instance), Some(mark().id));
        assert_eq!(id_of(&tags, &InstanceId("another".into())), None);
    }

    #[test]
    fn an_administrator_names_who_may_adopt() {
        let owner = mark().owner;
        assert!(may_be_adopted_by("old machine\nberth-adopt: team/web\n", &owner));
        assert!(!may_be_adopted_by("berth-adopt: team/website", &owner));
        assert!(!may_be_adopted_by("", &owner));
    }

    proptest! {
        #[test]
        fn any_notes_are_kept_once(notes in "([a-z #*:-]{0,20}\n){0,5}") {
            let once = mark().write(&notes);
            prop_assert_eq!(mark().write(&once), once);
        }
    }
}
