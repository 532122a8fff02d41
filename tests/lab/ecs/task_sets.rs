//! Task sets: what services under CODE_DEPLOY and EXTERNAL controllers have instead of deployments.
//!
//! A CODE_DEPLOY service has one, made of its first revision, whose tasks are placed as any. Those that CreateTaskSet makes are kept
//! and told, and their tasks are never placed: an event says so.

use super::{
    ApiError,
    input::Input,
    services::{Controller, Service},
    state::{Call, State, seconds},
};
use serde_json::{Value, json};
use std::time::Duration;

/// One that CreateTaskSet made.
#[derive(Debug)]
pub(super) struct TaskSet {
    id: String,
    definition: String,
    scale: Value,
    external_id: Option<String>,
    created_at: Duration,
}

impl State {
    pub(super) fn create_task_set(&mut self, request: Input, call: &Call) -> Result<Value, ApiError> {
        let cluster = self.cluster(request)?;
        let at = self.service_at(&cluster, request.required("service")?).ok_or(ApiError::ServiceNotFound)?;
        if !self.services[at].is_active() {
            return Err(ApiError::ServiceNotActive);
        }
        if self.services[at].controller != Controller::External {
            return Err(ApiError::InvalidParameter(
                "Task sets can only be created for services with an EXTERNAL deployment controller."
                    .to_owned(),
            ));
        }
        let set = TaskSet {
            definition: self.runnable(request.required("taskDefinition")?)?.arn.clone(),
            id: format!("ecs-svc/{:019}", self.new_number() >> 1),
            scale: request
                .get("scale")
                .cloned()
                .unwrap_or_else(|| json!({ "value": 100.0, "unit": "PERCENT" })),
            external_id: request.text("externalId")?.map(str::to_owned),
            created_at: call.now,
        };
        let told = format!(
            "was unable to place a task. Reason: the lab's ECS places no tasks of task set {}.",
            set.id
        );
        self.services[at].task_sets.push(set);
        self.tell(at, call.now, &told);
        let sets = self.task_sets_answer(&self.services[at]);
        let made = sets.as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
        Ok(json!({ "taskSet": made }))
    }

    pub(super) fn task_sets_answer(&self, service: &Service) -> Value {
        let set = |id: &str, status: &str, definition: &str, created_at: Duration| {
            let short = id.rsplit('/').next().unwrap_or(id);
            let count = |running| {
                let of_set = |t: &&super::tasks::Task| service.has_task(t) && t.deployment == id;
                self.tasks.iter().filter(of_set).filter(|t| t.is_counted(running)).count()
            };
            let mut answer = json!({
                "id": id,
                "taskSetArn": self.arn(&format!("task-set/{}/{}/{short}", service.cluster, service.name)),
                "serviceArn": service.arn,
                "clusterArn": self.arn(&format!("cluster/{}", service.cluster)),
                "status": status,
                "taskDefinition": definition,
                "computedDesiredCount": service.desired,
                "runningCount": count(true),
                "pendingCount": count(false),
                "createdAt": seconds(created_at),
                "updatedAt": seconds(created_at),
                "scale": { "value": 100.0, "unit": "PERCENT" },
                "stabilityStatus": if count(true) == service.desired { "STEADY_STATE" } else { "STABILIZING" },
                "tags": [],
            });
            if let Some(kind) = service.launch_type() {
                answer["launchType"] = kind.into();
            }
            answer
        };
        let deployed = service.deployments.iter().map(|d| set(&d.id, "PRIMARY", &d.definition, d.created_at));
        let created = service.task_sets.iter().map(|s| {
            let mut answer = set(&s.id, "ACTIVE", &s.definition, s.created_at);
            answer["scale"] = s.scale.clone();
            if let Some(id) = &s.external_id {
                answer["externalId"] = id.as_str().into();
            }
            answer
        });
        deployed.chain(created).collect::<Vec<_>>().into()
    }
}
