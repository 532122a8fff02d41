//! (rack, app, service, declaration) to a path: where each volume lives, or why it can't live anywhere.
//!
//! Every declaration ends in exactly one of: a volume, a refusal, or a volume with a warning. Nothing is dropped.

use crate::{
    declaration::{self, Declaration, Source},
    first_use::{Content, FirstUse},
    names::{App, Rack, ServiceName, VolumeName},
    order::NAMED,
};
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// Longest component of a path, in bytes (limits.h, NAME_MAX).
const NAME_MAX: usize = 255;
/// Longest path, in bytes, without the final NUL (limits.h, PATH_MAX).
const PATH_MAX: usize = 4095;
/// In bytes: what ECS counts memory in.
const MEBIBYTE: u64 = 1024 * 1024;
/// Files of every machine.
const MACHINE_FILES: [&str; 9] = [
    "/etc/localtime",
    "/etc/timezone",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/machine-id",
    "/etc/resolv.conf",
    "/etc/passwd",
    "/etc/group",
    "/etc/os-release",
];
/// Folders whose content is the machine's, whoever mounts them.
const MACHINE_FOLDERS: [&str; 11] = [
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/var/run",
    "/boot",
    "/lib/modules",
    "/usr/lib/modules",
    "/usr/src",
    "/var/lib/docker",
    "/etc/ssl/certs",
];
/// What folders are called that a build fills.
const BUILD_OUTPUT: [&str; 7] = ["node_modules", "vendor", ".venv", "bundle", "target", "dist", ".next"];

/// What a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A directory of one service.
    Service,
    /// A directory of all services of the app that name it.
    Named,
    /// The machine's own path, as it is.
    Host,
    /// Memory.
    Tmpfs,
    /// What Docker alone can make: another image's files, a pipe, a cluster's volume.
    Docker,
}

/// A declared volume with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The declaration, as written.
    pub declaration: String,
    /// What it is.
    pub kind: Kind,
    /// The source's absolute path on the machine; empty for memory.
    pub source: String,
    /// The source relative to the root of volumes; none for a path of the machine's own.
    pub relative: Option<String>,
    /// The path in the container, cleaned.
    pub target: String,
    /// Whether the container may only read.
    pub read_only: bool,
    /// The target of the volume whose mount already holds this one at the same place: it needs no mount of its own.
    pub folded_into: Option<String>,
    /// What ECS is told about memory; none for anything else, and on a laptop, where Docker reads the file itself.
    pub memory: Option<Memory>,
    /// How it begins; of what is no directory on the share, and on a laptop, that means nothing.
    pub first_use: FirstUse,
}

/// Memory, as ECS has it (API reference, `Tmpfs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The most that it holds, in MiB.
    pub mebibytes: i32,
    /// The permissions of its root.
    pub mode: Option<u32>,
}

/// A declaration that gets no volume, or one that gets something else than its words say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The diagnostic's code, stable for ever.
    pub code: &'static str,
    /// The declaration, as written.
    pub declaration: String,
    /// What is wrong, in the user's words.
    pub reason: String,
    /// Why it matters for data.
    pub why: Option<&'static str>,
    /// How to write it instead.
    pub help: String,
    /// The entry as it could be, where that can be told.
    pub fix: Option<String>,
}

impl Finding {
    fn why(mut self, why: &'static str) -> Self {
        self.why = Some(why);
        self
    }

    fn fix(mut self, fix: Option<String>) -> Self {
        self.fix = fix;
        self
    }
}

/// What became of a service's declarations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// Volumes, in the declarations' order, with the declaration's index.
    pub volumes: Vec<(usize, Volume)>,
    /// Declarations without a volume, by index.
    pub refusals: Vec<(usize, Finding)>,
    /// Volumes with a warning, by index.
    pub warnings: Vec<(usize, Finding)>,
}

/// Where volumes are to live.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// On the share, at the volumes root of every instance.
    Deployed {
        /// The rack.
        rack: &'a Rack,
        /// Paths of the instances that may be bound as they are.
        host_paths: &'a [String],
    },
    /// On a laptop.
    Local {
        /// The home directory, absolute.
        home: &'a str,
        /// The compose file's folder, absolute.
        project: &'a str,
    },
}

