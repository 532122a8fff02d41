//! What a round changes: directories, revisions and services, each only with a lock that was confirmed a moment ago.

use super::{RoundError, Running, SHARE_DEADLINE, about, superseded};
use crate::{
    aws::AwsError,
    directories::{EnsureRequest, Ensured, Refused, Wanted},
    first_use::Configured,
    history::{Dropped, Moved},
    patch::{self, Needed},
    reading::{Unpatched, Verdict},
    record::Left,
    report::{Outcome, timestamp},
    schedule::jittered,
    service::Service,
    share_worker::{Answers, Request, WorkerError},
};
use nix::time::{ClockId, clock_gettime};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, SystemTime},
};
use tracing::{info, warn};

/// For a write through the lock's descriptor.
const CONFIRM_DEADLINE: Duration = Duration::from_secs(3);
/// A confirmation older than this, on a clock that counts suspension, is none: the lock may be another's by now.
const CONFIRMATION_LASTS: Duration = Duration::from_secs(3);

/// Volumes in one request to the share. A new one takes some 25 round trips, and 16 are made at a time: with 10 ms each that is a third of the
/// deadline.
const VOLUMES_AT_A_TIME: usize = 200;
/// Why each change is made, in the log.
const WHY: &str = "its PRIMARY revision declares volumes that it does not mount";

/// What AWS throttled was not done, and is tried again within the round so often, each time with a new confirmation, and a move with a new
/// look.
const TRIES_AGAIN: u32 = 2;

/// How often AWS throttled one change.
#[derive(Default)]
struct Throttled(u32);

/// A directory as it is to be, by the declarations and, where they say nothing, by the configuration.
fn wanted_of(needed: &Needed, configured: &Configured) -> Wanted {
    let of_app = configured.of(&needed.app);
    let is_off = of_app.seed == Some(false);
    Wanted {
        rack: needed.rack.to_string(),
        app: needed.app.to_string(),
        path: needed.relative.clone(),
        owner: needed.owner.or(of_app.owner),
        mode: needed.mode.or(of_app.mode),
        left: needed.is_held.then_some(Left::Held).or(is_off.then_some(Left::Off)),
    }
}

/// What was asked for of a directory, in a number.
fn hashed(wanted: &Wanted) -> u64 {
    let mut hasher = DefaultHasher::new();
    wanted.hash(&mut hasher);
    hasher.finish()
}

impl Throttled {
    /// Waits before another try.
    ///
    /// # Errors
    /// The error itself, where there is to be none.
    async fn after(&mut self, error: AwsError) -> Result<(), AwsError> {
        if self.0 == TRIES_AGAIN || !matches!(error, AwsError::Throttled { .. }) {
            return Err(error);
        }
        tokio::time::sleep(jittered(Duration::from_secs(1 << self.0))).await;
        self.0 += 1;
        Ok(())
    }
}

/// A proof that the lock was held, and patching not paused, a moment ago.
#[derive(Debug, Clone, Copy)]
pub(super) struct Confirmation(Duration);

