//! Task definition JSON + volumes to patched JSON. Strip, then patch: what an earlier patch put on is taken off by name first, so
//! that a revision which a deploy tool built on ours ends like its source would.
//!
//! Works on raw JSON: fields that this agent doesn't know pass through. Rules: docs/reference.md, "Task definitions".

mod compare;
pub mod diff;
mod seeding;
mod strip;

pub use compare::{dropped_fields, equivalent};
pub use strip::{strip, unpatch, written_labels};

use crate::{
    labelling::Written,
    labels::{self, ContainerDeclarations, FINGERPRINT, GATE, LabelError, SOURCE, UNDO},
    layout::{self, Finding, Kind, Place, Volume},
    mount::VOLUMES_ROOT,
    names::{App, Rack},
    order,
    ownership::{Mode, Owner},
    silence,
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use strip::Undo;

/// Names of volumes and containers that begin so are ours.
const PREFIX: &str = "convox-volumes-";
/// Names of containers that fill volumes begin so.
pub const SEEDING: &str = "convox-volumes-seed-";
/// The constraint that is ours: tasks go only where the share is.
const GATE_EXPRESSION: &str = "attribute:convox.volumes == ready";
/// The constraint of a source revision that is never true; patching swaps it for the gate.
const HOLD_EXPRESSION: &str = "attribute:convox.volumes.hold exists";
/// What DescribeTaskDefinition adds and RegisterTaskDefinition refuses (API reference).
const OUTPUT_ONLY: [&str; 9] = [
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "registeredBy",
    "deregisteredAt",
    "deleteRequestedAt",
];
/// Largest task definition, in bytes (ECS service quotas).
const LARGEST_BYTES: usize = 64 * 1024;
/// Most containers of a task definition (ECS service quotas).
const MOST_CONTAINERS: usize = 10;
/// Most placement constraints of a task definition (API reference).
const MOST_CONSTRAINTS: usize = 10;

/// What patching needs to know beside the document.
#[derive(Debug, Clone)]
pub struct PatchSettings<'a> {
    /// The agent's, or the pipeline's, rack.
    pub rack: &'a Rack,
    /// Whether tasks are to be placed only where the share is.
    pub gate: bool,
    /// The source's ARN, or `pipeline`.
    pub source: String,
    /// Paths of the instances that may be bound as they are.
    pub host_paths: &'a [String],
    /// Whether new volumes are filled: not, while an instance may have no helper for that.
    pub fills: bool,
}

/// What became of a document.
#[derive(Debug)]
pub enum Outcome {
    /// It has no declarations; nothing to do.
    NothingDeclared,
    /// Its label `convox.rack` names another rack.
    OtherRack {
        /// That rack.
        rack: Rack,
    },
    /// Its label `convox.volumes.agent` is `off`.
    Off,
    /// The patched document.
    Patched(Box<Patched>),
}

/// A patched document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patched {
    /// Ready to register.
    pub document: Value,
    /// The directories that it needs on the share.
    pub volumes: Vec<Needed>,
    /// Whether its tasks are only for instances with the share: not, where all that it declares is memory.
    pub needs_share: bool,
    /// What is noteworthy but stops nothing, with the container's name.
    pub warnings: Vec<(String, Finding)>,
    /// As in the label.
    pub fingerprint: String,
}

/// A directory that a patched document needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// The rack.
    pub rack: Rack,
    /// The app.
    pub app: App,
    /// Relative to the volumes root.
    pub relative: String,
    /// Whose it is to be, by `x-volumes`.
    pub owner: Option<Owner>,
    /// Its permissions, by `x-volumes`.
    pub mode: Option<Mode>,
    /// Whether a container has it that doesn't wait for it to be filled: then it is never filled by a rename, which would send that
    /// container's writes to a deleted directory.
    pub is_held: bool,
}

/// The formats of patched documents. One that is right under any of them is left as it is: an upgrade of the agent alone deploys nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// Volumes begin empty.
    V1,
    /// Seeding containers fill them.
    V2,
}