impl Place<'_> {
    /// The root of an app's volumes: its path on the machine, and relative to the root of all volumes.
    fn app_folder(&self, app: &App) -> (String, String) {
        match self {
            Self::Deployed { rack, .. } => (crate::mount::VOLUMES_ROOT.to_owned(), format!("{rack}-{app}")),
            Self::Local { home, .. } => {
                (format!("{}/.convox/volumes", home.trim_end_matches('/')), app.to_string())
            }
        }
    }
}

/// Lays out the declarations of one service.
///
/// Equal inputs give equal paths on every instance and in every version: another path would hide people's files. The key of a
/// service's directory is the host part of `host:container`, else the container path, cleaned as text; bytes stay as written.
/// Source: Convox, "Volumes"; Compose specification, `volumes` short syntax.
pub fn layout(place: Place<'_>, app: &App, service: &ServiceName, declarations: &[Declaration]) -> Layout {
    let mut layout = Layout::default();
    // Which volume has a target.
    let mut targets: HashMap<String, usize> = HashMap::new();
    for (index, declaration) in declarations.iter().enumerate() {
        match volume(place, app, service, declaration) {
            Err(finding) => layout.refusals.push((index, *finding)),
            Ok(volume) => {
                if let Some(first) = targets.get(&volume.target) {
                    let first = &layout.volumes[*first].1;
                    let reason = format!(
                        "the container's path `{}` is taken by `{}`",
                        volume.target, first.declaration
                    );
                    let help = "keep one of the two".to_owned();
                    let refusal = finding("duplicate-target", declaration, reason, help);
                    let why = "Docker Compose keeps the last one, and drops the others without a word";
                    layout.refusals.push((index, refusal.why(why)));
                    continue;
                }
                if matches!(place, Place::Deployed { .. })
                    && volume.relative.is_some()
                    && let Some((code, reason, help)) = meant_as_the_machines(&volume, declaration)
                {
                    let why = "what looks for it finds an empty folder, and may not start";
                    layout.warnings.push((index, finding(code, declaration, reason, help).why(why)));
                }
                if let Some(warning) = build_output(&volume, declaration) {
                    layout.warnings.push((index, warning));
                }
                if let Some(warning) = volume.memory.and_then(|memory| rounded(declaration, memory)) {
                    layout.warnings.push((index, warning));
                }
                // On a laptop the file's own words reach Docker.
                let is_deployed = matches!(place, Place::Deployed { .. });
                for option in declaration.without_meaning().into_iter().filter(|_| is_deployed) {
                    let reason = format!("the option `{option}` has no meaning here, and is left out");
                    let warning =
                        finding("ignored-option", declaration, reason, format!("remove `{option}`"));
                    let why = "nothing is lost: it is about the machine that Docker Compose runs on";
                    layout.warnings.push((index, warning.why(why).fix(without_option(declaration, option))));
                }
                targets.insert(volume.target.clone(), layout.volumes.len());
                layout.volumes.push((index, volume));
            }
        }
    }
    fold(&mut layout);
    layout
}

fn finding(code: &'static str, declaration: &Declaration, reason: String, help: String) -> Finding {
    Finding { code, declaration: declaration.text.clone(), reason, why: None, help, fix: None }
}

