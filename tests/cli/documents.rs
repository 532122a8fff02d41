//! The documents say what the code does.

use crate::run;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap()
}

/// All Rust sources below a folder, in one text.
fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let mut all = String::new();
    for folder in [
        "agent/src",
        "agent/seed/src",
        "tests/promises",
        "tests/lab",
        "tests/laptop",
        "tests/cli",
        "tests/interleavings",
        "tests/ship",
    ] {
        sources(&repository().join(folder), &mut all);
    }
    let promises = read("docs/promises.md");
    let rows = promises.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| kept by |"));
    let mut names = 0;
    for row in rows {
        let kept_by = row.rsplit('|').nth(1).unwrap();
        let tests: Vec<&str> = kept_by.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test keeps: {row}");
        for test in tests {
            let is_folder = test.starts_with("tests/") && repository().join(test).is_dir();
            let is_test = all.contains(&format!("fn {test}(")) || all.contains(&format!("\"{test}\","));
            assert!(is_folder || is_test, "`{test}` is no test");
            names += 1;
        }
    }
    assert!(names > 30, "only {names} tests were found in docs/promises.md");
}

#[test]
fn every_configuration_key_is_documented_and_no_other() {
    let (stdout, _, code) = run("check-config --config nowhere.toml --format json", "");
    assert_eq!(code, 0);
    let keys: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&stdout).unwrap();
    let page = read("docs/configuration.md");
    let documented: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(key, _)| key)
        .collect();
    assert_eq!(documented, keys.keys().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn every_command_is_in_the_readme() {
    let (help, _, _) = run("--help", "");
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let names = commands.lines().filter_map(|line| {
        line.strip_prefix("  ")?.split_whitespace().next().filter(|_| !line.starts_with("   "))
    });
    let readme = read("README.md");
    for name in names.filter(|name| *name != "help") {
        assert!(readme.contains(&format!("`{name}`")), "README.md doesn't name `{name}`");
    }
}

/// Literals in the sources that are codes of problems, findings and verdicts: the first argument of what makes one.
fn codes_in(text: &str) -> std::collections::BTreeSet<String> {
    let makers = [
        "Problem::error(",
        "Problem::refused(",
        "Problem::warning(",
        "Verdict::refused(",
        "refuse(",
        "finding(",
    ];
    let mut codes = std::collections::BTreeSet::new();
    for maker in makers {
        for after in text.split(maker).skip(1) {
            let literal = after.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
            codes.extend(
                literal
                    .filter(|code| code.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
                    .map(str::to_owned),
            );
        }
    }
    codes
}

#[test]
fn every_code_has_its_story() {
    let mut all = String::new();
    sources(&repository().join("agent/src"), &mut all);
    let page = read("docs/codes.md");
    let told: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    for code in codes_in(&all) {
        assert!(told.contains(&code.as_str()), "docs/codes.md has no section `{code}`");
    }
    for code in &told {
        assert!(all.contains(&format!("\"{code}\"")), "`{code}` in docs/codes.md is no code");
    }
    let reference = read("docs/reference.md");
    for code in &told {
        assert!(reference.contains(&format!("`{code}`")), "docs/reference.md doesn't name `{code}`");
    }
    assert!(told.is_sorted(), "the sections of docs/codes.md are in alphabetical order");
}

/// What of the share fails or is missing: literals that make a [`Trouble`], or are the answer of a `fn code`.
fn share_codes_in(text: &str) -> std::collections::BTreeSet<String> {
    let makers = ["Trouble::coded(", "Self::coded("];
    let made = makers.into_iter().flat_map(|maker| text.split(maker).skip(1));
    let made = made.filter_map(|after| after.trim_start().strip_prefix('"')?.split('"').next());
    let answered = text
        .split("fn code(&self) -> &'static str {")
        .skip(1)
        .flat_map(|after| after.split("\n    }\n").next().unwrap_or_default().split('"').skip(1).step_by(2));
    let is_code =
        |code: &&str| code.contains('-') && code.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    made.chain(answered).filter(is_code).map(str::to_owned).collect()
}

#[test]
fn every_code_of_the_share_has_its_story() {
    let mut all = String::new();
    sources(&repository().join("agent/src"), &mut all);
    let page = read("docs/share-codes.md");
    let told: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let compose = read("docs/codes.md");
    let made: Vec<String> = share_codes_in(&all)
        .into_iter()
        .filter(|code| !compose.contains(&format!("\n## {code}\n")))
        .collect();
    assert_eq!(
        told, made,
        "docs/share-codes.md against the codes in the sources, both in alphabetical order"
    );
}

/// The row of warnings is what can be silenced.
#[test]
fn the_codes_that_can_be_silenced_are_listed() {
    let reference = read("docs/reference.md");
    let row = reference.lines().find(|line| line.ends_with("| warnings |")).unwrap();
    let listed: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
    assert!(listed.len() > 10 && listed.is_sorted());
    for code in &listed {
        let (_, stderr, _) = run(&format!("config -f - --silence {code}"), "services: {a: {image: x}}");
        assert_eq!(stderr, "", "{code}");
    }
    let page = read("docs/codes.md");
    for code in page.lines().filter_map(|line| line.strip_prefix("## ")).filter(|code| !listed.contains(code))
    {
        let (_, stderr, _) = run(&format!("config -f - --silence {code}"), "services: {a: {image: x}}");
        assert!(stderr.starts_with(&format!("warning[silence]: `{code}` is not a warning")), "{stderr}");
    }
}

/// The statements of a policy in the stack's template: from each `Sid` to the next one.
fn statements_of_the_template<'a>(template: &'a str, policy: &str) -> Vec<&'a str> {
    let (_, from) = template.split_once(&format!("\n  {policy}:\n")).unwrap();
    let lines = from.split_inclusive('\n');
    let is_of_another = |line: &str| line.starts_with("  ") && !line[2..].starts_with([' ', '#']);
    let length: usize = lines.take_while(|line| !is_of_another(line)).map(str::len).sum();
    from[..length].split("- Sid: ").skip(1).collect()
}

