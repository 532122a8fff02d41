//! Constructed findings: an instance on which all is well, and what each fault makes of it.

use super::*;
use crate::{
    config::{MountFlag, MountMode, ShareChoice, Sources},
    containers::{Elsewhere, Why},
    doctor::units::UNITS,
    guard::Guard,
    mount_state::MountState,
    mountinfo,
    report::{Gate, Health, MountReport},
};

const TABLE: &str = "60 21 0:44 / /volumes rw,nosuid,nodev,relatime shared:30 - nfs4 10.0.0.5:/ rw,vers=4.1,rsize=1048576,wsize=1048576,namlen=255,hard,noresvport,proto=tcp,timeo=600,retrans=2,sec=sys,clientaddr=10.0.0.9,local_lock=none,addr=10.0.0.5\n";

/// An instance on which all is well.
pub(crate) fn well() -> Findings {
    let target = MountTarget {
        file_system: "fs-1".to_owned(),
        zone: Some("us-east-1a".to_owned()),
        all_addresses: vec!["10.0.0.5".parse().unwrap(), "10.0.1.5".parse().unwrap()],
        ..MountTarget::plain_server("10.0.0.5".parse().unwrap(), "/")
    };
    let milliseconds = Duration::from_millis;
    Findings {
        is_root: true,
        version: "1.2.3".to_owned(),
        helper: Ok(()),
        configuration: Ok(Config::default()),
        configuration_file: "/etc/volumes-agent/config.toml".to_owned(),
        environment: Ok(None),
        nfs_client: NfsClient::Loaded,
        bare: Ok(Bare::Directory { guard: Guard::Set, inside: vec![], unguarded: vec![] }),
        identifier: Ok(Some("i-1".to_owned())),
        recovers_lost_locks: false,
        file_handles: Ok(FileHandles { used: 1200, most: i64::MAX.unsigned_abs() }),
        clock_ahead_seconds: Ok(0.4),
        mounts: Ok(mountinfo::stack_at(TABLE, "/volumes")),
        read_ahead_kib: Ok(15360),
        lease: Ok(Lease { seconds: 90, expired_seconds: 0 }),
        locks_held: Some(3),
        instance: Ok(Instance {
            id: "i-1".to_owned(),
            zone: "us-east-1a".to_owned(),
            region: "us-east-1".to_owned(),
            subnet: None,
            wrong_tag: None,
            rack: Some("production".parse().unwrap()),
        }),
        registration: Ok(Registration {
            cluster: "production".to_owned(),
            container_instance: "arn:aws:ecs:us-east-1:123456789012:container-instance/production/0f"
                .to_owned(),
        }),
        ecs_config_cluster: Some("production".to_owned()),
        target: Target::Found(target),
        dns: Some(Dns {
            name: "fs-1.efs.us-east-1.amazonaws.com".to_owned(),
            address: Ok("10.0.0.5".parse().unwrap()),
        }),
        port: Some(Port {
            address: "10.0.0.5:2049".parse().unwrap(),
            reached: Reached::Answered { connected: milliseconds(1), answered: milliseconds(2) },
        }),
        share: Some(ShareAnswers {
            answers: Ok(()),
            marker: Ok(Some("fs-1".to_owned())),
            round_trip: Ok(Some(trip())),
            drift: Ok(Drift { volumes: 3, is_all: true, told: vec![] }),
        }),
        daemon: Ok(report()),
        rights: Some(vec![Right { action: "ecs:ListServices", refused: None }]),
        docker: Docker::SeesTheHost,
        units: Ok(units()),
        daemon_is_replaced: false,
    }
}

fn trip() -> RoundTrip {
    RoundTrip { answer_ms: 0.6, write_ms: 7.25, read_ms: 1.5, delete_ms: 3.0, lock_refused: None }
}

fn report() -> Report {
    Report {
        health: Health {
            state: MountState::Ready,
            reason: "10.0.0.5:/ answers".to_owned(),
            since: "2026-01-02T03:04:05Z".to_owned(),
            gate: Gate::Open,
            version: "1.2.3".to_owned(),
            mount: Some(MountReport {
                source: "10.0.0.5:/".to_owned(),
                file_system: "fs-1".to_owned(),
                zone: Some("us-east-1a".to_owned()),
                ..MountReport::default()
            }),
            ..Health::default()
        },
        ..Report::default()
    }
}

