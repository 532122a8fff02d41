//! `volumes-agent ls`: all volumes, who uses them, and what nobody uses. Needs no daemon: it asks the share and ECS itself.

mod look;
mod page;

use crate::{
    commands::{Format, columns, configuration::ConfigurationArgs, look::look},
    diagnostics::{Exit, Failure},
    listing::{self, Listing},
};
use clap::Args;
use serde::Serialize;
use std::io::Write;

/// Flags of `ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Only what no service of the cluster uses.
    #[arg(long)]
    pub orphans: bool,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Which cluster and rack, where this is no instance.
    #[command(flatten)]
    pub configuration: ConfigurationArgs,
}

/// As JSON.
#[derive(Debug, Serialize)]
struct Page<'a> {
    rack: Option<String>,
    cluster: Option<&'a str>,
    /// The share's marker: which file system was listed.
    file_system: Option<&'a str>,
    #[serde(flatten)]
    listing: &'a Listing,
    missing: &'a [String],
}

/// Prints it; `Done` if everything is known, `Refused` if something is not.
///
/// # Errors
/// Neither the share nor ECS can be asked (3), the configuration is wrong (78), or stdout fails.
pub fn run(args: &LsArgs) -> Result<Exit, Failure> {
    let config = args.configuration.config()?;
    let file = args.configuration.file.display().to_string();
    let asked = async {
        let look = look(&config).await;
        let found = look::sides(&look, &config, &file).await;
        (look, found)
    };
    let (look, found) = crate::commands::block_on(asked)?;
    let look::Sides { rack, cluster_name, file_system, share, cluster, missing } = found;
    if share.is_none() && cluster.is_none() {
        return Err(Failure {
            exit: Exit::NoDaemon,
            error: format!(
                "neither the share nor the cluster's services can be listed: {}",
                missing.join("; ")
            )
            .into(),
            code: None,
            help: Some(
                "run it on an instance of the cluster, or give --cluster, --rack and --region".to_owned(),
            ),
        });
    }
    let mut listing = listing::list(share.as_ref(), cluster.as_ref(), rack.as_ref());
    // Of all volumes: those whose use isn't known must not go without a word.
    let summary = listing.summary();
    if args.orphans {
        listing.keep_unused();
    }
    let is_whole = missing.is_empty() && listing.unreadable.is_empty();
    let all_missing: Vec<String> = look.missing.into_iter().chain(missing).collect();
    let text = match args.format {
        Format::Text => page::text(&listing, columns::width()),
        Format::Json => {
            let page = Page {
                rack: rack.map(|rack| rack.to_string()),
                cluster: cluster_name.as_deref(),
                file_system: file_system.as_deref(),
                listing: &listing,
                missing: &all_missing,
            };
            format!("{}\n", serde_json::to_string_pretty(&page).map_err(Failure::refused)?)
        }
    };
    let told = |error: std::io::Error| Failure::refused(format!("stdout: {error}"));
    std::io::stdout().write_all(text.as_bytes()).map_err(told)?;
    if args.format == Format::Text {
        for line in page::beside(&listing, &all_missing, summary) {
            drop(writeln!(std::io::stderr(), "{line}"));
        }
    }
    Ok(if is_whole { Exit::Done } else { Exit::Refused })
}
