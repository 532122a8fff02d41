//! What the kernel counts of the NFS mount at the volumes root: /proc/self/mountstats and /proc/locks, parsed.
//!
//! Reading them sends nothing to a server, so it never hangs with the share. The lines: Linux, fs/nfs/super.c
//! (`nfs_show_stats`), net/sunrpc/stats.c (`rpc_clnt_show_stats`), net/sunrpc/xprtsock.c (`xs_tcp_print_stats`), fs/locks.c
//! (`lock_get_status`). Counters begin anew with each mount; a line or a field that a kernel lacks is left out.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};

const FILE: &str = "/proc/self/mountstats";
const LOCKS_FILE: &str = "/proc/locks";

/// What the kernel counted of one NFS mount since it was made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MountStats {
    /// Seconds since the mount.
    pub age_seconds: u64,
    /// The lease of NFSv4's state, shared by all mounts of one server; an NFSv3 mount has none.
    pub lease: Option<Lease>,
    /// Bytes read and written.
    pub bytes: Bytes,
    /// The connection, or the sum of several.
    pub transport: Transport,
    /// Operations that were sent at least once, in the kernel's order.
    pub operations: Vec<Operation>,
}

/// The time that the server keeps this client's locks and opens without hearing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lease {
    /// As the server gave it.
    pub seconds: u64,
    /// Seconds since it ran out; 0: it holds. After that the server may have given the locks to another client.
    pub expired_seconds: u64,
}

/// Bytes since the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bytes {
    /// Given to programs by read(2) and its kin, from the cache or the server; by `O_DIRECT` not counted.
    pub read: u64,
    /// Taken from programs by write(2) and its kin, but for `O_DIRECT`.
    pub written: u64,
    /// Got from the server.
    pub server_read: u64,
    /// Sent to the server.
    pub server_written: u64,
}

/// What the connection went through. The sums of queue lengths grow by the queue's length at each request that is sent, so
/// their rate over the rate of `requests` is a mean length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Transport {
    /// Connections made: one more for each that was lost.
    pub connects: u64,
    /// Requests sent.
    pub requests: u64,
    /// Replies received.
    pub replies: u64,
    /// Replies to no known request.
    pub bad_replies: u64,
    /// Sum of the lengths of the queue for a free slot.
    pub backlog_sum: u64,
    /// Sum of the lengths of the queue for the socket.
    pub sending_sum: u64,
    /// Sum of the numbers of requests that waited for their reply.
    pub pending_sum: u64,
}

/// One kind of NFS operation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Operation {
    /// As the kernel names it: `READ`, `OPEN`.
    pub name: String,
    /// How many ended.
    pub ended: u64,
    /// How often they were sent: more than `ended` means that some were sent again.
    pub transmissions: u64,
    /// How many waited longer than the major time-out (with our options 180 s).
    pub major_timeouts: u64,
    /// Milliseconds that all of them waited before they were sent.
    pub queued_ms: u64,
    /// Milliseconds that all of them waited for the server.
    pub rtt_ms: u64,
    /// Milliseconds from the beginning to the end of all of them.
    pub executed_ms: u64,
    /// How many ended with an error; kernels before 5.3 don't count it.
    pub errors: Option<u64>,
}

impl Lease {
    /// The lease's time.
    pub fn time(self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// Locks of this machine's processes on one file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Locks {
    /// Locks that are held.
    pub held: u64,
    /// Pairs of a file and a process that holds a lock on it; all open file description locks of a file count as one.
    pub file_process_pairs: u64,
}

/// All that the kernel tells of the mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Statistics {
    /// Of mountstats.
    #[serde(flatten)]
    pub mount: MountStats,
    /// Of /proc/locks.
    pub locks: Locks,
}

