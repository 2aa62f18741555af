//! The installation's own certificate authority, and the certificates it gives out.
//!
//! The authority is made once, by the first replica that runs the controllers, and kept in a
//! Secret that only those read. Gateways get their certificate from a second Secret, which the
//! leader renews long before it runs out.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use time::OffsetDateTime;

use crate::config::Config;

/// How long the authority is good.
const AUTHORITY_DAYS: i64 = 3650;
/// How long a certificate is good.
const CERTIFICATE_DAYS: i64 = 30;
/// A certificate with less than this left is renewed.
const RENEW_BEFORE_DAYS: i64 = 15;
/// Certificates are good from a little earlier on: clocks differ.
const CLOCK_SKEW: Duration = Duration::from_secs(300);
/// Where the Secret of the gateways says until when its certificate is good, in Unix seconds.
const ANNOTATION_UNTIL: &str = "berth.dev/certificate-until";
const FIELD_MANAGER: &str = "berth-certificates";

/// Name that a gateway has towards other parts.
pub const GATEWAY: &str = "gateway.berth.internal";
/// Name that a replica with the controllers has towards other parts.
pub const CONTROLLER: &str = "controller.berth.internal";

/// A certificate with its key and the authority it is from, all in PEM.
#[derive(Clone, Eq, PartialEq)]
pub struct Identity {
    /// The authority.
    pub authority: String,
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// The authority.
pub struct Authority {
    certificate: String,
    key: String,
}

impl Authority {
    /// Makes a new one.
    pub fn make() -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let certificate = Self::params().self_signed(&key)?.pem();
        Ok(Self { certificate, key: key.serialize_pem() })
    }

    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "berth-authority");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = validity(AUTHORITY_DAYS);
        params
    }

    /// Gives out a certificate for these names, for both ends of a connection.
    pub fn issue(&self, common_name: &str, names: &[String]) -> anyhow::Result<Identity> {
        let issuer = Issuer::new(Self::params(), KeyPair::from_pem(&self.key)?);
        let key = KeyPair::generate()?;
        let names: Vec<String> =
            std::iter::once(common_name.to_owned()).chain(names.iter().cloned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = validity(CERTIFICATE_DAYS);
        Ok(Identity {
            authority: self.certificate.clone(),
            certificate: params.signed_by(&key, &issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }

    /// The authority's own certificate, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }
}

fn validity(days: i64) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - CLOCK_SKEW, now + time::Duration::days(days))
}

/// The Secrets with authority and certificates.
#[derive(Clone)]
pub struct Store {
    secrets: Api<Secret>,
    authority: String,
    gateway: String,
    service_names: Vec<String>,
}

impl Store {
    /// In the operator's own namespace.
    pub fn new(client: &Client, config: &Config) -> Self {
        let namespace = config.own_namespace();
        let lease = &config.leader_election.lease_name;
        let service = config.gateway.as_ref().and_then(|gateway| gateway.aggregated.as_ref());
        Self {
            secrets: Api::namespaced(client.clone(), &namespace),
            authority: format!("{lease}-authority"),
            gateway: format!("{lease}-gateway"),
            service_names: service
                .map(|aggregated| format!("{}.{namespace}.svc", aggregated.service))
                .into_iter()
                .collect(),
        }
    }

    /// Names of the Service behind the aggregated API.
    pub fn service_names(&self) -> &[String] {
        &self.service_names
    }

    /// Reads the authority, and makes it where there is none yet.
    pub async fn authority(&self) -> anyhow::Result<Authority> {
        if let Some(secret) = self.secrets.get_opt(&self.authority).await? {
            return parse_authority(secret);
        }
        let made = Authority::make()?;
        let secret = Secret {
            metadata: ObjectMeta { name: Some(self.authority.clone()), ..ObjectMeta::default() },
            data: Some(entries([("tls.crt", &made.certificate), ("tls.key", &made.key)])),
            type_: Some("kubernetes.io/tls".to_owned()),
            ..Secret::default()
        };
        match self.secrets.create(&PostParams::default(), &secret).await {
            Ok(_) => Ok(made),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                parse_authority(self.secrets.get(&self.authority).await?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sees to it that the gateways have a certificate that is good for a while, for the right
    /// names and of the present authority.
    pub async fn renew_gateway(&self, authority: &Authority) -> anyhow::Result<()> {
        let present = self.secrets.get_opt(&self.gateway).await?;
        if present.is_some_and(|secret| self.is_good(&secret, authority)) {
            return Ok(());
        }
        let identity = authority.issue(GATEWAY, &self.service_names)?;
        let until = (OffsetDateTime::now_utc() + time::Duration::days(CERTIFICATE_DAYS)).unix_timestamp();
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(self.gateway.clone()),
                annotations: Some(BTreeMap::from([
                    (ANNOTATION_UNTIL.to_owned(), until.to_string()),
                    (ANNOTATION_NAMES.to_owned(), self.service_names.join(",")),
                ])),
                ..ObjectMeta::default()
            },
            data: Some(entries([
                ("ca.crt", &identity.authority),
                ("tls.crt", &identity.certificate),
                ("tls.key", &identity.key),
            ])),
            type_: Some("kubernetes.io/tls".to_owned()),
            ..Secret::default()
        };
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.secrets.patch(&self.gateway, &params, &Patch::Apply(&secret)).await?;
        tracing::info!(secret = self.gateway, "gave the gateways a new certificate");
        Ok(())
    }

    fn is_good(&self, secret: &Secret, authority: &Authority) -> bool {
        let annotation = |name: &str| secret.metadata.annotations.as_ref()?.get(name).cloned();
        let until =
            annotation(ANNOTATION_UNTIL).and_then(|text| text.parse::<i64>().ok()).unwrap_or_default();
        let left = until - OffsetDateTime::now_utc().unix_timestamp();
        let data = secret.data.as_ref();
        let same = data.and_then(|data| data.get("ca.crt")).map(|entry| entry.0.as_slice());
        left > RENEW_BEFORE_DAYS * 24 * 3600
            && same == Some(authority.certificate.as_bytes())
            && annotation(ANNOTATION_NAMES).unwrap_or_default() == self.service_names.join(",")
    }

    /// The gateways' certificate; `None` while the leader has not made it.
    pub async fn gateway(&self) -> anyhow::Result<Option<Identity>> {
        let Some(secret) = self.secrets.get_opt(&self.gateway).await? else { return Ok(None) };
        let mut data = secret.data.unwrap_or_default();
        Ok(Some(Identity {
            authority: entry(&mut data, "ca.crt")?,
            certificate: entry(&mut data, "tls.crt")?,
            key: entry(&mut data, "tls.key")?,
        }))
    }
}

/// Names that the certificate of the gateways was made for.
const ANNOTATION_NAMES: &str = "berth.dev/certificate-names";

fn parse_authority(secret: Secret) -> anyhow::Result<Authority> {
    let mut data = secret.data.unwrap_or_default();
    Ok(Authority { certificate: entry(&mut data, "tls.crt")?, key: entry(&mut data, "tls.key")? })
}

fn entries<const N: usize>(entries: [(&str, &String); N]) -> BTreeMap<String, ByteString> {
    entries.into_iter().map(|(name, text)| (name.to_owned(), ByteString(text.clone().into_bytes()))).collect()
}

fn entry(data: &mut BTreeMap<String, ByteString>, name: &str) -> anyhow::Result<String> {
    let value = data.remove(name).ok_or_else(|| anyhow::anyhow!("entry {name} is missing"))?;
    Ok(String::from_utf8(value.0)?)
}
