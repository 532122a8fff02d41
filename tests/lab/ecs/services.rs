//! The operations on services, and what a service and its deployments are.

use super::{
    ApiError,
    deployments::{Deployment, Deployments},
    input::{Input, missing, paged},
    state::{Call, State, seconds},
    task_sets::TaskSet,
    tasks::Task,
};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Most events that DescribeServices tells.
const MAX_EVENTS: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServiceStatus {
    Active,
    Draining,
    Inactive,
}

/// Who rolls a service's revisions out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Controller {
    Ecs,
    CodeDeploy,
    External,
}

impl Controller {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ecs => "ECS",
            Self::CodeDeploy => "CODE_DEPLOY",
            Self::External => "EXTERNAL",
        }
    }
}

/// A service. Under a controller but ECS its deployments are not told; its task sets are.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) cluster: String,
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) status: ServiceStatus,
    pub(super) controller: Controller,
    /// Of a DAEMON: how many instances match, counted at each step.
    pub(super) desired: usize,
    pub(super) deployments: Deployments,
    /// Those that CreateTaskSet made.
    pub(super) task_sets: Vec<TaskSet>,
    /// Newest first.
    pub(super) events: Vec<Value>,
    /// What CreateService and UpdateService were sent and the lab has no own field for.
    pub(super) request: Map<String, Value>,
    tags: Vec<Value>,
    pub(super) created_at: Duration,
    pub(super) created_by: String,
}

impl Service {
    pub(super) fn is_active(&self) -> bool {
        self.status == ServiceStatus::Active
    }

    pub(super) fn setting(&self, key: &str) -> &Value {
        self.request.get(key).unwrap_or(&Value::Null)
    }

    pub(super) fn is_daemon(&self) -> bool {
        self.setting("schedulingStrategy") == "DAEMON"
    }

    /// As EC2, unless it was said otherwise; `None` with capacity providers.
    pub(super) fn launch_type(&self) -> Option<&str> {
        match self.setting("launchType").as_str() {
            None if self.has_capacity_providers() => None,
            None => Some("EC2"),
            said => said,
        }
    }

    fn has_capacity_providers(&self) -> bool {
        self.setting("capacityProviderStrategy").as_array().is_some_and(|all| !all.is_empty())
    }

    /// What the service wants to run on and the lab hasn't, in words for an event.
    pub(super) fn unplaced_capacity(&self) -> Option<String> {
        if self.has_capacity_providers() {
            return Some("capacity providers".to_owned());
        }
        self.launch_type().filter(|kind| *kind != "EC2").map(|kind| format!("launch type {kind}"))
    }

    /// The service's own placement constraints.
    pub(super) fn constraints(&self) -> &[Value] {
        self.setting("placementConstraints").as_array().map_or(&[], Vec::as_slice)
    }

    /// The group of its tasks.
    pub(super) fn group(&self) -> String {
        format!("service:{}", self.name)
    }

    /// `minimumHealthyPercent` or `maximumPercent`: as it was said, else ECS's default for the scheduling strategy.
    pub(super) fn percent(&self, key: &str) -> usize {
        let default = match (key, self.is_daemon()) {
            ("minimumHealthyPercent", false) | ("maximumPercent", true) => 100,
            ("minimumHealthyPercent", true) => 0,
            _ => 200,
        };
        let value = self.setting("deploymentConfiguration").get(key).and_then(Value::as_u64);
        value.and_then(|percent| usize::try_from(percent).ok()).unwrap_or(default)
    }

    pub(super) fn event(&mut self, id: u64, now: Duration, message: String) {
        let event = json!({ "id": format!("{id:016x}"), "createdAt": seconds(now), "message": message });
        self.events.insert(0, event);
        self.events.truncate(MAX_EVENTS);
    }

