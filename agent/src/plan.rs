//! Observed facts against what is wanted: the list of actions. Pure; the loop decides only when an action may be tried again.

use crate::{
    config::{Config, MountMode},
    draining::{self, Wanted},
    foreign::Foreign,
    mount_state::{MountState, Seen},
    observed::Observed,
};

/// One thing to do. Each is safe to do twice, and checks again just before it changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Ask instance metadata who and where this is.
    LearnInstance,
    /// Ask task metadata who and where this is: a patcher is no instance.
    LearnTask,
    /// Ask the ECS agent what the instance is to ECS.
    LearnRegistration,
    /// Make the bare mount point immutable.
    SetGuard,
    /// Ask EFS for the mount target.
    FindTarget,
    /// Mount the share.
    Mount,
    /// Unmount the share, since nobody holds it and it belongs mounted from another address.
    LetGo,
    /// Set what the kernel reads ahead, where something reset it.
    KeepReadAhead,
    /// Read the share's marker.
    Identify,
    /// Ask the server for a sign of life.
    Probe,
    /// Tell ECS whether tasks may be placed here.
    SetGate {
        /// `ready` or `not-ready`.
        open: bool,
    },
    /// Have ECS move tasks away from here, or set back what this agent drained.
    SetDraining {
        /// To DRAINING, or back to ACTIVE.
        draining: bool,
    },
    /// Say on the share that this agent is alive, and what it can read.
    Beat,
    /// Try for the leader's lock.
    Lead,
    /// Let the leader's lock go.
    StepDown,
    /// Look at the cluster's services and patch what needs it.
    Patch,
    /// Read what the kernel counts of the mount.
    ReadStatistics,
    /// Look at the mount tables of containers.
    LookAtContainers,
    /// Compare volumes' directories with their records.
    CheckVolumes,
}

impl Action {
    /// The action's name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::LearnInstance => "learn_instance",
            Self::LearnTask => "learn_task",
            Self::LearnRegistration => "learn_registration",
            Self::SetGuard => "set_guard",
            Self::FindTarget => "find_target",
            Self::Mount => "mount",
            Self::LetGo => "let_go",
            Self::KeepReadAhead => "keep_read_ahead",
            Self::Identify => "identify",
            Self::Probe => "probe",
            Self::SetGate { .. } => "set_gate",
            Self::SetDraining { .. } => "set_draining",
            Self::Beat => "beat",
            Self::Lead => "lead",
            Self::StepDown => "step_down",
            Self::Patch => "patch",
            Self::ReadStatistics => "read_statistics",
            Self::LookAtContainers => "look_at_containers",
            Self::CheckVolumes => "check_volumes",
        }
    }
}