fn volume(
    place: Place<'_>,
    app: &App,
    service: &ServiceName,
    declaration: &Declaration,
) -> Result<Volume, Box<Finding>> {
    let refuse =
        |code, reason: String, help: &str| Box::new(finding(code, declaration, reason, help.to_owned()));
    let target = clean(&declaration.target);
    let in_the_way = ["/proc", "/sys", "/dev"].into_iter().find(|root| is_within(&target, root));
    // On a laptop that is Docker's business, and a path of the instance that is allowed is bound as it is.
    let in_the_way = in_the_way.filter(|_| match place {
        Place::Local { .. } => declaration.source.is_none() && declaration.kind == declaration::Kind::Volume,
        Place::Deployed { host_paths, .. } => !is_allowed(declaration, host_paths),
    });
    if let Some(root) = in_the_way {
        let reason =
            format!("`{target}` is the kernel's: a volume below `{root}` would hide it from the container");
        let is_memory = declaration.kind == declaration::Kind::Tmpfs;
        let elsewhere = "choose another path in the container".to_owned();
        let (help, why) = match (&declaration.source, target.as_str()) {
            (_, "/dev/shm") if is_memory => (
                "remove the entry, and set `linuxParameters.sharedMemorySize` in the task definition"
                    .to_owned(),
                "ECS has a parameter of its own for shared memory",
            ),
            _ if is_memory => (elsewhere, "programs look for the kernel's files there"),
            (Some(Source::Absolute(path)), _) if is_within(&clean(path), root) => {
                (of_the_instance(&clean(path)), "the share has no files of the kernel's")
            }
            _ => (
                elsewhere,
                "programs in the container would find the share's files where the kernel's belong",
            ),
        };
        return Err(Box::new(finding("kernel-path", declaration, reason, help).why(why)));
    }
    if target == "/" {
        let reason = "a volume can't be the container's whole root".to_owned();
        let refusal = finding("root-target", declaration, reason, "name a folder below `/`".to_owned());
        return Err(Box::new(refusal.why("it would hide all of the image's files")));
    }
    let made = |kind, source: String, relative| Volume {
        declaration: declaration.text.clone(),
        kind,
        source,
        relative,
        target: target.clone(),
        read_only: declaration.read_only,
        folded_into: None,
        memory: None,
        first_use: FirstUse::default(),
    };
    if let Place::Deployed { .. } = place {
        if let Some((code, reason, help)) = not_on_a_share(declaration) {
            return Err(refuse(code, reason, help));
        }
        let source = declaration.source.as_ref().map_or("", Source::written);
        let is_windows = matches!(declaration.source, Some(Source::Windows(_)));
        if let Some(path) = [source, &target].into_iter().find(|path| path.contains(':') && !is_windows) {
            let reason =
                format!("`{path}` has a colon in it, and the ECS agent separates source and target by one");
            return Err(refuse("colon-in-path", reason, "choose a path without a colon"));
        }
    }
    match declaration.kind {
        declaration::Kind::Volume | declaration::Kind::Bind => {}
        declaration::Kind::Tmpfs => {
            let volume = made(Kind::Tmpfs, String::new(), None);
            return match place {
                Place::Local { .. } => Ok(volume),
                Place::Deployed { .. } => Ok(Volume { memory: Some(memory(declaration)?), ..volume }),
            };
        }
        declaration::Kind::NamedPipe | declaration::Kind::Cluster | declaration::Kind::Image => {
            let source = declaration.source.as_ref().map_or("", Source::written);
            return Ok(made(Kind::Docker, source.to_owned(), None));
        }
    }
    let (root, folder) = place.app_folder(app);
    let first_use = match place {
        Place::Deployed { .. } => FirstUse::of(declaration),
        // Docker itself fills its volumes there.
        Place::Local { .. } => Ok(FirstUse::default()),
    };
    let first_use = first_use.map_err(|error| refuse("x-volumes-value", error.to_string(), error.help()))?;
    let below = |kind, relative: String| match too_long(&root, &relative) {
        Some(reason) => Err(refuse("too-long", reason, "use a shorter path")),
        None => {
            let volume = made(kind, format!("{root}/{relative}"), Some(relative));
            Ok(Volume { first_use, ..volume })
        }
    };
    let dot_dot = |path: &str| {
        let reason = format!("`{path}` has `..` in it: the volume's place must be plain to see");
        let refusal = finding("dot-dot", declaration, reason, "write the path without `..`".to_owned());
        let fix = declaration.text.contains(path).then(|| declaration.text.replacen(path, &clean(path), 1));
        Err(Box::new(refusal.why("two entries that look different could be one folder").fix(fix)))
    };
    match (&declaration.source, place) {
        (None, _) if has_dot_dot(&declaration.target) => dot_dot(&declaration.target),
        (None, _) => below(Kind::Service, format!("{folder}/{service}{target}")),
        (Some(Source::Named(name) | Source::Other(name)), _) => match name.parse::<VolumeName>() {
            Ok(name) => below(Kind::Named, format!("{folder}/{NAMED}/{name}")),
            Err(error) => Err(refuse("volume-name", error.to_string(), "rename the volume")),
        },
        (Some(Source::Windows(path)), _) => {
            let reason = format!("`{path}` is a path of Windows, and containers here run on Linux");
            Err(refuse("windows-path", reason, "write a path of this machine, or a volume's name"))
        }
        (Some(Source::Absolute(path)), Place::Local { .. }) => Ok(made(Kind::Host, clean(path), None)),
        (Some(Source::Absolute(path)), Place::Deployed { .. }) if has_dot_dot(path) => dot_dot(path),
        (Some(Source::Absolute(path)), Place::Deployed { host_paths, .. }) => {
            let path = clean(path);
            if is_allowed(declaration, host_paths) {
                Ok(made(Kind::Host, path, None))
            } else if path == "/" {
                let reason = "`/` has no name that a folder on the share could have".to_owned();
                let help = format!("name a folder below `/`; or, {}", of_the_instance("/"));
                let why = "the container would find an empty folder where it has all of the machine's files on a laptop";
                Err(Box::new(finding("root-source", declaration, reason, help).why(why)))
            } else {
                below(Kind::Service, format!("{folder}/{service}{path}"))
            }
        }
        (Some(Source::Relative { written, absolute }), Place::Local { home, project }) => {
            let absolute = absolute.clone().unwrap_or_else(|| {
                let mut source = Source::of_bind(written);
                source.resolve(project, Some(home));
                source.resolved().to_owned()
            });
            Ok(made(Kind::Host, clean(&absolute), None))
        }
        (Some(Source::Relative { written: path, .. }), Place::Deployed { .. }) => {
            let reason =
                format!("`{path}` is relative to the compose file, and an instance has no project folder");
            // Read-only, or a file: it is meant to bring something, not to keep something.
            let brings = declaration.read_only || is_called_like_a_file(path);
            let help = match path
                .strip_prefix("./")
                .filter(|path| brings && !path.is_empty() && !has_dot_dot(path))
            {
                Some(path) => format!("put it into the image, in its Dockerfile: `COPY {path} {target}`"),
                None if brings => format!("put it into the image, at `{target}`"),
                None => format!(
                    "code and configuration belong into the image: keep this entry in a compose.override.yaml, for laptops. To persist what the container writes there, write `{target}` alone"
                ),
            };
            let why = "the container would find an empty folder where it has the project's files on a laptop";
            // Which of the two it is can't be told, so nothing is offered to be pasted: a volume would hide the image's own files.
            Err(Box::new(finding("relative-source", declaration, reason, help).why(why)))
        }
    }
}

