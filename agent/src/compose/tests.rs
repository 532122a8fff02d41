use super::*;
use files::FileError;
use serde_json::{Value, json};

/// Files of a test: `path`, then its text.
struct Memory(BTreeMap<String, String>);

impl Files for Memory {
    fn read(&self, path: &str) -> Result<String, FileError> {
        match self.0.get(path) {
            Some(text) => Ok(text.clone()),
            None if self.is_folder(path) => Err(FileError::Folder),
            None => Err(FileError::Missing),
        }
    }

    fn exists(&self, path: &str) -> bool {
        self.0.contains_key(path) || self.is_folder(path)
    }

    fn is_folder(&self, path: &str) -> bool {
        self.0.keys().any(|file| file.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
    }
}

/// A run in `/p/app`, among files given by their paths from there.
#[derive(Default)]
struct Run {
    files: BTreeMap<String, String>,
    request: Request,
}

impl Run {
    fn of(text: &str) -> Self {
        Self::default().file("compose.yaml", text)
    }

    fn file(mut self, path: &str, text: &str) -> Self {
        self.files.insert(crate::path::within("/p/app", path), text.to_owned());
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.request.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Request)) -> Self {
        change(&mut self.request);
        self
    }

    fn reading(mut self) -> Reading {
        if self.request.here.is_empty() {
            "/p/app".clone_into(&mut self.request.here);
        }
        self.request.environment.entry("HOME".to_owned()).or_insert("/home/ann".to_owned());
        read(&self.request, &Memory(self.files))
    }

    #[track_caller]
    fn compose(self) -> Compose {
        let reading = self.reading();
        reading.compose.unwrap_or_else(|| panic!("{}", texts(&reading.problems)))
    }

    /// Services with their mounts, each `source>target` with what is special about it.
    #[track_caller]
    fn mounts(self) -> Value {
        let compose = self.compose();
        let services = compose.active().map(|service| {
            let mounts: Vec<String> = service.entries.iter().map(|entry| shown(&entry.declaration)).collect();
            (service.name.clone(), json!(mounts))
        });
        services.collect::<serde_json::Map<_, _>>().into()
    }

    #[track_caller]
    fn codes(self) -> Vec<&'static str> {
        let reading = self.reading();
        assert!(reading.compose.is_none(), "Docker Compose would refuse it");
        let errors = reading.problems.iter().filter(|problem| problem.severity == Severity::Error);
        errors.map(|problem| problem.code).collect()
    }
}

fn texts(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| crate::problem::snippet::page(problem, &Sources::default(), false))
        .collect()
}

fn shown(declaration: &Declaration) -> String {
    let target = crate::path::clean(&declaration.target);
    let mut text = match &declaration.source {
        Some(source) => format!("{}>{target}", source.resolved()),
        None => target,
    };
    if declaration.read_only {
        text.push_str(" ro");
    }
    text
}

/// The service `web`, with these lines.
fn web(lines: &str) -> String {
    let indented: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!("services:\n  web:\n    image: x\n{indented}")
}

fn volumes(entries: &str) -> String {
    web(&format!("volumes: {entries}"))
}

#[test]
fn the_entry_of_the_readme_is_read_with_its_place() {
    let text = web("ports:\n  - 80:80\nvolumes:\n  - /var/www/html");
    let compose = Run::of(&text).compose();
    let entry = &compose.services[0].entries[0];
    assert_eq!(entry.declaration.target, "/var/www/html");
    assert_eq!((entry.place.line, entry.place.column, entry.place.length, entry.index), (7, 9, 13, 1));
    assert_eq!((compose.project.as_str(), compose.folder.as_str()), ("app", "/p/app"));
}

#[test]
fn sources_are_absolute_paths() {
    let text = volumes("[./a:/1, ../b:/2, '~/c:/3', .:/4, /d/../e/:/5, /6, 'db:/7', 'C:\\x:/8']")
        + "volumes: {db: }\n";
    let expected = json!({ "web": [
        "/p/app/a>/1", "/p/b>/2", "/home/ann/c>/3", "/p/app>/4", "/d/../e/>/5", "/6", "db>/7", "C:\\x>/8"
    ] });
    assert_eq!(Run::of(&text).mounts(), expected);
}

