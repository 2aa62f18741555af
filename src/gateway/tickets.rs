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
use sha2::Sha256;

/// How long a ticket can be redeemed.
pub const TICKET_LIFE: Duration = Duration::from_secs(30);
/// How long a session lasts.
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// Longest ticket or cookie that is looked at, in bytes. A browser takes cookies of 4096.
const LONGEST: usize = 4_096;

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

/// The subresource of a ticket for a private preview: that of its host alone.
pub fn of_preview(host: &str) -> String {
    format!("preview/{host}")
}

/// What a ticket or a cookie says, under its signature.
#[derive(Deserialize, Serialize)]
struct Content {
    grant: Grant,
    until: Timestamp,
    /// Tells two tickets for the same apart. A session has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
}

impl Content {
    fn sign(&self, signer: &Hmac<Sha256>) -> serde_json::Result<String> {
        let content = serde_json::to_vec(self)?;
        let mut signer = signer.clone();
        signer.update(&content);
        let signature = signer.finalize().into_bytes();
        Ok(format!("{}.{}", URL_SAFE_NO_PAD.encode(content), URL_SAFE_NO_PAD.encode(signature)))
    }

    /// What stands under a signature of ours that is not over. It is compared in constant time.
    fn verify(signer: &Hmac<Sha256>, text: &str, now: Timestamp) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let (content, signature) = text.split_once('.')?;
        let content = URL_SAFE_NO_PAD.decode(content).ok()?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let mut signer = signer.clone();
        signer.update(&content);
        signer.verify_slice(&signature).ok()?;
        let content: Self = serde_json::from_slice(&content).ok()?;
        (content.until > now).then_some(content)
    }
}

/// A signer for one purpose: a signature for another one under the same key is none here.
fn signer(key: &[u8], purpose: &[u8]) -> Result<Hmac<Sha256>, InvalidLength> {
    let mut signer = <Hmac<Sha256> as Mac>::new_from_slice(key)?;
    signer.update(purpose);
    Ok(signer)
}

/// Makes tickets and takes them. Replicas with the same key take each other's; that a ticket is
/// used once is seen to by each of them for itself.
pub struct Tickets {
    signer: Hmac<Sha256>,
    used: Mutex<HashMap<String, Timestamp>>,
}

impl Tickets {
    /// Signs with a key, which should be 32 random bytes.
    pub fn new(key: &[u8]) -> Result<Self, InvalidLength> {
        Ok(Self { signer: signer(key, b"berth ticket v1\0")?, used: Mutex::default() })
    }

    /// Makes a ticket, as text for an address.
    pub fn mint(&self, grant: Grant, now: Timestamp) -> anyhow::Result<String> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
        let content = Content { grant, until: now + TICKET_LIFE, nonce: Some(hex::encode(nonce)) };
        Ok(content.sign(&self.signer)?)
    }

    /// What a ticket is for. It can not be redeemed again.
    pub fn redeem(&self, ticket: &str, now: Timestamp) -> Option<Grant> {
        let content = Content::verify(&self.signer, ticket, now)?;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, until| *until > now);
        used.insert(content.nonce?, content.until).is_none().then_some(content.grant)
    }
}

/// Signs sessions, and knows its own again. Replicas with the same key know each other's.
#[derive(Clone)]
pub struct Sessions {
    signer: Hmac<Sha256>,
}

impl Sessions {
    /// Signs with a key, which should be 32 random bytes.
    pub fn new(key: &[u8]) -> Result<Self, InvalidLength> {
        Ok(Self { signer: signer(key, b"berth session v1\0")? })
    }

    /// The value of a cookie for a session that begins now.
    pub fn issue(&self, grant: Grant, now: Timestamp) -> serde_json::Result<String> {
        Content { grant, until: now + SESSION_LIFE, nonce: None }.sign(&self.signer)
    }

    /// What the session in a cookie is for, where it is one of ours and not over.
    pub fn verify(&self, cookie: &str, now: Timestamp) -> Option<Grant> {
        Content::verify(&self.signer, cookie, now).map(|content| content.grant)
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
        let tickets = Tickets::new(&[7; 32]).unwrap();
        let ticket = tickets.mint(grant("ann"), at(0)).unwrap();
        assert_eq!(tickets.redeem("another", at(1)), None);
        assert_eq!(tickets.redeem(&ticket, at(29)), Some(grant("ann")));
        assert_eq!(tickets.redeem(&ticket, at(29)), None);
    }

    #[test]
    fn a_ticket_is_over_after_its_time() {
        let tickets = Tickets::new(&[7; 32]).unwrap();
        let ticket = tickets.mint(grant("ann"), at(0)).unwrap();
        assert_eq!(tickets.redeem(&ticket, at(30)), None);
    }

    #[test]
    fn a_ticket_is_no_session_and_a_session_no_ticket() {
        let (tickets, sessions) = (Tickets::new(&[7; 32]).unwrap(), Sessions::new(&[7; 32]).unwrap());
        assert_eq!(sessions.verify(&tickets.mint(grant("ann"), at(0)).unwrap(), at(1)), None);
        assert_eq!(tickets.redeem(&sessions.issue(grant("ann"), at(0)).unwrap(), at(1)), None);
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
