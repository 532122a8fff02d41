use super::{uses::*, *};
use proptest::prelude::*;
use std::sync::Arc;

fn rack() -> Rack {
    "production".parse().unwrap()
}

fn revision(volumes: Volumes, paths: &[&str], hides: Hides) -> Revision {
    let mount = |path: &&str| Mount {
        path: (*path).to_owned(),
        container: "web".to_owned(),
        target: "/data".to_owned(),
        read_only: false,
    };
    Revision {
        volumes,
        reason: None,
        code: (volumes != Volumes::Patched).then_some("relative-source"),
        source: Some("pipeline".to_owned()),
        mounts: paths.iter().map(mount).collect(),
        not_mounted: BTreeSet::new(),
        needed: Vec::new(),
        hides,
    }
}

fn service(name: &str, revision: Revision) -> Uses {
    let deployed = Deployed {
        arn: format!("arn:x:task-definition/{name}:1"),
        is_primary: true,
        tasks: 2,
        since: Some("2026-03-04T05:06:07Z".to_owned()),
        revision: Arc::new(revision),
    };
    Uses { service: name.to_owned(), deployments: vec![deployed] }
}

fn of_apps(apps: &[&str]) -> Hides {
    Hides::Apps(apps.iter().map(|app| (*app).to_owned()).collect())
}

fn using(paths: &[&str]) -> Cluster {
    let services = vec![service("web", revision(Volumes::Patched, paths, of_apps(&[])))];
    Cluster { rack: rack(), services, incomplete: None }
}

fn record(path: &str, inode: u64) -> (String, Record) {
    let made = ("2026-01-02T03:04:05Z".to_owned(), "i-1".to_owned());
    (
        format!("{path}.json").replace('/', "+"),
        Record {
            format: 1,
            path: path.to_owned(),
            state: crate::record::State::Made,
            inode,
            made_at: made.0,
            made_by: made.1,
            owner: None,
            mode: None,
        },
    )
}

fn missing(path: &str, found: Found) -> MissingVolume {
    let (name, record) = record(path, 1);
    MissingVolume { path: record.path, record: name, made_at: record.made_at, made_by: record.made_by, found }
}

/// A share whose apps `production-shop`, `production-blog` and `staging-shop` have an owner.
fn share(records: &[&str], there: &[&str], others: &[&str]) -> Share {
    let owner = |rack: &str, app: &str| Owner { rack: rack.to_owned(), app: app.to_owned() };
    let known = records.iter().chain(there).map(|path| {
        let at = if there.contains(path) { At::Directory(1) } else { At::Not(Found::Nothing) };
        ((*path).to_owned(), at)
    });
    Share {
        owners: vec![owner("production", "shop"), owner("production", "blog"), owner("staging", "shop")],
        records: records.iter().map(|path| record(path, 1)).collect(),
        directories: Directories {
            known: known.collect(),
            looks: BTreeMap::new(),
            others: others.iter().map(|path| (*path).to_owned()).collect(),
            unreadable: Vec::new(),
        },
        ..Share::default()
    }
}

fn states(listing: &Listing) -> Vec<(&str, State)> {
    listing.volumes.iter().map(|volume| (volume.path.trim_start_matches("/volumes/"), volume.state)).collect()
}

const DATA: &str = "production-shop/web/data";
const OLD: &str = "production-shop/web/old";
const OTHER: &str = "staging-shop/web/data";