/// A container's declarations, laid out.
struct Laid<'a> {
    declares: &'a ContainerDeclarations,
    volumes: Vec<Volume>,
}

/// Why a task definition was left as it is. Nothing has been registered when this is returned.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// The document is not a task definition.
    #[error("this is not a task definition: {0}")]
    NotATaskDefinition(&'static str),
    /// A label can't be read.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// Declarations that can't be had.
    #[error("container `{container}`: {}", findings(.refusals))]
    Refused {
        /// The container.
        container: String,
        /// What is wrong.
        refusals: Vec<Finding>,
    },
    /// Where there is no instance, there is nothing to bind.
    #[error("its requiresCompatibilities has {0}, which can't bind a path of an instance")]
    NoInstances(String),
    /// The author's own mount is in the way.
    #[error("container `{container}` already mounts `{target}` from its own volume `{volume}`")]
    TargetTaken {
        /// The container.
        container: String,
        /// The path.
        target: String,
        /// The author's volume.
        volume: String,
    },
    /// The author's own memory is in the way.
    #[error("container `{container}` already has memory at `{target}`, by its own linuxParameters.tmpfs")]
    MemoryTaken {
        /// The container.
        container: String,
        /// The path.
        target: String,
    },
    /// Too large with what was added.
    #[error("with its volumes it has {bytes} bytes; ECS takes {LARGEST_BYTES} at most")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Too many containers.
    #[error("it has {0} containers; ECS takes {MOST_CONTAINERS} at most")]
    TooManyContainers(usize),
    /// Too many containers with those that fill new volumes.
    #[error(
        "with {seeding} more for filling its new volumes it has {containers} containers; ECS takes {MOST_CONTAINERS} at most"
    )]
    TooManyWithSeeding {
        /// How many there are in all.
        containers: usize,
        /// How many of them fill volumes.
        seeding: usize,
    },
    /// Too many constraints.
    #[error("with the gate it has {0} placement constraints; ECS takes {MOST_CONSTRAINTS} at most")]
    TooManyConstraints(usize),
    /// Our undo label was changed.
    #[error("label `{UNDO}` can't be read: {0}")]
    Undo(serde_json::Error),
}

fn findings(refusals: &[Finding]) -> String {
    let each = refusals.iter().map(|f| format!("`{}`: {} [{}]", f.declaration, f.reason, f.code));
    each.collect::<Vec<_>>().join("; ")
}

impl PatchError {
    /// The code, stable for ever.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotATaskDefinition(_) => "not-a-task-definition",
            Self::Label(_) => "malformed-label",
            Self::Refused { refusals, .. } => refusals.first().map_or("refused", |finding| finding.code),
            Self::NoInstances(_) => "no-instances",
            Self::TargetTaken { .. } | Self::MemoryTaken { .. } => "target-taken",
            Self::TooLarge { .. } => "too-large",
            Self::TooManyContainers(_) | Self::TooManyWithSeeding { .. } => "too-many-containers",
            Self::TooManyConstraints(_) => "too-many-constraints",
            Self::Undo(_) => "malformed-undo",
        }
    }

    /// What to do next.
    pub fn help(&self) -> String {
        match self {
            Self::NotATaskDefinition(_) => {
                "give a RegisterTaskDefinition document, or DescribeTaskDefinition's answer".to_owned()
            }
            Self::Label(error) => error.help(),
            Self::Refused { refusals, .. } => {
                refusals.iter().map(|finding| finding.help.clone()).collect::<Vec<_>>().join("; ")
            }
            Self::NoInstances(_) => {
                "volumes need the EC2 launch type: set requiresCompatibilities to [\"EC2\"]".to_owned()
            }
            Self::TargetTaken { .. } | Self::MemoryTaken { .. } => {
                "remove the mount, or the declaration".to_owned()
            }
            Self::TooLarge { .. } => {
                "make the task definition smaller, for example by moving its environment to files".to_owned()
            }
            Self::TooManyContainers(_) => "split the task definition".to_owned(),
            Self::TooManyWithSeeding { .. } => {
                "there is one for each image: have volumes begin empty by `seed: false` in the `x-volumes` of their services, or split the task definition"
                    .to_owned()
            }
            Self::TooManyConstraints(_) => {
                format!("remove a placement constraint, or leave the gate out by the label `{GATE}=off`")
            }
            Self::Undo(_) => "register the source revision again".to_owned(),
        }
    }
}

