//! The first use of a volume: it begins with what the image has, once, whoever starts first and whatever ends in the middle.

use lab::{Error, Lab, expect, jenkins};
use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// Enough that both instances are at it together, and that it can be ended in the middle.
const PLUGINS: usize = 800;

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
    jenkins::is_whole(lab, PLUGINS)?;
    expect(
        jenkins::beside(lab) == ["jenkins_home"],
        "nothing of ours is left beside it",
        format!("{:?}", jenkins::beside(lab)),
    )?;
    jenkins::end(lab)?;
    // Emptied by the app, and started again: once is once.
    lab.instance(0)
        .run(&format!("find /volumes/{} -mindepth 1 ! -name config.xml -delete", jenkins::ON_SHARE))?;
    let begun = Instant::now();
    let revision = jenkins::deploy_patched(lab, &jenkins::document(PLUGINS))?;
    jenkins::running(lab, &revision)?;
    let again = begun.elapsed();
    let left = jenkins::on_the_share(lab)?;
    expect(!left.contains("plugins"), "what the app removed stays removed", left)?;
    jenkins::end(lab)?;
    jenkins::forget(lab)?;
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
        jenkins::is_whole(lab, PLUGINS)?;
        jenkins::end(lab)?;
        jenkins::forget(lab)?;
        Ok(format!("{told}; seen empty {empty} times, complete {complete} times, in part never"))
    })
}

fn killed_in_the_middle(lab: &Lab, whole: usize) -> Result<String, Error> {
    let revision = jenkins::deploy_patched(lab, &jenkins::document(PLUGINS))?;
    let mut killed = Vec::new();
    for part in [10, 200, 400] {
        let Some(reached) = jenkins::copied(lab, part)? else { break };
        for guest in lab.instances() {
            // Both: it isn't known which one works and which one waits.
            guest.run("docker kill $(docker ps -q --filter label=com.amazonaws.ecs.container-name=convox-volumes-seed-jenkins) > /dev/null 2>&1; true")?;
        }
        killed.push(reached);
    }
    expect(!killed.is_empty(), "it was caught in the middle once at least", "it was complete each time")?;
    jenkins::running(lab, &revision)?;
    expect(
        jenkins::beside(lab) == ["jenkins_home"],
        "what was left is removed",
        format!("{:?}", jenkins::beside(lab)),
    )?;
    Ok(format!("killed when {killed:?} of {whole} entries were there, begun again each time"))
}
