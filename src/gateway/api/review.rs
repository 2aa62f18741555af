//! Whether somebody may do something, and who a token stands for: both are the cluster's to say.
//!
//! Its answers are kept for a few seconds, a yes longer than a no: one page of a dev server asks
//! the same question a hundred times, and who was just given a right wants to use it.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use sha2::{Digest, Sha256};

use super::{
    GROUP, VERSION,
    identity::Identity,
    operation::Resource,
    problem::{Problem, Reason},
};

/// The audience that tokens for the public address are made for.
pub const AUDIENCE: &str = "berth";
/// How long a yes holds.
const ALLOWED_FOR: Duration = Duration::from_secs(10);
/// How long a no holds.
const DENIED_FOR: Duration = Duration::from_secs(2);
/// Longest time for one question.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most answers of a kind that are kept.
const KEPT: usize = 10_000;

/// What somebody wants to do.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Access {
    /// `create` or `get`.
    pub verb: &'static str,
    /// The kind of the object.
    pub resource: Resource,
    /// The subresource.
    pub subresource: &'static str,
    /// Namespace of the object.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The cluster could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReviewError(pub String);

/// The cluster's say.
#[async_trait]
pub trait Reviews: Send + Sync {
    /// Whether somebody may do something; a no with what the cluster says to it.
    async fn access(&self, identity: &Identity, access: &Access) -> Result<Result<(), String>, ReviewError>;

    /// Who a token stands for, where it is good and made for [`AUDIENCE`].
    async fn token(&self, token: &str) -> Result<Option<Identity>, ReviewError>;
}

/// The say of a real cluster.
#[derive(Clone)]
pub struct ClusterReviews(pub Client);

#[async_trait]
impl Reviews for ClusterReviews {
    async fn access(&self, identity: &Identity, access: &Access) -> Result<Result<(), String>, ReviewError> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(identity.user.clone()),
                uid: identity.uid.clone(),
                groups: Some(identity.groups.clone()),
                extra: Some(identity.extra.clone()),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(GROUP.to_owned()),
                    version: Some(VERSION.to_owned()),
                    resource: Some(access.resource.word().to_owned()),
                    subresource: Some(access.subresource.to_owned()),
                    verb: Some(access.verb.to_owned()),
                    namespace: Some(access.namespace.clone()),
                    name: Some(access.name.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.0.clone());
        let answer = in_time(api.create(&PostParams::default(), &review)).await?;
        let status = answer.status.unwrap_or_default();
        let denied = status.denied.unwrap_or_default();
        Ok(if status.allowed && !denied { Ok(()) } else { Err(status.reason.unwrap_or_default()) })
    }

    async fn token(&self, token: &str) -> Result<Option<Identity>, ReviewError> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: Some(vec![AUDIENCE.to_owned()]),
            },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.0.clone());
        let answer = in_time(api.create(&PostParams::default(), &review)).await?;
        let status = answer.status.unwrap_or_default();
        // An authenticator that knows nothing of audiences confirms none: its tokens are for others.
        let meant_for_us = status.audiences.unwrap_or_default().iter().any(|each| each == AUDIENCE);
        if !status.authenticated.unwrap_or_default() || !meant_for_us {
            return Ok(None);
        }
        Ok(status.user.and_then(|user| {
            Some(Identity {
                user: user.username.filter(|name| !name.is_empty())?,
                uid: user.uid,
                groups: user.groups.unwrap_or_default(),
                extra: user.extra.unwrap_or_default(),
            })
        }))
    }
}