/// A document to register, from DescribeTaskDefinition's answer (`{"taskDefinition": ..., "tags": ...}`) or from one that is
/// ready already: only the output-only fields are removed, the tags are put inside (those of `aws:` are not ours to send), and what
/// was absent stays absent.
///
/// # Errors
/// [`PatchError::NotATaskDefinition`]
pub fn registerable(answer: Value) -> Result<Value, PatchError> {
    let Value::Object(mut answer) = answer else {
        return Err(PatchError::NotATaskDefinition("it is not a JSON object"));
    };
    let mut document = match answer.remove("taskDefinition") {
        Some(Value::Object(mut document)) => {
            if let Some(tags) = answer.remove("tags") {
                document.insert("tags".to_owned(), tags);
            }
            document
        }
        Some(_) => return Err(PatchError::NotATaskDefinition("`taskDefinition` is not an object")),
        None => answer,
    };
    if !document.get("containerDefinitions").is_some_and(Value::is_array) {
        return Err(PatchError::NotATaskDefinition("it has no list `containerDefinitions`"));
    }
    for field in OUTPUT_ONLY {
        document.shift_remove(field);
    }
    let is_ours = |tag: &Value| {
        let key = tag.get("key").and_then(Value::as_str).unwrap_or_default();
        !key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"))
    };
    if let Some(Value::Array(tags)) = document.get_mut("tags") {
        tags.retain(is_ours);
        if tags.is_empty() {
            document.shift_remove("tags");
        }
    }
    Ok(Value::Object(document))
}

/// Patches a document that [`registerable`] gave.
///
/// # Errors
/// [`PatchError`]
pub fn patch(document: &Value, settings: &PatchSettings<'_>) -> Result<Outcome, PatchError> {
    patch_with(document, settings, Written::new())
}

/// [`patch`], of a document into which labels were just `written` for its author: `unpatch` takes those away again.
///
/// # Errors
/// [`PatchError`]
pub fn patch_with(
    document: &Value,
    settings: &PatchSettings<'_>,
    written: Written,
) -> Result<Outcome, PatchError> {
    let (wanted, other) = if settings.fills { (Format::V2, Format::V1) } else { (Format::V1, Format::V2) };
    let outcome = patch_as(wanted, document, settings, written.clone());
    let is_right =
        |outcome: &Outcome| matches!(outcome, Outcome::Patched(p) if equivalent(&p.document, document));
    // What is not to be had in one format may be right in the other.
    let is_worth_a_look = match &outcome {
        Ok(outcome) => matches!(outcome, Outcome::Patched(_)) && !is_right(outcome),
        Err(error) => matches!(error, PatchError::TooManyWithSeeding { .. } | PatchError::TooLarge { .. }),
    };
    if is_worth_a_look && let Ok(as_it_is) = patch_as(other, document, settings, written) {
        return if is_right(&as_it_is) { Ok(as_it_is) } else { outcome };
    }
    outcome
}

