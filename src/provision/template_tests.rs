use rstest::rstest;
use secrecy::ExposeSecret;

use super::*;

#[rstest]
#[case("jq", true)]
#[case("g++", true)]
#[case("nodejs=18.19.0+dfsg-6~deb12u2", true)]
#[case("libc6:amd64", true)]
#[case("", false)]
#[case("--help", false)]
#[case("a b", false)]
#[case("a;b", false)]
#[case("./x.deb", false)]
fn packages(#[case] text: &str, #[case] good: bool) {
    assert_eq!(is_package(text), good);
}

#[rstest]
#[case(3, "Reading...\nE: Unable to locate package nothing\n", ProvisionReason::PackageNotFound, false)]
#[case(4, "the OS template has no apt-get", ProvisionReason::PackageManagerMissing, false)]
#[case(5, "E: Failed to fetch", ProvisionReason::PackagesUnavailable, true)]
#[case(1, "usermod: no such user", ProvisionReason::SetupFailed, false)]
#[case(1, "cp: No space left on device", ProvisionReason::OutOfSpace, false)]
fn failures(
    #[case] code: i64,
    #[case] output: &str,
    #[case] reason: ProvisionReason,
    #[case] retryable: bool,
) {
    let error = template_outcome(code, output).unwrap_err();
    assert_eq!((error.reason, error.retryable), (reason, retryable));
    assert_eq!(Some(error.message.as_str()), last_line(output));
}

#[test]
fn what_the_job_is_told() {
    let request = TemplateRequest {
        user: "dev".into(),
        packages: vec!["jq".into()],
        proxy: Proxy { http: Some("http://me:pw@proxy:3128".into()), ..Proxy::default() },
        extra_ca: Some("PEM\r\n".into()),
    };
    let job = template_job(&request);
    let authorities = template_authorities(&request).unwrap();
    let told = |name: &str| job.env[name].expose_secret().to_owned();
    assert!(told("BERTH_TEMPLATE_PACKAGES").ends_with(" e2fsprogs jq"));
    assert_eq!(told("http_proxy"), "http://me:pw@proxy:3128");
    assert_eq!(told("BERTH_TEMPLATE_CA"), authorities.path);
    assert_eq!(authorities.content.expose_secret(), "PEM\n");
    assert!(!job.script.contains("pw@proxy"));
}

#[rstest]
#[case::none(None)]
#[case::empty(Some(" \n"))]
fn without_authorities_there_is_no_file(#[case] bundle: Option<&str>) {
    let request = TemplateRequest { extra_ca: bundle.map(str::to_owned), ..TemplateRequest::default() };
    assert!(template_authorities(&request).is_none());
    assert!(!template_job(&request).env.contains_key("BERTH_TEMPLATE_CA"));
}

#[test]
fn the_authorities_of_a_whole_system_fit() {
    // The longest variable that Linux starts a program with.
    const LONGEST: usize = 128 << 10;
    let request = TemplateRequest { extra_ca: Some("PEM\n".repeat(LONGEST)), ..TemplateRequest::default() };
    let job = template_job(&request);
    assert!(job.env.values().all(|value| value.expose_secret().len() < LONGEST));
}

#[test]
fn the_scripts_are_shell() {
    for script in [template_job(&TemplateRequest::default()).script, CLEAN.to_owned()] {
        let checked = std::process::Command::new("sh").args(["-n", "-c", &script]).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
}
