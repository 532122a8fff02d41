//! A Git server over HTTP: locks, renames and many small files.

use crate::place::{Application, Place, Seen, succeeded};
use lab::Error;
use std::time::Instant;

pub(crate) const APPLICATION: Application = Application {
    name: "git",
    told: "git-http-backend behind Apache, a task on each instance, one repository that the image brings. 300 files are pushed through one, and then both \
           push to one branch at the same moment, again and again, as people do who fetch and rebase.",
    images: &[("applications-git", "git/Dockerfile")],
    at_one_address: &[],
    story,
};

const SERVICE: &str = "git";

/// A clone with a name of its own for whoever commits.
const CLONE: &str = "set -e; rm -rf /tmp/NAME; n=0; until git clone -q http://127.0.0.1:8081/git/project.git /tmp/NAME 2> /tmp/NAME.said; do n=$((n + 1)); [ $n -lt 100 ] || { cat /tmp/NAME.said; exit 1; }; sleep 1; done; cd /tmp/NAME; git config user.name NAME; git config user.email NAME@example.com; git symbolic-ref HEAD refs/heads/main";

/// Ten commits, each pushed against the other one's. Tells how many times the server had to be asked again for what the other one has pushed:
/// an NFS client may remember for a while that a file isn't there.
const PUSHES: &str = "again=0; for i in 1 2 3 4 5 6 7 8 9 10; do echo $i > NAME-$i; git add -A; git commit -qm NAME-$i; until git push -q origin main 2>/dev/null; do until git pull -q --rebase origin main > /tmp/NAME.said 2>&1; do again=$((again + 1)); [ $again -lt 200 ] || { cat /tmp/NAME.said; exit 1; }; sleep 1; done; done; done; echo $again";

fn clone(name: &str) -> String {
    CLONE.replace("NAME", name)
}

fn story(place: &dyn Place) -> Result<Vec<Seen>, Error> {
    let begun = Instant::now();
    place.start(SERVICE, 2, &[])?;
    let asks = "curl -s 'http://127.0.0.1:8081/git/project.git/info/refs?service=git-upload-pack'";
    place.answers(SERVICE, asks, "git-upload-pack")?;
    let first = Seen::time("first start", begun);
    let looks = place.run(SERVICE, "stat -c '%U:%G %a' /srv/git /srv/git/project.git/HEAD")?;
    let begun = Instant::now();
    place.run(
        SERVICE,
        &format!(
            "{}; mkdir many; for i in $(seq 300); do echo $i > many/$i; done; git add -A; git commit -qm many; git push -q origin main",
            clone("many")
        ),
    )?;
    let push = Seen::time("commit and push of 300 files", begun);
    let (one, other) = (place.first(SERVICE)?, place.other(SERVICE)?);
    let both = std::thread::scope(|scope| {
        let pushes = [("one", one), ("other", other)].map(|(name, address)| {
            scope.spawn(move || {
                let line = format!("{}; {}", clone(name), PUSHES.replace("NAME", name));
                place.inside(SERVICE, &address, &line)
            })
        });
        pushes.map(|push| push.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let again = both.map(|outcome| succeeded("git push", outcome));
    let [one, other] = again;
    let again = format!("{}, {}", one?, other?);
    let begun = Instant::now();
    place.replace(SERVICE)?;
    place.answers(SERVICE, asks, "git-upload-pack")?;
    let replaced = Seen::time("replaced", begun);
    let counted = place.run_in_other(
        SERVICE,
        &format!("{}; git rev-list --count main; ls | wc -l; ls many | wc -l", clone("after")),
    )?;
    let fsck = place.run(
        SERVICE,
        "for i in $(seq 100); do code=0; git -c safe.directory='*' -C /srv/git/project.git fsck --full --strict --no-dangling > /tmp/fsck 2>&1 || code=$?; [ $code != 0 ] || break; sleep 1; done; cat /tmp/fsck; echo $code",
    )?;
    let locks = place.run(SERVICE, "find /srv/git -name '*.lock' | wc -l")?;
    Ok(vec![
        Seen::fact("folder and a file of the repository", looks),
        Seen::fact(
            "commits, entries and files of a clone after 20 pushes against each other and a replacement",
            counted,
        ),
        Seen::fact("git fsck, and its exit code", fsck),
        Seen::fact("locks that were left", locks),
        first,
        push,
        replaced,
        Seen {
            what: "times that a pull failed and was made again a second later, of each",
            seen: again,
            must_agree: false,
        },
    ])
}