fn patch_as(
    format: Format,
    document: &Value,
    settings: &PatchSettings<'_>,
    written: Written,
) -> Result<Outcome, PatchError> {
    let source = first_label(document, SOURCE).unwrap_or_else(|| settings.source.clone());
    let mut patched = strip(document);
    let declaring = labels::read(&patched)?;
    let Some(first) = declaring.iter().map(|declares| &declares.container).min().cloned() else {
        return Ok(Outcome::NothingDeclared);
    };
    if declaring.iter().any(|declares| declares.agent_off) {
        return Ok(Outcome::Off);
    }
    if let Some(other) =
        declaring.iter().find_map(|declares| declares.rack.as_ref().filter(|r| *r != settings.rack))
    {
        return Ok(Outcome::OtherRack { rack: other.clone() });
    }
    check_compatibilities(&patched)?;
    let mut undo = Undo::written_before(document);
    for (container, labels) in written {
        undo.labels.entry(container).or_default().extend(labels);
    }
    let mut warnings = Vec::new();
    let mut laid_out = Vec::new();
    for declares in &declaring {
        let place = Place::Deployed { rack: settings.rack, host_paths: settings.host_paths };
        let layout = layout::layout(place, &declares.app, &declares.service, &declares.declarations);
        if !layout.refusals.is_empty() {
            let refusals = layout.refusals.into_iter().map(|(_, finding)| finding).collect();
            return Err(PatchError::Refused { container: declares.container.clone(), refusals });
        }
        let is_told = |(index, finding): &(usize, Finding)| {
            let extension = declares.declarations.get(*index).and_then(|d| d.options.extension.as_ref());
            !silence::is_silenced(extension, finding.code)
        };
        let told = layout.warnings.into_iter().filter(is_told);
        warnings.extend(told.map(|(_, finding)| (declares.container.clone(), finding)));
        let volumes: Vec<Volume> = layout.volumes.into_iter().map(|(_, volume)| volume).collect();
        laid_out.push(Laid { declares, volumes });
    }
    laid_out.sort_by(|a, b| a.declares.container.cmp(&b.declares.container));
    let fingerprint = fingerprint(format, &patched, &laid_out);
    for Laid { declares, volumes } in &laid_out {
        mount(&mut patched, declares, volumes, &mut undo)?;
        give_memory(&mut patched, declares, volumes, &mut undo)?;
    }
    let seeding = match format {
        Format::V1 => 0,
        Format::V2 => seeding::add(&mut patched, &laid_out, &mut undo)?,
    };
    let mut volumes = laid_out.iter().flat_map(|laid| &laid.volumes).peekable();
    // Memory alone waits for no share.
    let is_all_memory = volumes.peek().is_some() && volumes.all(|volume| volume.kind == Kind::Tmpfs);
    let gate = settings.gate && !is_all_memory && declaring.iter().all(|declares| !declares.gate_off);
    set_gate(&mut patched, gate, &mut undo)?;
    let container = container_mut(&mut patched, &first);
    if let Some(labels) = container.and_then(|c| c.get_mut("dockerLabels")).and_then(Value::as_object_mut) {
        if !settings.gate && !labels.contains_key(GATE) {
            labels.insert(GATE.to_owned(), json!("off"));
            undo.labels.entry(first.clone()).or_default().push(GATE.to_owned());
        }
        labels.insert(SOURCE.to_owned(), json!(source));
        labels.insert(FINGERPRINT.to_owned(), json!(fingerprint));
        labels.insert(UNDO.to_owned(), json!(json!(undo).to_string()));
    }
    check_size(&patched, seeding)?;
    let needs_share = !is_all_memory;
    let volumes = needed(format, settings.rack, &laid_out);
    let patched = Patched { document: patched, volumes, needs_share, warnings, fingerprint };
    Ok(Outcome::Patched(Box::new(patched)))
}

