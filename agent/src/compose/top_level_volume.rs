//! The top-level `volumes`.

use super::{
    block::{self, Block},
    document,
    layer::{Text, VolumeLayer, Where},
};
use crate::{
    problem::Problem,
    yaml::{Node, Value, scalar::Kind},
};
use std::collections::BTreeMap;

/// Reads all of them.
pub fn read_all(pairs: &[(Node, Node)], problems: &mut Vec<Problem>) -> Vec<(String, VolumeLayer)> {
    let mut volumes = Vec::new();
    for (key, value) in pairs {
        let name = key.as_text().unwrap_or_default();
        if !document::is_name(name) {
            problems.push(document::wrong_name("volume", name, key));
            continue;
        }
        let mut volume = VolumeLayer {
            place: Where(key.place.clone()),
            is_null: value.is_null(),
            name: None,
            external: None,
            external_name: None,
            driver: None,
            driver_opts: None,
            labels: None,
        };
        if !volume.is_null {
            read(name, value, &mut volume, problems);
        }
        volumes.push((name.to_owned(), volume));
    }
    volumes
}

fn read(name: &str, value: &Node, volume: &mut VolumeLayer, problems: &mut Vec<Problem>) {
    let what = format!("the top-level volume `{name}`");
    let Some(pairs) = value.as_mapping() else {
        problems.push(document::not_a_mapping(&what, value));
        return;
    };
    let mut block = Block { what: &what, code: "volume", problems };
    for (key, value) in pairs {
        match key.as_text().unwrap_or_default() {
            "name" => volume.name = block.string("name", value),
            "driver" => volume.driver = block.string("driver", value),
            "driver_opts" => volume.driver_opts = driver_opts(value, &mut block),
            "labels" => volume.labels = Some(block.labels("labels", value)),
            "external" => match &value.value {
                Value::Mapping(pairs) => {
                    volume.external = Some(true);
                    for (key, value) in pairs {
                        match key.as_text().unwrap_or_default() {
                            "name" => {
                                block.string("external.name", value);
                                volume.external_name = Text::of(value);
                            }
                            other => block.unknown(&format!("external.{other}"), key),
                        }
                    }
                }
                _ => volume.external = block.boolean("external", value),
            },
            other => block.unknown(other, key),
        }
    }
}

/// The old way to name an external volume, made the new one.
pub fn take_external_name(name: &str, volume: &mut VolumeLayer) -> Option<Problem> {
    let external = volume.external_name.take()?;
    match &volume.name {
        Some(own) if *own != external.value => {
            let reason = format!(
                "the top-level volume `{name}` has the name `{own}` and the name `{}`",
                external.value
            );
            let help = "keep `name`, and write `external: true`";
            Some(Problem::error("volume", reason, help).at(&external.place))
        }
        _ => {
            volume.name = Some(external.value);
            None
        }
    }
}

fn driver_opts(value: &Node, block: &mut Block<'_>) -> Option<BTreeMap<String, String>> {
    let Some(pairs) = value.as_mapping() else {
        block.kind("driver_opts", value, "a mapping");
        return None;
    };
    let mut opts = BTreeMap::new();
    for (key, value) in pairs {
        let name = key.as_text().unwrap_or_default();
        match &value.value {
            Value::Scalar { text, kind: Kind::String, .. } => {
                drop(opts.insert(name.to_owned(), text.clone()))
            }
            Value::Scalar { text, kind: kind @ (Kind::Int(_) | Kind::Float(_)), .. } => {
                opts.insert(name.to_owned(), block::number(*kind, text));
            }
            _ => block.kind(&format!("driver_opts.{name}"), value, "a string or a number"),
        }
    }
    Some(opts)
}

/// A bind in disguise: Docker Compose makes its device absolute where the driver is spelled out.
pub fn make_device_absolute(volume: &mut VolumeLayer, folder: &str, home: Option<&str>) {
    let is_local = volume.driver.as_deref() == Some("local");
    let Some(opts) = volume.driver_opts.as_mut().filter(|_| is_local) else { return };
    if opts.get("o").map(String::as_str) != Some("bind") {
        return;
    }
    if let Some(device) = opts.get_mut("device") {
        let mut source = crate::declaration::Source::of_bind(device);
        source.resolve(folder, home);
        source.resolved().clone_into(device);
    }
}

/// What Docker Compose refuses once all files are merged.
pub fn conflict(name: &str, volume: &VolumeLayer) -> Option<Problem> {
    let in_the_way = [
        ("driver", volume.driver.is_some()),
        ("driver_opts", volume.driver_opts.is_some()),
        ("labels", volume.labels.is_some()),
    ];
    let (key, _) = in_the_way.into_iter().find(|(_, is_there)| *is_there && volume.external == Some(true))?;
    let reason = format!("the top-level volume `{name}` is external and has `{key}`");
    let help = format!("remove `{key}`: an external volume is made elsewhere, with whatever it has there");
    Some(Problem::error("volume", reason, help).at(&volume.place.0))
}

/// The volume's name in Docker.
pub fn full_name(key: &str, volume: &VolumeLayer, project: &str) -> String {
    match (&volume.name, volume.external) {
        (Some(name), _) => name.clone(),
        (None, Some(true)) => key.to_owned(),
        (None, _) => format!("{project}_{key}"),
    }
}
