//! One service: the keys that bring volumes.

use super::{
    Entry,
    document::{self, Folders},
    interpolation::{From, Outcome, Use},
    layer::{Extends, Key, Mount, ServiceLayer, Text},
    long_syntax::{self, Form},
    slip,
};
use crate::{
    declaration::{Declaration, complaint::DeclarationError, short_syntax},
    path,
    problem::Problem,
    yaml::{Node, Place, Value, Written},
};
use std::collections::HashMap;

/// Reads a service. What is wrong in it is kept with it.
pub fn read(name: &str, key: &Node, value: &Node, folders: &Folders) -> ServiceLayer {
    let mut service = ServiceLayer::empty(key.place.clone());
    let mut problems = Vec::new();
    match &value.value {
        Value::Mapping(pairs) => {
            for (key, value) in pairs {
                of_key(&mut service, key, value, folders, &mut problems);
            }
        }
        _ if value.is_null() => service.is_null = true,
        _ => problems.push(document::not_a_mapping(&format!("service `{name}`"), value)),
    }
    service.problems = problems.into_iter().map(|problem| problem.service(name)).collect();
    if let Key::Is(mounts) = &mut service.volumes {
        for mount in mounts {
            let refusals = std::mem::take(&mut mount.entry.refusals);
            mount.entry.refusals = refusals.into_iter().map(|problem| problem.service(name)).collect();
        }
    }
    service
}

fn of_key(
    service: &mut ServiceLayer,
    key: &Node,
    value: &Node,
    folders: &Folders,
    problems: &mut Vec<Problem>,
) {
    let is_null = value.is_null();
    match key.as_text().unwrap_or_default() {
        "volumes" if is_null => service.volumes = Key::Null(value.place.clone()),
        "volumes" => match &value.value {
            Value::List(items) => {
                problems.extend(value.hides.as_deref().and_then(|hidden| hidden_by_own(key, items, hidden)));
                service.volumes = Key::Is(mounts(items, folders, problems));
            }
            _ => {
                let reason = format!("`volumes` is {}, not a list", value.kind());
                let fix = value.as_text().map(|text| format!("[{text}]"));
                let problem =
                    Problem::error("not-a-list", reason, "write a list: `- /data`").at(&value.place);
                problems.push(problem.fix(fix));
            }
        },
        "tmpfs" if is_null => service.tmpfs = Key::Null(value.place.clone()),
        "tmpfs" => service.tmpfs = Key::Is(strings("tmpfs", value, true, problems)),
        "volumes_from" if is_null => service.volumes_from = Key::Null(value.place.clone()),
        "volumes_from" => service.volumes_from = Key::Is(strings("volumes_from", value, false, problems)),
        "profiles" if is_null => service.profiles = Key::Null(value.place.clone()),
        "profiles" => service.profiles = Key::Is(strings("profiles", value, false, problems)),
        // Docker Compose wants a string; a number is plain to see.
        "user" => service.user = Text::of_any(value).filter(|_| !is_null).map_or(Key::Absent, Key::Is),
        "x-volumes" => service.extension = Key::Is(value.clone()),
        "extends" => extends(service, value, problems),
        other => {
            problems.extend(slip::in_service(other, key));
            service.others.push((other.to_owned(), value.clone()));
        }
    }
}

/// What a merge key brings and a service's own list hides: YAML replaces lists, and doesn't add them up.
fn hidden_by_own(key: &Node, own: &[Node], hidden: &Node) -> Option<Problem> {
    let Value::List(items) = &hidden.value else { return None };
    let lost: Vec<&Node> = items.iter().filter(|item| !own.contains(item)).collect();
    let first = *lost.first()?;
    let text = long_syntax::flow(first, Form::Written);
    let what = match lost.len() {
        1 => format!("`{text}` is"),
        count => format!("{count} entries, `{text}` among them, are"),
    };
    let reason = format!("its own `volumes` hides what the merge key `<<` brings: {what} not mounted");
    let help = "repeat the entries in the service's own list, where they are meant";
    let why = "YAML replaces a list by another one, and doesn't add them up: the data that was there is no longer seen";
    let problem = Problem::warning("hidden-by-own", reason, help).why(why).at(&key.place);
    Some(problem.see(&first.place, "hidden"))
}

