//! Tasks: the operations on them, and the lab's stand-in for the agent's own channel (ACS).

use super::{
    ApiError,
    input::{Input, missing, paged},
    scheduler::Outcome,
    state::{Call, State, seconds},
};
use serde_json::{Value, json};
use std::time::Duration;

/// How far a task has come, by the agent's reports. What lies between (ACTIVATING, DEACTIVATING, ...) the lab leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    Pending,
    Running,
    Stopped,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// A task that was placed on a container instance.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) arn: String,
    pub(super) cluster: String,
    /// ARN of the container instance.
    pub(super) instance: String,
    /// ARN of the revision.
    pub(super) definition: String,
    pub(super) group: String,
    /// The service; `None` for one of RunTask's.
    pub(super) service: Option<String>,
    /// Id of the deployment; of one of RunTask's, what it was said to be started by.
    pub(super) deployment: String,
    overrides: Value,
    /// Whether ECS wants it to run; once it doesn't, it never does again.
    pub(super) wanted: bool,
    pub(super) last: Status,
    /// Ports of the instance that it holds until it is STOPPED.
    pub(super) ports: Vec<u64>,
    pub(super) ever_ran: bool,
    stop_code: Option<String>,
    stopped_reason: Option<String>,
    containers: Value,
    created_at: Duration,
    started_at: Option<Duration>,
    stopped_at: Option<Duration>,
}

/// Where a new task goes and what for.
pub(super) struct Placed {
    pub(super) cluster: String,
    pub(super) instance: String,
    pub(super) definition: String,
    pub(super) ports: Vec<u64>,
    pub(super) group: String,
    pub(super) service: Option<String>,
    pub(super) deployment: String,
    pub(super) overrides: Value,
}

impl Task {
    pub(super) fn id(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or(&self.arn)
    }

    /// Whether ECS counts it as running (`true`) or pending (`false`); what is to stop counts until it has.
    pub(super) fn is_counted(&self, running: bool) -> bool {
        self.last == if running { Status::Running } else { Status::Pending }
    }

    pub(super) fn want_stopped(&mut self, code: &str, reason: &str) {
        self.wanted = false;
        self.stop_code.get_or_insert_with(|| code.to_owned());
        self.stopped_reason.get_or_insert_with(|| reason.to_owned());
    }
}

impl State {
    pub(super) fn start_task(&mut self, placed: Placed, now: Duration) -> String {
        let id = self.new_id();
        self.tasks.push(Task {
            arn: self.arn(&format!("task/{}/{id}", placed.cluster)),
            cluster: placed.cluster,
            instance: placed.instance,
            definition: placed.definition,
            group: placed.group,
            service: placed.service,
            overrides: placed.overrides,
            deployment: placed.deployment,
            wanted: true,
            last: Status::Pending,
            ports: placed.ports,
            ever_ran: false,
            stop_code: None,
            stopped_reason: None,
            containers: json!([]),
            created_at: now,
            started_at: None,
            stopped_at: None,
        });
        id
    }

    pub(super) fn task_answer(&self, task: &Task) -> Value {
        let mut answer = json!({
            "taskArn": task.arn,
            "clusterArn": self.arn(&format!("cluster/{}", task.cluster)),
            "containerInstanceArn": task.instance,
            "taskDefinitionArn": task.definition,
            "group": task.group,
            "launchType": "EC2",
            "desiredStatus": if task.wanted { "RUNNING" } else { "STOPPED" },
            "lastStatus": task.last.name(),
            "containers": task.containers,
            "createdAt": seconds(task.created_at),
            "attachments": [], "attributes": [], "overrides": task.overrides, "tags": [],
        });
        for (key, value) in [
            ("startedBy", Some(&task.deployment).filter(|by| !by.is_empty()).map(|by| by.as_str().into())),
            ("stopCode", task.stop_code.clone().map(Value::from)),
            ("stoppedReason", task.stopped_reason.clone().map(Value::from)),
            ("startedAt", task.started_at.map(|at| seconds(at).into())),
            ("stoppedAt", task.stopped_at.map(|at| seconds(at).into())),
        ] {
            if let Some(value) = value {
                answer[key] = value;
            }
        }
        answer
    }

