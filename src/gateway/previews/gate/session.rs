//! Signed cookies. The gateway keeps none: any replica can read them.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

use super::ticket::TicketHolder;
use crate::backend::BodyId;

/// What a cookie is good for.
pub struct Subject<'a> {
    /// The host name of the preview.
    pub host: &'a str,
    /// The workspace behind it.
    pub workspace: BodyId,
    /// The hash of the password; absent where a ticket is asked for. Who knew an earlier password
    /// is out.
    pub hash: Option<&'a str>,
}

/// What a visitor was let in with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Pass {
    /// The address, or the password: whoever it is.
    Anybody,
    /// A ticket that was given to somebody.
    Holder(TicketHolder),
}

/// What is signed beside the subject.
fn signed(expires: i64, holder: &[u8]) -> Vec<u8> {
    [&expires.to_be_bytes()[..], holder].concat()
}

/// Makes and checks cookies.
pub struct Sessions {
    key: SecretSlice<u8>,
}

impl Sessions {
    /// With a key of at least 32 bytes.
    pub fn new(key: SecretSlice<u8>) -> Self {
        Self { key }
    }

    /// The value of a cookie. It says who it was given to, where that is known.
    pub fn open(&self, subject: &Subject<'_>, holder: Option<&TicketHolder>, lifetime: Duration) -> String {
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let expires = Timestamp::now().as_second().saturating_add(lifetime);
        let holder = holder.and_then(|holder| serde_json::to_vec(holder).ok()).unwrap_or_default();
        let signature = self.sign("session", subject, &signed(expires, &holder));
        let signature = signature.map(|mac| URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
        format!("{expires}.{}.{}", URL_SAFE_NO_PAD.encode(holder), signature.unwrap_or_default())
    }

    /// Whom the value of a cookie was given to; absent where it is not good for this.
    pub fn pass(&self, token: &str, subject: &Subject<'_>) -> Option<Pass> {
        let mut parts = token.splitn(3, '.');
        let expires: i64 = parts.next()?.parse().ok()?;
        let holder = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
        let signature = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
        self.sign("session", subject, &signed(expires, &holder))?.verify_slice(&signature).ok()?;
        if expires <= Timestamp::now().as_second() {
            return None;
        }
        match subject.hash {
            Some(_) => Some(Pass::Anybody),
            None => Some(Pass::Holder(serde_json::from_slice(&holder).ok()?)),
        }
    }

    /// What a password that was right is remembered by.
    pub fn fingerprint(&self, subject: &Subject<'_>, password: &str) -> Option<[u8; 32]> {
        self.sign("password", subject, password.as_bytes()).map(|mac| mac.finalize().into_bytes().into())
    }

    fn sign(&self, label: &str, subject: &Subject<'_>, more: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose_secret()).ok()?;
        let workspace = subject.workspace.to_string();
        let kind = if subject.hash.is_some() { "password" } else { "ticket" };
        let hash = subject.hash.unwrap_or_default();
        for part in ["berth preview", label, subject.host, &workspace, kind, hash] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(more);
        Some(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn sessions(key: u8) -> Sessions {
        Sessions::new(vec![key; 32].into())
    }

    fn holder(user: &str) -> TicketHolder {
        TicketHolder { user: user.to_owned(), groups: vec!["team".to_owned()], ..TicketHolder::default() }
    }

    fn subject<'a>(host: &'a str, workspace: u8, hash: Option<&'a str>) -> Subject<'a> {
        Subject { host, workspace: BodyId::from_bytes([workspace; 8]), hash }
    }

    #[test]
    fn a_cookie_is_good_for_what_it_was_given_for_only() {
        let given = subject("a.localhost", 1, Some("hash"));
        let token = sessions(1).open(&given, None, HOUR);
        assert_eq!(sessions(1).pass(&token, &given), Some(Pass::Anybody));
        assert_eq!(sessions(2).pass(&token, &given), None);
        for other in [
            subject("b.localhost", 1, Some("hash")),
            subject("a.localhost", 2, Some("hash")),
            subject("a.localhost", 1, Some("new hash")),
            subject("a.localhost", 1, None),
        ] {
            assert_eq!(sessions(1).pass(&token, &other), None);
        }
    }

    #[test]
    fn a_cookie_ends() {
        let given = subject("a.localhost", 1, None);
        let ann = Some(&holder("ann"));
        assert_eq!(sessions(1).pass(&sessions(1).open(&given, ann, Duration::ZERO), &given), None);
        let token = sessions(1).open(&given, ann, HOUR);
        let (expires, signature) = token.split_once('.').unwrap();
        let longer = format!("{}.{signature}", expires.parse::<i64>().unwrap() + 1);
        assert_eq!(sessions(1).pass(&longer, &given), None);
    }

    #[test]
    fn a_cookie_says_who_had_the_ticket_and_nobody_can_change_that() {
        let given = subject("a.localhost", 1, None);
        let token = sessions(1).open(&given, Some(&holder("ann")), HOUR);
        assert_eq!(sessions(1).pass(&token, &given), Some(Pass::Holder(holder("ann"))));
        let others = sessions(2).open(&given, Some(&holder("bob")), HOUR);
        let mut parts: Vec<&str> = token.split('.').collect();
        parts[1] = others.split('.').nth(1).unwrap();
        assert_eq!(sessions(1).pass(&parts.join("."), &given), None);
        assert_eq!(sessions(1).pass(&sessions(1).open(&given, None, HOUR), &given), None, "nobody's");
    }

    #[test]
    fn nonsense_is_no_cookie() {
        for token in ["", ".", "1", "9999999999.", "9999999999.AAAA", "x.y", "9999999999.e30.AAAA", "..."] {
            assert_eq!(sessions(1).pass(token, &subject("a.localhost", 1, None)), None, "{token}");
        }
    }
}
