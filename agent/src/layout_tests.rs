use super::*;
use proptest::prelude::*;

fn app() -> App {
    "example-app".parse().unwrap()
}

fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

fn deployed(entries: &[&str]) -> Layout {
    deployed_with(entries, &[])
}

fn deployed_with(entries: &[&str], host_paths: &[String]) -> Layout {
    let rack = "production".parse().unwrap();
    let declarations: Vec<Declaration> = entries.iter().map(|entry| entry.parse().unwrap()).collect();
    layout(Place::Deployed { rack: &rack, host_paths }, &app(), &service("web"), &declarations)
}

fn local(entries: &[&str]) -> Layout {
    let declarations: Vec<Declaration> = entries.iter().map(|entry| entry.parse().unwrap()).collect();
    layout(
        Place::Local { home: "/home/ann", project: "/home/ann/src" },
        &app(),
        &service("web"),
        &declarations,
    )
}

fn mounts(layout: &Layout) -> Vec<(String, String, bool)> {
    assert_eq!(layout.refusals, [], "nothing is refused");
    layout.volumes.iter().map(|(_, v)| (v.source.clone(), v.target.clone(), v.read_only)).collect()
}

fn codes(layout: &Layout) -> Vec<&'static str> {
    layout.refusals.iter().map(|(_, finding)| finding.code).collect()
}

#[test]
fn each_row_of_the_design_deployed() {
    let root = "/volumes/production-example-app";
    for (entry, source, target, read_only) in [
        ("/var/www/html", format!("{root}/web/var/www/html"), "/var/www/html", false),
        ("/foo:/my/path", format!("{root}/web/foo"), "/my/path", false),
        ("/foo:/my/path:ro", format!("{root}/web/foo"), "/my/path", true),
        ("db:/var/lib", format!("{root}/@volumes/db"), "/var/lib", false),
        ("//var//x/./y/", format!("{root}/web/var/x/y"), "/var/x/y", false),
        ("/foo:/a/../b/", format!("{root}/web/foo"), "/b", false),
    ] {
        assert_eq!(mounts(&deployed(&[entry])), [(source, target.to_owned(), read_only)], "{entry}");
    }
    let socket = "/var/run/docker.sock".to_owned();
    let entry = "/var/run/docker.sock:/var/run/docker.sock";
    let allowed = deployed_with(&[entry], std::slice::from_ref(&socket));
    assert_eq!(mounts(&allowed), [(socket.clone(), socket, false)]);
    assert_eq!(allowed.volumes[0].1.kind, Kind::Host);
    assert_eq!(deployed(&[entry]).volumes[0].1.kind, Kind::Service, "a folder on the share, as in Convox");
}

#[test]
fn each_row_of_the_design_on_a_laptop() {
    let root = "/home/ann/.convox/volumes/example-app";
    for (entry, source, target) in [
        ("/data", format!("{root}/web/data"), "/data"),
        ("/foo:/my/path", "/foo".to_owned(), "/my/path"),
        ("db:/var/lib", format!("{root}/@volumes/db"), "/var/lib"),
        ("./src:/app", "/home/ann/src/src".to_owned(), "/app"),
        ("../x:/y", "/home/ann/x".to_owned(), "/y"),
        ("~/x:/y", "/home/ann/x".to_owned(), "/y"),
    ] {
        assert_eq!(mounts(&local(&[entry])), [(source, target.to_owned(), false)], "{entry}");
    }
}

