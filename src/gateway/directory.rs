//! The previews that DevServers have, as the proxy asks for them.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    objects::{Known, WorkspaceView},
    previews::preview::{Access, Availability, HostHeader, Preview, PreviewDirectory},
};
use crate::{
    api::{DevServer, HostHeader as SpecHostHeader, PreviewAccess},
    controller::{agents::Wanted, workspace::Phase},
};

/// Looks previews up among what the gateway knows of DevServers and Workspaces.
pub struct Directory {
    known: Arc<Known>,
    wanted: watch::Receiver<Wanted>,
    domain: String,
    made: RwLock<HashMap<String, Arc<Made>>>,
}

/// A preview, and what it was made from.
struct Made {
    devserver: Arc<DevServer>,
    workspace: Arc<WorkspaceView>,
    hash: Option<String>,
    preview: Arc<Preview>,
}

impl Directory {
    /// Over these objects; the passwords' hashes come from the leader.
    pub fn new(known: Arc<Known>, wanted: watch::Receiver<Wanted>, domain: &str) -> Self {
        Self { known, wanted, domain: domain.to_ascii_lowercase(), made: RwLock::default() }
    }

    fn make(&self, host: &str, label: &str) -> Option<Arc<Preview>> {
        let devserver = self.known.devserver_of_host(label)?;
        let namespace = devserver.metadata.namespace.as_deref()?;
        let workspace = self.known.workspace_named(namespace, &devserver.spec.workspace_ref.name)?;
        let hash = self.wanted.borrow().passwords.get(label).cloned();
        let made = self.made.read().unwrap_or_else(PoisonError::into_inner).get(host).cloned();
        if let Some(made) = made
            && Arc::ptr_eq(&made.devserver, &devserver)
            && Arc::ptr_eq(&made.workspace, &workspace)
            && made.hash == hash
        {
            return Some(Arc::clone(&made.preview));
        }
        let preview = Arc::new(preview(host, &devserver, &workspace, hash.clone())?);
        let made = Made { devserver, workspace, hash, preview: Arc::clone(&preview) };
        let mut all = self.made.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, made| self.known.devserver_of_host(&label_of(&made.preview.host)).is_some());
        all.insert(host.to_owned(), Arc::new(made));
        Some(preview)
    }
}

fn label_of(host: &str) -> String {
    host.split('.').next().unwrap_or_default().to_owned()
}

impl PreviewDirectory for Directory {
    fn look_up(&self, host: &str) -> Option<Arc<Preview>> {
        let label = host.strip_suffix(self.domain.as_str())?.strip_suffix('.')?;
        self.make(host, label)
    }
}

fn preview(
    host: &str,
    devserver: &DevServer,
    workspace: &WorkspaceView,
    hash: Option<String>,
) -> Option<Preview> {
    let spec = &devserver.spec;
    let switched_on = spec.preview.enabled.unwrap_or(spec.port.is_some());
    let status = devserver.status.as_ref()?.preview.as_ref()?;
    let port = spec.port.filter(|_| switched_on)?;
    let expires_at = status.expires_at.as_ref().map(|time| time.0);
    if status.url.is_none() && expires_at.is_none_or(|at| at > Timestamp::now()) {
        return None;
    }
    Some(Preview {
        host: host.to_owned(),
        workspace: workspace.id?,
        port,
        access: match spec.preview.access {
            PreviewAccess::Link => Access::Link,
            PreviewAccess::Password => Access::Password { bcrypt_hash: hash },
            PreviewAccess::Private => Access::Private,
        },
        expires_at,
        host_header: match spec.preview.host_header {
            SpecHostHeader::Rewrite => HostHeader::Rewrite,
            SpecHostHeader::Preserve => HostHeader::Preserve,
        },
        namespace: workspace.namespace.clone(),
        workspace_name: workspace.name.clone(),
        devserver: devserver.metadata.name.clone().unwrap_or_default(),
        availability: availability(devserver, workspace),
    })
}

