//! Tickets and the tokens against forged requests that belong to them.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use hmac::{Hmac, Mac as _};
use rand::Rng as _;
use sha2::Sha256;

/// A ticket is good for two hours.
const LIFETIME_SECONDS: u64 = 2 * 60 * 60;

/// Signs and checks them.
#[derive(Debug)]
pub struct Tickets {
    key: [u8; 32],
}

impl Tickets {
    /// With a fresh key.
    pub fn new() -> Self {
        Self { key: rand::rng().random() }
    }

    fn sign(&self, text: &str) -> String {
        let tag = Hmac::<Sha256>::new_from_slice(&self.key).map(|mut mac| {
            mac.update(text.as_bytes());
            STANDARD_NO_PAD.encode(mac.finalize().into_bytes())
        });
        tag.unwrap_or_default()
    }

    /// A ticket for a user. `now` is seconds since 1970.
    pub fn issue(&self, user: &str, now: u64) -> String {
        let plain = format!("PVE:{user}:{now:08X}");
        let signature = self.sign(&plain);
        format!("{plain}::{signature}")
    }

    /// The token that goes with a user's ticket.
    pub fn csrf(&self, user: &str, now: u64) -> String {
        let signature = self.sign(&format!("{now:08X}:{user}"));
        format!("{now:08X}:{signature}")
    }

    /// The user of a ticket that is genuine and not too old.
    pub fn user(&self, ticket: &str, now: u64) -> Option<String> {
        let (plain, signature) = ticket.split_once("::")?;
        let (user, time) = plain.strip_prefix("PVE:")?.rsplit_once(':')?;
        (self.sign(plain) == signature && fresh(time, now)).then(|| user.to_owned())
    }

    /// Whether a token belongs to the user.
    pub fn csrf_matches(&self, token: &str, user: &str, now: u64) -> bool {
        token.split_once(':').is_some_and(|(time, signature)| {
            fresh(time, now) && self.sign(&format!("{time}:{user}")) == signature
        })
    }
}

impl Default for Tickets {
    fn default() -> Self {
        Self::new()
    }
}

fn fresh(time: &str, now: u64) -> bool {
    u64::from_str_radix(time, 16).is_ok_and(|time| now.saturating_sub(time) < LIFETIME_SECONDS)
}