#[test]
fn what_is_refused_is_refused_by_its_code() {
    let long = format!("/{}", "x".repeat(256));
    for (entries, code) in [
        (vec!["./src:/app"], "relative-source"),
        (vec!["~/x:/y"], "relative-source"),
        (vec!["/a/../b"], "dot-dot"),
        (vec!["/a/../b:/c"], "dot-dot"),
        (vec!["/"], "root-target"),
        (vec!["/a:/b/.."], "root-target"),
        (vec!["/:/b"], "root-source"),
        (vec!["/proc/1"], "kernel-path"),
        (vec!["/a:/sys"], "kernel-path"),
        (vec!["/dev/shm"], "kernel-path"),
        (vec!["/a", "/b:/a/"], "duplicate-target"),
        (vec![".x:/b"], "relative-source"),
        (vec!["a b:/b"], "volume-name"),
        (vec![long.as_str()], "too-long"),
        (vec!["/data", "/data/sub:/elsewhere"], "nested-volume"),
        (vec!["/data:/x", "/data/sub:/data/sub"], "nested-volume"),
        (vec!["/data", "/data/sub:/data/sub:ro"], "nested-volume"),
    ] {
        assert_eq!(codes(&deployed(&entries)), [code], "{entries:?}");
    }
    assert_eq!(codes(&deployed(&["/processes", "/device"])), [""; 0], "names that only begin alike");
}

#[test]
fn the_kernels_paths_are_for_binds_of_the_machine_alone() {
    let paths = ["/sys".to_owned(), "/dev/fuse".to_owned()];
    let allowed = deployed_with(&["/sys:/sys:ro", "/dev/fuse:/dev/fuse"], &paths);
    assert_eq!(
        mounts(&allowed),
        [
            ("/sys".to_owned(), "/sys".to_owned(), true),
            ("/dev/fuse".to_owned(), "/dev/fuse".to_owned(), false)
        ]
    );
    assert_eq!(codes(&deployed_with(&["/proc:/sys"], &paths)), ["kernel-path"]);
    assert_eq!(codes(&local(&["/dev/fuse:/dev/fuse"])), [] as [&str; 0]);
    assert_eq!(codes(&local(&["/dev/shm"])), ["kernel-path"]);
}

#[test]
fn what_looks_like_the_machines_own_is_a_folder_with_a_warning() {
    let warned =
        |entry: &str| deployed(&[entry]).warnings.iter().map(|(_, finding)| finding.code).collect::<Vec<_>>();
    assert_eq!(warned("/var/run/docker.sock:/var/run/docker.sock"), ["socket"]);
    assert_eq!(warned("/run/app.sock"), ["socket"]);
    assert_eq!(warned("/etc/localtime:/etc/localtime:ro"), ["machine-file"]);
    assert_eq!(warned("/etc/app:/etc/app"), [] as [&str; 0]);
    let allowed = deployed_with(&["/run/x.sock:/x.sock"], &["/run/x.sock".to_owned()]);
    assert_eq!((allowed.warnings.len(), allowed.volumes[0].1.source.as_str()), (0, "/run/x.sock"));
}

/// An entry of a service's `tmpfs`, where each of its options can be passed on.
fn memory_of(entry: &str) -> Declaration {
    let (declaration, errors) = declaration::tmpfs::parse(entry);
    assert_eq!(errors, []);
    declaration
}

#[test]
fn memory_has_a_size_in_whole_mib() {
    let rack = "production".parse().unwrap();
    let place = Place::Deployed { rack: &rack, host_paths: &[] };
    let laid_out = |entry: &str| layout(place, &app(), &service("web"), &[memory_of(entry)]);
    for (entry, mebibytes, mode, warnings) in [
        ("/run:size=64m", 64, None, vec![]),
        ("/run:size=65536k,mode=1777", 64, Some(0o1777), vec![]),
        ("/run:size=1", 1, None, vec!["tmpfs-rounded"]),
        ("/run:size=67108865,mode=0", 65, None, vec!["tmpfs-rounded"]),
    ] {
        let layout = laid_out(entry);
        let volume = &layout.volumes[0].1;
        assert_eq!(
            (volume.kind, volume.source.as_str(), volume.relative.as_deref()),
            (Kind::Tmpfs, "", None)
        );
        assert_eq!(volume.memory, Some(Memory { mebibytes, mode }), "{entry}");
        assert_eq!(layout.warnings.iter().map(|(_, f)| f.code).collect::<Vec<_>>(), warnings, "{entry}");
    }
    for (entry, code, fix) in [
        ("/run", "tmpfs-size", Some("/run:size=64m")),
        ("/run:ro", "tmpfs-size", Some("/run:ro,size=64m")),
        ("/run:size=0", "tmpfs-size", None),
        ("/run:size=9000p", "tmpfs-size", None),
        ("/run:size=1m,mode=17777", "tmpfs", None),
        ("/dev/shm:size=1m", "kernel-path", None),
    ] {
        let layout = laid_out(entry);
        assert_eq!((codes(&layout), layout.refusals[0].1.fix.as_deref()), (vec![code], fix), "{entry}");
    }
    let on_a_laptop = Place::Local { home: "/home/ann", project: "/home/ann/src" };
    let layout = layout(on_a_laptop, &app(), &service("web"), &["/run", "/dev/shm"].map(memory_of));
    assert_eq!((layout.volumes.len(), layout.refusals.len(), layout.volumes[0].1.memory), (2, 0, None));
}

