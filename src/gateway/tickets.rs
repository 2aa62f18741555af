//! How a browser gets in: a single-use ticket, exchanged for a session that a signed cookie
//! carries.
//!
//! Whoever may use a workspace mints a ticket through the API; the browser redeems it. Both are
//! about one user, one workspace and one subresource. Whether the user still may is asked by
//! others, again and again; here stands only who it is.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac, digest::InvalidLength};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How long a ticket can be redeemed.
pub const TICKET_LIFE: Duration = Duration::from_secs(30);
/// How long a session lasts.
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// Most tickets that wait to be redeemed.
const MOST_TICKETS: usize = 10_000;
/// Most of them that are one user's.
const MOST_OF_ONE: usize = 100;
/// Longest cookie that is looked at, in bytes. A browser takes 4096.
const LONGEST_COOKIE: usize = 4_096;

/// What a ticket or a session is for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Name of the user, as the API server knows it.
    pub user: String,
    /// Uid of the user, where there is one.
    pub user_uid: Option<String>,
    /// Groups of the user.
    pub groups: Vec<String>,
    /// Namespace of the workspace.
    pub namespace: String,
    /// Name of the workspace.
    pub workspace: String,
    /// Uid of the workspace: another one of the same name is another one.
    pub workspace_uid: String,
    /// The subresource that may be used.
    pub subresource: String,
}

/// Why no ticket was minted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MintError {
    /// Too many of this user's wait to be redeemed.
    #[error("too many tickets of yours were not used yet; try again in {} s", TICKET_LIFE.as_secs())]
    TooMany,
    /// The system has no random numbers.
    #[error("the system has no random numbers")]
    NoRandomness,
}

/// Tickets that wait to be redeemed. Only their hashes are kept: the table is looked up by hash, so
/// the time that takes says nothing of the tickets in it.
#[derive(Default)]
pub struct Tickets {
    waiting: Mutex<HashMap<[u8; 32], (Grant, Timestamp)>>,
}

impl Tickets {
    /// Makes a ticket: 256 random bits, as text for an address.
    pub fn mint(&self, grant: Grant, now: Timestamp) -> Result<String, MintError> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|_| MintError::NoRandomness)?;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, (_, until)| *until > now);
        let own = waiting.values().filter(|(other, _)| other.user == grant.user).count();
        if own >= MOST_OF_ONE || waiting.len() >= MOST_TICKETS {
            return Err(MintError::TooMany);
        }
        let ticket = URL_SAFE_NO_PAD.encode(secret);
        waiting.insert(hash(&ticket), (grant, now + TICKET_LIFE));
        Ok(ticket)
    }

    /// What a ticket is for. It can not be redeemed again.
    pub fn redeem(&self, ticket: &str, now: Timestamp) -> Option<Grant> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (grant, until) = waiting.remove(&hash(ticket))?;
        (until > now).then_some(grant)
    }
}

fn hash(ticket: &str) -> [u8; 32] {
    Sha256::digest(ticket.as_bytes()).into()
}

/// What a cookie says, under its signature.
#[derive(Deserialize, Serialize)]
struct Content {
    grant: Grant,
    until: Timestamp,
}

/// Signs sessions, and knows its own again. Replicas with the same key know each other's.
#[derive(Clone)]
pub struct Sessions {
    signer: Hmac<Sha256>,
}

impl Sessions {
    /// Signs with a key, which should be 32 random bytes.
    pub fn new(key: &[u8]) -> Result<Self, InvalidLength> {
        let mut signer = <Hmac<Sha256> as Mac>::new_from_slice(key)?;
        // A signature for something else under the same key is none here.
        signer.update(b"berth session v1\0");
        Ok(Self { signer })
    }

