//! The agents' tokens: `berth1.<kid>.<id>.<epoch>.<mac>`.
//!
//! A token says which workspace its bearer is, and can be checked without looking anything up.
//! The code at its end is an HMAC-SHA256 over the instance, the id and the epoch, each with its
//! length before it. It gives no right but to be that workspace's agent.

use std::collections::BTreeMap;

use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::Sha256;

use crate::backend::{BodyId, InstanceId};

const VERSION: &str = "berth1";
/// Keeps these codes apart from all others that are ever made with the same key.
const DOMAIN: &[u8] = b"berth agent token 1";

/// Counts the generations of a workspace's tokens: with each one all earlier ones end.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Epoch(pub u32);

/// The keys that tokens are made and checked with.
#[derive(Clone, Debug)]
pub struct TokenKeys {
    instance: InstanceId,
    current: String,
    keys: BTreeMap<String, SecretSlice<u8>>,
}

/// Whose a token is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bearer {
    /// The workspace's body.
    pub id: BodyId,
    /// The generation.
    pub epoch: Epoch,
}

/// A token that is not one of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("this is no token of an agent of this installation")]
pub struct InvalidToken;

impl TokenKeys {
    /// `current` names the key that new tokens are made with; it must be one of `keys`.
    pub fn new(instance: InstanceId, current: &str, keys: BTreeMap<String, SecretSlice<u8>>) -> Option<Self> {
        let known = keys.contains_key(current);
        known.then(|| Self { instance, current: current.to_owned(), keys })
    }

    /// Name of the key that new tokens are made with.
    pub fn current(&self) -> &str {
        &self.current
    }

    /// The token of a workspace.
    pub fn mint(&self, bearer: Bearer) -> Option<SecretString> {
        let code = self.code(self.keys.get(&self.current)?, bearer)?.finalize().into_bytes();
        let Bearer { id, epoch } = bearer;
        Some(format!("{VERSION}.{}.{id}.{}.{}", self.current, epoch.0, hex::encode(code)).into())
    }

    /// Whose this token is. Takes as long for a wrong code as for a right one.
    pub fn verify(&self, token: &str) -> Result<Bearer, InvalidToken> {
        let mut parts = token.split('.');
        let mut part = || parts.next().ok_or(InvalidToken);
        let (version, kid, id, epoch, code) = (part()?, part()?, part()?, part()?, part()?);
        if version != VERSION || parts.next().is_some() {
            return Err(InvalidToken);
        }
        let bearer = Bearer {
            id: id.parse().map_err(|_| InvalidToken)?,
            epoch: Epoch(epoch.parse().map_err(|_| InvalidToken)?),
        };
        let code = hex::decode(code).map_err(|_| InvalidToken)?;
        let key = self.keys.get(kid).ok_or(InvalidToken)?;
        let expected = self.code(key, bearer).ok_or(InvalidToken)?;
        expected.verify_slice(&code).map_err(|_| InvalidToken)?;
        Ok(bearer)
    }

    fn code(&self, key: &SecretSlice<u8>, bearer: Bearer) -> Option<Hmac<Sha256>> {
        let mut code = Hmac::<Sha256>::new_from_slice(key.expose_secret()).ok()?;
        let (id, epoch) = (bearer.id.to_string(), bearer.epoch.0.to_string());
        for part in [DOMAIN, self.instance.0.as_bytes(), id.as_bytes(), epoch.as_bytes()] {
            code.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            code.update(part);
        }
        Some(code)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(instance: &str, current: &str, keys: &[(&str, u8)]) -> TokenKeys {
        let keys = keys.iter().map(|(kid, byte)| ((*kid).to_owned(), vec![*byte; 32].into())).collect();
        TokenKeys::new(InstanceId(instance.to_owned()), current, keys).unwrap()
    }

    fn bearer(epoch: u32) -> Bearer {
        Bearer { id: "0011223344556677".parse().unwrap(), epoch: Epoch(epoch) }
    }

    #[test]
    fn a_token_names_its_bearer() {
        let keys = keys("i", "a", &[("a", 1)]);
        let token = keys.mint(bearer(7)).unwrap();
        assert!(token.expose_secret().starts_with("berth1.a.0011223344556677.7."));
        assert_eq!(keys.verify(token.expose_secret()), Ok(bearer(7)));
    }

    #[test]
    fn tokens_of_an_earlier_key_are_good_while_it_is_kept() {
        let old = keys("i", "a", &[("a", 1)]).mint(bearer(1)).unwrap();
        assert!(keys("i", "b", &[("a", 1), ("b", 2)]).verify(old.expose_secret()).is_ok());
        assert!(keys("i", "b", &[("b", 2)]).verify(old.expose_secret()).is_err());
    }

    #[test]
    fn tokens_of_others_are_refused() {
        let ours = keys("i", "a", &[("a", 1)]);
        for other in [keys("j", "a", &[("a", 1)]), keys("i", "a", &[("a", 2)])] {
            assert_eq!(ours.verify(other.mint(bearer(1)).unwrap().expose_secret()), Err(InvalidToken));
        }
    }

    proptest! {
        #[test]
        fn a_changed_token_is_refused(position in 0_usize..200, character in "[0-9a-z.]") {
            let keys = keys("i", "a", &[("a", 1)]);
            let token = keys.mint(bearer(12)).unwrap().expose_secret().to_owned();
            let position = position % token.len();
            let changed = format!("{}{character}{}", &token[..position], &token[position + 1..]);
            prop_assume!(changed != token);
            prop_assert_eq!(keys.verify(&changed), Err(InvalidToken));
        }

        #[test]
        fn nonsense_is_refused(text in ".{0,200}") {
            prop_assert_eq!(keys("i", "a", &[("a", 1)]).verify(&text), Err(InvalidToken));
        }
    }
}
