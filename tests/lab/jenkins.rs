//! A stand-in for Jenkins: an image that is not root, with content at its home, and the check that its entry point makes. It is made on
//! the instances themselves, from the one image that they have.

use crate::{Error, Lab, app, cluster::CLUSTER, expect, host, wait};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The app's name in labels and on the share, its service, and the family of its task definition.
pub const APP: &str = "ci";
/// Where its volume has to be, below the share.
pub const ON_SHARE: &str = "production-ci/jenkins/var/jenkins_home";
/// The user and the group of the image.
pub const USER: u32 = 1000;
/// Until tasks run that wait for their volume to be filled.
const STARTED: Duration = Duration::from_secs(180);

/// What the image has at `/var/jenkins_home`: all that a copy must keep. Jenkins' own is self-made from `/usr/share/jenkins/ref`.
const IMAGE: &str = r#"
set -e
systemctl start lab-images
docker image inspect IMAGE > /dev/null 2>&1 && exit 0
root=$(mktemp -d)
id=$(docker create wordpress:4.5.2-apache)
docker export "$id" | tar -x -C "$root"
docker rm "$id" > /dev/null
home=$root/var/jenkins_home
mkdir -p "$home/plugins"
echo '<hudson/>' > "$home/config.xml"
ln "$home/config.xml" "$home/same.xml"
ln -s plugins/1.jpi "$home/first"
ln -s /etc "$home/outside"
truncate -s 8M "$home/sparse"
mkfifo "$home/pipe"
for i in $(seq FILES); do echo "$i" > "$home/plugins/$i.jpi"; done
chown -R -h 1000:1000 "$home"
chmod 4750 "$home/plugins/1.jpi"
# It is made on each instance, and one image all the same.
find "$home" -exec touch -h -d 2001-02-03T04:05:06 {} +
touch -d 2002-03-04T05:06:07 "$home/config.xml" "$home"
chmod 2750 "$home"
cat > "$root/jenkins.sh" <<'END'
#!/bin/sh
# The first thing that Jenkins' own entry point does (jenkinsci/docker, jenkins.sh and jenkins-support).
log=/var/jenkins_home/copy_reference_file.log
touch "$log" || { echo "Can not write to $log. Wrong volume permissions?"; exit 1; }
[ -e /var/jenkins_home/config.xml ] || { echo "no config.xml"; exit 1; }
echo "up $HOSTNAME" >> "$log"
trap 'exit 0' TERM INT
while :; do sleep 1; done
END
chmod 755 "$root/jenkins.sh"
tar -C "$root" -c . | docker import --change 'USER 1000:1000' --change 'ENTRYPOINT ["/jenkins.sh"]' --change 'ENV PATH=/bin' - IMAGE > /dev/null
rm -rf "$root"
"#;

/// The image's name, by how many plugins it has.
pub fn image(plugins: usize) -> String {
    format!("jenkins:{plugins}")
}

/// How many entries its home has.
pub fn entries(plugins: usize) -> usize {
    plugins + 7
}

/// Makes the image on both instances, unless it is there.
///
/// # Errors
/// What Docker says.
pub fn prepare(lab: &Lab, plugins: usize) -> Result<(), Error> {
    let script = IMAGE.replace("IMAGE", &image(plugins)).replace("FILES", &plugins.to_string());
    for guest in lab.instances() {
        let output = guest.try_run(&script, STARTED);
        expect(output.code == 0, "the image is made", output.stdout + &output.stderr)?;
    }
    Ok(())
}

/// The task definition as its author wrote it: one task an instance, since it takes a port.
pub fn document(plugins: usize) -> Value {
    json!({
        "family": APP,
        "networkMode": "host",
        "requiresCompatibilities": ["EC2"],
        "containerDefinitions": [{
            "name": "jenkins",
            "image": image(plugins),
            "essential": true,
            "memory": 128,
            "portMappings": [{ "containerPort": 8080, "hostPort": 8080, "protocol": "tcp" }],
            "dockerLabels": { "convox.app": APP, "convox.volumes": "[\"/var/jenkins_home\"]" },
        }],
    })
}

/// Has a document patched as a pipeline does, and a service made of it: its first tasks start on both instances at the same moment.
///
/// # Errors
/// What the agent, or ECS, says.
pub fn deploy_patched(lab: &Lab, document: &Value) -> Result<String, Error> {
    let flags = ["patch", "--rack", "production", "--app", APP];
    let patched = lab.pipeline(&flags, &document.to_string())?;
    let patched: Value = serde_json::from_str(&patched.stdout).unwrap_or_default();
    let revision = app::register(lab, &patched)?;
    app::create(lab, APP, &revision, 2)?;
    Ok(revision)
}

/// Waits until a task of the revision runs on each instance.
///
/// # Errors
/// [`Error::NotSeen`] with what runs instead.
pub fn running(lab: &Lab, revision: &str) -> Result<(), Error> {
    wait::until(&lab.progress, "Jenkins runs on each instance", STARTED, || {
        let tasks = app::running(lab, APP).map_err(|error| error.to_string())?;
        let on: BTreeSet<usize> =
            tasks.iter().filter(|task| task.revision == revision).map(|task| task.instance).collect();
        if on.len() == 2 { Ok(()) } else { Err(format!("{tasks:?}")) }
    })
}

/// What the seeding containers that an instance still has said, a line each.
///
/// # Errors
/// What Docker says.
pub fn said(lab: &Lab, index: usize) -> Result<String, Error> {
    app::seeding_said(lab, index, "jenkins")
}