#[test]
fn the_long_form_says_everything() {
    let text = web(
        "volumes:\n  - {type: bind, source: a, target: /1/, read_only: 'yes'}\n  - type: volume\n    source: db\n    target: /2\n    volume: {nocopy: on, subpath: s, labels: [a=b]}\n  - {type: tmpfs, target: /3, tmpfs: {size: 1.5m, mode: 0777}}\n  - {type: image, source: busybox, target: /4, image: {subpath: bin}, x-mine: 1}\n  - {type: bind, source: /b, target: /5, bind: {propagation: rslave, selinux: z, create_host_path: false}}",
    ) + "volumes: {db: }\n";
    let compose = Run::of(&text).compose();
    let listed: Vec<Value> = compose.services[0]
        .entries
        .iter()
        .map(|entry| {
            entry
                .declaration
                .options
                .listed()
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect::<serde_json::Map<_, _>>()
                .into()
        })
        .collect();
    assert_eq!(
        json!(listed),
        json!([
            {},
            { "volume.labels": { "a": "b" }, "volume.nocopy": true, "volume.subpath": "s" },
            { "tmpfs.size": "1572864", "tmpfs.mode": 0o777 },
            { "image.subpath": "bin" },
            { "bind.selinux": "z", "bind.propagation": "rslave" },
        ])
    );
    let first = &compose.services[0].entries[0].declaration;
    assert_eq!(shown(first), "/p/app/a>/1 ro");
    assert_eq!(first.text, "{type: bind, source: a, target: /1/, read_only: yes}");
}

#[test]
fn what_docker_compose_refuses_in_one_document() {
    for (text, code) in [
        ("", "empty-file"),
        ("version: '3'\n", "empty-file"),
        ("services:\n", "not-a-mapping"),
        ("services: []\n", "not-a-mapping"),
        ("[]\n", "not-a-mapping"),
        ("services: {web: }\n", "not-a-mapping"),
        ("services: {web: x}\n", "not-a-mapping"),
        ("services: {a b: {}}\n", "name"),
        ("services: {'${X}': {}}\n", "name"),
        ("services: {1: {}}\n", "key-kind"),
        ("services: {web: {}, web: {}}\n", "duplicate-key"),
        ("services: {web: [\n", "yaml"),
        ("services: {}\nvolumes: {a/b: }\n", "name"),
        ("services: {}\nvolumes:\n", "not-a-mapping"),
        ("services: {}\nvolume: {}\n", "slip"),
        ("services: {}\ntmpfs: /a\n", "slip"),
        ("version: '2'\nweb: {image: x}\n", "no-services"),
        ("name: 1\nservices: {}\n", "project-name"),
        ("name: '--'\nservices: {}\n", "project-name"),
        ("services: {}\nvolumes: {v: {external: true, driver: x}}\n", "volume"),
        ("services: {}\nvolumes: {v: {drivr: x}}\n", "volume"),
        ("services: {}\nvolumes: {v: {external: {name: a}, name: b}}\n", "volume"),
        ("x-a: '${X'\nservices: {}\n", "interpolation"),
        ("x-a: '${X:?no}'\nservices: {}\n", "required-variable"),
        ("include: x.yml\nservices: {}\n", "include"),
    ] {
        assert_eq!(Run::of(text).codes(), [code], "{text:?}");
    }
    for (lines, code) in [
        ("volumes: /a", "not-a-list"),
        ("volumes: {a: /b}", "not-a-list"),
        ("volumes:", "not-a-list"),
        ("volumes: [1]", "not-a-string"),
        ("volumes: [~]", "not-a-string"),
        ("volumes: [[/a]]", "not-a-string"),
        ("volumes: [2001-01-01]", "not-a-string"),
        ("volumes: ['']", "empty-part"),
        ("volumes: ['/a:/b:ro:x']", "too-many-parts"),
        ("volumes: [{/a: /b}]", "long-syntax"),
        ("volumes: [{type: x, target: /a}]", "long-syntax"),
        ("volumes: [{type: bind, target: /a}]", "long-syntax"),
        ("volumes: [{type: volume}]", "long-syntax"),
        ("volumes: [{type: volume, target: /a, readonly: true}]", "long-syntax"),
        ("volumes: [{type: volume, target: /a, read_only: maybe}]", "long-syntax"),
        ("volumes: [{type: tmpfs, target: /a, tmpfs: {size: x}}]", "long-syntax"),
        ("volumes: ['db:/a']", "undefined-volume"),
        ("volumes: [{type: volume, target: /a/}, /a]", "duplicate-target"),
        ("volumes: [/a]\ntmpfs: /a:size=1", "duplicate-target"),
        ("tmpfs: [1]", "not-a-string"),
        ("volumes_from: other", "not-a-list"),
        ("volumes_from: [nobody]", "undefined-service"),
        ("volumes_from: [web]", "volumes-from-cycle"),
        ("volume: [/a]", "slip"),
        ("Volumes: [/a]", "slip"),
        ("'<<': {volumes: [/a]}", "slip"),
        ("volumes: [/a]\nvolumes: [/b]", "duplicate-key"),
        ("extends: {file: x.yml}", "extends"),
        ("extends: nobody", "extends"),
        ("extends: {service: a, file: nowhere.yml}", "missing-file"),
        ("profiles: p", "not-a-list"),
    ] {
        assert_eq!(Run::of(&web(lines)).codes(), [code], "{lines:?}");
    }
}

