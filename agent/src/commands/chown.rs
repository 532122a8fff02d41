//! `volumes-agent chown`: gives a volume's directory, and all that is in it, to somebody; on request alone.

use crate::{
    commands::files::print,
    diagnostics::{Exit, Failure, in_one_line},
    giving_away::{self, Given},
    mount::VOLUMES_ROOT,
    ownership::Owner,
};
use clap::Args;
use std::io::Write;

/// Flags of `chown`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  volumes-agent chown /volumes/production-shop/grafana/var/lib/grafana 472:0
  volumes-agent chown production-shop/grafana/var/lib/grafana

Ended in the middle and called again it goes on: what is right already is left alone.")]
pub struct ChownArgs {
    /// The volume's path on this instance, or below /volumes.
    #[arg(value_name = "VOLUME")]
    pub volume: String,
    /// Whose it is to be, as UID:GID [default: what `x-volumes` or the configuration asked for].
    #[arg(value_name = "OWNER")]
    pub owner: Option<Owner>,
}

/// Changes the owner of all that isn't right, and tells how far it is.
///
/// # Errors
/// There is no such volume, no owner to be had, or something could not be changed.
pub fn run(args: &ChownArgs) -> Result<Exit, Failure> {
    let path = args.volume.strip_prefix(VOLUMES_ROOT).unwrap_or(&args.volume).trim_matches('/');
    let tell = |given: &Given| {
        // A terminal that is gone is no reason to stop.
        let _ = writeln!(
            std::io::stderr().lock(),
            "{} entries looked at, {} given away",
            given.looked_at,
            given.changed
        );
    };
    let given = giving_away::give(path, args.owner, &tell).map_err(|error| {
        let help = error.help();
        Failure::refused(in_one_line(&error)).help(help)
    })?;
    print(&format!(
        "{VOLUMES_ROOT}/{path} is {}'s: {} entries looked at, {} given away\n",
        given.owner, given.looked_at, given.changed
    ))
}
