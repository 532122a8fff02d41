//! The operations on task definitions.

use super::{
    ApiError,
    input::{Input, paged},
    state::{Call, State, seconds},
    task_definition::{self, Revision},
};
use serde_json::{Map, Value, json};

/// One registered revision.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) arn: String,
    pub(super) family: String,
    pub(super) revision: u64,
    /// The answer of DescribeTaskDefinition, raw.
    pub(super) document: Map<String, Value>,
    pub(super) tags: Vec<Value>,
}

impl Definition {
    fn status(&self) -> &str {
        self.document.get("status").and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn is_active(&self) -> bool {
        self.status() == "ACTIVE"
    }
}

impl State {
    pub(super) fn register_task_definition(
        &mut self,
        request: Input,
        call: &Call,
    ) -> Result<Value, ApiError> {
        task_definition::validate(request)?;
        let family = request.required("family")?;
        let number =
            1 + self.definitions.iter().filter(|d| d.family == family).map(|d| d.revision).max().unwrap_or(0);
        let revision = Revision {
            arn: self.arn(&format!("task-definition/{family}:{number}")),
            number,
            registered_at: seconds(call.now),
            registered_by: self.caller(call),
        };
        let definition = Definition {
            document: task_definition::registered(request, &revision),
            arn: revision.arn,
            family: family.to_owned(),
            revision: number,
            tags: request.list("tags")?.to_vec(),
        };
        let mut answer = json!({ "taskDefinition": definition.document });
        if !definition.tags.is_empty() {
            answer["tags"] = definition.tags.clone().into();
        }
        self.definitions.push(definition);
        Ok(answer)
    }

    pub(super) fn describe_task_definition(&self, request: Input) -> Result<Value, ApiError> {
        let definition = self
            .definition(request.required("taskDefinition")?)
            .ok_or_else(|| ApiError::Client("Unable to describe task definition.".to_owned()))?;
        let mut answer = json!({ "taskDefinition": definition.document });
        if request.includes("TAGS")? {
            answer["tags"] = definition.tags.clone().into();
        }
        Ok(answer)
    }

    pub(super) fn deregister_task_definition(
        &mut self,
        request: Input,
        call: &Call,
    ) -> Result<Value, ApiError> {
        let name = request.required("taskDefinition")?;
        let missing = || ApiError::Client("The specified task definition does not exist.".to_owned());
        if !name.rsplit('/').next().is_some_and(|tail| tail.contains(':')) {
            return Err(ApiError::InvalidParameter("A revision is required.".to_owned()));
        }
        let arn = self.definition(name).ok_or_else(missing)?.arn.clone();
        let definition = self.definitions.iter_mut().find(|d| d.arn == arn).ok_or_else(missing)?;
        definition.document.insert("status".to_owned(), json!("INACTIVE"));
        definition.document.insert("deregisteredAt".to_owned(), json!(seconds(call.now)));
        Ok(json!({ "taskDefinition": definition.document }))
    }

    pub(super) fn list_task_definitions(&self, request: Input) -> Result<Value, ApiError> {
        let prefix = request.text("familyPrefix")?; // the whole family's name, whatever it is called
        let status = request.text("status")?.unwrap_or("ACTIVE");
        let mut found: Vec<&Definition> = self
            .definitions
            .iter()
            .filter(|d| d.status() == status && prefix.is_none_or(|family| d.family == family))
            .collect();
        found.sort_by(|a, b| (&a.family, a.revision).cmp(&(&b.family, b.revision)));
        match request.text("sort")? {
            None | Some("ASC") => {}
            Some("DESC") => found.reverse(),
            Some(other) => return Err(ApiError::InvalidParameter(format!("Invalid sort: {other}."))),
        }
        let arns = found.into_iter().map(|d| Value::from(d.arn.clone())).collect();
        Ok(paged("taskDefinitionArns", request.page(arns, 100, 100)?))
    }

    /// By full ARN or `family:revision`; a bare family is its latest ACTIVE revision.
    pub(super) fn definition(&self, name: &str) -> Option<&Definition> {
        let tail = match name.strip_prefix(&self.arn("task-definition/")) {
            Some(tail) => tail,
            None if name.contains('/') => return None, // another account's or Region's
            None => name,
        };
        match tail.rsplit_once(':') {
            Some((family, revision)) => {
                let revision: u64 = revision.parse().ok()?;
                self.definitions.iter().find(|d| d.family == family && d.revision == revision)
            }
            None => self
                .definitions
                .iter()
                .filter(|d| d.family == tail && d.is_active())
                .max_by_key(|d| d.revision),
        }
    }

    /// The revision that a service or a task is to run.
    pub(super) fn runnable(&self, name: &str) -> Result<&Definition, ApiError> {
        let definition =
            self.definition(name).ok_or_else(|| ApiError::Client("TaskDefinition not found.".to_owned()))?;
        if !definition.is_active() {
            return Err(ApiError::Client("TaskDefinition is inactive".to_owned()));
        }
        Ok(definition)
    }
}
