//! Browsers: tickets that are made for them, and sessions that they come back with.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, header};
use jiff::Timestamp;
use serde_json::json;
use url::Url;

use super::{
    identity::Identity,
    objects::{DevServerView, WorkspaceView},
    operation::Operation,
    problem::{Problem, Reason},
};
use crate::gateway::{
    terminal::{SUBRESOURCE, TerminalPage},
    tickets::{Grant, of_preview},
};

/// What browsers get in with.
#[derive(Clone)]
pub struct Browsers {
    /// The terminal page, with its tickets and sessions.
    pub page: TerminalPage,
    /// The address under which browsers reach the page.
    pub public_url: Url,
}

impl Browsers {
    /// The session that a request comes with, where it comes with no token.
    pub fn session(&self, headers: &HeaderMap) -> Option<Grant> {
        if headers.contains_key(header::AUTHORIZATION) {
            return None;
        }
        self.page.session(headers, Timestamp::now())
    }

    /// Whether a session is good for this: it is of one workspace and one subresource. A browser
    /// sends it whoever asks it to, so the page that asks must be ours.
    pub fn check(
        &self,
        grant: &Grant,
        operation: &Operation,
        workspace: &WorkspaceView,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
        let ours = self.public_url.origin().ascii_serialization();
        if origin.is_some_and(|origin| origin != ours) {
            return Err(Problem::new(Reason::Forbidden, "another site's page may not use this session"));
        }
        let same = grant.subresource == operation.subresource()
            && grant.namespace == workspace.namespace
            && grant.workspace == workspace.name
            && grant.workspace_uid == workspace.uid;
        let matches = same && matches!(operation, Operation::Attach);
        if matches {
            Ok(())
        } else {
            Err(Problem::new(Reason::Forbidden, "this session is for something else"))
        }
    }

    /// Makes a ticket for the terminal of a workspace, or for the private preview of a dev server.
    pub fn ticket(
        &self,
        by: &Identity,
        workspace: &WorkspaceView,
        dev_server: Option<&DevServerView>,
    ) -> Result<Response, Problem> {
        let grant = |subresource: String| Grant {
            user: by.user.clone(),
            user_uid: by.uid.clone(),
            groups: by.groups.clone(),
            namespace: workspace.namespace.clone(),
            workspace: workspace.name.clone(),
            workspace_uid: workspace.uid.clone(),
            subresource,
        };
        let mint = |grant: Grant| {
            let minted = self.page.tickets.mint(grant, Timestamp::now());
            minted.map_err(|error| Problem::new(Reason::InternalError, error.to_string()))
        };
        let url = match dev_server {
            None => {
                let ticket = mint(grant(SUBRESOURCE.to_owned()))?;
                let base = self.public_url.as_str().trim_end_matches('/');
                format!("{base}/terminal/{}/{}#ticket={ticket}", workspace.namespace, workspace.name)
            }
            Some(known) => {
                let mut url =
                    known.preview.as_deref().and_then(|url| Url::parse(url).ok()).ok_or_else(|| {
                        Problem::new(Reason::Conflict, "the dev server has no preview").code("NoPreview")
                    })?;
                let ticket = mint(grant(of_preview(url.host_str().unwrap_or_default())))?;
                url.set_path("/.berth/ticket");
                url.set_query(Some(&format!("ticket={ticket}")));
                url.into()
            }
        };
        Ok(Json(json!({"url": url})).into_response())
    }
}

/// Whoever had the ticket made that a session began with.
pub fn identity_of(grant: &Grant) -> Identity {
    Identity {
        user: grant.user.clone(),
        uid: grant.user_uid.clone(),
        groups: grant.groups.clone(),
        ..Identity::default()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{
        gateway::{
            api::operation::Resource,
            tickets::{Sessions, Tickets},
        },
        link::token::Epoch,
    };

    fn browsers() -> Browsers {
        let (tickets, sessions) = (Tickets::new(&[1; 32]).unwrap(), Sessions::new(&[1; 32]).unwrap());
        Browsers {
            page: TerminalPage { tickets: tickets.into(), sessions, secure: true },
            public_url: "https://berth.example.com/".parse().unwrap(),
        }
    }

    fn workspace(uid: &str) -> WorkspaceView {
        WorkspaceView {
            namespace: "team".into(),
            name: "web".into(),
            uid: uid.into(),
            id: None,
            epoch: Epoch(1),
            phase: None,
            not_ready: None,
            deleting: false,
            user: "dev".into(),
        }
    }

    fn grant() -> Grant {
        Grant {
            user: "ann".into(),
            user_uid: None,
            groups: Vec::new(),
            namespace: "team".into(),
            workspace: "web".into(),
            workspace_uid: "1".into(),
            subresource: "attach".into(),
        }
    }

    #[rstest]
    #[case::the_terminal_page("1", Operation::Attach, Some("https://berth.example.com"), true)]
    #[case::no_page_at_all("1", Operation::Attach, None, true)]
    #[case::another_sites_page("1", Operation::Attach, Some("https://evil.example.com"), false)]
    #[case::a_preview("1", Operation::Attach, Some("https://a.preview.example.com"), false)]
    #[case::a_namesake("2", Operation::Attach, Some("https://berth.example.com"), false)]
    #[case::a_command("1", Operation::Exec, Some("https://berth.example.com"), false)]
    #[case::a_new_ticket(
        "1",
        Operation::Ticket(Resource::Workspaces),
        Some("https://berth.example.com"),
        false
    )]
    fn a_session_is_good_for_one_thing(
        #[case] uid: &str,
        #[case] operation: Operation,
        #[case] origin: Option<&str>,
        #[case] good: bool,
    ) {
        let mut headers = HeaderMap::new();
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        let checked = browsers().check(&grant(), &operation, &workspace(uid), &headers);
        assert_eq!(checked.is_ok(), good, "{checked:?}");
    }
}
