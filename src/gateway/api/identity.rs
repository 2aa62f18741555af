//! Who asks.

use std::collections::BTreeMap;

/// Somebody whom the cluster knows, as authorization needs it.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Identity {
    /// Name.
    pub user: String,
    /// Unique id; absent where the authenticator gives none.
    pub uid: Option<String>,
    /// Groups.
    pub groups: Vec<String>,
    /// What else the authenticator knows, such as scopes.
    pub extra: BTreeMap<String, Vec<String>>,
}
