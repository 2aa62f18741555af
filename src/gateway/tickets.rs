//! Tickets and sessions of browsers.
//!
//! A browser has no bearer token. Somebody who may do a thing has a ticket made for it, through
//! the API: good for 30 seconds, once, and for that one thing. The browser exchanges it for a
//! session, a cookie that is good for that one thing as well. Both carry a code that only this
//! installation can make, so any replica can check them; that a ticket is used once is seen to by
//! each replica for itself.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// How long a ticket is good.
const TICKET_LIFETIME: Duration = Duration::from_secs(30);
/// How long a session is good.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// Longest ticket or session that is looked at.
const LONGEST: usize = 8 << 10;

/// What a ticket or a session is for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Scope {
    /// The terminal page of a Workspace, and what it calls.
    Terminal {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its uid: a namesake is another one.
        uid: String,
    },
    /// A private preview.
    Preview {
        /// Its host name.
        host: String,
    },
}

/// Who may do what.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// The user's name in the cluster.
    pub user: String,
    /// The user's groups there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// What for.
    pub scope: Scope,
}

/// Why a ticket or a session is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// It is none of this installation's, or changed.
    #[error("it is not valid")]
    Invalid,
    /// Its time is over.
    #[error("its time is over")]
    Expired,
    /// It was used before.
    #[error("it was used before")]
    Used,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum Kind {
    Ticket,
    Session,
}

#[derive(Deserialize, Serialize)]
struct Sealed {
    kind: Kind,
    grant: Grant,
    /// Unix time in seconds.
    until: i64,
    nonce: String,
}

/// Makes and checks tickets and sessions.
pub struct Tickets {
    key: SecretSlice<u8>,
    /// Tickets that were used, until they would be too old anyway.
    used: Mutex<HashMap<String, i64>>,
}

impl Tickets {
    /// With this key, which all replicas share.
    pub fn new(key: SecretSlice<u8>) -> Self {
        Self { key, used: Mutex::default() }
    }

    /// A ticket for a grant.
    pub fn mint(&self, grant: Grant, now: Timestamp) -> Option<SecretString> {
        self.seal(Kind::Ticket, grant, now, TICKET_LIFETIME)
    }

    /// Uses a ticket up.
    pub fn redeem(&self, ticket: &str, now: Timestamp) -> Result<Grant, Refused> {
        let sealed = self.open(Kind::Ticket, ticket, now)?;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, until| *until >= now.as_second());
        match used.insert(sealed.nonce, sealed.until) {
            Some(_) => Err(Refused::Used),
            None => Ok(sealed.grant),
        }
    }

    /// A session for a grant.
    pub fn session(&self, grant: Grant, now: Timestamp) -> Option<SecretString> {
        self.seal(Kind::Session, grant, now, SESSION_LIFETIME)
    }

    /// Whose a session is, and what for.
    pub fn verify(&self, session: &str, now: Timestamp) -> Result<Grant, Refused> {
        self.open(Kind::Session, session, now).map(|sealed| sealed.grant)
    }

    fn seal(&self, kind: Kind, grant: Grant, now: Timestamp, lifetime: Duration) -> Option<SecretString> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).ok()?;
        let until = now.checked_add(lifetime).ok()?.as_second();
        let content = serde_json::to_vec(&Sealed { kind, grant, until, nonce: hex::encode(nonce) }).ok()?;
        let code = self.code(&content)?.finalize().into_bytes();
        Some(format!("{}.{}", URL_SAFE_NO_PAD.encode(&content), URL_SAFE_NO_PAD.encode(code)).into())
    }

    fn open(&self, kind: Kind, text: &str, now: Timestamp) -> Result<Sealed, Refused> {
        if text.len() > LONGEST {
            return Err(Refused::Invalid);
        }
        let (content, code) = text.split_once('.').ok_or(Refused::Invalid)?;
        let content = URL_SAFE_NO_PAD.decode(content).map_err(|_| Refused::Invalid)?;
        let code = URL_SAFE_NO_PAD.decode(code).map_err(|_| Refused::Invalid)?;
        let expected = self.code(&content).ok_or(Refused::Invalid)?;
        expected.verify_slice(&code).map_err(|_| Refused::Invalid)?;
        let sealed: Sealed = serde_json::from_slice(&content).map_err(|_| Refused::Invalid)?;
        match sealed.kind == kind {
            true if sealed.until >= now.as_second() => Ok(sealed),
            true => Err(Refused::Expired),
            false => Err(Refused::Invalid),
        }
    }

    fn code(&self, content: &[u8]) -> Option<Hmac<Sha256>> {
        let mut code = Hmac::<Sha256>::new_from_slice(self.key.expose_secret()).ok()?;
        code.update(b"berth ticket 1\0");
        code.update(content);
        Some(code)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grant() -> Grant {
        let scope = Scope::Preview { host: "a.example.com".into() };
        Grant { user: "ann".into(), groups: vec!["team".into()], scope }
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn later(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn a_ticket_is_good_once_and_for_30_seconds() {
        let tickets = Tickets::new(vec![1; 32].into());
        let ticket = tickets.mint(grant(), now()).unwrap();
        assert_eq!(tickets.redeem(ticket.expose_secret(), later(29)), Ok(grant()));
        assert_eq!(tickets.redeem(ticket.expose_secret(), later(29)), Err(Refused::Used));
        let other = tickets.mint(grant(), now()).unwrap();
        assert_eq!(tickets.redeem(other.expose_secret(), later(31)), Err(Refused::Expired));
    }

    #[test]
    fn a_session_is_no_ticket_and_a_ticket_no_session() {
        let tickets = Tickets::new(vec![1; 32].into());
        let (ticket, session) =
            (tickets.mint(grant(), now()).unwrap(), tickets.session(grant(), now()).unwrap());
        assert_eq!(tickets.verify(session.expose_secret(), later(3600)), Ok(grant()));
        assert_eq!(tickets.redeem(session.expose_secret(), now()), Err(Refused::Invalid));
        assert_eq!(tickets.verify(ticket.expose_secret(), now()), Err(Refused::Invalid));
    }

    #[test]
    fn those_of_another_installation_are_refused() {
        let ticket = Tickets::new(vec![2; 32].into()).mint(grant(), now()).unwrap();
        let tickets = Tickets::new(vec![1; 32].into());
        assert_eq!(tickets.redeem(ticket.expose_secret(), now()), Err(Refused::Invalid));
    }

    proptest! {
        #[test]
        fn a_changed_ticket_is_refused(position in 0_usize..400, byte in "[A-Za-z0-9_.-]") {
            let tickets = Tickets::new(vec![1; 32].into());
            let ticket = tickets.mint(grant(), now()).unwrap().expose_secret().to_owned();
            let position = position % ticket.len();
            let changed = format!("{}{byte}{}", &ticket[..position], &ticket[position + 1..]);
            prop_assume!(changed != ticket);
            prop_assert_eq!(tickets.redeem(&changed, now()), Err(Refused::Invalid));
        }
    }
}
