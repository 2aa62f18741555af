//! Making a container: by a clone of a template, from an OS template, or by taking over one that an
//! administrator marked for it.
//!
//! A creation may be cut off anywhere, and its answers may be lost. So it is done again from its
//! beginning until the container is finished, and each time looks first at what is there: the VMID
//! was written down before anything was made, and the mark is given along with the first request.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    client::{
        Cause, Change, CloneDisk, CloneRequest, Configuration, CreateRequest, Effect, Error, Features, Lock,
        Upid, VmId,
    },
    cluster::{Cluster, Place, given_up, lock, node_name},
    errors, grow,
    mark::Mark,
    os_template, tun,
    wanted::wanted,
};
use crate::backend::{BackendError, BodyRef, ContainerSpec, Reason, Source};

mod standing;

/// Time between two looks at something that only time changes.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long after a lost answer its work is looked for. It may begin later still, and then takes
/// nothing amiss: whoever asks again for the same VMID is refused, and finds the same mark there.
const LATE: Duration = Duration::from_secs(3);

/// Disk of a container that is made from an OS template, where none is asked for.
const OS_TEMPLATE_DISK: u64 = 8 << 30;

/// Makes the container, or goes on with it.
pub(super) async fn create(
    cluster: &Cluster,
    body: &BodyRef,
    spec: &ContainerSpec,
    progress: &watch::Sender<String>,
) -> Result<(), BackendError> {
    let number = body
        .known
        .number
        .and_then(VmId::new)
        .ok_or_else(|| BackendError::new(Reason::Failed, "no VMID was reserved for the container"))?;
    let _changing = cluster.bodies.lock(body.id).await;
    let making = Making { cluster, body, spec, progress, vmid: number };
    let made = making.run().await;
    match &made {
        Ok(()) => {
            lock(&cluster.promised).remove(&number.get());
            lock(&cluster.unanswered).remove(&body.id);
        }
        Err(error) if error.reason == Reason::NumberTaken => {
            lock(&cluster.promised).remove(&number.get());
        }
        Err(_) => {}
    }
    made
}

struct Making<'a> {
    cluster: &'a Cluster,
    body: &'a BodyRef,
    spec: &'a ContainerSpec,
    progress: &'a watch::Sender<String>,
    vmid: VmId,
}

