//! The Docker CLI, as far as the stand-in needs it. Every call may take as long as Docker takes: on a share that hangs, for ever.

use super::{dependencies::Health, task::Container};
use std::{io, process::Command, time::SystemTime};

/// Why a call of Docker failed.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// The program itself could not be run.
    #[error("could not run `docker`")]
    NotRun(#[source] io::Error),
    /// What Docker said, in one line.
    #[error("{0}")]
    Refused(String),
}

/// Runs `docker` and returns what it prints.
///
/// # Errors
/// [`DockerError::Refused`] with what Docker said when it didn't succeed.
pub fn run<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Result<String, DockerError> {
    let output = Command::new("docker").args(arguments).output().map_err(DockerError::NotRun)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // The CLI repeats itself: `Error response from daemon: WHY` and then `Error: failed to start containers: ID`.
    let lines = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("Error: failed to start"));
    let said = lines.collect::<Vec<_>>().join(" ");
    Err(DockerError::Refused(if said.is_empty() { format!("docker: {}", output.status) } else { said }))
}

/// All containers that tasks have, stopped ones too.
///
/// From `docker ps` and not `inspect`, which waits for a container that is just being started.
///
/// # Errors
/// As [`run`].
pub fn containers() -> Result<Vec<Container>, DockerError> {
    let format = "{{.ID}}\t{{.Names}}\t{{.Label \"com.amazonaws.ecs.task-arn\"}}\t\
                  {{.Label \"com.amazonaws.ecs.container-name\"}}\t{{.Image}}\t{{.State}}\t{{.Status}}";
    let filter = "label=com.amazonaws.ecs.task-arn";
    let shown = run(&["ps", "--all", "--no-trunc", "--filter", filter, "--format", format])?;
    Ok(shown.lines().filter_map(parse).collect())
}

/// When a container was started. To be asked of one that runs: for one that is just being started Docker would wait.
///
/// # Errors
/// As [`run`].
pub fn started_at(id: &str) -> Result<Option<SystemTime>, DockerError> {
    let shown = run(&["inspect", "--type", "container", "--format", "{{.State.StartedAt}}", id])?;
    Ok(humantime::parse_rfc3339(&shown).ok())
}

fn parse(line: &str) -> Option<Container> {
    let mut fields = line.split('\t').map(str::to_owned);
    let mut container = Container {
        id: fields.next()?,
        docker_name: fields.next()?,
        task: fields.next()?,
        name: fields.next()?,
        image: fields.next()?,
        state: fields.next()?,
        exit_code: None,
        health: Health::Unknown,
        started_at: None,
    };
    // `Exited (137) 2 seconds ago`, `Up 5 minutes (healthy)`
    let status = fields.next()?;
    container.health = match status.rsplit_once('(') {
        Some((_, "healthy)")) => Health::Healthy,
        Some((_, "unhealthy)")) => Health::Unhealthy,
        _ => Health::Unknown,
    };
    let code = status.strip_prefix("Exited (").and_then(|rest| rest.split_once(')'));
    container.exit_code = code.and_then(|(code, _)| code.parse().ok());
    Some(container)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_ps_is_read() {
        let up = parse("id\tecs-f-1-web-0\tarn:t\tweb\tweb:1\trunning\tUp 5 minutes").unwrap();
        assert_eq!((up.name.as_str(), up.state.as_str(), up.exit_code), ("web", "running", None));
        for (status, expected) in [
            ("Up 5 minutes (healthy)", Health::Healthy),
            ("Up 5 minutes", Health::Unknown),
            ("Up 5 minutes (unhealthy)", Health::Unhealthy),
            ("Up 1 second (health: starting)", Health::Unknown),
        ] {
            let container = parse(&format!("id\tn\tarn:t\tweb\tweb:1\trunning\t{status}")).unwrap();
            assert_eq!(container.health, expected, "{status}");
        }
        let down = parse("id\tn\tarn:t\tweb\tweb:1\texited\tExited (137) 2 seconds ago").unwrap();
        assert_eq!(down.exit_code, Some(137));
    }
}
