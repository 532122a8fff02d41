//! The TOML file, taken apart into keys, their text and their lines; what the text means is another step.

use super::{ConfigError, Origin, known, nearest};
use std::{collections::BTreeMap, path::Path};
use toml::de::{DeTable, DeValue};

/// The table of tables, one an app.
const APPS: &str = "apps";
/// What can be said of a single app.
const OF_APP: [&str; 3] = ["owner", "mode", "seed"];

pub(super) fn from_file(
    file: &Path,
    text: &str,
    values: &mut BTreeMap<&'static str, (String, Origin)>,
    of_apps: &mut BTreeMap<(String, &'static str), (String, Origin)>,
    errors: &mut Vec<ConfigError>,
) {
    let line_of = |offset: usize| text.get(..offset).map_or(1, |before| before.matches('\n').count() + 1);
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let line = line_of(error.span().map_or(0, |span| span.start));
            let cause = error.message().to_owned();
            errors.push(ConfigError::Syntax { file: file.to_owned(), line, cause });
            return;
        }
    };
    for (key, value) in table.get_ref() {
        let origin = Origin::File(file.to_owned(), line_of(key.span().start));
        let name = key.get_ref().as_ref();
        if let (APPS, DeValue::Table(apps)) = (name, value.get_ref()) {
            for (app, said) in apps {
                let place = Place { file, text, line: line_of(app.span().start) };
                place.app(app.get_ref(), said.get_ref(), &line_of, of_apps, errors);
            }
            continue;
        }
        let Some(known) = known(name) else {
            errors.push(ConfigError::UnknownKey { origin, key: name.to_owned(), nearest: nearest(name) });
            continue;
        };
        match scalar(value.get_ref()) {
            Some(text) => drop(values.insert(known, (text, origin))),
            None => errors.push(ConfigError::Value {
                origin,
                key: known,
                value: text.get(value.span()).unwrap_or_default().to_owned(),
                allowed: "write it as a string, a number or a list of strings".to_owned(),
            }),
        }
    }
}

/// Where a table of an app begins.
struct Place<'a> {
    file: &'a Path,
    text: &'a str,
    line: usize,
}

impl Place<'_> {
    fn app(
        &self,
        app: &str,
        said: &DeValue<'_>,
        line_of: &impl Fn(usize) -> usize,
        of_apps: &mut BTreeMap<(String, &'static str), (String, Origin)>,
        errors: &mut Vec<ConfigError>,
    ) {
        let at = |line| Origin::File(self.file.to_owned(), line);
        let DeValue::Table(keys) = said else {
            let allowed = format!("it is a table, as in `[apps.{app}]` and `owner = \"1000:1000\"` below it");
            errors.push(ConfigError::Value {
                origin: at(self.line),
                key: APPS,
                value: app.to_owned(),
                allowed,
            });
            return;
        };
        for (key, value) in keys {
            let origin = at(line_of(key.span().start));
            let name = key.get_ref().as_ref();
            let Some(known) = OF_APP.into_iter().find(|known| *known == name) else {
                let nearest = crate::spelling::nearest(name, OF_APP);
                errors.push(ConfigError::UnknownKey { origin, key: format!("{APPS}.{app}.{name}"), nearest });
                continue;
            };
            match value.get_ref() {
                DeValue::String(text) => {
                    of_apps.insert((app.to_owned(), known), (text.to_string(), origin));
                }
                _ => errors.push(ConfigError::Value {
                    origin,
                    key: known,
                    value: self.text.get(value.span()).unwrap_or_default().to_owned(),
                    allowed: "write it in quotes".to_owned(),
                }),
            }
        }
    }
}

/// A string, a number, or a list of strings joined by commas (no value of ours has a comma in it).
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.as_str().to_owned()),
        DeValue::Array(items) => {
            let items: Option<Vec<String>> = items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) if !text.contains(',') => Some(text.to_string()),
                    _ => None,
                })
                .collect();
            Some(items?.join(","))
        }
        _ => None,
    }
}