async fn in_time<T>(question: impl Future<Output = kube::Result<T>>) -> Result<T, ReviewError> {
    match tokio::time::timeout(PATIENCE, question).await {
        Ok(answer) => answer.map_err(|error| ReviewError(error.to_string())),
        Err(_) => Err(ReviewError(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

/// Asks the cluster, and remembers its answers for a moment.
#[derive(Clone)]
pub struct Reviewer {
    reviews: Arc<dyn Reviews>,
    accesses: Arc<Remembered<(Identity, Access), Result<(), String>>>,
    tokens: Arc<Remembered<[u8; 32], Option<Identity>>>,
}

impl Reviewer {
    /// Asks here.
    pub fn new(reviews: Arc<dyn Reviews>) -> Self {
        Self { reviews, accesses: Arc::default(), tokens: Arc::default() }
    }

    /// Refuses what somebody may not do.
    pub async fn authorize(&self, identity: &Identity, access: &Access) -> Result<(), Problem> {
        match self.accesses.get(&(identity.clone(), access.clone())) {
            Some(answer) => answer.map_err(|why| forbidden(identity, access, &why)),
            None => self.authorize_anew(identity, access).await,
        }
    }

    /// The same, without what is remembered.
    pub async fn authorize_anew(&self, identity: &Identity, access: &Access) -> Result<(), Problem> {
        let answer = self.reviews.access(identity, access).await.map_err(unanswered)?;
        self.accesses.put((identity.clone(), access.clone()), answer.clone(), answer.is_ok());
        answer.map_err(|why| forbidden(identity, access, &why))
    }

    /// Who a bearer token stands for.
    pub async fn authenticate(&self, token: &str) -> Result<Identity, Problem> {
        let key: [u8; 32] = Sha256::digest(token).into();
        let answer = match self.tokens.get(&key) {
            Some(answer) => answer,
            None => {
                let answer = self.reviews.token(token).await.map_err(unanswered)?;
                self.tokens.put(key, answer.clone(), answer.is_some());
                answer
            }
        };
        answer.ok_or_else(|| Problem::new(Reason::Unauthorized, "the bearer token is not valid here"))
    }

    /// Whether the answer to a token is remembered, so that asking costs nothing.
    pub fn remembers(&self, token: &str) -> bool {
        self.tokens.get(&Sha256::digest(token).into()).is_some()
    }
}

fn forbidden(identity: &Identity, access: &Access, why: &str) -> Problem {
    let mut message = format!(
        "{:?} may not {} resource \"{}/{}\" in API group {GROUP:?} in the namespace {:?}: {:?}",
        identity.user,
        access.verb,
        access.resource.word(),
        access.subresource,
        access.namespace,
        access.name
    );
    if !why.is_empty() {
        message.push_str(": ");
        message.push_str(why);
    }
    Problem::new(Reason::Forbidden, message)
}

fn unanswered(error: ReviewError) -> Problem {
    tracing::warn!(%error, "the cluster can not be asked about somebody's rights");
    Problem::new(Reason::NotReady, "the cluster can not be asked about your rights now")
        .retry_after(Duration::from_secs(1))
}

/// Answers that hold for a while.
struct Remembered<K, V> {
    answers: Mutex<HashMap<K, (V, Instant)>>,
}

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self { answers: Mutex::default() }
    }
}

impl<K: Eq + Hash, V: Clone> Remembered<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(key).filter(|(_, until)| Instant::now() < *until).map(|(value, _)| value.clone())
    }

    fn put(&self, key: K, value: V, good: bool) {
        let now = Instant::now();
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= KEPT {
            answers.retain(|_, (_, until)| now < *until);
        }
        if answers.len() < KEPT {
            answers.insert(key, (value, now + if good { ALLOWED_FOR } else { DENIED_FOR }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counting {
        asked: AtomicUsize,
    }

    #[async_trait]
    impl Reviews for Counting {
        async fn access(
            &self,
            identity: &Identity,
            access: &Access,
        ) -> Result<Result<(), String>, ReviewError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            match identity.user.as_str() {
                "nobody" => Err(ReviewError("no cluster".to_owned())),
                "ada" => Ok(Ok(())),
                _ if access.verb == "get" => Ok(Ok(())),
                _ => Ok(Err("no such role".to_owned())),
            }
        }

        async fn token(&self, token: &str) -> Result<Option<Identity>, ReviewError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            Ok((token == "good").then(|| identity("ada")))
        }
    }

    fn identity(user: &str) -> Identity {
        Identity { user: user.to_owned(), ..Identity::default() }
    }

    fn access(verb: &'static str, name: &str) -> Access {
        Access {
            verb,
            resource: Resource::Workspaces,
            subresource: "exec",
            namespace: "team".to_owned(),
            name: name.to_owned(),
        }
    }

    #[tokio::test]
    async fn a_question_is_asked_once() {
        let cluster = Arc::new(Counting::default());
        let reviewer = Reviewer::new(cluster.clone());
        for _ in 0..3 {
            reviewer.authorize(&identity("ada"), &access("create", "web")).await.unwrap();
        }
        assert_eq!(cluster.asked.load(Ordering::SeqCst), 1);
        reviewer.authorize(&identity("ada"), &access("create", "other")).await.unwrap();
        assert_eq!(cluster.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn an_answer_can_be_asked_for_anew() {
        let cluster = Arc::new(Counting::default());
        let reviewer = Reviewer::new(cluster.clone());
        reviewer.authorize(&identity("ada"), &access("create", "web")).await.unwrap();
        reviewer.authorize_anew(&identity("ada"), &access("create", "web")).await.unwrap();
        assert_eq!(cluster.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn one_persons_right_is_not_anothers() {
        let reviewer = Reviewer::new(Arc::new(Counting::default()));
        reviewer.authorize(&identity("ada"), &access("create", "web")).await.unwrap();
        let refused = reviewer.authorize(&identity("bob"), &access("create", "web")).await.unwrap_err();
        assert_eq!(refused.reason, Reason::Forbidden);
        assert!(refused.message.ends_with("no such role"), "{refused}");
    }

    #[tokio::test]
    async fn who_reads_may_not_run() {
        let reviewer = Reviewer::new(Arc::new(Counting::default()));
        reviewer.authorize(&identity("bob"), &access("get", "web")).await.unwrap();
        assert!(reviewer.authorize(&identity("bob"), &access("create", "web")).await.is_err());
    }

    #[tokio::test]
    async fn no_answer_is_no_yes_and_is_asked_again() {
        let cluster = Arc::new(Counting::default());
        let reviewer = Reviewer::new(cluster.clone());
        for _ in 0..2 {
            let refused = reviewer.authorize(&identity("nobody"), &access("get", "web")).await.unwrap_err();
            assert_eq!(refused.reason, Reason::NotReady);
        }
        assert_eq!(cluster.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn tokens_stand_for_somebody_or_are_refused() {
        let reviewer = Reviewer::new(Arc::new(Counting::default()));
        assert_eq!(reviewer.authenticate("good").await.unwrap(), identity("ada"));
        assert_eq!(reviewer.authenticate("bad").await.unwrap_err().reason, Reason::Unauthorized);
        assert!(reviewer.remembers("bad") && !reviewer.remembers("other"));
    }

    #[test]
    fn memory_is_bounded() {
        let remembered = Remembered::default();
        for number in 0..KEPT + 10 {
            remembered.put(number, (), true);
        }
        assert_eq!(remembered.answers.lock().unwrap().len(), KEPT);
    }
}