fn strings(key: &str, value: &Node, or_one: bool, problems: &mut Vec<Problem>) -> Vec<Text> {
    let mut wrong = |node: &Node, wanted: &str, code| {
        let reason = format!("`{key}` is {}, not {wanted}", node.kind());
        let problem = Problem::error(code, reason, format!("write {wanted}")).at(&node.place);
        problems.push(problem.came_by(node.origin.as_ref()));
    };
    match &value.value {
        Value::List(_) => {}
        Value::Scalar { .. } if or_one => {}
        _ => {
            wrong(value, "a list", "not-a-list");
            return Vec::new();
        }
    }
    let mut texts = document::texts(value, |node| {
        let reason = format!("an entry of `{key}` is {}, not a string", node.kind());
        let help = node.as_scalar().map_or("write a string".to_owned(), |text| format!("write `\"{text}\"`"));
        problems
            .push(Problem::error("not-a-string", reason, help).at(&node.place).came_by(node.origin.as_ref()));
    });
    if key != "volumes_from" {
        super::merge::keep_last_by(&mut texts, |text| {
            text.value.split('=').next().unwrap_or_default().to_owned()
        });
    }
    texts
}

fn extends(service: &mut ServiceLayer, value: &Node, problems: &mut Vec<Problem>) {
    let mut wrong = |node: &Node, reason: String| {
        let help = "write `extends: SERVICE`, or `extends: {file: FILE, service: SERVICE}`";
        problems.push(Problem::error("extends", reason, help).at(&node.place));
    };
    let place = value.place.clone();
    match &value.value {
        Value::Mapping(_) => {
            let Some(name) = value.get("service").and_then(Node::as_text) else {
                return wrong(value, "`extends` doesn't say which service".to_owned());
            };
            let file = match value.get("file") {
                Some(file) if !file.is_null() => match Text::of(file) {
                    Some(file) => Some(file),
                    None => {
                        return wrong(file, format!("`file` of `extends` is {}, not a path", file.kind()));
                    }
                },
                _ => None,
            };
            service.extends = Some(Extends { service: name.to_owned(), file, is_mapping: true, place });
        }
        _ => match value.as_text() {
            Some(name) => {
                service.extends =
                    Some(Extends { service: name.to_owned(), file: None, is_mapping: false, place })
            }
            None => wrong(value, format!("`extends` is {}, not a service", value.kind())),
        },
    }
}

/// Of two entries with one target the last one is left, in the place of the first one, and says so.
fn mounts(items: &[Node], folders: &Folders, problems: &mut Vec<Problem>) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    let mut targets: HashMap<String, usize> = HashMap::new();
    for (index, item) in (1..).zip(items) {
        let Some(mut mount) = mount(index, item, folders, problems) else { continue };
        let target = path::clean(&mount.entry.declaration.target);
        let Some(first) = targets.get(&target).copied() else {
            targets.insert(target, mounts.len());
            mounts.push(mount);
            continue;
        };
        let found = &mut mounts[first];
        let reason = format!(
            "the container's path `{target}` is taken by entry {}, `{}`",
            found.entry.index, found.entry.declaration.text
        );
        let problem = Problem::refused("duplicate-target", reason, "keep one of the two")
            .why("Docker Compose keeps the last one, and drops the others without a word")
            .see(&found.entry.place, "the first one");
        mount.entry.refuse(problem);
        if found.key == mount.key {
            *found = mount;
        } else {
            mounts.push(mount);
        }
    }
    mounts
}

fn mount(index: usize, item: &Node, folders: &Folders, problems: &mut Vec<Problem>) -> Option<Mount> {
    let mut found = Vec::new();
    let resolved_form = long_syntax::flow(item, Form::Resolved);
    let written_form = long_syntax::flow(item, Form::Written);
    let declaration = match &item.value {
        Value::Mapping(_) => long_syntax::read(item, &mut found),
        _ => match item.as_text() {
            Some(text) => {
                short_syntax::parse(text).map_err(|error| found.push(not_taken_apart(&error, item))).ok()
            }
            None => {
                let reason = format!("the entry is {}, not a string", item.kind());
                let (help, fix) = match item.as_scalar() {
                    Some(text) => ("write it in quotes".to_owned(), Some(format!("\"{text}\""))),
                    None => ("write a path, or remove the entry".to_owned(), None),
                };
                let problem = Problem::error("not-a-string", reason, help).at(&item.place).fix(fix);
                found.push(problem.came_by(item.origin.as_ref()));
                None
            }
        },
    };
    let resolved = (resolved_form != written_form).then_some(resolved_form);
    problems.extend(found.into_iter().map(|mut problem| {
        problem.entry = Some(index);
        problem.declaration = Some(written_form.clone());
        problem.resolved.clone_from(&resolved);
        problem
    }));
    let mut declaration = declaration?;
    if let Some(source) = &mut declaration.source {
        source.resolve(&folders.folder, folders.home.as_deref());
    }
    let complaints = declaration.complaints();
    declaration.text = written_form;
    let (key, is_short) = (declaration.target.clone(), item.as_mapping().is_none());
    let mut entry = Entry {
        place: item.place.clone(),
        origin: item.origin.clone(),
        index,
        is_short,
        resolved,
        set_by: Vec::new(),
        refusals: Vec::new(),
        declaration,
    };
    set_by(item, &mut entry.set_by);
    for complaint in complaints {
        let fix = complaint.fix().filter(|_| entry.resolved.is_none() && is_short);
        let problem = Problem::refused(complaint.code(), complaint.to_string(), complaint.help());
        entry.refuse(problem.why(complaint.why()).fix(fix));
    }
    without_value(item, &mut |problem| entry.refuse(problem));
    Some(Mount { entry, key, is_short })
}