/// What ECS is told about memory. A size is a must there, in whole MiB.
fn memory(declaration: &Declaration) -> Result<Memory, Box<Finding>> {
    let target = &declaration.target;
    let refuse = |code, reason: String, help: &str, why| {
        Box::new(finding(code, declaration, reason, help.to_owned()).why(why))
    };
    let why = "Docker's default is half of the machine's memory, or all; ECS has none";
    let bytes = declaration.options.tmpfs_size.filter(|size| *size > 0);
    let Some(bytes) = bytes else {
        let reason = format!("the memory at `{target}` has no size, and ECS wants one");
        let refusal = refuse("tmpfs-size", reason, "write how much it holds at most, such as 64 MiB", why);
        let is_short = declaration.text.split(':').next() == Some(target.as_str());
        let separator = if declaration.text.contains(':') { ',' } else { ':' };
        let fix = (is_short && !declaration.text.contains("size="))
            .then(|| format!("{}{separator}size=64m", declaration.text));
        let help = if is_short { refusal.help.clone() } else { "add `tmpfs: { size: 64m }`".to_owned() };
        return Err(Box::new(Finding { help, ..*refusal }.fix(fix)));
    };
    let mebibytes = bytes.unsigned_abs().div_ceil(MEBIBYTE);
    let Ok(mebibytes) = i32::try_from(mebibytes) else {
        let reason =
            format!("the memory at `{target}` is to hold {mebibytes} MiB, more than ECS can be told");
        return Err(refuse("tmpfs-size", reason, "write a smaller size", "no machine has so much"));
    };
    let mode = declaration.options.tmpfs_mode.filter(|mode| *mode != 0);
    if let Some(mode) = mode.filter(|mode| *mode > 0o7777) {
        let reason = format!("the mode of the memory at `{target}` is {mode:o} in octal, not permissions");
        let why = "without a leading `0o` a number is a decimal one";
        return Err(refuse("tmpfs", reason, "write it in octal: `0o1777`", why));
    }
    Ok(Memory { mebibytes, mode })
}

/// What is said where a size was rounded up.
fn rounded(declaration: &Declaration, memory: Memory) -> Option<Finding> {
    let bytes = declaration.options.tmpfs_size?.unsigned_abs();
    let reason = format!(
        "the size {bytes} bytes is no whole number of MiB; the memory at `{}` holds {} MiB",
        declaration.target, memory.mebibytes
    );
    let help = format!("write `{}m`", memory.mebibytes);
    let warning = finding("tmpfs-rounded", declaration, reason, help);
    (!bytes.is_multiple_of(MEBIBYTE))
        .then(|| warning.why("ECS counts memory in MiB; nothing is lost by more"))
}