/// The directories that a document needs, each once.
fn needed(format: Format, rack: &Rack, laid_out: &[Laid<'_>]) -> Vec<Needed> {
    let mut needed: BTreeMap<String, Needed> = BTreeMap::new();
    for laid in laid_out {
        // A folded volume's directory lies inside a container's reach: only the container makes it.
        for volume in laid.volumes.iter().filter(|volume| volume.folded_into.is_none()) {
            let Some(relative) = &volume.relative else { continue };
            let waits = format == Format::V2 && volume.first_use.content.is_of_the_image();
            // Who can only read a named volume has the same directory before it is filled and after.
            let keeps_the_same = volume.read_only && order::is_named(relative);
            let is_held = !(waits || keeps_the_same);
            let one = needed.entry(relative.clone()).or_insert_with(|| Needed {
                rack: rack.clone(),
                app: laid.declares.app.clone(),
                relative: relative.clone(),
                owner: None,
                mode: None,
                is_held: false,
            });
            one.owner = one.owner.or(volume.first_use.owner);
            one.mode = one.mode.or(volume.first_use.mode);
            one.is_held |= is_held;
        }
    }
    needed.into_values().collect()
}

/// The paths of the instances that a document's own volumes of ours bind for the author's containers.
pub fn our_sources(document: &Value) -> Vec<String> {
    let authors = containers(document).filter(|container| !is_ours(container));
    let points = authors.filter_map(|container| container.get("mountPoints")?.as_array()).flatten();
    let used: BTreeSet<&str> = points.filter_map(|point| point.get("sourceVolume")?.as_str()).collect();
    let volumes = document.get("volumes").and_then(Value::as_array).into_iter().flatten();
    let ours = volumes.filter(|volume| {
        let name = volume.get("name").and_then(Value::as_str);
        name.is_some_and(|name| name.starts_with(PREFIX) && used.contains(name))
    });
    ours.filter_map(|volume| volume.pointer("/host/sourcePath")?.as_str().map(str::to_owned)).collect()
}

/// The names of a document's containers, but of ours.
pub fn container_names(document: &Value) -> Vec<&str> {
    let authors = containers(document).filter(|container| !is_ours(container));
    authors.filter_map(|container| container.get("name")?.as_str()).collect()
}

/// Whether a container fills volumes.
pub fn is_ours(container: &Value) -> bool {
    container.get("name").and_then(Value::as_str).is_some_and(|name| name.starts_with(PREFIX))
}

/// Whether a document has the hold: a constraint that is never true, until patching swaps it for the gate.
pub fn is_held(document: &Value) -> bool {
    let constraints = document.get("placementConstraints").and_then(Value::as_array);
    constraints.into_iter().flatten().any(|constraint| is_expression(constraint, HOLD_EXPRESSION))
}

/// The value of a label, of the first container that has it.
pub fn first_label(document: &Value, label: &str) -> Option<String> {
    containers(document)
        .filter_map(|container| container.get("dockerLabels")?.get(label)?.as_str())
        .next()
        .map(str::to_owned)
}

/// A document's containers.
pub fn containers(document: &Value) -> impl Iterator<Item = &Value> {
    document.get("containerDefinitions").and_then(Value::as_array).into_iter().flatten()
}

fn container_mut<'a>(document: &'a mut Value, name: &str) -> Option<&'a mut Map<String, Value>> {
    document
        .get_mut("containerDefinitions")?
        .as_array_mut()?
        .iter_mut()
        .find(|container| container.get("name").and_then(Value::as_str) == Some(name))?
        .as_object_mut()
}

fn check_compatibilities(document: &Value) -> Result<(), PatchError> {
    let required = document.get("requiresCompatibilities").and_then(Value::as_array).into_iter().flatten();
    let other = required.filter_map(Value::as_str).find(|c| !matches!(*c, "EC2" | "EXTERNAL"));
    other.map_or(Ok(()), |other| Err(PatchError::NoInstances(other.to_owned())))
}

fn check_size(document: &Value, seeding: usize) -> Result<(), PatchError> {
    let containers = containers(document).count();
    if containers > MOST_CONTAINERS {
        return Err(match containers - seeding > MOST_CONTAINERS {
            true => PatchError::TooManyContainers(containers - seeding),
            false => PatchError::TooManyWithSeeding { containers, seeding },
        });
    }
    let bytes = document.to_string().len();
    if bytes > LARGEST_BYTES { Err(PatchError::TooLarge { bytes }) } else { Ok(()) }
}

/// The name of the task definition's volume for a path: by a hash of it, so that it stays when entries move.
fn volume_name(path: &str) -> String {
    format!("{PREFIX}{}", hex(&Sha256::digest(path.as_bytes()), 8))
}

fn hex(bytes: &[u8], most: usize) -> String {
    bytes.iter().take(most).map(|byte| format!("{byte:02x}")).collect()
}