/// Ends the service with its tasks.
///
/// # Errors
/// What ECS says, or that tasks are left.
pub fn end(lab: &Lab) -> Result<(), Error> {
    lab.ecs("DeleteService", &json!({ "cluster": CLUSTER, "service": APP, "force": true }))?;
    wait::until(&lab.progress, "Jenkins ended", STARTED, || {
        let left: Vec<String> = lab
            .instances()
            .iter()
            .map(|guest| {
                guest
                    .try_run(
                        "docker ps -q --filter label=com.amazonaws.ecs.task-definition-family=ci",
                        Duration::from_secs(20),
                    )
                    .stdout
            })
            .collect();
        if left.concat().trim().is_empty() { Ok(()) } else { Err(left.concat()) }
    })
}

/// All below a directory, a line an entry, with what a copy must keep. The lab's NFS server keeps no times of symlinks.
const LOOKS: &str = r#"cd DIRECTORY && find . '(' -type l -printf '%P %y %m %U:%G %l\n' ')' -o -printf '%P %y %m %U:%G %T@ %s\n' | grep -v copy_reference_file | grep -v '^ d' | sed -E 's/^(([^ ]+ )d [^ ]+ [^ ]+ [^ ]+) [0-9]+/\1/' | sort"#;

/// What the image has at its home, as the instance's Docker shows it.
fn of_the_image(lab: &Lab, plugins: usize) -> Result<String, Error> {
    let looks = LOOKS.replace("DIRECTORY", "/tmp/home/var/jenkins_home");
    lab.instance(0).run(&format!(
        "rm -rf /tmp/home && mkdir /tmp/home && id=$(docker create {}) && docker export $id | tar -x -C /tmp/home var/jenkins_home && docker rm $id > /dev/null && {looks}",
        image(plugins)
    ))
}

/// All that is in the volume, a line an entry, as the second instance sees it.
///
/// # Errors
/// When it can't be listed.
pub fn on_the_share(lab: &Lab) -> Result<String, Error> {
    lab.instance(1).run(&LOOKS.replace("DIRECTORY", &format!("/volumes/{ON_SHARE}")))
}

/// That the volume has exactly what the image has, and is whose it is there.
///
/// # Errors
/// [`Error::NotSeen`] with what differs.
pub fn is_whole(lab: &Lab, plugins: usize) -> Result<(), Error> {
    let (image, share) = (of_the_image(lab, plugins)?, on_the_share(lab)?);
    let missing: Vec<&str> =
        image.lines().filter(|line| !share.lines().any(|has| has == *line)).take(3).collect();
    let added: Vec<&str> =
        share.lines().filter(|line| !image.lines().any(|has| has == *line)).take(3).collect();
    expect(
        missing.is_empty() && added.is_empty() && !image.is_empty(),
        "the volume has exactly what the image has",
        format!("missing {missing:?}, instead {added:?}"),
    )?;
    let meta = fs::metadata(lab.share.path(ON_SHARE)).map_err(host::failed("stat", Path::new(ON_SHARE)))?;
    expect(
        (meta.uid(), meta.gid(), meta.mode() & 0o7777) == (USER, USER, 0o2750),
        "it is 1000:1000 with mode 2750, as in the image",
        format!("{}:{} {:o}", meta.uid(), meta.gid(), meta.mode()),
    )
}

/// Removes the volume with its record, as an operator does who wants to begin again: on one instance, while the other one's NFS client
/// still remembers all of it.
///
/// # Errors
/// When it can't be removed.
pub fn forget(lab: &Lab) -> Result<(), Error> {
    let record = volumes_agent::record::record_name(ON_SHARE);
    let command = format!(
        "cd /volumes && rm -rf production-ci .volumes-agent/volumes/{record} .volumes-agent/owners/production-ci.json"
    );
    lab.instance(0).run(&command).map(drop)
}

/// The names in the directory that the volume is in.
pub fn beside(lab: &Lab) -> Vec<String> {
    let parent = lab.share.path(ON_SHARE).parent().map(PathBuf::from).unwrap_or_default();
    let names = fs::read_dir(parent).into_iter().flatten().flatten();
    names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Waits until so many plugins are copied. Gives how many. `None`: all are, and in their place.
///
/// # Errors
/// [`Error::NotSeen`] after two minutes.
pub fn copied(lab: &Lab, part: usize) -> Result<Option<usize>, Error> {
    let begun = Instant::now();
    // Not by `wait`, which looks too seldom for a copy of some seconds.
    while begun.elapsed() < Duration::from_secs(120) {
        let count = siblings(lab).iter().map(|sibling| entries_below(sibling)).max().unwrap_or_default();
        if count >= part {
            return Ok(Some(count));
        }
        if entries_below(&lab.share.path(ON_SHARE)) > 0 {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    expect(false, format!("{part} plugins are copied"), "fewer are").map(|()| None)
}

fn siblings(lab: &Lab) -> Vec<PathBuf> {
    let parent = lab.share.path(ON_SHARE).parent().map(PathBuf::from).unwrap_or_default();
    beside(lab)
        .into_iter()
        .filter(|name| name.starts_with(".volumes-agent-seeding-"))
        .map(|name| parent.join(name))
        .collect()
}

fn entries_below(directory: &Path) -> usize {
    fs::read_dir(directory.join("plugins")).map(Iterator::count).unwrap_or_default()
}
