//! One look at this instance without the daemon and without a change: for the commands that say what would be done, and why.

use crate::{
    aws,
    config::{Config, MountMode},
    diagnostics::in_one_line,
    ecs::Ecs,
    ecs_agent, ecs_task, guard, imds, memory,
    mount::VOLUMES_ROOT,
    mountinfo,
    observed::Observed,
    patch_round::{Round, RoundResult},
    share_worker::{self, Request, Spare},
};
use std::time::Duration;

/// The share's answer; a share that is silent for longer is told as such.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What was found.
#[derive(Debug)]
pub struct Look {
    /// The facts.
    pub observed: Observed,
    /// Whether the share answers.
    pub share_answers: bool,
    /// What could not be learnt, and why.
    pub missing: Vec<String>,
}

/// Who an instance is, from metadata and the ECS agent.
async fn ask_the_instance(config: &Config, observed: &mut Observed, missing: &mut Vec<String>) {
    match imds::instance().await {
        Ok(instance) => {
            observed.instance = Some(instance);
            observed.instance_is_fresh = true;
        }
        Err(error) => match memory::Boot::recall(&config.state_dir).instance {
            Some(instance) => {
                missing.push(format!(
                    "instance metadata: {error}; this is {}, as the daemon noted since the boot",
                    instance.id
                ));
                observed.instance = Some(instance);
            }
            None => missing.push(format!("this is not known to be an EC2 instance: {error}")),
        },
    }
    observed.ecs_config_cluster = ecs_agent::configured_cluster();
    match ecs_agent::registration().await {
        Ok(registration) => {
            observed.registration = Some(registration);
            observed.registration_is_fresh = true;
        }
        Err(error) => {
            missing.push(format!("the ECS agent does not tell what the instance is to ECS: {error}"));
            let instance = observed.instance.as_ref();
            observed.registration =
                instance.and_then(|instance| memory::registration(&config.state_dir, &instance.id));
        }
    }
}

/// Who a patcher is, from its task's metadata.
async fn ask_the_task(observed: &mut Observed, missing: &mut Vec<String>) {
    match ecs_task::task().await {
        Ok(task) => {
            observed.instance = Some(task.as_instance());
            observed.task = Some(task);
        }
        Err(error) => missing.push(format!("this task: {}", in_one_line(&error))),
    }
}

/// Looks. What isn't there (no instance, no ECS agent) is left out, and said.
pub async fn look(config: &Config) -> Look {
    let mut observed = Observed::default();
    let mut missing = Vec::new();
    match config.mount {
        MountMode::None => ask_the_task(&mut observed, &mut missing).await,
        MountMode::Direct | MountMode::External => {
            ask_the_instance(config, &mut observed, &mut missing).await
        }
    }
    match guard::look() {
        Ok(guard) => observed.guard = Some(guard),
        Err(error) => missing.push(format!("the guard of {VOLUMES_ROOT}: {error}")),
    }
    match mountinfo::look(VOLUMES_ROOT) {
        Ok(mounted) => observed.mounted = mounted,
        Err(error) => missing.push(format!("what is mounted: {error}")),
    }
    let mut share_answers = false;
    if observed.mounted.is_some() {
        match share_worker::ask::<()>(&Request::Probe, ANSWER_WITHIN).await {
            Ok(()) => share_answers = true,
            Err(error) => missing.push(format!("the share: {error}")),
        }
    }
    Look { observed, share_answers, missing }
}

/// Goes over the cluster's services, or one of them, without the lock: nothing is changed. `Err`: what isn't known.
pub async fn at_services(
    look: &Look,
    config: &Config,
    file: &str,
    only: Option<String>,
) -> Result<RoundResult, String> {
    let observed = &look.observed;
    let rack = observed.rack(config, file)?;
    let cluster = observed.cluster(config).ok_or("the cluster is not known: give --cluster")?;
    let region = observed.region(config).ok_or("the Region is not known: give --region")?;
    let is_nfs = observed.mounted.as_ref().is_some_and(|mounted| mounted.server().is_some());
    let round = Round {
        host_paths: config.host_paths.clone(),
        record: observed.lock_name(config).filter(|_| is_nfs && look.share_answers),
        only,
        ..Round::new(cluster, rack)
    };
    let ecs = Ecs::new(&aws::connect(&region).await);
    Ok(round.run(&ecs, &Spare::default(), None::<&Spare>).await)
}