#[test]
fn what_has_nothing_to_do_with_volumes_is_none_of_its_business() {
    for text in [
        "version: 2\nfoo: 1\nservices: {web: {}}\n",
        "services: {web: {build: 1, dockerfile: 3, depends_on: [nobody], networks: [none], env_file: none}}\n",
        "services: {}\n",
        "volumes: {v: }\n",
        "services: {web: {image: 1, user: 1000, ports: x}}\n",
        "web: {image: x}\n",
        "version: '1'\nweb: {build: .}\n",
    ] {
        Run::of(text).compose();
    }
}

#[test]
fn files_of_the_first_format_name_volumes_without_declaring_them() {
    let text = "web:\n  image: x\n  volumes: [/a, ./b:/b, 'data:/c:ro']\ndb:\n  build: .\n";
    assert_eq!(Run::of(text).mounts(), json!({ "web": ["/a", "/p/app/b>/b", "data>/c ro"], "db": [] }));
}

#[test]
fn what_docker_compose_loses_in_silence_is_kept_as_a_reason_not_to_deploy() {
    let text = volumes("[/a:/b:RO, /x:ro, data, 'v:/y', $U/z:/z, '$E/q:/q', /d, /d/]") + "volumes: {v: }\n";
    let compose = Run::of(&text).env("E", "").compose();
    let found: Vec<_> = compose.services[0]
        .entries
        .iter()
        .flat_map(|entry| &entry.refusals)
        .map(|refusal| (refusal.code, refusal.entry.unwrap_or_default()))
        .collect();
    assert_eq!(
        found,
        [
            ("unknown-option", 1),
            ("option-without-source", 2),
            ("relative-target", 3),
            ("drive-letter", 4),
            ("unset-variable", 5),
            ("empty-variable", 6),
            ("duplicate-target", 8),
        ]
    );
    assert_eq!(compose.services[0].entries.len(), 7, "of two entries with one target the last one is left");
    assert_eq!(compose.unset_variables, BTreeSet::from(["U".to_owned()]));
}

#[test]
fn a_circle_is_told_once() {
    let text = "services:\n  a: {extends: b}\n  b: {extends: c}\n  c: {extends: a}\n  d: {extends: a}\n  e: {extends: e}\n";
    assert_eq!(Run::of(text).codes(), ["extends-cycle", "extends-cycle"], "a, b and c; and e");
}

