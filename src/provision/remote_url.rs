//! Addresses of git repositories.

use std::fmt;

use super::{ProvisionError, ProvisionReason};

/// The address of a repository that can be cloned: by HTTPS, HTTP or SSH, and without a password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemoteUrl {
    text: String,
    transport: Transport,
}

/// How a repository is reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// `https:`
    Https,
    /// `http:`
    Http,
    /// `ssh:`, or `USER@HOST:PATH`.
    Ssh,
}

impl Transport {
    /// The word that git has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Ssh => "ssh",
        }
    }
}

impl RemoteUrl {
    /// Understands an address as a user writes it.
    pub fn parse(text: &str) -> Result<Self, ProvisionError> {
        let refuse = |why: &str| Err(ProvisionError::new(ProvisionReason::GitUrlInvalid, why));
        if text.chars().any(|each| each.is_whitespace() || each.is_control()) {
            return refuse("the repository's URL contains spaces or control characters");
        }
        let url = Self { text: text.to_owned(), transport: transport_of(text) };
        if !text.contains("://") && !is_scp_like(text) || text.contains("://") && scheme_of(text).is_none() {
            return refuse(
                "the repository's URL must be https://HOST/PATH, http://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH",
            );
        }
        if url.userinfo().is_some_and(|userinfo| userinfo.contains(':')) {
            return refuse("the repository's URL must not contain a password");
        }
        if url.host().is_empty() || url.host().starts_with('-') || url.path().trim_matches('/').is_empty() {
            return refuse("the repository's URL names no host or no path on it");
        }
        if url.userinfo().is_some_and(|userinfo| userinfo.starts_with('-')) {
            return refuse("the user name in the repository's URL must not begin with '-'");
        }
        Ok(url)
    }

    /// The address as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How the repository is reached.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The server, with its port where one is written.
    pub fn host(&self) -> &str {
        let authority = self.authority();
        authority.rsplit_once('@').map_or(authority, |(_, host)| host)
    }

    /// The user name in the address.
    pub fn username(&self) -> Option<&str> {
        self.userinfo().filter(|name| !name.is_empty())
    }

    fn userinfo(&self) -> Option<&str> {
        self.authority().rsplit_once('@').map(|(userinfo, _)| userinfo)
    }

    fn authority(&self) -> &str {
        match self.text.split_once("://") {
            Some((_, rest)) => rest.split(['/', '?', '#']).next().unwrap_or(rest),
            None => self.text.split_once(':').map_or("", |(authority, _)| authority),
        }
    }

    fn path(&self) -> &str {
        match self.text.split_once("://") {
            Some((_, rest)) => &rest[self.authority().len()..],
            None => self.text.split_once(':').map_or("", |(_, path)| path),
        }
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

fn scheme_of(text: &str) -> Option<Transport> {
    [Transport::Https, Transport::Http, Transport::Ssh]
        .into_iter()
        .find(|each| text.strip_prefix(each.as_str()).is_some_and(|rest| rest.starts_with("://")))
}

fn transport_of(text: &str) -> Transport {
    scheme_of(text).unwrap_or(Transport::Ssh)
}

/// `USER@HOST:PATH`; a second colon right after it would make `ext::` and its like of it.
fn is_scp_like(text: &str) -> bool {
    text.split_once(':').is_some_and(|(authority, path)| {
        authority.contains('@')
            && authority.chars().all(|each| each.is_ascii_alphanumeric() || "@._-".contains(each))
            && !path.starts_with([':', '-'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("https://github.com/a/b.git", Transport::Https, "github.com", None)]
    #[case("https://me@git.example:8443/a", Transport::Https, "git.example:8443", Some("me"))]
    #[case("http://localhost:3000/a", Transport::Http, "localhost:3000", None)]
    #[case("ssh://git@host:2222/a/b", Transport::Ssh, "host:2222", Some("git"))]
    #[case("git@github.com:a/b.git", Transport::Ssh, "github.com", Some("git"))]
    #[case("https://[::1]:80/a", Transport::Https, "[::1]:80", None)]
    fn good_ones(
        #[case] text: &str,
        #[case] transport: Transport,
        #[case] host: &str,
        #[case] user: Option<&str>,
    ) {
        let url = RemoteUrl::parse(text).unwrap();
        assert_eq!(
            (url.transport(), url.host(), url.username(), url.as_str()),
            (transport, host, user, text)
        );
    }

    #[rstest]
    #[case("")]
    #[case("/srv/repo.git")]
    #[case("file:///srv/repo.git")]
    #[case("ext::sh -c id")]
    #[case("ext::sh")]
    #[case("git://host/a")]
    #[case("--upload-pack=id@x:y")]
    #[case("https://me:pw@host/a")]
    #[case("https://-oProxyCommand=id/a")]
    #[case("ssh://-oProxyCommand=id/a")]
    #[case("ssh://-l@host/a")]
    #[case("git@-oProxyCommand:a")]
    #[case("https://host")]
    #[case("https://host/")]
    #[case("https:///a")]
    #[case("git@host:")]
    #[case("git@host::a")]
    #[case("https://host/a b")]
    #[case("HTTPS-not-a-url")]
    fn bad_ones(#[case] text: &str) {
        let error = RemoteUrl::parse(text).unwrap_err();
        assert_eq!(error.reason, ProvisionReason::GitUrlInvalid);
    }
}
