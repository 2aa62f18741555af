//! Signed cookies. The gateway keeps none: any replica can read them.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

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

/// Makes and checks cookies.
pub struct Sessions {
    key: SecretSlice<u8>,
}

impl Sessions {
    /// With a key of at least 32 bytes.
    pub fn new(key: SecretSlice<u8>) -> Self {
        Self { key }
    }

    /// The value of a cookie.
    pub fn open(&self, subject: &Subject<'_>, lifetime: Duration) -> String {
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let expires = Timestamp::now().as_second().saturating_add(lifetime);
        let signature = self.sign("session", subject, &expires.to_be_bytes());
        let signature = signature.map(|mac| URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
        format!("{expires}.{}", signature.unwrap_or_default())
    }

    /// Whether the value of a cookie is good for this.
    pub fn holds(&self, token: &str, subject: &Subject<'_>) -> bool {
        let Some((expires, signature)) = token.split_once('.') else {
            return false;
        };
        let (Ok(expires), Ok(signature)) = (expires.parse::<i64>(), URL_SAFE_NO_PAD.decode(signature)) else {
            return false;
        };
        expires > Timestamp::now().as_second()
            && self
                .sign("session", subject, &expires.to_be_bytes())
                .is_some_and(|mac| mac.verify_slice(&signature).is_ok())
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

    fn subject<'a>(host: &'a str, workspace: u8, hash: Option<&'a str>) -> Subject<'a> {
        Subject { host, workspace: BodyId::from_bytes([workspace; 8]), hash }
    }

    #[test]
    fn a_cookie_is_good_for_what_it_was_given_for_only() {
        let given = subject("a.localhost", 1, Some("hash"));
        let token = sessions(1).open(&given, HOUR);
        assert!(sessions(1).holds(&token, &given));
        assert!(!sessions(2).holds(&token, &given));
        for other in [
            subject("b.localhost", 1, Some("hash")),
            subject("a.localhost", 2, Some("hash")),
            subject("a.localhost", 1, Some("new hash")),
            subject("a.localhost", 1, None),
        ] {
            assert!(!sessions(1).holds(&token, &other));
        }
    }

    #[test]
    fn a_cookie_ends() {
        let given = subject("a.localhost", 1, None);
        assert!(!sessions(1).holds(&sessions(1).open(&given, Duration::ZERO), &given));
        let token = sessions(1).open(&given, HOUR);
        let (expires, signature) = token.split_once('.').unwrap();
        let longer = format!("{}.{signature}", expires.parse::<i64>().unwrap() + 1);
        assert!(!sessions(1).holds(&longer, &given));
    }

    #[test]
    fn nonsense_is_no_cookie() {
        for token in ["", ".", "1", "9999999999.", "9999999999.AAAA", "x.y"] {
            assert!(!sessions(1).holds(token, &subject("a.localhost", 1, None)), "{token}");
        }
    }
}
