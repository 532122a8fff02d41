//! Which ECS service a service of a compose file is.

use crate::{service::short_name, spelling};
use std::collections::BTreeMap;

/// One ECS service, and the services of the file that its tasks run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Its name.
    pub ecs_service: String,
    /// By the names that the file has for them.
    pub services: Vec<String>,
}

/// Why it can't be told.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssignmentError {
    /// The command line names a service that the file doesn't have.
    #[error("--service names the service `{service}`, which the compose file doesn't have")]
    NoService {
        /// The name.
        service: String,
        /// What was meant, perhaps.
        help: String,
    },
    /// The command line names a service twice.
    #[error("--service names the service `{0}` twice")]
    Twice(String),
}

impl AssignmentError {
    /// What to do next.
    pub fn help(&self) -> String {
        match self {
            Self::NoService { help, .. } => help.clone(),
            Self::Twice(_) => "one service of the file is one ECS service: keep one of the two".to_owned(),
        }
    }
}

/// Assigns every service: to what `pairs` (service, ECS service) say, else to the ECS service of the same name. In the file's order.
///
/// # Errors
/// [`AssignmentError`]
pub fn assign<'a>(
    known: impl Iterator<Item = &'a str>,
    pairs: &[(String, String)],
) -> Result<Vec<Assignment>, AssignmentError> {
    let known: Vec<&str> = known.collect();
    let mut named = BTreeMap::new();
    for (service, ecs_service) in pairs {
        if !known.contains(&service.as_str()) {
            let help = spelling::did_you_mean(service, known.iter().copied())
                .unwrap_or_else(|| format!("its services are {}", known.join(", ")));
            return Err(AssignmentError::NoService { service: service.clone(), help });
        }
        if named.insert(service.as_str(), short_name(ecs_service)).is_some() {
            return Err(AssignmentError::Twice(service.clone()));
        }
    }
    let mut assignments: Vec<Assignment> = Vec::new();
    for service in known {
        let ecs_service = named.get(service).copied().unwrap_or(service);
        match assignments.iter_mut().find(|assignment| assignment.ecs_service == ecs_service) {
            Some(assignment) => assignment.services.push(service.to_owned()),
            None => assignments
                .push(Assignment { ecs_service: ecs_service.to_owned(), services: vec![service.to_owned()] }),
        }
    }
    Ok(assignments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(pairs: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        let pairs: Vec<(String, String)> =
            pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let assigned = assign(["web", "worker", "db"].into_iter(), &pairs);
        let lines = |all: Vec<Assignment>| {
            all.into_iter().map(|one| (one.ecs_service, one.services.join("+"))).collect()
        };
        assigned.map(lines).map_err(|error| format!("{error}; {}", error.help()))
    }

    fn lines(lines: &[(&str, &str)]) -> Vec<(String, String)> {
        lines.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn a_service_is_the_ecs_service_of_its_name_unless_the_command_line_says_otherwise() {
        assert_eq!(assigned(&[]).unwrap(), lines(&[("web", "web"), ("worker", "worker"), ("db", "db")]));
        assert_eq!(
            assigned(&[("web", "shop"), ("worker", "arn:aws:ecs:us-east-1:1:service/production/shop")])
                .unwrap(),
            lines(&[("shop", "web+worker"), ("db", "db")])
        );
        // The ECS service of one service's name may be another one's.
        assert_eq!(assigned(&[("web", "db")]).unwrap(), lines(&[("db", "web+db"), ("worker", "worker")]));
    }

    #[test]
    fn a_service_that_the_file_does_not_have_is_told_with_what_was_meant() {
        assert_eq!(
            assigned(&[("wbe", "shop")]).unwrap_err(),
            "--service names the service `wbe`, which the compose file doesn't have; did you mean `web`?"
        );
        assert_eq!(
            assigned(&[("cache", "x")]).unwrap_err(),
            "--service names the service `cache`, which the compose file doesn't have; its services are web, worker, db"
        );
        assert!(assigned(&[("web", "a"), ("web", "b")]).unwrap_err().contains("twice"));
    }
}