impl Statistics {
    /// Reads both, for the NFS mount at `path`, whose file system has the number `device`. `None`: no NFS is mounted there.
    ///
    /// # Errors
    /// A file can't be read: /proc isn't there.
    pub fn of(path: &str, device: &str) -> std::io::Result<Option<Self>> {
        let Some(mount) = look(path)? else { return Ok(None) };
        Ok(Some(Self { mount, locks: locks_on(&std::fs::read_to_string(LOCKS_FILE)?, device) }))
    }

    /// What is wrong, with what to do.
    pub fn problem(&self) -> Option<String> {
        let lease = self.mount.lease.filter(|lease| lease.expired_seconds > 0)?;
        Some(format!(
            "the lease of the NFS server ({} s) ran out {} s ago: it may have given the locks of this instance to others. Programs that \
             held one get EIO from then on: restart their tasks once the share answers",
            lease.seconds, lease.expired_seconds
        ))
    }
}

/// The statistics of the topmost NFS mount at `path`. `None`: no NFS is mounted there.
pub fn mounted_at(mountstats: &str, path: &str) -> Option<MountStats> {
    let mut found = None;
    let mut lines = mountstats.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((mount_point, fs_type)) = device(line) else { continue };
        let mut stats = MountStats::default();
        while let Some(line) = lines.next_if(|line| !line.starts_with("device ")) {
            stats.take(line.trim());
        }
        if mount_point == path {
            // What lies on top hides what was found before it, NFS or not.
            found = fs_type.starts_with("nfs").then_some(stats);
        }
    }
    found
}

/// `device 10.0.0.5:/ mounted on /volumes with fstype nfs4 statvers=1.1`; the source may hold blanks, the mount point has them
/// escaped. Only the volumes root is asked for, which has none.
fn device(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.strip_prefix("device ")?.split_once(" mounted on ")?;
    let (mount_point, rest) = rest.split_once(" with fstype ")?;
    Some((mount_point, rest.split(' ').next()?))
}

impl MountStats {
    fn take(&mut self, line: &str) {
        let Some((key, rest)) = line.split_once(':') else { return };
        let rest = rest.trim();
        match key {
            "age" => self.age_seconds = rest.parse().unwrap_or_default(),
            "nfsv4" => self.lease = lease(rest),
            "bytes" => {
                if let [read, written, _, _, server_read, server_written, ..] = numbers(rest)[..] {
                    self.bytes = Bytes { read, written, server_read, server_written };
                }
            }
            "xprt" => self.transport.add(rest),
            "opts" | "caps" | "sec" | "events" | "impl_id" | "fsc" => {}
            operation => {
                self.operations
                    .extend(Operation::of(operation, rest).filter(|operation| operation.ended > 0));
            }
        }
    }
}

/// `...,lease_time=90,lease_expired=0`
fn lease(line: &str) -> Option<Lease> {
    let value = |key: &str| line.split(',').find_map(|field| field.strip_prefix(key))?.parse().ok();
    Some(Lease {
        seconds: value("lease_time=")?,
        expired_seconds: value("lease_expired=").unwrap_or_default(),
    })
}

fn numbers(line: &str) -> Vec<u64> {
    line.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect()
}

impl Transport {
    /// `tcp <port> <binds> <connects> <connecting> <idle> <sends> <receives> <bad> <active> <backlog> <slots> <sending> <pending>`;
    /// a mount with several connections has a line for each. What is sent otherwise than by TCP is not counted.
    fn add(&mut self, line: &str) {
        let Some(fields) = line.strip_prefix("tcp ") else { return };
        if let [_, _, connects, _, _, requests, replies, bad, _, backlog, rest @ ..] = &numbers(fields)[..] {
            self.connects += connects;
            self.requests += requests;
            self.replies += replies;
            self.bad_replies += bad;
            self.backlog_sum += backlog;
            if let [_, sending, pending, ..] = rest {
                self.sending_sum += sending;
                self.pending_sum += pending;
            }
        }
    }
}