/// Over what decides the patched revision: the stripped document and the layout.
fn fingerprint(format: Format, stripped: &Value, laid_out: &[Laid<'_>]) -> String {
    let layout: Vec<Value> = laid_out
        .iter()
        .map(|Laid { declares, volumes }| {
            let mut on_disk: Vec<_> = volumes
                .iter()
                .filter(|volume| volume.kind != Kind::Tmpfs)
                .map(|v| (&v.target, &v.source, v.read_only))
                .collect();
            on_disk.sort();
            let mut memory: Vec<_> =
                volumes.iter().filter_map(|v| Some((&v.target, v.memory?, v.read_only))).collect();
            memory.sort_by_key(|(target, _, _)| *target);
            match memory.as_slice() {
                [] => json!([declares.container, on_disk]),
                memory => json!([declares.container, on_disk, memory]),
            }
        })
        .collect();
    let text = json!([compare::normal(stripped), layout, VOLUMES_ROOT]).to_string();
    let hash = hex(&Sha256::digest(text.as_bytes()), 16);
    match format {
        Format::V1 => format!("v1:{hash}"),
        Format::V2 => format!("v2:{hash}"),
    }
}

/// The list at `key`, made where it is absent, which `undo` then remembers.
fn list<'a>(
    object: &'a mut Map<String, Value>,
    key: &str,
    path: &str,
    undo: &mut Undo,
) -> &'a mut Vec<Value> {
    if !object.get(key).is_some_and(Value::is_array) {
        // `null` counts as absent: ECS takes it so.
        object.insert(key.to_owned(), json!([]));
        undo.absent.push(path.to_owned());
    }
    match object.get_mut(key) {
        Some(Value::Array(list)) => list,
        _ => unreachable!("the entry was made a list just above"),
    }
}

fn mount(
    document: &mut Value,
    declares: &ContainerDeclarations,
    volumes: &[Volume],
    undo: &mut Undo,
) -> Result<(), PatchError> {
    let is_mounted = |volume: &&Volume| volume.folded_into.is_none() && volume.kind != Kind::Tmpfs;
    let mut mounted: Vec<&Volume> = volumes.iter().filter(is_mounted).collect();
    mounted.sort_by(|a, b| a.target.cmp(&b.target));
    if mounted.is_empty() {
        return Ok(());
    }
    let Some(root) = document.as_object_mut() else {
        return Err(PatchError::NotATaskDefinition("it is not a JSON object"));
    };
    let all = list(root, "volumes", "volumes", undo);
    for volume in &mounted {
        let path = match &volume.relative {
            Some(relative) => format!("{VOLUMES_ROOT}/{relative}"),
            None => volume.source.clone(),
        };
        let name = volume_name(&path);
        if !all.iter().any(|known| known.get("name").and_then(Value::as_str) == Some(&name)) {
            all.push(json!({ "name": name, "host": { "sourcePath": path } }));
        }
    }
    let Some(container) = container_mut(document, &declares.container) else { return Ok(()) };
    let path = format!("containerDefinitions/{}/mountPoints", declares.container);
    let authors_memory = container.get("linuxParameters").and_then(|linux| linux.get("tmpfs")).cloned();
    let points = list(container, "mountPoints", &path, undo);
    let memory = authors_memory.as_ref().and_then(Value::as_array);
    for volume in mounted {
        if let Some(taken) = points.iter().find(|point| is_at(point, &volume.target)) {
            return Err(target_taken(declares, &volume.target, taken));
        }
        if memory.into_iter().flatten().any(|memory| is_at(memory, &volume.target)) {
            return Err(memory_taken(declares, &volume.target));
        }
        points.push(json!({
            "sourceVolume": volume_name(&volume.source),
            "containerPath": volume.target,
            "readOnly": volume.read_only,
        }));
    }
    Ok(())
}

/// Whether a mount of a container is at a path.
fn is_at(mount: &Value, target: &str) -> bool {
    mount.get("containerPath").and_then(Value::as_str).is_some_and(|path| layout::clean(path) == target)
}

fn target_taken(declares: &ContainerDeclarations, target: &str, by: &Value) -> PatchError {
    PatchError::TargetTaken {
        container: declares.container.clone(),
        target: target.to_owned(),
        volume: by.get("sourceVolume").and_then(Value::as_str).unwrap_or_default().to_owned(),
    }
}