#[test]
fn a_variable_in_an_operand_that_is_not_used_is_no_reason_to_refuse() {
    let text = volumes("['/x${A:-$U}:/x', '/y${N:+$U}:/y', '/z${N:-$U}:/z']");
    let compose = Run::of(&text).env("A", "a").compose();
    let codes: Vec<_> = compose.services[0].entries.iter().map(|entry| entry.refusals.len()).collect();
    assert_eq!(codes, [0, 0, 1]);
}

#[test]
fn what_cannot_be_replaced_is_not_also_called_undefined() {
    for entry in ["${DATA/x/y}:/data", "${DATA:?say where}:/data"] {
        assert_eq!(Run::of(&volumes(&format!("['{entry}']"))).codes().len(), 1, "{entry}");
    }
}

#[test]
fn a_problem_says_whose_it_is_and_where_its_text_came_from() {
    let reading =
        Run::of(&volumes("[/ok, \"${DATA}:/b:ro:x\"]")).file(".env", "# a\n\nDATA=/from\n").reading();
    let [problem] = reading.problems.as_slice() else { panic!("{}", texts(&reading.problems)) };
    assert_eq!(
        (problem.code, problem.service.as_deref(), problem.entry),
        ("too-many-parts", Some("web"), Some(2))
    );
    assert_eq!(problem.declaration.as_deref(), Some("${DATA}:/b:ro:x"));
    assert_eq!(problem.resolved.as_deref(), Some("/from:/b:ro:x"));
    let place = problem.place.as_ref().unwrap();
    assert_eq!((place.file.as_str(), place.line, place.column, place.length), ("compose.yaml", 4, 20, 17));
    let related: Vec<_> =
        problem.related.iter().map(|label| (label.file.as_str(), label.line, label.column)).collect();
    assert_eq!(related, [(".env", 3, 1)]);
    assert_eq!(reading.sources.line("compose.yaml", 4), Some("    volumes: [/ok, \"${DATA}:/b:ro:x\"]"));
    assert_eq!(reading.sources.line(".env", 3), Some("DATA=/from"));
}

#[test]
fn inherited_and_aliased_entries_say_where_they_are_asked_for() {
    let text = "x-v: &v\n  - /a:/b:RO\nservices:\n  web:\n    extends: {file: base.yml, service: base}\n    volumes: *v\n";
    let base = "services:\n  base:\n    image: x\n    volumes: ['/c:/d:U']\n";
    let compose = Run::of(text).file("base.yml", base).compose();
    let related = |at: usize| -> Vec<_> {
        let refusal = &compose.services[0].entries[at].refusals[0];
        let place = refusal.place.clone().unwrap();
        let steps = refusal.related.iter().map(|label| (label.line, label.text.clone())).collect::<Vec<_>>();
        vec![(place.file, place.line, steps)]
    };
    let inherited = vec![(5, "inherited here, from `base`".to_owned())];
    assert_eq!(related(0), [("base.yml".to_owned(), 4, inherited)]);
    let aliased = vec![(6, "used here, by `*v`".to_owned())];
    assert_eq!(related(1), [("compose.yaml".to_owned(), 2, aliased)]);
}

#[test]
fn all_problems_come_at_once_in_the_files_order() {
    let text =
        "services:\n  b: {volumes: [1]}\n  a: {volumes: ['/a:/b:ro:x', ''], volume: x}\nvolumes: {'a b': }\n";
    let lines: Vec<_> =
        Run::of(text).reading().problems.iter().map(|p| (p.code, p.place.as_ref().unwrap().line)).collect();
    let expected = [("not-a-string", 2), ("too-many-parts", 3), ("empty-part", 3), ("slip", 3), ("name", 4)];
    assert_eq!(lines, expected);
}

