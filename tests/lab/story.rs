//! The story of the demo, a promise a step; the tests assert the same steps (`tests/promises`).
//!
//! Each step makes what it needs unless it is there, so that it can be told alone, and gives back what was actually seen.

use crate::{
    Error, Lab,
    app::{self, ON_SHARE, SERVICE},
    cluster::CLUSTER,
    expect, faults, host, jenkins,
};
use serde_json::{Value, json};
use std::{
    os::unix::fs::MetadataExt,
    time::{Duration, Instant},
};

/// From boot until the share is mounted: the daemon looks every few seconds, and ECS has to know the instance first.
const READY: Duration = Duration::from_secs(60);

/// One step: what is to be seen, and how to see it.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// What the step shows, in a sentence.
    pub title: &'static str,
    /// Makes it happen, and tells what was seen.
    pub tell: fn(&Lab) -> Result<String, Error>,
}

/// The whole story, in order.
pub const STORY: [Step; 13] = [
    Step {
        title: "Both instances are ready: the share is mounted from the mount target in their own zone",
        tell: both_instances_are_ready,
    },
    Step {
        title: "A plain deploy registers the task definition, declarations in its labels",
        tell: a_plain_deploy,
    },
    Step { title: "The agent patches it, once: its volumes are on the share", tell: patched_once },
    Step {
        title: "The ECS agent's stand-in starts a task on each instance, from the registered revision alone",
        tell: a_task_on_each_instance,
    },
    Step {
        title: "A file written by the process on instance 1 is read by the one on instance 2",
        tell: files_are_shared,
    },
    Step { title: "On the share it lies where the layout says", tell: the_path_on_the_share },
    Step { title: "The task is replaced: the file is still there", tell: files_outlive_tasks },
    Step {
        title: "The instance is rebooted: mounted again before any task, the file still there",
        tell: files_outlive_a_reboot,
    },
    Step {
        title: "The server is cut off: health says 503 `stalled`, and why",
        tell: faults::a_stall_is_told,
    },
    Step {
        title: "The mount is taken away as well: 503 `lost`, no task is placed, Docker refuses to write to the instance's disk",
        tell: faults::a_lost_share_closes_the_gate,
    },
    Step {
        title: "The server is given back: ready again, without a person",
        tell: faults::the_share_comes_back,
    },
    Step {
        title: "The second act: an image that is not root, with content, starts on both instances at once",
        tell: an_image_that_is_not_root,
    },
    Step { title: "The same file on a laptop", tell: the_same_file_on_a_laptop },
];

/// Both daemons say ready, each with the mount target of its own zone, and ECS knows it.
///
/// # Errors
/// [`Error::NotSeen`].
pub fn both_instances_are_ready(lab: &Lab) -> Result<String, Error> {
    let mut seen = String::new();
    for (index, guest) in lab.instances().iter().enumerate() {
        let report = lab.reports(index, "ready", READY)?;
        let (me, target) = (&guest.identity, crate::network::GATEWAYS[index]);
        let mount = guest.run("grep ' /volumes ' /proc/self/mountinfo")?;
        let source = format!("{target}:/");
        let is_own = mount.contains(&format!(" nfs4 {source} ")) && report["mount"]["address"] == target;
        expect(
            is_own,
            format!("{} mounts {source}, the target in {}", me.name, me.zone),
            format!("{mount}{}", report["mount"]),
        )?;
        for option in [
            "vers=4.1",
            "rsize=1048576",
            "wsize=1048576",
            "hard",
            "noresvport",
            "timeo=600",
            "retrans=2",
            "nosuid",
            "nodev",
        ] {
            let has = mount.trim().split([' ', ',']).any(|word| word == option);
            expect(has, format!("the mount option {option}"), mount.trim())?;
        }
        lab.gates(index, "ready", READY)?;
        seen += &format!(
            "{}: 200 ready; /volumes is {source} in {} (NFS 4.1), {}; ECS has convox.volumes=ready\n",
            me.name, me.zone, lab.file_system.id
        );
    }
    Ok(seen)
}

