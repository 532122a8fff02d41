//! The messages about compose files, whole, one snapshot each: what a person reads who wrote the file.
//!
//! Each case is a folder of small files and a command. To look at them all: `cat tests/cli/snapshots/messages/*.snap`.

use crate::{run_in, settings};
use std::path::PathBuf;

/// Name, command, files: `=== name` before each file's text.
const CASES: &[(&str, &str, &str)] = &[
    // YAML.
    ("yaml-indentation", "config", "services:\n  web:\n    image: nginx\n   volumes:\n      - /data\n"),
    ("yaml-tab", "config", "services:\n  web:\n\timage: nginx\n"),
    ("yaml-colon", "config", "services:\n  web:\n    volumes:\n      - /a: /b\n"),
    ("yaml-unclosed-quote", "config", "services:\n  web:\n    volumes:\n      - \"/data\n"),
    ("empty-file", "config", "# nothing yet\n"),
    ("top-level-list", "config", "- services\n"),
    ("no-services", "config", "volumes:\n  data:\n"),
    ("services-null", "config", "services:\n"),
    ("duplicate-key", "config", "services:\n  web:\n    volumes: [/a]\n    image: x\n    volumes: [/b]\n"),
    ("alias-unknown", "config", "services:\n  web:\n    volumes: *nothing\n"),
    (
        "alias-of-a-list-in-a-list",
        "config",
        "x-v: &v [/a, /b]\nservices:\n  web:\n    volumes:\n      - *v\n",
    ),
    ("merge-key-of-a-list", "config", "services:\n  web:\n    <<: [1, 2]\n    image: x\n"),
    ("unknown-tag", "config", "services:\n  web:\n    volumes: !append [/a]\n"),
    // Entries.
    ("slip-volume", "config", "services:\n  web:\n    image: x\n    volume:\n      - /data\n"),
    ("slip-indented-top-level", "config", "services:\n  web:\n    image: x\n    Volumes: [/data]\n"),
    ("volumes-is-a-string", "config", "services:\n  web:\n    volumes: /data\n"),
    ("volumes-is-a-mapping", "config", "services:\n  web:\n    volumes:\n      data: /data\n"),
    ("volumes-is-null", "config", "services:\n  web:\n    image: x\n    volumes:\n"),
    ("entry-number", "config", "services:\n  web:\n    volumes:\n      - /data\n      - 8080\n"),
    ("entry-null", "config", "services:\n  web:\n    volumes:\n      -\n"),
    ("empty-part", "config", "services:\n  web:\n    volumes:\n      - /a::/b\n"),
    ("too-many-parts", "config", "services:\n  web:\n    volumes:\n      - /a:/b:ro:x\n"),
    (
        "undefined-volume",
        "config",
        "services:\n  web:\n    volumes:\n      - logs:/var/log\nvolumes:\n  log:\n",
    ),
    ("unknown-option", "config", "services:\n  web:\n    volumes:\n      - /a:/b:RO\n"),
    (
        "unknown-option-on-deploy",
        "plan",
        "services:\n  web:\n    volumes:\n      - /uploads:/srv/uploads:RO\n",
    ),
    ("option-without-source", "plan", "services:\n  web:\n    volumes:\n      - /x:ro\n"),
    ("relative-target", "plan", "services:\n  web:\n    volumes:\n      - data\n"),
    ("relative-target-of-a-source", "plan", "services:\n  web:\n    volumes:\n      - /srv/a:b\n"),
    ("duplicate-target", "plan", "services:\n  web:\n    volumes:\n      - /a:/data\n      - /b:/data/\n"),
    ("relative-source", "plan", "services:\n  web:\n    volumes:\n      - ./html:/usr/share/nginx/html:ro\n"),
    (
        "relative-source-of-a-file",
        "plan",
        "services:\n  web:\n    volumes:\n      - ./conf/nginx.conf:/etc/nginx/nginx.conf\n      - ../shared/ca.pem:/etc/ca.pem\n",
    ),
    (
        "monitor",
        "plan",
        "services:\n  exporter:\n    volumes:\n      - /proc:/host/proc:ro\n      - /sys:/sys:ro\n      - /:/rootfs:ro\n",
    ),
    ("home-source", "plan", "services:\n  web:\n    volumes:\n      - ~/.aws:/home/node/.aws\n"),
    ("dot-dot", "plan", "services:\n  web:\n    volumes:\n      - /srv/../etc:/etc/app\n"),
    ("root-target", "plan", "services:\n  web:\n    volumes:\n      - /srv:/\n"),
    (
        "kernel-path",
        "plan",
        "services:\n  web:\n    volumes:\n      - /proc:/host/proc\n      - /x:/sys/fs\n",
    ),
    ("drive-letter", "plan", "services:\n  web:\n    volumes:\n      - v:/data\nvolumes:\n  v:\n"),
    ("windows-path", "plan", "services:\n  web:\n    volumes:\n      - C:\\data:/data\n"),
    ("ignored-option", "plan", "services:\n  web:\n    volumes:\n      - /a:/b:z,cached\n"),
    (
        "docker-socket",
        "plan",
        "services:\n  web:\n    volumes:\n      - /var/run/docker.sock:/var/run/docker.sock\n",
    ),
    (
        "nested-read-only",
        "plan",
        "services:\n  web:\n    volumes:\n      - /data\n      - /data/sub:/data/sub:ro\n",
    ),
    ("service-name", "plan", "services:\n  .web:\n    volumes: [/data]\n"),
    // Long syntax.
    ("long-no-type", "config", "services:\n  web:\n    volumes:\n      - source: ./x\n        target: /y\n"),
    (
        "long-wrong-type",
        "config",
        "services:\n  web:\n    volumes:\n      - type: bnd\n        source: ./x\n        target: /y\n",
    ),
    (
        "long-unknown-key",
        "config",
        "services:\n  web:\n    volumes:\n      - type: volume\n        target: /y\n        readonly: true\n",
    ),
    (
        "long-no-target",
        "config",
        "services:\n  web:\n    volumes:\n      - type: volume\n        source: data\nvolumes:\n  data:\n",
    ),
    (
        "long-bind-no-source",
        "config",
        "services:\n  web:\n    volumes:\n      - type: bind\n        target: /y\n",
    ),
    (
        "long-named-pipe",
        "plan",
        "services:\n  web:\n    volumes:\n      - type: npipe\n        source: \\\\.\\pipe\\docker_engine\n        target: \\\\.\\pipe\\docker_engine\n",
    ),
    (
        "long-subpath",
        "plan",
        "services:\n  web:\n    volumes:\n      - type: volume\n        source: data\n        target: /y\n        volume: { subpath: a/b }\nvolumes:\n  data:\n",
    ),
    (
        "long-propagation",
        "plan",
        "services:\n  web:\n    volumes:\n      - type: bind\n        source: /srv\n        target: /srv\n        bind: { propagation: rshared }\n",
    ),
    ("tmpfs-size", "plan", "services:\n  web:\n    tmpfs: /run\n"),
    (
        "tmpfs-size-of-long-syntax",
        "plan",
        "services:\n  web:\n    volumes:\n      - type: tmpfs\n        target: /run\n",
    ),
    (
        "tmpfs-options",
        "plan",
        "services:\n  web:\n    tmpfs:\n      - /run:size=64m,exec,uid=1000\n      - /tmp:size=50%\n",
    ),
    ("tmpfs-rounded", "plan", "services:\n  web:\n    tmpfs: /run:size=100k\n"),
    ("tmpfs-shared-memory", "plan", "services:\n  web:\n    tmpfs:\n      - /dev/shm:size=64m\n"),
    ("tmpfs-variable", "plan", "services:\n  web:\n    tmpfs:\n      - /run:size=${SIZE}\n"),
    // What is done as asked, and may not be meant.
    ("build-output", "plan", "services:\n  web:\n    image: shop\n    volumes:\n      - /app/node_modules\n"),
    (
        "several-database-tasks",
        "plan",
        "services:\n  db:\n    image: postgres:17\n    deploy:\n      replicas: 3\n    volumes:\n      - /var/lib/postgresql/data\n",
    ),
    (
        "several-databases-on-one-volume",
        "plan",
        "services:\n  blue:\n    image: mysql:8\n    volumes: [data:/var/lib/mysql]\n  green:\n    image: mysql:8\n    volumes: [data:/var/lib/mysql]\n  backup:\n    image: mysql:8\n    volumes: [data:/var/lib/mysql:ro]\nvolumes:\n  data:\n",
    ),
    (
        "non-root-image",
        "plan",
        "services:\n  grafana:\n    image: grafana/grafana:11.2.0\n    volumes:\n      - /grafana:/var/lib/grafana\n  owned:\n    image: grafana/grafana\n    x-volumes: { owner: \"472:0\" }\n    volumes: [/grafana:/var/lib/grafana]\n",
    ),
    (
        "non-root-user",
        "plan",
        "services:\n  web:\n    image: shop\n    user: node\n    volumes:\n      - uploads:/srv/uploads\nvolumes:\n  uploads:\n",
    ),
    (
        "x-volumes-value",
        "plan",
        "services:\n  web:\n    x-volumes: { owner: node }\n    volumes:\n      - /data\n      - { type: volume, target: /cache, x-volumes: { mode: 750 } }\n",
    ),
    (
        "inactive-service",
        "plan",
        "services:\n  web:\n    image: shop\n    volumes: [/data]\n  import:\n    image: shop\n    profiles: [jobs]\n    volumes: [/import]\n",
    ),
    // Silence.
    (
        "silenced",
        "plan",
        "services:\n  web:\n    x-volumes:\n      silence: [socket]\n      entries:\n        /b: { silence: [ignored-option] }\n    volumes:\n      - /run/app.sock\n      - /a:/b:z\n      - /c:/d:z\n",
    ),
    (
        "silence-of-nothing",
        "plan",
        "services:\n  web:\n    x-volumes:\n      silence: [sokcet, relative-source]\n    volumes:\n      - ./src:/app\n",
    ),
    (
        "silence-by-a-flag",
        "plan --rack production --app shop --silence socket --silence xyz",
        "services:\n  web:\n    volumes:\n      - /run/app.sock\n",
    ),
    // Top-level volumes.
    (
        "external-volume",
        "plan",
        "services:\n  db:\n    volumes: [data:/var/lib/db]\nvolumes:\n  data:\n    external: true\n",
    ),
    (
        "volume-driver",
        "plan",
        "services:\n  db:\n    volumes: [data:/var/lib/db]\nvolumes:\n  data:\n    driver: rexray/ebs\n",
    ),
    (
        "volume-driver-options",
        "plan",
        "services:\n  db:\n    volumes: [data:/var/lib/db]\nvolumes:\n  data:\n    driver_opts: { type: nfs, o: \"addr=10.0.0.1\", device: \":/x\" }\n",
    ),
    (
        "volume-renamed",
        "plan",
        "services:\n  db:\n    volumes: [data:/var/lib/db]\nvolumes:\n  data:\n    name: shop-data\n",
    ),
    // Variables.
    (
        "unset-variable",
        "config",
        "services:\n  app:\n    volumes:\n      - ${DATA_FOLDER}/.n8n:/home/node/.n8n\n",
    ),
    (
        "unset-variable-on-deploy",
        "plan",
        "services:\n  app:\n    volumes:\n      - ${DATA_FOLDER}/.n8n:/home/node/.n8n\n",
    ),
    (
        "empty-variable-of-dot-env",
        "plan",
        "=== .env\n# where files live\n\nDATA_FOLDER=\n=== compose.yaml\nservices:\n  app:\n    volumes:\n      - ${DATA_FOLDER}/files:/files\n",
    ),
    (
        "required-variable",
        "config",
        "services:\n  app:\n    volumes:\n      - ${DATA:?say where the data lives}:/data\n",
    ),
    ("interpolation-substitution", "config", "services:\n  app:\n    volumes:\n      - ${DATA/x/y}:/data\n"),
    ("interpolation-unclosed", "config", "services:\n  app:\n    volumes:\n      - ${DATA:/data\n"),
    (
        "variable-of-dot-env-in-a-refusal",
        "plan",
        "=== .env\nA=1\nDATA=./local\n=== compose.yaml\nservices:\n  app:\n    volumes:\n      - ${DATA}/files:/files\n",
    ),
    (
        "dot-env-line",
        "config",
        "=== .env\nGOOD=1\nthis is no assignment\n=== compose.yaml\nservices:\n  app:\n    volumes: [/data]\n",
    ),
    // Several files.
    (
        "extends-from-file",
        "plan",
        "=== base.yml\nservices:\n  base:\n    image: x\n    volumes:\n      - ./shared:/shared\n=== compose.yaml\nservices:\n  web:\n    extends:\n      file: base.yml\n      service: base\n",
    ),
    (
        "extends-undefined-volume",
        "config",
        "=== base.yml\nservices:\n  base:\n    volumes:\n      - cache:/cache\nvolumes:\n  cache:\n=== compose.yaml\nservices:\n  web:\n    extends: { file: base.yml, service: base }\n",
    ),
    ("extends-cycle", "config", "services:\n  a:\n    extends: b\n  b:\n    extends: a\n"),
    ("extends-unknown-service", "config", "services:\n  a:\n    extends: basis\n  base:\n    image: x\n"),
    ("extends-missing-file", "config", "services:\n  a:\n    extends: { file: common.yml, service: b }\n"),
    ("include-missing", "config", "include:\n  - ./parts/db.yml\nservices:\n  web:\n    volumes: [/data]\n"),
    (
        "include-cycle",
        "config",
        "=== a.yml\ninclude: [compose.yaml]\n=== compose.yaml\ninclude: [a.yml]\nservices:\n  web:\n    image: x\n",
    ),
    (
        "include-conflict",
        "config",
        "=== db.yml\nservices:\n  web:\n    image: y\n=== compose.yaml\ninclude: [db.yml]\nservices:\n  web:\n    image: x\n",
    ),
    (
        "anchor",
        "plan",
        "x-common: &common\n  volumes:\n    - ./conf:/etc/app\nservices:\n  web:\n    <<: *common\n    image: x\n",
    ),
    (
        "anchor-of-several-services",
        "plan",
        "x-common: &common\n  volumes:\n    - ./conf:/etc/app\nservices:\n  web:\n    <<: *common\n  worker:\n    <<: *common\n  cron:\n    <<: *common\n",
    ),
    (
        "merge-key-hides-volumes",
        "plan",
        "x-common: &common\n  volumes:\n    - /data\nservices:\n  web:\n    <<: *common\n    volumes:\n      - /logs\n",
    ),
    (
        "several-default-files",
        "config",
        "=== compose.yaml\nservices:\n  web:\n    volumes: [/a]\n=== docker-compose.yml\nservices:\n  web:\n    volumes: [/b]\n",
    ),
    (
        "override-file",
        "plan",
        "=== compose.override.yaml\nservices:\n  web:\n    volumes:\n      - ./src:/app\n=== compose.yaml\nservices:\n  web:\n    volumes:\n      - /app\n",
    ),
    ("volumes-from-unknown", "config", "services:\n  web:\n    volumes_from: [data]\n"),
    ("volumes-from-container", "plan", "services:\n  web:\n    volumes_from: [\"container:old\"]\n"),
    ("missing-file", "config -f nowhere.yml", "services: {}\n"),
    ("no-file", "config", "=== readme.txt\nno compose file here\n"),
    // All at once, in the order of the file.
    (
        "several-problems",
        "config",
        "services:\n  web:\n    volumes:\n      - /a:/b:ro:x\n      - 80\n      - logs:/var/log\n    volume: /x\n",
    ),
];

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir()
        .join(format!("volumes-agent-messages-{}", std::process::id()))
        .join(name)
        .join("shop");
    #[allow(clippy::disallowed_methods)] // a folder of the test's own
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The codes of the messages: `error[unset-variable]: ...`.
fn codes(stderr: &str) -> Vec<&str> {
    let of = |line: &'_ str| -> Option<usize> {
        let severity = line.split('[').next()?;
        ["error", "refused", "warning"].contains(&severity).then(|| severity.len() + 1)
    };
    stderr.lines().filter_map(|line| line[of(line)?..].split(']').next()).collect()
}

#[test]
fn messages_mend_the_file() {
    for (name, command, files) in CASES {
        let folder = folder(name);
        let files = if files.starts_with("=== ") {
            (*files).to_owned()
        } else {
            format!("=== compose.yaml\n{files}")
        };
        for file in files.split("=== ").skip(1) {
            let (name, text) = file.split_once('\n').unwrap();
            std::fs::write(folder.join(name), text).unwrap();
        }
        let arguments = if *command == "plan" { "plan --rack production --app shop" } else { command };
        let (_, stderr, code) = run_in(&folder, &[], arguments, "");
        let files = files.trim_end();
        let page = format!("{files}\n\n$ volumes-agent {arguments}   (exit code {code})\n{stderr}");
        for code in codes(&stderr) {
            let (story, _, code_of_explain) = run_in(&folder, &[], &format!("explain {code}"), "");
            assert_eq!((code_of_explain, story.is_empty()), (0, false), "{name}: explain {code}");
        }
        settings().bind(|| {
            let mut settings = insta::Settings::clone_current();
            settings.set_snapshot_path("snapshots/messages");
            settings.bind(|| insta::assert_snapshot!(*name, page));
        });
        std::fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    }
}