fn units() -> Vec<Unit> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let drop_ins = ["/usr/lib/systemd/system/ecs.service.d/volumes-agent.conf".to_owned()];
    UNITS
        .iter()
        .map(|name| Unit {
            name: (*name).to_owned(),
            is_loaded: true,
            active: "active".to_owned(),
            enabled: "enabled".to_owned(),
            before: names(&["docker.service", "ecs.service"]),
            after: names(&["volumes-agent.service"]),
            drop_ins: drop_ins.to_vec(),
            ..Unit::default()
        })
        .collect()
}

fn changed(change: impl FnOnce(&mut Findings)) -> Findings {
    let mut found = well();
    change(&mut found);
    found
}

fn options(found: &mut Findings, from: &str, to: &str) {
    let mounts = found.mounts.as_mut().unwrap();
    let options = &mut mounts.last_mut().unwrap().options;
    assert!(options.contains(from), "{options}");
    *options = options.replace(from, to);
}

fn share(found: &mut Findings) -> &mut ShareAnswers {
    found.share.as_mut().unwrap()
}

fn unit<'a>(found: &'a mut Findings, name: &str) -> &'a mut Unit {
    found.units.as_mut().unwrap().iter_mut().find(|unit| unit.name == name).unwrap()
}

fn refused(cause: &str, denied: bool) -> Option<AwsError> {
    let (call, cause) = ("ecs:ListServices", cause.to_owned());
    Some(if denied { AwsError::Denied { call, cause } } else { AwsError::Unreachable { call, cause } })
}

#[test]
fn where_all_is_well_every_check_passes_and_asks_for_nothing() {
    let checks = examine(&well());
    for check in &checks {
        assert_eq!((check.result, &check.help), (Verdict::Pass, &None), "{check:?}");
    }
    assert_eq!(worst(&checks), Verdict::Pass);
    let names: std::collections::BTreeSet<_> = checks.iter().map(|check| check.name).collect();
    assert_eq!(names.len(), checks.len(), "a name is one check's");
}

/// What is wrong, the check that must tell it, its verdict and some of its words.
type Fault = (fn(&mut Findings), &'static str, Verdict, &'static str);

