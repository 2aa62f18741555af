//! Who owns what on a host: ids, owners, and the names that carry them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Label on every Docker object: the operator instance that made it.
pub const LABEL_INSTANCE: &str = "berth.dev/instance";
/// Label on every Docker object: the body it is part of.
pub const LABEL_ID: &str = "berth.dev/id";
/// Label on every container: which container of the body it is.
pub const LABEL_INCARNATION: &str = "berth.dev/incarnation";

/// Label on every volume: namespace of the owner it was made for. A volume outlives containers,
/// and with them the names that tell the owner.
pub const LABEL_OWNER_NAMESPACE: &str = "berth.dev/namespace";
/// Label on every volume: name of the owner it was made for.
pub const LABEL_OWNER_NAME: &str = "berth.dev/name";
/// Label on every volume: uid of the owner it was made for.
pub const LABEL_OWNER_UID: &str = "berth.dev/uid";

/// Tells operators apart that share a host.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct InstanceId(pub String);

impl fmt::Display for InstanceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Names the body of a workspace: 8 random bytes, written as 16 hexadecimal digits.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct BodyId([u8; 8]);

impl TryFrom<String> for BodyId {
    type Error = ParseIdentityError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<BodyId> for String {
    fn from(id: BodyId) -> Self {
        id.to_string()
    }
}

impl BodyId {
    /// An id made of these bytes.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// A new id from the operating system's random numbers.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for BodyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BodyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Text that is not an id, a name or an owner.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not {1}")]
pub struct ParseIdentityError(pub String, pub &'static str);

impl FromStr for BodyId {
    type Err = ParseIdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseIdentityError(text.to_owned(), "an id of 16 lowercase hexadecimal digits");
        if text.chars().any(|digit| digit.is_ascii_uppercase()) {
            return Err(error());
        }
        let mut bytes = [0; 8];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| error())?;
        Ok(Self(bytes))
    }
}

/// Which container of a body one is, from 1.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Incarnation(pub u32);

impl Incarnation {
    /// Stands for a body that has no container; the one after it is the first.
    pub const NONE: Self = Self(0);
    /// The first container of a body.
    pub const FIRST: Self = Self(1);

    /// The one after this.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The object a body belongs to. Written on the host, and compared before every action.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Owner {
    /// Namespace of the object.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// The name of a container: `berth-<namespace>.<name>-<id>-<incarnation>`, where namespace and
/// name are cut so that the whole stays within [`ContainerName::LIMIT`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ContainerName {
    /// `<namespace>.<name>`, cut to length.
    pub owner: String,
    /// The body.
    pub id: BodyId,
    /// Which container of it.
    pub incarnation: Incarnation,
}

impl ContainerName {
    /// Greatest length of a container's name. Docker itself sets none; more is unreadable in
    /// `docker ps`, and file systems end at 255.
    pub const LIMIT: usize = 128;
    const PREFIX: &str = "berth-";
    /// `-<16 digits>-<incarnation of up to 10 digits>`.
    const TAIL: usize = 1 + 16 + 1 + 10;

    /// The name of one container of an owner's.
    pub fn new(owner: &Owner, id: BodyId, incarnation: Incarnation) -> Self {
        Self { owner: Self::owner_part(owner), id, incarnation }
    }

    /// What stands for the owner in the name. Namespaces and names are DNS labels, so the dot
    /// between them is the only one.
    pub fn owner_part(owner: &Owner) -> String {
        let whole = format!("{}.{}", owner.namespace, owner.name);
        whole.chars().take(Self::LIMIT - Self::PREFIX.len() - Self::TAIL).collect()
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}-{}-{}", Self::PREFIX, self.owner, self.id, self.incarnation)
    }
}

impl FromStr for ContainerName {
    type Err = ParseIdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseIdentityError(text.to_owned(), "the name of a container of Berth's");
        let rest = text.trim_start_matches('/').strip_prefix(Self::PREFIX).ok_or_else(error)?;
        let mut parts = rest.rsplitn(3, '-');
        let incarnation = parts.next().and_then(|part| part.parse().ok()).ok_or_else(error)?;
        let id = parts.next().and_then(|part| part.parse().ok()).ok_or_else(error)?;
        let owner = parts.next().filter(|part| part.contains('.')).ok_or_else(error)?;
        Ok(Self { owner: owner.to_owned(), id, incarnation: Incarnation(incarnation) })
    }
}

/// Name of the network of a body.
pub fn network_name(id: BodyId) -> String {
    format!("berth-{id}")
}

/// Names of the volumes of a body: the workspace, then the cache.
pub fn volume_names(id: BodyId) -> [String; 2] {
    [format!("berth-{id}-workspace"), format!("berth-{id}-cache")]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_container_name_survives_writing_and_reading(
            namespace in "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?",
            name in "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?",
            bytes in any::<[u8; 8]>(),
            incarnation in 1u32..,
        ) {
            let owner = Owner { namespace, name, uid: String::new() };
            let written = ContainerName::new(&owner, BodyId(bytes), Incarnation(incarnation));
            prop_assert!(written.to_string().len() <= ContainerName::LIMIT);
            prop_assert_eq!(written.to_string().parse::<ContainerName>().unwrap(), written);
        }

        #[test]
        fn reading_any_text_never_panics(text in ".*") {
            let _ = text.parse::<ContainerName>();
            let _ = text.parse::<BodyId>();
        }
    }

    #[test]
    fn foreign_names_are_not_taken_for_ours() {
        for name in [
            "berth-x",
            "web",
            "berth-a.b-0011223344556677",
            "berth-ab-0011223344556677-1",
            "berth-a.b-00112233445566GG-1",
        ] {
            assert!(name.parse::<ContainerName>().is_err(), "{name}");
        }
    }
}