#[test]
fn the_stack_gives_the_rights_of_the_shipped_policies_and_no_others() {
    let template = read("docs/cloudformation/cluster.yaml");
    for (policy, file) in [("InstancePolicy", "instance"), ("PatcherPolicy", "patcher")] {
        let shipped: serde_json::Value =
            serde_json::from_str(&read(&format!("docs/iam/{file}.json"))).unwrap();
        let shipped = shipped["Statement"].as_array().unwrap();
        let given = statements_of_the_template(&template, policy);
        assert_eq!(shipped.len(), given.len(), "{policy}");
        for (statement, given) in shipped.iter().zip(given) {
            assert!(given.starts_with(statement["Sid"].as_str().unwrap()), "{given}");
            let all = |of: &serde_json::Value| match of {
                serde_json::Value::Array(all) => {
                    all.iter().map(|one| one.as_str().unwrap().to_owned()).collect()
                }
                one => vec![one.as_str().unwrap().to_owned()],
            };
            let mut actions = all(&statement["Action"]);
            let (_, theirs) = given.split_once("Action: ").unwrap();
            let theirs = theirs.lines().next().unwrap().trim_matches(['[', ']']);
            let mut theirs: Vec<String> =
                theirs.split(", ").map(|word| word.trim_matches('"').to_owned()).collect();
            actions.sort();
            theirs.sort();
            assert_eq!(actions, theirs, "{given}");
            let resources = all(&statement["Resource"]);
            let (_, theirs) = given.split_once("Resource:").unwrap();
            let arns: Vec<&str> =
                theirs.split('"').filter(|word| *word == "*" || word.starts_with("arn:")).collect();
            let of_resources =
                arns.iter().filter(|arn| !arn.contains(":cluster/${Rack}") || !theirs.contains("Condition:"));
            assert_eq!(resources.len(), of_resources.count(), "{given}");
            for resource in resources {
                let resource = resource
                    .replace("arn:aws:", "arn:${AWS::Partition}:")
                    .replace("REGION", "${AWS::Region}")
                    .replace("ACCOUNT", "${AWS::AccountId}")
                    .replace("CLUSTER", "${Rack}");
                assert!(arns.contains(&resource.as_str()), "{resource}: {given}");
            }
        }
    }
}
