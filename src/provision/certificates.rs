//! Certificate authorities that a workspace trusts beside those of its image.
//!
//! [`EXTRA`] holds them alone, [`COMBINED`] after the image's own. Not every program can add to
//! what it trusts, so most are pointed at the second. It is made anew at every start of the
//! container, from the image's bundle as it is then.

use super::Environment;

/// The file with the extra authorities alone.
pub const EXTRA: &str = "/etc/berth/extra-ca.crt";

/// The file with the image's authorities and the extra ones.
pub const COMBINED: &str = "/etc/berth/ca-certificates.crt";

/// Points programs at the files, where the user did not point them elsewhere.
pub(super) fn announce(environment: &mut Environment) {
    let combined = ["SSL_CERT_FILE", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"]
        .map(|variable| (variable, COMBINED.to_owned()));
    environment.add_defaults(combined);
    environment.add_defaults([("NODE_EXTRA_CA_CERTS", EXTRA.to_owned())]);
}

/// The bundle as it goes into the file: lines of Unix, the last one ended.
pub(super) fn normalized(bundle: &str) -> String {
    let mut text = bundle.replace("\r\n", "\n");
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_own_choice_wins() {
        let mut environment = Environment::default();
        environment.public.insert("SSL_CERT_FILE".into(), "/mine.pem".into());
        announce(&mut environment);
        assert_eq!(environment.public["SSL_CERT_FILE"], "/mine.pem");
        assert_eq!(environment.public["GIT_SSL_CAINFO"], COMBINED);
        assert_eq!(environment.public["NODE_EXTRA_CA_CERTS"], EXTRA);
    }

    #[test]
    fn a_bundle_ends_with_a_newline() {
        assert_eq!(normalized("a\r\nb"), "a\nb\n");
        assert_eq!(normalized("a\n"), "a\n");
        assert_eq!(normalized(""), "");
    }
}