#[test]
fn later_entries_replace_earlier_ones_with_their_target() {
    let over = |base: &str, over: &str| {
        let run = Run::of(&(volumes(base) + "volumes: {vv: }\n"));
        let over = format!("services:\n  web:\n    volumes: {over}\n");
        run.file("compose.override.yml", &over).mounts()["web"].clone()
    };
    for (base, later, expected) in [
        ("[/a, /b]", "[/c]", json!(["/a", "/b", "/c"])),
        ("[/a, 'vv:/b', /c]", "['./x:/b:ro']", json!(["/a", "/p/app/x>/b ro", "/c"])),
        (
            "[{type: bind, source: /x, target: /y, read_only: true}]",
            "[{type: bind, source: /z, target: /y}]",
            json!(["/z>/y"]),
        ),
        ("[/a, /b]", "!reset []", json!([])),
        ("[/a, /b]", "!override [/c]", json!(["/c"])),
        ("[/a]", "[!reset /a]", json!(["/a"])),
        ("[/a]", "null", json!(["/a"])),
        ("[/a]", "[]", json!(["/a"])),
        ("[/a]", "[{type: volume, source: vv, target: /b}, 'vv:/a']", json!(["vv>/a", "vv>/b"])),
    ] {
        assert_eq!(over(base, later), expected, "{base} and {later}");
    }
}

#[test]
fn several_documents_are_laid_over_each_other() {
    let text = volumes("[/a]") + "---\nservices: {web: {volumes: [/b]}, db: {image: y}}\n";
    assert_eq!(Run::of(&text).mounts(), json!({ "web": ["/a", "/b"], "db": [] }));
}

#[test]
fn services_and_volumes_can_be_reset() {
    let text =
        volumes("['vv:/a']") + "  db: {image: y}\nvolumes: {vv: {driver: d, driver_opts: {a: 1, b: 2}}}\n";
    let over =
        "services: {db: !reset {}}\nvolumes: {vv: {driver: !reset x, driver_opts: {a: !reset x, b: 3}}}\n";
    let compose = Run::of(&text).file("compose.override.yml", over).compose();
    assert_eq!(compose.services.len(), 1);
    let volume = compose.volume("vv").unwrap();
    assert_eq!(
        (volume.driver.as_deref(), &volume.driver_opts),
        (None, &BTreeMap::from([("b".to_owned(), "3".to_owned())]))
    );
}

#[test]
fn kinds_that_don_t_fit_can_t_be_merged() {
    let base = web("ports: ['80:80']\nenvironment: {A: 1}");
    for (over, expected) in [
        ("services: {web: {ports: x}}\n", Some("cannot-override")),
        ("services: {web: {environment: [B=1]}}\n", None),
        ("services: {web: {ports: !override x}}\n", None),
        ("services: {web: {volumes: x}}\n", Some("not-a-list")),
    ] {
        let run = Run::of(&base).file("compose.override.yml", over);
        match expected {
            Some(code) => assert_eq!(run.codes(), [code], "{over}"),
            None => drop(run.compose()),
        }
    }
}

#[test]
fn extends_takes_the_other_service_first() {
    let text = "services:\n  base: {image: x, volumes: [./x:/y, /k], tmpfs: /t, user: u}\n  web: {extends: base, volumes: [/z, ./q:/y:ro]}\n  reset: {extends: base, volumes: !reset []}\n";
    let compose = Run::of(text).compose();
    let web = &compose.services[1];
    let mounts: Vec<_> = web.entries.iter().map(|entry| shown(&entry.declaration)).collect();
    assert_eq!(mounts, ["/p/app/q>/y ro", "/k", "/z"]);
    assert_eq!((web.tmpfs[0].value.as_str(), web.user.as_deref()), ("/t", Some("u")));
    assert_eq!(compose.services[2].entries, []);
}

#[test]
fn a_reset_key_leaves_room_for_what_a_merge_key_brings() {
    let text = "x-a: &a {image: x, volumes: [/a]}\nservices:\n  web: {<<: *a, volumes: !reset []}\n  db: {<<: *a, volumes: []}\n";
    assert_eq!(Run::of(text).mounts(), json!({ "web": ["/a"], "db": [] }));
}