    pub(super) fn list_tasks(&self, request: Input) -> Result<Value, ApiError> {
        let cluster = self.cluster(request)?;
        let wanted = match request.text("desiredStatus")? {
            None | Some("RUNNING") => true,
            Some("STOPPED") => false,
            Some(other) => return Err(ApiError::InvalidParameter(format!("Invalid desiredStatus: {other}"))),
        };
        let service = request.text("serviceName")?.map(|name| self.find_service(&cluster, name));
        if matches!(service, Some(None)) {
            return Err(ApiError::ServiceNotFound);
        }
        let service = service.flatten().map(|service| service.name.clone());
        let instance = match request.text("containerInstance")? {
            None => None,
            Some(name) => Some(self.instance(&cluster, name).map(|i| i.arn.clone()).ok_or_else(|| {
                ApiError::InvalidParameter(format!("{name} is not a container instance of the cluster."))
            })?),
        };
        let family = request.text("family")?;
        let started_by = request.text("startedBy")?;
        let arns = self
            .tasks
            .iter()
            .filter(|t| t.cluster == cluster && t.wanted == wanted)
            .filter(|t| service.as_ref().is_none_or(|name| Some(name) == t.service.as_ref()))
            .filter(|t| instance.as_ref().is_none_or(|arn| *arn == t.instance))
            .filter(|t| {
                family.is_none_or(|name| self.definition(&t.definition).is_some_and(|d| d.family == name))
            })
            .filter(|t| started_by.is_none_or(|id| id == t.deployment))
            .map(|t| Value::from(t.arn.clone()))
            .collect();
        Ok(paged("taskArns", request.page(arns, 100, 100)?))
    }

    fn task_at(&self, cluster: &str, name: &str) -> Option<usize> {
        self.tasks.iter().position(|t| t.cluster == cluster && (t.arn == name || t.id() == name))
    }

    pub(super) fn describe_tasks(&self, request: Input) -> Result<Value, ApiError> {
        let cluster = self.cluster(request)?;
        let names = request.texts("tasks")?;
        if names.is_empty() || names.len() > 100 {
            return Err(ApiError::InvalidParameter("Tasks must be 1 to 100.".to_owned()));
        }
        let (mut tasks, mut failures) = (Vec::new(), Vec::new());
        for name in names {
            match self.task_at(&cluster, name) {
                Some(at) => tasks.push(self.task_answer(&self.tasks[at])),
                None => failures.push(missing(name)),
            }
        }
        Ok(json!({ "tasks": tasks, "failures": failures }))
    }

    pub(super) fn stop_task(&mut self, request: Input, call: &Call) -> Result<Value, ApiError> {
        let cluster = self.cluster(request)?;
        let at = self
            .task_at(&cluster, request.required("task")?)
            .ok_or_else(|| ApiError::InvalidParameter("The referenced task was not found.".to_owned()))?;
        let by = format!("Task stopped by {}", call.access_key);
        let reason = request.text("reason")?.unwrap_or(&by);
        self.tasks[at].want_stopped("UserInitiated", reason);
        Ok(json!({ "task": self.task_answer(&self.tasks[at]) }))
    }

    /// A task whose instance is gone: nobody will report of it any more.
    pub(super) fn lose_task(&mut self, at: usize, now: Duration) {
        let task = &mut self.tasks[at];
        let outcome = if task.wanted { Outcome::Died } else { Outcome::Stopped };
        task.last = Status::Stopped;
        task.stopped_at = Some(now);
        task.want_stopped("TerminationNotice", "Host EC2 (instance) terminated.");
        self.note_outcome(at, outcome, now);
    }

    /// What the agent of a container instance is to run: its tasks that have not stopped, each with its whole registered revision.
    /// Also the sign that the agent is there.
    ///
    /// # Errors
    /// No such container instance.
    pub fn agent_tasks(&mut self, instance: &str, now: Duration) -> Result<Value, ApiError> {
        let at = self.agent_instance(instance, now)?;
        let arn = &self.instances[at].arn;
        let mut tasks = Vec::new();
        for task in self.tasks.iter().filter(|t| t.instance == *arn && t.last != Status::Stopped) {
            let mut answer = self.task_answer(task);
            answer["taskDefinition"] =
                self.definition(&task.definition).map_or(Value::Null, |d| d.document.clone().into());
            tasks.push(answer);
        }
        Ok(json!({ "tasks": tasks }))
    }

