//! What the agent knows at one moment, and what follows from it about the share. Pure: the edges bring the facts.

use crate::{
    config::{Config, MountMode, ShareChoice},
    containers::Present,
    ecs_agent::Registration,
    ecs_task::Task,
    foreign::Foreign,
    guard::Guard,
    identity::Identity,
    imds::Instance,
    mount::VOLUMES_ROOT,
    mount_state::{MountState, Seen},
    mountinfo::MountEntry,
    names::Rack,
    target::{MountTarget, Standing},
    trouble::Trouble,
};
use std::time::Duration;

/// A gate that an earlier run opened stays as it is for so many stall deadlines while this run judges the mount: instance metadata and EFS
/// have their time limits.
const UNJUDGED_DEADLINES: u32 = 4;

/// Facts, each as last seen.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// From instance metadata; before it answers, from what an earlier run since this boot noted.
    pub instance: Option<Instance>,
    /// Whether metadata itself told the instance in this run.
    pub instance_is_fresh: bool,
    /// From introspection; before that from what an earlier run remembered.
    pub registration: Option<Registration>,
    /// Whether introspection itself told the registration in this run.
    pub registration_is_fresh: bool,
    /// The ECS task that this agent is, where it only patches.
    pub task: Option<Task>,
    /// `ECS_CLUSTER` of the ECS agent's configuration.
    pub ecs_config_cluster: Option<String>,
    /// What should be mounted.
    pub target: Option<MountTarget>,
    /// The bare mount point's flag.
    pub guard: Option<Guard>,
    /// What the kernel says is mounted.
    pub mounted: Option<MountEntry>,
    /// How long the present mount has been seen.
    pub mounted_for: Duration,
    /// How long it has been since the first probe of the present mount began.
    pub probed_for: Option<Duration>,
    /// What the marker of the present mount says.
    pub identity: Option<Identity>,
    /// Time since the present mount last answered a probe.
    pub silent_for: Option<Duration>,
    /// Probes of the present mount that were answered in a row.
    pub good_probes: u32,
    /// Whether a mount is being tried.
    pub mount_in_flight: bool,
    /// The state before this look.
    pub state: MountState,
    /// What ECS was told last about this registration.
    pub gate_told: Option<bool>,
    /// Whether ECS was told `ready` since this boot, by whichever run: tasks may have been placed here.
    pub gate_opened: bool,
    /// How many instances have an agent, or had one within the last week, as counted last.
    pub agents: Option<usize>,
    /// Whether this agent holds the leader's lock.
    pub leads: bool,
    /// The name of the lock that it took.
    pub leads_by: Option<String>,
    /// How long the share has not been ready, counted from the agent's start at the earliest. `None`: it is.
    pub not_ready_for: Option<Duration>,
    /// Whether this agent set the instance to DRAINING.
    pub is_drained: bool,
    /// Whether any mount namespace other than the agent's own holds the present mount's file system. Not known before the first
    /// look at it.
    pub held: Option<bool>,
}

impl Observed {
    /// The cluster's name or ARN: configuration, the task, the ECS agent's configuration, what was remembered or introspected.
    pub fn cluster(&self, config: &Config) -> Option<String> {
        let registered = || self.registration.as_ref().map(|registration| registration.cluster.clone());
        let of_the_task = || self.task.as_ref().map(|task| task.cluster.clone());
        config
            .cluster
            .clone()
            .or_else(of_the_task)
            .or_else(|| self.ecs_config_cluster.clone())
            .or_else(registered)
    }

    /// The rack: configuration, the instance's tag, the cluster's name where that is a rack's name.
    ///
    /// # Errors
    /// What is missing, in a sentence that names the key, the file and the flag.
    pub fn rack(&self, config: &Config, file: &str) -> Result<Rack, String> {
        if let Some(rack) = &config.rack {
            return Ok(rack.clone());
        }
        let Some(instance) = &self.instance else {
            return Err("the rack is not known before instance metadata answers".to_owned());
        };
        if let Some(rack) = &instance.rack {
            return Ok(rack.clone());
        }
        if let Some(wrong) = &instance.wrong_tag {
            return Err(format!("{wrong}: correct the tag, or set `rack` in {file} (flag --rack)"));
        }
        let say = format!("set `rack` in {file} (flag --rack), or the instance's tag `convox.rack`");
        match self.cluster(config) {
            None => Err(format!("neither a rack nor a cluster is known: {say}")),
            Some(cluster) => cluster_name(&cluster)
                .parse()
                .map_err(|error| format!("the cluster's name can't be the rack's: {error}: {say}")),
        }
    }

    /// The AWS region: configuration, instance metadata.
    pub fn region(&self, config: &Config) -> Option<String> {
        config.region.clone().or_else(|| self.instance.as_ref().map(|instance| instance.region.clone()))
    }