/// Registers the task definition and makes the service, as any deploy tool does.
///
/// # Errors
/// What ECS says.
pub fn a_plain_deploy(lab: &Lab) -> Result<String, Error> {
    let arn = match app::revisions(lab, SERVICE)?.first() {
        Some(first) if app::services(lab, SERVICE)?.is_some() => first.clone(),
        _ => app::deploy(lab)?,
    };
    let labels = &app::revision(lab, &arn)?["containerDefinitions"][0]["dockerLabels"];
    Ok(format!("{arn}\nlabels {labels}\nservice {SERVICE}, 2 tasks wanted"))
}

/// One revision more, one update of the service, the directory bound, the gate as a constraint.
///
/// # Errors
/// [`Error::NotSeen`].
pub fn patched_once(lab: &Lab) -> Result<String, Error> {
    let arn = app::up(lab)?;
    let document = app::revision(lab, &arn)?;
    let source = format!("/volumes/{ON_SHARE}");
    let volume = document["volumes"][0].clone();
    expect(
        volume["host"]["sourcePath"] == source.as_str(),
        format!("a volume with sourcePath {source}"),
        document["volumes"].to_string(),
    )?;
    let mount =
        json!({ "sourceVolume": volume["name"], "containerPath": "/var/www/html", "readOnly": false });
    let mounts = document["containerDefinitions"][0]["mountPoints"].clone();
    let is_mounted = mounts.as_array().into_iter().flatten().any(|seen| {
        seen["sourceVolume"] == mount["sourceVolume"]
            && seen["containerPath"] == mount["containerPath"]
            && seen["readOnly"] != true
    });
    expect(is_mounted, format!("the mount point {mount}"), mounts.to_string())?;
    let constraints = document["placementConstraints"].to_string();
    expect(
        constraints.contains("attribute:convox.volumes == ready"),
        "the constraint attribute:convox.volumes == ready",
        &*constraints,
    )?;
    let made = calls_of_agents(lab, "RegisterTaskDefinition", SERVICE)?;
    let updates = calls_of_agents(lab, "UpdateService", SERVICE)?;
    expect(
        made.len() == 1 && updates.len() == 1,
        "one RegisterTaskDefinition and one UpdateService by the agents",
        format!("{made:?} {updates:?}"),
    )?;
    Ok(format!(
        "{arn}\n/var/www/html is {source}\nplaced only where attribute:convox.volumes == ready\n1 RegisterTaskDefinition, 1 UpdateService by the agents"
    ))
}

/// Successful calls of the instances' agents that change ECS and have to do with a family or service.
///
/// # Errors
/// When the lab's ECS doesn't answer.
pub fn calls_of_agents(lab: &Lab, operation: &str, name: &str) -> Result<Vec<Value>, Error> {
    let mut calls = lab.ecs_calls(Some(0))?;
    calls.extend(lab.ecs_calls(Some(1))?);
    let named = |request: &Value| {
        ["family", "service"]
            .iter()
            .any(|key| request[*key].as_str().is_some_and(|text| text.rsplit('/').next() == Some(name)))
    };
    Ok(calls
        .into_iter()
        .filter(|call| call["operation"] == operation && call["status"] == 200 && named(&call["request"]))
        .collect())
}

/// Both tasks run from the patched revision, with the volume's directory bound by Docker.
///
/// # Errors
/// [`Error::NotSeen`].
pub fn a_task_on_each_instance(lab: &Lab) -> Result<String, Error> {
    let revision = app::up(lab)?;
    let mut seen = String::new();
    for (index, guest) in lab.instances().iter().enumerate() {
        let binds = guest
            .run("docker inspect --format '{{range .HostConfig.Binds}}{{.}} {{end}}' $(docker ps -q)")?;
        let bind = format!("/volumes/{ON_SHARE}:/var/www/html");
        expect(
            binds.contains(&bind),
            format!("a container on {} with {bind}", guest.identity.name),
            &*binds,
        )?;
        let page = app::fetch(lab, index, "").map_err(|error| Error::NotSeen {
            expected: "the app's page".to_owned(),
            seen: error,
            waited: Duration::ZERO,
        })?;
        expect(
            page.status == 200 && page.body.contains("WordPress"),
            "the app's page",
            format!("{} {}", page.status, page.body),
        )?;
        seen += &format!("{}: docker bound {bind}; its page answers 200\n", guest.identity.name);
    }
    Ok(format!("{seen}both from {revision}"))
}

