//! Who may do what: users, tokens, roles, access control lists and tickets.
//!
//! Decisions only. What a call needs stands with the call.

pub mod roles;
pub mod tickets;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Who makes a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user with its realm.
    pub user: String,
    /// The name of the token; none with a ticket.
    pub token: Option<String>,
}

impl Identity {
    /// As a UPID names it.
    pub fn name(&self) -> String {
        match &self.token {
            Some(token) => format!("{}!{token}", self.user),
            None => self.user.clone(),
        }
    }

    /// Whether hard-coded checks for root pass: only with a ticket.
    pub fn is_root(&self) -> bool {
        self.user == "root@pam" && self.token.is_none()
    }
}

/// A user.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct User {
    /// For tickets; none can not log in.
    #[serde(skip_serializing)]
    pub password: Option<String>,
    /// A disabled one is refused.
    pub disabled: bool,
    /// The groups that it is in.
    pub groups: Vec<String>,
    /// Its tokens, by name.
    pub tokens: BTreeMap<String, Token>,
}

/// An API token.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The secret part of the header.
    #[serde(skip_serializing)]
    pub secret: String,
    /// Whether it needs access of its own besides its user's.
    #[serde(default = "yes")]
    pub privsep: bool,
    /// Seconds since 1970; 0 is never.
    #[serde(default)]
    pub expire: u64,
}

/// An entry of the access control list.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Acl {
    /// Where it starts.
    pub path: String,
    /// A user, `user@realm!token` or `@group`.
    pub who: String,
    /// The role.
    pub role: String,
    /// Whether it goes on below the path.
    #[serde(default = "yes")]
    pub propagate: bool,
}

fn yes() -> bool {
    true
}

/// Users, roles and access control lists.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// By name with realm.
    pub users: BTreeMap<String, User>,
    /// Privileges by role.
    pub roles: BTreeMap<String, BTreeSet<String>>,
    /// The entries.
    pub acls: Vec<Acl>,
}

impl Access {
    /// The privileges on a path. Whether the path is in a pool does not count here.
    pub fn privileges(&self, identity: &Identity, path: &str) -> BTreeSet<String> {
        let mut user = self.of(&identity.user, path);
        let Some(name) = &identity.token else { return user };
        let separated = self
            .users
            .get(&identity.user)
            .and_then(|user| user.tokens.get(name))
            .is_none_or(|token| token.privsep);
        if separated {
            let own = self.of(&identity.name(), path);
            user.retain(|privilege| own.contains(privilege));
        }
        user
    }

    fn of(&self, who: &str, path: &str) -> BTreeSet<String> {
        if who == "root@pam" {
            return roles::privileges();
        }
        let roles = self.roles_on(who, path);
        if roles.contains("NoAccess") {
            return BTreeSet::new();
        }
        roles.iter().filter_map(|role| self.roles.get(*role)).flatten().cloned().collect()
    }

    /// The deepest level with an entry decides; there, entries for the user go before its groups'.
    fn roles_on(&self, who: &str, path: &str) -> BTreeSet<&str> {
        let groups = self.users.get(who).map(|user| user.groups.as_slice()).unwrap_or_default();
        let mut roles = BTreeSet::new();
        for level in levels(path) {
            let here = |matches: &dyn Fn(&str) -> bool| -> BTreeSet<&str> {
                let entries = self
                    .acls
                    .iter()
                    .filter(|acl| acl.path == level && (acl.propagate || level == path) && matches(&acl.who));
                entries.map(|acl| acl.role.as_str()).collect()
            };
            let own = here(&|entry| entry == who);
            let of_groups = here(&|entry| {
                entry.strip_prefix('@').is_some_and(|name| groups.iter().any(|group| group == name))
            });
            if !own.is_empty() {
                roles = own;
            } else if !of_groups.is_empty() {
                roles = of_groups;
            }
        }
        roles
    }
}

/// `/`, `/vms`, `/vms/105` for the last.
fn levels(path: &str) -> Vec<&str> {
    let mut levels = vec!["/"];
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
    levels.extend(ends.filter_map(|end| path.get(..end)).filter(|level| level.len() > 1));
    levels
}