    fn agent_instance(&mut self, instance: &str, now: Duration) -> Result<usize, ApiError> {
        let at = self
            .instances
            .iter()
            .position(|i| i.id() == instance || i.arn == instance)
            .ok_or_else(|| ApiError::TargetNotFound(instance.to_owned()))?;
        self.instances[at].agent_seen = now;
        Ok(at)
    }

    /// What became of a task: `{"status": "PENDING" | "RUNNING" | "STOPPED", "reason", "containers": [...]}`.
    ///
    /// A status only ever moves on: a late report of RUNNING doesn't wake a stopped task. Containers may change under the same
    /// status, as the real agent submits them one by one. It submits no stop code (amazon-ecs-agent 1.105.1,
    /// `agent/api/statechange.go:86`): that is ECS's, and the words, unless the agent has a reason of its own. ECS is closed; these
    /// are in public answers of DescribeTasks (treasure-data/digdag#1642 for one that never was RUNNING).
    ///
    /// # Errors
    /// No such container instance or task, or a status that there isn't.
    pub fn agent_report(
        &mut self,
        instance: &str,
        task: &str,
        report: &Value,
        now: Duration,
    ) -> Result<(), ApiError> {
        let report = Input::new(report)?;
        let at = self.agent_instance(instance, now)?;
        let arn = self.instances[at].arn.clone();
        let status = match report.required("status")? {
            "PENDING" => Status::Pending,
            "RUNNING" => Status::Running,
            "STOPPED" => Status::Stopped,
            other => return Err(ApiError::InvalidParameter(format!("Invalid status: {other}"))),
        };
        let reason = report.text("reason")?;
        let position = self
            .tasks
            .iter()
            .position(|t| t.instance == arn && (t.id() == task || t.arn == task))
            .ok_or_else(|| ApiError::InvalidParameter("The referenced task was not found.".to_owned()))?;
        let task = &mut self.tasks[position];
        if status < task.last || task.last == Status::Stopped {
            return Ok(());
        }
        if let Some(containers) = report.get("containers") {
            task.containers = containers.clone();
        }
        let is_unhealthy = |container: &Value| container["healthStatus"] == "UNHEALTHY";
        if task.wanted
            && let Some(service) = &task.service
            && task.containers.as_array().is_some_and(|containers| containers.iter().any(is_unhealthy))
        {
            // Developer guide, "Amazon ECS service event messages".
            let told = format!("(task {}) failed container health checks.", task.id());
            let of = (task.cluster.clone(), service.clone());
            task.want_stopped("ServiceSchedulerInitiated", "Task failed container health checks");
            if let Some(at) = self.services.iter().position(|s| (&s.cluster, &s.name) == (&of.0, &of.1)) {
                self.tell(at, now, &told);
            }
        }
        let task = &mut self.tasks[position];
        if status == task.last {
            return Ok(());
        }
        // One that was not asked to stop, and stopped before it ran, counts against its deployment.
        let outcome = match (status, task.wanted, task.ever_ran) {
            (Status::Stopped, false, _) => Outcome::Stopped,
            (Status::Stopped, true, false) => Outcome::Failed,
            (Status::Stopped, true, true) => Outcome::Died,
            _ => Outcome::Ran,
        };
        task.last = status;
        match status {
            Status::Pending => {}
            Status::Running => {
                task.started_at = Some(now);
                task.ever_ran = true;
            }
            Status::Stopped => {
                task.stopped_at = Some(now);
                let (code, words) = if task.ever_ran {
                    ("EssentialContainerExited", "Essential container in task exited")
                } else {
                    ("TaskFailedToStart", "Task failed to start")
                };
                task.want_stopped(code, reason.unwrap_or(words));
            }
        }
        if status != Status::Pending {
            self.note_outcome(position, outcome, now);
        }
        Ok(())
    }
}
