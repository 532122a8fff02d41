//! What `volumes-agent doctor` looks at: every fact that it judges, each with a time limit, those that don't need each other at
//! the same time. Nothing is changed but one file on the share, which is removed again.
//!
//! A fact that can't be had is a sentence that says why. What may hang with the share is asked of a child that is killed when its
//! time is up; of files, only what the kernel answers from memory is read here (/proc, /sys).

mod machine;
mod nfs;

use crate::{
    aws,
    config::{Config, MountMode, ShareChoice},
    diagnostics::in_one_line,
    dns,
    doctor::{Dns, Findings, Port, ShareAnswers, Silence, Target, image::LeftBehind, is_denied},
    drift::Drift,
    ecs::{Ecs, rights::Right},
    ecs_agent::{self, Registration},
    efs, guard,
    imds::{self, Instance},
    loopback,
    mountinfo::MountEntry,
    observed::Observed,
    port::NFS_PORT,
    report::Report,
    round_trip::RoundTrip,
    share_worker::{Request, Worker, WorkerError},
    target::{MountTarget, Place},
};
use std::{
    error::Error,
    net::SocketAddr,
    time::{Duration, SystemTime},
};
use tokio::time::timeout;

/// Nothing takes longer, all together: instance metadata, the client of AWS, AWS, the network; the share and the rest beside them.
pub const LONGEST: Duration = Duration::from_secs(25);
/// Instance metadata: a few small answers from the machine below this one.
const METADATA_WITHIN: Duration = Duration::from_secs(8);
/// Making the client of AWS: it reads files, and perhaps asks metadata.
const CLIENT_WITHIN: Duration = Duration::from_secs(3);
/// EFS, or all of what ECS is asked; a call gives up by itself sooner.
const AWS_WITHIN: Duration = Duration::from_secs(8);
/// A name.
const NAME_WITHIN: Duration = Duration::from_secs(3);
/// A connection, and then a call on it.
const CONNECTION_WITHIN: Duration = Duration::from_secs(2);
/// The share's first sign of life.
const SHARE_WITHIN: Duration = Duration::from_secs(5);
/// The marker, the round trip, the volumes: a few answers each.
const FILE_WITHIN: Duration = Duration::from_secs(5);
/// A look at all volumes, as far as it comes.
const DRIFT_BUDGET: Duration = Duration::from_secs(3);
/// The daemon, the ECS agent, systemd: processes of this machine, which may be busy.
const LOCAL_WITHIN: Duration = Duration::from_secs(8);

// One after the other; a connection and the call on it take their time each.
const _: () = {
    let remote = METADATA_WITHIN.as_secs() + CLIENT_WITHIN.as_secs() + AWS_WITHIN.as_secs();
    assert!(remote + NAME_WITHIN.as_secs() <= LONGEST.as_secs());
    assert!(remote + 2 * CONNECTION_WITHIN.as_secs() <= LONGEST.as_secs());
    assert!(DRIFT_BUDGET.as_secs() < FILE_WITHIN.as_secs());
    assert!(SHARE_WITHIN.as_secs() + 3 * FILE_WITHIN.as_secs() <= LONGEST.as_secs());
};

/// What the command knows before anything is looked at.
#[derive(Debug)]
pub struct Given {
    /// The configuration, or all that is wrong with it.
    pub configuration: Result<Config, String>,
    /// Where it is.
    pub file: String,
    /// The daemon's environment file, if its variables are in force; else why not.
    pub environment: Result<Option<String>, String>,
}