impl Entry {
    fn refuse(&mut self, problem: Problem) {
        let problem = self.problem(problem);
        self.refusals.push(problem);
    }
}

/// Why an entry can't be taken apart, and which variables had a part in that.
fn not_taken_apart(error: &DeclarationError, item: &Node) -> Problem {
    let mut problem = Problem::error(error.code(), error.to_string(), error.help())
        .at(&item.place)
        .came_by(item.origin.as_ref());
    let mut names = Vec::new();
    for used in written(item).into_iter().flat_map(|written| &written.used) {
        match &used.outcome {
            Outcome::Unset => names.push(format!("`{}` is not set", used.name)),
            Outcome::Empty(From::EnvFile(place)) => {
                names.push(format!("`{}` is empty", used.name));
                problem = problem.see(place, format!("`{}` is set to nothing here", used.name));
            }
            Outcome::Empty(_) => names.push(format!("`{}` is empty", used.name)),
            Outcome::Value(From::EnvFile(place)) => {
                problem = problem.see(place, format!("`{}` is set here", used.name));
            }
            Outcome::Value(_) | Outcome::Operand => {}
        }
    }
    if !names.is_empty() {
        problem.reason.push_str(&format!(" ({})", names.join(", ")));
    }
    problem
}

/// The variables that had a part in a text.
fn had_a_part(node: &Node) -> impl Iterator<Item = &Use> {
    written(node).into_iter().flat_map(|written| &written.used).filter(|used| !used.is_in_vain)
}

fn written(node: &Node) -> Option<&Written> {
    match &node.value {
        Value::Scalar { written, .. } => written.as_deref(),
        _ => None,
    }
}

/// Variables of an entry that an env file gives a value, and where.
fn set_by(node: &Node, found: &mut Vec<(String, Place)>) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| set_by(item, found)),
        Value::Mapping(pairs) => pairs.iter().for_each(|(_, value)| set_by(value, found)),
        Value::Scalar { .. } => {
            for used in had_a_part(node) {
                if let Outcome::Value(From::EnvFile(place)) = &used.outcome {
                    found.push((used.name.clone(), place.clone()));
                }
            }
        }
    }
}

/// Variables of an entry that came to nothing without its author's word.
fn without_value(node: &Node, refuse: &mut impl FnMut(Problem)) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| without_value(item, refuse)),
        Value::Mapping(pairs) => pairs.iter().for_each(|(_, value)| without_value(value, refuse)),
        Value::Scalar { .. } => {
            written(node).into_iter().for_each(|written| of_text_without_value(written, refuse))
        }
    }
}

/// The same of one text.
pub fn of_text_without_value(written: &Written, refuse: &mut impl FnMut(Problem)) {
    for used in written.used.iter().filter(|used| !used.is_in_vain) {
        let name = &used.name;
        let why = "Docker Compose puts nothing in its place: the path is another one than was meant";
        match &used.outcome {
            Outcome::Unset => {
                let reason = format!("the variable `{name}` is not set");
                let help = format!("set it in the environment or in `.env`, or write `${{{name}:-default}}`");
                refuse(Problem::refused("unset-variable", reason, help).why(why));
            }
            Outcome::Empty(from) => {
                let reason = format!("the variable `{name}` is set to nothing");
                let help = format!("give it a value, or write `${{{name}:-default}}`");
                let problem = Problem::refused("empty-variable", reason, help).why(why);
                refuse(match from {
                    From::EnvFile(place) => problem.see(place, "it is set to nothing here"),
                    From::Environment | From::Compose => problem,
                });
            }
            Outcome::Value(_) | Outcome::Operand => {}
        }
    }
}

/// A declaration that a label carries as an object.
///
/// # Errors
/// What is wrong with it.
pub fn declaration_of_label(node: &Node) -> Result<Declaration, Vec<Problem>> {
    let mut problems = Vec::new();
    let declaration = long_syntax::read(node, &mut problems);
    match declaration {
        Some(declaration) if problems.is_empty() => {
            let complaint = declaration.complaints().into_iter().next();
            match complaint {
                None => Ok(declaration),
                Some(complaint) => {
                    Err(vec![Problem::refused(complaint.code(), complaint.to_string(), complaint.help())])
                }
            }
        }
        _ => Err(problems),
    }
}
