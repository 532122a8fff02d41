//! The operations on services, and what a service and its deployments are.

use super::{
    ApiError,
    input::{Input, missing, paged},
    state::{Call, State, seconds},
    tasks::Task,
};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Most deployments of a service that have tasks (containers-roadmap#2836).
const MAX_DEPLOYMENTS: usize = 5;
/// Most events that DescribeServices tells.
const MAX_EVENTS: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServiceStatus {
    Active,
    Draining,
    Inactive,
}

/// A REPLICA service under the ECS (rolling) deployment controller.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) cluster: String,
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) status: ServiceStatus,
    pub(super) desired: usize,
    /// Newest first; the first one is PRIMARY.
    pub(super) deployments: Vec<Deployment>,
    /// What the circuit breaker would go back to.
    pub(super) last_completed: Option<Deployment>,
    /// Newest first.
    pub(super) events: Vec<Value>,
    /// What CreateService and UpdateService were sent and the lab has no own field for.
    request: Map<String, Value>,
    tags: Vec<Value>,
    created_at: Duration,
    created_by: String,
}

/// One rollout of one revision.
#[derive(Debug, Clone)]
pub(super) struct Deployment {
    pub(super) id: String,
    /// ARN of the revision.
    pub(super) definition: String,
    pub(super) completed: bool,
    pub(super) updated_at: Duration,
    /// Tasks in a row that stopped before they ran.
    pub(super) failed: u32,
    /// No task is started before: the more failed, the later.
    pub(super) not_before: Duration,
    /// Whether the circuit breaker gave it up.
    pub(super) broken: bool,
    /// `rolloutStateReason`, where it isn't the usual one.
    pub(super) reason: Option<String>,
    created_at: Duration,
}

impl Service {
    pub(super) fn is_active(&self) -> bool {
        self.status == ServiceStatus::Active
    }

    pub(super) fn setting(&self, key: &str) -> &Value {
        self.request.get(key).unwrap_or(&Value::Null)
    }

    pub(super) fn percent(&self, key: &str, default: usize) -> usize {
        let value = self.setting("deploymentConfiguration").get(key).and_then(Value::as_u64);
        value.and_then(|percent| usize::try_from(percent).ok()).unwrap_or(default)
    }

    pub(super) fn event(&mut self, id: u64, now: Duration, message: String) {
        let event = json!({ "id": format!("{id:016x}"), "createdAt": seconds(now), "message": message });
        self.events.insert(0, event);
        self.events.truncate(MAX_EVENTS);
    }

    fn has_tasks(&self, task: &Task) -> bool {
        task.cluster == self.cluster && task.service == self.name
    }
}

/// Keys that are told by the service's own fields, not as they were sent.
const OWN_KEYS: [&str; 10] = [
    "cluster",
    "service",
    "serviceName",
    "taskDefinition",
    "desiredCount",
    "clientToken",
    "forceNewDeployment",
    "tags",
    "role",
    "platformVersion",
];

/// Takes over what the lab only keeps, and refuses what it can't act on.
fn merge(kept: &mut Map<String, Value>, request: Input) -> Result<(), ApiError> {
    let unknown = |what: String| Err(ApiError::Client(format!("the lab's ECS has no {what}")));
    match request.text("schedulingStrategy")? {
        None | Some("REPLICA") => {}
        Some(other) => return unknown(format!("scheduling strategy {other}")),
    }
    match request.text("launchType")? {
        None | Some("EC2") => {}
        Some(other) => return unknown(format!("launch type {other}")),
    }
    if !request.list("capacityProviderStrategy")?.is_empty() {
        return unknown("capacity providers".to_owned());
    }
    if let Some(controller) = request.object("deploymentController")?
        && controller.text("type")?.is_some_and(|kind| kind != "ECS")
    {
        return unknown("deployment controller but ECS".to_owned());
    }
    for constraint in request.objects("placementConstraints")? {
        match constraint.required("type")? {
            "distinctInstance" => {}
            "memberOf" => {
                let text = constraint.required("expression")?;
                super::placement::Expression::parse(text).map_err(|error| {
                    ApiError::InvalidParameter(format!("Invalid expression '{text}': {error}."))
                })?;
            }
            other => return Err(ApiError::InvalidParameter(format!("Invalid constraint type {other}."))),
        }
    }
    let sent =
        request.fields().iter().filter(|(key, value)| !OWN_KEYS.contains(&key.as_str()) && !value.is_null());
    kept.extend(sent.map(|(key, value)| (key.clone(), value.clone())));
    Ok(())
}

