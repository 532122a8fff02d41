//! `volumes-agent start`: a compose file on a laptop, each of its volumes in its own folder below ~/.convox/volumes.

use crate::{
    commands::{
        files::{ComposeArgs, print, read_compose},
        messages::Messages,
    },
    compose::Compose,
    deploy::decide,
    diagnostics::{Exit, Failure},
    layout::Place,
    names::App,
    problem::{Problem, Severity},
    spelling,
    start::{self, APP_FILE, Folder, Local},
};
use clap::Args;
use std::{
    collections::HashSet,
    fs,
    io::{ErrorKind, Read},
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The folder of all that is kept in a home.
const FOLDER: &str = ".convox";

/// Flags of `start`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  volumes-agent start
  volumes-agent start -f docker-compose.yml --app example-app -- --build --detach
  volumes-agent start --print

Stop it with Ctrl-C, or with `docker compose down`: the files stay in ~/.convox/volumes, with `down --volumes` too.")]
pub struct StartArgs {
    /// What to read.
    #[command(flatten)]
    pub compose: ComposeArgs,
    /// The app [default: .convox/app, else the project's name where one is given, else the folder's].
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// Print what Docker Compose would be told beside the files; make and run nothing.
    #[arg(long)]
    pub print: bool,
    /// Arguments of `docker compose up`.
    #[arg(last = true, value_name = "ARGS")]
    pub up: Vec<String>,
}

/// Makes the folders, writes the override, and becomes `docker compose up`.
///
/// # Errors
/// A name is none, a folder can't be made, there is no Docker Compose.
pub fn run(args: &StartArgs) -> Result<Exit, Failure> {
    if args.compose.file.iter().any(|file| file == "-") {
        let error =
            "`start` hands the files over to Docker Compose by their names, and standard input has none";
        return Err(Failure::refused(error).help("write it into a file, and name that by -f FILE"));
    }
    let mut messages = Messages::new(args.compose.messages.beside(None), &args.compose.messages);
    let prepared = prepare(args, &mut messages);
    // What reading found is worth knowing even where something else is wrong.
    let outcome = if args.print { "nothing was printed" } else { "nothing was started" };
    messages.tell(if matches!(prepared, Ok(None)) { outcome } else { "" });
    let Some(prepared) = prepared? else { return Ok(Exit::Refused) };
    if prepared.local.is_empty() {
        messages
            .note("no volume lives below ~/.convox/volumes: Docker Compose is told nothing beside the files");
    }
    if args.print {
        if prepared.local.is_empty() {
            return Ok(Exit::Done);
        }
        return print(&prepared.local.document(&prepared.app, &prepared.compose.folder));
    }
    let home = super::home()?;
    let program = find_program()?;
    let root = Path::new(&home).join(FOLDER);
    for folder in &prepared.local.folders {
        ensure(&root.join("volumes"), folder)?;
    }
    let overriding = match prepared.local.is_empty() {
        true => None,
        false => Some(write(&root.join("overrides"), &prepared, &messages)?),
    };
    for (service, target, source) in &prepared.local.places {
        messages.note(&format!("{service}: {target} is {source}"));
    }
    Err(hand_over(args, &prepared.compose, overriding.as_deref(), program))
}

/// What follows `--` is for `up`: its flags, then services. Another command's name there would be looked for as a service.
fn check_up(args: &StartArgs, compose: &Compose) -> Result<(), Failure> {
    let is_service = |word: &&String| compose.services.iter().any(|service| service.name == **word);
    match args.up.first().filter(|word| !word.starts_with('-') && !is_service(word)) {
        None => Ok(()),
        Some(word) => {
            let services = compose.services.iter().map(|service| service.name.as_str());
            let help = spelling::did_you_mean(word, services).unwrap_or_else(|| {
                format!("if it is a command of Docker Compose, run `docker compose {word}`")
            });
            let error =
                format!("`{word}` is no service: what follows `--` are arguments of `docker compose up`");
            Err(Failure::usage(error).help(help))
        }
    }
}

/// What is to be started.
struct Prepared {
    compose: Compose,
    app: App,
    local: Local,
}

/// Reads and decides; nothing, where something is refused.
fn prepare(args: &StartArgs, messages: &mut Messages) -> Result<Option<Prepared>, Failure> {
    let Some(mut compose) = read_compose(&args.compose.file, &args.compose.project, messages)? else {
        return Ok(None);
    };
    if compose.is_legacy {
        let error =
            format!("{} is of Docker Compose's first format, without `services:`", compose.files.join(", "));
        return Err(Failure::refused(error).help("put the services below `services:`"));
    }
    check_up(args, &compose)?;
    let home = super::home()?;
    let app = app(args.app.as_deref(), &compose, messages)?;
    // Docker Compose also starts services that are named on its command line, and what those depend on, whatever the profiles: so all
    // of them are told where their volumes are, and those that surely run must have all they ask for.
    let is_asked = |name: &String| args.up.contains(name);
    let running: HashSet<String> = compose
        .services
        .iter()
        .filter(|service| service.is_active || is_asked(&service.name))
        .map(|service| service.name.clone())
        .collect();
    compose.services.iter_mut().for_each(|service| service.is_active = true);
    let place = Place::Local { home: &home, project: &compose.folder };
    let decision = decide(&compose, place, &app);
    messages.add_silenced(decision.silenced);
    let is_running = |problem: &Problem| problem.service.as_ref().is_none_or(|name| running.contains(name));
    let (refusals, others): (Vec<Problem>, Vec<Problem>) =
        decision.refusals.iter().cloned().partition(is_running);
    messages.add(decision.warnings.iter().filter(|warning| is_running(warning)).cloned());
    messages.add(others.into_iter().map(|problem| problem.as_severity(Severity::Warning)));
    let is_refused = !refusals.is_empty();
    messages.add(refusals);
    if is_refused {
        return Ok(None);
    }
    let mut local = start::local(&decision);
    local.places.retain(|(service, _, _)| running.contains(service));
    Ok(Some(Prepared { compose, app, local }))
}

/// The app on a laptop, and a note that says where its name is from.
///
/// # Errors
/// The name can't be an app's, or `.convox/app` can't be read.
pub fn app(given: Option<&str>, compose: &Compose, messages: &Messages) -> Result<App, Failure> {
    let file = match given {
        Some(_) => None,
        None => app_file(&Path::new(&compose.folder).join(APP_FILE))?,
    };
    let (app, from) = start::app(given, file.as_deref(), compose).map_err(|error| {
        Failure::refused(error).help(format!("give a name by --app, or write one into {APP_FILE}"))
    })?;
    if let Some(from) = from {
        messages.note(&format!("the app is `{app}`, from {from}; --app names another"));
    }
    Ok(app)
}

/// The text of `.convox/app`, where there is one.
fn app_file(path: &Path) -> Result<Option<String>, Failure> {
    /// More is no name.
    const LARGEST_BYTES: u64 = 1024;
    let mut text = String::new();
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(failed("read", path, &error)),
    };
    file.take(LARGEST_BYTES).read_to_string(&mut text).map_err(|error| failed("read", path, &error))?;
    Ok(Some(text))
}

