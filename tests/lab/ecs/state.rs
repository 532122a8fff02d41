//! Everything that the lab's ECS knows, and the table of its operations. Pure: the time is passed in, nothing is awaited.

use super::{
    ApiError, Config,
    definitions::Definition,
    input::{Input, missing},
    instances::ContainerInstance,
    services::Service,
    tasks::Task,
};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Who calls, and when.
#[derive(Debug, Clone)]
pub struct Call {
    /// Since the Unix epoch.
    pub now: Duration,
    /// The access key of the request's signature (which nobody checks); [`UNSIGNED`] without one.
    pub access_key: String,
}

/// Instead of an access key, where a request has no signature: the tests' own looks, many a second. AWS would refuse them; here they
/// take nothing from the account's buckets, so that a test that waits doesn't throttle the agents that it waits for.
pub const UNSIGNED: &str = "anonymous";

/// The state of one lab's ECS.
#[derive(Debug)]
pub struct State {
    pub(super) config: Config,
    pub(super) definitions: Vec<Definition>,
    pub(super) instances: Vec<ContainerInstance>,
    pub(super) services: Vec<Service>,
    pub(super) tasks: Vec<Task>,
    ids: u64,
}

/// As AWS's JSON protocols write times: seconds since the epoch, to the millisecond.
pub(super) fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

impl State {
    /// Nothing but the clusters. `seed` makes this lab's ids differ from another's.
    pub fn new(config: Config, seed: u64) -> Self {
        Self { config, definitions: vec![], instances: vec![], services: vec![], tasks: vec![], ids: seed }
    }

    /// How fast this ECS is, to be changed while it runs.
    pub(super) fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// Does one API operation; what it makes the scheduler do comes with the next [`State::step`].
    ///
    /// # Errors
    /// What ECS would refuse, and operations that the lab hasn't.
    pub fn handle(&mut self, operation: &str, request: &Value, call: &Call) -> Result<Value, ApiError> {
        let request = Input::new(request)?;
        match operation {
            "RegisterTaskDefinition" => self.register_task_definition(request, call),
            "DescribeTaskDefinition" => self.describe_task_definition(request),
            "DeregisterTaskDefinition" => self.deregister_task_definition(request, call),
            "ListTaskDefinitions" => self.list_task_definitions(request),
            "CreateService" => self.create_service(request, call),
            "UpdateService" => self.update_service(request, call),
            "DeleteService" => self.delete_service(request, call),
            "DescribeServices" => self.describe_services(request),
            "ListServices" => self.list_services(request),
            "RegisterContainerInstance" => self.register_container_instance(request, call),
            "DeregisterContainerInstance" => self.deregister_container_instance(request, call),
            "DescribeContainerInstances" => self.describe_container_instances(request, call),
            "ListContainerInstances" => self.list_container_instances(request, call),
            "PutAttributes" => self.put_attributes(request),
            "DeleteAttributes" => self.delete_attributes(request),
            "ListAttributes" => self.list_attributes(request),
            "DescribeClusters" => self.describe_clusters(request),
            "ListTasks" => self.list_tasks(request),
            "DescribeTasks" => self.describe_tasks(request),
            "CreateTaskSet" => self.create_task_set(request, call),
            "UpdateContainerInstancesState" => self.update_container_instances_state(request, call),
            "RunTask" => self.run_task(request, call),
            "StopTask" => self.stop_task(request, call),
            other => Err(ApiError::UnknownOperation(other.to_owned())),
        }
    }

    /// The caller, as ECS names it.
    pub(super) fn caller(&self, call: &Call) -> String {
        format!("arn:aws:sts::{}:assumed-role/lab/{}", self.config.account, call.access_key)
    }

    pub(super) fn role_arn(&self, name: &str) -> String {
        format!("arn:aws:iam::{}:role/{name}", self.config.account)
    }

    pub(super) fn arn(&self, resource: &str) -> String {
        format!("arn:aws:ecs:{}:{}:{resource}", self.config.region, self.config.account)
    }

    /// A new id of 32 hex digits, as those of tasks and container instances.
    pub(super) fn new_id(&mut self) -> String {
        format!("{:016x}{:016x}", self.new_number(), self.new_number())
    }

    /// The next number of splitmix64: looks random, and is the same in every run with the same seed.
    pub(super) fn new_number(&mut self) -> u64 {
        self.ids = self.ids.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.ids;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The name of the request's cluster, given by name or ARN; `default` when it says none.
    pub(super) fn cluster(&self, request: Input) -> Result<String, ApiError> {
        self.find_cluster(request.text("cluster")?.unwrap_or("default")).ok_or(ApiError::ClusterNotFound)
    }

    fn find_cluster(&self, name: &str) -> Option<String> {
        let name = name.strip_prefix(&self.arn("cluster/")).unwrap_or(name);
        self.config.clusters.iter().find(|cluster| *cluster == name).cloned()
    }

    fn describe_clusters(&self, request: Input) -> Result<Value, ApiError> {
        let mut names = request.texts("clusters")?;
        if names.is_empty() {
            names.push("default");
        }
        let (mut clusters, mut failures) = (Vec::new(), Vec::new());
        for name in names {
            match self.find_cluster(name) {
                Some(cluster) => clusters.push(self.cluster_answer(&cluster)),
                None => failures.push(missing(self.arn(&format!("cluster/{name}")))),
            }
        }
        Ok(json!({ "clusters": clusters, "failures": failures }))
    }

    fn cluster_answer(&self, name: &str) -> Value {
        let tasks =
            |running| self.tasks.iter().filter(|t| t.cluster == name && t.is_counted(running)).count();
        json!({
            "clusterArn": self.arn(&format!("cluster/{name}")),
            "clusterName": name,
            "status": "ACTIVE",
            "registeredContainerInstancesCount": self.instances.iter().filter(|i| i.cluster == name).count(),
            "runningTasksCount": tasks(true),
            "pendingTasksCount": tasks(false),
            "activeServicesCount": self.services.iter().filter(|s| s.cluster == name && s.is_active()).count(),
            "statistics": [], "tags": [], "settings": [], "capacityProviders": [], "defaultCapacityProviderStrategy": [],
        })
    }

    /// All there is, for a person who looks at a lab and for the logs that a failed test leaves.
    ///
    /// `tags` has a revision's tags by its ARN; `rollbackTargets` the deployment that a rollback of a service (by ARN) would go to.
    pub fn dump(&self, now: Duration) -> Value {
        let tags: Map<String, Value> =
            self.definitions.iter().map(|d| (d.arn.clone(), d.tags.clone().into())).collect();
        let target = |s: &Service| s.deployments.target().map_or(Value::Null, |d| d.id.as_str().into());
        let targets: Map<String, Value> = self.services.iter().map(|s| (s.arn.clone(), target(s))).collect();
        json!({
            "tags": tags,
            "rollbackTargets": targets,
            "clusters": self.config.clusters.iter().map(|name| self.cluster_answer(name)).collect::<Vec<_>>(),
            "containerInstances": self.instances.iter().map(|i| self.instance_answer(i, now)).collect::<Vec<_>>(),
            "services": self.services.iter().map(|s| self.service_answer(s)).collect::<Vec<_>>(),
            "tasks": self.tasks.iter().map(|t| self.task_answer(t)).collect::<Vec<_>>(),
            "taskDefinitions": self.definitions.iter().map(|d| d.document.clone()).collect::<Vec<_>>(),
        })
    }
}
