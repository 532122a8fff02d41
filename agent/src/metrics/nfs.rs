//! What the kernel counts of the NFS mount, beside what EFS allows one client.

use super::{family, gauge};
use crate::mountstats::{Operation, Statistics, Transport};
use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use std::fmt;

/// Locks that EFS gives one client (Amazon EFS user guide, "Quotas for NFS clients").
const EFS_LOCKS: u32 = 8192;
/// Pairs of a file and a process that may hold them (the same).
const EFS_FILE_PROCESS_PAIRS: u32 = 256;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLabel {
    of: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabel {
    queue: &'static str,
}

fn wide(value: u64) -> f64 {
    // Beyond 2^53 a count loses its last digits, which no graph shows.
    #[allow(clippy::cast_precision_loss)]
    let value = value as f64;
    value
}

fn seconds(milliseconds: u64) -> f64 {
    wide(milliseconds) / 1000.0
}

/// Writes them; `of_efs`: the limits are those of EFS.
pub(super) fn encode(to: &mut DescriptorEncoder<'_>, statistics: &Statistics, of_efs: bool) -> fmt::Result {
    let Statistics { mount, locks } = statistics;
    gauge(to, "nfs_mount_age_seconds", "Time since the share was mounted", wide(mount.age_seconds))?;
    if let Some(lease) = mount.lease {
        gauge(
            to,
            "nfs_lease_seconds",
            "How long the server keeps locks without hearing of this instance",
            wide(lease.seconds),
        )?;
        gauge(
            to,
            "nfs_lease_expired_seconds",
            "Time since that ran out; 0 while it holds",
            wide(lease.expired_seconds),
        )?;
    }
    let bytes = [
        ("nfs_read_bytes", "Bytes that programs read", mount.bytes.read),
        ("nfs_written_bytes", "Bytes that programs wrote", mount.bytes.written),
        ("nfs_server_read_bytes", "Bytes read from the server", mount.bytes.server_read),
        ("nfs_server_written_bytes", "Bytes written to the server", mount.bytes.server_written),
    ];
    for (name, help, value) in bytes {
        super::counter(to, name, help, value)?;
    }
    encode_transport(to, &mount.transport)?;
    encode_operations(to, &mount.operations)?;
    gauge(to, "nfs_locks", "Locks held on the share by processes of this instance", wide(locks.held))?;
    gauge(
        to,
        "nfs_lock_file_process_pairs",
        "Pairs of a file and a process that hold them",
        wide(locks.file_process_pairs),
    )?;
    if of_efs {
        let limits = [("locks", EFS_LOCKS), ("lock_file_process_pairs", EFS_FILE_PROCESS_PAIRS)];
        let limits = limits.map(|(of, limit)| (OfLabel { of }, ConstGauge::new(i64::from(limit))));
        family(
            to,
            ("nfs_limit", "What EFS allows one instance; more ends with EDQUOT", MetricType::Gauge),
            limits.into_iter(),
        )?;
    }
    Ok(())
}

fn encode_transport(to: &mut DescriptorEncoder<'_>, transport: &Transport) -> fmt::Result {
    let counters = [
        ("nfs_connects", "Connections made to the server", transport.connects),
        ("nfs_requests", "Requests sent to the server", transport.requests),
        ("nfs_replies", "Replies received from the server", transport.replies),
        ("nfs_bad_replies", "Replies to no known request", transport.bad_replies),
    ];
    for (name, help, value) in counters {
        super::counter(to, name, help, value)?;
    }
    let queues = [
        ("backlog", transport.backlog_sum),
        ("sending", transport.sending_sum),
        ("pending", transport.pending_sum),
    ];
    let queues = queues.map(|(queue, sum)| (QueueLabel { queue }, ConstCounter::new(sum)));
    let help =
        "Sum of a queue's lengths at each request sent: its rate over that of nfs_requests is a mean length";
    family(to, ("nfs_queue_length_sum", help, MetricType::Counter), queues.into_iter())
}

/// A metric's name, its help, and its value for an operation.
type Family<T> = (&'static str, &'static str, fn(&Operation) -> T);

fn encode_operations(to: &mut DescriptorEncoder<'_>, operations: &[Operation]) -> fmt::Result {
    let label = |operation: &Operation| OperationLabel { operation: operation.name.clone() };
    let counts: [Family<Option<u64>>; 4] = [
        ("nfs_operations", "NFS operations that ended", |operation| Some(operation.ended)),
        ("nfs_transmissions", "How often they were sent", |operation| Some(operation.transmissions)),
        ("nfs_major_timeouts", "How many waited longer than the major time-out", |operation| {
            Some(operation.major_timeouts)
        }),
        ("nfs_operation_errors", "How many ended with an error", |operation| operation.errors),
    ];
    for (name, help, count) in counts {
        let values = operations
            .iter()
            .filter_map(|operation| Some((label(operation), ConstCounter::new(count(operation)?))));
        family(to, (name, help, MetricType::Counter), values)?;
    }
    let times: [Family<u64>; 3] = [
        ("nfs_queued_seconds", "Time that they waited before they were sent", |operation| {
            operation.queued_ms
        }),
        ("nfs_rtt_seconds", "Time that they waited for the server", |operation| operation.rtt_ms),
        ("nfs_executed_seconds", "Time from their beginning to their end", |operation| operation.executed_ms),
    ];
    for (name, help, time) in times {
        let values = operations
            .iter()
            .map(|operation| (label(operation), ConstCounter::new(seconds(time(operation)))));
        family(to, (name, help, MetricType::Counter), values)?;
    }
    Ok(())
}
