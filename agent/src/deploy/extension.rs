//! What an `x-volumes` says that means nothing here: a slip in it would lose an owner, a mode or a silence without a word.

use crate::{
    compose::{Entry, Service},
    path::clean,
    problem::Problem,
    spelling,
};
use serde_json::Value;

/// Keys of an entry's, and of a service's for all its entries.
const KEYS: [&str; 4] = ["owner", "mode", "seed", "silence"];
/// The key of a service's that says more of single entries, by their path in the container.
const ENTRIES: &str = "entries";

/// What a service's own `x-volumes` says of the entry with this target.
pub(super) fn of_target<'a>(extension: &'a Value, target: &str) -> Option<&'a Value> {
    let entries = extension.get(ENTRIES)?.as_object()?;
    entries.iter().find(|(key, _)| clean(key) == target).map(|(_, value)| value)
}

/// Warnings of what is no key, and of entries that aren't there.
pub(super) fn meaningless(service: &Service) -> Vec<Problem> {
    let mut problems = Vec::new();
    let of_service = |problem: Problem| problem.at(&service.place).service(&service.name);
    if let Some(extension) = &service.extension {
        let known: Vec<&str> = KEYS.into_iter().chain([ENTRIES]).collect();
        problems.extend(unknown(extension, &known).into_iter().map(of_service));
        let of_targets = extension.get(ENTRIES).and_then(Value::as_object);
        let targets: Vec<String> = targets(service).collect();
        for (target, of_entry) in of_targets.into_iter().flatten() {
            if !targets.contains(&clean(target)) {
                let reason = format!("`x-volumes` says something of `{target}`, where no entry is mounted");
                let help = spelling::did_you_mean(target, targets.iter().map(String::as_str))
                    .unwrap_or_else(|| "name the path in the container of one of its entries".to_owned());
                problems.push(of_service(Problem::warning("x-volumes", reason, help)));
            }
            problems.extend(unknown(of_entry, &KEYS).into_iter().map(of_service));
        }
    }
    for entry in &service.entries {
        let own = entry.declaration.options.extension.as_ref();
        let told = own.map(|own| unknown(own, &KEYS)).unwrap_or_default();
        problems.extend(told.into_iter().map(|problem| entry.problem(problem).service(&service.name)));
    }
    problems
}

fn targets(service: &Service) -> impl Iterator<Item = String> {
    let of_entry = |entry: &Entry| clean(&entry.declaration.target);
    let of_memory = |text: &str| clean(text.split(':').next().unwrap_or_default());
    let memory = service.tmpfs.iter().map(move |text| of_memory(&text.value));
    service.entries.iter().map(of_entry).chain(memory)
}

fn unknown(extension: &Value, known: &[&str]) -> Vec<Problem> {
    let warning = |reason: String, help: String| Problem::warning("x-volumes", reason, help);
    let Some(keys) = extension.as_object() else {
        let help = "write it as in `x-volumes: { owner: \"1000:1000\" }`".to_owned();
        return vec![warning("`x-volumes` is no mapping: it says nothing".to_owned(), help)];
    };
    let unknown = keys.keys().filter(|key| !known.contains(&key.as_str()));
    let told = |key: &String| {
        let help = spelling::did_you_mean(key, known.iter().copied())
            .unwrap_or_else(|| format!("its keys are {}", known.join(", ")));
        warning(format!("`x-volumes` has the key `{key}`, which means nothing here"), help)
    };
    unknown.map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::tests::read;

    #[test]
    fn slips_in_x_volumes_are_told_and_paths_are_cleaned() {
        let compose = read(
            "services:\n  web:\n    x-volumes: {ownr: '1:1', entries: {/data/: {seed: false}, /cahce: {mode: '0700'}}}\n    volumes: [/data, {type: volume, target: /cache, x-volumes: {sead: true, owner: '1:1'}}]\n",
        );
        let service = &compose.services[0];
        let told: Vec<_> = meaningless(service).into_iter().map(|p| (p.reason, p.help)).collect();
        let key = |key: &str, meant: &str| {
            let reason = format!("`x-volumes` has the key `{key}`, which means nothing here");
            (reason, format!("did you mean `{meant}`?"))
        };
        let nowhere = "`x-volumes` says something of `/cahce`, where no entry is mounted".to_owned();
        assert_eq!(
            told,
            [key("ownr", "owner"), (nowhere, "did you mean `/cache`?".to_owned()), key("sead", "seed")]
        );
        let extension = service.extension.as_ref().unwrap();
        assert_eq!(of_target(extension, "/data"), Some(&serde_json::json!({ "seed": false })));
    }
}