/// Looks at everything; takes [`LONGEST`] at most.
///
/// Each branch is a task of its own, for a runtime of several threads: what keeps one thread busy (the client of AWS reads all root
/// certificates) must not look like another's silence.
pub async fn look(given: Given) -> Findings {
    let config = given.configuration.clone().unwrap_or_default();
    let mounts = machine::mounts();
    let mounted = mounts.as_ref().ok().and_then(|mounts| mounts.last()).cloned();
    let share = tokio::spawn(share(mounted.clone()));
    let daemon = tokio::spawn(daemon(config.listen));
    let units = tokio::spawn(machine::units());
    let clock = tokio::spawn(clock());
    let is_configured = given.configuration.is_ok();
    let remote = tokio::spawn(remote(config, is_configured, given.file.clone(), mounted.clone()));
    let nfs_client = machine::nfs_client().await;
    let ended = |error: tokio::task::JoinError| format!("looking at it failed: {error}");
    let (units, main_pid) = match units.await.map_err(ended).and_then(|units| units) {
        Ok((units, main_pid)) => (Ok(units), main_pid),
        Err(why) => (Err(why), None),
    };
    let daemon = daemon.await.map_err(ended).and_then(|daemon| daemon);
    let clock = clock.await.map_err(ended).and_then(|clock| clock);
    let share = share.await.unwrap_or_else(|error| silent(Silence::Failed(ended(error))));
    let remote = remote.await.unwrap_or_else(|error| Remote::unknown(&ended(error)));
    let statistics = machine::statistics(mounted.as_ref());
    Findings {
        is_root: machine::is_root(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        helper: machine::helper(),
        configuration: given.configuration,
        configuration_file: given.file,
        environment: given.environment,
        nfs_client,
        bare: guard::examine().map_err(|error| error.to_string()),
        identifier: machine::identifier(),
        recovers_lost_locks: machine::recovers_lost_locks(),
        file_handles: machine::file_handles(),
        clock_ahead_seconds: clock,
        read_ahead_kib: machine::read_ahead(mounted.as_ref()),
        locks_held: statistics.as_ref().ok().map(|statistics| statistics.locks.held),
        lease: statistics.and_then(|statistics| {
            statistics.mount.lease.ok_or_else(|| "/proc/self/mountstats tells no `lease_time`".to_owned())
        }),
        docker: machine::docker(mounted.as_ref()),
        daemon_is_replaced: main_pid.is_some_and(machine::is_replaced),
        mounts,
        registration: remote.registration,
        ecs_config_cluster: ecs_agent::configured_cluster(),
        instance: remote.instance,
        target: remote.target,
        dns: remote.dns,
        port: remote.port,
        rights: remote.rights,
        share,
        daemon,
        units,
    }
}

/// What this machine would leave in an image of it.
pub fn left_behind(given: &Given) -> LeftBehind {
    machine::left_behind(&given.configuration.clone().unwrap_or_default().state_dir)
}

async fn registration() -> Result<Registration, String> {
    within(LOCAL_WITHIN, ecs_agent::registration()).await
}

/// By how many seconds this machine's clock is ahead.
async fn clock() -> Result<f64, String> {
    let theirs = within(METADATA_WITHIN, imds::time()).await?;
    let ours = SystemTime::now();
    Ok(match ours.duration_since(theirs) {
        Ok(ahead) => ahead.as_secs_f64(),
        Err(behind) => -behind.duration().as_secs_f64(),
    })
}

async fn daemon(listen: SocketAddr) -> Result<Report, String> {
    let url = format!("http://{listen}/status");
    let answer = within(LOCAL_WITHIN, loopback::get(&url, LOCAL_WITHIN)).await?;
    serde_json::from_slice(&answer.body).map_err(|error| format!("{url}: not the agent's answer: {error}"))
}

/// The share said nothing.
fn silent(why: Silence) -> Option<ShareAnswers> {
    let not_asked = || "the share does not answer".to_owned();
    Some(ShareAnswers {
        answers: Err(why),
        marker: Err(not_asked()),
        round_trip: Err(not_asked()),
        drift: Err(not_asked()),
    })
}

/// Everything that is asked of the share, by one child that is killed at the end, or when its time is up.
async fn share(mounted: Option<MountEntry>) -> Option<ShareAnswers> {
    if !mounted?.fs_type.starts_with("nfs") {
        return None;
    }
    let mut worker = match Worker::start() {
        Ok(worker) => worker,
        Err(error) => return silent(Silence::Failed(in_one_line(&error))),
    };
    match worker.ask_within::<()>(&Request::Probe, SHARE_WITHIN).await {
        Ok(()) => {}
        Err(WorkerError::TimedOut(after)) => return silent(Silence::TimedOut(after)),
        Err(error) => return silent(Silence::Failed(in_one_line(&error))),
    }
    let marker: Result<Option<String>, _> = worker.ask_within(&Request::ReadMarker, FILE_WITHIN).await;
    if let Err(WorkerError::TimedOut(after)) = marker {
        return silent(Silence::TimedOut(after));
    }
    let round_trip: Result<Option<RoundTrip>, _> = worker.ask_within(&Request::RoundTrip, FILE_WITHIN).await;
    if let Err(WorkerError::TimedOut(after)) = round_trip {
        return silent(Silence::TimedOut(after));
    }
    // Last: a share of many volumes may take longer, and says nothing of itself by that.
    let budget_ms = DRIFT_BUDGET.as_millis().try_into().unwrap_or(u64::MAX);
    let drift: Result<Drift, _> = worker.ask_within(&Request::LookForDrift { budget_ms }, FILE_WITHIN).await;
    let told = |error: WorkerError| in_one_line(&error);
    Some(ShareAnswers {
        answers: Ok(()),
        marker: marker.map_err(told),
        round_trip: round_trip.map_err(told),
        drift: drift.map_err(told),
    })
}

/// What needs instance metadata or the ECS agent first.
struct Remote {
    instance: Result<Instance, String>,
    registration: Result<Registration, String>,
    target: Target,
    dns: Option<Dns>,
    port: Option<Port>,
    rights: Option<Vec<Right>>,
}

impl Remote {
    fn unknown(why: &str) -> Self {
        Self {
            instance: Err(why.to_owned()),
            registration: Err(why.to_owned()),
            target: Target::NotAsked(why.to_owned()),
            dns: None,
            port: None,
            rights: None,
        }
    }
}

async fn remote(config: Config, is_configured: bool, file: String, mounted: Option<MountEntry>) -> Remote {
    let registration = tokio::spawn(registration());
    let instance = within(METADATA_WITHIN, imds::instance()).await;
    let registration = registration.await.unwrap_or_else(|error| Err(error.to_string()));
    let config = &config;
    let observed = Observed {
        instance: instance.clone().ok(),
        // The cluster's name may be the rack's.
        registration: registration.clone().ok(),
        ecs_config_cluster: ecs_agent::configured_cluster(),
        ..Observed::default()
    };
    let region = observed.region(config);
    let sdk = match &region {
        Some(region) => timeout(CLIENT_WITHIN, aws::connect(region)).await.ok(),
        None => None,
    };
    let (target, rights) = tokio::join!(
        async {
            if !is_configured {
                return Target::NotAsked(
                    "which file system it should be is not known: the configuration is wrong".to_owned(),
                );
            }
            match observed.share(config, &file) {
                Err(why) => Target::NotAsked(why),
                Ok(_) if config.mount != MountMode::Direct => Target::External,
                Ok(ShareChoice::NfsServer { address, export }) => {
                    Target::Found(MountTarget::plain_server(address, &export))
                }
                Ok(share) => match &sdk {
                    None => Target::NotAsked("the region is not known".to_owned()),
                    Some(sdk) => {
                        let nowhere = Place { zone: "", subnet: None };
                        asked_efs(sdk, &share, instance.as_ref().map_or(nowhere, Instance::place)).await
                    }
                },
            }
        },
        async {
            let (Some(sdk), Some(cluster), true) =
                (&sdk, observed.cluster(config), config.patch && is_configured)
            else {
                return None;
            };
            timeout(AWS_WITHIN, Ecs::new(sdk).reading_rights(&cluster)).await.ok()
        },
    );
    let server = server(mounted.as_ref(), &target);
    let (dns, port) = tokio::join!(name(&target, region.as_deref()), async {
        let address = server?;
        Some(Port { address, reached: nfs::reach(address, CONNECTION_WITHIN).await })
    });
    Remote { instance, registration, target, dns, port, rights }
}

async fn asked_efs(sdk: &aws_config::SdkConfig, share: &ShareChoice, place: Place<'_>) -> Target {
    match timeout(AWS_WITHIN, efs::mount_target(sdk, share, place)).await {
        Ok(Ok(target)) => Target::Found(target),
        Ok(Err(error)) => {
            Target::Failed { why: in_one_line(&error), help: error.help(), denied: is_denied(&error) }
        }
        Err(_) => Target::Failed {
            why: format!("no answer from EFS within {}", humantime::format_duration(AWS_WITHIN)),
            help: "AWS is out of reach: look at routes, endpoints and proxies".to_owned(),
            denied: false,
        },
    }
}

/// The server to try: the one that is mounted, else the one that should be.
fn server(mounted: Option<&MountEntry>, target: &Target) -> Option<SocketAddr> {
    let mounted_port = |entry: &MountEntry| {
        let port = entry.options.split(',').find_map(|option| option.strip_prefix("port="));
        port.and_then(|port| port.parse().ok()).filter(|port| *port != 0).unwrap_or(NFS_PORT)
    };
    let of_mount = mounted.and_then(|entry| Some(SocketAddr::new(entry.server()?, mounted_port(entry))));
    of_mount.or_else(|| target.found().map(|target| SocketAddr::new(target.address, NFS_PORT)))
}

async fn name(target: &Target, region: Option<&str>) -> Option<Dns> {
    let found = target.found()?;
    // A plain server has no name.
    found.zone.as_ref()?;
    let name = dns::name(&found.file_system, region?);
    let address = match timeout(NAME_WITHIN, dns::look_up(&name)).await {
        Ok(address) => address,
        Err(_) => Err(format!("{name} does not resolve: {}", no_answer(NAME_WITHIN))),
    };
    Some(Dns { name, address })
}

fn no_answer(after: Duration) -> String {
    format!("no answer within {}", humantime::format_duration(after))
}

async fn within<T, E: Error + 'static>(
    deadline: Duration,
    looking: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match timeout(deadline, looking).await {
        Ok(result) => result.map_err(|error| in_one_line(&error)),
        Err(_) => Err(no_answer(deadline)),
    }
}