impl Operation {
    /// `READ: <ended> <transmissions> <timeouts> <bytes sent> <bytes received> <queued> <rtt> <executed> <errors>`
    fn of(name: &str, line: &str) -> Option<Self> {
        let fields = numbers(line);
        let &[ended, transmissions, major_timeouts, _, _, queued_ms, rtt_ms, executed_ms, ref rest @ ..] =
            &fields[..]
        else {
            return None;
        };
        Some(Self {
            name: name.to_owned(),
            ended,
            transmissions,
            major_timeouts,
            queued_ms,
            rtt_ms,
            executed_ms,
            errors: rest.first().copied(),
        })
    }
}

/// The locks on the file system with this number, `major:minor` in decimals as mountinfo has it.
///
/// `1: POSIX  ADVISORY  WRITE 1045 00:1a:8 0 EOF`, the number in hexadecimal; what waits for a lock has `->` after the colon.
pub fn locks_on(locks: &str, device: &str) -> Locks {
    let Some((major, minor)) = device.split_once(':') else { return Locks::default() };
    let (Ok(major), Ok(minor)) = (major.parse::<u32>(), minor.parse::<u32>()) else {
        return Locks::default();
    };
    let prefix = format!("{major:02x}:{minor:02x}:");
    let mut counted = Locks::default();
    let mut pairs = BTreeSet::new();
    for line in locks.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, kind, _, _, process, file, ..] = fields[..] else { continue };
        if kind != "->" && file.starts_with(&prefix) {
            counted.held += 1;
            pairs.insert((file, process));
        }
    }
    counted.file_process_pairs = pairs.len().try_into().unwrap_or(u64::MAX);
    counted
}

