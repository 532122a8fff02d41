use super::*;
use crate::{
    deploy::{decide, tests::read_in},
    layout::Place,
};

fn local_of(home: &str, text: &'static str) -> Local {
    let compose = read_in("/h/shop", text, None);
    let decision =
        decide(&compose, Place::Local { home, project: &compose.folder }, &"shop".parse().unwrap());
    assert_eq!(decision.refusals, [], "nothing is refused");
    local(&decision)
}

fn folders(local: &Local) -> Vec<(&str, Option<&str>)> {
    local.folders.iter().map(|folder| (folder.relative.as_str(), folder.inside.as_deref())).collect()
}

/// What the override comes to for Docker Compose, as this agent reads it.
fn read_back(local: &Local) -> serde_json::Value {
    let page: &'static str = local.document(&"shop".parse().unwrap(), "/h/shop").leak();
    let compose = read_in("/h/shop", page, None);
    let entries: Vec<_> = compose
        .services
        .iter()
        .flat_map(|service| {
            service.entries.iter().map(|entry| (service.name.clone(), entry.declaration.clone()))
        })
        .map(|(service, declaration)| {
            let source = declaration.source.as_ref().map(|source| source.resolved().to_owned());
            serde_json::json!([
                service,
                declaration.kind.word(),
                source,
                declaration.target,
                declaration.read_only,
                declaration.options.nocopy
            ])
        })
        .collect();
    let devices: BTreeMap<String, String> = compose
        .volumes
        .iter()
        .map(|volume| (volume.key.clone(), volume.driver_opts["device"].clone()))
        .collect();
    serde_json::json!({ "entries": entries, "devices": devices })
}

#[test]
fn the_app_is_called_by_the_first_name_that_is_there() {
    let file = "services: {web: {image: x}}";
    let plain = read_in("/h/example.app", file, None);
    let named = read_in("/h/example.app", "name: shop\nservices: {web: {image: x}}", None);
    let given = read_in("/h/example.app", file, Some("by-flag"));
    for (flag, in_file, compose, name, from) in [
        (Some("a"), Some("b"), &named, "a", None),
        (None, Some(" b\n"), &named, "b", Some(".convox/app")),
        (None, None, &named, "shop", Some("the file's `name`")),
        (None, None, &given, "by-flag", Some("--project-name")),
        (None, None, &plain, "example-app", Some("the folder's name")),
    ] {
        let (app, told) = app(flag, in_file, compose).unwrap();
        assert_eq!((app.as_str(), told.as_deref()), (name, from));
    }
    let mixed = read_in("/h/Example.App", file, None);
    assert_eq!(app(None, None, &mixed).unwrap().0.as_str(), "Example-App", "Docker Compose has `exampleapp`");
    for (flag, in_file, folder) in
        [(Some("a b"), None, "/h/x"), (None, Some("\n"), "/h/x"), (None, None, "/h/My App")]
    {
        assert!(app(flag, in_file, &read_in(folder, file, None)).is_err(), "{flag:?} {in_file:?} {folder}");
    }
}

#[test]
fn only_what_docker_would_keep_elsewhere_is_said_anew() {
    let local = local_of(
        "/h",
        "services:\n  web:\n    tmpfs: /t\n    volumes: [/data, './src:/app', '/etc/x:/x:ro', '~/y:/y', 'db:/db', 'ext:/ext', 'nfs:/nfs', {type: tmpfs, target: /m}]\n  worker:\n    volumes: ['db:/db:ro', /data/]\n    volumes_from: [web]\nvolumes: {db: {labels: {a: b}}, ext: {external: true}, nfs: {driver_opts: {type: nfs}}}\n",
    );
    let root = "/h/.convox/volumes/shop";
    let web = format!("convox-shop-web-data-{}", hash(&[&format!("{root}/web/data")]));
    let worker = format!("convox-shop-worker-data-{}", hash(&[&format!("{root}/worker/data")]));
    assert_eq!(
        read_back(&local),
        serde_json::json!({
            "entries": [["web", "volume", web, "/data", false, false], ["worker", "volume", worker, "/data/", false, false]],
            "devices": { "db": format!("{root}/@volumes/db"), web: format!("{root}/web/data"), worker: format!("{root}/worker/data") },
        })
    );
    assert_eq!(
        folders(&local),
        [("shop/@volumes/db", None), ("shop/web/data", None), ("shop/worker/data", None)]
    );
    assert!(local_of("/h", "services: {web: {volumes: ['./a:/a']}}").is_empty());
}

