// Temporary directories of tests are on no mount.
#![allow(clippy::disallowed_methods)]

use super::*;
use crate::copy::tests::{Scratch, looks_of};
use std::{
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, chown},
    },
    path::PathBuf,
};

const PATH: &str = "r-a/web/var/home";
const NAMED: &str = "r-a/@volumes/home";

/// A share, and an image, in directories of this machine.
struct World {
    scratch: Scratch,
    order: Order,
}

impl World {
    fn new(name: &str, path: &str) -> Self {
        let scratch = Scratch::new(name);
        scratch.directory("records");
        scratch.directory(&format!("share/{path}"));
        let home = scratch.directory("image/home");
        fs::write(home.join("config.xml"), "<jenkins/>").unwrap();
        fs::create_dir(home.join("plugins")).unwrap();
        fs::write(home.join("plugins/git.jpi"), "git").unwrap();
        fs::write(home.join(std::ffi::OsStr::from_bytes(b"\xff")), "no UTF-8").unwrap();
        chown(&home, Some(1000), Some(1001)).unwrap();
        let order = Order { path: path.to_owned(), target: "/home".to_owned(), owner: None, mode: None };
        Self { scratch, order }
    }

    fn volume(&self) -> PathBuf {
        self.scratch.0.join("share").join(&self.order.path)
    }

    fn beside(&self) -> Vec<String> {
        let parent = self.volume().parent().unwrap().to_owned();
        let mut names: Vec<String> = fs::read_dir(parent)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn site(&self) -> Site {
        Site {
            records: Directory::anywhere(self.scratch.0.join("records"), "records").unwrap(),
            image: self.scratch.0.join("image").to_str().unwrap().to_owned(),
            by: "i-1".to_owned(),
        }
    }

    fn seed(&self) -> Result<Outcome, SeedingError> {
        let (folder, _) = order::folder(&self.order.path).unwrap();
        let folder = Directory::anywhere(self.scratch.0.join("share").join(folder), folder).unwrap();
        seed(&self.site(), &folder, &self.order, &|_| {})
    }

    fn record(&self) -> Record {
        self.site().records.read(&record::record_name(&self.order.path)).unwrap().unwrap()
    }

    fn write(&self, change: impl FnOnce(&mut Record)) {
        let mut record = Record {
            format: FORMAT,
            path: self.order.path.clone(),
            state: State::Made,
            inode: fs::metadata(self.volume()).unwrap().ino(),
            made_at: "t".to_owned(),
            made_by: "i-0".to_owned(),
            owner: None,
            mode: None,
        };
        change(&mut record);
        self.site().records.replace(&record::record_name(&self.order.path), &record).unwrap();
    }

    fn has_all(&self) -> bool {
        let meta = fs::metadata(self.volume()).unwrap();
        looks_of(&self.volume()) == looks_of(&self.scratch.0.join("image/home"))
            && (meta.uid(), meta.gid()) == (1000, 1001)
    }
}

/// A lock that can't be written through is one that the server gave to another host meanwhile.
#[test]
fn a_lock_that_was_lost_ends_it_before_anything_is_put() {
    let world = World::new("lost-lock", PATH);
    world.write(|_| {});
    let site = world.site();
    let (folder, below) = order::folder(PATH).unwrap();
    let at = Directory::anywhere(world.scratch.0.join("share").join(folder), folder).unwrap();
    let volume =
        Volume { site: &site, folder: &at, order: &world.order, below, record: record::record_name(PATH) };
    let mut lost = File::open("/dev/null").unwrap();
    let error = volume.under_the_lock(&mut lost).unwrap_err().to_string();
    assert!(error.contains("writing to the lock"), "{error}");
    assert_eq!(world.record().state, State::Made, "the record may be another host's by now");
    assert!(fs::read_dir(world.volume()).unwrap().next().is_none(), "nothing was put");
    assert!(matches!(world.seed(), Ok(Outcome::Filled(_))), "the next start begins again");
    assert!(world.has_all());
}

#[test]
fn a_new_volume_gets_what_the_image_has_once() {
    for path in [PATH, NAMED] {
        let world = World::new("once", path);
        let before = fs::metadata(world.volume()).unwrap().ino();
        assert!(matches!(world.seed().unwrap(), Outcome::Filled(Copied { entries: 4, .. })));
        assert!(world.has_all(), "{path}");
        assert_eq!(world.beside(), ["home"], "nothing of ours is left");
        let after = fs::metadata(world.volume()).unwrap().ino();
        assert_eq!(before == after, path == NAMED, "a named volume's directory stays the same one");
        let record = world.record();
        assert_eq!(record.inode, after);
        assert!(matches!(&record.state, State::Seeded { entries: 4, seeded_by, .. } if seeded_by == "i-1"));
        fs::remove_file(world.volume().join("config.xml")).unwrap();
        fs::remove_file(world.volume().join(std::ffi::OsStr::from_bytes(b"\xff"))).unwrap();
        fs::remove_dir_all(world.volume().join("plugins")).unwrap();
        assert!(matches!(world.seed().unwrap(), Outcome::Before(State::Seeded { .. })), "once");
        assert_eq!(fs::read_dir(world.volume()).unwrap().count(), 0);
    }
}

#[test]
fn what_has_files_or_is_held_or_has_nothing_in_the_image_is_left() {
    let world = World::new("left", PATH);
    fs::write(world.volume().join("mine"), "").unwrap();
    assert_eq!(world.seed().unwrap(), Outcome::Left(Left::NotEmpty));
    assert_eq!(fs::metadata(world.volume()).unwrap().uid(), 0, "no chown either");
    fs::remove_file(world.volume().join("mine")).unwrap();
    let left = Outcome::Before(State::Left { why: Left::NotEmpty });
    assert_eq!(world.seed().unwrap(), left, "a container has it since");

    let world = World::new("held", PATH);
    world.write(|record| record.state = State::Left { why: Left::Held });
    assert_eq!(world.seed().unwrap(), Outcome::Before(State::Left { why: Left::Held }));
    assert_eq!(fs::read_dir(world.volume()).unwrap().count(), 0);

    let mut world = World::new("nothing", PATH);
    world.order.target = "/nowhere".to_owned();
    world.order.owner = "7:8".parse().ok();
    assert_eq!(world.seed().unwrap(), Outcome::Left(Left::NothingInImage));
    assert_eq!(fs::metadata(world.volume()).unwrap().uid(), 7, "what was asked for needs no image");
    let mut world = World::new("nothing-named", NAMED);
    world.order.target = "/nowhere".to_owned();
    assert_eq!(world.seed().unwrap(), Outcome::Nothing);
    world.order.target = "/home".to_owned();
    assert!(matches!(world.seed().unwrap(), Outcome::Filled(_)), "another service's image has it");
    assert!(world.has_all());
}

#[test]
fn what_was_asked_for_wins_over_the_image() {
    let world = World::new("asked", PATH);
    world.write(|record| {
        record.owner = "5:6".parse().ok();
        record.mode = "0711".parse().ok();
    });
    world.seed().unwrap();
    let meta = fs::metadata(world.volume()).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (5, 6, 0o711));
    assert_eq!(
        fs::metadata(world.volume().join("config.xml")).unwrap().uid(),
        0,
        "its content is the image's"
    );
}

