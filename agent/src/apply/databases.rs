//! Databases that more than one task of an ECS service would open: what a compose file can't tell, the service does.

use crate::{deploy::caution::DatabaseFiles, problem::Problem, service::Service};

/// A warning, where the service lets two tasks run at once.
pub fn several_tasks(files: &DatabaseFiles<'_>, service: &Service) -> Option<Problem> {
    let DatabaseFiles { planned, name, .. } = files;
    let (ecs_service, target) = (&service.name, &planned.volume.target);
    let (reason, help) = match service.desired {
        _ if service.is_daemon => (
            format!(
                "ECS service `{ecs_service}` is a DAEMON: on each instance a task of the database `{name}` would open one directory at `{target}`"
            ),
            "make it a REPLICA service of one task".to_owned(),
        ),
        0 | 1 if service.most_tasks() > 1 => (
            format!(
                "a deployment of ECS service `{ecs_service}` starts the new task of the database `{name}` before the old one has ended, and both open one directory at `{target}`"
            ),
            format!(
                "let the old one end first: aws ecs update-service --service {ecs_service} --deployment-configuration minimumHealthyPercent=0,maximumPercent=100"
            ),
        ),
        0 | 1 => return None,
        desired => (
            format!(
                "{desired} tasks of ECS service `{ecs_service}` would open one directory of the database `{name}` at `{target}`"
            ),
            "run one; to have more, let the database replicate, with a volume for each node".to_owned(),
        ),
    };
    Some(files.several_tasks(reason, help))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        deploy::{caution::database_files, decide, tests::read},
        layout::Place,
    };

    #[test]
    fn two_tasks_at_once_are_warned_of_and_one_after_the_other_is_fine() {
        let compose =
            read("services: { db: { image: 'postgres:17', volumes: [/var/lib/postgresql/data, /logs] } }");
        let rack = "r".parse().unwrap();
        let decision =
            decide(&compose, Place::Deployed { rack: &rack, host_paths: &[] }, &"a".parse().unwrap());
        let files: Vec<_> = database_files(&compose, &decision).collect();
        assert_eq!(files.len(), 1);
        let told = |desired, maximum_percent, is_daemon| {
            let service =
                Service { name: "db".to_owned(), desired, maximum_percent, is_daemon, ..Service::default() };
            several_tasks(&files[0], &service).map(|problem| problem.reason)
        };
        assert!(
            told(1, 200, false).is_some_and(|reason| reason.starts_with("a deployment of ECS service `db`"))
        );
        assert_eq!([told(1, 100, false), told(1, 150, false), told(0, 200, false)], [None, None, None]);
        assert!(told(2, 100, false).is_some_and(|reason| reason.starts_with("2 tasks")));
        assert!(told(1, 100, true).is_some_and(|reason| reason.contains("DAEMON")));
    }
}