/// Written by one process, read by the other, through two instances and one share.
///
/// # Errors
/// [`Error::NotSeen`].
pub fn files_are_shared(lab: &Lab) -> Result<String, Error> {
    app::up(lab)?;
    app::upload(lab, 0, "photo.jpg", PHOTO)?;
    let since = Instant::now();
    app::reads(lab, 1, "photo.jpg", PHOTO)?;
    Ok(format!(
        "POST to instance-1, GET from instance-2 after {:.2} s: {PHOTO:?}",
        since.elapsed().as_secs_f64()
    ))
}

const PHOTO: &str = "the bytes of a photo";

fn photo_is_there(lab: &Lab) -> Result<(), Error> {
    app::up(lab)?;
    let there = app::fetch(lab, 1, "wp-content/uploads/photo.jpg").is_ok_and(|answer| answer.status == 200);
    if there { Ok(()) } else { files_are_shared(lab).map(drop) }
}

/// `/volumes/production-example-app/web/var/www/html`, seen on the server itself.
///
/// # Errors
/// [`Error::NotSeen`].
pub fn the_path_on_the_share(lab: &Lab) -> Result<String, Error> {
    photo_is_there(lab)?;
    let path = lab.share.path(&format!("{ON_SHARE}/wp-content/uploads/photo.jpg"));
    let content = crate::host::read(&path)?;
    expect(content == PHOTO, format!("{PHOTO:?} in {} on the server", path.display()), content)?;
    let owner = lab.share.path(&format!(".volumes-agent/owners/{CLUSTER}-{}.json", app::APP));
    let owner: Value = serde_json::from_str(&crate::host::read(&owner)?).unwrap_or_default();
    let is_ours = owner["rack"] == CLUSTER && owner["app"] == app::APP;
    expect(
        is_ours,
        format!("the directory's owner file names rack {CLUSTER} and app {}", app::APP),
        owner.to_string(),
    )?;
    Ok(format!(
        "/volumes/{ON_SHARE}/wp-content/uploads/photo.jpg, seen on the NFS server's own disk; its owner file: {owner}"
    ))
}

/// ECS stops a task and starts another: the same files.
///
/// # Errors
/// [`Error::NotSeen`].
pub fn files_outlive_tasks(lab: &Lab) -> Result<String, Error> {
    photo_is_there(lab)?;
    let revision = app::up(lab)?;
    let before = app::serving(lab, &revision)?;
    let old = before[0].clone();
    lab.ecs("StopTask", &json!({ "cluster": CLUSTER, "task": old.arn, "reason": "the demo replaces it" }))?;
    let new = crate::wait::until(&lab.progress, "ECS has replaced the task", app::DEPLOYED, || {
        let tasks = app::running(lab, SERVICE).map_err(|error| error.to_string())?;
        let is_new = |task: &&app::Task| task.instance == old.instance && task.arn != old.arn;
        tasks.iter().find(is_new).cloned().ok_or_else(|| format!("{tasks:?}"))
    })?;
    app::reads(lab, old.instance, "photo.jpg", PHOTO)?;
    Ok(format!("stopped {}\nstarted {}\nits process reads {PHOTO:?}", old.arn, new.arn))
}

/// A real reboot: the share is there before the first container.
///
/// # Errors
/// [`Error::NotSeen`].
pub fn files_outlive_a_reboot(lab: &Lab) -> Result<String, Error> {
    photo_is_there(lab)?;
    let guest = lab.instance(0);
    let calls = lab.ecs_calls(Some(0))?.len();
    let took = guest.reboot(&lab.progress)?;
    lab.reports(0, "ready", READY)?;
    lab.gates(0, "ready", READY)?;
    let told = told_of_the_gate(lab, calls)?;
    expect(
        told.first().is_some_and(|value| value == "not-ready")
            && told.last().is_some_and(|value| value == "ready"),
        "ECS, which kept `ready` over the reboot, is told `not-ready` first",
        format!("{told:?}"),
    )?;
    let revision = app::primary(lab, SERVICE)?;
    app::serving(lab, &revision)?;
    app::reads(lab, 0, "photo.jpg", PHOTO)?;
    let mounted = seconds(&guest.run(
        "date -d \"$(systemctl show -P ActiveEnterTimestamp --timestamp=us+utc volumes.mount)\" +%s.%N",
    )?)?;
    let started = guest.run("for c in $(docker ps -q); do date -d \"$(docker inspect --format '{{.State.StartedAt}}' $c)\" +%s.%N; done")?;
    let first = started
        .lines()
        .map(seconds)
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .fold(f64::INFINITY, f64::min);
    expect(
        mounted < first,
        "mounted before the first container was started",
        format!("mounted at {mounted}, first container at {first}"),
    )?;
    Ok(format!(
        "systemctl reboot of instance-1, back after {:.1} s\nECS was told {} as it booted\nmounted {:.1} s before the first container was started\nits process reads {PHOTO:?}",
        took.as_secs_f64(),
        told.join(", then "),
        first - mounted
    ))
}