/// Whether a path ends in a name with an extension, as those of files do: `nginx.conf`, not `.n8n` or `conf.d`.
fn is_called_like_a_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let extension = name.trim_start_matches('.').rsplit_once('.').map(|(_, extension)| extension);
    extension
        .is_some_and(|extension| (2..=10).contains(&extension.len()) && !extension.contains(char::is_numeric))
}

/// A short form without one of its options; nothing for a long one.
fn without_option(declaration: &Declaration, option: &str) -> Option<String> {
    let (before, options) = declaration.text.rsplit_once(':')?;
    let left: Vec<&str> = options.split(',').filter(|word| *word != option).collect();
    let is_short = before.ends_with(&declaration.target) && left.len() < options.split(',').count();
    let rest = if left.is_empty() { String::new() } else { format!(":{}", left.join(",")) };
    is_short.then(|| format!("{before}{rest}"))
}

/// Whether an entry binds a path of the instances that may be bound as it is.
fn is_allowed(declaration: &Declaration, host_paths: &[String]) -> bool {
    let Some(Source::Absolute(path)) = &declaration.source else { return false };
    host_paths.iter().any(|allowed| clean(allowed) == clean(path))
}

/// How to bind a path of the instance.
fn of_the_instance(path: &str) -> String {
    format!(
        "to bind the instance's own, list `{path}` in the agents' `host_paths` (here: --host-path {path})"
    )
}

/// Sources that are a socket, a file or a folder of the machine on every laptop, and would be an empty folder on the share.
fn meant_as_the_machines(
    volume: &Volume,
    declaration: &Declaration,
) -> Option<(&'static str, String, String)> {
    let path = match &declaration.source {
        Some(Source::Absolute(path)) => clean(path),
        None => volume.target.clone(),
        Some(_) => return None,
    };
    let is_file = MACHINE_FILES.contains(&path.as_str());
    // A single path is a folder of the service's own, whatever its name.
    let is_folder =
        declaration.source.is_some() && MACHINE_FOLDERS.iter().any(|folder| is_within(&path, folder));
    let (code, what) = match () {
        () if path.ends_with(".sock") => ("socket", "a socket"),
        () if is_file => ("machine-file", "a file of the machine"),
        () if is_folder => ("machine-file", "the machine's own"),
        () => return None,
    };
    let reason = format!("`{path}` is {what}, and here it becomes a folder on the share, empty at first");
    let help = match declaration.source {
        Some(_) => of_the_instance(&path),
        None => format!(
            "to bind the instance's own, write `{path}:{}` and list `{path}` in the agents' `host_paths` (here: --host-path {path})",
            volume.target
        ),
    };
    Some((code, reason, help))
}

/// Folders that are made while an image is built: kept, they outlive the image that they belong to.
fn build_output(volume: &Volume, declaration: &Declaration) -> Option<Finding> {
    let name = volume.target.rsplit('/').next().unwrap_or_default();
    if volume.relative.is_none() || volume.read_only || !BUILD_OUTPUT.contains(&name) {
        return None;
    }
    let reason = format!(
        "`{}` is called like the output of a build: it is persisted across deploys, and a new image will not update it",
        volume.target
    );
    let help = "remove the entry, so that each image brings its own files".to_owned();
    let why = "new code would run with the packages or pages of the first deploy, or with none";
    Some(finding("build-output", declaration, reason, help).why(why))
}