fn failed(act: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::refused(format!("can't {act} {}: {error}", path.display()))
}

/// Makes what is missing of a folder, as whoever runs this. What is there stays as it is.
fn ensure(volumes: &Path, folder: &Folder) -> Result<(), Failure> {
    let (own, inner) = match &folder.inside {
        Some(outer) => (outer.as_str(), folder.relative.strip_prefix(outer.as_str()).unwrap_or_default()),
        None => (folder.relative.as_str(), ""),
    };
    let mut path = volumes.to_owned();
    directory(volumes.parent().unwrap_or(volumes))?;
    directory(volumes)?;
    for (depth, component) in own.split('/').enumerate() {
        path.push(component);
        let is_new = directory(&path)?;
        // A home, and all of an app, may be moved to another disk by a link. Below that a container may have made it.
        if depth > 0 && !is_new {
            no_link(&path)?;
        }
        if !is_new {
            as_spelt(&path, component)?;
        }
    }
    for component in inner.split('/').filter(|component| !component.is_empty()) {
        path.push(component);
        no_link(&path)?;
    }
    Ok(())
}

/// A folder in one that is there. Whether it was made.
fn directory(path: &Path) -> Result<bool, Failure> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if path.is_dir() {
                return Ok(false);
            }
            let error = format!("{} is in the way of a volume: it is no folder", path.display());
            Err(Failure::refused(error).help("move it elsewhere"))
        }
        Err(error) => {
            let failure = failed("make the folder", path, &error);
            let denied = path.parent().filter(|_| error.kind() == ErrorKind::PermissionDenied);
            let owner = denied.and_then(|parent| Some((parent, fs::metadata(parent).ok()?.uid())));
            Err(match owner {
                Some((parent, uid)) => failure.help(give_back(parent, uid)),
                None => failure,
            })
        }
    }
}

/// What to do about a folder of somebody else's.
fn give_back(folder: &Path, uid: u32) -> String {
    // Whoever has another home than their own should not be told to take it.
    if !folder.components().any(|component| component.as_os_str() == FOLDER) {
        return format!("HOME must name a home of yours; {} belongs to user {uid}", folder.display());
    }
    let folder = folder.display();
    let whose = match uid {
        0 => "root's: Docker made it, or a command with sudo".to_owned(),
        uid => format!("user {uid}'s"),
    };
    format!("{folder} is {whose}. Give it back: sudo chown \"$(id -u)\" {folder}")
}

