//! A DevServer among the others of its Workspace: who was first. Pure.

use std::cmp::Ordering;

use kube::ResourceExt;

use crate::{
    api::{DevServer, condition},
    controller::workspace::problem::Problem,
};

/// DevServers that one Workspace may have. Its agent is told of all of them at once.
pub const MAX_PER_WORKSPACE: usize = 100;

/// What the older DevServers of the same Workspace leave to one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// Why its process may not run.
    pub refused: Option<Problem>,
    /// Why it may not have a preview.
    pub unpublished: Option<Problem>,
}

impl Place {
    /// The place of one among all of its Workspace. `max_previews` is 0 where there is no limit.
    pub fn among(object: &DevServer, all: &[impl AsRef<DevServer>], max_previews: u32) -> Self {
        let older: Vec<&DevServer> = all
            .iter()
            .map(AsRef::as_ref)
            .filter(|other| counts(other) && by_age(other, object) == Ordering::Less)
            .collect();
        let same_port =
            older.iter().find(|other| object.spec.port.is_some() && other.spec.port == object.spec.port);
        let workspace = &object.spec.workspace_ref.name;
        let refused = if older.len() >= MAX_PER_WORKSPACE {
            Some(Problem::permanent(
                condition::ACCEPTED,
                "QuotaExceeded",
                format!("Workspace {workspace:?} has {MAX_PER_WORKSPACE} older DevServers already"),
            ))
        } else {
            same_port.map(|other| {
                Problem::permanent(
                    condition::ACCEPTED,
                    "PortConflict",
                    format!(
                        "port {} of Workspace {workspace:?} belongs to DevServer {:?}, which is older",
                        object.spec.port.unwrap_or_default(),
                        other.name_any()
                    ),
                )
                .hint("choose another port")
            })
        };
        let previews = older.iter().filter(|other| has_preview(other)).count();
        let full = max_previews > 0 && previews >= usize::try_from(max_previews).unwrap_or(usize::MAX);
        let unpublished = (full && has_preview(object)).then(|| {
            Problem::permanent(
                condition::PREVIEW_READY,
                "QuotaExceeded",
                format!("Workspace {workspace:?} has {max_previews} previews already"),
            )
            .hint("preview.maxPerWorkspace of the operator's configuration says how many it may have")
        });
        Self { refused, unpublished }
    }
}

/// One that is being deleted gives its place free.
fn counts(object: &DevServer) -> bool {
    object.metadata.deletion_timestamp.is_none()
}

fn has_preview(object: &DevServer) -> bool {
    object.spec.port.is_some() && object.spec.preview.enabled != Some(false)
}

/// The older first; of those made in the same second the one whose name comes first.
fn by_age(one: &DevServer, other: &DevServer) -> Ordering {
    let made = |object: &DevServer| object.metadata.creation_timestamp.as_ref().map(|time| time.0);
    made(one).cmp(&made(other)).then_with(|| one.name_any().cmp(&other.name_any()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;
    use crate::controller::devserver::fixtures::object;

    fn aged(name: &str, seconds: i64, port: Option<u16>) -> Arc<DevServer> {
        let mut made = object(name, json!({"port": port}));
        made.metadata.creation_timestamp = jiff::Timestamp::from_second(seconds).ok().map(Time);
        Arc::new(made)
    }

    fn reason(problem: &Option<Problem>) -> Option<&'static str> {
        problem.as_ref().map(|problem| problem.reason)
    }

    #[test]
    fn a_port_belongs_to_the_oldest() {
        let all = [aged("b", 1, Some(3000)), aged("a", 2, Some(3000)), aged("c", 2, Some(3001))];
        let refused: Vec<_> = all.iter().map(|one| reason(&Place::among(one, &all, 0).refused)).collect();
        assert_eq!(refused, [None, Some("PortConflict"), None]);
    }

    #[test]
    fn of_two_made_at_once_the_first_by_name_has_it() {
        let all = [aged("b", 1, Some(3000)), aged("a", 1, Some(3000))];
        assert_eq!(reason(&Place::among(&all[0], &all, 0).refused), Some("PortConflict"));
        assert_eq!(Place::among(&all[1], &all, 0), Place::default());
    }

    #[test]
    fn without_a_port_there_is_no_conflict() {
        let all = [aged("a", 1, None), aged("b", 1, None)];
        assert_eq!(Place::among(&all[1], &all, 1), Place::default());
    }

    #[test]
    fn one_that_is_being_deleted_gives_its_port_free() {
        let mut going = (*aged("a", 1, Some(3000))).clone();
        going.metadata.deletion_timestamp = going.metadata.creation_timestamp.clone();
        let all = [Arc::new(going), aged("b", 2, Some(3000))];
        assert_eq!(Place::among(&all[1], &all, 1), Place::default());
    }

    #[test]
    fn the_youngest_previews_are_too_many() {
        let all = [aged("a", 1, Some(1)), aged("b", 2, None), aged("c", 3, Some(3)), aged("d", 4, Some(4))];
        let places: Vec<_> = all.iter().map(|one| reason(&Place::among(one, &all, 2).unpublished)).collect();
        assert_eq!(places, [None, None, None, Some("QuotaExceeded")]);
    }

    #[test]
    fn there_is_an_end_to_the_number_of_processes() {
        let all: Vec<_> = (0..=100).map(|number| aged(&format!("n{number:03}"), 1, None)).collect();
        assert_eq!(reason(&Place::among(&all[99], &all, 0).refused), None);
        assert_eq!(reason(&Place::among(&all[100], &all, 0).refused), Some("QuotaExceeded"));
    }
}
