//! Observed facts against what is wanted: the list of actions. Pure; the loop decides only when an action may be tried again.

use crate::{
    config::Config,
    draining::{self, Wanted},
    identity::Identity,
    mount_state::{MountState, Seen},
    observed::Observed,
};

/// One thing to do. Each is safe to do twice, and checks again just before it changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Ask instance metadata who and where this is.
    LearnInstance,
    /// Ask the ECS agent what the instance is to ECS.
    LearnRegistration,
    /// Make the bare mount point immutable.
    SetGuard,
    /// Ask EFS for the mount target.
    FindTarget,
    /// Mount the share.
    Mount,
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
            Self::LearnRegistration => "learn_registration",
            Self::SetGuard => "set_guard",
            Self::FindTarget => "find_target",
            Self::Mount => "mount",
            Self::Identify => "identify",
            Self::Probe => "probe",
            Self::SetGate { .. } => "set_gate",
            Self::SetDraining { .. } => "set_draining",
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
    if observed.instance.is_none() {
        actions.push(Action::LearnInstance);
    }
    // Asked again now and then: an instance whose ECS agent lost its state is registered anew, under another ARN.
    actions.push(Action::LearnRegistration);
    if observed.guard.is_none() {
        actions.push(Action::SetGuard);
    }
    let share_is_known = observed.share(config, file).is_ok();
    if share_is_known && observed.instance.is_some() && (observed.target.is_none() || seen == Seen::Nothing) {
        actions.push(Action::FindTarget);
    }
    if observed.target.is_some() && observed.guard.is_some() && seen == Seen::Nothing {
        actions.push(Action::Mount);
    }
    // A marker that names another file system is read again: an operator may have removed it.
    let is_copy = matches!(observed.identity, Some(Identity::Other(_)));
    if observed.mounted.is_some() && observed.target.is_some() && (seen != Seen::Other || is_copy) {
        if observed.identity.is_none() || is_copy {
            actions.push(Action::Identify);
        }
        actions.push(Action::Probe);
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
    let may_lead = config.patch && observed.registration_is_fresh && observed.lock_name(config).is_some();
    match (observed.leads, ready && may_lead) {
        (false, true) => actions.push(Action::Lead),
        (true, true) if observed.rack(config, file).is_ok() => actions.push(Action::Patch),
        (true, false) => actions.push(Action::StepDown),
        _ => {}
    }
    actions.extend(looks(observed));
    actions
}

/// What is only looked at; each look has its own pace.
fn looks(observed: &Observed) -> Vec<Action> {
    let mut actions = Vec::new();
    if observed.mounted.as_ref().is_some_and(|mounted| mounted.fs_type.starts_with("nfs")) {
        actions.push(Action::ReadStatistics);
    }
    actions.push(Action::LookAtContainers);
    if observed.leads && observed.state.is_ready() {
        actions.push(Action::CheckVolumes);
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{guard::Guard, imds::Instance};

    fn booted() -> Observed {
        Observed {
            instance: Some(Instance {
                id: "i-1".to_owned(),
                zone: "a".to_owned(),
                region: "us-east-1".to_owned(),
                rack: Some("production".parse().unwrap()),
            }),
            guard: Some(Guard::Set),
            ..Observed::default()
        }
    }

    fn with_target() -> Observed {
        let target = crate::efs::plain_server("10.0.0.1".parse().unwrap(), "/");
        Observed { target: Some(target), ..booted() }
    }

    fn mounted() -> Observed {
        let table = "60 21 0:44 / /volumes rw - nfs4 10.0.0.1:/ rw,addr=10.0.0.1\n";
        Observed { mounted: crate::mountinfo::mounted_at(table, "/volumes"), ..with_target() }
    }

    fn planned(observed: &Observed) -> Vec<Action> {
        let mut actions = plan(&Config::default(), "F", observed);
        let looks = looks(observed);
        actions.retain(|action| *action != Action::LearnRegistration && !looks.contains(action));
        actions
    }

    #[test]
    fn a_boot_goes_step_by_step() {
        assert_eq!(planned(&Observed::default()), [Action::LearnInstance, Action::SetGuard]);
        assert_eq!(planned(&booted()), [Action::FindTarget]);
        assert_eq!(planned(&with_target()), [Action::FindTarget, Action::Mount]);
        assert_eq!(planned(&Observed { mount_in_flight: true, ..with_target() }), []);
        assert_eq!(planned(&mounted()), [Action::Identify, Action::Probe]);
        assert_eq!(planned(&Observed { identity: Some(Identity::Same), ..mounted() }), [Action::Probe]);
    }

    #[test]
    fn nothing_is_mounted_before_the_guard() {
        let unguarded = Observed { guard: None, ..with_target() };
        assert_eq!(planned(&unguarded), [Action::SetGuard, Action::FindTarget]);
    }

    #[test]
    fn a_foreign_mount_is_left_alone() {
        let mut observed = mounted();
        observed.mounted.as_mut().unwrap().fs_type = "tmpfs".to_owned();
        observed.state = MountState::Foreign;
        assert_eq!(planned(&observed), []);
    }

    #[test]
    fn a_copy_is_looked_at_again() {
        let copy = Observed { identity: Some(Identity::Other("fs-0".to_owned())), ..mounted() };
        assert_eq!(planned(&copy), [Action::Identify, Action::Probe]);
    }

    #[test]
    fn the_leader_alone_looks_at_all_volumes_and_only_while_the_share_is_ready() {
        let ready = Observed { state: MountState::Ready, ..mounted() };
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
