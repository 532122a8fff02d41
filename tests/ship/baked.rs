//! The image: built by Packer against moto's EC2, with an instance of the lab as the building one; then an instance with its disk.

use crate::{
    aws::{ec2, elements, endpoint},
    dist,
};
use lab::{
    Error, Lab,
    app::{self, SERVICE},
    cluster::REGION,
    expect, host, place, wait,
};
use std::{path::Path, process::Command, time::Duration};

/// The building instance, and the one that boots from what it leaves.
const BUILDER: usize = 0;
const OF_THE_IMAGE: usize = 1;
/// From power on to `ready`: boot, metadata, EFS, mount.
const UP: Duration = Duration::from_secs(120);
/// What an image starts with that is not the first boot of anything: its instances' own.
const FORGOTTEN: &str = "ls -A /var/lib/volumes-agent /var/lib/ecs/data /var/lib/docker/containers; ls /var/log/journal; cat /etc/machine-id; \
    ls -d /etc/ssh/ssh_host_* /tmp/volumes-agent* /var/lib/docker/engine-id /etc/docker/key.json /var/lib/systemd/random-seed 2> /dev/null; true";

/// Builds it from the first line to the last. Debian's Packer is 1.6: what newer ones have is left out.
pub(crate) fn an_image_is_built(lab: &Lab) -> Result<String, Error> {
    let folder = lab.folder.join("run/packer");
    host::run(Command::new(place::repository().join("tests/packer-for-debian")).arg(&folder))?;

    let key = folder.join("key");
    host::run(
        Command::new("ssh-keygen")
            .args(["-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f"])
            .arg(&key),
    )?;
    let builder = lab.instance(BUILDER);
    builder.write(".ssh/of_packer", &host::read(&key.with_extension("pub"))?)?;
    ec2(&[("Action", "CreateKeyPair"), ("KeyName", "packer")])?;
    let package = dist::package(".deb")?;
    let log = lab.folder.join("logs/packer.log");
    let built = host::run(
        Command::new("sh")
            .args(["-c", "exec \"$@\" > \"$0\" 2>&1"])
            .arg(&log)
            .arg("packer")
            .arg("build")
            .arg("-color=false")
            .args(variables(&package, &key, &builder.identity.address))
            .arg(&folder)
            .env("HOME", &folder)
            .env("TMPDIR", &folder)
            .env("CHECKPOINT_DISABLE", "1")
            .env("AWS_ACCESS_KEY_ID", "lab")
            .env("AWS_SECRET_ACCESS_KEY", "lab"),
    );
    let said = host::read(&log)?;
    expect(built.is_ok(), "Packer builds an image", &*said)?;
    let image = image()?;
    let described = ec2(&[("Action", "DescribeImages"), ("ImageId.1", &image)])?;
    expect(
        described.contains("<key>volumes-agent:version</key>"),
        "the image's tags say the agent's version",
        described,
    )?;
    let left = builder.run(FORGOTTEN)?;
    expect(
        left.split_whitespace().all(|word| word.ends_with(':')),
        "nothing of the building instance is left in it",
        left,
    )?;
    let doctor: Vec<&str> = said
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(_, said)| said)
        .filter(|said| said.contains("checks pass"))
        .collect();
    Ok(format!("{image}; doctor --image: {}", doctor.join("")))
}

fn variables(package: &Path, key: &Path, address: &str) -> Vec<String> {
    // The base is the ECS-optimised Amazon Linux 2023 image, whose names and owner moto has; what answers by SSH is a Debian.
    [
        ("region", REGION.to_owned()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("package", package.display().to_string()),
        ("distribution", "al2023".to_owned()),
        ("endpoint", endpoint()),
        ("ssh_host", address.to_owned()),
        ("ssh_private_key_file", key.display().to_string()),
        ("ssh_keypair_name", "packer".to_owned()),
    ]
    .iter()
    .map(|(name, value)| format!("-var={name}={value}"))
    .collect()
}

/// The image that was built.
pub(crate) fn image() -> Result<String, Error> {
    let images = ec2(&[("Action", "DescribeImages"), ("Owner.1", "self")])?;
    elements(&images, "imageId").pop().ok_or_else(|| Error::Missing {
        what: "an image".to_owned(),
        help: "the act `packer_builds_an_image` builds it".to_owned(),
    })
}

/// An instance whose disk is the image comes up by itself, to a container on the share.
pub(crate) fn an_instance_serves(lab: &Lab) -> Result<String, Error> {
    let (builder, guest) = (lab.instance(BUILDER), lab.instance(OF_THE_IMAGE));
    // The builder is stopped as EC2 stops it for the image.
    builder.shut_down(&lab.progress, UP)?;
    guest.kill()?;
    crate::packages::forget_registration(lab, OF_THE_IMAGE)?;
    guest.copy_disk_of(builder)?;
    guest.start()?;
    guest.answers(&lab.progress)?;
    let report = lab.reports(OF_THE_IMAGE, "ready", UP)?;
    lab.gates(OF_THE_IMAGE, "ready", UP)?;
    app::deploy(lab)?;
    let revision = app::patched(lab, SERVICE)?;
    wait::until(&lab.progress, "the patched app answers there", app::DEPLOYED, || {
        let tasks = app::running(lab, SERVICE).map_err(|error| error.to_string())?;
        if !tasks.iter().any(|task| task.instance == OF_THE_IMAGE && task.revision == revision) {
            return Err(format!("{tasks:?}"));
        }
        let page = app::fetch(lab, OF_THE_IMAGE, "index.html")?;
        if page.status == 200 { Ok(()) } else { Err(format!("{} {}", page.status, page.body)) }
    })?;
    app::upload(lab, OF_THE_IMAGE, "of-the-image.txt", "written by an instance of the image")?;
    let on_share = lab.share.path(&format!("{}/wp-content/uploads/of-the-image.txt", app::ON_SHARE));
    let content = host::read(&on_share)?;
    expect(content == "written by an instance of the image", "the file is on the share", content)?;
    let doctor = guest
        .try_run("set -a; . /etc/volumes-agent/environment; volumes-agent doctor", Duration::from_secs(60));
    let told = doctor.stdout.lines().last().unwrap_or_default().to_owned();
    expect(doctor.code < 2, "no check of doctor fails", doctor.stdout)?;
    Ok(format!(
        "ready at {}, {revision} serves; doctor: {told}",
        report["mount"]["address"].as_str().unwrap_or_default()
    ))
}
