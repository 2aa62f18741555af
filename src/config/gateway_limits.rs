//! How much and how often people and programs may ask of the gateway.

use std::time::Duration;

use serde::Deserialize;

use super::{Bytes, GoDuration};

/// How often one identity may do things in a minute, all of them at once if so wanted. 0: without
/// limit.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RatesConfig {
    /// Starts, stops and restarts. Default 10.
    pub lifecycle: u32,
    /// Commands, terminals and connections. Default 120.
    pub exec: u32,
    /// Requests that read or write files or the repository. Default 600.
    pub files: u32,
    /// Requests that only look. Default 1200.
    pub read: u32,
    /// Tokens from one address that are no good. Default 30.
    pub log_in: u32,
    /// Wrong passwords from one address for one preview; at least 1. Default 10.
    pub preview_password: u32,
}

impl Default for RatesConfig {
    fn default() -> Self {
        Self { lifecycle: 10, exec: 120, files: 600, read: 1_200, log_in: 30, preview_password: 10 }
    }
}

/// How much may be asked for.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GatewayLimits {
    /// Longest time that a command that is waited for may take, from 1s to 1h. Default 10m.
    pub exec_timeout: GoDuration,
    /// Most bytes of a file or an archive, read or written; at least 1Mi. Default 4Gi.
    pub transfer: Bytes,
    /// A right may be taken away during a long session: so often it is looked at again, from 10s
    /// to 10m. Default 3m.
    pub review_interval: GoDuration,
    /// Requests under way to one preview, open WebSockets among them; at least 1. Default 512.
    pub preview_requests: u32,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            exec_timeout: GoDuration(Duration::from_secs(600)),
            transfer: Bytes(4 << 30),
            review_interval: GoDuration(Duration::from_secs(180)),
            preview_requests: 512,
        }
    }
}

impl RatesConfig {
    pub(super) fn check(&self, complain: &mut dyn FnMut(&str, &str)) {
        if self.preview_password == 0 {
            complain("gateway.rates.previewPassword", "must be at least 1");
        }
    }
}

impl GatewayLimits {
    pub(super) fn check(&self, complain: &mut dyn FnMut(&str, &str)) {
        let seconds = |time: GoDuration| time.0.as_secs_f64();
        if !(1.0..=3600.0).contains(&seconds(self.exec_timeout)) {
            complain("gateway.limits.execTimeout", "must be from 1s to 1h");
        }
        if self.transfer.0 < 1 << 20 {
            complain("gateway.limits.transfer", "must be at least 1Mi");
        }
        if !(10.0..=600.0).contains(&seconds(self.review_interval)) {
            complain("gateway.limits.reviewInterval", "must be from 10s to 10m");
        }
        if self.preview_requests == 0 {
            complain("gateway.limits.previewRequests", "must be at least 1");
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn problems(limits: &str, rates: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut complain = |field: &str, _: &str| found.push(field.to_owned());
        serde_yaml::from_str::<GatewayLimits>(limits).unwrap().check(&mut complain);
        serde_yaml::from_str::<RatesConfig>(rates).unwrap().check(&mut complain);
        found
    }

    #[rstest]
    #[case::nothing_said("{}", "{}", &[])]
    #[case::without_limit("{}", "{lifecycle: 0, exec: 0, files: 0, read: 0, logIn: 0}", &[])]
    #[case::all_said("{execTimeout: 1h, transfer: 1Mi, reviewInterval: 10s, previewRequests: 1}", "{exec: 1}", &[])]
    #[case::guessing("{}", "{previewPassword: 0}", &["gateway.rates.previewPassword"])]
    #[case::no_time("{execTimeout: 0s}", "{}", &["gateway.limits.execTimeout"])]
    #[case::too_long("{execTimeout: 2h}", "{}", &["gateway.limits.execTimeout"])]
    #[case::nothing_passes("{transfer: 1Ki}", "{}", &["gateway.limits.transfer"])]
    #[case::hardly_ever("{reviewInterval: 12h}", "{}", &["gateway.limits.reviewInterval"])]
    #[case::no_previews("{previewRequests: 0}", "{}", &["gateway.limits.previewRequests"])]
    fn bounds_are_kept(#[case] limits: &str, #[case] rates: &str, #[case] expected: &[&str]) {
        assert_eq!(problems(limits, rates), expected);
    }
}