impl<S: Answers, L: Answers> Running<'_, S, L> {
    /// The directories of the services' volumes, before any task could need them. Why some can't be had is remembered.
    pub(super) async fn directories(&mut self, services: &[Service]) -> Result<(), RoundError> {
        let mut wanted = BTreeMap::new();
        if self.lock.is_none() {
            return Ok(());
        }
        for service in services {
            let Some(primary) = service.primary() else { continue };
            if self.still_refused(service).is_some() {
                continue;
            }
            let reading = match self.reading(&primary.task_definition, service.is_daemon).await {
                Ok(reading) => reading,
                // Told when the service is looked at.
                Err(error) if error.of_one_service().is_some() => continue,
                Err(error) => return Err(error),
            };
            for needed in reading.volumes() {
                let one = wanted_of(needed, &self.round.first_use);
                match wanted.entry(one.path.clone()) {
                    Entry::Vacant(entry) => drop(entry.insert(one)),
                    // Several services have it: who can't wait for it decides.
                    Entry::Occupied(mut entry) => entry.get_mut().join(one),
                }
            }
        }
        let ensured = &self.round.memory.ensured;
        let is_new = |wanted: &Wanted| ensured.get(&wanted.path) != Some(&hashed(wanted));
        let wanted: Vec<Wanted> = wanted.into_values().filter(is_new).collect();
        for volumes in wanted.chunks(VOLUMES_AT_A_TIME) {
            self.ensure(volumes).await?;
        }
        Ok(())
    }

    async fn ensure(&mut self, volumes: &[Wanted]) -> Result<(), RoundError> {
        let request = Request::Ensure(EnsureRequest {
            volumes: volumes.to_vec(),
            by: self.round.instance.clone(),
            now: timestamp(SystemTime::now()),
            format: self.round.format,
        });
        let Ensured { made, chown_denied, busy, refused } =
            match self.share.ask_within(&request, SHARE_DEADLINE).await {
                Ok(ensured) => ensured,
                // The share answers, and has none of them: what needs no directory goes on.
                Err(WorkerError::Failed(why)) => {
                    let refused =
                        |volume: &Wanted| Refused { path: volume.path.clone(), why: why.text.clone() };
                    Ensured { refused: volumes.iter().map(refused).collect(), ..Ensured::default() }
                }
                Err(error) => return Err(RoundError::Share(error)),
            };
        for path in &made {
            info!(cluster = %self.round.cluster, volume = %path, "directory made");
        }
        if !chown_denied.is_empty() {
            warn!(
                cluster = %self.round.cluster, volumes = %chown_denied.join(", "),
                "the share lets nobody change owners (an access point with a user of its own, or an export that squashes root): these new volumes stay whose the share says, and containers that run as another user can't write there"
            );
        }
        let memory = &mut self.round.memory;
        for volume in volumes {
            memory.refused_paths.remove(&volume.path);
        }
        memory.refused_paths.extend(refused.into_iter().map(|refused| (refused.path, refused.why)));
        let is_done = |path: &String| !memory.refused_paths.contains_key(path) && !busy.contains(path);
        let had: Vec<&Wanted> = volumes.iter().filter(|volume| is_done(&volume.path)).collect();
        memory.ensured.extend(had.into_iter().map(|volume| (volume.path.clone(), hashed(volume))));
        Ok(())
    }

    /// Registers, and compares ECS's answer with what was sent before anything uses it.
    pub(super) async fn register(
        &mut self,
        lock: &L,
        service: &Service,
        unpatched: &Unpatched,
    ) -> Result<Result<String, Verdict>, RoundError> {
        let (_, source) = about(service);
        let document = self.documents(service).await?.patched.clone();
        let mut throttled = Throttled::default();
        let (answer, request_id) = loop {
            self.ecs.may_register().await;
            self.confirm(lock).await?.still_holds()?;
            match self.ecs.register(&document).await {
                Ok(registered) => break registered,
                Err(error) => throttled.after(error).await?,
            }
        };
        self.registered += 1;
        let arn = answer.pointer("/taskDefinition/taskDefinitionArn").and_then(serde_json::Value::as_str);
        let Some(arn) = arn.map(str::to_owned) else {
            let reason = "ECS's answer to RegisterTaskDefinition names no revision";
            return Ok(Err(Verdict::refused("refused-by-aws", reason)));
        };
        let dropped = patch::dropped_fields(&document, &answer);
        self.note(format!("registered {arn} for service {}", service.name));
        info!(by = %self.round.instance, cluster = %self.round.cluster, service = %service.name, %source, revision = %arn, fingerprint = %unpatched.fingerprint, %request_id, why = WHY, "patched revision registered");
        if dropped.is_empty() {
            self.read_registered(&arn, service.is_daemon, answer);
            return Ok(Ok(arn));
        }
        let reason = format!(
            "ECS did not keep {} of revision {arn}, so the service was not moved to it. Deregister {arn}, and deploy without what ECS does not keep",
            dropped.join(", ")
        );
        let known = Dropped { source, reason: reason.clone() };
        self.change_history(service, |history| history.dropped = Some(known));
        // The next leader must not register it once more.
        self.remember().await?;
        Ok(Err(Verdict::refused("dropped-field", reason)))
    }

    /// Moves the service, if it is still what was decided about.
    pub(super) async fn moved(
        &mut self,
        lock: &L,
        service: &Service,
        unpatched: &Unpatched,
        to: String,
    ) -> Result<Verdict, RoundError> {
        let (from_deployment, source) = about(service);
        let moving = Moved {
            source: source.clone(),
            patched: to.clone(),
            fingerprint: unpatched.fingerprint.clone(),
            from_deployment: from_deployment.clone(),
            has_failed: false,
        };
        let Some((now, request_id)) = self.update(lock, service, &to, Some(moving)).await? else {
            return Ok(superseded());
        };
        self.note(format!("moved service {} to {to}", service.name));
        info!(by = %self.round.instance, cluster = %self.round.cluster, service = %service.name, from = %source, to = %to, deployment = %from_deployment, %request_id, why = WHY, "service updated");
        let overtaken = now.as_ref().and_then(|now| now.overtaken(&from_deployment));
        let overtaken = overtaken.map(|overtaken| overtaken.task_definition.clone());
        self.round.memory.refused.remove(&service.arn);
        self.change_history(service, |history| history.moved = history.moving.take());
        if let (Some(now), Some(overtaken)) = (&now, overtaken) {
            return self.given_back(lock, now, overtaken).await;
        }
        Ok(Verdict::because(Outcome::Updated, "moved", format!("moved to {to}")))
    }

    /// Moves the service to what its author deployed in the moment between the last look and our move. It is patched like any other
    /// deploy then.
    pub(super) async fn given_back(
        &mut self,
        lock: &L,
        service: &Service,
        to: String,
    ) -> Result<Verdict, RoundError> {
        let Some((_, request_id)) = self.update(lock, service, &to, None).await? else {
            return Ok(superseded());
        };
        let (_, from) = about(service);
        self.note(format!("moved service {} back to {to}", service.name));
        warn!(by = %self.round.instance, cluster = %self.round.cluster, service = %service.name, %from, %to, %request_id, why = "somebody deployed it in the moment before the patch, which overtook it", "service moved back");
        let reason = format!(
            "moved back to {to}, which was deployed in the moment before a patch; it is patched next"
        );
        Ok(Verdict::because(Outcome::Updated, "moved", reason))
    }

    /// Sends the move: the service as it is then, and the request's id. `None`: it is not any more what was decided about.
    async fn update(
        &mut self,
        lock: &L,
        service: &Service,
        to: &str,
        moving: Option<Moved>,
    ) -> Result<Option<(Option<Service>, String)>, RoundError> {
        let mut throttled = Throttled::default();
        loop {
            self.ecs.may_update().await;
            let fresh = self.ecs.service(&self.round.cluster, &service.arn).await?;
            if fresh.as_ref().map(about) != Some(about(service)) {
                return Ok(None);
            }
            if let Some(moving) = &moving {
                // Only who holds the lock writes the record; how long a slow share takes for it must not use up the confirmation.
                self.write_through(lock).await?;
                self.intend(service, moving.clone()).await?;
            }
            self.confirm(lock).await?.still_holds()?;
            match self.ecs.update_service(&self.round.cluster, &service.arn, to).await {
                Ok(updated) => {
                    self.updated += 1;
                    return Ok(Some(updated));
                }
                Err(error) => {
                    if moving.is_some() && error.is_refusal() {
                        self.not_intended(service).await?;
                    }
                    throttled.after(error).await?;
                }
            }
        }
    }

    pub(super) async fn not_paused(&self) -> Result<(), RoundError> {
        match self.share.ask_within(&Request::Paused, SHARE_DEADLINE).await.map_err(RoundError::Share)? {
            true => Err(RoundError::Paused),
            false => Ok(()),
        }
    }

    /// Asks whether an operator paused patching, then writes through the lock and notes when that began.
    pub(super) async fn confirm(&self, lock: &L) -> Result<Confirmation, RoundError> {
        self.not_paused().await?;
        let begun = since_boot()?;
        self.write_through(lock).await?;
        Ok(Confirmation(begun))
    }

    /// Fails if the lock is not held any more.
    pub(super) async fn write_through(&self, lock: &L) -> Result<(), RoundError> {
        lock.ask_within::<()>(&Request::ConfirmLock, CONFIRM_DEADLINE).await.map_err(RoundError::LostLock)
    }
}

impl Confirmation {
    /// Asked just before a change is sent.
    fn still_holds(self) -> Result<(), RoundError> {
        let age = since_boot()?.saturating_sub(self.0);
        if age <= CONFIRMATION_LASTS { Ok(()) } else { Err(RoundError::LostLock(WorkerError::TimedOut(age))) }
    }
}

/// A clock that counts suspension (CLOCK_BOOTTIME, clock_gettime(2)).
fn since_boot() -> Result<Duration, RoundError> {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).map_err(RoundError::Clock)
}