    /// The value of a cookie for a session that begins now.
    pub fn issue(&self, grant: Grant, now: Timestamp) -> serde_json::Result<String> {
        let content = serde_json::to_vec(&Content { grant, until: now + SESSION_LIFE })?;
        let mut signer = self.signer.clone();
        signer.update(&content);
        let signature = signer.finalize().into_bytes();
        Ok(format!("{}.{}", URL_SAFE_NO_PAD.encode(content), URL_SAFE_NO_PAD.encode(signature)))
    }

    /// What the session in a cookie is for, where it is one of ours and not over. The signature is
    /// compared in constant time.
    pub fn verify(&self, cookie: &str, now: Timestamp) -> Option<Grant> {
        if cookie.len() > LONGEST_COOKIE {
            return None;
        }
        let (content, signature) = cookie.split_once('.')?;
        let content = URL_SAFE_NO_PAD.decode(content).ok()?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let mut signer = self.signer.clone();
        signer.update(&content);
        signer.verify_slice(&signature).ok()?;
        let content: Content = serde_json::from_slice(&content).ok()?;
        (content.until > now).then_some(content.grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(user: &str) -> Grant {
        Grant {
            user: user.to_owned(),
            user_uid: None,
            groups: vec!["developers".to_owned()],
            namespace: "team".to_owned(),
            workspace: "a".to_owned(),
            workspace_uid: "u1".to_owned(),
            subresource: "attach".to_owned(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_ticket_can_be_redeemed_once() {
        let tickets = Tickets::default();
        let ticket = tickets.mint(grant("ann"), at(0)).unwrap();
        assert_eq!(tickets.redeem("another", at(1)), None);
        assert_eq!(tickets.redeem(&ticket, at(29)), Some(grant("ann")));
        assert_eq!(tickets.redeem(&ticket, at(29)), None);
    }

    #[test]
    fn a_ticket_is_over_after_its_time() {
        let tickets = Tickets::default();
        let ticket = tickets.mint(grant("ann"), at(0)).unwrap();
        assert_eq!(tickets.redeem(&ticket, at(30)), None);
    }

    #[test]
    fn one_user_can_not_take_all_the_room() {
        let tickets = Tickets::default();
        for _ in 0..MOST_OF_ONE {
            tickets.mint(grant("ann"), at(0)).unwrap();
        }
        assert_eq!(tickets.mint(grant("ann"), at(0)), Err(MintError::TooMany));
        assert!(tickets.mint(grant("bob"), at(0)).is_ok());
        assert!(tickets.mint(grant("ann"), at(30)).is_ok(), "what is over makes room");
    }

    #[test]
    fn a_session_is_known_again_until_it_is_over() {
        let sessions = Sessions::new(&[7; 32]).unwrap();
        let cookie = sessions.issue(grant("ann"), at(0)).unwrap();
        assert_eq!(sessions.verify(&cookie, at(1)), Some(grant("ann")));
        assert_eq!(
            Sessions::new(&[7; 32]).unwrap().verify(&cookie, at(1)),
            Some(grant("ann")),
            "another replica"
        );
        assert_eq!(sessions.verify(&cookie, at(12 * 3600)), None);
        assert_eq!(Sessions::new(&[8; 32]).unwrap().verify(&cookie, at(1)), None, "another key");
    }

    #[test]
    fn a_changed_session_is_none() {
        let sessions = Sessions::new(&[7; 32]).unwrap();
        let cookie = sessions.issue(grant("ann"), at(0)).unwrap();
        let (content, signature) = cookie.split_once('.').unwrap();
        let forged =
            String::from_utf8(URL_SAFE_NO_PAD.decode(content).unwrap()).unwrap().replace("ann", "bob");
        let forged = format!("{}.{signature}", URL_SAFE_NO_PAD.encode(forged));
        assert_eq!(sessions.verify(&forged, at(1)), None);
        for nonsense in ["", ".", "a.b", content, &cookie[..cookie.len() - 1]] {
            assert_eq!(sessions.verify(nonsense, at(1)), None, "{nonsense:?}");
        }
    }
}