#[test]
fn an_empty_directory_of_the_image_gives_its_owner_and_mode() {
    let mut world = World::new("empty", PATH);
    chown(world.scratch.directory("image/empty"), Some(472), Some(0)).unwrap();
    world.order.target = "/empty".to_owned();
    assert_eq!(world.seed().unwrap(), Outcome::Dressed);
    assert_eq!(fs::metadata(world.volume()).unwrap().uid(), 472);
    assert!(matches!(world.record().state, State::Seeded { .. }));
}

#[test]
fn a_directory_that_nobody_made_yet_is_made_and_filled() {
    let world = World::new("missing", PATH);
    fs::remove_dir(world.volume()).unwrap();
    assert!(matches!(world.seed().unwrap(), Outcome::Filled(_)));
    assert!(world.has_all());
}

/// Each place where a start can end, as it leaves the share.
#[test]
fn a_start_that_ended_anywhere_is_taken_up_or_begun_again() {
    for path in [PATH, NAMED] {
        let sibling = format!("{}0123", record::sibling_prefix(path));
        let complete = |world: &World| {
            let beside = world.volume().parent().unwrap().join(&sibling);
            fs::create_dir(&beside).unwrap();
            copy::copy(
                rustix::fs::open(world.scratch.0.join("image/home"), OFlags::RDONLY, Mode::empty()).unwrap(),
                rustix::fs::open(&beside, OFlags::RDONLY, Mode::empty()).unwrap(),
            )
            .unwrap();
            chown(&beside, Some(1000), Some(1001)).unwrap();
            (fs::metadata(&beside).unwrap().ino(), beside)
        };
        type End<'a> = (&'a str, &'a dyn Fn(&World));
        let ends: [End<'_>; 5] = [
            ("while it copied", &|world| {
                let beside = world.volume().parent().unwrap().join(&sibling);
                fs::create_dir_all(beside.join("plugins")).unwrap();
                fs::write(beside.join("plugins/git.jpi"), "g").unwrap();
            }),
            ("before it was noted", &|world| drop(complete(world))),
            ("before it was in its place", &|world| {
                let (next, _) = complete(world);
                world.write(|record| {
                    record.state =
                        State::Seeding { next, sibling: sibling.clone(), entries: 3, chown_denied: false }
                });
            }),
            ("half in its place, or before that was noted", &|world| {
                let (next, beside) = complete(world);
                world.write(|record| {
                    record.state =
                        State::Seeding { next, sibling: sibling.clone(), entries: 3, chown_denied: false }
                });
                match path == NAMED {
                    true => fs::rename(beside.join("plugins"), world.volume().join("plugins")).unwrap(),
                    false => fs::rename(beside, world.volume()).unwrap(),
                }
            }),
            ("noted, and a person removed the sibling", &|world| {
                world.write(|record| {
                    record.state =
                        State::Seeding { next: 1, sibling: sibling.clone(), entries: 3, chown_denied: false }
                });
            }),
        ];
        for (end, happened) in ends {
            let world = World::new("ended", path);
            happened(&world);
            let outcome = world.seed().unwrap_or_else(|error| panic!("{path}, {end}: {error}"));
            assert!(matches!(outcome, Outcome::Filled(_)), "{path}, {end}: {outcome:?}");
            assert!(world.has_all(), "{path}, {end}: {:?}", looks_of(&world.volume()));
            assert_eq!(world.beside(), ["home"], "{path}, {end}");
            assert_eq!(world.record().inode, fs::metadata(world.volume()).unwrap().ino(), "{path}, {end}");
        }
    }
}

