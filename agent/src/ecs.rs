//! Amazon ECS: the instance's attribute, and the services and task definitions of the cluster.
//!
//! Task definitions travel as raw JSON, taken from and put into the SDK's requests by interceptors: a typed copy forgets every
//! field that is newer than the SDK.

pub mod rights;

use crate::{
    aws::AwsError,
    draining::Status,
    pace::Bucket,
    service::{Deployment, Event, Instances, Rollout, Service, StoppedTask},
};
use aws_config::{SdkConfig, retry::RetryConfig};
use aws_sdk_ecs::{
    Client, Config,
    operation::RequestId,
    types::{
        Attribute, ContainerInstanceStatus, DeploymentControllerType, DeploymentRolloutState, DesiredStatus,
        LaunchType, PlacementConstraintType, SchedulingStrategy, SortOrder, TaskDefinitionField,
        TaskDefinitionStatus,
    },
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{
            Intercept,
            context::{AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut},
        },
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{DateTime, body::SdkBody, config_bag::ConfigBag};
use serde_json::Value;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The attribute of a container instance that tells whether its share is there.
pub const GATE_ATTRIBUTE: &str = "convox.volumes";
/// Most services that DescribeServices takes (API reference).
const DESCRIBE_SERVICES_MOST: usize = 10;
/// Most container instances that DescribeContainerInstances takes (API reference).
const DESCRIBE_MOST: usize = 100;
/// Most that ListServices gives in a page (API reference); its default is 10.
const LIST_SERVICES_MOST: i32 = 100;

/// ECS, as one cluster's patcher and one instance's gate use it.
#[derive(Debug, Clone)]
pub struct Ecs {
    client: Client,
    pace: Arc<Buckets>,
}

/// Half of each documented bucket; of the bottleneck, RegisterTaskDefinition, without its burst.
#[derive(Debug)]
struct Buckets {
    task_definition_read: Bucket,
    task_definition_modify: Bucket,
    service_read: Bucket,
    service_modify: Bucket,
    cluster_resource_read: Bucket,
}

impl Ecs {
    /// A client.
    pub fn new(sdk: &SdkConfig) -> Self {
        Self::paced(
            sdk,
            Buckets {
                task_definition_read: Bucket::new(25.0, 10.0),
                task_definition_modify: Bucket::new(1.0, 0.5),
                service_read: Bucket::new(50.0, 10.0),
                service_modify: Bucket::new(5.0, 2.5),
                cluster_resource_read: Bucket::new(50.0, 10.0),
            },
        )
    }

    /// A client that never waits: for an ECS that counts no calls.
    pub fn unpaced(sdk: &SdkConfig) -> Self {
        let unlimited = || Bucket::new(f64::INFINITY, 1.0);
        Self::paced(
            sdk,
            Buckets {
                task_definition_read: unlimited(),
                task_definition_modify: unlimited(),
                service_read: unlimited(),
                service_modify: unlimited(),
                cluster_resource_read: unlimited(),
            },
        )
    }

    fn paced(sdk: &SdkConfig, pace: Buckets) -> Self {
        Self { client: Client::new(sdk), pace: Arc::new(pace) }
    }

    /// Sets the instance's attribute to `ready` or `not-ready`.
    ///
    /// # Errors
    /// [`AwsError`]
    pub async fn set_gate(
        &self,
        cluster: &str,
        container_instance: &str,
        open: bool,
    ) -> Result<(), AwsError> {
        const CALL: &str = "ecs:PutAttributes";
        // The full ARN alone, without a target type: moto and ECS both understand that form.
        let attribute = Attribute::builder()
            .name(GATE_ATTRIBUTE)
            .value(if open { "ready" } else { "not-ready" })
            .target_id(container_instance)
            .build()
            .map_err(|error| AwsError::Garbled { call: CALL, cause: error.to_string() })?;
        self.client
            .put_attributes()
            .cluster(cluster)
            .attributes(attribute)
            .send()
            .await
            .map(drop)
            .map_err(|error| AwsError::of(CALL, &error))
    }

    /// Whether a container instance is active or draining.
    ///
    /// # Errors
    /// [`AwsError`]
    pub async fn status(&self, cluster: &str, container_instance: &str) -> Result<Status, AwsError> {
        let answer = self
            .client
            .describe_container_instances()
            .cluster(cluster)
            .container_instances(container_instance)
            .send()
            .await
            .map_err(|error| AwsError::of("ecs:DescribeContainerInstances", &error))?;
        let status = answer.container_instances().first().and_then(|instance| instance.status());
        Ok(match status {
            Some("ACTIVE") => Status::Active,
            Some("DRAINING") => Status::Draining,
            _ => Status::Other,
        })
    }

    /// Whether tasks with volumes can be placed on an instance of the cluster other than this one: ACTIVE, its ECS agent connected, its
    /// gate open.
    ///
    /// # Errors
    /// [`AwsError`]
    pub async fn another_is_ready(&self, cluster: &str, this: &str) -> Result<bool, AwsError> {
        // Of the cluster query language (ECS developer guide); 500 agents may ask at the same time, so one call must do.
        let answer = self
            .client
            .list_container_instances()
            .cluster(cluster)
            .status(ContainerInstanceStatus::Active)
            .filter(format!("attribute:{GATE_ATTRIBUTE} == ready and agentConnected == true"))
            .send()
            .await
            .map_err(|error| AwsError::of("ecs:ListContainerInstances", &error))?;
        Ok(answer.container_instance_arns().iter().any(|arn| arn != this))
    }

    /// Sets a container instance to DRAINING, or back to ACTIVE.
    ///
    /// # Errors
    /// [`AwsError`]; a container instance that ECS doesn't know is [`AwsError::Refused`].
    pub async fn set_draining(
        &self,
        cluster: &str,
        container_instance: &str,
        draining: bool,
    ) -> Result<(), AwsError> {
        const CALL: &str = "ecs:UpdateContainerInstancesState";
        let status =
            if draining { ContainerInstanceStatus::Draining } else { ContainerInstanceStatus::Active };
        let answer = self
            .client
            .update_container_instances_state()
            .cluster(cluster)
            .container_instances(container_instance)
            .status(status)
            .send()
            .await
            .map_err(|error| AwsError::of(CALL, &error))?;
        match answer.failures().first() {
            None => Ok(()),
            Some(failure) => Err(AwsError::Refused {
                call: CALL,
                code: failure.reason().unwrap_or("no reason").to_owned(),
                cause: container_instance.to_owned(),
            }),
        }
    }

    /// All active services of the cluster.
    ///
    /// # Errors
    /// [`AwsError`]
    pub async fn services(&self, cluster: &str) -> Result<Vec<Service>, AwsError> {
        let arns = self.service_arns(cluster).await?;
        let mut services = Vec::new();
        for arns in arns.chunks(DESCRIBE_SERVICES_MOST) {
            services.extend(self.describe(cluster, arns).await?);
        }
        Ok(services)
    }

    async fn service_arns(&self, cluster: &str) -> Result<Vec<String>, AwsError> {
        let mut arns = Vec::new();
        let mut pages = self
            .client
            .list_services()
            .cluster(cluster)
            .max_results(LIST_SERVICES_MOST)
            .into_paginator()
            .send();
        self.pace.service_read.take().await;
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| AwsError::of("ecs:ListServices", &error))?;
            let has_next = page.next_token().is_some();
            arns.extend(page.service_arns.unwrap_or_default());
            if has_next {
                self.pace.service_read.take().await;
            }
        }
        // A service that was made or removed while the pages were turned may be on two of them.
        arns.sort();
        arns.dedup();
        Ok(arns)
    }

    /// One service, read anew. `None`: it is gone.
    ///
    /// # Errors
    /// [`AwsError`]
    pub async fn service(&self, cluster: &str, arn: &str) -> Result<Option<Service>, AwsError> {
        Ok(self.describe(cluster, &[arn.to_owned()]).await?.pop())
    }

    /// The same with what ECS tells of it, newest first.
    ///
    /// # Errors
    /// [`AwsError`]
    pub async fn service_with_events(
        &self,
        cluster: &str,
        arn: &str,
    ) -> Result<Option<(Service, Vec<Event>)>, AwsError> {
        let answers = self.describe_services(cluster, &[arn.to_owned()]).await?;
        Ok(answers.first().and_then(|answer| {
            let events = answer.events().iter().filter_map(|event| {
                Some(Event { id: event.id()?.to_owned(), message: event.message()?.to_owned() })
            });
            Some((service_of(answer)?, events.collect()))
        }))
    }

    /// The names of all services of the cluster.
    ///
    /// # Errors
    /// [`AwsError`]
    pub async fn service_names(&self, cluster: &str) -> Result<Vec<String>, AwsError> {
        let name = |arn: String| arn.rsplit('/').next().map(str::to_owned).unwrap_or(arn);
        Ok(self.service_arns(cluster).await?.into_iter().map(name).collect())
    }

    async fn describe(&self, cluster: &str, arns: &[String]) -> Result<Vec<Service>, AwsError> {
        Ok(self.describe_services(cluster, arns).await?.iter().filter_map(service_of).collect())
    }

    async fn describe_services(
        &self,
        cluster: &str,
        arns: &[String],
    ) -> Result<Vec<aws_sdk_ecs::types::Service>, AwsError> {
        self.pace.service_read.take().await;
        let answer = self
            .client
            .describe_services()
            .cluster(cluster)
            .set_services(Some(arns.to_vec()))
            .send()
            .await
            .map_err(|error| AwsError::of("ecs:DescribeServices", &error))?;
        // A service that was deleted since it was listed is in `failures`, which is no error.
        let services = answer.services.unwrap_or_default();
        Ok(services.into_iter().filter(|service| service.status() == Some("ACTIVE")).collect())
    }

    /// The instances of the cluster that tasks can be placed on.
    ///
    /// # Errors
    /// [`AwsError`]
    pub async fn instances(&self, cluster: &str) -> Result<Instances, AwsError> {
        let mut arns = Vec::new();
        let list = self.client.list_container_instances().cluster(cluster);
        let mut pages = list.status(ContainerInstanceStatus::Active).into_paginator().items().send();
        self.pace.cluster_resource_read.take().await;
        while let Some(arn) = pages.next().await {
            arns.push(arn.map_err(|error| AwsError::of("ecs:ListContainerInstances", &error))?);
        }
        let mut instances = Instances::default();
        for arns in arns.chunks(DESCRIBE_MOST) {
            self.pace.cluster_resource_read.take().await;
            let answer = self
                .client
                .describe_container_instances()
                .cluster(cluster)
                .set_container_instances(Some(arns.to_vec()))
                .send()
                .await
                .map_err(|error| AwsError::of("ecs:DescribeContainerInstances", &error))?;
            for instance in answer.container_instances().iter().filter(|instance| instance.agent_connected())
            {
                let gate = instance.attributes().iter().find(|a| a.name() == GATE_ATTRIBUTE);
                match gate.map(Attribute::value) {
                    None => {}
                    Some(Some("ready")) => instances.ready += 1,
                    Some(_) => instances.not_ready += 1,
                }
            }
        }
        Ok(instances)
    }

    /// The tasks of a service that ran, or should have run, a revision and have stopped, as far as ECS remembers them (an hour).
    ///
    /// # Errors
    /// [`AwsError`]
    pub async fn stopped_tasks(
        &self,
        cluster: &str,
        service: &str,
        task_definition: &str,
    ) -> Result<Vec<StoppedTask>, AwsError> {
        let list = self.client.list_tasks().cluster(cluster).service_name(service);
        self.pace.cluster_resource_read.take().await;
        let answer = list
            .desired_status(DesiredStatus::Stopped)
            .send()
            .await
            .map_err(|error| AwsError::of("ecs:ListTasks", &error))?;
        if answer.task_arns().is_empty() {
            return Ok(Vec::new());
        }
        self.pace.cluster_resource_read.take().await;
        let answer = self
            .client
            .describe_tasks()
            .cluster(cluster)
            .set_tasks(Some(answer.task_arns().to_vec()))
            .send()
            .await
            .map_err(|error| AwsError::of("ecs:DescribeTasks", &error))?;
        let of_revision =
            |task: &&aws_sdk_ecs::types::Task| task.task_definition_arn() == Some(task_definition);
        let told = |task: &aws_sdk_ecs::types::Task| {
            let containers = task.containers().iter().filter_map(|container| container.reason());
            let reasons = containers.chain(task.stopped_reason()).map(str::to_owned);
            StoppedTask { reasons: reasons.collect() }
        };
        Ok(answer.tasks().iter().filter(of_revision).map(told).collect())
    }

    /// DescribeTaskDefinition's answer, raw, tags included. `name` is an ARN, or a family for its latest active revision.
    ///
    /// # Errors
    /// [`AwsError`]
    pub async fn task_definition(&self, name: &str) -> Result<Value, AwsError> {
        const CALL: &str = "ecs:DescribeTaskDefinition";
        let body = RawAnswer::default();
        self.pace.task_definition_read.take().await;
        self.client
            .describe_task_definition()
            .task_definition(name)
            .include(TaskDefinitionField::Tags)
            .customize()
            .interceptor(body.clone())
            .send()
            .await
            .map_err(|error| AwsError::of(CALL, &error))?;
        body.json(CALL)
    }

    /// The full ARNs of a family's active revisions, latest first, `most` of them.
    ///
    /// # Errors
    /// [`AwsError`]
    pub async fn latest_revisions(&self, family: &str, most: usize) -> Result<Vec<String>, AwsError> {
        self.pace.task_definition_read.take().await;
        let answer = self
            .client
            .list_task_definitions()
            .family_prefix(family)
            .status(TaskDefinitionStatus::Active)
            .sort(SortOrder::Desc)
            .max_results(i32::try_from(most).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| AwsError::of("ecs:ListTaskDefinitions", &error))?;
        Ok(answer.task_definition_arns.unwrap_or_default())
    }

    /// Waits until a revision may be registered: asked before the lock is confirmed, so that nothing waits after that.
    pub async fn may_register(&self) {
        self.pace.task_definition_modify.take().await;
    }

    /// Waits until a service may be updated, as [`Ecs::may_register`].
    pub async fn may_update(&self) {
        self.pace.service_modify.take().await;
    }

    /// Registers a document as it is, and returns ECS's answer, raw, with the request's id.
    ///
    /// One try: ECS makes a revision of each request that reaches it, so a second try after a lost answer would be a second revision.
    /// The next round finds what was registered.
    ///
    /// # Errors
    /// [`AwsError`]
    pub async fn register(&self, document: &Value) -> Result<(Value, String), AwsError> {
        const CALL: &str = "ecs:RegisterTaskDefinition";
        let body = RawAnswer::default();
        let request = RawRequest(document.to_string());
        let answer = self
            .client
            .register_task_definition()
            .customize()
            .config_override(Config::builder().retry_config(RetryConfig::disabled()))
            .interceptor(request)
            .interceptor(body.clone())
            .send()
            .await
            .map_err(|error| AwsError::of(CALL, &error))?;
        Ok((body.json(CALL)?, answer.request_id().unwrap_or_default().to_owned()))
    }

    /// Moves a service to another revision; everything else of it stays as it is.
    ///
    /// One try, as [`Ecs::register`]: a second one after a lost answer could overtake a deploy that was made after the first. Returns the
    /// service as it is then, and the request's id.
    ///
    /// # Errors
    /// [`AwsError`]
    pub async fn update_service(
        &self,
        cluster: &str,
        service: &str,
        task_definition: &str,
    ) -> Result<(Option<Service>, String), AwsError> {
        self.client
            .update_service()
            .cluster(cluster)
            .service(service)
            .task_definition(task_definition)
            .customize()
            .config_override(Config::builder().retry_config(RetryConfig::disabled()))
            .send()
            .await
            .map(|answer| {
                (answer.service().and_then(service_of), answer.request_id().unwrap_or_default().to_owned())
            })
            .map_err(|error| AwsError::of("ecs:UpdateService", &error))
    }
}

