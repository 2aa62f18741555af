//! What a DevServer refers to: the values of its variables, the password of its preview. Read when
//! its spec changes and every now and then.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::{
    api::{condition, devserver::PasswordSecretRef},
    controller::{
        backoff::with_jitter,
        context::Context,
        workspace::{
            problem::Problem,
            references::{API_SERVER_FAILED, References, is_missing},
            validate::EnvLayer,
        },
    },
};

use super::validate::{Desired, Subject};

/// How dear it is to try a password, as bcrypt counts it: two to the power of this.
const COST: u32 = 10;
/// A hash from a Secret may not be dearer to check than this: the gateway would be busy with it.
const MAX_COST: u32 = 14;
/// bcrypt reads no more of a password, in bytes.
const MAX_PASSWORD: usize = 72;
const HINT: &str = "the process starts by itself soon after it does";

/// What the references of a DevServer came to.
#[derive(Clone, Debug)]
pub struct Found {
    /// The variables with their values.
    pub environment: Result<BTreeMap<String, String>, Problem>,
    /// The hash of the password, where one is wanted.
    pub password: Result<Option<String>, Problem>,
    hashed: Option<Hashed>,
    generation: i64,
    until: Instant,
}

/// A password that was hashed once, so that it is not hashed again: that takes long.
#[derive(Clone, Debug)]
struct Hashed {
    digest: [u8; 32],
    hash: String,
}

impl Found {
    /// Nothing: there is no spec that could refer to anything.
    pub fn nothing() -> Self {
        Self {
            environment: Ok(BTreeMap::new()),
            password: Ok(None),
            hashed: None,
            generation: 0,
            until: Instant::now(),
        }
    }

    /// When it is to be read again.
    pub fn remaining(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// What the references come to, from memory while that is fresh.
pub async fn find(context: &Context, subject: &Subject, desired: &Desired) -> Arc<Found> {
    let last = context.devservers.found(&subject.uid);
    if let Some(last) = &last
        && last.generation == subject.generation
        && !last.remaining().is_zero()
    {
        return Arc::clone(last);
    }
    let mut references = References::new(context.client.clone());
    let environment = environment(&mut references, subject, desired).await;
    let wanted = desired.preview.as_ref().and_then(|preview| preview.password.as_ref());
    let (password, hashed) = match wanted {
        None => (Ok(None), None),
        Some(wanted) => {
            let known = last.as_ref().and_then(|last| last.hashed.clone());
            match password(&mut references, subject, wanted, known).await {
                Ok(hashed) => (Ok(Some(hashed.hash.clone())), Some(hashed)),
                Err(problem) => (Err(problem), last.as_ref().and_then(|last| last.hashed.clone())),
            }
        }
    };
    let unanswered =
        [environment.as_ref().err(), password.as_ref().err()].into_iter().flatten().any(says_nothing);
    let same = last.as_ref().filter(|last| last.generation == subject.generation);
    let environment = or_last(environment, same.map(|last| &last.environment));
    let password = or_last(password, same.map(|last| &last.password));
    let again = if unanswered || environment.is_err() || password.is_err() {
        context.backoff.failed(&subject.uid, &subject.generation.to_string(), "References")
    } else {
        context.backoff.clear(&subject.uid);
        with_jitter(context.config.controller.resync.0)
    };
    let until = Instant::now() + again;
    let found = Arc::new(Found { environment, password, hashed, generation: subject.generation, until });
    context.devservers.note_found(&subject.uid, Arc::clone(&found));
    found
}

/// What was read; where the API server did not answer, what was read of the same spec before.
fn or_last<T: Clone>(now: Result<T, Problem>, last: Option<&Result<T, Problem>>) -> Result<T, Problem> {
    match (&now, last) {
        (Err(problem), Some(Ok(last))) if says_nothing(problem) => Ok(last.clone()),
        _ => now,
    }
}

/// Whether a problem says nothing about what is there.
pub fn says_nothing(problem: &Problem) -> bool {
    problem.reason == API_SERVER_FAILED
}

async fn environment(
    references: &mut References,
    subject: &Subject,
    desired: &Desired,
) -> Result<BTreeMap<String, String>, Problem> {
    let layer =
        EnvLayer { namespace: subject.namespace.clone(), from: Vec::new(), variables: desired.env.clone() };
    let found = references
        .environment(&[layer])
        .await
        .map_err(|problem| if is_missing(&problem) { problem.hint(HINT) } else { problem })?;
    let secret = found.secret.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned()));
    Ok(found.public.into_iter().chain(secret).collect())
}

