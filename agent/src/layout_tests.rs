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

#[test]
fn a_volume_inside_another_at_the_same_place_is_folded() {
    let layout = deployed(&["/data/sub", "/data"]);
    let folded: Vec<_> =
        layout.volumes.iter().map(|(_, v)| (v.target.as_str(), v.folded_into.as_deref())).collect();
    assert_eq!(folded, [("/data/sub", Some("/data")), ("/data", None)]);
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

    /// Model: a container's view maps a target to a source; a folded volume must be seen through its outer one at its own place.
    #[test]
    fn folding_changes_nothing_that_a_container_sees(declarations in entries()) {
        let rack: Rack = "r".parse().unwrap();
        let laid_out = layout(Place::Deployed { rack: &rack, host_paths: &[] }, &app(), &service("web"), &declarations);
        for (_, inner) in &laid_out.volumes {
            let Some(target) = &inner.folded_into else { continue };
            let (_, outer) = laid_out.volumes.iter().find(|(_, v)| v.target == *target).unwrap();
            prop_assert_eq!(outer.folded_into.as_deref(), None);
            let seen_at = inner.target.strip_prefix(&outer.target).unwrap();
            prop_assert_eq!(format!("{}{seen_at}", outer.source), inner.source.clone());
            prop_assert_eq!(outer.read_only, inner.read_only);
        }
    }
}
