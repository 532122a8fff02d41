//! `volumes-agent run --dry-run`: everything that the daemon would look at, and what it would do, without a change.

use crate::{
    commands::{configuration::ConfigurationArgs, look},
    config::MountMode,
    diagnostics::{Exit, Failure},
    guard::Guard,
    memory,
    mount::VOLUMES_ROOT,
    observed::Observed,
    plan::{Action, plan},
    report::{Outcome, ServiceReport},
    target_search::Search,
};
use std::io::Write;

/// Prints the plan of one pass and of one look at the cluster.
///
/// # Errors
/// The configuration is wrong (78), or stdout fails.
pub fn run(configuration: &ConfigurationArgs) -> Result<Exit, Failure> {
    let config = configuration.config()?;
    let file = configuration.file.display().to_string();
    let looked = async {
        let mut look = look::look(&config).await;
        let observed = &look.observed;
        if config.mount == MountMode::Direct
            && let (Ok(share), Some(instance), Some(region)) =
                (observed.share(&config, &file), &observed.instance, observed.region(&config))
        {
            let known = memory::target(&config.state_dir, &instance.id, &share);
            let search = Search { share, instance: instance.clone(), region: region.clone(), known };
            match search.run(&crate::aws::connect(&region).await).await {
                Ok(found) => {
                    look.missing
                        .extend(found.instead_of.map(|why| format!("the mount target, from EFS: {why}")));
                    look.observed.target = Some(found.target);
                }
                Err(error) => look.missing.push(format!("the mount target: {error}")),
            }
        }
        let round = match config.patch {
            true => look::at_services(&look, &config, &file, None).await.map(Some),
            false => Ok(None),
        };
        (look, round)
    };
    let (look, round) = crate::commands::block_on(looked)?;
    let mut lines: Vec<String> = look.missing.iter().map(|missing| format!("not known: {missing}")).collect();
    let actions = plan(&config, &file, &look.observed);
    lines.extend(actions.into_iter().filter_map(|action| changes(action, config.mount, &look.observed)));
    match round {
        Err(missing) => lines.push(format!("not known: {missing}")),
        Ok(None) => lines.push("patching is off here (`patch = \"off\"`)".to_owned()),
        Ok(Some(round)) => {
            lines.extend(round.services.iter().map(service));
            if let Some(error) = round.error {
                lines.push(format!("not known: {error}"));
            }
        }
    }
    let page: String = lines.into_iter().map(|line| format!("{line}\n")).collect();
    std::io::stdout()
        .write_all(page.as_bytes())
        .map_err(|error| Failure::refused(format!("stdout: {error}")))?;
    Ok(Exit::Done)
}

/// What an action would change; those that only ask were done.
fn changes(action: Action, mount: MountMode, observed: &Observed) -> Option<String> {
    match action {
        Action::SetGuard if observed.guard == Some(Guard::Set) => None,
        Action::SetGuard => Some(format!("would make the bare {VOLUMES_ROOT} immutable")),
        Action::Mount => {
            let target = observed.target.as_ref()?;
            Some(format!("would mount {} at {VOLUMES_ROOT}", target.source()))
        }
        Action::LetGo => Some(format!(
            "would unmount {VOLUMES_ROOT}, which nobody holds, to mount it from another address"
        )),
        Action::SetGate { open } => {
            let value = if open { "ready" } else { "not-ready" };
            Some(format!("would set the instance's attribute convox.volumes={value}"))
        }
        Action::SetDraining { draining } => {
            let value = if draining { "DRAINING" } else { "ACTIVE" };
            Some(format!("would set the instance to {value} in ECS"))
        }
        Action::Identify if mount != MountMode::Direct => Some("would compare the share's marker".to_owned()),
        Action::Identify => Some("would compare the share's marker, or write the first one".to_owned()),
        Action::Lead => Some("would try for the leader's lock".to_owned()),
        Action::LearnInstance
        | Action::LearnTask
        | Action::LearnRegistration
        | Action::FindTarget
        | Action::KeepReadAhead
        | Action::Probe
        | Action::StepDown
        | Action::Patch
        | Action::ReadStatistics
        | Action::LookAtContainers
        | Action::Beat
        | Action::CheckVolumes => None,
    }
}

fn service(service: &ServiceReport) -> String {
    let reason = service.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let outcome = match service.outcome {
        // The words say what would be done.
        Outcome::Waiting => "",
        other => other.name(),
    };
    let text = format!("{outcome}{reason}");
    format!("service {} ({}): {}", service.service, service.task_definition, text.trim_start_matches(": "))
}
