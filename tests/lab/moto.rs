//! Amazon EFS and EC2, by moto: the file system, its mount targets, and the network they are in.

use crate::{
    error::Error,
    host, http,
    network::{GATEWAYS, MOTO_PORT, PREFIX, ZONES},
    place,
    progress::{Progress, during},
    wait,
};
use serde_json::{Value, json};
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Which of AWS's services moto is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Services {
    /// EFS and EC2.
    Some,
    /// All, CloudFormation among them: sixty packages more.
    All,
}

impl Services {
    fn requirements(self) -> &'static str {
        match self {
            Self::Some => include_str!("../moto-requirements.txt"),
            Self::All => include_str!("../moto-all-requirements.txt"),
        }
    }
}

/// The file system that the lab made.
#[derive(Debug, Clone)]
pub struct FileSystem {
    /// `fs-...`
    pub id: String,
    /// The mount targets, one a zone, in the zones' order.
    pub mount_targets: Vec<String>,
}

/// Installs moto into an environment of the lab's own, once.
///
/// # Errors
/// What Python says.
pub fn prepare(services: Services, progress: &Progress) -> Result<PathBuf, Error> {
    let wanted = services.requirements();
    let environment = place::cache()?.join(format!("moto-{:016x}", crate::image::hash([wanted.as_bytes()])));
    if environment.join("ready").exists() {
        return Ok(environment);
    }
    progress.say("installing moto (EFS and EC2 for the lab) into a Python environment of its own");
    host::remove(&environment)?;
    during(progress, "pip installs moto", || {
        host::run(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(&environment))?;
        let requirements = environment.join("requirements.txt");
        host::write(&requirements, wanted)?;
        host::run(
            Command::new(environment.join("bin/pip"))
                .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
                .arg(&requirements),
        )
    })?;
    host::write(&environment.join("ready"), "")?;
    Ok(environment)
}

/// Starts the server and makes the VPC, its two subnets, and the file system tagged with `tag` with a mount target in each.
///
/// # Errors
/// What moto says, or that it doesn't listen in time.
pub fn start(
    environment: &Path,
    logs: &Path,
    tag: (&str, &str),
    progress: &Progress,
) -> Result<(Child, FileSystem), Error> {
    let log = logs.join("moto.log");
    let output = File::create(&log).map_err(host::failed("write", &log))?;
    let errors = output.try_clone().map_err(host::failed("write", &log))?;
    let mut server = Command::new(environment.join("bin/moto_server"))
        .args(["-H", "0.0.0.0", "-p", &MOTO_PORT.to_string()])
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(host::failed("start", &environment.join("bin/moto_server")))?;
    let root = format!("http://{}:{MOTO_PORT}/", GATEWAYS[0]);
    wait::until(progress, "moto listens", Duration::from_secs(30), || {
        if let Ok(Some(status)) = server.try_wait() {
            return Err(format!("it ended with {status}; its log is {}", log.display()));
        }
        http::get(&root).map(drop).map_err(|error| error.to_string())
    })?;
    let vpc = ec2(&root, "CreateVpc&CidrBlock=10.77.0.0/16", "vpcId")?;
    let file_system = efs(
        &root,
        "file-systems",
        &json!({
            "CreationToken": "lab", "PerformanceMode": "generalPurpose", "Encrypted": true,
            "Tags": [{ "Key": tag.0, "Value": tag.1 }, { "Key": "Name", "Value": "lab" }],
        }),
    )?;
    let id = text(&file_system, "FileSystemId");
    // Others of the account, so that finding the right one is worth something.
    efs(
        &root,
        "file-systems",
        &json!({ "CreationToken": "other", "Tags": [{ "Key": tag.0, "Value": "staging" }] }),
    )?;
    let mut mount_targets = Vec::new();
    for (zone, gateway) in ZONES.iter().zip(GATEWAYS) {
        let network = gateway.trim_end_matches(".1");
        let subnet = ec2(
            &root,
            &format!("CreateSubnet&VpcId={vpc}&CidrBlock={network}.0%2F{PREFIX}&AvailabilityZone={zone}"),
            "subnetId",
        )?;
        let target = efs(
            &root,
            "mount-targets",
            &json!({ "FileSystemId": id, "SubnetId": subnet, "IpAddress": gateway }),
        )?;
        mount_targets.push(text(&target, "MountTargetId"));
    }
    Ok((server, FileSystem { id, mount_targets }))
}

/// Deletes the mount target of a zone (0 or 1) and makes another one there with this address.
///
/// # Errors
/// What moto says.
pub fn replace_mount_target(file_system: &FileSystem, zone: usize, address: &str) -> Result<(), Error> {
    let root = format!("http://{}:{MOTO_PORT}/", GATEWAYS[0]);
    let (name, value) = authorized("elasticfilesystem");
    let url = format!("{root}2015-02-01/mount-targets?FileSystemId={}", file_system.id);
    let targets = http::succeed("GET", &url, &[(name, &value)], &[])?.json();
    let targets = targets["MountTargets"].as_array().cloned().unwrap_or_default();
    let old = targets
        .into_iter()
        .find(|target| target["AvailabilityZoneName"] == ZONES[zone])
        .ok_or_else(|| Error::Request { request: url, answer: format!("no target in {}", ZONES[zone]) })?;
    let url = format!("{root}2015-02-01/mount-targets/{}", text(&old, "MountTargetId"));
    http::succeed("DELETE", &url, &[(name, &value)], &[])?;
    let new =
        json!({ "FileSystemId": file_system.id, "SubnetId": text(&old, "SubnetId"), "IpAddress": address });
    efs(&root, "mount-targets", &new).map(drop)
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn authorized(service: &str) -> (&'static str, String) {
    // moto routes by the credential's scope and checks no signature.
    (
        "authorization",
        format!(
            "AWS4-HMAC-SHA256 Credential=lab/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=none"
        ),
    )
}

fn efs(root: &str, kind: &str, body: &Value) -> Result<Value, Error> {
    let (name, value) = authorized("elasticfilesystem");
    let url = format!("{root}2015-02-01/{kind}");
    Ok(http::succeed(
        "POST",
        &url,
        &[(name, &value), ("content-type", "application/json")],
        body.to_string().as_bytes(),
    )?
    .json())
}

/// Calls EC2 and gives the first element of that name in its answer.
fn ec2(root: &str, action: &str, element: &str) -> Result<String, Error> {
    let (name, value) = authorized("ec2");
    let body = format!("Version=2016-11-15&Action={action}");
    let answer = http::succeed(
        "POST",
        root,
        &[(name, &value), ("content-type", "application/x-www-form-urlencoded")],
        body.as_bytes(),
    )?;
    let found = answer.body.split_once(&format!("<{element}>")).and_then(|(_, rest)| rest.split_once('<'));
    found.map(|(text, _)| text.to_owned()).ok_or_else(|| Error::Request {
        request: format!("EC2 {action}"),
        answer: format!("no <{element}> in {}", answer.body),
    })
}