    /// Which file system belongs here: the configured one, else the one that is tagged with the rack.
    ///
    /// # Errors
    /// What is missing.
    pub fn share(&self, config: &Config, file: &str) -> Result<ShareChoice, String> {
        match &config.share {
            Some(share) => Ok(share.clone()),
            None => self
                .rack(config, file)
                .map(|rack| ShareChoice::Tag { key: "convox.rack".to_owned(), value: rack.to_string() }),
        }
    }

    /// Why a patcher can be of no use any more: what was bound into its container at the start stays there for good.
    pub fn useless(&self, config: &Config) -> Option<Trouble> {
        if config.mount != MountMode::None {
            return None;
        }
        let why = match (&self.mounted, self.foreign(config)) {
            (None, _) => format!("nothing is mounted at {VOLUMES_ROOT} in this container"),
            (Some(_), Some(foreign)) => foreign.to_string(),
            (Some(_), None) => return None,
        };
        let text = format!("{why}: this patcher can't have the share, and a container's bind never changes");
        Some(Trouble::coded("patcher-without-share", text).help(format!(
            "ECS starts another task. If that one ends as well: its task definition must bind the host's {VOLUMES_ROOT} at {VOLUMES_ROOT}, with the \
             placement constraint `attribute:convox.volumes == ready`, and `file_system` must be that of the cluster's instances"
        )))
    }

    /// What is at the volumes root.
    pub fn seen(&self, config: &Config) -> Seen {
        if self.mounted.is_none() {
            return if self.mount_in_flight { Seen::MountInFlight } else { Seen::Nothing };
        }
        if self.foreign(config).is_some() {
            return Seen::Other;
        }
        if self.file_system(config).is_none() {
            return Seen::Unjudged;
        }
        let in_time = |time: Duration| time <= config.stall_deadline;
        match (&self.identity, self.silent_for) {
            (Some(_), Some(silent)) => Seen::Ours { answers: in_time(silent) },
            // It answers, and its marker isn't read yet, or can't be.
            (None, Some(silent)) if in_time(silent) => Seen::Unjudged,
            (None, Some(_)) => Seen::Ours { answers: false },
            // Probed since it is mounted, or since this agent runs, and no answer yet.
            (_, None) => match self.probed_for {
                Some(waited) if !in_time(waited) => Seen::Ours { answers: false },
                _ => Seen::Unjudged,
            },
        }
    }

    /// The file system that belongs at the volumes root, where it is known: the target's; for somebody else's mount the configured one.
    pub fn file_system<'a>(&'a self, config: &'a Config) -> Option<&'a str> {
        match (config.mount, &config.share, &self.target) {
            (MountMode::External | MountMode::None, Some(ShareChoice::FileSystem(id)), _) => Some(id),
            (MountMode::External | MountMode::None, ..) => None,
            (MountMode::Direct, _, target) => target.as_ref().map(|target| target.file_system.as_str()),
        }
    }

    /// What containers should have of what is mounted.
    pub fn present(&self, config: &Config) -> Present {
        let Some(mounted) = &self.mounted else { return Present::Nothing };
        match (self.seen(config), &self.target) {
            (Seen::Other, _) => Present::Foreign(mounted.device.clone()),
            (Seen::Ours { .. }, target) => Present::Share {
                device: mounted.device.clone(),
                addresses: match target {
                    Some(target) => target.every_address().collect(),
                    None => mounted.server().into_iter().collect(),
                },
                export: mounted.export().unwrap_or("/").to_owned(),
            },
            _ => Present::Nothing,
        }
    }

    /// Why what is mounted is not ours, if so.
    pub fn foreign(&self, config: &Config) -> Option<Foreign> {
        let (expected, target) = (self.file_system(config), self.target.as_ref());
        Foreign::judge(self.mounted.as_ref()?, config.mount, expected, target, self.identity.as_ref())
    }

    /// What the present mount's address is to the file system. `None`: nothing is mounted, or not from an address of its.
    pub fn standing(&self) -> Option<Standing> {
        self.target.as_ref()?.standing(self.mounted.as_ref()?.server()?)
    }

    /// Whether the share belongs mounted from another address, and nobody can have it yet: no task can have been placed since boot, no
    /// other mount namespace holds it, and the agent's own lock isn't on it.
    pub fn should_move(&self, config: &Config) -> bool {
        let (Some(target), Some(instance)) = (&self.target, &self.instance) else { return false };
        let is_better = match self.standing() {
            Some(Standing::Former) => true,
            Some(Standing::Another) => target.is_in(Some(&instance.zone)) == Some(true),
            Some(Standing::Chosen) | None => false,
        };
        is_better
            && target.known_from.is_first_hand()
            // What is foreign, or not judged yet, is not ours to unmount.
            && matches!(self.seen(config), Seen::Ours { .. })
            && self.identity == Some(Identity::Same)
            // ECS itself has the word of this run: a stale `ready` could have brought tasks.
            && self.gate_told == Some(false)
            && !self.gate_opened
            && !self.leads
            && self.held == Some(false)
    }

