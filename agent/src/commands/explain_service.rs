//! `volumes-agent explain-service`: why a service is or is not patched, step by step.

use crate::{
    commands::{Format, configuration::ConfigurationArgs, look},
    diagnostics::{Exit, Failure},
    report::{Outcome, ServiceReport},
};
use clap::Args;
use serde::Serialize;
use std::io::Write;

/// Flags of `explain-service`.
#[derive(Debug, Args)]
pub struct ExplainServiceArgs {
    /// The ECS service, by its name or ARN.
    #[arg(value_name = "NAME")]
    pub service: String,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Which cluster and rack, where this is no instance.
    #[command(flatten)]
    pub configuration: ConfigurationArgs,
}

/// As JSON.
#[derive(Debug, Serialize)]
struct Explained<'a> {
    steps: &'a [String],
    missing: &'a [String],
    #[serde(flatten)]
    service: &'a ServiceReport,
}

/// Prints it; `Done` if there is nothing left to do, `Refused` if there is.
///
/// # Errors
/// No such service, or what had to be known isn't.
pub fn run(args: &ExplainServiceArgs) -> Result<Exit, Failure> {
    let config = args.configuration.config()?;
    let file = args.configuration.file.display().to_string();
    let asked = async {
        let look = look::look(&config).await;
        let found = look::at_services(&look, &config, &file, Some(args.service.clone())).await;
        (look, found)
    };
    let (look, found) = crate::commands::block_on(asked)?;
    let found = found.map_err(|error| {
        Failure::refused(error)
            .help("run it on an instance of the cluster, or give --cluster, --rack and --region")
    })?;
    if let Some(error) = found.error {
        return Err(Failure::refused(error));
    }
    let Some(service) = found.services.first() else {
        return Err(Failure::refused(format!("the cluster has no active service `{}`", args.service))
            .help("list its services by `aws ecs list-services --cluster CLUSTER`"));
    };
    let page = match args.format {
        Format::Json => {
            let explained = Explained { steps: &found.steps, missing: &look.missing, service };
            format!("{}\n", serde_json::to_string_pretty(&explained).map_err(Failure::refused)?)
        }
        Format::Text => text(&found.steps, service),
    };
    let told = |error: std::io::Error| Failure::refused(format!("stdout: {error}"));
    std::io::stdout().write_all(page.as_bytes()).map_err(told)?;
    if args.format == Format::Text {
        for missing in &look.missing {
            drop(writeln!(std::io::stderr(), "not known: {missing}"));
        }
    }
    let is_settled =
        matches!(service.outcome, Outcome::Patched | Outcome::NothingDeclared | Outcome::LeftAlone);
    Ok(if is_settled { Exit::Done } else { Exit::Refused })
}

fn text(steps: &[String], service: &ServiceReport) -> String {
    let mut page = String::new();
    for (number, step) in (1..).zip(steps) {
        page += &format!("{number:2}. {step}\n");
    }
    let code = service.code.as_ref().map(|code| format!(" [{code}]")).unwrap_or_default();
    let reason = service.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    page += &format!("{}{code}{reason}\n", service.outcome.name());
    if service.tasks_without_volumes > 0 {
        page += &format!(
            "{} of its tasks run WITHOUT their volumes: what they write there is lost with them\n",
            service.tasks_without_volumes
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_ends_with_the_verdict() {
        let service = ServiceReport {
            service: "web".to_owned(),
            outcome: Outcome::Refused,
            task_definition: "arn:f:41".to_owned(),
            reason: Some("its label can't be read".to_owned()),
            code: Some("malformed-label".to_owned()),
            tasks_without_volumes: 2,
        };
        assert_eq!(
            text(&["deployment d (PRIMARY): arn:f:41".to_owned()], &service),
            " 1. deployment d (PRIMARY): arn:f:41\nrefused [malformed-label]: its label can't be read\n2 of its tasks run WITHOUT their volumes: what they write there is lost with them\n"
        );
    }
}