/// What no folder on a share can be or do, by name.
fn not_on_a_share(declaration: &Declaration) -> Option<(&'static str, String, &'static str)> {
    let options = &declaration.options;
    let asked = |option: &Option<String>| option.clone().filter(|option| !option.is_empty());
    match declaration.kind {
        declaration::Kind::NamedPipe => {
            let reason = "a named pipe is Windows', and instances run Linux".to_owned();
            return Some(("named-pipe", reason, "remove the entry"));
        }
        declaration::Kind::Cluster => {
            let reason = "a cluster's volume is Docker Swarm's".to_owned();
            return Some(("cluster-volume", reason, "write `type: volume`"));
        }
        declaration::Kind::Image => {
            let reason = "ECS can't mount another image's files".to_owned();
            return Some(("image-volume", reason, "copy the files in the Dockerfile: `COPY --from`"));
        }
        declaration::Kind::Tmpfs | declaration::Kind::Volume | declaration::Kind::Bind => {}
    }
    if let Some(propagation) = asked(&options.propagation).filter(|word| word != "rprivate") {
        let reason = format!("ECS can't mount with the propagation `{propagation}`");
        return Some(("propagation", reason, "leave it out"));
    }
    if let Some(recursive) = asked(&options.recursive).filter(|word| word != "enabled") {
        let reason = format!("ECS can't mount with `recursive: {recursive}`");
        return Some(("recursive", reason, "leave it out"));
    }
    let subpath = asked(&options.subpath)?;
    let reason = format!("ECS can't mount the folder `{subpath}` of a volume alone");
    Some(("subpath", reason, "give the folder a volume of its own"))
}

fn too_long(root: &str, relative: &str) -> Option<String> {
    if let Some(component) = relative.split('/').find(|component| component.len() > NAME_MAX) {
        let start: String = component.chars().take(20).collect();
        return Some(format!(
            "`{start}...` is {} bytes long; a file's name has {NAME_MAX} at most",
            component.len()
        ));
    }
    let length = root.len() + 1 + relative.len();
    (length > PATH_MAX)
        .then(|| format!("the path on the share is {length} bytes long; {PATH_MAX} is the most"))
}

/// A directory inside another volume's directory is never a bind source of its own: a container that holds the outer one could
/// replace it by a symlink, and Docker follows symlinks in bind sources. Where the outer mount shows the same data at the same
/// place the inner one is folded into it; elsewhere it is refused.
fn fold(layout: &mut Layout) {
    let mut by_source: HashMap<String, Volume> = HashMap::new();
    for (_, volume) in layout.volumes.iter().filter(|(_, volume)| volume.relative.is_some()) {
        by_source.entry(volume.source.clone()).or_insert_with(|| volume.clone());
    }
    let is_inside = |volume: &Volume| {
        let mut above = volume.source.match_indices('/').map(|(at, _)| &volume.source[..at]);
        volume.relative.is_some() && above.any(|folder| by_source.contains_key(folder))
    };
    // What is mounted for sure: all but those that are to be folded or refused.
    let mounted: HashSet<String> = layout
        .volumes
        .iter()
        .filter(|(_, volume)| !is_inside(volume))
        .map(|(_, volume)| volume.target.clone())
        .collect();
    layout.volumes.retain_mut(|(index, inner)| {
        // The outermost one: of the folders above, the first that is a volume's own.
        let above = inner.source.match_indices('/').map(|(at, _)| &inner.source[..at]);
        let outer = above.filter_map(|folder| by_source.get(folder)).next();
        let Some(outer) = outer.filter(|_| inner.relative.is_some()) else { return true };
        let rest = inner.source.get(outer.source.len()..).unwrap_or_default();
        // Another mount between the two hides the outer one's files there.
        let mut way = inner.target.match_indices('/').map(|(at, _)| &inner.target[..at]);
        let same_place = inner.target == format!("{}{rest}", outer.target)
            && !way.any(|path| path.len() > outer.target.len() && mounted.contains(path));
        if same_place && inner.read_only == outer.read_only {
            inner.folded_into = Some(outer.target.clone());
            inner.first_use.content = Content::Folded;
            return true;
        }
        let reason = format!(
            "its directory lies inside that of `{}`: a container that holds the outer one could redirect the inner one",
            outer.declaration
        );
        let finding = Finding {
            code: "nested-volume",
            declaration: inner.declaration.clone(),
            reason,
            why: Some("what one container writes, and what another one reads, could be any folder of the instance"),
            help: "give it a directory of its own, outside the other".to_owned(),
            fix: None,
        };
        layout.refusals.push((*index, finding));
        false
    });
    layout.refusals.sort_by_key(|(index, _)| *index);
}

/// Whether `path` is `root` or below it; both cleaned.
pub fn is_within(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn has_dot_dot(path: &str) -> bool {
    path.split('/').any(|component| component == "..")
}

/// Cleans an absolute path as Compose does: `//`, `.`, `..` and a trailing slash go; `..` never climbs above `/`.
pub fn clean(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(kept.pop()),
            name => kept.push(name),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
