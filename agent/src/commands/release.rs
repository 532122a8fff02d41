//! `volumes-agent release`: the last thing that is done with the share at a shutdown, between the end of the containers and the
//! unmounting of the share. Its unit is `volumes-agent-release.service`.
//!
//! A server that answers gets all that isn't written yet, however long that takes. With one that is dead, every process that waits
//! for it would hold up the shutdown for minutes, even after SIGKILL: the kernel releases a file's lock when the file's owner has
//! died already, and waits for the server's answer to that.

use crate::{
    diagnostics::{Exit, Failure},
    mount::VOLUMES_ROOT,
    mountinfo,
    share_worker::{self, Request, Worker, WorkerError},
};
use std::{io::Write, time::Duration};

/// Silence after which the server counts as dead: that of the daemon's `stall_deadline`.
const SILENCE: Duration = Duration::from_secs(15);
/// Between two looks whether the server still answers, and between two attempts to end what waits for it.
const PAUSE: Duration = Duration::from_secs(1);
/// Each attempt ends the calls that wait at that moment; who goes on to its next call waits again.
const ATTEMPTS: u32 = 5;
const ATTEMPT_DEADLINE: Duration = Duration::from_secs(3);

/// Returns when nothing of the share waits to be written, or when the server is dead.
///
/// # Errors
/// The runtime can't be started, mountinfo can't be read.
pub fn run() -> Result<Exit, Failure> {
    let mounted = mountinfo::look(VOLUMES_ROOT)
        .map_err(|error| Failure::refused(format!("/proc/self/mountinfo can't be read: {error}")))?;
    if mounted.is_none_or(|entry| entry.fs_type != "nfs4") {
        return Ok(Exit::Done);
    }
    let (exit, said) = match crate::commands::block_on(flushed())? {
        Ok(()) => (Exit::Done, format!("everything is written to {VOLUMES_ROOT}")),
        Err(why) => (Exit::Refused, why),
    };
    // A closed stderr leaves nobody to tell.
    drop(writeln!(std::io::stderr(), "{said}"));
    Ok(exit)
}

/// Waits for the write-back as long as the server answers.
async fn flushed() -> Result<(), String> {
    let failed = |error: WorkerError| format!("not everything could be written to {VOLUMES_ROOT}: {error}");
    let mut worker = Worker::start().map_err(failed)?;
    let written = worker.ask::<()>(&Request::Flush);
    tokio::pin!(written);
    loop {
        let alive = async {
            let answer = share_worker::ask::<()>(&Request::Probe, SILENCE).await;
            tokio::time::sleep(PAUSE).await;
            answer
        };
        tokio::select! { // dropping `alive` ends its child, which nobody needs then
            result = &mut written => return result.map_err(failed),
            answer = alive => if matches!(answer, Err(WorkerError::TimedOut(_))) { break },
        }
    }
    for _ in 0..ATTEMPTS {
        // That it fails is seen by what still waits; the shutdown goes on either way.
        drop(share_worker::ask::<()>(&Request::Abandon, ATTEMPT_DEADLINE).await);
        tokio::time::sleep(PAUSE).await;
    }
    Err(format!(
        "the server of {VOLUMES_ROOT} has not answered for {}: what was not written to it by now is lost, and every call that waits for it was ended",
        humantime::format_duration(SILENCE)
    ))
}
