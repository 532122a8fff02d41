use super::*;
use crate::compose::{
    self,
    files::{FileError, Files},
    selection::Request,
};

/// One file, whatever its name.
struct One(&'static str);

impl Files for One {
    fn read(&self, _: &str) -> Result<String, FileError> {
        Ok(self.0.to_owned())
    }

    fn exists(&self, _: &str) -> bool {
        false
    }

    fn is_folder(&self, _: &str) -> bool {
        false
    }
}

pub(crate) fn read(text: &'static str) -> Compose {
    read_in("/h/p", text, None)
}

/// The same in another folder, and as a project that is named.
pub(crate) fn read_in(folder: &str, text: &'static str, project: Option<&str>) -> Compose {
    let request = Request {
        here: folder.to_owned(),
        files: vec!["f.yml".to_owned()],
        environment: [("HOME".to_owned(), "/h".to_owned())].into(),
        project_name: project.map(str::to_owned),
        ..Request::default()
    };
    let reading = compose::read(&request, &One(text));
    reading.compose.unwrap_or_else(|| panic!("{:?}", reading.problems))
}

fn deployed(compose: &Compose) -> Decision {
    let rack = "r".parse().unwrap();
    decide(compose, Place::Deployed { rack: &rack, host_paths: &[] }, &"a".parse().unwrap())
}

fn local(compose: &Compose) -> Decision {
    decide(compose, Place::Local { home: "/h", project: "/h/p" }, &"a".parse().unwrap())
}

fn codes(problems: &[Problem]) -> Vec<(&str, usize)> {
    problems
        .iter()
        .map(|problem| (problem.code, problem.place.as_ref().map_or(0, |place| place.line)))
        .collect()
}

fn mounts(decision: &Decision) -> Vec<(&str, &str, &str)> {
    let volumes = decision.volumes.iter();
    volumes.map(|p| (p.service.as_str(), p.volume.source.as_str(), p.volume.target.as_str())).collect()
}

#[test]
fn every_entry_ends_in_a_volume_or_a_refusal_with_its_place() {
    let compose = read(
        "services:\n  web:\n    volumes:\n      - /data\n      - ./src:/app\n      - db:/db\n      - ext:/e\n      - own:/o\nvolumes:\n  db: {name: x}\n  ext: {external: true}\n  own: {driver: nfs}\n",
    );
    let decision = deployed(&compose);
    let sources: Vec<_> = decision.volumes.iter().map(|p| (p.volume.source.as_str(), p.place.line)).collect();
    assert_eq!(sources, [("/volumes/r-a/web/data", 4), ("/volumes/r-a/@volumes/db", 6)]);
    assert_eq!(
        codes(&decision.refusals),
        [("relative-source", 5), ("external-volume", 7), ("volume-driver", 8)]
    );
    assert_eq!(codes(&decision.warnings), [("volume-renamed", 6)]);
    let local = local(&compose);
    assert_eq!((local.volumes.len(), local.refusals.len()), (5, 0));
    assert_eq!(local.volumes[1].volume.source, "/h/p/src");
    let of_docker = |p: &&Planned| p.volume.kind == layout::Kind::Docker;
    let left_to_docker: Vec<_> =
        local.volumes.iter().filter(of_docker).map(|p| p.volume.source.as_str()).collect();
    assert_eq!(left_to_docker, ["ext", "p_own"]);
    assert_eq!(codes(&local.warnings), [("volume-renamed", 6)]);
}

#[test]
fn folders_that_a_mac_does_not_tell_apart_are_refused_on_laptops() {
    let compose = read(
        "services:\n  web:\n    volumes:\n      - /data\n      - /Data\n      - /Data/sub\n      - db:/db\n      - DB:/d\n      - /etc/X:/x\n      - /etc/x:/y\n      - /\u{c4}\n      - /\u{e4}\n  Web:\n    volumes:\n      - /other\n  worker:\n    volumes:\n      - /DATA\n      - db:/db\nvolumes: {db: , DB: }\n",
    );
    let decision = local(&compose);
    let refused: Vec<_> = [5, 6, 8, 12, 15].map(|line| ("case-collision", line)).into();
    assert_eq!(codes(&decision.refusals), refused);
    let problem = &decision.refusals[0];
    assert!(problem.reason.contains("`web/Data` differs from `web/data`"), "{}", problem.reason);
    assert_eq!(problem.related[0].line, 4, "the other one");
    assert_eq!(codes(&deployed(&compose).refusals), [], "the share tells them apart");
}

#[test]
fn what_no_share_can_do_is_refused_by_name() {
    let compose = read(
        "services:\n  web:\n    tmpfs: /t\n    volumes:\n      - {type: tmpfs, target: /1}\n      - {type: image, source: x, target: /2}\n      - {type: npipe, source: x, target: /3}\n      - {type: cluster, source: x, target: /4}\n      - /a:/5:rshared\n      - {type: volume, source: db, target: /6, volume: {subpath: x}}\n      - {type: bind, source: /b, target: /7, bind: {recursive: disabled}}\n      - C:\\x:/8\n      - /c:/9:rprivate,z\nvolumes: {db: }\n",
    );
    let decision = deployed(&compose);
    let expected = [
        ("tmpfs-size", 3),
        ("tmpfs-size", 5),
        ("image-volume", 6),
        ("named-pipe", 7),
        ("cluster-volume", 8),
        ("propagation", 9),
        ("subpath", 10),
        ("recursive", 11),
        ("windows-path", 12),
    ];
    assert_eq!(codes(&decision.refusals), expected);
    assert_eq!(mounts(&decision), [("web", "/volumes/r-a/web/c", "/9")]);
    assert_eq!(codes(&decision.warnings), [("ignored-option", 13)]);
    assert_eq!(codes(&local(&compose).refusals), [("windows-path", 12)], "a laptop has Docker");
}

#[test]
fn what_docker_compose_loses_in_silence_is_refused_everywhere() {
    let compose = read(
        "services:\n  web:\n    volumes:\n      - /a:/b:RO\n      - $NOWHERE/x:/y\n      - /d\n      - /e:/d\n",
    );
    for decision in [deployed(&compose), local(&compose)] {
        assert_eq!(
            codes(&decision.refusals),
            [("unknown-option", 4), ("unset-variable", 5), ("duplicate-target", 7)]
        );
        assert_eq!(mounts(&decision), []);
    }
}

#[test]
fn volumes_of_another_service_are_shared_or_refused() {
    let compose = read(
        "services:\n  a:\n    volumes_from: [b:ro]\n  b:\n    volumes: ['db:/db', /own]\n  c:\n    volumes_from: ['container:x']\nvolumes: {db: }\n",
    );
    let decision = deployed(&compose);
    assert_eq!(codes(&decision.refusals), [("volumes-from", 3), ("volumes-from", 7)]);
    let shared = decision.volumes.iter().find(|planned| planned.service.as_str() == "a").unwrap();
    assert_eq!((shared.volume.source.as_str(), shared.volume.read_only), ("/volumes/r-a/@volumes/db", true));
    assert_eq!(shared.declaration.as_label(), serde_json::json!("db:/db:ro"));
    assert_eq!(local(&compose).volumes.len(), 4, "a laptop mounts the other service's own as well");
}

#[test]
fn memory_of_both_kinds_is_declared_in_long_syntax_on_deploy() {
    let compose = read(
        "services:\n  web:\n    tmpfs: ['/run:size=64m,mode=1777', /tmp:exec, $NOWHERE, 'var:size=1m']\n    volumes: [{type: tmpfs, target: /t, tmpfs: {size: 1m}}]\n    x-volumes: {owner: '1:1'}\n  worker:\n    volumes_from: [web]\n",
    );
    let decision = deployed(&compose);
    assert_eq!(codes(&decision.refusals), [("tmpfs", 3), ("unset-variable", 3), ("relative-target", 3)]);
    let labels: Vec<_> = decision.volumes.iter().map(|planned| planned.declaration.as_label()).collect();
    let long = |target: &str, tmpfs: serde_json::Value| serde_json::json!({ "type": "tmpfs", "target": target, "tmpfs": tmpfs });
    assert_eq!(
        labels,
        [
            long("/t", serde_json::json!({ "size": "1048576" })),
            long("/run", serde_json::json!({ "size": "67108864", "mode": 0o1777 })),
            long("/t", serde_json::json!({ "size": "1048576" })),
        ],
        "worker has memory of its own where `volumes` of web has some, and none of the key `tmpfs`, as in Docker"
    );
    assert_eq!(local(&compose).volumes.len(), 2, "a laptop's Docker reads the key `tmpfs` itself");
}

#[test]
fn a_service_that_can_t_be_a_folder_is_refused() {
    let compose = read("services:\n  ..:\n    volumes: [/a]\n  .hidden: {}\n");
    assert_eq!(codes(&deployed(&compose).refusals), [("service-name", 2)]);
}

#[test]
fn what_a_service_says_for_all_its_entries_is_said_by_each() {
    let compose = read(
        "services:\n  web:\n    x-volumes: {owner: '1:1', mode: '0750', entries: {/b: {mode: '0700'}}}\n    volumes: [/a, /b/, {type: volume, target: /c, x-volumes: {owner: '2:2'}}]\n",
    );
    let labels: Vec<_> =
        deployed(&compose).volumes.iter().map(|planned| planned.declaration.as_label()).collect();
    let extension = |owner: &str, mode: &str| serde_json::json!({ "owner": owner, "mode": mode });
    assert_eq!(labels[0]["x-volumes"], extension("1:1", "0750"));
    assert_eq!(labels[1]["x-volumes"], extension("1:1", "0700"));
    assert_eq!(labels[2]["x-volumes"], extension("2:2", "0750"));
}

/// design.md, "Where volumes live", and its path rules: what each entry comes to on the share and on a laptop, as a source or a code.
#[test]
fn every_row_and_every_path_rule_on_the_share_and_on_a_laptop() {
    const SHARE: &str = "/volumes/r-a";
    const LAPTOP: &str = "/h/.convox/volumes/a";
    let long = format!("/{}", "x".repeat(256));
    let deep = "/xxxxxxxxx".repeat(410);
    type Outcome = Result<String, &'static str>;
    let rows: Vec<(&str, &str, Outcome, Outcome)> = vec![
        ("/data", "/data", Ok(format!("{SHARE}/web/data")), Ok(format!("{LAPTOP}/web/data"))),
        ("/foo:/my/path", "/foo:/my/path", Ok(format!("{SHARE}/web/foo")), Ok("/foo".into())),
        ("/foo:/my/path:ro", "/foo:/my/path:ro", Ok(format!("{SHARE}/web/foo")), Ok("/foo".into())),
        (
            "name:/path",
            "name:/path",
            Ok(format!("{SHARE}/@volumes/name")),
            Ok(format!("{LAPTOP}/@volumes/name")),
        ),
        ("a host path", "/etc/listed:/x", Ok("/etc/listed".into()), Ok("/etc/listed".into())),
        (
            "a host path, written otherwise",
            "/etc//listed/:/x",
            Ok("/etc/listed".into()),
            Ok("/etc/listed".into()),
        ),
        (
            "below a host path",
            "/etc/listed/x:/x",
            Ok(format!("{SHARE}/web/etc/listed/x")),
            Ok("/etc/listed/x".into()),
        ),
        ("./src:/app", "./src:/app", Err("relative-source"), Ok("/h/p/src".into())),
        ("../x:/y", "../x:/y", Err("relative-source"), Ok("/h/x".into())),
        ("~/x:/y", "~/x:/y", Err("relative-source"), Ok("/h/x".into())),
        ("tmpfs", "{type: tmpfs, target: /t, tmpfs: {size: 1m}}", Ok(String::new()), Ok(String::new())),
        ("tmpfs, a missing size", "{type: tmpfs, target: /t}", Err("tmpfs-size"), Ok(String::new())),
        ("npipe", "{type: npipe, source: p, target: /t}", Err("named-pipe"), Ok("p".into())),
        ("cluster", "{type: cluster, source: c, target: /t}", Err("cluster-volume"), Ok("c".into())),
        ("image", "{type: image, source: i, target: /t}", Err("image-volume"), Ok("i".into())),
        ("a driver plugin", "plugin:/x", Err("volume-driver"), Ok("p_plugin".into())),
        ("external: true", "elsewhere:/x", Err("external-volume"), Ok("elsewhere".into())),
        ("targets are cleaned", "//a/./b/", Ok(format!("{SHARE}/web/a/b")), Ok(format!("{LAPTOP}/web/a/b"))),
        ("targets must be absolute", "data", Err("relative-target"), Err("relative-target")),
        ("`..` in a single path", "/a/../b", Err("dot-dot"), Err("dot-dot")),
        ("`..` in a host part", "/a/../b:/c", Err("dot-dot"), Ok("/b".into())),
        ("`..` in a target with a host part", "/a:/b/../c", Ok(format!("{SHARE}/web/a")), Ok("/a".into())),
        ("`/` itself", "/", Err("root-target"), Err("root-target")),
        ("`/` as a target", "/a:/", Err("root-target"), Err("root-target")),
        ("`/` as a source", "/:/a", Err("root-source"), Ok("/".into())),
        ("a target under /proc", "/proc/x", Err("kernel-path"), Err("kernel-path")),
        ("a target under /sys", "/a:/sys/fs", Err("kernel-path"), Ok("/a".into())),
        ("a target under /dev", "/dev", Err("kernel-path"), Err("kernel-path")),
        (
            "bytes are kept",
            "/\u{e4}a\u{308}",
            Ok(format!("{SHARE}/web/\u{e4}a\u{308}")),
            Ok(format!("{LAPTOP}/web/\u{e4}a\u{308}")),
        ),
        ("a component over 255 bytes", &long, Err("too-long"), Err("too-long")),
        ("a path over 4095 bytes", &deep, Err("too-long"), Err("too-long")),
        ("an unknown mode", "/a:/b:RO", Err("unknown-option"), Err("unknown-option")),
        ("`/x:ro`", "/x:ro", Err("option-without-source"), Err("option-without-source")),
        ("a variable without a value", "$NOWHERE/x:/y", Err("unset-variable"), Err("unset-variable")),
        ("two entries with one target", "/taken/", Err("duplicate-target"), Err("duplicate-target")),
        ("`:z`", "/a:/b:z", Ok(format!("{SHARE}/web/a")), Ok("/a".into())),
        (
            "a colon in a path",
            "{type: volume, source: name, target: '/a:b'}",
            Err("colon-in-path"),
            Ok(format!("{LAPTOP}/@volumes/name")),
        ),
    ];
    let come_to = |decision: &Decision| match (decision.refusals.first(), decision.volumes.last()) {
        (Some(refusal), _) => Err(refusal.code),
        (None, Some(planned)) => Ok(planned.volume.source.clone()),
        (None, None) => panic!("dropped without a word"),
    };
    let host_paths = ["/etc/listed".to_owned()];
    for (row, entry, on_share, on_laptop) in rows {
        let entry = if entry.starts_with('{') { entry.to_owned() } else { format!("\"{entry}\"") };
        let text = format!(
            "services:\n  web:\n    volumes:\n      - /taken\n      - {entry}\nvolumes: {{name: , plugin: {{driver: x}}, elsewhere: {{external: true}}}}\n"
        );
        let compose = read(text.leak());
        let (rack, app) = ("r".parse().unwrap(), "a".parse().unwrap());
        let deployed = decide(&compose, Place::Deployed { rack: &rack, host_paths: &host_paths }, &app);
        assert_eq!(come_to(&deployed), on_share, "{row}, on the share");
        assert_eq!(come_to(&local(&compose)), on_laptop, "{row}, on a laptop");
    }
}

/// "Services as the compose specification allows, except `.`, `..` and a leading dot."
#[test]
fn every_service_that_could_leave_its_folder_is_refused() {
    for (name, is_taken) in
        [("web", true), ("a.b", true), ("-", true), (".", false), ("..", false), (".a", false)]
    {
        let text = format!("services:\n  '{name}':\n    volumes: [/a]\n");
        let compose = read(text.leak());
        for decision in [deployed(&compose), local(&compose)] {
            assert_eq!(decision.volumes.len(), usize::from(is_taken), "{name}");
            assert_eq!(decision.refusals.len(), usize::from(!is_taken), "{name}");
        }
    }
}

#[test]
fn a_database_is_opened_by_one_task() {
    let warned = |service: &str| {
        let text = format!(
            "services:\n  db: {service}\n  other: {{image: mysql, volumes: ['nn:/var/lib/mysql']}}\nvolumes: {{nn: }}\n"
        );
        let decision = deployed(&read(text.leak()));
        decision.warnings.iter().filter(|warning| warning.code == "several-database-tasks").count()
    };
    for (service, count) in [
        ("{image: 'postgres:17', scale: 2, volumes: [/var/lib/postgresql/data]}", 1),
        ("{image: 'x/postgres@sha256:0', deploy: {replicas: 2}, volumes: [/var/lib]}", 1),
        ("{image: postgres, deploy: {replicas: '2'}, volumes: ['/pg:/var/lib/postgresql']}", 1),
        ("{image: postgres, scale: 1, volumes: [/var/lib/postgresql/data]}", 0),
        ("{image: postgres, volumes: [/var/lib/postgresql/data]}", 0),
        ("{image: postgres, scale: 2, volumes: [/docker-entrypoint-initdb.d]}", 0),
        (
            "{image: postgres, scale: 2, volumes: [{type: volume, target: /var/lib/postgresql, read_only: true}]}",
            0,
        ),
        (
            "{image: postgres, scale: 2, volumes: [{type: tmpfs, target: /var/lib/postgresql, tmpfs: {size: 1g}}]}",
            0,
        ),
        ("{image: postgres-exporter, scale: 2, volumes: [/var/lib/postgresql/data]}", 0),
        ("{image: mariadb, volumes: ['nn:/var/lib/mysql']}", 1),
        ("{image: mariadb, volumes: ['nn:/var/lib/mysql:ro']}", 0),
        ("{image: backup, volumes: ['nn:/var/lib/mysql']}", 0),
        ("{image: mariadb, scale: 3, volumes: ['nn:/var/lib/mysql']}", 2),
    ] {
        assert_eq!(warned(service), count, "{service}");
    }
}

#[test]
fn who_is_not_root_is_told_whose_the_directory_is() {
    let images: Images = [
        ("app".to_owned(), caution::Image { user: "1000:1000".to_owned(), ..Default::default() }),
        ("grafana/grafana".to_owned(), caution::Image { user: "0".to_owned(), ..Default::default() }),
    ]
    .into();
    let warned = |service: &str| {
        let text = format!("services:\n  a: {service}\nvolumes: {{nn: }}\n");
        let rack = "r".parse().unwrap();
        let place = Place::Deployed { rack: &rack, host_paths: &["/sys".to_owned()] };
        let decision = decide_knowing(&read(text.leak()), place, &"a".parse().unwrap(), &images);
        decision.warnings.iter().filter(|warning| warning.code == "non-root-image").count()
    };
    for (service, count) in [
        ("{image: app, volumes: ['/h:/a', '/i:/b']}", 1),
        ("{image: app, volumes: [/a, /b]}", 0),
        ("{image: app, user: '7', volumes: [/a]}", 1),
        ("{image: app, x-volumes: {seed: false}, volumes: [/a]}", 1),
        ("{image: app, user: root, volumes: [/a]}", 0),
        ("{image: app, user: '0:0', volumes: [/a]}", 0),
        ("{image: other, user: 1000, volumes: ['nn:/a']}", 1),
        ("{image: other, volumes: [/a]}", 0),
        ("{image: grafana/grafana, volumes: [/a]}", 0),
        ("{image: 'grafana/grafana:9', volumes: ['/h:/a']}", 1),
        ("{image: app, volumes: ['/a:/a:ro']}", 0),
        ("{image: app, volumes: ['/sys:/sys']}", 0),
        ("{image: app, tmpfs: '/a:size=1m'}", 0),
        ("{image: app, x-volumes: {owner: '1000:0'}, volumes: ['/h:/a']}", 0),
        ("{image: app, x-volumes: {entries: {/a: {owner: '1000:0'}}}, volumes: ['/h:/a', '/i:/b']}", 1),
    ] {
        assert_eq!(warned(service), count, "{service}");
    }
}

#[test]
fn what_an_image_keeps_is_covered_or_told() {
    let known = caution::Image { volumes: vec!["/var/lib/postgresql/".to_owned()], ..Default::default() };
    let images: Images = [("db".to_owned(), known)].into();
    let warned = |service: &str| {
        let text = format!("services:\n  a: {service}\n");
        let rack = "r".parse().unwrap();
        let place = Place::Deployed { rack: &rack, host_paths: &[] };
        let decision = decide_knowing(&read(text.leak()), place, &"a".parse().unwrap(), &images);
        decision.warnings.iter().filter(|warning| warning.code == "uncovered-image-volume").count()
    };
    for (service, count) in [
        ("{image: db}", 1),
        ("{image: db, volumes: [/var/lib/postgresql/data]}", 1),
        ("{image: db, volumes: [/var/lib/postgresql]}", 0),
        ("{image: db, volumes: [/var/lib]}", 0),
        ("{image: db, volumes: ['./x:/var/lib/postgresql']}", 0),
        ("{image: db, tmpfs: '/var/lib/postgresql:size=1g'}", 0),
        ("{image: db, x-volumes: {silence: uncovered-image-volume}}", 0),
        ("{image: unknown}", 0),
    ] {
        assert_eq!(warned(service), count, "{service}");
    }
}

#[test]
fn silence_is_counted_and_never_hides_a_refusal() {
    let compose = read(
        "services:\n  web:\n    x-volumes: {silence: [socket, relative-source], entries: {/c: {silence: [ignored-option]}}}\n    volumes: [/a.sock, './b:/b', '/c:/c:z', '/d:/d:z', {type: volume, target: /e/dist, x-volumes: {silence: build-output}}]\n",
    );
    let decision = deployed(&compose);
    assert_eq!(codes(&decision.refusals), [("relative-source", 4)]);
    assert_eq!(codes(&decision.warnings), [("silence", 2), ("ignored-option", 4)]);
    assert_eq!(decision.silenced, 3);
}

#[test]
fn a_services_own_list_hides_what_its_anchor_brings() {
    let warned = |own: &str| {
        let text =
            format!("x-c: &c\n  volumes: [/a, /b]\nservices:\n  web:\n    <<: *c\n    volumes: {own}\n");
        let decision = deployed(&read(text.leak()));
        decision.warnings.iter().map(|warning| warning.reason.clone()).collect::<Vec<_>>()
    };
    let hidden = |what: &str| {
        vec![format!("its own `volumes` hides what the merge key `<<` brings: {what} not mounted")]
    };
    assert_eq!(warned("[/c]"), hidden("2 entries, `/a` among them, are"));
    assert_eq!(warned("[/b, /c]"), hidden("`/a` is"));
    assert_eq!(warned("[/b, /a]"), [""; 0]);
    assert_eq!(warned("!override [/c]"), [""; 0]);
    let compose = read("x-c: &c {volumes: [/a]}\nservices:\n  web:\n    <<: *c\n    image: x\n");
    assert_eq!(deployed(&compose).warnings, []);
}

#[test]
fn who_shares_a_directory_is_known_for_each_volume() {
    let compose = read(
        "services:\n  a: {volumes: ['nn:/n', /own, '/m:/m']}\n  b: {volumes: ['nn:/x:ro', 'nn:/y', /own]}\n  c: {volumes: ['/m:/c', 'oo:/o'], tmpfs: '/t:size=1m'}\nvolumes: {nn: , oo: }\n",
    );
    let names = |decision: &Decision| -> Vec<String> {
        let shared = decision.shared_by();
        let lists = decision.volumes.iter().zip(&shared);
        lists
            .map(|(planned, with)| {
                let with: Vec<&str> = with.iter().map(|service| service.as_str()).collect();
                format!("{} {}: {}", planned.service, planned.volume.target, with.join(","))
            })
            .collect()
    };
    let of_cluster =
        ["a /n: b", "a /own: ", "a /m: ", "b /x: a", "b /y: a", "b /own: ", "c /c: ", "c /o: ", "c /t: "];
    assert_eq!(names(&deployed(&compose)), of_cluster);
    let of_laptop = ["a /n: b", "a /own: ", "a /m: c", "b /x: a", "b /y: a", "b /own: ", "c /c: a", "c /o: "];
    assert_eq!(names(&local(&compose)), of_laptop, "the machine's own `/m` is one folder");
}

#[test]
fn whoever_only_reads_is_warned() {
    let compose = read("services:\n  web:\n    volumes: [./a:/a, /b:/c:U, /d]\n");
    let (warnings, _) = refused_elsewhere(&compose);
    assert_eq!(codes(&warnings), [("relative-source", 3), ("unknown-option", 3)]);
    assert!(warnings.iter().all(|warning| warning.severity == Severity::Warning));
}