#[test]
fn a_volume_inside_another_is_left_to_docker_to_make() {
    let local = local_of("/h", "services: {web: {volumes: [/a/b/c/, /a]}}");
    assert_eq!(folders(&local), [("shop/web/a", None), ("shop/web/a/b/c", Some("shop/web/a"))]);
    let entries = &read_back(&local)["entries"];
    assert_eq!(
        entries[0],
        serde_json::json!(["web", "bind", "/h/.convox/volumes/shop/web/a/b/c", "/a/b/c/", false, false])
    );
    assert_eq!(entries[1][1], "volume");
}

#[test]
fn read_only_and_nocopy_are_said_again() {
    let local = local_of(
        "/h",
        "services:\n  on:\n    volumes:\n      - {type: volume, target: /a, read_only: true}\n      - {type: volume, target: /b, volume: {nocopy: true}}\n      - {type: volume, target: /c, x-volumes: {seed: false}}\n      - {type: volume, target: '/d:e', read_only: true, volume: {nocopy: true}}\n",
    );
    let entries = read_back(&local)["entries"].clone();
    let told: Vec<_> = entries
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e[0].clone(), e[3].clone(), e[4].clone(), e[5].clone()))
        .collect();
    let entry = |target: &str, read_only: bool, nocopy: bool| {
        ("on".into(), target.into(), read_only.into(), nocopy.into())
    };
    assert_eq!(
        told,
        [
            entry("/a", true, false),
            entry("/b", false, true),
            entry("/c", false, true),
            entry("/d:e", true, true)
        ]
    );
}

#[test]
fn odd_homes_are_read_as_they_are() {
    for home in ["/h \u{e4}/$x ${Y}", "/h#: \"q\" \\ '", "/on: off", "/h:colon", "/\u{2028}\u{85}"] {
        let local = local_of(home, "services: {y: {volumes: [/data, /data/sub]}}");
        let back = read_back(&local);
        let device = back["devices"].as_object().unwrap().values().next().unwrap();
        assert_eq!(device, &format!("{home}/.convox/volumes/shop/y/data"));
        assert_eq!(back["entries"][1][2], format!("{home}/.convox/volumes/shop/y/data/sub"));
    }
}

#[test]
fn two_folders_never_share_a_name_in_docker() {
    let local = local_of("/h", "services: {web: {volumes: [/a/b, /a-b, /a_b, '/a@b']}}");
    assert_eq!(local.volumes.len(), 4);
    let other = local_of("/home/ann", "services: {web: {volumes: [/a/b]}}");
    assert!(other.volumes.keys().all(|name| !local.volumes.contains_key(name)), "nor do two homes");
}

#[test]
fn an_override_tells_whose_it_is() {
    let app: App = "shop".parse().unwrap();
    let page = Local::default().document(&app, "/h/a b");
    assert_eq!(folder_of(&page, &app), Some("/h/a b"));
    assert_eq!(folder_of(&page, &"sho".parse().unwrap()), None);
    assert_eq!(folder_of("services: {}", &app), None);
}

#[test]
fn a_name_spelt_otherwise_is_found_where_the_name_itself_is_not() {
    let there = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(spelt_otherwise("data", there(&["DATA", "x"])), Some("DATA".to_owned()));
    assert_eq!(spelt_otherwise("data", there(&["DATA", "data"])), None, "this disk tells them apart");
    assert_eq!(spelt_otherwise("data", there(&["x"])), None);
}
