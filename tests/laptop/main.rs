//! What docs/promises.md promises of a laptop, on a real Docker Engine with real compose programs: the Go plugin and the Python 1.29.
//!
//! All of it runs in namespaces of its own, with the images built on the spot, and as a person who is not root. A name, or a part of one,
//! on the command line runs only those that have it: `cargo test --release --test laptop -- nested`.

mod person;
mod promises;

use lab::{Error, engine::Engine, host, image, place, progress::Progress, selection::Selection};
use person::{Person, Program};
use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

/// Set in the process that runs inside of the namespaces.
const INSIDE: &str = "VOLUMES_LAPTOP_INSIDE";
/// Who may use the engine's socket, on a machine that knows no such group.
const GROUP: u32 = 4712;

/// One promise, kept or not, for a person at a laptop; with which programs.
type Promise = (&'static str, fn(&Person<'_>) -> Result<(), Error>, &'static [Program]);

const BOTH: &[Program] = &[Program::Go, Program::Python];
/// For what is decided before either of them runs.
const ONE: &[Program] = &[Program::Go];

const PROMISES: &[Promise] = &[
    ("files_on_a_laptop_outlive_down", promises::files_outlive_down, BOTH),
    ("the_example_app_runs_on_a_laptop", promises::the_example_app, BOTH),
    ("what_the_image_has_is_there_at_first_use_with_its_owner", promises::what_the_image_has_is_there, BOTH),
    ("services_on_a_laptop_meet_only_in_named_volumes", promises::services_meet_only_in_named_volumes, BOTH),
    ("binds_on_a_laptop_are_as_docker_has_them", promises::binds_are_as_docker_has_them, BOTH),
    ("a_nested_volume_on_a_laptop_is_in_its_place", promises::a_nested_volume_is_in_its_place, BOTH),
    (
        "what_docker_keeps_elsewhere_is_never_taken",
        promises::what_docker_keeps_elsewhere_is_never_taken,
        BOTH,
    ),
    ("a_service_of_another_profile_has_its_volumes", promises::a_service_of_another_profile, BOTH),
    ("two_apps_on_a_laptop_are_apart", promises::two_apps_are_apart, ONE),
    (
        "folders_are_made_by_who_runs_it_and_nothing_is_changed",
        promises::folders_are_made_by_who_runs_it,
        ONE,
    ),
    ("what_is_refused_on_a_laptop_makes_and_runs_nothing", promises::what_is_refused_makes_nothing, ONE),
];

fn main() -> ExitCode {
    let progress = Progress::new();
    let outcome = match std::env::var_os(INSIDE) {
        None => outside(),
        Some(_) => inside(&progress),
    };
    outcome.unwrap_or_else(|error| {
        progress.plain(&format!("error: {error}"));
        ExitCode::FAILURE
    })
}