#[test]
fn of_two_at_once_one_fills_it_and_the_other_waits() {
    let world = World::new("two", PATH);
    for number in 0..300 {
        fs::write(world.scratch.0.join(format!("image/home/{number}")), "x").unwrap();
    }
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let both: Vec<_> = (0..2).map(|_| scope.spawn(|| world.seed().unwrap())).collect();
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let filled = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Filled(_))).count();
    let before =
        outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Before(State::Seeded { .. }))).count();
    assert_eq!((filled, before), (1, 1), "{outcomes:?}");
    assert!(world.has_all());
}

#[test]
fn a_directory_that_is_not_the_recorded_one_keeps_the_app_from_starting() {
    let world = World::new("replaced", PATH);
    world.write(|record| record.inode = 1);
    let error = world.seed().unwrap_err().to_string();
    assert!(error.contains("was replaced, made at t by i-0: put it back"), "{error}");
}

/// Whoever reads the record and looks at the directory, at any moment, finds the one to be of the other: a crash is such a moment.
#[test]
fn at_every_moment_the_record_is_of_the_directory() {
    for _ in 0..60 {
        let world = World::new("moments", PATH);
        world.write(|_| {});
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let observer = scope.spawn(|| {
                let inode = || fs::metadata(world.volume()).unwrap().ino();
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    let (before, record, after) = (inode(), world.record(), inode());
                    // Else it was put into its place just now.
                    assert!(before != after || record.is_of(before), "{record:?} {before}");
                }
            });
            world.seed().unwrap();
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            observer.join().unwrap();
        });
    }
}

#[test]
fn what_a_holder_made_in_a_named_volume_is_not_taken_from_it() {
    let world = World::new("holder", NAMED);
    let sibling = format!("{}0123", record::sibling_prefix(NAMED));
    let beside = world.volume().parent().unwrap().join(&sibling);
    fs::create_dir(&beside).unwrap();
    fs::write(beside.join("config.xml"), "the image's").unwrap();
    fs::write(beside.join("other"), "the image's").unwrap();
    let next = fs::metadata(&beside).unwrap().ino();
    world.write(|record| {
        record.state = State::Seeding { next, sibling, entries: 2, chown_denied: false };
    });
    fs::write(world.volume().join("config.xml"), "the holder's").unwrap();
    world.seed().unwrap();
    let content = |name: &str| fs::read_to_string(world.volume().join(name)).unwrap();
    assert_eq!((content("config.xml").as_str(), content("other").as_str()), ("the holder's", "the image's"));
    assert_eq!(world.beside(), ["home"]);
}

#[test]
fn what_an_earlier_start_left_goes_where_nothing_is_filled_too() {
    let world = World::new("leftover", PATH);
    let left = world.volume().parent().unwrap().join(format!("{}0123", record::sibling_prefix(PATH)));
    fs::create_dir(&left).unwrap();
    fs::write(left.join("part"), "p").unwrap();
    fs::write(world.volume().join("file"), "f").unwrap();
    assert!(matches!(world.seed().unwrap(), Outcome::Left(Left::NotEmpty)));
    assert_eq!(world.beside(), ["home"]);
}