const FAULTS: &[Fault] = &[
    (
        |f| f.configuration = Err("F:1: unknown key `x`".to_owned()),
        "configuration",
        Verdict::Fail,
        "F:1: unknown key `x`",
    ),
    (
        |f| f.environment = Err("F: no".to_owned()),
        "configuration",
        Verdict::Unknown,
        "environment is not known: F: no",
    ),
    (
        |f| f.daemon = Err("GET u: refused".to_owned()),
        "daemon",
        Verdict::Fail,
        "no daemon answers: GET u: refused",
    ),
    (
        |f| f.daemon.as_mut().unwrap().health.state = MountState::Stalled,
        "daemon",
        Verdict::Fail,
        "stalled since",
    ),
    (
        |f| f.daemon.as_mut().unwrap().problems.push("p".to_owned()),
        "daemon",
        Verdict::Warn,
        "1 of its actions fail",
    ),
    (
        |f| f.daemon.as_mut().unwrap().configuration_problem = Some("p".to_owned()),
        "daemon",
        Verdict::Warn,
        "older configuration: p",
    ),
    (
        |f| f.helper = Err("No such file".to_owned()),
        "helper",
        Verdict::Fail,
        "Tasks that wait for it don't start here",
    ),
    (|f| f.version = "1.2.4".to_owned(), "version", Verdict::Warn, "the daemon is 1.2.3, this binary 1.2.4"),
    (|f| f.daemon_is_replaced = true, "version", Verdict::Warn, "was replaced"),
    (|f| f.nfs_client = NfsClient::Missing, "nfs-client", Verdict::Fail, "no NFSv4 client"),
    (|f| f.bare = Ok(Bare::Missing), "mount-point", Verdict::Fail, "no directory /volumes"),
    (|f| f.bare = Ok(Bare::NotADirectory), "mount-point", Verdict::Fail, "is not a directory"),
    (
        |f| f.bare = Ok(bare(Guard::Set, &["a", "b"], &[])),
        "mount-point",
        Verdict::Warn,
        "2 names lie from before on this instance's own disk, which the share hides: `a`, `b`",
    ),
    (|f| f.bare = Ok(bare(Guard::Unset, &[], &[])), "guard", Verdict::Fail, "NOT immutable"),
    (
        |f| f.bare = Ok(bare(Guard::Set, &["a"], &["a"])),
        "guard",
        Verdict::Warn,
        "not what lies in it from before: `a`",
    ),
    (|f| f.bare = Ok(bare(Guard::Unsupported, &[], &[])), "guard", Verdict::Fail, "no immutable flag"),
    (
        |f| f.identifier = Ok(Some("(null)".to_owned())),
        "client-identifier",
        Verdict::Warn,
        "it is `(null)`, not the instance's id `i-1`",
    ),
    (|f| f.identifier = Ok(None), "client-identifier", Verdict::Warn, "is not there"),
    (
        |f| f.file_handles = Ok(FileHandles { used: 85, most: 100 }),
        "file-handles",
        Verdict::Warn,
        "85 in use, 100 at most",
    ),
    (
        |f| f.file_handles = Ok(FileHandles { used: 96, most: 100 }),
        "file-handles",
        Verdict::Fail,
        "96 in use",
    ),
    (|f| f.instance = Err("metadata: no".to_owned()), "metadata", Verdict::Fail, "metadata: no"),
    (|f| f.clock_ahead_seconds = Ok(-42.0), "clock", Verdict::Warn, "42 s behind"),
    (|f| f.clock_ahead_seconds = Ok(301.0), "clock", Verdict::Fail, "301 s ahead of"),
    (
        |f| f.clock_ahead_seconds = Err("x".to_owned()),
        "clock",
        Verdict::Unknown,
        "nothing to compare it with",
    ),
    (
        |f| f.instance.as_mut().unwrap().zone = "us-east-1b".to_owned(),
        "target-zone",
        Verdict::Warn,
        "is in us-east-1a, this instance in us-east-1b",
    ),
    (|f| f.target = failed(true), "permissions", Verdict::Fail, "EFS says no"),
    (
        |f| f.target = failed(false),
        "target-zone",
        Verdict::Warn,
        "the daemon has 10.0.0.5:/ of fs-1 in us-east-1a",
    ),
    (
        |f| (f.target, f.daemon) = (failed(false), Err("x".to_owned())),
        "target-zone",
        Verdict::Fail,
        "EFS says no",
    ),
    (
        |f| f.dns.as_mut().unwrap().address = Err("no such name".to_owned()),
        "dns",
        Verdict::Warn,
        "no such name; the agent mounts by address",
    ),
    (
        |f| f.dns.as_mut().unwrap().address = Ok("10.9.9.9".parse().unwrap()),
        "dns",
        Verdict::Warn,
        "is 10.9.9.9, which is no mount target",
    ),
    (
        |f| f.port.as_mut().unwrap().reached = Reached::TimedOut(Duration::from_secs(2)),
        "tcp-2049",
        Verdict::Fail,
        "no connection within 2s",
    ),
    (
        |f| f.port.as_mut().unwrap().reached = Reached::Refused("refused".to_owned()),
        "tcp-2049",
        Verdict::Fail,
        "10.0.0.5:2049: refused",
    ),
    (
        |f| {
            f.port.as_mut().unwrap().reached =
                Reached::Silent { connected: Duration::ZERO, why: "x".to_owned() }
        },
        "tcp-2049",
        Verdict::Warn,
        "got no answer: x",
    ),
    (|f| f.mounts = Ok(vec![]), "mount", Verdict::Fail, "nothing is mounted at /volumes"),
    (
        |f| f.mounts.as_mut().unwrap()[0].fs_type = "tmpfs".to_owned(),
        "mount",
        Verdict::Fail,
        "which is not NFSv4",
    ),
    (
        |f| f.mounts.as_mut().unwrap()[0].source = "10.0.0.5:/x".to_owned(),
        "mount",
        Verdict::Fail,
        "which is not 10.0.0.5:/ of fs-1",
    ),
    (
        |f| {
            let again = f.mounts.as_ref().unwrap()[0].clone();
            f.mounts.as_mut().unwrap().push(again)
        },
        "mount",
        Verdict::Warn,
        "1 more below it",
    ),
    (
        |f| options(f, ",hard", ",soft"),
        "mount-options",
        Verdict::Fail,
        "`soft`: a slow answer becomes an error",
    ),
    (|f| options(f, "rw,nosuid", "ro,nosuid"), "mount-options", Verdict::Fail, "`ro`"),
    (|f| options(f, ",noresvport", ""), "mount-options", Verdict::Warn, "`noresvport` is missing"),
    (|f| options(f, "rsize=1048576", "rsize=65536"), "mount-options", Verdict::Warn, "`rsize=65536`"),
    (|f| options(f, "vers=4.1", "vers=4.0"), "mount-options", Verdict::Warn, "`vers=4.0`"),
    (
        |f| options(f, "timeo=600", "timeo=70,nconnect=4"),
        "mount-options",
        Verdict::Warn,
        "`timeo=70`: EFS wants 600 (60 s); `nconnect=4`",
    ),
    (
        |f| options(f, "nosuid,", ""),
        "mount-options",
        Verdict::Warn,
        "`nosuid` is missing, which `mount_flags` asks for",
    ),
    (|f| f.read_ahead_kib = Ok(128), "read-ahead", Verdict::Warn, "128 KiB, not 15360"),
    (
        |f| f.lease = Ok(Lease { seconds: 5, expired_seconds: 0 }),
        "lease-time",
        Verdict::Warn,
        "5 s: a leader",
    ),
    (
        |f| f.lease = Ok(Lease { seconds: 90, expired_seconds: 7 }),
        "lease-time",
        Verdict::Warn,
        "it ran out 7 s ago",
    ),
    (
        |f| share(f).answers = Err(Silence::TimedOut(Duration::from_secs(5))),
        "round-trip",
        Verdict::Fail,
        "no answer from the share within 5s",
    ),
    (
        |f| share(f).answers = Err(Silence::TimedOut(Duration::from_secs(5))),
        "identity",
        Verdict::Unknown,
        "the share does not answer",
    ),
    (|f| share(f).round_trip = Err("EROFS".to_owned()), "round-trip", Verdict::Fail, "EROFS"),
    (|f| share(f).round_trip = Ok(None), "round-trip", Verdict::Unknown, "makes no directories"),
    (
        |f| share(f).round_trip = Ok(Some(RoundTrip { write_ms: 800.0, ..trip() })),
        "round-trip",
        Verdict::Warn,
        "written in 800.0 ms, read in 1.5 ms, removed in 3.0 ms: slow",
    ),
    (
        |f| share(f).round_trip = Ok(Some(RoundTrip { lock_refused: Some("ENOLCK".to_owned()), ..trip() })),
        "locks",
        Verdict::Fail,
        "the server gave no lock: ENOLCK",
    ),
    (
        |f| {
            share(f).drift =
                Ok(Drift { volumes: 3, is_all: true, told: vec!["a is b's".to_owned(), "c".to_owned()] })
        },
        "ownership",
        Verdict::Warn,
        "volumes that are not as asked for: 2 of 3; a is b's",
    ),
    (
        |f| share(f).drift = Ok(Drift { volumes: 2, is_all: false, told: vec![] }),
        "ownership",
        Verdict::Unknown,
        "not all volumes were looked at, there was no time; of 2 none",
    ),
    (|f| f.recovers_lost_locks = true, "locks", Verdict::Warn, "hides when one was lost"),
    (
        |f| share(f).marker = Ok(Some("fs-0".to_owned())),
        "identity",
        Verdict::Fail,
        "says that it is `fs-0`, not `fs-1`",
    ),
    (|f| share(f).marker = Ok(None), "identity", Verdict::Unknown, "there is no marker"),
    (|f| f.registration = Err("not yet".to_owned()), "ecs-agent", Verdict::Fail, "not yet"),
    (
        |f| f.ecs_config_cluster = Some("staging".to_owned()),
        "ecs-agent",
        Verdict::Warn,
        "registered in `production`, but configured for `staging`",
    ),
    (
        |f| f.daemon.as_mut().unwrap().health.gate = Gate::Closed,
        "gate",
        Verdict::Warn,
        "closed, and the share is ready",
    ),
    (
        |f| {
            let health = &mut f.daemon.as_mut().unwrap().health;
            (health.gate, health.state) = (Gate::Closed, MountState::Lost)
        },
        "gate",
        Verdict::Fail,
        "closed",
    ),
    (|f| f.daemon = Err("x".to_owned()), "gate", Verdict::Unknown, "ECS has what it was told last"),
    (
        |f| f.rights = Some(vec![Right { action: "ecs:ListServices", refused: refused("no", true) }]),
        "permissions",
        Verdict::Warn,
        "not allowed: ecs:ListServices",
    ),
    (
        |f| f.rights = Some(vec![Right { action: "ecs:ListServices", refused: refused("no", false) }]),
        "permissions",
        Verdict::Unknown,
        "out of reach: no",
    ),
    (|f| f.rights = None, "permissions", Verdict::Unknown, "ECS was not asked"),
    (|f| f.docker = Docker::NotRunning, "docker", Verdict::Warn, "no Docker engine runs here"),
    (
        |f| f.docker = Docker::Apart { device: None, is_shared: true },
        "docker",
        Verdict::Fail,
        "does NOT see the share",
    ),
    (
        |f| f.docker = Docker::Apart { device: Some("0:44".to_owned()), is_shared: false },
        "docker",
        Verdict::Warn,
        "would not see it mounted anew",
    ),
    (
        |f| unit(f, "volumes-agent.service").is_loaded = false,
        "unit-order",
        Verdict::Fail,
        "there is no volumes-agent.service",
    ),
    (
        |f| unit(f, "volumes-agent-guard.service").enabled = "disabled".to_owned(),
        "unit-order",
        Verdict::Warn,
        "volumes-agent-guard.service is disabled: nothing guards",
    ),
    (
        |f| unit(f, "volumes-agent.service").before.clear(),
        "unit-order",
        Verdict::Fail,
        "does not come before docker.service",
    ),
    (
        |f| unit(f, "volumes-agent.service").is_apart = true,
        "unit-order",
        Verdict::Fail,
        "mount namespace of its own",
    ),
    (|f| unit(f, "ecs.service").drop_ins.clear(), "unit-order", Verdict::Fail, "lacks the drop-in"),
    (|f| unit(f, "ecs.service").is_loaded = false, "unit-order", Verdict::Unknown, "there is no ecs.service"),
    (
        |f| unit(f, "volumes.mount").before.clear(),
        "unit-order",
        Verdict::Warn,
        "at shutdown the share may go before it",
    ),
    (
        |f| unit(f, "docker.service").needs_reload = true,
        "unit-order",
        Verdict::Warn,
        "docker.service changed on disk",
    ),
    (
        |f| f.daemon.as_mut().unwrap().containers_elsewhere.push(elsewhere()),
        "containers",
        Verdict::Fail,
        "what it writes to /data goes to /volumes/a/data on this instance's own disk",
    ),
    (|f| f.daemon = Err("x".to_owned()), "containers", Verdict::Unknown, "the daemon does not answer"),
    (
        |f| {
            f.configuration = Ok(external());
            share(f).marker = Ok(None)
        },
        "identity",
        Verdict::Fail,
        "nobody said yet which file system this is",
    ),
];