impl State {
    pub(super) fn create_service(&mut self, request: Input, call: &Call) -> Result<Value, ApiError> {
        let cluster = self.cluster(request)?;
        let name = request.required("serviceName")?.to_owned();
        let definition = self.runnable(request.required("taskDefinition")?)?.arn.clone();
        let invalid = |text: &str| Err(ApiError::InvalidParameter(text.to_owned()));
        match self.find_service(&cluster, &name).map(|service| service.status) {
            Some(ServiceStatus::Active) => return invalid("Creation of service was not idempotent."),
            Some(ServiceStatus::Draining) => {
                return invalid("Unable to Start a service that is still Draining.");
            }
            Some(ServiceStatus::Inactive) | None => {}
        }
        let mut kept = Map::new();
        merge(&mut kept, request)?;
        let service = Service {
            arn: self.arn(&format!("service/{cluster}/{name}")),
            status: ServiceStatus::Active,
            desired: request.count("desiredCount")?.unwrap_or(0),
            deployments: vec![self.new_deployment(definition, call.now)],
            last_completed: None,
            events: vec![],
            request: kept,
            tags: request.list("tags")?.to_vec(),
            created_at: call.now,
            created_by: format!("arn:aws:sts::{}:assumed-role/lab/{}", self.config.account, call.access_key),
            cluster,
            name,
        };
        let answer = json!({ "service": self.service_answer(&service) });
        self.services.retain(|old| old.arn != service.arn); // an INACTIVE one of the same name
        self.services.push(service);
        Ok(answer)
    }

    fn new_deployment(&mut self, definition: String, now: Duration) -> Deployment {
        Deployment {
            id: format!("ecs-svc/{:019}", self.new_number() >> 1),
            definition,
            completed: false,
            created_at: now,
            updated_at: now,
            failed: 0,
            not_before: now,
            broken: false,
            reason: None,
        }
    }

    /// A new deployment, if the revision is another one or it is forced; without a change, none.
    pub(super) fn update_service(&mut self, request: Input, call: &Call) -> Result<Value, ApiError> {
        let cluster = self.cluster(request)?;
        let at = self.service_at(&cluster, request.required("service")?).ok_or(ApiError::ServiceNotFound)?;
        if !self.services[at].is_active() {
            return Err(ApiError::ServiceNotActive);
        }
        let current = self.services[at].deployments.first().map(|d| d.definition.clone());
        let wanted = match request.text("taskDefinition")? {
            Some(name) => Some(self.runnable(name)?.arn.clone()),
            None => current.clone(),
        };
        let desired = request.count("desiredCount")?;
        let mut kept = self.services[at].request.clone();
        merge(&mut kept, request)?;
        let deployment = match wanted {
            Some(definition)
                if Some(&definition) != current.as_ref() || request.flag("forceNewDeployment")? =>
            {
                Some(self.new_deployment(definition, call.now))
            }
            _ => None,
        };
        // containers-roadmap#2836
        if deployment.is_some() && self.services[at].deployments.len() >= MAX_DEPLOYMENTS {
            return Err(ApiError::InvalidParameter(format!(
                "{MAX_DEPLOYMENTS} active deployments exist, unable to create new deployment"
            )));
        }
        let service = &mut self.services[at];
        service.request = kept;
        service.desired = desired.unwrap_or(service.desired);
        if let Some(deployment) = deployment {
            service.deployments.insert(0, deployment);
        }
        Ok(json!({ "service": self.service_answer(&self.services[at]) }))
    }

    pub(super) fn delete_service(&mut self, request: Input, call: &Call) -> Result<Value, ApiError> {
        let cluster = self.cluster(request)?;
        let at = self.service_at(&cluster, request.required("service")?).ok_or(ApiError::ServiceNotFound)?;
        let force = request.flag("force")?;
        let service = &mut self.services[at];
        if !service.is_active() {
            return Err(ApiError::ServiceNotActive);
        }
        if service.desired > 0 && !force {
            return Err(ApiError::InvalidParameter(
                "The service cannot be stopped while it is scaled above 0.".to_owned(),
            ));
        }
        service.status = ServiceStatus::Draining;
        service.desired = 0;
        for deployment in &mut service.deployments {
            deployment.updated_at = call.now;
        }
        Ok(json!({ "service": self.service_answer(&self.services[at]) }))
    }

