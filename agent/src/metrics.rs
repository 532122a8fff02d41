//! `/metrics` for Prometheus, made from the last report. Names: `docs/operations.md`.

mod nfs;

use crate::{
    containers::Why,
    guard::Guard,
    mount_state::MountState,
    report::{Gate, Outcome, Report, Role, VolumesReport},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// The page.
///
/// # Errors
/// Never in practice: it writes to a string.
pub fn encode(report: Arc<Report>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("volumes_agent");
    registry.register_collector(Box::new(Page(report)));
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry)?;
    Ok(page)
}

#[derive(Debug)]
struct Page(Arc<Report>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransitionLabel {
    state: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionLabel {
    action: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhyLabel {
    why: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabel {
    version: String,
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    let encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(value).encode(encoder)
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let encoder = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    ConstCounter::new(value).encode(encoder)
}

fn family<S: EncodeLabelSet, M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, kind): (&str, &str, MetricType),
    values: impl Iterator<Item = (S, M)>,
) -> fmt::Result {
    let mut encoder = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in values {
        value.encode(encoder.encode_family(&labels)?)?;
    }
    Ok(())
}

fn unix_seconds(timestamp: Option<&String>) -> Option<f64> {
    let time = humantime::parse_rfc3339(timestamp?).ok()?;
    Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs_f64())
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Report { health, patching, counters, .. } = &*self.0;
        let to = &mut encoder;
        let is = |yes: bool| if yes { 1.0 } else { 0.0 };
        let version = VersionLabel { version: health.version.clone() };
        family(
            to,
            ("build_info", "The agent's version", MetricType::Gauge),
            std::iter::once((version, ConstGauge::new(1i64))),
        )?;
        let states = MountState::ALL.into_iter().map(|state| {
            (StateLabel { state: state.name() }, ConstGauge::new(i64::from(state == health.state)))
        });
        family(to, ("mount_state", "The share's state: 1 for the present one", MetricType::Gauge), states)?;
        gauge(
            to,
            "ready",
            "Whether the share is mounted, the right one, and answers",
            is(health.state.is_ready()),
        )?;
        gauge(
            to,
            "mount_attempts",
            "Attempts to mount since the share was last ready",
            f64::from(health.attempt),
        )?;
        let codes = self.0.codes.iter().map(|code| (CodeLabel { code: code.clone() }, ConstGauge::new(1i64)));
        family(
            to,
            (
                "problem",
                "What is missing or failing now, by its code: `volumes-agent explain CODE`",
                MetricType::Gauge,
            ),
            codes,
        )?;
        // A patcher has neither.
        if !self.0.only_patches {
            gauge(
                to,
                "guard_set",
                "Whether the bare mount point is immutable",
                is(health.guard == Guard::Set),
            )?;
            gauge(
                to,
                "gate_open",
                "Whether ECS was told that tasks may be placed here",
                is(health.gate == Gate::Open),
            )?;
        }
        if let Some(reachable) = health.aws.reachable {
            gauge(to, "aws_reachable", "Whether the last call to AWS got an answer", is(reachable))?;
        }
        if let Some(at) = unix_seconds(health.probe.last_ok.as_ref()) {
            gauge(to, "probe_last_success_timestamp_seconds", "When the share last answered", at)?;
        }
        if let Some(rtt) = health.probe.rtt_ms {
            gauge(to, "probe_rtt_seconds", "How long the share's last answer took", rtt / 1000.0)?;
        }
        if let Some(statistics) = &self.0.nfs {
            let is_efs = health.mount.as_ref().is_some_and(|mount| mount.file_system.starts_with("fs-"));
            nfs::encode(to, statistics, is_efs)?;
        }
        let help = "Whether this agent set the instance to DRAINING in ECS";
        gauge(to, "draining", help, is(self.0.draining.is_some()))?;
        if let Some(VolumesReport { records, missing }) = &self.0.volumes {
            let count =
                |replaced: bool| missing.iter().filter(|one| one.found.is_replaced() == replaced).count();
            let count = |replaced| f64::from(u32::try_from(count(replaced)).unwrap_or(u32::MAX));
            let records = f64::from(u32::try_from(*records).unwrap_or(u32::MAX));
            gauge(to, "volumes", "Volumes that have a record on the share", records)?;
            gauge(to, "volumes_missing", "Volumes whose directory is gone", count(false))?;
            gauge(to, "volumes_replaced", "Volumes in whose place something else lies", count(true))?;
        }
        let elsewhere = Why::ALL.into_iter().map(|why| {
            let count = self.0.containers_elsewhere.iter().filter(|one| one.why == why).count();
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            (WhyLabel { why: why.name() }, ConstGauge::new(f64::from(count)))
        });
        let help = "Mounts of containers that are elsewhere than on the share";
        family(to, ("containers_elsewhere", help, MetricType::Gauge), elsewhere)?;
        gauge(to, "leader", "Whether this agent patches the cluster", is(patching.role == Role::Leader))?;
        if let Some(at) = unix_seconds(patching.last_round.as_ref()) {
            gauge(to, "patch_round_timestamp_seconds", "When this agent last looked at the cluster", at)?;
        }
        if patching.role == Role::Leader {
            let count =
                |outcome| patching.services.iter().filter(|service| service.outcome == outcome).count();
            let outcomes = Outcome::ALL.into_iter().map(|outcome| {
                let count = u32::try_from(count(outcome)).unwrap_or(u32::MAX);
                (OutcomeLabel { outcome: outcome.name() }, ConstGauge::new(f64::from(count)))
            });
            family(
                to,
                ("services", "Services of the cluster in the last round, by outcome", MetricType::Gauge),
                outcomes,
            )?;
        }
        if patching.role == Role::Leader {
            let without =
                patching.services.iter().filter(|service| service.tasks_without_volumes > 0).count();
            gauge(
                to,
                "services_without_volumes",
                "Services whose tasks run without the volumes that they declare",
                f64::from(u32::try_from(without).unwrap_or(u32::MAX)),
            )?;
            let mut reasons: BTreeMap<&str, u32> = BTreeMap::new();
            for service in patching.services.iter() {
                if service.outcome != Outcome::Patched
                    && let Some(code) = &service.code
                {
                    *reasons.entry(code).or_default() += 1;
                }
            }
            let reasons = reasons.into_iter().map(|(reason, count)| {
                (ReasonLabel { reason: reason.to_owned() }, ConstGauge::new(f64::from(count)))
            });
            family(
                to,
                (
                    "services_not_patched",
                    "Services that are refused, left alone or wait, by reason",
                    MetricType::Gauge,
                ),
                reasons,
            )?;
        }
        counter(to, "task_definitions_registered", "Patched revisions registered", counters.registered)?;
        counter(to, "services_updated", "Services moved to a patched revision", counters.updated)?;
        let transitions = counters
            .transitions
            .iter()
            .map(|(state, count)| (TransitionLabel { state: state.clone() }, ConstCounter::new(*count)));
        family(
            to,
            ("state_transitions", "Times the share came into a state", MetricType::Counter),
            transitions,
        )?;
        let with = |result| {
            move |(action, count): (&String, &u64)| {
                (ActionLabel { action: action.clone(), result }, ConstCounter::new(*count))
            }
        };
        let actions =
            counters.succeeded.iter().map(with("ok")).chain(counters.failed.iter().map(with("failed")));
        family(to, ("actions", "What the agent did, by action and result", MetricType::Counter), actions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_tells_the_state_and_ends_as_openmetrics_asks() {
        let mut report = Report::default();
        report.health.state = MountState::Stalled;
        report.counters.failed.insert("mount".to_owned(), 2);
        report.codes.push("port-timeout".to_owned());
        let operation = crate::mountstats::Operation {
            name: "READ".to_owned(),
            rtt_ms: 1500,
            ..crate::mountstats::Operation::default()
        };
        let mut statistics = crate::mountstats::Statistics::default();
        statistics.mount.operations.push(operation);
        statistics.locks.held = 5;
        report.nfs = Some(statistics);
        let page = encode(Arc::new(report)).unwrap();
        for line in [
            "volumes_agent_nfs_rtt_seconds_total{operation=\"READ\"} 1.5",
            "volumes_agent_nfs_queue_length_sum_total{queue=\"backlog\"} 0",
            "volumes_agent_nfs_locks 5.0",
            "volumes_agent_mount_state{state=\"stalled\"} 1",
            "volumes_agent_mount_state{state=\"ready\"} 0",
            "volumes_agent_ready 0.0",
            "volumes_agent_problem{code=\"port-timeout\"} 1",
            "volumes_agent_actions_total{action=\"mount\",result=\"failed\"} 2",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} in\n{page}");
        }
        assert!(page.ends_with("# EOF\n"), "{page}");
    }
}