fn elsewhere() -> Elsewhere {
    Elsewhere {
        container: None,
        process: 7,
        mount_point: "/data".to_owned(),
        path: "/volumes/a/data".to_owned(),
        why: Why::OwnDisk,
        name: None,
        task: None,
        family: None,
    }
}

/// The configuration of a share that others mount.
fn external() -> Config {
    let share = Some(ShareChoice::FileSystem("fs-1".to_owned()));
    Config { share, mount: MountMode::External, ..Config::default() }
}

fn bare(guard: Guard, inside: &[&str], unguarded: &[&str]) -> Bare {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Bare::Directory { guard, inside: owned(inside), unguarded: owned(unguarded) }
}

fn failed(denied: bool) -> Target {
    Target::Failed { why: "EFS says no".to_owned(), help: "ask again".to_owned(), denied }
}

#[test]
fn each_fault_is_told_by_its_check_with_what_to_do() {
    for (change, name, verdict, words) in FAULTS {
        let checks = examine(&changed(change));
        let check = checks.iter().find(|check| check.name == *name).unwrap();
        assert_eq!(check.result, *verdict, "{check:?}");
        assert!(check.detail.contains(words), "`{words}` in {check:?}");
        assert!(check.help.as_ref().is_some_and(|help| !help.is_empty()), "{check:?}");
        assert!(worst(&checks) >= *verdict, "{check:?}");
    }
}

