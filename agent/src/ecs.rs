//! Amazon ECS: the instance's attribute, and the services and task definitions of the cluster.
//!
//! Task definitions travel as raw JSON, taken from and put into the SDK's requests by interceptors: a typed copy forgets every
//! field that is newer than the SDK.

use crate::aws::AwsError;
use aws_config::SdkConfig;
use aws_sdk_ecs::{
    Client,
    types::{
        Attribute, DeploymentControllerType, DeploymentRolloutState, SchedulingStrategy, TaskDefinitionField,
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
use aws_smithy_types::{body::SdkBody, config_bag::ConfigBag};
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};

/// The attribute of a container instance that tells whether its share is there.
pub const GATE_ATTRIBUTE: &str = "convox.volumes";
/// Most services that DescribeServices takes (API reference).
const DESCRIBE_SERVICES_MOST: usize = 10;
/// Most that ListServices gives in a page (API reference); its default is 10.
const LIST_SERVICES_MOST: i32 = 100;

/// One service, as far as patching needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// The full ARN of the revision that the PRIMARY deployment names.
    pub task_definition: String,
    /// A daemon service runs one task an instance, and ECS stops it where its constraint stops matching.
    pub is_daemon: bool,
    /// Why ECS would not update it by a rolling deployment, if it would not.
    pub not_rolling: Option<String>,
    /// How the PRIMARY deployment goes: `IN_PROGRESS`, `COMPLETED`, `FAILED`.
    pub rollout: Option<String>,
    /// Whether a deployment failed: the PRIMARY may be ECS's rollback.
    pub has_failed_deployment: bool,
}

/// ECS, as one cluster's patcher and one instance's gate use it.
#[derive(Debug, Clone)]
pub struct Ecs {
    client: Client,
}

impl Ecs {
    /// A client.
    pub fn new(sdk: &SdkConfig) -> Self {
        Self { client: Client::new(sdk) }
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

    /// All active services of the cluster.
    ///
    /// # Errors
    /// [`AwsError`]
    pub async fn services(&self, cluster: &str) -> Result<Vec<Service>, AwsError> {
        let mut arns = Vec::new();
        let mut pages = self
            .client
            .list_services()
            .cluster(cluster)
            .max_results(LIST_SERVICES_MOST)
            .into_paginator()
            .items()
            .send();
        while let Some(arn) = pages.next().await {
            arns.push(arn.map_err(|error| AwsError::of("ecs:ListServices", &error))?);
        }
        let mut services = Vec::new();
        for arns in arns.chunks(DESCRIBE_SERVICES_MOST) {
            services.extend(self.describe(cluster, arns).await?);
        }
        Ok(services)
    }

    /// One service, read anew. `None`: it is gone.
    ///
    /// # Errors
    /// [`AwsError`]
    pub async fn service(&self, cluster: &str, arn: &str) -> Result<Option<Service>, AwsError> {
        Ok(self.describe(cluster, &[arn.to_owned()]).await?.pop())
    }

    async fn describe(&self, cluster: &str, arns: &[String]) -> Result<Vec<Service>, AwsError> {
        let answer = self
            .client
            .describe_services()
            .cluster(cluster)
            .set_services(Some(arns.to_vec()))
            .send()
            .await
            .map_err(|error| AwsError::of("ecs:DescribeServices", &error))?;
        // A service that was deleted since it was listed is in `failures`, which is no error.
        Ok(answer.services().iter().filter(|s| s.status() == Some("ACTIVE")).filter_map(service).collect())
    }

    /// DescribeTaskDefinition's answer, raw, tags included. `name` is an ARN, or a family for its latest active revision.
    ///
    /// # Errors
    /// [`AwsError`]
    pub async fn task_definition(&self, name: &str) -> Result<Value, AwsError> {
        const CALL: &str = "ecs:DescribeTaskDefinition";
        let body = RawAnswer::default();
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

    /// Registers a document as it is, and returns ECS's answer, raw.
    ///
    /// # Errors
    /// [`AwsError`]
    pub async fn register(&self, document: &Value) -> Result<Value, AwsError> {
        const CALL: &str = "ecs:RegisterTaskDefinition";
        let body = RawAnswer::default();
        let request = RawRequest(document.to_string());
        self.client
            .register_task_definition()
            .customize()
            .interceptor(request)
            .interceptor(body.clone())
            .send()
            .await
            .map_err(|error| AwsError::of(CALL, &error))?;
        body.json(CALL)
    }

    /// Moves a service to another revision; everything else of it stays as it is.
    ///
    /// # Errors
    /// [`AwsError`]
    pub async fn update_service(
        &self,
        cluster: &str,
        service: &str,
        task_definition: &str,
    ) -> Result<(), AwsError> {
        self.client
            .update_service()
            .cluster(cluster)
            .service(service)
            .task_definition(task_definition)
            .send()
            .await
            .map(drop)
            .map_err(|error| AwsError::of("ecs:UpdateService", &error))
    }
}

fn service(answer: &aws_sdk_ecs::types::Service) -> Option<Service> {
    let primary = answer.deployments().iter().find(|deployment| deployment.status() == Some("PRIMARY"));
    let controller = answer.deployment_controller().map(|controller| controller.r#type().clone());
    let strategy = answer
        .deployment_configuration()
        .and_then(|configuration| configuration.strategy())
        .map(|strategy| strategy.as_str().to_owned());
    let not_rolling = match (controller, strategy) {
        (Some(other), _) if other != DeploymentControllerType::Ecs => {
            Some(format!("its deployment controller is {}", other.as_str()))
        }
        (_, Some(strategy)) if strategy != "ROLLING" => {
            Some(format!("its deployment strategy is {strategy}"))
        }
        _ => None,
    };
    Some(Service {
        arn: answer.service_arn()?.to_owned(),
        name: answer.service_name()?.to_owned(),
        task_definition: primary
            .and_then(|deployment| deployment.task_definition())
            .or(answer.task_definition())?
            .to_owned(),
        is_daemon: answer.scheduling_strategy() == Some(&SchedulingStrategy::Daemon),
        not_rolling,
        rollout: primary
            .and_then(|deployment| deployment.rollout_state())
            .map(|state| state.as_str().to_owned()),
        has_failed_deployment: answer
            .deployments()
            .iter()
            .any(|deployment| deployment.rollout_state() == Some(&DeploymentRolloutState::Failed)),
    })
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