/// Fetches what needs the network, then runs this program again in namespaces that end with it: processes, mounts, network.
fn outside() -> Result<ExitCode, Error> {
    host::run(Command::new(place::repository().join("tests/install-compose")).arg(plugin()?))?;
    let own = std::env::current_exe().map_err(host::failed("find", Path::new("this program")))?;
    let mut inside = Command::new("setpriv");
    inside
        .args(["--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--mount-proc", "--fork"])
        .arg("--kill-child")
        .arg(own)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1");
    let status = inside.status().map_err(host::failed("start", Path::new("setpriv")))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The folder of the Go program, which is kept.
fn plugin() -> Result<PathBuf, Error> {
    Ok(place::cache()?.join("compose"))
}

fn inside(progress: &Progress) -> Result<ExitCode, Error> {
    // The engine's own containerd, not one of the machine; and homes that anyone can reach.
    for folder in ["/run", place::MEMORY] {
        host::sh(&format!("mount -t tmpfs -o mode=755 tmpfs {folder}"))?;
    }
    // The machine's own plugins are nobody's here.
    for parent in ["/usr/local/lib", "/usr/local/libexec", "/usr/lib", "/usr/libexec"] {
        let plugins = Path::new(parent).join("docker/cli-plugins");
        if plugins.exists() {
            host::sh(&format!("mount -t tmpfs tmpfs {}", plugins.display()))?;
        }
    }
    host::sh("ip link set lo up")?;
    let memory = Path::new(place::MEMORY);
    let engine = Engine::start(&memory.join("engine"), GROUP, progress)?;
    images(&engine, &memory.join("images"))?;
    let programs = memory.join("programs");
    for program in [Program::Go, Program::Python] {
        let folder = programs.join(program.name());
        host::directory(&folder)?;
        for path in [lab::engine::DOCKER, "/usr/bin/docker-compose"] {
            let path = Path::new(path);
            let link = folder.join(path.file_name().unwrap_or_default());
            // Who has the plugin has no other program.
            if program == Program::Python || path == Path::new(lab::engine::DOCKER) {
                std::os::unix::fs::symlink(path, &link).map_err(host::failed("link", &link))?;
            }
        }
    }
    for (from, to) in [
        (image::built("volumes-agent")?, "volumes-agent"),
        (plugin()?.join("docker-compose"), "docker-compose"),
    ] {
        let to = programs.join(to);
        std::fs::copy(&from, &to).map_err(host::failed("copy", &from))?;
    }

    let selection = Selection::of_the_command_line();
    let (mut kept, mut broken) = (0, Vec::new());
    for program in [Program::Go, Program::Python] {
        let wanted = PROMISES.iter().filter(|(name, _, with)| selection.has(name) && with.contains(&program));
        for (name, promise, _) in wanted {
            let begun = Instant::now();
            let home = memory.join(format!("homes/{}/{name}", program.name()));
            let outcome = Person::at(&home, &programs, program, &engine)
                .and_then(|person| promise(&person).and_then(|()| person.leave()));
            let told = format!("{name}, {} ({:.1} s)", program.name(), begun.elapsed().as_secs_f64());
            match outcome {
                Ok(()) => {
                    kept += 1;
                    progress.say(&format!("ok      {told}"));
                }
                Err(error) => {
                    progress.say(&format!("BROKEN  {told}\n  {error}"));
                    broken.push(name);
                    // What it left running must not break the next one.
                    drop(remove_containers(&engine));
                }
            }
        }
    }
    remove_containers(&engine)?;
    progress.say(&format!("{kept} promises kept, {} broken {broken:?}", broken.len()));
    // A filter that fits nothing has tested nothing.
    Ok(if broken.is_empty() && kept > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn remove_containers(engine: &Engine) -> Result<(), Error> {
    let ids = engine.docker(&["ps", "--all", "--quiet"])?;
    let ids: Vec<&str> = ids.split_whitespace().collect();
    if ids.is_empty() {
        return Ok(());
    }
    engine.docker(&[&["rm", "--force", "--volumes"], ids.as_slice()].concat()).map(drop)
}

/// The example app's, and one with content and an owner of its own: `/data` is user 1000's, who runs it.
fn images(engine: &Engine, folder: &Path) -> Result<(), Error> {
    host::directory(folder)?;
    let tar = folder.join("wordpress.tar");
    host::write(&tar, image::wordpress(folder)?)?;
    let name = "wordpress:4.5.2-apache";
    let changes = ["ENTRYPOINT [\"/entrypoint\"]", "CMD [\"httpd\"]", "ENV PATH=/bin"];
    let mut import = vec!["import"];
    changes.iter().for_each(|change| import.extend(["--change", *change]));
    let tar = tar.to_string_lossy();
    engine.docker(&[import.as_slice(), &[&*tar, name]].concat())?;
    let dockerfile = format!(
        "FROM {name}\nENTRYPOINT []\nCMD [\"sleep\", \"1000\"]\nRUN mkdir -p /data/inner && echo first > /data/first && chown -R 1000:1000 /data && chmod 750 /data\nUSER 1000\n"
    );
    let context = folder.join("box");
    host::directory(&context)?;
    host::write(&context.join("Dockerfile"), dockerfile)?;
    engine.docker(&["build", "--quiet", "--network=none", "--tag=box", &context.to_string_lossy()]).map(drop)
}