/// What to do now, given the configuration and the facts; the order is that of a boot.
pub fn plan(config: &Config, file: &str, observed: &Observed) -> Vec<Action> {
    let mut actions = Vec::new();
    let seen = observed.seen(config);
    let ready = observed.state == MountState::Ready;
    let only_patches = config.mount == MountMode::None;
    if only_patches && observed.task.is_none() {
        actions.push(Action::LearnTask);
    }
    if !only_patches {
        if !observed.instance_is_fresh {
            actions.push(Action::LearnInstance);
        }
        // Asked again now and then: an instance whose ECS agent lost its state is registered anew, under another ARN.
        actions.push(Action::LearnRegistration);
        // Looked at again now and then: a person may have taken the flag away.
        actions.push(Action::SetGuard);
    }
    let is_direct = config.mount == MountMode::Direct;
    // Asked again now and then: mount targets come, go, and change their address.
    if is_direct && observed.share(config, file).is_ok() && observed.instance.is_some() {
        actions.push(Action::FindTarget);
    }
    if is_direct && observed.target.is_some() && observed.guard.is_some() && seen == Seen::Nothing {
        actions.push(Action::Mount);
    }
    // A marker that names another file system, or none, is read again: an operator may have adopted the share.
    let foreign = observed.foreign(config);
    let may_be_ours = foreign.as_ref().is_none_or(Foreign::is_about_the_marker);
    if observed.mounted.is_some() && observed.file_system(config).is_some() && may_be_ours {
        if observed.identity.is_none() || foreign.is_some() {
            actions.push(Action::Identify);
        }
        actions.push(Action::Probe);
    }
    if is_direct && observed.should_move(config) {
        actions.push(Action::LetGo);
    }
    if is_direct && ready {
        actions.push(Action::KeepReadAhead);
    }
    if observed.registration.is_some()
        && let Some(open) = observed.wanted_gate(config, seen)
        && observed.gate_told != Some(open)
    {
        actions.push(Action::SetGate { open });
    }
    if observed.registration_is_fresh {
        let gate_is_open = observed.gate_told == Some(true);
        match draining::wanted(config.drain_after, observed.not_ready_for, observed.is_drained, gate_is_open)
        {
            Wanted::Nothing => {}
            Wanted::Drain => actions.push(Action::SetDraining { draining: true }),
            Wanted::Activate => actions.push(Action::SetDraining { draining: false }),
        }
    }
    if ready && observed.instance.is_some() {
        actions.push(Action::Beat);
    }
    // A patcher has its task instead.
    let is_known = observed.task.is_some() || observed.registration_is_fresh;
    let may_lead = config.patch && is_known && observed.lock_name(config).is_some();
    // Registered in another cluster by now: this lock is not that cluster's.
    let holds_another = observed.leads && observed.leads_by != observed.lock_name(config);
    match (observed.leads, ready && may_lead && !holds_another) {
        (false, true) => actions.push(Action::Lead),
        (true, true) if observed.rack(config, file).is_ok() => actions.push(Action::Patch),
        (true, false) => actions.push(Action::StepDown),
        _ => {}
    }
    actions.extend(looks(config, observed));
    actions
}