#[test]
fn each_volume_is_what_both_sides_come_to() {
    let mut share = share(
        &[DATA, OLD, OTHER, "production-shop/web/gone", "production-shop/web/other"],
        &[DATA, OLD, OTHER, "production-shop/web/other", "production-shop/web/bare"],
        &["production-blog/web/data", "backup"],
    );
    share.missing = vec![
        missing("production-shop/web/gone", Found::Nothing),
        missing("production-shop/web/other", Found::OtherDirectory),
    ];
    share.other_clusters = vec!["us-east-1-123456789012-b".to_owned()];
    let cluster =
        using(&[DATA, "production-shop/web/gone", "production-shop/web/new", "production-shop/web/bare"]);
    share.directories.known.insert("production-shop/web/new".to_owned(), At::Not(Found::Nothing));
    let listing = list(Some(&share), Some(&cluster), Some(&rack()));
    assert_eq!(
        states(&listing),
        [
            ("production-blog/web/data", State::Orphan),
            ("production-shop/web/bare", State::Used),
            (DATA, State::Used),
            ("production-shop/web/gone", State::Gone),
            ("production-shop/web/new", State::NotMade),
            (OLD, State::Orphan),
            ("production-shop/web/other", State::Replaced),
            (OTHER, State::OtherRack),
            ("backup", State::Unowned),
        ]
    );
    let of = |path: &str| listing.volumes.iter().find(|volume| volume.path.ends_with(path)).unwrap();
    let data = of(DATA);
    assert_eq!(
        (data.rack.as_deref(), data.app.as_deref(), data.service.as_deref()),
        (Some("production"), Some("shop"), Some("web"))
    );
    assert_eq!((data.made_by.as_deref(), data.used_by[0].tasks), (Some("i-1"), 2));
    assert_eq!((of("bare").record.as_deref(), of("backup").service.as_deref()), (None, None));
    assert!(of("other").why.as_ref().is_some_and(|why| why.contains("was replaced by another directory")));
    assert_eq!(
        listing.summary(),
        "9 volumes: 2 used, 1 not-made, 2 orphan, 1 unowned, 1 other-rack, 1 gone, 1 replaced"
    );
    let notes = listing.notes().join("\n");
    for words in [
        "/volumes/staging-shop/web/data: it is rack `staging`'s",
        "\nthe directory of volume /volumes/production-shop/web/gone",
        "RunTask",
        "other clusters as well (us-east-1-123456789012-b)",
    ] {
        assert!(notes.contains(words), "{notes}");
    }
    let mut unused = listing.clone();
    unused.keep_unused();
    let unused = states(&unused);
    assert_eq!(
        unused.iter().map(|(path, _)| *path).collect::<Vec<_>>(),
        ["production-blog/web/data", OLD, "production-shop/web/other", "backup"]
    );
}

/// Somebody may delete it.
#[test]
fn nothing_is_an_orphan_while_something_unknown_could_use_it() {
    let share = share(&[OLD, "production-blog/web/data"], &[OLD, "production-blog/web/data"], &["backup"]);
    let with = |cluster: Option<Cluster>| {
        states(&list(Some(&share), cluster.as_ref(), Some(&rack())))
            .iter()
            .map(|(_, state)| *state)
            .collect::<Vec<_>>()
    };
    let [orphan, unowned, unknown, used] = [State::Orphan, State::Unowned, State::Unknown, State::Used];
    let and = |name: &str, revision| {
        let mut cluster = using(&[]);
        cluster.services.push(service(name, revision));
        Some(cluster)
    };
    let incomplete = Cluster { incomplete: Some("out of reach".to_owned()), ..using(&[]) };
    for (why, cluster, expected) in [
        ("all is known", Some(using(&[])), [orphan, orphan, unowned]),
        ("ECS is out of reach", None, [unknown; 3]),
        ("ECS went out of reach", Some(incomplete), [unknown; 3]),
        (
            "one of the app is refused",
            and("r", revision(Volumes::Refused, &[], of_apps(&["production-shop"]))),
            [orphan, unknown, unowned],
        ),
        (
            "a revision can't be read",
            and("r", revision(Volumes::Unreadable, &[], Hides::Anything)),
            [unknown; 3],
        ),
        ("the folder above is mounted", Some(using(&["production-shop/web"])), [orphan, used, used]),
    ] {
        let mut states = with(cluster);
        // The folder itself is told as well.
        if why == "the folder above is mounted" {
            assert_eq!(states.pop(), Some(unowned), "{why}");
        }
        assert_eq!(states, expected, "{why}");
    }
    let listing = list(Some(&share), Some(&using(&[])), None);
    assert!(states(&listing).iter().all(|(_, state)| *state == unknown), "the rack is not known");
}

#[test]
fn an_owner_that_can_t_be_read_is_no_proof() {
    let mut share = share(&[OLD], &[OLD], &[]);
    share.owners.clear();
    assert_eq!(states(&list(Some(&share), Some(&using(&[])), Some(&rack()))), [(OLD, State::Unowned)]);
    share.unreadable.push(unreadable(".volumes-agent/owners/production-shop.json", "no".to_owned()));
    assert_eq!(states(&list(Some(&share), Some(&using(&[])), Some(&rack()))), [(OLD, State::Unknown)]);
}

#[test]
fn without_the_share_what_services_use_is_told() {
    let mut cluster = using(&[DATA]);
    cluster.services.push(service("off", revision(Volumes::LeftAlone, &[], of_apps(&[]))));
    cluster.services.push(service("plain", revision(Volumes::NothingDeclared, &[], of_apps(&[]))));
    let listing = list(None, Some(&cluster), Some(&rack()));
    assert_eq!(states(&listing), [(DATA, State::Used)]);
    assert_eq!(listing.volumes[0].directory, Place::Unknown);
    let services: Vec<_> = listing.services.iter().map(|one| (one.service.as_str(), one.volumes)).collect();
    assert_eq!(
        services,
        [("off", Volumes::LeftAlone), ("web", Volumes::Patched)],
        "those that declare something"
    );
}