#[test]
fn extended_files_have_their_own_folders() {
    let run = Run::of("services: {web: {extends: {file: d/a.yml, service: a}}}\n")
        .file("d/a.yml", "services:\n  a:\n    extends: {file: e/b.yml, service: b}\n    volumes: [./a:/a]\n  broken: {volumes: x}\n")
        .file("d/e/b.yml", "services: {b: {image: x, volumes: ['./b:/b', '${P:-/p}:/p', 'v:/c:ro']}}\n")
        .env("P", "/set");
    let expected = json!({ "web": ["/p/app/d/e/b>/b", "/set>/p", "v:/c>ro", "/p/app/d/a>/a"] });
    assert_eq!(run.mounts(), expected);
}

#[test]
fn a_later_document_keeps_what_an_earlier_one_extends() {
    let run = |later: &str| {
        let base = format!(
            "services:\n  a: {{extends: {{service: b}}, volumes: [/a]}}\n  b: {{image: x, volumes: [/b]}}\n  c: {{image: x, volumes: [/c]}}\n---\nservices: {{a: {{{later}}}}}\n"
        );
        Run::of("services: {web: {extends: {file: base.yml, service: a}}}\n").file("base.yml", &base)
    };
    assert_eq!(run("volumes: [/later]").mounts()["web"], json!(["/b", "/a", "/later"]));
    assert_eq!(run("extends: {service: c}").mounts()["web"], json!(["/c", "/a"]));
    assert_eq!(run("extends: !reset {}").mounts()["web"], json!(["/a"]));
    assert_eq!(run("extends: c").codes(), ["cannot-override"]);
}

#[test]
fn extends_that_lead_nowhere_are_refused() {
    for (text, code) in [
        ("services: {a: {extends: b}, b: {extends: a}}\n", "extends-cycle"),
        ("services: {a: {extends: a}}\n", "extends-cycle"),
        ("services: {a: {extends: {file: compose.yaml, service: a}}}\n", "extends-cycle"),
        ("services: {a: {extends: b}}\n", "extends"),
    ] {
        assert!(Run::of(text).codes().iter().all(|found| *found == code), "{text}");
    }
    let chain: String = (1..200).map(|n| format!("  s{n}: {{extends: s{}}}\n", n - 1)).collect();
    assert!(Run::of(&format!("services:\n  s0: {{image: x}}\n{chain}")).codes().contains(&"too-large"));
}

#[test]
fn included_files_have_their_own_folder_and_variables() {
    let included = "services:\n  inc:\n    image: x\n    volumes: [./x:/x, 'v1:/v', '${Q:-/none}:/q', '${O:-/none}:/o']\nvolumes: {v1: }\n";
    let run = |include: &str| {
        Run::of(&format!("include: {include}\n{}", volumes("[./m:/m, 'v1:/v']")))
            .file("d/c.yml", included)
            .file("d/.env", "Q=/denv\nO=/denv\n")
            .file("q.env", "Q=/qenv\n")
            .file("d/over.yml", "services: {inc: {volumes: [./o:/x]}}\n")
            .env("O", "/outer")
    };
    for (include, mounts) in [
        ("[d/c.yml]", ["/p/app/d/x>/x", "v1>/v", "/denv>/q", "/outer>/o"]),
        ("[{path: d/c.yml, env_file: q.env}]", ["/p/app/d/x>/x", "v1>/v", "/qenv>/q", "/outer>/o"]),
        ("[{path: d/c.yml, project_directory: .}]", ["/p/app/x>/x", "v1>/v", "/none>/q", "/outer>/o"]),
        ("[{path: [d/c.yml, d/over.yml]}]", ["/p/app/d/o>/x", "v1>/v", "/denv>/q", "/outer>/o"]),
        ("[d/c.yml, ./d/c.yml]", ["/p/app/d/x>/x", "v1>/v", "/denv>/q", "/outer>/o"]),
    ] {
        assert_eq!(run(include).mounts()["inc"], json!(mounts), "{include}");
    }
    assert_eq!(run("[{path: d/c.yml, env_file: no.env}]").codes(), ["missing-file"]);
    assert_eq!(run("[no.yml]").codes(), ["missing-file"]);
    assert_eq!(run("[compose.yaml]").codes(), ["include-cycle"]);
    let conflict = run("[d/c.yml]").file("d/c.yml", "services: {web: {image: y}}\nvolumes: {v1: }\n");
    assert_eq!(conflict.codes(), ["include-conflict"]);
}