/// Whoever is in a container with a volume can put links into it, and Docker would follow them to any folder of the machine.
fn no_link(path: &Path) -> Result<(), Failure> {
    // What can't be looked at is in a folder that is the image's user's own.
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => {
            let error =
                format!("{} is a symbolic link: a volume's folder must be a real one", path.display());
            Err(Failure::refused(error).help(
                "remove the link; to keep volumes on another disk, make a link of ~/.convox/volumes, or of the app's folder in it",
            ))
        }
        _ => Ok(()),
    }
}

/// On a home that doesn't tell upper from lower case, another volume's folder may answer to the name.
fn as_spelt(path: &Path, component: &str) -> Result<(), Failure> {
    let Some(parent) = path.parent() else { return Ok(()) };
    // A folder that can't be listed is not ours to judge.
    let Ok(entries) = fs::read_dir(parent) else { return Ok(()) };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    match start::spelt_otherwise(component, names) {
        None => Ok(()),
        Some(other) => {
            let error = format!(
                "{} is the folder of another volume, `{other}`: this disk doesn't tell upper from lower case",
                path.display()
            );
            Err(Failure::refused(error)
                .code("case-collision")
                .help(format!("write `{other}`, or another name; or rename the folder")))
        }
    }
}

/// Writes the override for Docker Compose, whole or not at all.
fn write(overrides: &Path, prepared: &Prepared, messages: &Messages) -> Result<PathBuf, Failure> {
    let Prepared { compose, app, local } = prepared;
    directory(overrides)?;
    if let Some(other) = other_folder(overrides, prepared) {
        messages.note(&format!(
            "the app `{app}` was started from {other} too, and both have the same files; --app or {APP_FILE} tells them apart"
        ));
    }
    if let Some(other) = other_app(overrides, prepared) {
        messages.note(&format!(
            "this project was started as the app `{other}` before, and its files are in that one's folders: --app {other} has them"
        ));
    }
    let path = overrides.join(start::file_name(app, compose));
    let page = local.document(app, &compose.folder);
    let new = path.with_extension(format!("{}.new", std::process::id()));
    fs::write(&new, page).map_err(|error| failed("write", &new, &error))?;
    fs::rename(&new, &path).map_err(|error| failed("write", &path, &error))?;
    messages.note(&format!("what Docker Compose is told beside the files is in {}", path.display()));
    Ok(path)
}

/// Another folder that is there and was started as the same app.
fn other_folder(overrides: &Path, prepared: &Prepared) -> Option<String> {
    let Prepared { compose, app, .. } = prepared;
    let mut others: Vec<String> = fs::read_dir(overrides)
        .ok()?
        .filter_map(|entry| {
            let document = fs::read_to_string(entry.ok()?.path()).ok()?;
            let folder = start::folder_of(&document, app)?;
            (folder != compose.folder && Path::new(folder).is_dir()).then(|| folder.to_owned())
        })
        .collect();
    others.sort();
    others.into_iter().next()
}

/// Another app that this very project was started as, if it was not started as this one.
fn other_app(overrides: &Path, prepared: &Prepared) -> Option<String> {
    let Prepared { compose, app, .. } = prepared;
    let own = start::file_name(app, compose);
    if overrides.join(&own).exists() {
        return None;
    }
    let of_project = own.strip_prefix(app.as_str())?;
    let mut others: Vec<String> = fs::read_dir(overrides)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(of_project)?.to_owned()))
        .collect();
    others.sort();
    others.into_iter().next()
}

/// Docker Compose: the plugin, if there is one, else the program of its own.
fn find_program() -> Result<Command, Failure> {
    for words in [&["docker", "compose"][..], &["docker-compose"]] {
        let command = || {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]);
            command
        };
        let mut asked = command();
        asked.arg("version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if asked.status().is_ok_and(|status| status.success()) {
            return Ok(command());
        }
    }
    Err(Failure::refused("there is neither `docker compose` nor `docker-compose` here")
        .help("install Docker with its Compose plugin: https://docs.docker.com/compose/install/"))
}

/// Becomes Docker Compose; comes back only if that fails.
fn hand_over(
    args: &StartArgs,
    compose: &Compose,
    overriding: Option<&Path>,
    mut command: Command,
) -> Failure {
    for file in &compose.files {
        command.arg("-f").arg(file);
    }
    if let Some(path) = overriding {
        command.arg("-f").arg(path);
    }
    let project = &args.compose.project;
    let one = [("-p", &project.project_name), ("--project-directory", &project.project_directory)];
    for (flag, value) in one {
        if let Some(value) = value {
            command.args([flag, value.as_str()]);
        }
    }
    for (flag, values) in [("--env-file", &project.env_file), ("--profile", &project.profile)] {
        for value in values {
            command.args([flag, value.as_str()]);
        }
    }
    let error = command.arg("up").args(&args.up).exec();
    Failure::refused(format!("`{}` can't be run: {error}", command.get_program().to_string_lossy()))
}