    /// What ECS should be told. `None`: leave it as it is, until more is known.
    pub fn wanted_gate(&self, config: &Config, seen: Seen) -> Option<bool> {
        match (self.state, seen) {
            // Let go of in a moment: nobody may come in between.
            (MountState::Ready, _) if self.should_move(config) => None,
            (MountState::Ready, _) if self.good_probes >= config.gate_good_probes => Some(true),
            // Ready, and not often enough to open.
            (MountState::Ready, _) => None,
            // A mount that an earlier run of this boot left, not judged yet: an upgrade must not close a gate that is rightly open. It
            // must not stay open for ever either.
            (MountState::Absent | MountState::Mounting, Seen::Unjudged)
                if self.gate_opened && self.mounted_for <= config.stall_deadline * UNJUDGED_DEADLINES =>
            {
                None
            }
            _ => Some(false),
        }
    }

    /// The lock's name and the cluster: `<region>-<account>-<cluster>`.
    pub fn lock_name(&self, config: &Config) -> Option<String> {
        // arn:aws:ecs:us-east-1:123456789012:container-instance/production/0123
        let of_the_task = || self.task.as_ref().map(|task| task.arn.as_str());
        let registered =
            self.registration.as_ref().map(|registration| registration.container_instance.as_str());
        let mut fields = registered.or_else(of_the_task)?.split(':');
        let region = fields.nth(3)?;
        let account = fields.next()?;
        let cluster = self.cluster(config)?;
        let name = format!("{region}-{account}-{}", cluster_name(&cluster));
        let is_a_file_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        is_a_file_name.then_some(name)
    }
}