#[test]
fn files_are_found_as_docker_compose_finds_them() {
    let files = |run: Run| run.compose().files;
    let text = web("");
    let beside = |name: &str| Run::default().file(name, &text);
    assert_eq!(files(beside("docker-compose.yml")), ["docker-compose.yml"]);
    assert_eq!(files(beside("docker-compose.yml").file("compose.yml", &text)), ["compose.yml"]);
    let over = beside("docker-compose.yaml").file("compose.override.yaml", "services: {web: {}}\n");
    assert_eq!(files(over), ["docker-compose.yaml", "compose.override.yaml"]);
    let below = beside("compose.yaml").with(|request| "/p/app/a/b".clone_into(&mut request.here)).compose();
    assert_eq!((below.files, below.folder), (vec!["/p/app/compose.yaml".to_owned()], "/p/app".to_owned()));
    let named = beside("compose.yaml")
        .file("a/x.yml", &volumes("[./v:/v]"))
        .file("b/y.yml", "services: {web: {volumes: [./w:/w]}}\n");
    let named = named.with(|request| request.files = ["a/x.yml", "b/y.yml"].map(str::to_owned).to_vec());
    assert_eq!(named.mounts(), json!({ "web": ["/p/app/a/v>/v", "/p/app/a/w>/w"] }), "one project folder");
    let listed =
        beside("a.yml").file("b.yml", "services: {db: {image: y}}\n").env("COMPOSE_FILE", "a.yml:b.yml");
    assert_eq!(files(listed), ["a.yml", "b.yml"]);
    let elsewhere = beside("compose.yaml").file("e/compose.yaml", &text).file("e/.env", "X=1\n");
    let elsewhere = elsewhere.with(|request| request.project_directory = Some("e".to_owned())).compose();
    assert_eq!((elsewhere.folder.as_str(), elsewhere.project.as_str()), ("/p/app/e", "e"));
    assert_eq!(Run::default().codes(), ["missing-file"]);
    assert_eq!(
        beside("compose.yaml").with(|request| request.files = vec!["no.yml".to_owned()]).codes(),
        ["missing-file"]
    );
}

#[test]
fn variables_come_from_the_environment_then_from_env_files() {
    let text = volumes("['/$A/$B/$C:/x']");
    let run =
        || Run::of(&text).file(".env", "A=dot\nB=dot\nC=$A$B\n").env("A", "outer").mounts()["web"][0].clone();
    assert_eq!(run(), json!("/outer/dot/outerdot>/x"));
    let given = Run::of(&text)
        .file(".env", "A=dot\n")
        .file("x.env", "A=x\nB=x\n")
        .file("y.env", "B=y\nC=y\n")
        .with(|request| request.env_files = ["x.env", "y.env"].map(str::to_owned).to_vec());
    assert_eq!(given.mounts()["web"][0], json!("/x/y/y>/x"));
    let missing = Run::of(&text).with(|request| request.env_files = vec!["no.env".to_owned()]);
    assert_eq!(missing.codes(), ["missing-file"]);
    assert_eq!(Run::of(&text).file(".env", "A='x\n").codes(), ["env-file"]);
}