fn service_of(answer: &aws_sdk_ecs::types::Service) -> Option<Service> {
    let controller = answer.deployment_controller().map(|controller| controller.r#type().clone());
    let configuration = answer.deployment_configuration();
    let strategy = configuration.and_then(|c| c.strategy()).map(|strategy| strategy.as_str().to_owned());
    let not_rolling = match (controller, strategy) {
        (Some(other), _) if other != DeploymentControllerType::Ecs => {
            Some(format!("its deployment controller is {}", other.as_str()))
        }
        (_, Some(strategy)) if strategy != "ROLLING" => {
            Some(format!("its deployment strategy is {strategy}"))
        }
        _ => None,
    };
    let provider = answer.capacity_provider_strategy().iter().map(|item| item.capacity_provider());
    let fargate =
        provider.chain(answer.launch_type().map(LaunchType::as_str)).find(|name| name.starts_with("FARGATE"));
    let constraints = answer.placement_constraints().iter();
    let spread = |kind: &PlacementConstraintType| *kind == PlacementConstraintType::DistinctInstance;
    let mut deployments: Vec<Deployment> = answer.deployments().iter().filter_map(deployment).collect();
    if !deployments.iter().any(|deployment| deployment.is_primary) {
        // Under CODE_DEPLOY and EXTERNAL there are task sets instead.
        let sets = answer.task_sets();
        let primary = sets.iter().find(|set| set.status() == Some("PRIMARY")).or(sets.first());
        let revision = primary.and_then(|set| set.task_definition()).or(answer.task_definition());
        deployments.extend(revision.map(|revision| Deployment {
            is_primary: true,
            task_definition: revision.to_owned(),
            running: count(answer.running_count()),
            desired: count(answer.desired_count()),
            created: primary.and_then(|set| since_epoch(set.created_at())),
            ..Deployment::default()
        }));
    }
    Some(Service {
        arn: answer.service_arn()?.to_owned(),
        name: answer.service_name()?.to_owned(),
        is_daemon: answer.scheduling_strategy() == Some(&SchedulingStrategy::Daemon),
        not_rolling,
        not_on_instances: fargate.map(str::to_owned),
        one_task_an_instance: constraints.filter_map(|c| c.r#type()).any(spread),
        desired: count(answer.desired_count()),
        maximum_percent: configuration.and_then(|c| c.maximum_percent()).map_or(200, count),
        minimum_healthy_percent: configuration.and_then(|c| c.minimum_healthy_percent()).map_or(100, count),
        deployments,
        unplaced: answer.events().iter().find_map(unplaced),
    })
}

/// Events come newest first (API reference, Service); developer guide, "service event messages".
fn unplaced(event: &aws_sdk_ecs::types::ServiceEvent) -> Option<(Duration, String)> {
    let message = event.message().filter(|message| message.contains("unable to place a task"))?;
    Some((since_epoch(event.created_at())?, message.to_owned()))
}

fn since_epoch(time: Option<&DateTime>) -> Option<Duration> {
    let time = time?;
    Some(Duration::new(u64::try_from(time.secs()).ok()?, time.subsec_nanos()))
}

fn deployment(answer: &aws_sdk_ecs::types::Deployment) -> Option<Deployment> {
    Some(Deployment {
        id: answer.id().unwrap_or_default().to_owned(),
        is_primary: answer.status() == Some("PRIMARY"),
        task_definition: answer.task_definition()?.to_owned(),
        rollout: match answer.rollout_state() {
            Some(DeploymentRolloutState::InProgress) => Rollout::InProgress,
            Some(DeploymentRolloutState::Completed) => Rollout::Completed,
            Some(DeploymentRolloutState::Failed) => Rollout::Failed,
            _ => Rollout::Unknown,
        },
        reason: answer.rollout_state_reason().unwrap_or_default().to_owned(),
        running: count(answer.running_count()),
        desired: count(answer.desired_count()),
        failed: count(answer.failed_tasks()),
        created: since_epoch(answer.created_at()),
    })
}

fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

/// Keeps the body of an answer as it came.
#[derive(Debug, Clone, Default)]
struct RawAnswer(Arc<Mutex<Option<Vec<u8>>>>);

impl RawAnswer {
    fn json(&self, call: &'static str) -> Result<Value, AwsError> {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let body = body.ok_or(AwsError::Garbled { call, cause: "it has no body".to_owned() })?;
        serde_json::from_slice(&body).map_err(|error| AwsError::Garbled { call, cause: error.to_string() })
    }
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for RawAnswer {
    fn name(&self) -> &'static str {
        "RawAnswer"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().map(<[u8]>::to_vec);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = body;
        Ok(())
    }
}

/// Replaces the body of a request.
#[derive(Debug)]
struct RawRequest(String);

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for RawRequest {
    fn name(&self) -> &'static str {
        "RawRequest"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        request.headers_mut().insert("content-length", self.0.len().to_string());
        *request.body_mut() = SdkBody::from(self.0.clone());
        Ok(())
    }
}