/// What is counted of the mount at `path` now.
///
/// # Errors
/// The file can't be read: /proc isn't there.
pub fn look(path: &str) -> std::io::Result<Option<MountStats>> {
    Ok(mounted_at(&std::fs::read_to_string(FILE)?, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of an instance of the lab (Linux 6.1, nfs-ganesha), shortened.
    const SAMPLE: &str = "\
device /dev/root mounted on / with fstype ext4
device 10.77.0.1:/ mounted on /volumes with fstype nfs4 statvers=1.1
\topts:\trw,vers=4.1,rsize=1048576,wsize=1048576,namlen=255,acregmin=3,acregmax=60,acdirmin=30,acdirmax=60,hard,noresvport,proto=tcp,timeo=600,retrans=2,sec=sys,clientaddr=0.0.0.0,local_lock=none
\tage:\t48
\timpl_id:\tname='',domain='',date='0,0'
\tcaps:\tcaps=0xc003c0b7,wtmult=512,dtsize=1048576,bsize=0,namlen=255
\tnfsv4:\tbm0=0xfdffafff,bm1=0x40f9be3e,bm2=0x802,acl=0x1,sessions,pnfs=not configured,lease_time=10,lease_expired=0
\tsec:\tflavor=1,pseudoflavor=1
\tevents:\t18 34 0 2 20 4 84 0 0 2 0 0 0 0 14 0 6 14 0 0 0 0 0 0 0 0 0 
\tbytes:\t590 7 0 0 140 9 2 0 
\tRPC iostats version: 1.1  p/v: 100003/4 (nfs)
\txprt:\ttcp 0 0 2 0 0 113 112 1 113 4 2 5 6
\tper-op statistics
\t        NULL: 1 1 0 44 24 0 0 0 0
\t       WRITE: 0 0 0 0 0 0 0 0 0
\tOPEN_NOATTR: 11 12 0 2688 3452 0 1 2 0
\t        LOCK: 7 7 3 1740 1000 8 50 58 6

device 10.77.16.1:/ mounted on /other with fstype nfs4 statvers=1.1
\tage:\t9
";

    #[test]
    fn the_mount_at_the_volumes_root_is_read() {
        let stats = mounted_at(SAMPLE, "/volumes").unwrap();
        assert_eq!(stats.age_seconds, 48);
        assert_eq!(stats.lease, Some(Lease { seconds: 10, expired_seconds: 0 }));
        assert_eq!(stats.bytes, Bytes { read: 590, written: 7, server_read: 140, server_written: 9 });
        let transport = Transport {
            connects: 2,
            requests: 113,
            replies: 112,
            bad_replies: 1,
            backlog_sum: 4,
            sending_sum: 5,
            pending_sum: 6,
        };
        assert_eq!(stats.transport, transport);
        let names: Vec<&str> = stats.operations.iter().map(|operation| operation.name.as_str()).collect();
        assert_eq!(names, ["NULL", "OPEN_NOATTR", "LOCK"], "what was never sent is left out");
        let lock = Operation {
            name: "LOCK".to_owned(),
            ended: 7,
            transmissions: 7,
            major_timeouts: 3,
            queued_ms: 8,
            rtt_ms: 50,
            executed_ms: 58,
            errors: Some(6),
        };
        assert_eq!(stats.operations.last(), Some(&lock));
        assert_eq!(mounted_at(SAMPLE, "/other").unwrap().age_seconds, 9);
    }

    #[test]
    fn what_is_not_nfs_has_no_statistics() {
        assert_eq!(mounted_at(SAMPLE, "/"), None);
        assert_eq!(mounted_at(SAMPLE, "/volumes/a"), None);
        let covered = format!("{SAMPLE}device tmpfs mounted on /volumes with fstype tmpfs\n");
        assert_eq!(mounted_at(&covered, "/volumes"), None, "what is mounted over it counts");
    }

    #[test]
    fn an_expired_lease_several_connections_and_older_kernels_are_understood() {
        let text = SAMPLE
            .replace("lease_expired=0", "lease_expired=33")
            .replace("LOCK: 7 7 3 1740 1000 8 50 58 6", "LOCK: 7 7 3 1740 1000 8 50 58")
            .replace("\tper-op", "\txprt:\ttcp 0 0 1 0 0 7 7 0 7 1 2 1 1\n\tper-op");
        let stats = mounted_at(&text, "/volumes").unwrap();
        assert_eq!(stats.lease.map(|lease| lease.expired_seconds), Some(33));
        assert_eq!((stats.transport.connects, stats.transport.pending_sum), (3, 7));
        assert_eq!(stats.operations.last().unwrap().errors, None);
        // A kernel of which nothing is understood has a mount all the same.
        let odd = "device a:/ mounted on /volumes with fstype nfs\n\txprt:\tudp 1\n\tbytes:\tx\n\t LOCK: 1\n";
        assert_eq!(mounted_at(odd, "/volumes"), Some(MountStats::default()));
    }

    #[test]
    fn a_lease_that_ran_out_is_a_problem() {
        let mut statistics =
            Statistics { mount: mounted_at(SAMPLE, "/volumes").unwrap(), ..Statistics::default() };
        assert_eq!(statistics.problem(), None);
        statistics.mount.lease = Some(Lease { seconds: 90, expired_seconds: 3 });
        assert!(statistics.problem().unwrap().contains("(90 s) ran out 3 s ago"));
    }

    #[test]
    fn locks_of_the_share_are_counted_and_those_that_wait_are_not() {
        let locks = "\
1: FLOCK  ADVISORY  WRITE 1045 00:1a:8 0 EOF
2: POSIX  ADVISORY  WRITE 1045 00:1a:8 5 9
2: -> POSIX  ADVISORY  WRITE 1046 00:1a:8 5 9
3: OFDLCK ADVISORY  READ -1 00:1a:9 0 EOF
4: FLOCK  ADVISORY  WRITE 783 62:00:8882 0 EOF
5: FLOCK  ADVISORY  WRITE 783 100:1a:8 0 EOF
";
        assert_eq!(locks_on(locks, "0:26"), Locks { held: 3, file_process_pairs: 2 });
        assert_eq!(locks_on(locks, "98:0"), Locks { held: 1, file_process_pairs: 1 });
        assert_eq!(locks_on(locks, "nonsense"), Locks::default());
    }
}