/// What is only looked at; each look has its own pace.
fn looks(config: &Config, observed: &Observed) -> Vec<Action> {
    let mut actions = Vec::new();
    if observed.mounted.as_ref().is_some_and(|mounted| mounted.fs_type.starts_with("nfs")) {
        actions.push(Action::ReadStatistics);
    }
    // A container sees its own mount namespace alone.
    if config.mount != MountMode::None {
        actions.push(Action::LookAtContainers);
    }
    if observed.leads && observed.state.is_ready() {
        actions.push(Action::CheckVolumes);
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::ShareChoice,
        ecs_task::Task,
        guard::Guard,
        identity::Identity,
        imds::Instance,
        target::{KnownFrom, MountTarget},
    };

    fn booted() -> Observed {
        Observed {
            instance: Some(Instance {
                id: "i-1".to_owned(),
                zone: "a".to_owned(),
                region: "us-east-1".to_owned(),
                subnet: None,
                wrong_tag: None,
                rack: Some("production".parse().unwrap()),
            }),
            instance_is_fresh: true,
            guard: Some(Guard::Set),
            ..Observed::default()
        }
    }

    fn with_target() -> Observed {
        let target = MountTarget::plain_server("10.0.0.1".parse().unwrap(), "/");
        Observed { target: Some(target), ..booted() }
    }

    fn mounted() -> Observed {
        let table = "60 21 0:44 / /volumes rw - nfs4 10.0.0.1:/ rw,addr=10.0.0.1\n";
        Observed { mounted: crate::mountinfo::mounted_at(table, "/volumes"), ..with_target() }
    }

    /// Without what is looked at again and again.
    fn planned(observed: &Observed) -> Vec<Action> {
        planned_by(&Config::default(), observed)
    }

    fn planned_by(config: &Config, observed: &Observed) -> Vec<Action> {
        let mut actions = plan(config, "F", observed);
        let looks = looks(config, observed);
        actions.retain(|action| {
            !matches!(action, Action::LearnRegistration | Action::SetGuard) && !looks.contains(action)
        });
        actions
    }

    #[test]
    fn a_boot_goes_step_by_step() {
        assert_eq!(planned(&Observed::default()), [Action::LearnInstance]);
        assert_eq!(planned(&booted()), [Action::FindTarget]);
        assert_eq!(planned(&with_target()), [Action::FindTarget, Action::Mount]);
        assert_eq!(planned(&Observed { mount_in_flight: true, ..with_target() }), [Action::FindTarget]);
        assert_eq!(planned(&mounted()), [Action::FindTarget, Action::Identify, Action::Probe]);
        let judged = Observed { identity: Some(Identity::Same), ..mounted() };
        assert_eq!(planned(&judged), [Action::FindTarget, Action::Probe]);
    }

    #[test]
    fn nothing_is_mounted_before_the_guard() {
        let unguarded = Observed { guard: None, ..with_target() };
        assert_eq!(planned(&unguarded), [Action::FindTarget]);
    }

    #[test]
    fn a_foreign_mount_is_left_alone() {
        let mut observed = mounted();
        observed.mounted.as_mut().unwrap().fs_type = "tmpfs".to_owned();
        observed.state = MountState::Foreign;
        assert_eq!(planned(&observed), [Action::FindTarget]);
    }

    #[test]
    fn a_copy_is_looked_at_again() {
        let copy = Observed { identity: Some(Identity::Other("fs-0".to_owned())), ..mounted() };
        assert_eq!(planned(&copy), [Action::FindTarget, Action::Identify, Action::Probe]);
    }

    #[test]
    fn a_mount_moves_to_a_better_address_only_while_nobody_can_have_it() {
        let here = Some("a".to_owned());
        let own = MountTarget {
            zone: here.clone(),
            all_addresses: vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()],
            known_from: KnownFrom::Efs,
            ..MountTarget::plain_server("10.0.0.2".parse().unwrap(), "/")
        };
        let changed = MountTarget {
            all_addresses: vec!["10.0.0.2".parse().unwrap()],
            former_addresses: vec!["10.0.0.1".parse().unwrap()],
            ..own.clone()
        };
        let free = |target: &MountTarget| Observed {
            target: Some(target.clone()),
            held: Some(false),
            gate_told: Some(false),
            identity: Some(Identity::Same),
            silent_for: Some(std::time::Duration::ZERO),
            ..mounted()
        };
        let moves = |observed: &Observed| planned(observed).contains(&Action::LetGo);
        for target in [&own, &changed] {
            assert!(moves(&free(target)), "{target:?}");
            assert!(!moves(&Observed { held: Some(true), ..free(target) }), "a container holds it");
            assert!(!moves(&Observed { held: None, ..free(target) }), "not looked at yet");
            assert!(!moves(&Observed { identity: None, ..free(target) }), "not judged yet");
            let silent = Some(Config::default().stall_deadline * 2);
            let unread = Observed { identity: None, silent_for: silent, ..free(target) };
            assert!(!moves(&unread), "silent, and its marker was never read");
            let copy = Some(Identity::Other("fs-0".to_owned()));
            assert!(!moves(&Observed { identity: copy, ..free(target) }), "foreign: never touched");
            assert!(!moves(&Observed { gate_told: None, ..free(target) }), "ECS may have a stale `ready`");
            let opening = Observed { state: MountState::Ready, good_probes: 9, ..free(target) };
            assert_eq!(opening.wanted_gate(&Config::default(), opening.seen(&Config::default())), None);
            assert!(!moves(&Observed { gate_opened: true, ..free(target) }), "tasks may have been placed");
            assert!(!moves(&Observed { leads: true, ..free(target) }), "the leader's lock is on it");
        }
        let by_name = MountTarget { known_from: KnownFrom::Dns, ..own.clone() };
        assert!(!moves(&free(&by_name)), "not by a stand-in's word");
        let elsewhere = MountTarget { zone: Some("b".to_owned()), ..own };
        assert!(!moves(&free(&elsewhere)), "no better than what is mounted");
    }

    #[test]
    fn an_external_mount_is_watched_and_never_touched() {
        let share = Some(ShareChoice::FileSystem("fs-01234567".to_owned()));
        let config = Config { mount: MountMode::External, share, ..Config::default() };
        assert_eq!(planned_by(&config, &booted()), []);
        let there = Observed { target: None, ..mounted() };
        assert_eq!(planned_by(&config, &there), [Action::Identify, Action::Probe]);
        let ready = Observed {
            identity: Some(Identity::Same),
            silent_for: Some(std::time::Duration::ZERO),
            state: MountState::Ready,
            ..there
        };
        assert_eq!(planned_by(&config, &ready), [Action::Probe, Action::Beat]);
        assert!(plan(&config, "F", &ready).contains(&Action::SetGuard), "guarded underneath");
    }

    #[test]
    fn a_patcher_of_its_own_asks_its_task_and_touches_no_instance() {
        let share = Some(ShareChoice::FileSystem("fs-01234567".to_owned()));
        let config = Config { mount: MountMode::None, share, ..Config::default() };
        let bound = Observed { target: None, instance: None, instance_is_fresh: false, ..mounted() };
        assert_eq!(
            plan(&config, "F", &bound),
            [Action::LearnTask, Action::Identify, Action::Probe, Action::ReadStatistics]
        );
        let task = Task {
            arn: "arn:aws:ecs:us-east-1:123456789012:task/production/0123".to_owned(),
            cluster: "production".to_owned(),
            availability_zone: "us-east-1a".to_owned(),
        };
        let ready = Observed {
            instance: Some(task.as_instance()),
            task: Some(task),
            identity: Some(Identity::Same),
            silent_for: Some(std::time::Duration::ZERO),
            good_probes: 9,
            state: MountState::Ready,
            ..bound
        };
        let looks = [Action::Probe, Action::Beat, Action::Lead, Action::ReadStatistics];
        assert_eq!(plan(&config, "F", &ready), looks);
        let leads_by = ready.lock_name(&config);
        assert_eq!(leads_by.as_deref(), Some("us-east-1-123456789012-production"), "the instances' own lock");
        let leads = Observed { leads: true, leads_by, ..ready };
        assert!(plan(&config, "F", &leads).contains(&Action::Patch));
    }

    #[test]
    fn the_leader_alone_looks_at_all_volumes_and_only_while_the_share_is_ready() {
        let ready = Observed { state: MountState::Ready, ..mounted() };
        let looks = |observed: &Observed| super::looks(&Config::default(), observed);
        assert!(!looks(&ready).contains(&Action::CheckVolumes));
        assert!(looks(&Observed { leads: true, ..ready.clone() }).contains(&Action::CheckVolumes));
        let stalled = Observed { leads: true, state: MountState::Stalled, ..ready };
        assert_eq!(looks(&stalled), [Action::ReadStatistics, Action::LookAtContainers]);
    }

    #[test]
    fn only_a_registered_instance_is_drained() {
        let config = Config { drain_after: Some(std::time::Duration::from_secs(60)), ..Config::default() };
        let away = Observed { not_ready_for: Some(std::time::Duration::from_secs(61)), ..mounted() };
        let drain = Action::SetDraining { draining: true };
        assert!(!plan(&config, "F", &away).contains(&drain));
        let registered = Observed { registration_is_fresh: true, ..away };
        assert!(plan(&config, "F", &registered).contains(&drain));
        assert!(!plan(&Config::default(), "F", &registered).contains(&drain), "off by default");
    }

    #[test]
    fn a_leader_without_its_share_steps_down() {
        let observed = Observed { leads: true, state: MountState::Stalled, ..mounted() };
        assert!(planned(&observed).contains(&Action::StepDown));
    }
}
