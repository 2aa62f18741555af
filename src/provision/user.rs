//! The user that works in a workspace.

use super::{ProvisionError, ProvisionReason};

/// Makes the user where the image has none, and its home, its cache and the workspace folder its
/// own: the folders themselves, never what is in them. A shell script for root; the name is `$1`.
/// It prints `berth:uid=` and the user's number.
pub const SCRIPT: &str = include_str!("scripts/user.sh");

/// Refuses a name that is none on every distribution.
pub fn check_name(name: &str) -> Result<(), ProvisionError> {
    let good = name.len() <= 32
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name
            .chars()
            .all(|each| each.is_ascii_lowercase() || each.is_ascii_digit() || each == '_' || each == '-');
    if good {
        return Ok(());
    }
    Err(ProvisionError::new(
        ProvisionReason::UserInvalid,
        format!(
            "'{name}' is no user name: at most 32 lowercase letters, digits, '_' and '-', a letter or '_' first"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("dev", true)]
    #[case("_build-2", true)]
    #[case("", false)]
    #[case("-x", false)]
    #[case("a b", false)]
    #[case("Dev", false)]
    #[case("a:b", false)]
    fn names(#[case] name: &str, #[case] good: bool) {
        assert_eq!(check_name(name).is_ok(), good);
    }
}
