//! Whole outputs of the built binary, as people and scripts see them: help, plans, errors, exit codes.
//!
//! Each is a snapshot in `tests/cli/snapshots`; to change one on purpose: `INSTA_UPDATE=always cargo test --release --test cli`.
#![allow(clippy::unwrap_used)] // a panic is how a test says no

mod apply;
mod cluster;
mod documents;
mod leave;
mod ls;
mod messages;
mod services;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The binary that was built together with this test: the same profile, the same sources.
fn binary() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().unwrap().parent().unwrap().join("volumes-agent");
    assert!(path.exists(), "{} is missing: build it with `make build`", path.display());
    path
}

/// Runs the binary among the test's files, with a home directory that is the same everywhere.
fn run(arguments: &str, input: &str) -> (String, String, i32) {
    run_with(&[], arguments, input)
}

/// The same with more in its environment.
fn run_with(environment: &[(&str, &str)], arguments: &str, input: &str) -> (String, String, i32) {
    run_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cli/files"), environment, arguments, input)
}

/// The same in another folder, which is `<folder>` in what it says.
fn run_in(
    folder: &Path,
    environment: &[(&str, &str)],
    arguments: &str,
    input: &str,
) -> (String, String, i32) {
    let mut child = Command::new(binary())
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .env_clear()
        .env("HOME", "/home/ann")
        .env("COLUMNS", "100")
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that doesn't read its input closes it.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let text =
        |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&*folder.to_string_lossy(), "<folder>");
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

fn whole(arguments: &str, input: &str) -> String {
    let (stdout, stderr, code) = run(arguments, input);
    format!("$ volumes-agent {arguments}\n--- stdout\n{stdout}--- stderr\n{stderr}--- exit code {code}\n")
}

fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

fn snapshot(name: &str, arguments: &str, input: &str) {
    settings().bind(|| insta::assert_snapshot!(name, whole(arguments, input)));
}

fn task_definition() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("cli/files/task-definition.json"))
        .unwrap()
}

const PATCH: &str = "patch --rack production --app example-app --compose wordpress.yml";

#[test]
fn help_reads_well() {
    for command in [
        "",
        "config",
        "plan",
        "start",
        "patch",
        "unpatch",
        "apply",
        "run",
        "guard",
        "wait",
        "status",
        "ls",
        "chown",
        "adopt-share",
        "leave",
        "doctor",
        "explain",
        "explain-service",
        "check-config",
    ] {
        let name = if command.is_empty() { "help".to_owned() } else { format!("help-{command}") };
        snapshot(&name, &format!("{command} --help"), "");
    }
}

#[test]
fn a_plan_tells_where_everything_lives() {
    snapshot("plan", "plan -f wordpress.yml --rack production --app example-app", "");
    snapshot("plan-local", "plan -f wordpress.yml --local --app example-app", "");
    snapshot("plan-everything", "plan -f everything.yml --cluster production --app shop", "");
    snapshot("plan-everything-json", "plan -f everything.yml --rack production --app shop --format json", "");
    snapshot("plan-local-pending", "plan -f wordpress.yml --local --app example-app --detailed-exitcode", "");
    snapshot("plan-no-detailed-exitcode", "plan -f wordpress.yml --local --region us-east-1", "");
    snapshot("plan-everything-local", "plan -f everything.yml --local", "");
    snapshot("plan-local-case-collision", "plan -f case.yml --local", "");
}

#[test]
fn what_docker_compose_is_told_on_a_laptop() {
    snapshot("start-print", "start -f wordpress.yml --app example-app --print", "");
    snapshot("start-print-everything", "start -f everything.yml --print", "");
    snapshot("start-print-nothing", "start -f relative.yml -p shop --print", "");
    snapshot("start-refused", "start -f lossy.yml --print", "");
    snapshot("start-of-standard-input", "start -f -", "services: {}");
    snapshot("start-of-the-first-format", "start -f first-format.yml", "");
    snapshot("start-another-command", "start -f wordpress.yml -- down", "");
    snapshot("start-wrong-app", "start -f wordpress.yml --app my.app", "");
    let command = "start -f wordpress.yml --app example-app";
    let (stdout, stderr, code) = run_with(&[("PATH", "/nowhere")], command, "");
    let page =
        format!("$ volumes-agent {command}\n--- stdout\n{stdout}--- stderr\n{stderr}--- exit code {code}\n");
    settings().bind(|| insta::assert_snapshot!("start-without-docker", page));
}