#[test]
fn what_differs_from_its_record_is_looked_at_again() {
    let mut share = share(&[DATA, OLD, OTHER, "r-a/b/c"], &[DATA, OLD, OTHER], &[]);
    share.directories.known.insert(OLD.to_owned(), At::Directory(2));
    share.directories.known.insert(OTHER.to_owned(), At::Unknown);
    let suspects = suspects(&share.records, &share.directories);
    assert_eq!(suspects, [record(OLD, 1).0, record("r-a/b/c", 1).0]);
    // By the second look all is well.
    let listing = list(Some(&share), Some(&using(&[OLD])), Some(&rack()));
    let old = listing.volumes.iter().find(|volume| volume.path.ends_with(OLD)).unwrap();
    assert_eq!((old.directory, old.state), (Place::There, State::Used));
}

#[test]
fn a_record_s_path_stays_on_the_share() {
    for (path, is) in [
        ("r-a/web/data", true),
        ("r-a/x", true),
        ("r-a", false),
        ("", false),
        ("../x", false),
        ("/r-a/x", false),
        ("r-a//x", false),
        ("r-a/./x", false),
    ] {
        assert_eq!(is_layout_path(path), is, "{path}");
    }
}

const PATH: &str = "(production|staging)-(shop|blog|cms)/(web|db)/[ab](/c)?";

proptest! {
    /// Whatever both sides tell: each path is told once, and an orphan is ours, used by nobody, and nothing that could use it is hidden.
    #[test]
    fn every_path_is_told_once_and_orphans_are_sure(
        records in prop::collection::btree_set(PATH, 0..6),
        others in prop::collection::btree_set(PATH, 0..4),
        used in prop::collection::vec(PATH, 0..4),
        hidden in prop::option::of("(production|staging)-(shop|blog|cms)"),
        is_incomplete: bool,
    ) {
        let texts = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<String>>();
        let (records, others) = (texts(&records), texts(&others));
        fn refs(list: &[String]) -> Vec<&str> {
            list.iter().map(String::as_str).collect()
        }
        let share = share(&refs(&records), &refs(&records), &refs(&others));
        let mut cluster = using(&refs(&used));
        let hides = of_apps(&hidden.iter().map(String::as_str).collect::<Vec<_>>());
        cluster.services.push(service("r", revision(Volumes::Refused, &[], hides)));
        cluster.incomplete = is_incomplete.then(|| "no".to_owned());
        let listing = list(Some(&share), Some(&cluster), Some(&rack()));
        let told: Vec<String> = listing.volumes.iter().map(|volume| volume.path.replace("/volumes/", "")).collect();
        let all: BTreeSet<&String> = records.iter().chain(&others).chain(&used).collect();
        prop_assert_eq!(told.len(), all.len());
        prop_assert_eq!(told.iter().collect::<BTreeSet<_>>(), all);
        for (path, volume) in told.iter().zip(&listing.volumes) {
            let is_used = used.iter().any(|used| path == used || path.starts_with(&format!("{used}/")));
            prop_assert_eq!(volume.usage == Usage::Used, is_used);
            prop_assert_eq!(!volume.used_by.is_empty(), is_used);
            let is_ours = path.starts_with("production-shop/") || path.starts_with("production-blog/");
            let is_hidden = hidden.as_ref().is_some_and(|app| path.starts_with(&format!("{app}/")));
            let is_sure = is_ours && !is_used && !is_hidden && !is_incomplete;
            prop_assert_eq!(volume.state == State::Orphan, is_sure, "{}", path);
        }
    }
}

#[test]
fn a_directory_that_is_not_as_asked_for_is_told_with_what_to_do() {
    let record = |owner: &str| Record {
        format: 1,
        path: "r-a/web/data".to_owned(),
        state: crate::record::State::Left { why: crate::record::Left::NotEmpty },
        inode: 1,
        made_at: String::new(),
        made_by: String::new(),
        owner: owner.parse().ok(),
        mode: None,
    };
    let looks = ("0:0".parse().unwrap(), "0755".parse().unwrap());
    let told = |owner| crate::drift::told("r-a/web/data", Some(&record(owner)), Some(&looks));
    assert_eq!(told("0:0"), None);
    assert_eq!(
        told("472:0").as_deref(),
        Some(
            "/volumes/r-a/web/data is 0:0's with mode 0755, and owner 472:0 was asked for: an existing directory is never changed by itself; `volumes-agent chown /volumes/r-a/web/data 472:0` does it"
        )
    );
    assert_eq!(first_use::state(&record("0:0").state), "left as it is: it had files in it");
}