async fn password(
    references: &mut References,
    subject: &Subject,
    wanted: &PasswordSecretRef,
    known: Option<Hashed>,
) -> Result<Hashed, Problem> {
    let value =
        references.secret_key(&subject.namespace, &wanted.name, &wanted.key).await.map_err(missing)?;
    let digest: [u8; 32] = Sha256::digest(value.expose_secret()).into();
    if let Some(known) = known.filter(|known| known.digest == digest) {
        return Ok(known);
    }
    let salt = salt(&subject.uid);
    let hashing = tokio::task::spawn_blocking(move || hash(&value, salt)).await;
    let hash = hashing.unwrap_or_else(|error| Err(format!("could not be hashed: {error}")));
    hash.map(|hash| Hashed { digest, hash }).map_err(|what| {
        let Subject { namespace, .. } = subject;
        let message = format!("key {:?} of Secret {namespace}/{} {what}", wanted.key, wanted.name);
        Problem::transient(condition::PREVIEW_READY, "PasswordInvalid", message)
    })
}

fn missing(problem: Problem) -> Problem {
    let reason = if is_missing(&problem) { "PasswordMissing" } else { problem.reason };
    Problem { reason, condition: condition::PREVIEW_READY, hint: None, ..problem }
}

/// The bcrypt hash of what stands in a Secret, which may be one already. The line's end that an
/// editor leaves in a file is no part of a password.
fn hash(value: &SecretString, salt: [u8; 16]) -> Result<String, String> {
    let text = value.expose_secret().trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if text.starts_with("$2") {
        return match text.parse::<bcrypt::HashParts>() {
            Ok(parts) if parts.get_cost() > MAX_COST => {
                Err(format!("is a bcrypt hash of cost {}; at most {MAX_COST} is taken", parts.get_cost()))
            }
            Ok(_) => Ok(text.to_owned()),
            Err(_) => Err("begins with $2 like a bcrypt hash, but is none".to_owned()),
        };
    }
    if text.len() > MAX_PASSWORD {
        return Err(format!("is a password of more than {MAX_PASSWORD} bytes"));
    }
    bcrypt::hash_with_salt(text, COST, salt)
        .map(|parts| parts.format_for_version(bcrypt::Version::TwoB))
        .map_err(|error| format!("could not be hashed: {error}"))
}

/// Every DevServer has its own salt, and the same for ever: so the hash is the same with the next
/// leader, and nobody has to give the password again.
fn salt(uid: &str) -> [u8; 16] {
    let mut salt = [0; 16];
    salt.copy_from_slice(&Sha256::digest(format!("berth preview {uid}"))[..16]);
    salt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::read(Ok(2), Some(Ok(1)), Ok(2))]
    #[case::no_answer(Err("ApiServerFailed"), Some(Ok(1)), Ok(1))]
    #[case::no_answer_ever(Err("ApiServerFailed"), None, Err("ApiServerFailed"))]
    #[case::gone(Err("SecretNotFound"), Some(Ok(1)), Err("SecretNotFound"))]
    fn what_was_read_holds_while_the_api_server_does_not_answer(
        #[case] now: Result<u8, &'static str>,
        #[case] last: Option<Result<u8, &'static str>>,
        #[case] expected: Result<u8, &'static str>,
    ) {
        let problem = |reason| Problem::transient(condition::SECRETS_READY, reason, "");
        let last = last.map(|last| last.map_err(problem));
        assert_eq!(or_last(now.map_err(problem), last.as_ref()), expected.map_err(problem));
    }

    #[test]
    fn a_password_is_hashed_without_its_line_end() {
        let made = hash(&SecretString::from("open sesame\n"), salt("a")).unwrap();
        assert!(bcrypt::verify("open sesame", &made).unwrap());
        assert!(made.starts_with("$2b$10$"), "{made}");
    }

    #[test]
    fn the_next_leader_comes_to_the_same_hash_and_another_devserver_to_another() {
        let made = |uid| hash(&SecretString::from("open sesame"), salt(uid)).unwrap();
        assert_eq!(made("a"), made("a"));
        assert_ne!(made("a"), made("b"));
    }

    #[test]
    fn a_hash_is_taken_as_it_is() {
        let made = bcrypt::hash("x", 4).unwrap();
        assert_eq!(hash(&SecretString::from(format!("{made}\n")), salt("a")), Ok(made));
    }

    #[rstest::rstest]
    #[case::nothing("\n", "is empty")]
    #[case::too_long(&"x".repeat(73), "more than 72 bytes")]
    #[case::no_hash("$2y$secret", "but is none")]
    #[case::too_dear("$2b$31$abcdefghijklmnopqrstuuGdXGjZQbfQxbQK1vUZk0l8qk8y8y8y8", "cost 31")]
    fn what_is_no_password(#[case] value: &str, #[case] words: &str) {
        let said = hash(&SecretString::from(value), salt("a")).unwrap_err();
        assert!(said.contains(words), "{said}");
    }
}