/// Whoever isn't root learns that, not that something is broken.
#[test]
fn what_only_root_may_see_is_unknown_to_others() {
    let found = changed(|f| {
        f.is_root = false;
        f.bare = Err("EPERM".to_owned());
        f.docker = Docker::Unseen("EACCES".to_owned());
        f.identifier = Err("EACCES".to_owned());
        let share = share(f);
        (share.marker, share.round_trip) = (Err("EACCES".to_owned()), Err("EACCES".to_owned()));
    });
    let checks = examine(&found);
    for name in ["guard", "docker", "client-identifier", "identity", "round-trip"] {
        let check = checks.iter().find(|check| check.name == name).unwrap();
        assert_eq!(check.result, Verdict::Unknown, "{check:?}");
        assert!(check.detail.ends_with("(this needs root)"), "{check:?}");
        assert_eq!(check.help.as_deref(), Some("run it as root"), "{check:?}");
    }
    assert_eq!(worst(&checks), Verdict::Unknown);
}

/// Where nothing is there at all, one thing fails and what hangs on it says so, instead of failing as well.
#[test]
fn what_hangs_on_another_check_names_it() {
    let found = changed(|f| (f.mounts, f.share) = (Ok(vec![]), None));
    let checks = examine(&found);
    let failed: Vec<_> =
        checks.iter().filter(|check| check.result == Verdict::Fail).map(|c| c.name).collect();
    assert_eq!(failed, ["mount"]);
    for name in ["mount-options", "read-ahead", "lease-time", "round-trip", "identity", "locks"] {
        let check = checks.iter().find(|check| check.name == name).unwrap();
        assert_eq!(
            (check.result, check.help.as_deref()),
            (Verdict::Unknown, Some("see `mount` first")),
            "{check:?}"
        );
    }
}

