use super::*;

fn file(text: &str) -> Sources {
    Sources { file: "/etc/config.toml".into(), text: Some(text.to_owned()), ..Sources::default() }
}

fn errors(text: &str) -> Vec<String> {
    Config::parse(&file(text)).unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn an_empty_configuration_is_right() {
    assert_eq!(Config::parse(&file("")), Ok(Config::default()));
    assert_eq!(Config::default().listen.to_string(), DEFAULT_LISTEN);
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let mut sources = file("rack = \"a\"\n");
    assert_eq!(Config::parse(&sources).unwrap().rack.unwrap().as_str(), "a");
    sources.environment = vec![("VOLUMES_AGENT_RACK".to_owned(), "b".to_owned())];
    assert_eq!(Config::parse(&sources).unwrap().rack.unwrap().as_str(), "b");
    sources.flags = vec![("rack", "c".to_owned())];
    let config = Config::parse(&sources).unwrap();
    assert_eq!(config.rack.as_ref().unwrap().as_str(), "c");
    assert_eq!(config.origin("rack"), Origin::Flag("--rack".to_owned()));
}

#[test]
fn every_problem_is_named_at_once_with_its_place() {
    assert_eq!(
        errors("# a comment\nracks = \"x\"\nlisten = \"nowhere\"\nprobe_interval = \"5\"\n"),
        [
            "/etc/config.toml:2: unknown key `racks`, did you mean `rack`?",
            "/etc/config.toml:3: `listen` can't be `nowhere`: an address and a port, as in 127.0.0.1:12049",
            "/etc/config.toml:4: `probe_interval` can't be `5`: a time from 100ms to 1h, as in 5s",
        ]
    );
    assert_eq!(
        errors("file_system = \"fs-01234567\"\nnfs_server = \"10.0.0.1:/\""),
        [
            "/etc/config.toml:2: `nfs_server` and `file_system` (/etc/config.toml:1) both choose the file system: keep one"
        ]
    );
    assert!(errors("rack = ")[0].starts_with("/etc/config.toml:1: not TOML: "));
}

#[test]
fn an_external_mount_needs_the_file_system_that_it_must_be() {
    let allowed = "it needs `file_system`, the id that the share's marker must name";
    for text in ["mount = \"external\"", "nfs_server = \"10.0.0.1:/\"\nmount = \"external\""] {
        let errors = errors(text);
        assert!(errors.len() == 1 && errors[0].ends_with(allowed), "{errors:?}");
    }
    let config = Config::parse(&file("mount = \"external\"\nfile_system = \"fs-01234567\"")).unwrap();
    assert_eq!(config.mount, MountMode::External);
    assert_eq!(config.share.unwrap().to_string(), "file_system=fs-01234567");
}

#[test]
fn a_deadline_that_a_healthy_share_would_miss_is_refused() {
    let told = errors("probe_interval = \"10s\"");
    assert_eq!(
        told,
        [
            "/etc/config.toml:1: `probe_interval` can't be `10s`: `stall_deadline` must be twice `probe_interval` at least (20s), or a share that answers would count as stalled"
        ]
    );
    assert!(Config::parse(&file("probe_interval = \"10s\"\nstall_deadline = \"20s\"")).is_ok());
}

#[test]
fn where_a_value_is_written_makes_no_difference() {
    let one = Config::parse(&file("rack = \"a\"")).unwrap();
    let other = Config::parse(&file("# a comment\n\nrack = \"a\"")).unwrap();
    assert!(one != other && one.says_the_same_as(&other));
    assert!(!one.says_the_same_as(&Config::default()));
}

#[test]
fn an_unknown_variable_is_an_error() {
    let sources = Sources {
        environment: vec![("VOLUMES_AGENT_RACKET".to_owned(), "b".to_owned())],
        ..Sources::default()
    };
    assert!(Config::parse(&sources).is_err());
}

#[test]
fn no_comma_reaches_the_mount() {
    for bad in ["10.0.0.1:/a,b", "10.0.0.1", "host:/a", "10.0.0.1:/a b", "10.0.0.1,x:/"] {
        assert!(nfs_server(bad).is_err(), "{bad}");
    }
    for (good, export) in [("10.0.0.1:/", "/"), ("[fd00::5]:/a/b", "/a/b")] {
        assert!(matches!(nfs_server(good), Ok(ShareChoice::NfsServer { export: e, .. }) if e == export));
    }
}

#[test]
fn draining_is_off_unless_a_time_is_given() {
    assert_eq!(Config::default().drain_after, None);
    assert_eq!(drain_after("off"), Ok(None));
    assert_eq!(drain_after("10m"), Ok(Some(Duration::from_secs(600))));
    assert!(drain_after("5s").is_err() && drain_after("").is_err() && drain_after("on").is_err());
}

#[test]
fn lists_are_lists_or_text() {
    let config =
        Config::parse(&file("host_paths = [\"/proc\", \"/sys\"]\nmount_flags = \"noexec\"\n")).unwrap();
    assert_eq!(config.host_paths, ["/proc", "/sys"]);
    assert_eq!(config.mount_flags, [MountFlag::Noexec]);
}

/// A configuration that was right stays in force, so that an instance doesn't leave its gate to nobody.
#[test]
fn only_a_task_may_have_no_mount_of_its_own() {
    let text = "mount = \"none\"\nfile_system = \"fs-01234567\"\n";
    let error = Config::parse(&file(text)).unwrap_err().to_string();
    assert!(error.starts_with("/etc/config.toml:1: ") && error.contains("set `patch` to `off`"), "{error}");
    let task = Sources { is_ecs_task: true, ..file(text) };
    assert_eq!(Config::parse(&task).unwrap().mount, MountMode::None);
    let without = Sources { is_ecs_task: true, ..file("mount = \"none\"\n") };
    assert!(Config::parse(&without).unwrap_err().to_string().contains("file_system"));
}
