//! The first use of a volume: it begins with what the image has, once, whoever starts first and whatever ends in the middle.

use lab::{Error, Lab, expect, host, jenkins};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// Enough that both instances are at it together, and that it can be ended in the middle.
const PLUGINS: usize = 800;

/// All below a directory, a line an entry, with what a copy must keep. The lab's NFS server keeps no times of symlinks.
const LOOKS: &str = r#"cd DIRECTORY && find . '(' -type l -printf '%P %y %m %U:%G %l\n' ')' -o -printf '%P %y %m %U:%G %T@ %s\n' | grep -v copy_reference_file | grep -v '^ d' | sed -E 's/^(([^ ]+ )d [^ ]+ [^ ]+ [^ ]+) [0-9]+/\1/' | sort"#;

/// What the image has at its home, as the instance's Docker shows it.
fn of_the_image(lab: &Lab) -> Result<String, Error> {
    let looks = LOOKS.replace("DIRECTORY", "/tmp/home/var/jenkins_home");
    lab.instance(0).run(&format!(
        "rm -rf /tmp/home && mkdir /tmp/home && id=$(docker create {}) && docker export $id | tar -x -C /tmp/home var/jenkins_home && docker rm $id > /dev/null && {looks}",
        jenkins::image(PLUGINS)
    ))
}

fn on_the_share(lab: &Lab) -> Result<String, Error> {
    lab.instance(1).run(&LOOKS.replace("DIRECTORY", &format!("/volumes/{}", jenkins::ON_SHARE)))
}

fn same(lab: &Lab) -> Result<(), Error> {
    let (image, share) = (of_the_image(lab)?, on_the_share(lab)?);
    let missing: Vec<&str> =
        image.lines().filter(|line| !share.lines().any(|has| has == *line)).take(3).collect();
    let added: Vec<&str> =
        share.lines().filter(|line| !image.lines().any(|has| has == *line)).take(3).collect();
    expect(
        missing.is_empty() && added.is_empty() && !image.is_empty(),
        "the volume has exactly what the image has",
        format!("missing {missing:?}, instead {added:?}"),
    )?;
    let meta = fs::metadata(lab.share.path(jenkins::ON_SHARE))
        .map_err(host::failed("stat", Path::new(jenkins::ON_SHARE)))?;
    expect(
        (meta.uid(), meta.gid(), meta.mode() & 0o7777) == (jenkins::USER, jenkins::USER, 0o2750),
        "it is 1000:1000 with mode 2750, as in the image",
        format!("{}:{} {:o}", meta.uid(), meta.gid(), meta.mode()),
    )
}

/// As an operator does who wants to begin again: on one instance, while the other one's NFS client still remembers all of it.
fn forget(lab: &Lab) -> Result<(), Error> {
    let record = volumes_agent::record::record_name(jenkins::ON_SHARE);
    let command = format!(
        "cd /volumes && rm -rf production-ci .volumes-agent/volumes/{record} .volumes-agent/owners/production-ci.json"
    );
    lab.instance(0).run(&command).map(drop)
}

