//! Where one more task goes, or why nowhere. The same for services and RunTask.

use super::{
    definitions::Definition, instances::ContainerInstance, placement::Expression, state::State, tasks::Status,
};
use serde_json::Value;
use std::time::Duration;

/// Why no instance takes a task, the nearest miss last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Miss {
    NoInstance,
    AgentDisconnected,
    Capability,
    MemberOf,
    DistinctInstance,
    Port,
}

impl Miss {
    /// As a service's event tells it.
    pub(super) fn told(self, instance: &str) -> String {
        let what = match self {
            Self::NoInstance => {
                return "Reason: No Container Instances were found in your cluster.".to_owned();
            }
            Self::AgentDisconnected => "has its agent disconnected.",
            Self::Capability => "is missing an attribute required by your task.",
            Self::MemberOf => "encountered error \"MemberOf placement constraint unsatisfied.\"",
            Self::DistinctInstance => {
                "encountered error \"DistinctInstance placement constraint unsatisfied.\""
            }
            Self::Port => "is already using a port required by your task.",
        };
        format!("The closest matching (container-instance {instance}) {what}")
    }

    /// As an entry of RunTask's `failures[]` tells it (developer guide, "API failure reasons").
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::NoInstance => "No Container Instances were found in your cluster.",
            Self::AgentDisconnected => "AGENT",
            Self::Capability => "ATTRIBUTE",
            Self::MemberOf => "MemberOf placement constraint unsatisfied.",
            Self::DistinctInstance => "DistinctInstance placement constraint unsatisfied.",
            Self::Port => "RESOURCE:PORTS",
        }
    }
}

/// A task that wants a place.
pub(super) struct Demand<'a> {
    pub(super) cluster: &'a str,
    pub(super) definition: &'a Definition,
    /// The service's or call's own, to those of the definition.
    pub(super) constraints: &'a [Value],
    /// Tasks of one group are spread, and kept apart by `distinctInstance`.
    pub(super) group: &'a str,
}

impl Demand<'_> {
    fn list(&self, key: &str) -> &[Value] {
        self.definition.document.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The ports of the instance that the task needs for itself; 0 stands for any that is free.
    pub(super) fn ports(&self) -> Vec<u64> {
        let of = |value: &Value| value["portMappings"].as_array().cloned().unwrap_or_default();
        let ports = self.list("containerDefinitions").iter().flat_map(of);
        ports.filter_map(|port| port["hostPort"].as_u64()).filter(|port| *port != 0).collect()
    }

    fn all_constraints(&self) -> impl Iterator<Item = &Value> {
        self.list("placementConstraints").iter().chain(self.constraints)
    }

    /// Whether the instance is of the kind that the task is for, whatever runs there just now.
    pub(super) fn matches(&self, instance: &ContainerInstance) -> Result<(), Miss> {
        let has = |a: &Value| a["name"].as_str().is_some_and(|n| instance.attributes.contains_key(n));
        if !self.list("requiresAttributes").iter().all(has) {
            return Err(Miss::Capability);
        }
        // Expressions were parsed when they came in; one that can't be now is met by nobody.
        let meets = |text: &str| Expression::parse(text).is_ok_and(|e| e.matches(&instance.attributes));
        if !self.all_constraints().filter_map(|c| c["expression"].as_str()).all(meets) {
            return Err(Miss::MemberOf);
        }
        Ok(())
    }
}

impl State {
    /// Instances that tasks may be placed on at all: not those that are draining.
    pub(super) fn active_instances(&self, cluster: &str) -> impl Iterator<Item = &ContainerInstance> {
        self.instances.iter().filter(move |i| i.cluster == cluster && !i.draining)
    }

    /// The instance for one more task: of those that may take it, one in the zone, then the instance, with the fewest of its group
    /// (ECS spreads services over zones by default). Else the nearest miss and its instance's ARN.
    pub(super) fn place(&self, demand: &Demand, now: Duration) -> Result<&ContainerInstance, (Miss, String)> {
        let mut nearest = (Miss::NoInstance, String::new());
        let mut best: Option<((usize, usize, usize), &ContainerInstance)> = None;
        for instance in self.active_instances(demand.cluster) {
            if let Err(miss) = self.fits(demand, instance, now) {
                if miss > nearest.0 {
                    nearest = (miss, instance.arn.clone());
                }
                continue;
            }
            let zone = |i: &ContainerInstance| i.attributes.get("ecs.availability-zone").cloned().flatten();
            let here = zone(instance);
            let of_group = |arn: &str| self.group_on(demand, arn);
            let in_zone = self.instances.iter().filter(|i| zone(i) == here).map(|i| of_group(&i.arn)).sum();
            let all =
                self.tasks.iter().filter(|t| t.instance == instance.arn && t.last != Status::Stopped).count();
            let load = (in_zone, of_group(&instance.arn), all);
            if best.as_ref().is_none_or(|(least, _)| load < *least) {
                best = Some((load, instance));
            }
        }
        best.map(|(_, instance)| instance).ok_or(nearest)
    }

    fn group_on(&self, demand: &Demand, instance: &str) -> usize {
        let is_one = |t: &&super::tasks::Task| {
            t.instance == instance && t.group == demand.group && t.last != Status::Stopped
        };
        self.tasks.iter().filter(is_one).count()
    }

    pub(super) fn fits(
        &self,
        demand: &Demand,
        instance: &ContainerInstance,
        now: Duration,
    ) -> Result<(), Miss> {
        if !instance.is_connected(now) {
            return Err(Miss::AgentDisconnected);
        }
        demand.matches(instance)?;
        let distinct = demand.all_constraints().any(|c| c["type"] == "distinctInstance");
        if distinct && self.group_on(demand, &instance.arn) > 0 {
            return Err(Miss::DistinctInstance);
        }
        let ports = demand.ports();
        let held = self.tasks.iter().filter(|t| t.instance == instance.arn && t.last != Status::Stopped);
        if held.flat_map(|t| &t.ports).any(|port| ports.contains(port)) {
            return Err(Miss::Port);
        }
        Ok(())
    }
}