#[test]
fn flags_that_were_not_asked_for_are_not_missed() {
    let sources = Sources { flags: vec![("mount_flags", "nodev".to_owned())], ..Sources::default() };
    let config = Config::parse(&sources).unwrap();
    assert_eq!(config.mount_flags, [MountFlag::Nodev]);
    let found = changed(|f| {
        f.configuration = Ok(config);
        options(f, "nosuid,", "");
    });
    assert_eq!(super::mount::options(&found).result, Verdict::Pass);
}

/// What the doctor alone would take for foreign, and tell to unmount.
#[test]
fn a_former_address_is_known_by_the_daemon() {
    let mut found = changed(|f| {
        let Target::Found(target) = &mut f.target else { unreachable!() };
        (target.address, target.all_addresses) =
            ("10.0.0.6".parse().unwrap(), vec!["10.0.0.6".parse().unwrap()]);
    });
    assert!(super::mount::mount(&found).help.unwrap().contains("umount"), "without the daemon's word");
    let report = found.daemon.as_mut().unwrap();
    report.codes.push("address-changed".to_owned());
    report.problems.push("another address now [address-changed]".to_owned());
    let check = super::mount::mount(&found);
    assert_eq!(
        (check.result, check.detail.as_str()),
        (Verdict::Warn, "another address now [address-changed]")
    );
    assert!(!check.help.unwrap().contains("umount"));
}

#[test]
fn a_file_system_of_ones_own_needs_no_zone_and_no_name() {
    let found = changed(|f| {
        f.target = Target::Found(MountTarget::plain_server("10.0.0.5".parse().unwrap(), "/"));
        f.dns = None;
        share(f).marker = Ok(Some("nfs:10.0.0.5:/".to_owned()));
    });
    assert_eq!(worst(&examine(&found)), Verdict::Pass);
}

/// Mounted by efs-utils, through a tunnel of this machine.
#[test]
fn a_mount_that_others_made_is_judged_by_its_marker() {
    let mut found = changed(|f| {
        f.configuration = Ok(external());
        (f.target, f.dns) = (Target::External, None);
        options(f, "addr=10.0.0.5", "addr=127.0.0.1,port=20049");
    });
    assert_eq!(worst(&examine(&found)), Verdict::Pass);
    share(&mut found).marker = Ok(Some("fs-0".to_owned()));
    let check = super::share::identity(&found);
    assert!(check.help.unwrap().contains("`volumes-agent adopt-share --from fs-0`"));
    found.mounts = Ok(vec![]);
    assert!(super::mount::mount(&found).help.unwrap().contains("`mount /volumes`"));
}