/// Nothing of ours is left beside a volume.
fn beside(lab: &Lab) -> Vec<String> {
    let parent = lab.share.path(jenkins::ON_SHARE).parent().map(PathBuf::from).unwrap_or_default();
    let names = fs::read_dir(parent).into_iter().flatten().flatten();
    names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// An image of uid 1000 with content, patched by a pipeline, its first two tasks on two instances at the same moment.
pub(crate) fn a_new_volume_begins_with_the_images_content(lab: &Lab) -> Result<String, Error> {
    jenkins::prepare(lab, PLUGINS)?;
    let begun = Instant::now();
    let revision = jenkins::deploy_patched(lab, &jenkins::document(PLUGINS))?;
    jenkins::running(lab, &revision)?;
    let took = begun.elapsed();
    let said = [jenkins::said(lab, 0)?, jenkins::said(lab, 1)?];
    let filled = said.iter().filter(|said| said.contains("filled from the image")).count();
    expect(filled == 1, "one instance fills it, and the other starts with it", format!("{said:?}"))?;
    same(lab)?;
    expect(
        beside(lab) == ["jenkins_home"],
        "nothing of ours is left beside it",
        format!("{:?}", beside(lab)),
    )?;
    jenkins::end(lab)?;
    // Emptied by the app, and started again: once is once.
    lab.instance(0)
        .run(&format!("find /volumes/{} -mindepth 1 ! -name config.xml -delete", jenkins::ON_SHARE))?;
    let begun = Instant::now();
    let revision = jenkins::deploy_patched(lab, &jenkins::document(PLUGINS))?;
    jenkins::running(lab, &revision)?;
    let again = begun.elapsed();
    let left = on_the_share(lab)?;
    expect(!left.contains("plugins"), "what the app removed stays removed", left)?;
    jenkins::end(lab)?;
    forget(lab)?;
    let line =
        said.iter().flat_map(|said| said.lines()).find(|line| line.contains("filled")).unwrap_or_default();
    Ok(format!(
        "both tasks run after {:.1} s, again after {:.1} s; {line}",
        took.as_secs_f64(),
        again.as_secs_f64()
    ))
}

/// Whoever looks at the volume, at any time, sees it empty or complete; whoever fills it is killed, again and again.
pub(crate) fn a_volume_is_absent_or_complete(lab: &Lab) -> Result<String, Error> {
    jenkins::prepare(lab, PLUGINS)?;
    let volume = lab.share.path(jenkins::ON_SHARE);
    let is_over = AtomicBool::new(false);
    let whole = jenkins::entries(PLUGINS);
    std::thread::scope(|scope| {
        let observer = scope.spawn(|| {
            let mut seen = (0usize, 0usize);
            while !is_over.load(Ordering::Relaxed) {
                // Its own folder first: one that is renamed over meanwhile is listed as it was.
                match fs::read_dir(&volume).map(Iterator::count) {
                    Ok(0) => seen.0 += 1,
                    Ok(_) => {
                        let plugins =
                            fs::read_dir(volume.join("plugins")).map(Iterator::count).unwrap_or_default();
                        if plugins != PLUGINS {
                            return Err(format!("{plugins} plugins of {PLUGINS}"));
                        }
                        seen.1 += 1;
                    }
                    Err(_) => {}
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            Ok(seen)
        });
        let outcome = killed_in_the_middle(lab, whole);
        is_over.store(true, Ordering::Relaxed);
        let seen = observer.join().unwrap_or_else(|_| Err("the observer ended".to_owned()));
        let told = outcome?;
        let (empty, complete) = seen.map_err(|seen| Error::NotSeen {
            expected: "empty or complete at every moment".to_owned(),
            seen,
            waited: Duration::ZERO,
        })?;
        same(lab)?;
        jenkins::end(lab)?;
        forget(lab)?;
        Ok(format!("{told}; seen empty {empty} times, complete {complete} times, in part never"))
    })
}

fn killed_in_the_middle(lab: &Lab, whole: usize) -> Result<String, Error> {
    let revision = jenkins::deploy_patched(lab, &jenkins::document(PLUGINS))?;
    let mut killed = Vec::new();
    for part in [10, 200, 400] {
        let Some(reached) = copied(lab, part)? else { break };
        for guest in lab.instances() {
            // Both: it isn't known which one works and which one waits.
            guest.run("docker kill $(docker ps -q --filter label=com.amazonaws.ecs.container-name=convox-volumes-seed-jenkins) > /dev/null 2>&1; true")?;
        }
        killed.push(reached);
    }
    expect(!killed.is_empty(), "it was caught in the middle once at least", "it was complete each time")?;
    jenkins::running(lab, &revision)?;
    expect(beside(lab) == ["jenkins_home"], "what was left is removed", format!("{:?}", beside(lab)))?;
    Ok(format!("killed when {killed:?} of {whole} entries were there, begun again each time"))
}

/// Waits until so many plugins are copied. `None`: all are, and in their place.
fn copied(lab: &Lab, part: usize) -> Result<Option<usize>, Error> {
    let begun = Instant::now();
    // Not by `wait`, which looks too seldom for a copy of some seconds.
    while begun.elapsed() < Duration::from_secs(120) {
        let count = siblings(lab).iter().map(|sibling| entries_below(sibling)).max().unwrap_or_default();
        if count >= part {
            return Ok(Some(count));
        }
        if entries_below(&lab.share.path(jenkins::ON_SHARE)) > 0 {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    expect(false, format!("{part} plugins are copied"), "fewer are").map(|()| None)
}

fn siblings(lab: &Lab) -> Vec<PathBuf> {
    let parent = lab.share.path(jenkins::ON_SHARE).parent().map(PathBuf::from).unwrap_or_default();
    beside(lab)
        .into_iter()
        .filter(|name| name.starts_with(".volumes-agent-seeding-"))
        .map(|name| parent.join(name))
        .collect()
}

fn entries_below(directory: &Path) -> usize {
    fs::read_dir(directory.join("plugins")).map(Iterator::count).unwrap_or_default()
}