#[test]
fn a_volume_inside_another_at_the_same_place_is_folded() {
    let layout = deployed(&["/data/sub", "/data"]);
    let folded: Vec<_> =
        layout.volumes.iter().map(|(_, v)| (v.target.as_str(), v.folded_into.as_deref())).collect();
    assert_eq!(folded, [("/data/sub", Some("/data")), ("/data", None)]);
}

#[test]
fn a_volume_behind_another_mount_is_not_folded() {
    for entries in [["/data", "/x:/data/a", "/data/a/b"], ["/data", "name:/data/a", "/data/a/b"]] {
        assert_eq!(codes(&deployed(&entries)), ["nested-volume"], "{entries:?}");
    }
    let folded = deployed(&["/data", "/data/a", "/data/a/b"]);
    assert_eq!(folded.volumes.iter().filter(|(_, v)| v.folded_into.as_deref() == Some("/data")).count(), 2);
}

#[test]
fn an_option_without_meaning_is_a_volume_with_a_warning() {
    let layout = deployed(&["/a:/b:z"]);
    assert_eq!((layout.volumes.len(), layout.warnings[0].1.code), (1, "ignored-option"));
    assert_eq!(local(&["/a:/b:z"]).warnings, [], "a laptop has Docker");
}

/// Entries that people, or attackers, might write.
fn entry() -> impl Strategy<Value = String> {
    let path = || "(/|\\.|\\.\\.|[a-c@~]|\u{e4}| ){1,8}".prop_map(|path| format!("/{path}"));
    let source = prop_oneof![path(), "[a-c.@/~]{1,5}"];
    prop_oneof![
        path(),
        (source.clone(), path()).prop_map(|(s, t)| format!("{s}:{t}")),
        (source, path()).prop_map(|(s, t)| format!("{s}:{t}:ro")),
    ]
}

fn entries() -> impl Strategy<Value = Vec<Declaration>> {
    proptest::collection::vec(entry(), 1..6)
        .prop_map(|entries| entries.iter().filter_map(|entry| entry.parse().ok()).collect())
}

