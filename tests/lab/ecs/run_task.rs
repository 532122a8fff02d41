//! RunTask: tasks without a service, placed once or told in `failures[]`; nothing is queued.

use super::{
    ApiError,
    input::Input,
    placing::Demand,
    services::check_constraints,
    state::{Call, State},
    tasks::Placed,
};
use serde_json::{Value, json};

/// Most tasks of one call (service model).
const MAX_COUNT: usize = 10;

impl State {
    pub(super) fn run_task(&mut self, request: Input, call: &Call) -> Result<Value, ApiError> {
        let cluster = self.cluster(request)?;
        let invalid = |text: String| Err(ApiError::InvalidParameter(text));
        let definition = self.runnable(request.required("taskDefinition")?)?;
        let (arn, family) = (definition.arn.clone(), definition.family.clone());
        let count = request.count("count")?.unwrap_or(1);
        if count == 0 || count > MAX_COUNT {
            return invalid(format!("Invalid task count: count must be between 1 and {MAX_COUNT}."));
        }
        check_constraints(request)?;
        if let Some(kind) = request.text("launchType")?.filter(|kind| *kind != "EC2") {
            return Err(ApiError::Client(format!("the lab's ECS places no tasks on launch type {kind}")));
        }
        if !request.list("capacityProviderStrategy")?.is_empty() {
            return Err(ApiError::Client("the lab's ECS places no tasks on capacity providers".to_owned()));
        }
        if self.active_instances(&cluster).next().is_none() {
            return invalid("No Container Instances were found in your cluster.".to_owned());
        }
        let group = request.text("group")?.map_or_else(|| format!("family:{family}"), str::to_owned);
        let started_by = request.text("startedBy")?.unwrap_or_default().to_owned();
        let overrides = request.get("overrides").cloned().unwrap_or_else(|| json!({}));
        let constraints = request.list("placementConstraints")?;
        let (mut tasks, mut failures) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let definition = self.runnable(&arn)?;
            let demand = Demand { cluster: &cluster, definition, constraints, group: &group };
            match self.place(&demand, call.now) {
                Ok(instance) => {
                    let placed = Placed {
                        cluster: cluster.clone(),
                        instance: instance.arn.clone(),
                        definition: arn.clone(),
                        ports: demand.ports(),
                        group: group.clone(),
                        service: None,
                        deployment: started_by.clone(),
                        overrides: overrides.clone(),
                    };
                    self.start_task(placed, call.now);
                    tasks.extend(self.tasks.last().map(|task| self.task_answer(task)));
                }
                Err((miss, instance)) => failures.push(json!({ "arn": instance, "reason": miss.reason() })),
            }
        }
        Ok(json!({ "tasks": tasks, "failures": failures }))
    }
}