/// A laptop's terminal: a table that doesn't fit is stacked, and a path is never cut.
#[test]
fn a_plan_fits_its_terminal() {
    let flags = "plan -f everything.yml --cluster production --app shop";
    for (columns, is_flat) in
        [("40", false), ("110", false), ("150", true), ("0", true), ("x", true), ("", true)]
    {
        let (stdout, _, _) = run_with(&[("COLUMNS", columns)], flags, "");
        assert_eq!(stdout.starts_with("SERVICE"), is_flat, "COLUMNS={columns}");
        assert!(stdout.contains("/volumes/production-shop/@volumes/assets (shared with worker)"), "{stdout}");
    }
    let (narrow, _, _) = run_with(&[("COLUMNS", "60")], flags, "");
    settings().bind(|| insta::assert_snapshot!("plan-narrow", narrow));
}

#[test]
fn a_plan_silences_what_the_file_or_a_flag_says() {
    let file =
        "services: {web: {x-volumes: {silence: [socket]}, volumes: [/run/a.sock, '/a:/b:z', './src:/app']}}";
    let plan = |flags: &str| {
        let (stdout, stderr, code) = run(&format!("plan -f - --rack r --app a --format json {flags}"), file);
        assert_eq!((stderr.as_str(), code), ("", 1));
        let plan: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        let codes: Vec<String> = plan["warnings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|w| w["code"].as_str().unwrap().to_owned())
            .collect();
        (codes, plan["silenced"].as_u64(), plan["refusals"][0]["code"].as_str().map(str::to_owned))
    };
    let refused = Some("relative-source".to_owned());
    assert_eq!(plan(""), (vec!["ignored-option".to_owned()], Some(1), refused.clone()));
    assert_eq!(plan("--silence ignored-option"), (vec![], Some(2), refused.clone()));
    assert_eq!(
        plan("--silence relative-source"),
        (vec!["silence".to_owned(), "ignored-option".to_owned()], Some(1), refused)
    );
    let (_, stderr, _) = run("config -f - --silence ignored-option", file);
    assert!(
        stderr.ends_with("1 warning, 2 silenced; `volumes-agent explain relative-source` tells more\n"),
        "{stderr}"
    );
}

/// A folder with a program `docker`, for the environment's PATH.
fn with_docker(name: &str, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let folder = std::env::temp_dir().join(format!("volumes-agent-{name}-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let program = folder.join("docker");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

const IMAGES: &str = "services:
  db:
    image: postgres:18
    volumes:
      - /var/lib/postgresql/data
  app:
    image: registry.example:5000/shop@sha256:0123
    volumes:
      - /srv
";

#[test]
fn images_at_hand_tell_what_a_file_forgets() {
    let folder = with_docker(
        "images",
        r#"case "$*" in
  'image inspect --format {{json .Config}} -- postgres:18') echo '{"User":"","Volumes":{"/var/lib/postgresql":{}}}';;
  'image inspect --format {{json .Config}} -- registry.example:5000/shop@sha256:0123')
    echo '{"User":"node","Volumes":{"/cache":{},"/srv/x":{}}}';;
  *) exit 1;;
esac"#,
    );
    let path = folder.to_string_lossy().into_owned();
    let arguments = "plan -f - --rack production --app shop";
    let (stdout, stderr, code) = run_with(&[("PATH", path.as_str())], arguments, IMAGES);
    let page = format!("$ volumes-agent {arguments}   (exit code {code})\n{stdout}{stderr}");
    settings().bind(|| insta::assert_snapshot!("plan-images", page));
    // On a laptop Docker keeps them.
    let (_, stderr, _) = run_with(&[("PATH", path.as_str())], "plan -f - --local --app shop", IMAGES);
    assert_eq!(stderr, "");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_engine_that_hangs_or_is_not_there_is_not_waited_for() {
    let begun = std::time::Instant::now();
    for (name, script) in [("hangs", "exec /bin/sleep 60"), ("fails", "exit 1"), ("babbles", "echo no")] {
        let folder = with_docker(name, script);
        let path = folder.to_string_lossy().into_owned();
        let (stdout, stderr, code) =
            run_with(&[("PATH", path.as_str())], "plan -f - --rack r --app a", IMAGES);
        std::fs::remove_dir_all(folder).unwrap();
        assert_eq!((stderr.as_str(), code), ("", 0), "{name}");
        assert!(stdout.contains("/volumes/r-a/db/var/lib/postgresql/data"), "{stdout}");
    }
    assert!(begun.elapsed().as_secs() < 10, "took {:?}", begun.elapsed());
}

#[test]
fn memory_of_a_compose_file_is_passed_on_to_ecs() {
    let compose = "services: {web: {image: x, tmpfs: '/run:size=64m,mode=1777', volumes: [{type: tmpfs, target: /tmp, read_only: true, tmpfs: {size: 1m}}]}}";
    let folder = std::env::temp_dir().join(format!("volumes-agent-memory-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("compose.yml"), compose).unwrap();
    let flags =
        format!("patch --rack production --app example-app --compose {}/compose.yml", folder.display());
    let (patched, stderr, code) = run(&flags, &task_definition());
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!((code, stderr.as_str()), (0, ""));
    let document: serde_json::Value = serde_json::from_str(&patched).unwrap();
    let expected = serde_json::json!([
        { "containerPath": "/run", "size": 64, "mountOptions": ["mode=1777"] },
        { "containerPath": "/tmp", "size": 1, "mountOptions": ["ro"] },
    ]);
    assert_eq!(document["containerDefinitions"][0]["linuxParameters"]["tmpfs"], expected);
    assert_eq!(document.get("placementConstraints"), None, "memory waits for no share");
    assert_eq!(
        run("patch --rack production --app example-app", &patched).0,
        patched,
        "from the labels alone"
    );
    let source: serde_json::Value = serde_json::from_str(&task_definition()).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&run("unpatch", &patched).0).unwrap(), source);
}

#[test]
fn the_model_is_composes() {
    snapshot("config", "config -f wordpress.yml", "");
    snapshot("config-everything", "config -f everything.yml", "");
    snapshot("config-text", "config -f everything.yml --format text", "");
    snapshot(
        "config-project",
        "config -f - --project-directory project",
        "services: {web: {image: x, volumes: [./a:/a]}}",
    );
    let project = "--env-file project/settings.env -f project/compose.yaml -f project/compose.override.yaml";
    snapshot("config-merged", &format!("config {project}"), "");
    snapshot("config-merged-jobs", &format!("config {project} --profile jobs --format text"), "");
    snapshot("config-merged-all", &format!("config {project} --profile *"), "");
}

#[test]
fn what_docker_compose_loses_in_silence_is_said_and_not_deployed() {
    snapshot("config-lossy", "config -f lossy.yml", "");
    snapshot("plan-lossy", "plan -f lossy.yml --rack r --app a", "");
}

#[test]
fn problems_come_all_at_once_with_their_places() {
    snapshot("config-broken", "config -f broken.yml", "");
    snapshot("plan-missing-file", "plan -f nowhere.yml --rack r --app a", "");
    snapshot("config-not-yaml", "config -f -", "services:\n\tweb: {}\n");
    snapshot("config-project-name", "config -f wordpress.yml -p My.App", "");
    snapshot("plan-wrong-name", "plan -f wordpress.yml --rack a/b --app a", "");
    snapshot("patch-refused", "patch --rack r --app a --compose everything.yml", &task_definition());
    snapshot("patch-not-json", "patch --rack r --app a", "family: x");
    snapshot("patch-not-a-task-definition", "patch --rack r --app a", "{}");
    snapshot("patch-no-such-container", &format!("{PATCH} --container web=nginx"), &task_definition());
    snapshot(
        "check-config-wrong",
        "check-config --config nowhere.toml --listen here --probe-interval 5 --rack a/b",
        "",
    );
}

#[test]
fn wrong_usage_is_64() {
    for arguments in [
        "",
        "frobnicate",
        "plan",
        "patch --rack r",
        "start --rack r",
        "doctor --format yaml",
        "plan --local --rack r",
    ] {
        let (stdout, stderr, code) = run(arguments, "");
        assert_eq!((stdout.as_str(), code), ("", 64), "{arguments}: {stderr}");
    }
}

#[test]
fn patching_writes_what_the_daemon_would_read() {
    snapshot("patch", PATCH, &task_definition());
    snapshot("patch-nothing-declared", "patch --rack production --app example-app", &task_definition());
}

#[test]
fn patching_twice_is_patching_once() {
    let (once, _, code) = run(PATCH, &task_definition());
    assert_eq!(code, 0);
    assert_eq!(run(PATCH, &once).0, once);
    assert_eq!(run("patch --rack production --app example-app", &once).0, once, "from the labels alone");
}

/// One clear message, soon: about 0.1 s and 20 MB here, where a second and 100 MB are the most.
#[test]
fn files_that_are_none_don_t_take_long() {
    let alias_bomb = (1..20).fold("a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned(), |text, level| {
        let aliases = vec![format!("*a{}", level - 1); 8].join(", ");
        format!("{text}a{level}: &a{level} [{aliases}]\n")
    });
    for (input, code) in [
        ("x".repeat(3 * 1024 * 1024), "too-large"),
        (alias_bomb, "too-large"),
        ("[".repeat(1024 * 1024), "too-large"),
        (format!("a: {}", "${A:-".repeat(100_000)), "interpolation"),
    ] {
        let begun = std::time::Instant::now();
        let (stdout, stderr, exit) = run("config -f -", &input);
        assert_eq!((stdout.as_str(), exit), ("", 1), "{stderr}");
        assert!(
            stderr.starts_with(&format!("error[{code}]")) && stderr.matches("error[").count() == 1,
            "{stderr}"
        );
        assert!(stderr.len() < 500, "{stderr}");
        assert!(begun.elapsed().as_secs() < 5, "{code} took {:?}", begun.elapsed());
    }
    for (path, code) in [
        ("/dev/zero", "unreadable-file"),
        ("/proc/self/fd", "unreadable-file"),
        ("nowhere.yml", "missing-file"),
    ] {
        let (_, stderr, exit) = run(&format!("config -f {path}"), "");
        assert!(exit == 1 && stderr.starts_with(&format!("error[{code}]")), "{path}: {stderr}");
    }
}

#[test]
fn patching_keeps_what_the_author_meant_after_merging() {
    let compose = "services: {web: {image: x, x-volumes: {owner: '33:33'}, volumes: [$DIR/html, '/logs:/var/log:ro', {type: volume, source: d, target: /d, read_only: true}]}}\nvolumes: {d: }\n";
    let folder = std::env::temp_dir().join(format!("volumes-agent-cli-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("compose.yml"), compose).unwrap();
    std::fs::write(folder.join("x.env"), "DIR=/var/www\n").unwrap();
    let folder_name = folder.display();
    let flags = format!(
        "patch --rack production --app example-app --compose {folder_name}/compose.yml --env-file {folder_name}/x.env"
    );
    let (patched, stderr, code) = run(&flags, &task_definition());
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(code, 0, "{stderr}");
    let patched: serde_json::Value = serde_json::from_str(&patched).unwrap();
    let label = patched["containerDefinitions"][0]["dockerLabels"]["convox.volumes"].as_str().unwrap();
    let expected = serde_json::json!([
        { "type": "volume", "target": "/var/www/html", "x-volumes": { "owner": "33:33" } },
        { "type": "bind", "source": "/logs", "target": "/var/log", "read_only": true, "x-volumes": { "owner": "33:33" } },
        { "type": "volume", "source": "d", "target": "/d", "read_only": true, "x-volumes": { "owner": "33:33" } },
    ]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(label).unwrap(), expected);
    let again = run("patch --rack production --app example-app", &patched.to_string());
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&again.0).unwrap(),
        patched,
        "from the labels alone"
    );
}

#[test]
fn unpatch_gives_the_source_back() {
    let source: serde_json::Value = serde_json::from_str(&task_definition()).unwrap();
    for flags in ["", " --no-gate", " --container web=web"] {
        let (patched, stderr, code) = run(&format!("{PATCH}{flags}"), &task_definition());
        assert_eq!(code, 0, "{stderr}");
        let (unpatched, _, code) = run("unpatch", &patched);
        assert_eq!(code, 0);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&unpatched).unwrap(), source, "{flags}");
    }
}

#[test]
fn labels_that_disagree_with_the_flags_are_refused() {
    let (patched, _, _) = run(PATCH, &task_definition());
    snapshot("patch-another-rack", "patch --rack staging --app example-app", &patched);
    snapshot("patch-another-app", "patch --rack production --app shop", &patched);
}

#[test]
fn no_daemon_is_3() {
    let (_, stderr, code) = run("status --listen 127.0.0.1:1", "");
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("help: is it running?"), "{stderr}");
}