    fn service_at(&self, cluster: &str, name: &str) -> Option<usize> {
        self.services.iter().position(|s| s.cluster == cluster && (s.name == name || s.arn == name))
    }

    /// By name or ARN; deleted ones too.
    pub(super) fn find_service(&self, cluster: &str, name: &str) -> Option<&Service> {
        self.service_at(cluster, name).map(|at| &self.services[at])
    }

    pub(super) fn describe_services(&self, request: Input) -> Result<Value, ApiError> {
        let cluster = self.cluster(request)?;
        let names = request.texts("services")?;
        if names.is_empty() {
            return Err(ApiError::InvalidParameter("Services cannot be empty.".to_owned()));
        }
        if names.len() > 10 {
            return Err(ApiError::InvalidParameter("Services cannot exceed 10 elements.".to_owned()));
        }
        let tags = request.includes("TAGS")?;
        let (mut services, mut failures) = (Vec::new(), Vec::new());
        for name in names {
            let Some(service) = self.find_service(&cluster, name) else {
                let arn = self.arn(&format!("service/{cluster}/{name}"));
                failures.push(missing(if name.starts_with("arn:") { name.to_owned() } else { arn }));
                continue;
            };
            let mut answer = self.service_answer(service);
            if tags {
                answer["tags"] = service.tags.clone().into();
            }
            services.push(answer);
        }
        Ok(json!({ "services": services, "failures": failures }))
    }

    pub(super) fn list_services(&self, request: Input) -> Result<Value, ApiError> {
        let cluster = self.cluster(request)?;
        let launch = request.text("launchType")?.is_none_or(|kind| kind == "EC2");
        let strategy = request.text("schedulingStrategy")?.is_none_or(|kind| kind == "REPLICA");
        let arns = self
            .services
            .iter()
            .filter(|s| launch && strategy && s.cluster == cluster && s.is_active())
            .map(|s| Value::from(s.arn.clone()))
            .collect();
        Ok(paged("serviceArns", request.page(arns, 10, 100)?))
    }

    pub(super) fn service_answer(&self, service: &Service) -> Value {
        let tasks: Vec<&Task> = self.tasks.iter().filter(|t| service.has_tasks(t)).collect();
        let count = |id: Option<&str>, running| {
            tasks.iter().filter(|t| id.is_none_or(|id| id == t.deployment) && t.is_counted(running)).count()
        };
        let deployments: Vec<Value> = service
            .deployments
            .iter()
            .enumerate()
            .map(|(at, d)| {
                let (state, told) = match (d.broken, d.completed) {
                    (true, _) => ("FAILED", "failed"),
                    (false, true) => ("COMPLETED", "completed"),
                    (false, false) => ("IN_PROGRESS", "in progress"),
                };
                let usual = format!("ECS deployment {} {told}.", d.id);
                json!({
                    "id": d.id,
                    "status": if at == 0 { "PRIMARY" } else { "ACTIVE" },
                    "taskDefinition": d.definition,
                    "desiredCount": if at == 0 { service.desired } else { 0 },
                    "runningCount": count(Some(&d.id), true),
                    "pendingCount": count(Some(&d.id), false),
                    "failedTasks": d.failed,
                    "createdAt": seconds(d.created_at),
                    "updatedAt": seconds(d.updated_at),
                    "launchType": "EC2",
                    "rolloutState": state,
                    "rolloutStateReason": d.reason.clone().unwrap_or(usual),
                })
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
            "launchType": "EC2",
            "taskDefinition": service.deployments.first().map(|d| d.definition.clone()),
            "deployments": deployments,
            "events": service.events,
            "createdAt": seconds(service.created_at),
            "createdBy": service.created_by,
            "loadBalancers": [], "serviceRegistries": [], "placementConstraints": [], "placementStrategy": [],
            "schedulingStrategy": "REPLICA",
            "deploymentController": { "type": "ECS" },
            "enableECSManagedTags": false, "propagateTags": "NONE", "enableExecuteCommand": false,
        });
        for (key, value) in &service.request {
            answer[key] = value.clone();
        }
        let configuration = &mut answer["deploymentConfiguration"];
        if !configuration.is_object() {
            *configuration = json!({});
        }
        for (key, default) in [("minimumHealthyPercent", 100), ("maximumPercent", 200)] {
            configuration[key] = service.percent(key, default).into();
        }
        answer
    }
}
