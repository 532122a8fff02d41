//! The operations on container instances and their attributes.

use super::{
    ApiError,
    input::{Input, missing, paged},
    placement::{AGENT_CONNECTED, Attributes, Expression},
    state::{Call, State, seconds},
    tasks::{Status, Task},
};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Most custom attributes of one container instance, and most attributes of one call (service model, PutAttributes).
const MAX_CUSTOM_ATTRIBUTES: usize = 10;
/// An agent that was silent for so long counts as disconnected: no new tasks for it. The stand-in polls each second.
const AGENT_SILENCE: Duration = Duration::from_secs(10);

/// An instance that registered with a cluster. Its attributes live here, so they outlast a reboot.
#[derive(Debug)]
pub(super) struct ContainerInstance {
    pub(super) cluster: String,
    pub(super) arn: String,
    ec2_instance_id: String,
    pub(super) attributes: Attributes,
    /// Status DRAINING: its services' tasks go elsewhere, and none comes.
    pub(super) draining: bool,
    registered_at: Duration,
    pub(super) agent_seen: Duration,
    version_info: Value,
}

impl ContainerInstance {
    pub(super) fn id(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or(&self.arn)
    }

    fn status(&self) -> &'static str {
        if self.draining { "DRAINING" } else { "ACTIVE" }
    }

    pub(super) fn is_connected(&self, now: Duration) -> bool {
        now.saturating_sub(self.agent_seen) < AGENT_SILENCE
    }

    fn custom_attributes(&self) -> usize {
        self.attributes.keys().filter(|name| !is_built_in(name)).count()
    }
}

fn is_built_in(name: &str) -> bool {
    name.starts_with("ecs.") || name.starts_with("com.amazonaws.ecs.")
}

/// An attribute as a request gives it, checked.
fn attribute(input: Input) -> Result<(String, Option<String>), ApiError> {
    let name = input.required("name")?;
    let value = input.text("value")?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_/\\.".contains(c);
    if name.len() > 128 || !name.chars().all(is_name) {
        return Err(ApiError::InvalidParameter(format!("Invalid attribute name: {name}")));
    }
    if let Some(value) = value {
        let is_value = |c: char| is_name(c) || "@: ".contains(c);
        if value.is_empty() || value.len() > 128 || !value.chars().all(is_value) || value.trim() != value {
            return Err(ApiError::InvalidParameter(format!("Invalid attribute value: {value}")));
        }
    }
    Ok((name.to_owned(), value.map(str::to_owned)))
}

impl State {
    pub(super) fn register_container_instance(
        &mut self,
        request: Input,
        call: &Call,
    ) -> Result<Value, ApiError> {
        let cluster = self.cluster(request)?;
        let document = request.required("instanceIdentityDocument")?;
        let document: Value = serde_json::from_str(document)
            .map_err(|error| ApiError::Client(format!("Invalid instance identity document: {error}")))?;
        let known = |key: &str| document.get(key).and_then(Value::as_str).map(str::to_owned);
        let ec2_instance_id = known("instanceId")
            .ok_or_else(|| ApiError::Client("The identity document has no instanceId.".to_owned()))?;
        let mut attributes: Attributes =
            request.objects("attributes")?.into_iter().map(attribute).collect::<Result<_, _>>()?;
        for (name, key) in [
            ("ecs.availability-zone", "availabilityZone"),
            ("ecs.instance-type", "instanceType"),
            ("ecs.ami-id", "imageId"),
        ] {
            attributes.extend(known(key).map(|value| (name.to_owned(), Some(value))));
        }
        let at = match request.text("containerInstanceArn")? {
            // The same again, after a restart of the agent: what it sends is put over what is there, the rest stays.
            Some(arn) => {
                let same = |i: &ContainerInstance| {
                    i.cluster == cluster && i.arn == arn && i.ec2_instance_id == ec2_instance_id
                };
                self.instances.iter().position(same).ok_or_else(|| {
                    ApiError::Client(format!("{arn} is not a container instance of {ec2_instance_id}."))
                })?
            }
            None => {
                let id = self.new_id();
                self.instances.push(ContainerInstance {
                    arn: self.arn(&format!("container-instance/{cluster}/{id}")),
                    cluster,
                    ec2_instance_id,
                    attributes: Attributes::new(),
                    draining: false,
                    registered_at: call.now,
                    agent_seen: call.now,
                    version_info: Value::Null,
                });
                self.instances.len() - 1
            }
        };
        let instance = &mut self.instances[at];
        instance.attributes.extend(attributes);
        instance.agent_seen = call.now;
        instance.version_info = request.get("versionInfo").cloned().unwrap_or_else(|| json!({}));
        Ok(json!({ "containerInstance": self.instance_answer(&self.instances[at], call.now) }))
    }

