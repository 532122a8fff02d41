//! A volume's directory goes away on the share.

use crate::row::Seen;
use lab::{
    Error, Lab,
    app::{self, ON_SHARE, SERVICE},
    cluster::CLUSTER,
    expect, host, wait,
};
use serde_json::json;
use std::time::Duration;
use volumes_agent::record::record_name;

/// What the leader's status says about the volume, wherever it says it.
fn alarmed(lab: &Lab) -> Result<String, Error> {
    wait::until(&lab.progress, "the vanished directory is told", Duration::from_secs(60), || {
        let mut seen = String::new();
        for index in [0, 1] {
            let status = lab.instance(index).get(12049, "/status", "text/plain").body;
            if let Some(line) = status.lines().find(|line| line.contains(ON_SHARE)) {
                return Ok(line.trim().to_owned());
            }
            seen += &status;
        }
        Err(seen)
    })
}

/// The directory is removed on the server while tasks run, and then before new ones are started.
pub(crate) fn removed(lab: &Lab) -> Result<Seen, Error> {
    app::up(lab)?;
    let folder = lab.share.path(ON_SHARE);
    host::remove(&folder)?;
    let task = lab.instance(0).try_run(
        "docker exec $(docker ps -q --filter label=com.amazonaws.ecs.container-name=web | head -n 1) sh -c 'date > /var/www/html/after' 2>&1",
        Duration::from_secs(20),
    );
    let running = alarmed(lab)?;
    // A new task: without its seeding container Docker would make an empty directory without a word.
    for task in app::running(lab, SERVICE)? {
        lab.ecs(
            "StopTask",
            &json!({ "cluster": CLUSTER, "task": task.arn, "reason": "the volume is gone" }),
        )?;
    }
    let refused = wait::until(&lab.progress, "new tasks are not started", Duration::from_secs(90), || {
        let said =
            [0, 1].map(|index| app::seeding_said(lab, index, "web").map_err(|error| error.to_string()));
        let all = said.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
        all.lines().find(|line| line.contains("is gone")).map(str::to_owned).ok_or(all)
    })?;
    expect(!folder.exists(), "nobody makes an empty directory in its place", folder.display().to_string())?;
    // As both say, to go on with an empty one.
    host::remove(&lab.share.path(&format!(".volumes-agent/volumes/{}", record_name(ON_SHARE))))?;
    let revision = app::primary(lab, SERVICE)?;
    app::serving(lab, &revision)?;
    Ok(Seen::new(
        format!("\"{running}\"\nnew tasks: \"{refused}\""),
        format!(
            "those that run: {}; new ones are not started until the directory is back or its record removed",
            task.stdout.trim().rsplit(": ").next().unwrap_or_default()
        ),
        "what was in the directory, to whoever removed it; nothing is written elsewhere",
    ))
}
