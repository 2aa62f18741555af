//! Whether the cluster can be reached, and knows the token.

use std::time::Duration;

use url::Url;

use super::finding::{Finding, quoted, shown};
use crate::{
    backend::proxmox::client::{Client, Connection, Error, Failure, Limits, Version},
    config::ProxmoxBackend,
};

/// How long an endpoint may take to answer. A refusal of the token takes 3 s.
const PATIENCE: Duration = Duration::from_secs(15);

/// Which certificates are trusted.
pub(super) fn trust(config: &ProxmoxBackend) -> Finding {
    let tls = &config.tls;
    match (&tls.ca_file, tls.fingerprints.len()) {
        (Some(file), _) => Finding::fine("TLS", format!("the authorities in {} are trusted", file.display())),
        (None, 0) if tls.insecure_skip_verify => Finding::doubtful(
            "TLS",
            "any certificate is trusted (insecureSkipVerify): whoever stands between can take the token",
        )
        .mended_by(FINGERPRINT),
        (None, 0) => Finding::fine("TLS", "the authorities of this machine are trusted"),
        (None, pinned) => Finding::fine("TLS", format!("{pinned} certificate(s) are trusted by fingerprint")),
    }
}

/// Shows what is to stand in `tls.fingerprints`. A certificate of one's own is in `pveproxy-ssl.pem`.
const FINGERPRINT: &str = "openssl x509 -noout -fingerprint -sha256 -in /etc/pve/local/pve-ssl.pem    # for tls.fingerprints; or take /etc/pve/pve-root-ca.pem as tls.caFile";

/// Asks each endpoint. Also says whether one of them knows the token.
pub(super) async fn endpoints(config: &ProxmoxBackend, connection: &Connection) -> (bool, Vec<Finding>) {
    let mut findings = Vec::new();
    let (mut reached, mut refused) = (false, None);
    for endpoint in &connection.endpoints {
        let limits = Limits { read: PATIENCE, ..connection.limits };
        let alone = Connection { endpoints: vec![endpoint.clone()], limits, ..connection.clone() };
        let subject = name(endpoint);
        findings.push(match Client::new(&alone) {
            Err(error) => Finding::missing(subject, format!("usable: {error}")),
            Ok(client) => match client.version().await {
                Ok(version) => {
                    reached = true;
                    of_release(subject, &version)
                }
                Err(Error { failure: Failure::Unauthorized(words), .. }) => {
                    refused = Some(words);
                    Finding::fine(subject, "reachable")
                }
                Err(error) => unreachable(subject, &error),
            },
        });
    }
    match refused {
        Some(words) => findings.push(not_accepted(config, &words)),
        None if reached => findings.push(Finding::fine(format!("token {}", config.token.id), "accepted")),
        None => {}
    }
    (reached, findings)
}

/// An endpoint without what somebody wrote before an `@`.
fn name(endpoint: &Url) -> String {
    let port = endpoint.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", endpoint.host_str().unwrap_or_default())
}

fn of_release(subject: String, version: &Version) -> Finding {
    let release = shown(&version.version);
    let major: Option<u32> = release.split('.').next().and_then(|major| major.parse().ok());
    match major {
        Some(8 | 9) => Finding::fine(subject, format!("reachable, Proxmox VE {release}")),
        _ => Finding::missing(
            subject,
            format!("a release that is known to work: Proxmox VE {release}; 8.x and 9.x are"),
        ),
    }
}

fn unreachable(subject: String, error: &Error) -> Finding {
    let finding = Finding::missing(subject, format!("reachable: {}", error.failure));
    if error.to_string().to_lowercase().contains("certificate") {
        return finding.mended_by(FINGERPRINT);
    }
    finding
}

fn not_accepted(config: &ProxmoxBackend, words: &str) -> Finding {
    let id = &config.token.id;
    let (user, token) = id.split_once('!').unwrap_or((id, ""));
    let file = config.token.secret_file.display();
    Finding::missing(format!("token {id}"), format!("accepted: {words}"))
        .mended_by(format!("pveum user token list {}", quoted(user)))
        .mended_by(format!(
            "pveum user token add {} {} --privsep 1    # shows the secret for {file}",
            quoted(user),
            quoted(token)
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("9.2.11", "pve1:8006: reachable, Proxmox VE 9.2.11")]
    #[case("8.0.4", "pve1:8006: reachable, Proxmox VE 8.0.4")]
    #[case("7.4-3", "pve1:8006: NOT a release that is known to work: Proxmox VE 7.4-3; 8.x and 9.x are")]
    #[case("\u{1b}[31m", "pve1:8006: NOT a release that is known to work: Proxmox VE [31m; 8.x and 9.x are")]
    fn releases(#[case] version: &str, #[case] expected: &str) {
        let version = Version { version: version.to_owned(), release: String::new() };
        assert_eq!(of_release("pve1:8006".to_owned(), &version).to_string(), expected);
    }
}
