//! `volumes-agent adopt-share`: an operator says that the share at /volumes is the right one, although its marker doesn't say so.

use crate::{
    commands::configuration::ConfigurationArgs,
    config::{Config, ShareChoice},
    diagnostics::{Exit, Failure},
    identity::Adopted,
    loopback,
    mount::VOLUMES_ROOT,
    report::Report,
    share_worker::{self, Request, WorkerError},
    target::MountTarget,
};
use clap::Args;
use std::{io::Write, time::Duration};

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A few round trips for each volume ever made on the share.
const ADOPTED_WITHIN: Duration = Duration::from_secs(600);

/// Flags of `adopt-share`.
#[derive(Debug, Args)]
pub struct AdoptShareArgs {
    /// The file system that the share's marker names until now; without it the share must have no marker.
    #[arg(long, value_name = "ID")]
    pub from: Option<String>,
    /// Which file system the share is, and where the daemon listens.
    #[command(flatten)]
    pub configuration: ConfigurationArgs,
}

/// Writes the marker. No file of a volume is touched.
///
/// # Errors
/// It isn't known which file system this is, the marker names another one than `--from`, or the share doesn't answer.
pub fn run(args: &AdoptShareArgs) -> Result<Exit, Failure> {
    let config = args.configuration.config()?;
    let adopted = crate::commands::block_on(async {
        let file_system = file_system(&config).await?;
        let request = Request::Adopt { file_system: file_system.clone(), from: args.from.clone() };
        let answer = share_worker::ask::<Adopted>(&request, ADOPTED_WITHIN).await;
        Ok((file_system, answer.map_err(refused)?))
    });
    let (file_system, Adopted { marked, records }) = adopted??;
    let mut page = match (marked, &args.from) {
        (false, _) => format!("{VOLUMES_ROOT} is marked as {file_system} already; nothing was changed\n"),
        (true, None) => format!("{VOLUMES_ROOT} is marked as {file_system} from now on\n"),
        (true, Some(from)) => format!(
            "{VOLUMES_ROOT} is marked as {file_system} from now on, no more as {from}; {} of its volumes have a new inode on record\n",
            records.renewed
        ),
    };
    for path in &records.gone {
        page += &format!("warning: the directory of volume `{path}` is not there; its record is as it was\n");
    }
    std::io::stdout()
        .write_all(page.as_bytes())
        .map_err(|error| Failure::refused(format!("stdout: {error}")))?;
    Ok(Exit::Done)
}

/// The configured file system; one that is found by its tag is known to the daemon.
async fn file_system(config: &Config) -> Result<String, Failure> {
    match &config.share {
        Some(ShareChoice::FileSystem(id)) => return Ok(id.clone()),
        Some(ShareChoice::NfsServer { address, export }) => {
            return Ok(MountTarget::plain_server(*address, export).file_system);
        }
        Some(ShareChoice::Tag { .. }) | None => {}
    }
    let url = format!("http://{}/status", config.listen);
    let unknown = |why: String| {
        Failure::refused(format!("it is not known which file system belongs at {VOLUMES_ROOT}: {why}"))
            .help("name it by --file-system")
    };
    let answer = loopback::get(&url, ANSWER_WITHIN).await.map_err(|error| unknown(error.to_string()))?;
    let report: Report =
        serde_json::from_slice(&answer.body).map_err(|error| unknown(format!("GET {url}: {error}")))?;
    let mount = report.health.mount.ok_or_else(|| unknown(report.health.reason))?;
    Ok(mount.file_system)
}

fn refused(error: WorkerError) -> Failure {
    match error {
        WorkerError::Failed(trouble) => Failure { help: trouble.help, ..Failure::refused(trouble.text) },
        WorkerError::TimedOut(_) => {
            Failure::refused(error).help("the share hangs: see `volumes-agent status`, and try again")
        }
        error => Failure::refused(error).help("run it as root on the instance"),
    }
}
