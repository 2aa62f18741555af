//! Passwords: compared with their bcrypt hashes, a few times a minute.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::Semaphore;

use crate::gateway::previews::refusal::Refusal;

/// Beyond so many, what is over is forgotten.
const REMEMBERED: usize = 4096;
/// A password that was right is not computed again for so long: programs send it every time.
const MEMORY: Duration = Duration::from_secs(300);
/// Bcrypt does nothing else with a processor; so many at once leave others time.
const AT_ONCE: usize = 2;
/// The hash comes from a user. Each step doubles the time: this one takes about a second.
const MAX_COST: u32 = 14;
/// Bcrypt reads 72 bytes; nobody types more than this.
const MAX_PASSWORD: usize = 1024;

/// Passwords of all previews.
pub struct Passwords {
    attempts: DefaultKeyedRateLimiter<(String, IpAddr)>,
    right: Mutex<HashMap<[u8; 32], Instant>>,
    at_once: Semaphore,
}

impl Passwords {
    /// With so many attempts a minute for one client and one preview.
    pub fn new(attempts_per_minute: NonZeroU32) -> Self {
        Self {
            attempts: RateLimiter::keyed(Quota::per_minute(attempts_per_minute)),
            right: Mutex::default(),
            at_once: Semaphore::new(AT_ONCE),
        }
    }

    /// Whether the password is the one of the hash. Counts as an attempt.
    pub async fn verify(
        &self,
        host: &str,
        client: IpAddr,
        password: &str,
        hash: &str,
    ) -> Result<bool, Refusal> {
        if self.attempts.len() > REMEMBERED {
            self.attempts.retain_recent();
        }
        if self.attempts.check_key(&(host.to_owned(), network(client))).is_err() {
            return Err(Refusal::TooManyAttempts);
        }
        if cost(hash).is_none_or(|cost| cost > MAX_COST) {
            return Err(Refusal::PasswordUnknown);
        }
        if password.len() > MAX_PASSWORD {
            return Ok(false);
        }
        let _turn = self.at_once.acquire().await.map_err(|_| Refusal::Busy)?;
        let (password, hash) = (password.to_owned(), hash.to_owned());
        let verified = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash)).await;
        match verified {
            Ok(Ok(right)) => Ok(right),
            Ok(Err(_)) | Err(_) => Err(Refusal::PasswordUnknown),
        }
    }

    /// Whether a password with this fingerprint was right a short time ago.
    pub fn is_remembered(&self, fingerprint: &Option<[u8; 32]>) -> bool {
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        let since = fingerprint.as_ref().and_then(|fingerprint| right.get(fingerprint));
        since.is_some_and(|since| since.elapsed() < MEMORY)
    }

    /// Remembers a password that was right.
    pub fn remember(&self, fingerprint: Option<[u8; 32]>) {
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right.len() >= REMEMBERED {
            right.retain(|_, since| since.elapsed() < MEMORY);
        }
        if let Some(fingerprint) = fingerprint.filter(|_| right.len() < REMEMBERED) {
            right.insert(fingerprint, Instant::now());
        }
    }
}

/// The cost that a bcrypt hash names: `$2b$12$...`.
fn cost(hash: &str) -> Option<u32> {
    hash.strip_prefix("$2")?.split('$').nth(1)?.parse().ok()
}

/// Whoever has one address of IPv6 has a whole /64.
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[rstest]
    #[case("$2b$12$abc", Some(12))]
    #[case("$2y$04$abc", Some(4))]
    #[case("$argon2id$v=19$", None)]
    #[case("plain", None)]
    fn a_hash_names_its_cost(#[case] hash: &str, #[case] expected: Option<u32>) {
        assert_eq!(cost(hash), expected);
    }

    #[tokio::test]
    async fn attempts_are_limited_for_each_client_and_preview() {
        let passwords = Passwords::new(NonZeroU32::new(2).unwrap());
        let hash = bcrypt::hash("right", 4).unwrap();
        let verify = |host: &'static str, client, password: &'static str| {
            passwords.verify(host, client, password, &hash)
        };
        assert!(matches!(verify("a", CLIENT, "wrong").await, Ok(false)));
        assert!(matches!(verify("a", CLIENT, "right").await, Ok(true)));
        assert!(matches!(verify("a", CLIENT, "right").await, Err(Refusal::TooManyAttempts)));
        assert!(matches!(verify("b", CLIENT, "right").await, Ok(true)));
        let other = "2001:db8::1".parse().unwrap();
        assert!(matches!(verify("a", other, "right").await, Ok(true)));
        let neighbour = "2001:db8::2".parse().unwrap();
        assert!(matches!(verify("a", neighbour, "right").await, Ok(true)));
        assert!(matches!(verify("a", other, "right").await, Err(Refusal::TooManyAttempts)));
    }

    #[tokio::test]
    async fn a_hash_that_would_take_hours_is_not_computed() {
        let passwords = Passwords::new(NonZeroU32::MIN);
        let hash = bcrypt::hash("x", 4).unwrap().replacen("$04$", "$31$", 1);
        let said = passwords.verify("a", CLIENT, "x", &hash).await;
        assert!(matches!(said, Err(Refusal::PasswordUnknown)));
    }
}