fn memory_taken(declares: &ContainerDeclarations, target: &str) -> PatchError {
    PatchError::MemoryTaken { container: declares.container.clone(), target: target.to_owned() }
}

/// Appends to `linuxParameters.tmpfs`. It carries no name by which it could be known as ours, so the undo label lists the paths.
/// What stands there already exactly so (a tool may keep it and lose our labels) is left to whoever wrote it.
fn give_memory(
    document: &mut Value,
    declares: &ContainerDeclarations,
    volumes: &[Volume],
    undo: &mut Undo,
) -> Result<(), PatchError> {
    let mut wanted: Vec<(&Volume, layout::Memory)> =
        volumes.iter().filter_map(|volume| Some((volume, volume.memory?))).collect();
    wanted.sort_by(|(a, _), (b, _)| a.target.cmp(&b.target));
    let Some(container) = container_mut(document, &declares.container) else { return Ok(()) };
    for (volume, memory) in wanted {
        let target = &volume.target;
        let points = container.get("mountPoints").and_then(Value::as_array).into_iter().flatten();
        if let Some(taken) = points.into_iter().find(|point| is_at(point, target)) {
            return Err(target_taken(declares, target, taken));
        }
        let mut options: Vec<String> = volume.read_only.then(|| "ro".to_owned()).into_iter().collect();
        options.extend(memory.mode.map(|mode| format!("mode={mode:04o}")));
        let mut ours = json!({ "containerPath": target, "size": memory.mebibytes });
        if !options.is_empty() {
            ours["mountOptions"] = json!(options);
        }
        let there = container.get("linuxParameters").and_then(|linux| linux.get("tmpfs"));
        let mut there = there.and_then(Value::as_array).into_iter().flatten();
        match there.find(|memory| is_at(memory, target)) {
            Some(same) if compare::normal(same) == compare::normal(&ours) => continue,
            Some(_) => return Err(memory_taken(declares, target)),
            None => {}
        }
        let path = format!("containerDefinitions/{}/linuxParameters", declares.container);
        if !container.get("linuxParameters").is_some_and(Value::is_object) {
            container.insert("linuxParameters".to_owned(), json!({}));
            undo.absent.push(path.clone());
        }
        let Some(Value::Object(linux)) = container.get_mut("linuxParameters") else { continue };
        list(linux, "tmpfs", &format!("{path}/tmpfs"), undo).push(ours);
        undo.tmpfs.entry(declares.container.clone()).or_default().push(target.clone());
    }
    Ok(())
}

/// Puts the gate on, or swaps the author's hold for it; with the gate off the hold goes.
fn set_gate(document: &mut Value, gate: bool, undo: &mut Undo) -> Result<(), PatchError> {
    let Some(root) = document.as_object_mut() else {
        return Err(PatchError::NotATaskDefinition("it is not a JSON object"));
    };
    let ours = json!({ "type": "memberOf", "expression": GATE_EXPRESSION });
    let hold = root.get("placementConstraints").and_then(Value::as_array).and_then(|constraints| {
        constraints.iter().position(|constraint| is_expression(constraint, HOLD_EXPRESSION))
    });
    if !gate && hold.is_none() {
        return Ok(());
    }
    let constraints = list(root, "placementConstraints", "placementConstraints", undo);
    undo.hold = hold;
    match (hold, gate) {
        (Some(at), true) => constraints[at] = ours,
        (Some(at), false) => drop(constraints.remove(at)),
        (None, _) => constraints.push(ours),
    }
    let count = constraints.len();
    if count > MOST_CONSTRAINTS { Err(PatchError::TooManyConstraints(count)) } else { Ok(()) }
}

fn is_expression(constraint: &Value, expression: &str) -> bool {
    constraint.get("expression").and_then(Value::as_str).is_some_and(|found| found.trim() == expression)
}

#[cfg(test)]
#[path = "patch/tests.rs"]
mod tests;
