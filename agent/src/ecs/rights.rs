//! What this role may ask ECS, told by calls that change nothing.

use super::Ecs;
use crate::aws::AwsError;

/// Rights of which no call tells that wouldn't change something.
pub const UNTOLD: [&str; 4] =
    ["ecs:RegisterTaskDefinition", "ecs:TagResource", "ecs:UpdateService", "iam:PassRole"];

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// The action, as policies name it.
    pub action: &'static str,
    /// Why it can't be done, if so.
    pub refused: Option<AwsError>,
}

impl Ecs {
    /// Makes each reading call of the patcher once, as small as it goes. What has no example to ask about (an empty cluster has no
    /// service to describe) is left out.
    pub async fn reading_rights(&self, cluster: &str) -> Vec<Right> {
        let (mut of_services, of_instances) =
            futures_util::future::join(self.rights_of_services(cluster), self.rights_of_instances(cluster))
                .await;
        of_services.extend(of_instances);
        of_services
    }

    async fn rights_of_services(&self, cluster: &str) -> Vec<Right> {
        let mut rights = Vec::new();
        let listed = self.client.list_services().cluster(cluster).max_results(1).send().await;
        let listed =
            told(&mut rights, "ecs:ListServices", listed.map_err(|e| AwsError::of("ecs:ListServices", &e)));
        let Some(service) = listed.and_then(|answer| answer.service_arns().first().cloned()) else {
            return rights;
        };
        let described = self.client.describe_services().cluster(cluster).services(service).send().await;
        let described = described.map_err(|error| AwsError::of("ecs:DescribeServices", &error));
        let described = told(&mut rights, "ecs:DescribeServices", described);
        let revision = described.and_then(|answer| {
            answer.services().first().and_then(|s| s.task_definition().map(str::to_owned))
        });
        if let Some(revision) = revision {
            let read = self.task_definition(&revision).await;
            told(&mut rights, "ecs:DescribeTaskDefinition", read);
        }
        rights
    }

    async fn rights_of_instances(&self, cluster: &str) -> Vec<Right> {
        let mut rights = Vec::new();
        let listed = self.client.list_container_instances().cluster(cluster).max_results(1).send().await;
        let listed = listed.map_err(|error| AwsError::of("ecs:ListContainerInstances", &error));
        let listed = told(&mut rights, "ecs:ListContainerInstances", listed);
        if let Some(instance) = listed.and_then(|answer| answer.container_instance_arns().first().cloned()) {
            let described = self
                .client
                .describe_container_instances()
                .cluster(cluster)
                .container_instances(instance)
                .send()
                .await
                .map_err(|error| AwsError::of("ecs:DescribeContainerInstances", &error));
            told(&mut rights, "ecs:DescribeContainerInstances", described);
        }
        let listed = self.client.list_tasks().cluster(cluster).max_results(1).send().await;
        let listed =
            told(&mut rights, "ecs:ListTasks", listed.map_err(|e| AwsError::of("ecs:ListTasks", &e)));
        if let Some(task) = listed.and_then(|answer| answer.task_arns().first().cloned()) {
            let described = self.client.describe_tasks().cluster(cluster).tasks(task).send().await;
            let described = described.map_err(|error| AwsError::of("ecs:DescribeTasks", &error));
            told(&mut rights, "ecs:DescribeTasks", described);
        }
        rights
    }
}

/// Books an outcome, and gives the answer to go on with.
fn told<T>(rights: &mut Vec<Right>, action: &'static str, outcome: Result<T, AwsError>) -> Option<T> {
    match outcome {
        Ok(answer) => {
            rights.push(Right { action, refused: None });
            Some(answer)
        }
        Err(error) => {
            rights.push(Right { action, refused: Some(error) });
            None
        }
    }
}