#[test]
fn the_project_is_named_as_docker_compose_names_it() {
    for (name, normal) in [("My-App.1", "my-app1"), ("_-x", "x"), ("example.app", "exampleapp"), ("--", "")] {
        assert_eq!(selection::normal_name(name), normal);
    }
    let text = |name: &str| format!("name: {name}\n{}", web(""));
    let named = |run: Run| run.compose().project;
    assert_eq!(named(Run::of(&web(""))), "app");
    assert_eq!(named(Run::of(&text("My.App"))), "myapp");
    assert_eq!(named(Run::of(&text("${N:-Other}"))), "other");
    assert_eq!(named(Run::of(&text("a")).file("compose.override.yml", "name: b\n")), "b");
    assert_eq!(named(Run::of(&text("a")).file(".env", "COMPOSE_PROJECT_NAME=c\n")), "c");
    let flag = |name: &str| {
        let name = Some(name.to_owned());
        Run::of(&text("a")).env("COMPOSE_PROJECT_NAME", "c").with(|request| request.project_name = name)
    };
    assert_eq!(named(flag("d")), "d");
    assert_eq!(named(flag("")), "c");
    assert_eq!(flag("D").codes(), ["project-name"]);
    assert_eq!(Run::of(&web("")).env("COMPOSE_PROJECT_NAME", "A.b").codes(), ["project-name"]);
    let used = Run::of(&volumes("['/x/$COMPOSE_PROJECT_NAME:/y']"));
    assert_eq!(used.mounts()["web"][0], json!("/x/app>/y"));
}

#[test]
fn services_are_active_by_their_profiles() {
    let text = "services:\n  a: {image: x}\n  b: {image: x, profiles: [p], volumes: ['nowhere:/b']}\n  c: {image: x, profiles: [q, r]}\n";
    let active = |profiles: &[&str], listed: &str| -> Vec<String> {
        let text = text.replace("nowhere", "./b");
        let profiles = profiles.iter().map(|profile| (*profile).to_owned()).collect();
        let run = Run::of(&text).env("COMPOSE_PROFILES", listed).with(|request| request.profiles = profiles);
        run.compose().active().map(|service| service.name.clone()).collect()
    };
    assert_eq!(active(&[], ""), ["a"]);
    assert_eq!(active(&["p"], "r"), ["a", "b"]);
    assert_eq!(active(&[], "p, r"), ["a", "b", "c"]);
    assert_eq!(active(&["*"], ""), ["a", "b", "c"]);
    Run::of(text).compose();
    assert_eq!(
        Run::of(text).env("COMPOSE_PROFILES", "p").codes(),
        ["undefined-volume"],
        "only active ones are checked"
    );
}

#[test]
fn volumes_from_names_active_services() {
    let text =
        |more: &str| format!("services:\n  a: {{image: x, volumes_from: [b]}}\n  b: {{image: x{more}}}\n");
    Run::of(&text("")).compose();
    assert_eq!(Run::of(&text(", profiles: [p]")).codes(), ["undefined-service"]);
    assert_eq!(Run::of(&text(", volumes_from: [a]")).codes(), ["volumes-from-cycle"]);
    Run::of(&web("volumes_from: ['container:other:ro']")).compose();
}

#[test]
fn top_level_volumes_have_their_names_in_docker() {
    let text = volumes("[/a]")
        + "volumes:\n  plain:\n  named: {name: '${N:-n}'}\n  ext: {external: true}\n  old: {external: {name: o}}\n  bind: {driver: local, driver_opts: {o: bind, type: none, device: ./d}}\n";
    let compose = Run::of(&text).compose();
    let names: Vec<_> = compose.volumes.iter().map(|v| (v.full_name.as_str(), v.is_external)).collect();
    assert_eq!(names, [("app_plain", false), ("n", false), ("ext", true), ("o", true), ("app_bind", false)]);
    assert_eq!(compose.volume("bind").unwrap().driver_opts["device"], "/p/app/d");
}

#[test]
fn nothing_grows_out_of_hand() {
    let inherited: String = (0..200).map(|n| format!("  s{n}: {{extends: base}}\n")).collect();
    let entries: String = (0..1000).map(|n| format!("/{n}, ")).collect();
    let text = format!("services:\n  base: {{image: x, volumes: [{entries}]}}\n{inherited}");
    assert_eq!(Run::of(&text).codes(), ["too-large"]);
    let mut tree = Run::of("include: [f0.yml, f0.yml]\n");
    for n in 0..20 {
        tree = tree.file(&format!("f{n}.yml"), &format!("include: [f{}.yml, f{}.yml]\n", n + 1, n + 1));
    }
    assert!(tree.file("f20.yml", "services: {}\n").codes().contains(&"too-large"));
}
