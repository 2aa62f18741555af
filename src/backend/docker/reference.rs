//! References to images, and which log-ins fit them.

use crate::backend::RegistryCredential;

const DOCKER_HUB: &str = "docker.io";

/// An image as `docker pull` takes it, taken apart.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Reference<'a> {
    /// Host name of the registry, with its port.
    pub(super) registry: &'a str,
    /// Path of the image in the registry, without tag and digest.
    pub(super) path: &'a str,
    /// Whether it says which of the images of that path.
    pub(super) is_exact: bool,
}

impl<'a> Reference<'a> {
    /// Takes a reference apart. Whether it is a good one, the daemon will say.
    pub(super) fn parse(image: &'a str) -> Self {
        let (name, has_digest) = match image.split_once('@') {
            Some((name, _)) => (name, true),
            None => (image, false),
        };
        let (registry, rest) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
            _ => (DOCKER_HUB, name),
        };
        let (path, has_tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, true),
            _ => (rest, false),
        };
        Self { registry: canonical(registry), path, is_exact: has_tag || has_digest }
    }
}

/// The image with a tag: without one, Docker would pull all there are.
pub(super) fn with_tag(image: &str) -> String {
    if Reference::parse(image).is_exact { image.to_owned() } else { format!("{image}:latest") }
}

/// The log-ins that fit an image, the most specific first.
pub(super) fn fitting<'a>(image: &str, credentials: &'a [RegistryCredential]) -> Vec<&'a RegistryCredential> {
    let reference = Reference::parse(image);
    let mut fitting: Vec<_> = credentials
        .iter()
        .filter_map(|credential| {
            let (registry, path) = key(&credential.registry);
            let inside = path.is_empty()
                || reference
                    .path
                    .strip_prefix(path)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            (registry == reference.registry && inside).then_some((path.len(), credential))
        })
        .collect();
    fitting.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    fitting.into_iter().map(|(_, credential)| credential).collect()
}

/// Registry and path of a key of `auths`, such as `https://index.docker.io/v1/`.
fn key(written: &str) -> (&str, &str) {
    let bare =
        written.strip_prefix("https://").or_else(|| written.strip_prefix("http://")).unwrap_or(written);
    let (registry, path) = bare.split_once('/').unwrap_or((bare, ""));
    let path = path.trim_end_matches('/');
    let path = if path == "v1" || path == "v2" { "" } else { path };
    (canonical(registry), path)
}

fn canonical(registry: &str) -> &str {
    match registry {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => DOCKER_HUB,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("debian", "docker.io", "debian", false)]
    #[case("debian:bookworm", "docker.io", "debian", true)]
    #[case("team/image@sha256:00", "docker.io", "team/image", true)]
    #[case("index.docker.io/team/image", "docker.io", "team/image", false)]
    #[case("localhost/image", "localhost", "image", false)]
    #[case("registry:5000/image", "registry:5000", "image", false)]
    #[case("ghcr.io/a/b/c:1@sha256:00", "ghcr.io", "a/b/c", true)]
    fn references(#[case] image: &str, #[case] registry: &str, #[case] path: &str, #[case] is_exact: bool) {
        assert_eq!(Reference::parse(image), Reference { registry, path, is_exact });
    }

    #[test]
    fn an_image_without_a_tag_is_the_latest() {
        assert_eq!(with_tag("registry:5000/image"), "registry:5000/image:latest");
        assert_eq!(with_tag("image:1"), "image:1");
        assert_eq!(with_tag("image@sha256:00"), "image@sha256:00");
    }

    fn credential(registry: &str) -> RegistryCredential {
        RegistryCredential { registry: registry.into(), username: "me".into(), password: "secret".into() }
    }

    #[rstest]
    #[case("debian", &["https://index.docker.io/v1/", "docker.io"])]
    #[case("ghcr.io/team/image", &["https://ghcr.io/team", "ghcr.io"])]
    #[case("ghcr.io/teammate/image", &["ghcr.io"])]
    #[case("registry:5000/image", &["registry:5000/v2/"])]
    #[case("registry/image", &["https://index.docker.io/v1/", "docker.io"])]
    #[case("quay.io/image", &[])]
    fn log_ins(#[case] image: &str, #[case] expected: &[&str]) {
        let all = [
            "https://index.docker.io/v1/",
            "docker.io",
            "ghcr.io",
            "https://ghcr.io/team",
            "registry:5000/v2/",
        ]
        .map(credential);
        let found: Vec<_> = fitting(image, &all).into_iter().map(|found| found.registry.as_str()).collect();
        assert_eq!(found, expected);
    }
}