/// The values of the attribute that instance-1 gave itself, oldest first, without its first `calls` calls.
fn told_of_the_gate(lab: &Lab, calls: usize) -> Result<Vec<String>, Error> {
    let new = lab.ecs_calls(Some(0))?.into_iter().skip(calls);
    let puts = new.filter(|call| call["operation"] == "PutAttributes");
    Ok(puts
        .filter_map(|call| call["request"]["attributes"][0]["value"].as_str().map(str::to_owned))
        .collect())
}

fn seconds(text: &str) -> Result<f64, Error> {
    text.trim().parse().map_err(|_| Error::NotSeen {
        expected: "a time in seconds".to_owned(),
        seen: text.to_owned(),
        waited: Duration::ZERO,
    })
}

/// A stand-in for Jenkins, patched by a pipeline: one instance fills the volume from the image, the other waits, both start.
///
/// # Errors
/// What did not happen.
pub fn an_image_that_is_not_root(lab: &Lab) -> Result<String, Error> {
    const PLUGINS: usize = 100;
    jenkins::prepare(lab, PLUGINS)?;
    let begun = Instant::now();
    let revision = jenkins::deploy_patched(lab, &jenkins::document(PLUGINS))?;
    jenkins::running(lab, &revision)?;
    let took = begun.elapsed().as_secs_f64();
    let said = [jenkins::said(lab, 0)?, jenkins::said(lab, 1)?];
    let filled: Vec<&str> =
        said.iter().flat_map(|said| said.lines()).filter(|line| line.contains("filled from")).collect();
    expect(
        filled.len() == 1,
        "one instance fills the volume, the other finds it filled",
        format!("{said:?}"),
    )?;
    let volume = lab.share.path(jenkins::ON_SHARE);
    let meta = std::fs::metadata(&volume).map_err(host::failed("stat", &volume))?;
    let log = host::read(&volume.join("copy_reference_file.log"))?;
    let up = log.lines().filter(|line| line.starts_with("up ")).count();
    expect(
        meta.uid() == jenkins::USER && up == 2,
        "both write to it as uid 1000",
        format!("{}: {log}", meta.uid()),
    )?;
    jenkins::end(lab)?;
    Ok(format!(
        "{} of uid {}, {} entries at /var/jenkins_home: both tasks run after {took:.1} s\n{}\n/volumes/{} is {}:{} with mode {:04o}, written by both",
        jenkins::image(PLUGINS),
        jenkins::USER,
        jenkins::entries(PLUGINS),
        filled.concat(),
        jenkins::ON_SHARE,
        meta.uid(),
        meta.gid(),
        meta.mode() & 0o7777
    ))
}

/// `plan --local` shows the same declaration below the home directory.
///
/// # Errors
/// [`Error::NotSeen`].
pub fn the_same_file_on_a_laptop(_lab: &Lab) -> Result<String, Error> {
    let file = "tests/example-app/docker-compose.yml";
    let output = crate::cluster::agent(&[], &["plan", "--local", "-f", file, "--app", app::APP], "")?;
    let home = std::env::var("HOME").unwrap_or_default();
    let path = "/.convox/volumes/example-app/web/var/www/html";
    let is_shown =
        output.stdout.contains(&format!("{home}{path}")) || output.stdout.contains(&format!("~{path}"));
    expect(
        output.code == 0 && is_shown,
        format!("~{path} in the plan"),
        format!("status {}\n{}{}", output.code, output.stdout, output.stderr),
    )?;
    Ok(format!("$ volumes-agent plan --local -f {file} --app {}\n{}", app::APP, output.stdout.trim_end()))
}
