//! Which of the host's processors a guest is on.

use nix::{
    sched::{CpuSet, sched_getaffinity},
    unistd::Pid,
};

/// The processor of the guest of that number, of those that this process may use; each guest has one as long as there are enough.
///
/// A guest has one processor, and each system call of its processes is two changes between processes of the host. Left to itself the host's
/// scheduler spreads them over its processors, one of which has to be woken each time: all takes twice as long then.
pub(crate) fn of_guest(number: usize) -> Option<usize> {
    let ours = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let ours: Vec<usize> =
        (0..CpuSet::count()).filter(|processor| ours.is_set(*processor).unwrap_or_default()).collect();
    ours.get(number.checked_rem(ours.len())?).copied()
}