fn availability(devserver: &DevServer, workspace: &WorkspaceView) -> Availability {
    match workspace.phase.as_deref().and_then(Phase::parse) {
        Some(Phase::Suspended | Phase::Suspending) => return Availability::Suspended,
        Some(Phase::Running | Phase::Degraded) => {}
        _ => return Availability::Starting(format!("workspace {} is being started", workspace.name)),
    }
    match devserver.status.as_ref().and_then(|status| status.phase.as_deref()) {
        Some("Pending" | "Starting") => {
            let name = devserver.metadata.name.as_deref().unwrap_or_default();
            Availability::Starting(format!("{name} is starting"))
        }
        // Whether it really answers shows when it is asked.
        _ => Availability::Available,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::{
        gateway::objects::{Change, View},
        link::token::Epoch,
    };

    const HOST: &str = "web-one-0123456789abcdef";

    fn devserver(spec: serde_json::Value, status: serde_json::Value) -> DevServer {
        let mut object = json!({
            "apiVersion": "berth.dev/v1alpha1",
            "kind": "DevServer",
            "metadata": {"name": "web", "namespace": "ns"},
            "spec": {"workspaceRef": {"name": "one"}, "command": "x", "port": 3000},
            "status": {"phase": "Running", "preview": {"host": HOST, "url": "http://x/"}},
        });
        for (part, change) in [("spec", spec), ("status", status)] {
            for (key, value) in change.as_object().unwrap() {
                object[part][key] = value.clone();
            }
        }
        serde_json::from_value(object).unwrap()
    }

    fn looked_up(devserver: DevServer, phase: &str, host: &str) -> Option<Arc<Preview>> {
        let known = Arc::new(Known::default());
        let view = WorkspaceView {
            namespace: "ns".into(),
            name: "one".into(),
            uid: "u".into(),
            id: "0011223344556677".parse().ok(),
            epoch: Epoch(1),
            phase: Some(phase.into()),
            not_ready: None,
            deleting: false,
            user: "dev".into(),
        };
        known.workspace_changed(("ns".into(), "one".into()), view, Change::Present);
        known.devserver_changed(("ns".into(), "web".into()), DevServer::of(&devserver), Change::Present);
        let wanted = watch::Sender::new(Wanted::default());
        wanted.send_modify(|wanted| {
            wanted.passwords.insert(HOST.to_owned(), "$2b$hash".to_owned());
        });
        Directory::new(known, wanted.subscribe(), "preview.example.com").look_up(host)
    }

    fn whole() -> String {
        format!("{HOST}.preview.example.com")
    }

    #[test]
    fn a_preview_is_found_by_its_host_name_alone() {
        let found = looked_up(devserver(json!({}), json!({})), "Running", &whole()).unwrap();
        assert_eq!((found.port, found.devserver.as_str()), (3000, "web"));
        for other in [HOST, "web.preview.example.com", "preview.example.com", "other.example.com"] {
            assert_eq!(looked_up(devserver(json!({}), json!({})), "Running", other), None, "{other}");
        }
    }

    #[test]
    fn a_password_is_asked_for_even_while_its_hash_is_unknown() {
        let secured = json!({"preview": {"access": "Password", "passwordSecretRef": {"name": "p"}}});
        let found = looked_up(devserver(secured, json!({})), "Running", &whole()).unwrap();
        assert_eq!(found.access, Access::Password { bcrypt_hash: Some("$2b$hash".into()) });
    }

    #[rstest]
    #[case("Suspended", "Running", Availability::Suspended)]
    #[case("Resuming", "Running", Availability::Starting("workspace one is being started".into()))]
    #[case("Running", "Starting", Availability::Starting("web is starting".into()))]
    #[case("Running", "Failed", Availability::Available)]
    #[case("Degraded", "Running", Availability::Available)]
    fn whether_it_can_be_shown(#[case] workspace: &str, #[case] phase: &str, #[case] expected: Availability) {
        let devserver = devserver(json!({}), json!({"phase": phase}));
        assert_eq!(looked_up(devserver, workspace, &whole()).unwrap().availability, expected);
    }

    #[test]
    fn one_that_is_switched_off_is_unknown_and_one_that_is_over_is_over() {
        let off = devserver(json!({"preview": {"enabled": false}}), json!({}));
        assert_eq!(looked_up(off, "Running", &whole()), None);
        let over = json!({"preview": {"host": HOST, "expiresAt": "2020-01-01T00:00:00Z"}});
        let over = looked_up(devserver(json!({}), over), "Running", &whole()).unwrap();
        assert!(over.expires_at.is_some());
    }
}
