//! Warnings that their author knows and wants no more of: by `x-volumes: {silence: [code, ...]}` on a service or an entry, or by a flag.
//!
//! Refusals can't be silenced. A code that names no warning is a warning itself: a slip would silence nothing, and nobody would see
//! why.

use crate::{
    codes,
    compose::{Compose, Service},
    path::clean,
    problem::{Problem, Severity},
    spelling,
};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// File, line and column.
type Spot = (String, usize, usize);

/// What the services of a file want to hear no more of.
#[derive(Debug, Default)]
pub struct Silences {
    of_services: HashMap<String, HashSet<String>>,
    of_entries: HashMap<(String, Spot), HashSet<String>>,
}

/// Why a code can't be silenced; nothing, if it can.
pub fn why_not(code: &str) -> Option<Problem> {
    if codes::WARNINGS.contains(&code) {
        return None;
    }
    let is_code = codes::all().any(|(known, _)| known == code);
    let (reason, help) = if is_code {
        let reason = format!("`{code}` is not a warning, and can't be silenced");
        (reason, "remove it from `silence`: a refusal ends when the file is mended".to_owned())
    } else {
        let meant = spelling::did_you_mean(code, codes::WARNINGS);
        let help = meant.unwrap_or_else(|| "`volumes-agent explain` lists the codes".to_owned());
        (format!("there is no code `{code}`: it silences nothing"), help)
    };
    Some(Problem::warning("silence", reason, help))
}

/// The codes that an `x-volumes` silences, whatever they are; what is no code is told to `wrong`.
fn of_extension(extension: Option<&Value>, mut wrong: impl FnMut(Problem)) -> HashSet<String> {
    let mut silenced = HashSet::new();
    let words = match extension.and_then(|extension| extension.get("silence")) {
        None | Some(Value::Null) => return silenced,
        Some(Value::Array(words)) => words.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    for word in words {
        match word.as_str().map(|code| (code, why_not(code))) {
            Some((code, None)) => drop(silenced.insert(code.to_owned())),
            Some((_, Some(problem))) => wrong(problem),
            None => {
                let reason = "`silence` takes a list of codes";
                wrong(Problem::warning("silence", reason, "write it as in `silence: [socket]`"));
            }
        }
    }
    silenced
}

/// Whether a declaration's own `x-volumes` silences a code.
pub fn is_silenced(extension: Option<&Value>, code: &str) -> bool {
    of_extension(extension, |_| ()).contains(code)
}

impl Silences {
    /// Those of a file, and what is wrong with them.
    pub fn of(compose: &Compose) -> (Self, Vec<Problem>) {
        let mut silences = Self::default();
        let mut problems = Vec::new();
        for service in &compose.services {
            silences.read(service, |problem| {
                if service.is_active {
                    problems.push(problem);
                }
            });
        }
        (silences, problems)
    }

    fn read(&mut self, service: &Service, mut wrong: impl FnMut(Problem)) {
        let name = &service.name;
        let extension = service.extension.as_ref();
        let all = of_extension(extension, |problem| wrong(problem.at(&service.place).service(name)));
        if !all.is_empty() {
            self.of_services.insert(name.clone(), all);
        }
        let of_targets = extension.and_then(|extension| extension.get("entries")).and_then(Value::as_object);
        let mut by_target: HashMap<String, HashSet<String>> = HashMap::new();
        for (target, extension) in of_targets.into_iter().flatten() {
            let silenced =
                of_extension(Some(extension), |problem| wrong(problem.at(&service.place).service(name)));
            by_target.insert(clean(target), silenced);
        }
        for entry in &service.entries {
            let own = entry.declaration.options.extension.as_ref();
            let mut silenced = of_extension(own, |problem| wrong(entry.problem(problem).service(name)));
            silenced.extend(by_target.get(&clean(&entry.declaration.target)).into_iter().flatten().cloned());
            self.at(name, &entry.place, silenced);
        }
        for text in &service.tmpfs {
            let target = clean(text.value.split(':').next().unwrap_or_default());
            self.at(name, &text.place, by_target.get(&target).cloned().unwrap_or_default());
        }
    }

    fn at(&mut self, service: &str, place: &crate::yaml::Place, silenced: HashSet<String>) {
        if !silenced.is_empty() {
            let spot = (place.file.to_string(), place.line, place.column);
            self.of_entries.insert((service.to_owned(), spot), silenced);
        }
    }

    /// Takes out the warnings that are silenced, and says how many there were.
    pub fn take_from(&self, warnings: &mut Vec<Problem>) -> usize {
        let before = warnings.len();
        warnings.retain(|problem| !self.is_silenced(problem));
        before - warnings.len()
    }

    fn is_silenced(&self, problem: &Problem) -> bool {
        let Some(service) = problem.service.as_ref().filter(|_| problem.severity == Severity::Warning) else {
            return false;
        };
        let of_entry = problem.place.as_ref().and_then(|place| {
            let spot = (place.file.clone(), place.line, place.column);
            self.of_entries.get(&(service.clone(), spot))
        });
        let of_service = self.of_services.get(service);
        of_entry.into_iter().chain(of_service).any(|codes| codes.contains(problem.code))
    }
}
