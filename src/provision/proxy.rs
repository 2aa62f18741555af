//! The way out of a workspace: proxy variables, in both spellings that programs look for.

use serde::Serialize;

use super::Environment;

/// Proxies for what runs in a workspace.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Proxy {
    /// For `http:` URLs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// For `https:` URLs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https: Option<String>,
    /// Hosts that are reached without one, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_proxy: Option<String>,
}

impl Proxy {
    /// Sets the variables that the user did not set in either spelling.
    pub(super) fn announce(&self, environment: &mut Environment) {
        let variables =
            [("http_proxy", &self.http), ("https_proxy", &self.https), ("no_proxy", &self.no_proxy)];
        for (lower, value) in variables {
            let Some(value) = value else { continue };
            let upper = lower.to_ascii_uppercase();
            if environment.has(lower) || environment.has(&upper) {
                continue;
            }
            for name in [lower.to_owned(), upper] {
                if has_password(value) {
                    environment.secret.insert(name, value.clone().into());
                } else {
                    environment.public.insert(name, value.clone());
                }
            }
        }
    }
}

fn has_password(url: &str) -> bool {
    url.split_once("://").map_or(url, |(_, rest)| rest).contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_set_unless_the_user_set_one() {
        let mut environment = Environment::default();
        environment.public.insert("HTTP_PROXY".into(), "http://mine".into());
        let proxy = Proxy {
            http: Some("http://p:3128".into()),
            https: Some("http://p:3128".into()),
            no_proxy: Some("localhost".into()),
        };
        proxy.announce(&mut environment);
        let names: Vec<_> = environment.public.keys().map(String::as_str).collect();
        assert_eq!(names, ["HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "no_proxy"]);
        assert_eq!(environment.public["HTTP_PROXY"], "http://mine");
    }

    #[test]
    fn a_proxy_with_a_password_is_a_secret() {
        let mut environment = Environment::default();
        Proxy { http: Some("http://me:pw@p:1".into()), ..Proxy::default() }.announce(&mut environment);
        assert!(environment.public.is_empty());
        assert_eq!(environment.secret.len(), 2);
    }
}