    /// Its tasks are no longer accounted for, and their services start others (API reference, DeregisterContainerInstance, `force`).
    pub(super) fn deregister_container_instance(
        &mut self,
        request: Input,
        call: &Call,
    ) -> Result<Value, ApiError> {
        let cluster = self.cluster(request)?;
        let name = request.required("containerInstance")?;
        let at = self.instance_at(&cluster, name).ok_or_else(|| {
            ApiError::InvalidParameter("The referenced container instance was not found.".to_owned())
        })?;
        let arn = self.instances[at].arn.clone();
        let left = |task: &Task| task.instance == arn && task.last != Status::Stopped;
        if request.get("force") != Some(&Value::Bool(true)) && self.tasks.iter().any(left) {
            let told = "Found running tasks on the instance.".to_owned();
            return Err(ApiError::InvalidParameter(told));
        }
        let orphans: Vec<usize> = (0..self.tasks.len()).filter(|at| left(&self.tasks[*at])).collect();
        for task in orphans {
            self.lose_task(task, call.now);
        }
        let instance = self.instances.remove(at);
        let mut answer = self.instance_answer(&instance, call.now);
        answer["status"] = "INACTIVE".into();
        Ok(json!({ "containerInstance": answer }))
    }

    pub(super) fn instance_answer(&self, instance: &ContainerInstance, now: Duration) -> Value {
        let tasks = |running| {
            self.tasks.iter().filter(|t| t.instance == instance.arn && t.is_counted(running)).count()
        };
        let attributes: Vec<Value> = instance
            .attributes
            .iter()
            .map(|(name, value)| attribute_answer(name, value.as_deref()))
            .collect();
        json!({
            "containerInstanceArn": instance.arn,
            "ec2InstanceId": instance.ec2_instance_id,
            "status": instance.status(),
            "agentConnected": instance.is_connected(now),
            "runningTasksCount": tasks(true),
            "pendingTasksCount": tasks(false),
            "attributes": attributes,
            "registeredAt": seconds(instance.registered_at),
            "versionInfo": instance.version_info,
            "registeredResources": [], "remainingResources": [], "attachments": [], "tags": [],
        })
    }

    /// The instance by its ARN or its short id.
    pub(super) fn instance(&self, cluster: &str, name: &str) -> Option<&ContainerInstance> {
        self.instance_at(cluster, name).map(|at| &self.instances[at])
    }

    fn instance_at(&self, cluster: &str, name: &str) -> Option<usize> {
        self.instances.iter().position(|i| i.cluster == cluster && (i.arn == name || i.id() == name))
    }

    pub(super) fn describe_container_instances(
        &self,
        request: Input,
        call: &Call,
    ) -> Result<Value, ApiError> {
        let cluster = self.cluster(request)?;
        let names = request.texts("containerInstances")?;
        if names.is_empty() || names.len() > 100 {
            return Err(ApiError::InvalidParameter("Container instances must be 1 to 100.".to_owned()));
        }
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for name in names {
            match self.instance(&cluster, name) {
                Some(instance) => found.push(self.instance_answer(instance, call.now)),
                None => failures.push(missing(name)),
            }
        }
        Ok(json!({ "containerInstances": found, "failures": failures }))
    }

    pub(super) fn list_container_instances(&self, request: Input, call: &Call) -> Result<Value, ApiError> {
        let cluster = self.cluster(request)?;
        let invalid = |text: String| ApiError::InvalidParameter(text);
        let filter = request
            .text("filter")?
            .map(|text| {
                Expression::parse(text).map_err(|error| invalid(format!("Invalid filter '{text}': {error}.")))
            })
            .transpose()?;
        let status = request.text("status")?;
        let arns = self
            .instances
            .iter()
            .filter(|i| i.cluster == cluster && status.is_none_or(|status| status == i.status()))
            .filter(|i| {
                let mut attributes = i.attributes.clone();
                let connected = i.is_connected(call.now).to_string();
                attributes.insert(AGENT_CONNECTED.to_owned(), Some(connected));
                filter.as_ref().is_none_or(|filter| filter.matches(&attributes))
            })
            .map(|i| Value::from(i.arn.clone()))
            .collect();
        Ok(paged("containerInstanceArns", request.page(arns, 100, 100)?))
    }