    pub(super) fn has_task(&self, task: &Task) -> bool {
        task.cluster == self.cluster && task.service.as_ref() == Some(&self.name)
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

/// Settings whose change is a new deployment by itself (service model, UpdateService: placement constraints are not among them).
const DEPLOYED: [&str; 5] = [
    "networkConfiguration",
    "loadBalancers",
    "serviceConnectConfiguration",
    "volumeConfigurations",
    "capacityProviderStrategy",
];

fn invalid<T>(text: impl Into<String>) -> Result<T, ApiError> {
    Err(ApiError::InvalidParameter(text.into()))
}

fn one_of(request: Input, key: &str, known: &[&str]) -> Result<(), ApiError> {
    match request.text(key)? {
        Some(value) if !known.contains(&value) => invalid(format!("Invalid {key}: {value}.")),
        _ => Ok(()),
    }
}

fn controller(request: Input) -> Result<Controller, ApiError> {
    match request.object("deploymentController")?.map(|c| c.required("type")).transpose()? {
        None | Some("ECS") => Ok(Controller::Ecs),
        Some("CODE_DEPLOY") => Ok(Controller::CodeDeploy),
        Some("EXTERNAL") => Ok(Controller::External),
        Some(other) => invalid(format!("Invalid deployment controller: {other}.")),
    }
}

/// Refuses placement constraints that ECS would.
pub(super) fn check_constraints(request: Input) -> Result<(), ApiError> {
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
    Ok(())
}

/// Takes over what the lab only keeps, and refuses what ECS would.
fn merge(kept: &mut Map<String, Value>, request: Input) -> Result<(), ApiError> {
    one_of(request, "schedulingStrategy", &["REPLICA", "DAEMON"])?;
    one_of(request, "launchType", &["EC2", "FARGATE", "EXTERNAL", "MANAGED_INSTANCES"])?;
    if request.text("launchType")?.is_some() && !request.list("capacityProviderStrategy")?.is_empty() {
        return invalid("Specify one of launchType and capacityProviderStrategy.");
    }
    if let Some(configuration) = request.object("deploymentConfiguration")? {
        one_of(configuration, "strategy", &["ROLLING", "BLUE_GREEN", "LINEAR", "CANARY"])?;
    }
    check_constraints(request)?;
    let sent =
        request.fields().iter().filter(|(key, value)| !OWN_KEYS.contains(&key.as_str()) && !value.is_null());
    kept.extend(sent.map(|(key, value)| (key.clone(), value.clone())));
    Ok(())
}

impl State {
    pub(super) fn create_service(&mut self, request: Input, call: &Call) -> Result<Value, ApiError> {
        let cluster = self.cluster(request)?;
        let name = request.required("serviceName")?.to_owned();
        let controller = controller(request)?;
        let definition = match (controller, request.text("taskDefinition")?) {
            (Controller::External, None) => None,
            (Controller::External, Some(_)) => {
                return invalid(
                    "Cannot specify a task definition for a service with an EXTERNAL deployment controller.",
                );
            }
            _ => Some(self.runnable(request.required("taskDefinition")?)?.arn.clone()),
        };
        match self.find_service(&cluster, &name).map(|service| service.status) {
            Some(ServiceStatus::Active) => return invalid("Creation of service was not idempotent."),
            Some(ServiceStatus::Draining) => {
                return invalid("Unable to Start a service that is still Draining.");
            }
            Some(ServiceStatus::Inactive) | None => {}
        }
        let mut kept = Map::new();
        merge(&mut kept, request)?;
        let desired = request.count("desiredCount")?;
        if kept.get("schedulingStrategy").is_some_and(|strategy| strategy == "DAEMON") {
            daemon_takes_no_count(desired)?;
            if controller != Controller::Ecs {
                return invalid(format!(
                    "The DAEMON scheduling strategy is not supported with a {} deployment controller.",
                    controller.name()
                ));
            }
        }
        let first = definition.map(|definition| self.new_deployment(definition, call.now));
        let service = Service {
            arn: self.arn(&format!("service/{cluster}/{name}")),
            status: ServiceStatus::Active,
            controller,
            desired: desired.unwrap_or(0),
            deployments: Deployments::new(first),
            task_sets: vec![],
            events: vec![],
            request: kept,
            tags: request.list("tags")?.to_vec(),
            created_at: call.now,
            created_by: self.caller(call),
            cluster,
            name,
        };
        let answer = json!({ "service": self.service_answer(&service) });
        self.services.retain(|old| old.arn != service.arn); // an INACTIVE one of the same name
        self.services.push(service);
        Ok(answer)
    }

    fn new_deployment(&mut self, definition: String, now: Duration) -> Deployment {
        Deployment::new(format!("ecs-svc/{:019}", self.new_number() >> 1), definition, now)
    }

    /// A new deployment, if the revision or what is deployed with it is another one, or it is forced; without a change, none.
    pub(super) fn update_service(&mut self, request: Input, call: &Call) -> Result<Value, ApiError> {
        let cluster = self.cluster(request)?;
        let at = self.service_at(&cluster, request.required("service")?).ok_or(ApiError::ServiceNotFound)?;
        let service = &self.services[at];
        if !service.is_active() {
            return Err(ApiError::ServiceNotActive);
        }
        let forced = request.flag("forceNewDeployment")?;
        refuse_for_controller(service.controller, request.get("taskDefinition").is_some(), forced)?;
        let current = service.deployments.primary().map(|d| d.definition.clone());
        let wanted = match request.text("taskDefinition")? {
            Some(name) => Some(self.runnable(name)?.arn.clone()),
            None => current.clone(),
        };
        let desired = request.count("desiredCount")?;
        if service.is_daemon() {
            daemon_takes_no_count(desired)?;
        }
        let mut kept = service.request.clone();
        merge(&mut kept, request)?;
        let changed = DEPLOYED.iter().any(|key| kept.get(*key) != service.request.get(*key));
        let deployment = match wanted {
            Some(definition) if Some(&definition) != current.as_ref() || forced || changed => {
                service.deployments.may_begin()?;
                Some(self.new_deployment(definition, call.now))
            }
            _ => None,
        };
        let service = &mut self.services[at];
        service.request = kept;
        service.desired = desired.unwrap_or(service.desired);
        if let Some(deployment) = deployment {
            service.deployments.begin(deployment);
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
        for deployment in service.deployments.iter_mut() {
            deployment.updated_at = call.now;
        }
        Ok(json!({ "service": self.service_answer(&self.services[at]) }))
    }

    pub(super) fn service_at(&self, cluster: &str, name: &str) -> Option<usize> {
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
        let (launch, strategy) = (request.text("launchType")?, request.text("schedulingStrategy")?);
        let strategy_of = |s: &Service| if s.is_daemon() { "DAEMON" } else { "REPLICA" };
        let arns = self
            .services
            .iter()
            .filter(|s| s.cluster == cluster && s.is_active())
            .filter(|s| launch.is_none_or(|kind| s.launch_type() == Some(kind)))
            .filter(|s| strategy.is_none_or(|kind| strategy_of(s) == kind))
            .map(|s| Value::from(s.arn.clone()))
            .collect();
        Ok(paged("serviceArns", request.page(arns, 10, 100)?))
    }
}

/// ECS's words for a count on a DAEMON service.
fn daemon_takes_no_count(desired: Option<usize>) -> Result<(), ApiError> {
    match desired {
        None => Ok(()),
        Some(_) => invalid(
            "The daemon scheduling strategy does not support a desired count for services. Remove the desired count value and try again",
        ),
    }
}

/// Revisions of CODE_DEPLOY and EXTERNAL services come by CodeDeploy and CreateTaskSet.
fn refuse_for_controller(controller: Controller, definition: bool, forced: bool) -> Result<(), ApiError> {
    let way = match controller {
        Controller::Ecs => return Ok(()),
        Controller::CodeDeploy => "Use AWS CodeDeploy to trigger a new deployment.",
        Controller::External => "Create a new task set.",
    };
    let name = controller.name();
    if definition {
        return invalid(format!(
            "Unable to update task definition on services with a {name} deployment controller. {way}"
        ));
    }
    if forced {
        return invalid(format!(
            "Cannot force a new deployment on services with a {name} deployment controller. {way}"
        ));
    }
    Ok(())
}
