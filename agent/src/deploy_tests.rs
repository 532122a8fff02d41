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

fn read(text: &'static str) -> Compose {
    let environment = [("HOME".to_owned(), "/h".to_owned())].into();
    let request = Request {
        here: "/h/p".to_owned(),
        files: vec!["f.yml".to_owned()],
        environment,
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
        ("tmpfs", 3),
        ("tmpfs", 5),
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

#[test]
fn whoever_only_reads_is_warned() {
    let compose = read("services:\n  web:\n    volumes: [./a:/a, /b:/c:U, /d]\n");
    let warnings = refused_elsewhere(&compose);
    assert_eq!(codes(&warnings), [("relative-source", 3), ("unknown-option", 3)]);
    assert!(warnings.iter().all(|warning| warning.severity == Severity::Warning));
}