    /// To DRAINING and back to ACTIVE.
    pub(super) fn update_container_instances_state(
        &mut self,
        request: Input,
        call: &Call,
    ) -> Result<Value, ApiError> {
        let cluster = self.cluster(request)?;
        let draining = match request.required("status")? {
            "ACTIVE" => false,
            "DRAINING" => true,
            other => {
                return Err(ApiError::InvalidParameter(format!(
                    "Container instance status {other} is not ACTIVE or DRAINING."
                )));
            }
        };
        let names = request.texts("containerInstances")?;
        if names.is_empty() || names.len() > 10 {
            return Err(ApiError::InvalidParameter("Container instances must be 1 to 10.".to_owned()));
        }
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for name in names {
            match self.instance_at(&cluster, name) {
                Some(at) => {
                    self.instances[at].draining = draining;
                    found.push(self.instance_answer(&self.instances[at], call.now));
                }
                None => failures.push(missing(name)),
            }
        }
        Ok(json!({ "containerInstances": found, "failures": failures }))
    }

    /// Where the container instance of an attribute is: named by its full ARN, with or without a `targetType`, or by its short id
    /// with one.
    fn target(&self, cluster: &str, attribute: Input) -> Result<usize, ApiError> {
        let target = attribute.required("targetId")?;
        let by_id = match attribute.text("targetType")? {
            None => false,
            Some("container-instance") => true,
            Some(other) => return Err(ApiError::InvalidParameter(format!("Invalid target type: {other}"))),
        };
        self.instances
            .iter()
            .position(|i| i.cluster == cluster && (i.arn == target || (by_id && i.id() == target)))
            .ok_or_else(|| ApiError::TargetNotFound(target.to_owned()))
    }

    /// The attributes of a Put or Delete call, each with its target; all are looked at before any is changed.
    fn targeted<'a>(&self, request: Input<'a>) -> Result<Vec<(usize, Input<'a>)>, ApiError> {
        let cluster = self.cluster(request)?;
        let attributes = request.objects("attributes")?;
        if attributes.is_empty() || attributes.len() > MAX_CUSTOM_ATTRIBUTES {
            return Err(ApiError::InvalidParameter(format!(
                "Attributes must be 1 to {MAX_CUSTOM_ATTRIBUTES}."
            )));
        }
        attributes.into_iter().map(|one| Ok((self.target(&cluster, one)?, one))).collect()
    }

    pub(super) fn put_attributes(&mut self, request: Input) -> Result<Value, ApiError> {
        let targeted = self.targeted(request)?;
        let mut after: Vec<Attributes> = self.instances.iter().map(|i| i.attributes.clone()).collect();
        let mut answer = Vec::new();
        for (at, input) in targeted {
            let (name, value) = attribute(input)?;
            let instance = &self.instances[at];
            answer.push(targeted_answer(&name, value.as_deref(), &instance.arn));
            after[at].insert(name, value);
            let custom = after[at].keys().filter(|name| !is_built_in(name)).count();
            if custom > MAX_CUSTOM_ATTRIBUTES && custom > instance.custom_attributes() {
                return Err(ApiError::AttributeLimitExceeded(instance.arn.clone()));
            }
        }
        for (instance, attributes) in self.instances.iter_mut().zip(after) {
            instance.attributes = attributes;
        }
        Ok(json!({ "attributes": answer }))
    }

    pub(super) fn delete_attributes(&mut self, request: Input) -> Result<Value, ApiError> {
        let mut answer = Vec::new();
        for (at, input) in self.targeted(request)? {
            let name = input.required("name")?;
            let instance = &mut self.instances[at];
            if let Some(value) = instance.attributes.remove(name) {
                answer.push(targeted_answer(name, value.as_deref(), &instance.arn));
            }
        }
        Ok(json!({ "attributes": answer }))
    }

    pub(super) fn list_attributes(&self, request: Input) -> Result<Value, ApiError> {
        let cluster = self.cluster(request)?;
        if request.required("targetType")? != "container-instance" {
            return Err(ApiError::InvalidParameter("Invalid target type.".to_owned()));
        }
        let (name, value) = (request.text("attributeName")?, request.text("attributeValue")?);
        let mut found = Vec::new();
        for instance in self.instances.iter().filter(|i| i.cluster == cluster) {
            for (key, held) in &instance.attributes {
                if name.is_none_or(|name| name == key) && (value.is_none() || value == held.as_deref()) {
                    found.push(targeted_answer(key, held.as_deref(), &instance.arn));
                }
            }
        }
        Ok(paged("attributes", request.page(found, 100, 100)?))
    }
}

fn attribute_answer(name: &str, value: Option<&str>) -> Value {
    let mut answer = Map::new();
    answer.insert("name".to_owned(), name.into());
    answer.extend(value.map(|value| ("value".to_owned(), value.into())));
    answer.into()
}

fn targeted_answer(name: &str, value: Option<&str>, target: &str) -> Value {
    let mut answer = attribute_answer(name, value);
    answer["targetId"] = target.into();
    answer
}