proptest! {
    #[test]
    fn a_layout_never_leaves_its_folder_and_accounts_for_every_entry(declarations in entries()) {
        let rack: Rack = "r".parse().unwrap();
        let laid_out = layout(Place::Deployed { rack: &rack, host_paths: &[] }, &app(), &service("web"), &declarations);
        prop_assert_eq!(laid_out.volumes.len() + laid_out.refusals.len(), declarations.len());
        for (_, volume) in &laid_out.volumes {
            let relative = volume.relative.as_deref().unwrap();
            let inside = ["r-example-app/web/", "r-example-app/@volumes/"];
            prop_assert!(inside.iter().any(|folder| relative.strip_prefix(folder).is_some_and(|rest| !rest.is_empty())));
            prop_assert!(relative.split('/').all(|c| !matches!(c, "" | "." | "..")), "{}", relative);
        }
    }

    #[test]
    fn two_services_meet_only_in_named_volumes(declarations in entries()) {
        let rack: Rack = "r".parse().unwrap();
        let place = Place::Deployed { rack: &rack, host_paths: &[] };
        let sources = |name: &str| -> Vec<(Kind, String)> {
            let laid_out = layout(place, &app(), &service(name), &declarations);
            laid_out.volumes.into_iter().map(|(_, v)| (v.kind, v.source)).collect()
        };
        for (kind, a) in sources("web") {
            for (_, b) in sources("worker") {
                prop_assert!(kind == Kind::Named || (!is_within(&a, &b) && !is_within(&b, &a)), "{} and {}", a, b);
            }
        }
    }

    #[test]
    fn cleaning_a_clean_path_changes_nothing(path in "[/.a-c]{0,12}") {
        let once = clean(&path);
        prop_assert_eq!(clean(&once), once.clone());
        prop_assert!(once.starts_with('/') && !once.contains("//"));
    }

    /// Model: of the mounts above a path the nearest one says what backs it. Folding takes mounts away, and changes nothing of that.
    #[test]
    fn folding_changes_nothing_that_a_container_sees(declarations in nested_entries()) {
        let rack: Rack = "r".parse().unwrap();
        let host_paths = ["/c".to_owned()];
        let place = Place::Deployed { rack: &rack, host_paths: &host_paths };
        let laid_out = layout(place, &app(), &service("web"), &declarations);
        let all: Vec<&Volume> = laid_out.volumes.iter().map(|(_, volume)| volume).collect();
        let mounted: Vec<&Volume> = all.iter().copied().filter(|volume| volume.folded_into.is_none()).collect();
        for volume in &all {
            if let Some(target) = &volume.folded_into {
                prop_assert!(mounted.iter().any(|outer| outer.target == *target), "{} is no mount", target);
            }
            let mut path = format!("{}/deeper/still", volume.target);
            while !path.is_empty() {
                prop_assert_eq!(backing(&all, &path), backing(&mounted, &path), "{}", path);
                path.truncate(path.rfind('/').unwrap_or_default());
            }
        }
        // And no directory inside another one is a bind source of its own.
        for (inner, outer) in mounted.iter().flat_map(|a| mounted.iter().map(move |b| (a, b))) {
            let both_ours = inner.relative.is_some() && outer.relative.is_some();
            prop_assert!(
                !both_ours || inner.source == outer.source || !is_within(&inner.source, &outer.source),
                "{} in {}", inner.source, outer.source
            );
        }
    }
}

/// What a path in a container is, with these mounts: whose it is, where, and whether it can be written; nothing for the image's own.
fn backing(mounts: &[&Volume], path: &str) -> Option<(Kind, String, bool)> {
    let above = mounts.iter().filter(|volume| is_within(path, &volume.target));
    let nearest = above.max_by_key(|volume| volume.target.len())?;
    let source = if nearest.kind == Kind::Tmpfs { &nearest.target } else { &nearest.source };
    // A directory of a service is one wherever it is reached from.
    Some((nearest.kind, format!("{source}{}", &path[nearest.target.len()..]), nearest.read_only))
}

/// Entries that lie in each other's way: few names, of volumes of every kind.
fn nested_entries() -> impl Strategy<Value = Vec<Declaration>> {
    let path = || "(/[ab]){1,4}";
    let entry = prop_oneof![
        4 => path(),
        2 => (path(), path()).prop_map(|(s, t)| format!("{s}:{t}")),
        1 => (path(), path()).prop_map(|(s, t)| format!("{s}:{t}:ro")),
        1 => path().prop_map(|t| format!("{t}:{t}:ro")),
        1 => path().prop_map(|t| format!("name:{t}")),
        1 => path().prop_map(|t| format!("/c:{t}")),
        1 => path().prop_map(|t| format!("memory:{t}")),
    ];
    let read = |entry: &String| match entry.strip_prefix("memory:") {
        Some(target) => memory_of(&format!("{target}:size=1m")),
        None => entry.parse().unwrap(),
    };
    proptest::collection::vec(entry, 1..8).prop_map(move |entries| entries.iter().map(read).collect())
}