/// `arn:aws:ecs:us-east-1:123456789012:cluster/production` is `production`.
pub fn cluster_name(cluster: &str) -> &str {
    match cluster.rsplit_once(":cluster/") {
        Some((_, name)) => name,
        None => cluster,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn ready() -> Observed {
        Observed {
            instance: Some(Instance {
                id: "i-1".to_owned(),
                zone: "a".to_owned(),
                region: "us-east-1".to_owned(),
                subnet: None,
                rack: None,
                wrong_tag: None,
            }),
            registration: Some(Registration {
                cluster: "arn:aws:ecs:us-east-1:123456789012:cluster/production".to_owned(),
                container_instance: "arn:aws:ecs:us-east-1:123456789012:container-instance/production/0f"
                    .to_owned(),
            }),
            target: Some(MountTarget {
                file_system: "fs-1".to_owned(),
                zone: Some("a".to_owned()),
                all_addresses: vec![address("10.0.0.1"), address("10.0.1.1")],
                ..MountTarget::plain_server(address("10.0.0.1"), "/")
            }),
            mounted: Some(MountEntry {
                id: 7,
                device: "0:44".to_owned(),
                mount_point: "/volumes".to_owned(),
                fs_type: "nfs4".to_owned(),
                source: "10.0.1.1:/".to_owned(),
                options: "rw,addr=10.0.1.1".to_owned(),
            }),
            identity: Some(Identity::Same),
            silent_for: Some(Duration::from_secs(1)),
            good_probes: 3,
            state: MountState::Ready,
            ..Observed::default()
        }
    }

    #[test]
    fn the_share_is_ours_by_any_of_its_addresses_and_its_marker() {
        let config = Config::default();
        let observed = ready();
        assert_eq!(observed.seen(&config), Seen::Ours { answers: true });
        assert_eq!(Observed { identity: None, ..ready() }.seen(&config), Seen::Unjudged);
        assert_eq!(Observed { target: None, ..ready() }.seen(&config), Seen::Unjudged);
        let silent = Observed { silent_for: Some(Duration::from_secs(16)), ..ready() };
        assert_eq!(silent.seen(&config), Seen::Ours { answers: false });
        let probed = |seconds| Observed {
            identity: None,
            silent_for: None,
            mounted_for: Duration::from_secs(60),
            probed_for: seconds,
            ..ready()
        };
        assert_eq!(probed(Some(Duration::from_secs(16))).seen(&config), Seen::Ours { answers: false });
        assert_eq!(probed(Some(Duration::from_secs(15))).seen(&config), Seen::Unjudged);
        assert_eq!(probed(None).seen(&config), Seen::Unjudged, "never stalled before it was asked");
        let unreadable = Observed { identity: None, probed_for: Some(Duration::from_secs(60)), ..ready() };
        assert_eq!(unreadable.seen(&config), Seen::Unjudged, "it answers, and its marker can't be read");
    }

    #[test]
    fn an_external_mount_is_ours_by_its_marker_alone() {
        let share = Some(ShareChoice::FileSystem("fs-1".to_owned()));
        let config = Config { share, mount: MountMode::External, ..Config::default() };
        let mut observed = Observed { target: None, ..ready() };
        observed.mounted.as_mut().unwrap().options = "rw,addr=127.0.0.1,port=20049".to_owned();
        assert_eq!(observed.seen(&config), Seen::Ours { answers: true });
        observed.identity = Some(Identity::Unmarked);
        assert_eq!(observed.seen(&config), Seen::Other);
        observed.identity = None;
        assert_eq!(observed.seen(&config), Seen::Unjudged);
    }

    #[test]
    fn a_patcher_ends_once_it_cant_have_the_share() {
        let share = Some(ShareChoice::FileSystem("fs-1".to_owned()));
        let config = Config { share, mount: MountMode::None, ..Config::default() };
        let bound = Observed { target: None, ..ready() };
        let useless = |observed: Observed| observed.useless(&config).map(|trouble| trouble.text);
        assert_eq!(useless(bound.clone()), None);
        assert_eq!(
            useless(Observed { identity: None, silent_for: None, ..bound.clone() }),
            None,
            "not asked yet"
        );
        let silent = Some(Duration::from_secs(900));
        assert_eq!(
            useless(Observed { silent_for: silent, ..bound.clone() }),
            None,
            "that is the health check's"
        );
        assert!(useless(Observed { mounted: None, ..bound.clone() }).unwrap().contains("nothing is mounted"));
        let unmarked = Observed { identity: Some(Identity::Unmarked), ..bound.clone() };
        assert!(useless(unmarked).unwrap().contains("no marker"));
        let mut disk = bound.clone();
        disk.mounted.as_mut().unwrap().fs_type = "ext4".to_owned();
        assert!(useless(disk).unwrap().contains("not NFSv4"));
        assert_eq!(
            Observed { mounted: None, ..bound }.useless(&Config::default()),
            None,
            "an instance mounts again"
        );
    }

    #[test]
    fn the_rack_is_the_configured_one_then_the_tag_then_the_cluster() {
        let mut config = Config::default();
        let mut observed = ready();
        let rack =
            |observed: &Observed, config: &Config| observed.rack(config, "F").map(|rack| rack.to_string());
        assert_eq!(rack(&observed, &config), Ok("production".to_owned()));
        observed.instance.as_mut().unwrap().rack = Some("tagged".parse().unwrap());
        assert_eq!(rack(&observed, &config), Ok("tagged".to_owned()));
        config.rack = Some("configured".parse().unwrap());
        assert_eq!(rack(&observed, &config), Ok("configured".to_owned()));
        let nothing = Observed { registration: None, ..ready() };
        assert_eq!(
            rack(&nothing, &Config::default()).unwrap_err(),
            "neither a rack nor a cluster is known: set `rack` in F (flag --rack), or the instance's tag `convox.rack`"
        );
    }

    #[test]
    fn the_gate_opens_after_good_probes_and_closes_at_once() {
        let config = Config::default();
        let gate = |observed: Observed| observed.wanted_gate(&config, observed.seen(&config));
        assert_eq!(gate(ready()), Some(true));
        assert_eq!(gate(Observed { good_probes: 2, ..ready() }), None, "neither opened too soon nor closed");
        for state in MountState::ALL.into_iter().filter(|state| !state.is_ready()) {
            assert_eq!(gate(Observed { state, mounted: None, ..ready() }), Some(false), "{state}");
        }
        let adopted = Observed { state: MountState::Mounting, identity: None, gate_opened: true, ..ready() };
        assert_eq!(gate(adopted.clone()), None, "a restart of the agent alone doesn't close the gate");
        let long = Observed { mounted_for: Duration::from_secs(61), ..adopted.clone() };
        assert_eq!(gate(long), Some(false), "nor is it left open for ever unjudged");
        let after_boot = Observed { gate_opened: false, ..adopted };
        assert_eq!(gate(after_boot), Some(false), "`ready` in ECS is an earlier boot's");
    }

    #[test]
    fn the_lock_is_named_after_region_account_and_cluster() {
        let name = ready().lock_name(&Config::default());
        assert_eq!(name.as_deref(), Some("us-east-1-123456789012-production"));
        let odd = Config { cluster: Some("../x".to_owned()), ..Config::default() };
        assert_eq!(ready().lock_name(&odd), None);
    }
}
