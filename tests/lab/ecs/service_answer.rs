//! A service as DescribeServices tells it.

use super::{
    deployments::Deployment,
    services::{Controller, Service, ServiceStatus},
    state::{State, seconds},
    tasks::Task,
};
use serde_json::{Value, json};

impl State {
    pub(super) fn service_answer(&self, service: &Service) -> Value {
        let tasks: Vec<&Task> = self.tasks.iter().filter(|t| service.has_task(t)).collect();
        let count = |id: Option<&str>, running| {
            tasks.iter().filter(|t| id.is_none_or(|id| id == t.deployment) && t.is_counted(running)).count()
        };
        let is_ecs = service.controller == Controller::Ecs;
        let deployments: Vec<Value> = service
            .deployments
            .iter()
            .enumerate()
            .filter(|_| is_ecs)
            .map(|(at, d)| {
                let counts = (count(Some(&d.id), true), count(Some(&d.id), false));
                deployment_answer(service, d, at == 0, counts)
            })
            .collect();
        let mut answer = json!({
            "serviceArn": service.arn,
            "serviceName": service.name,
            "clusterArn": self.arn(&format!("cluster/{}", service.cluster)),
            "status": match service.status {
                ServiceStatus::Active => "ACTIVE",
                ServiceStatus::Draining => "DRAINING",
                ServiceStatus::Inactive => "INACTIVE",
            },
            "desiredCount": service.desired,
            "runningCount": count(None, true),
            "pendingCount": count(None, false),
            "deployments": deployments,
            "events": service.events,
            "createdAt": seconds(service.created_at),
            "createdBy": service.created_by,
            "loadBalancers": [], "serviceRegistries": [], "placementConstraints": [], "placementStrategy": [],
            "schedulingStrategy": "REPLICA",
            "deploymentController": { "type": "ECS" },
            "enableECSManagedTags": false, "propagateTags": "NONE", "enableExecuteCommand": false,
        });
        if let Some(definition) = service.deployments.primary().map(|d| &d.definition) {
            answer["taskDefinition"] = definition.as_str().into();
        }
        if let Some(kind) = service.launch_type() {
            answer["launchType"] = kind.into();
        }
        for (key, value) in &service.request {
            answer[key] = value.clone();
        }
        if !is_ecs {
            answer["taskSets"] = self.task_sets_answer(service);
        }
        let configuration = &mut answer["deploymentConfiguration"];
        if !configuration.is_object() {
            *configuration = json!({});
        }
        for key in ["minimumHealthyPercent", "maximumPercent"] {
            configuration[key] = service.percent(key).into();
        }
        answer
    }
}

fn deployment_answer(service: &Service, d: &Deployment, primary: bool, counts: (usize, usize)) -> Value {
    let mut answer = json!({
        "id": d.id,
        "status": if primary { "PRIMARY" } else { "ACTIVE" },
        "taskDefinition": d.definition,
        "desiredCount": if primary { service.desired } else { 0 },
        "runningCount": counts.0,
        "pendingCount": counts.1,
        "failedTasks": d.failed,
        "createdAt": seconds(d.created_at),
        "updatedAt": seconds(d.updated_at),
    });
    match service.launch_type() {
        Some(kind) => answer["launchType"] = kind.into(),
        None => answer["capacityProviderStrategy"] = service.setting("capacityProviderStrategy").clone(),
    }
    // Told of rolling updates alone (service model, `Deployment.rolloutState`).
    let strategy = &service.setting("deploymentConfiguration")["strategy"];
    if strategy.as_str().is_none_or(|strategy| strategy == "ROLLING") {
        answer["rolloutState"] = d.rollout.name().into();
        answer["rolloutStateReason"] = d.reason.as_str().into();
    }
    answer
}