impl Making<'_> {
    async fn run(&self) -> Result<(), BackendError> {
        let place = match self.there().await? {
            Some(there) => there.place,
            None => self.make().await?,
        };
        let (place, ready) = self.unlocked(place).await?;
        if ready.rootfs.is_none() {
            return Err(self.clear_away().await);
        }
        self.configure(&place, ready).await
    }

    fn mark(&self) -> Mark {
        Mark::new(&self.cluster.instance, self.body, self.spec.incarnation)
    }

    fn say(&self, words: impl Into<String>) {
        self.progress.send_replace(words.into());
    }

    fn is_given_up(&self) -> bool {
        self.cluster.is_given_up(self.body.id)
    }

    /// Asks for the container, and waits until it is there.
    async fn make(&self) -> Result<Place, BackendError> {
        if self.spec.infrastructure.adopt_existing {
            let words = format!("there is no CT {} to take over", self.vmid);
            return Err(BackendError::new(Reason::NotFound, words));
        }
        match source(self.spec) {
            Source::Template(template) => self.clone_of(template).await,
            Source::OsTemplate(name) => self.make_of_os_template(&name).await,
            Source::Image(name) => Err(BackendError::new(
                Reason::Unsupported,
                format!("{name:?} is an image, and this backend clones templates"),
            )),
        }
    }

    async fn clone_of(&self, template: u32) -> Result<Place, BackendError> {
        let (source, configuration) = self.cluster.template_place(template).await?;
        if self.spec.infrastructure.tun {
            tun::foresee(self.cluster, &configuration, &format!("template {template}"))?;
        }
        let target = node_name(&self.body.host)?;
        // Others are waited for in the order in which they came; the cluster would refuse at once.
        self.say(format!("waiting for other clones of template {template}"));
        let _turn = self.cluster.sources.lock(template).await;
        let infrastructure = &self.spec.infrastructure;
        let request = CloneRequest {
            new_id: self.vmid,
            // A linked clone could not outlive its template, nor leave its storage.
            disk: CloneDisk::Full(name(infrastructure.storage.as_ref())?),
            hostname: name(Some(&self.spec.hostname))?,
            description: Some(self.mark().write("")),
            pool: name(self.cluster.config.pool.as_ref())?,
            snapshot: None,
            target: (source.node != target).then(|| target.clone()),
        };
        let place = Place { node: target, vmid: self.vmid };
        let deadline = Instant::now() + self.cluster.config.task_timeout.0;
        loop {
            if self.is_given_up() {
                return Err(given_up("the clone"));
            }
            match self.cluster.client.clone_container(&source.node, source.vmid, &request).await {
                Ok(upid) => return self.follow("the clone", &upid, place, template).await,
                // Another client clones the same template.
                Err(error) if is_locked(&error) && Instant::now() < deadline => {
                    self.say(format!("waiting for another client's work on template {template}"));
                    sleep(INTERVAL).await;
                }
                Err(error) => {
                    return match error.cause() {
                        Some(Cause::Locked(lock)) => {
                            Err(errors::locked(template, source.node.as_str(), *lock))
                        }
                        _ => self.asked_in_vain(error, place).await,
                    };
                }
            }
        }
    }

    async fn make_of_os_template(&self, wanted_name: &str) -> Result<Place, BackendError> {
        let node = node_name(&self.body.host)?;
        if self.spec.infrastructure.tun {
            tun::foresee(self.cluster, &Configuration::default(), &format!("OS template {wanted_name}"))?;
        }
        let archive = os_template::find_or_fetch(self.cluster, &node, wanted_name, self.progress).await?;
        let infrastructure = &self.spec.infrastructure;
        let settings =
            wanted(self.spec, &self.cluster.config, &Configuration::default(), &self.mark())?.settings;
        let features = Features { nesting: infrastructure.nesting, ..Features::default() };
        let disk = infrastructure.disk_bytes.unwrap_or(OS_TEMPLATE_DISK).div_ceil(1 << 30);
        let request = CreateRequest {
            vmid: self.vmid,
            archive,
            storage: os_template::disk_storage(self.cluster, &node, infrastructure).await?,
            disk_gib: u32::try_from(disk).unwrap_or(u32::MAX),
            unprivileged: true,
            ssh_public_keys: Some(self.cluster.public_keys().await?.join("\n")),
            password: None,
            pool: name(self.cluster.config.pool.as_ref())?,
            configuration: Change { features: infrastructure.nesting.then_some(features), ..settings },
        };
        let place = Place { node: node.clone(), vmid: self.vmid };
        if self.is_given_up() {
            return Err(given_up("making the container"));
        }
        match self.cluster.client.create_container(&node, &request).await {
            Ok(upid) => {
                self.say(format!("making CT {} from {wanted_name}", self.vmid));
                self.cluster.finish_or("making the container", &upid, || self.is_given_up()).await?;
                Ok(place)
            }
            Err(error) => self.asked_in_vain(error, place).await,
        }
    }

    async fn follow(
        &self,
        what: &str,
        upid: &Upid,
        place: Place,
        template: u32,
    ) -> Result<Place, BackendError> {
        self.say(format!("cloning template {template} to CT {} ({})", self.vmid, upid.as_str()));
        self.cluster.finish_or(what, upid, || self.is_given_up()).await?;
        Ok(place)
    }

    /// Gives a container its settings, then its disk, and at last its tags.
    async fn configure(&self, place: &Place, present: Configuration) -> Result<(), BackendError> {
        let wanted = wanted(self.spec, &self.cluster.config, &present, &self.mark())?;
        self.say(format!("setting up CT {}", self.vmid));
        self.change(place, &wanted.settings, &present).await?;
        if let Some(size) = wanted.root_size {
            self.say(format!("growing the disk of CT {}", self.vmid));
            grow::grow(self.cluster, place, size).await;
        }
        if self.spec.infrastructure.tun {
            tun::ensure(self.cluster, place).await?;
        }
        let tags = Change { tags: Some(wanted.tags), ..Change::default() };
        let present = self.cluster.configuration(place).await?.unwrap_or(present);
        self.change(place, &tags, &present).await
    }

    async fn change(
        &self,
        place: &Place,
        change: &Change,
        present: &Configuration,
    ) -> Result<(), BackendError> {
        let client = &self.cluster.client;
        let digest = Some(&present.digest);
        let changed = client.change_configuration(&place.node, place.vmid, change, digest).await;
        changed.map_err(|error| errors::from_client(&error))
    }
}

fn is_locked(error: &Error) -> bool {
    matches!(error.cause(), Some(Cause::Locked(Lock::Disk) | Cause::LockTimeout))
        && error.effect == Effect::Nothing
}

/// A configured name in the cluster's own form.
fn name<Name: std::str::FromStr<Err: std::fmt::Display>>(
    text: Option<&String>,
) -> Result<Option<Name>, BackendError> {
    let parse = |text: &String| text.parse().map_err(|error| BackendError::new(Reason::Unsupported, error));
    text.map(parse).transpose()
}

/// What the container is made from.
pub(super) fn source(spec: &ContainerSpec) -> Source {
    let Ok(source) = spec.image.parse();
    source
}
