//! What is in the packages, looked at from outside: files, configuration, licences, the glibc that the program needs, what checkers say.

use crate::dist;
use lab::{Error, Lab, expect, host, place};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Debian 11's.
const NEWEST_GLIBC: (u32, u32) = (2, 31);

const FILES: [&str; 15] = [
    "/usr/bin/volumes-agent",
    "/usr/lib/volumes-agent/seed/v2/volumes-agent-seed",
    "/usr/lib/systemd/system/volumes-agent.service",
    "/usr/lib/systemd/system/volumes-agent-guard.service",
    "/usr/lib/systemd/system/volumes-agent-release.service",
    "/usr/lib/systemd/system/ecs.service.d/volumes-agent.conf",
    "/usr/lib/systemd/system/volumes.mount.d/volumes-agent.conf",
    "/etc/volumes-agent/config.toml",
    "/usr/share/man/man1/volumes-agent.1",
    "/usr/share/man/man1/volumes-agent-patch.1",
    "/usr/share/bash-completion/completions/volumes-agent",
    "/usr/share/fish/vendor_completions.d/volumes-agent.fish",
    "_volumes-agent",
    "/usr/share/doc/volumes-agent/THIRD-PARTY",
    "/usr/share/doc/volumes-agent/README.md",
];

fn output(program: &str, arguments: &[&str], path: &Path) -> Result<String, Error> {
    host::run(Command::new(program).args(arguments).arg(path))
}

/// Unpacks the .deb, once.
fn unpacked(lab: &Lab) -> Result<PathBuf, Error> {
    let folder = lab.folder.join("run/deb");
    if !folder.exists() {
        host::run(Command::new("dpkg-deb").arg("-R").arg(dist::package(".deb")?).arg(&folder))?;
    }
    Ok(folder)
}

pub(crate) fn are_right(lab: &Lab) -> Result<String, Error> {
    let (deb, rpm) = (dist::package(".deb")?, dist::package(".rpm")?);
    let of_deb = output("dpkg-deb", &["-c"], &deb)?;
    let of_rpm = output("rpm", &["-qpl"], &rpm)?;
    for file in FILES {
        let is_in = |list: &str| {
            list.lines().any(|line| line.ends_with(file) || line.ends_with(&format!("{file}.gz")))
        };
        expect(is_in(&of_deb), format!("{file} is in the .deb"), &*of_deb)?;
        expect(is_in(&of_rpm), format!("{file} is in the .rpm"), &*of_rpm)?;
    }
    let conffiles = host::read(&unpacked(lab)?.join("DEBIAN/conffiles"))?;
    expect(
        conffiles.trim() == "/etc/volumes-agent/config.toml",
        "the .deb's configuration is marked",
        conffiles,
    )?;
    let conffiles = output("rpm", &["-qpc"], &rpm)?;
    expect(
        conffiles.trim() == "/etc/volumes-agent/config.toml",
        "the .rpm's configuration is marked",
        conffiles,
    )?;

    let program = unpacked(lab)?.join("usr/bin/volumes-agent");
    let symbols = output("objdump", &["-T"], &program)?;
    let newest = symbols.split(['(', ')', ' ']).filter_map(glibc).max().unwrap_or_default();
    expect(
        newest <= NEWEST_GLIBC && newest > (0, 0),
        format!("no symbol is newer than GLIBC_{}.{}", NEWEST_GLIBC.0, NEWEST_GLIBC.1),
        format!("{newest:?}"),
    )?;
    let sections = output("readelf", &["-SW"], &program)?;
    expect(
        sections.contains(".dep-v0"),
        "the program has a list of what it was built from (cargo-auditable)",
        sections,
    )?;
    let helper = unpacked(lab)?.join("usr/lib/volumes-agent/seed/v2/volumes-agent-seed");
    let headers = output("readelf", &["-lW"], &helper)?;
    expect(!headers.contains("INTERP"), "the helper is static", headers)?;

    let lintian = checked(
        lab,
        "lintian",
        &["--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0"],
        &deb,
    )?;
    let rpmlint = checked(lab, "rpmlint", &["--rpmlintrc", "agent/package/rpm/rpmlintrc"], &rpm)?;
    let size = |path: &Path| std::fs::metadata(path).map_or(0.0, |data| data.len() as f64 / 1e6);
    Ok(format!(
        ".deb {:.1} MB, .rpm {:.1} MB, program {:.1} MB, helper {:.1} MB; newest symbol GLIBC_{}.{}; lintian: {lintian}; rpmlint: {rpmlint}",
        size(&deb),
        size(&rpm),
        size(&program),
        size(&helper),
        newest.0,
        newest.1
    ))
}

/// What a checker of packages says; it ends with 0 where nothing is left that is not explained.
fn checked(lab: &Lab, program: &str, arguments: &[&str], package: &Path) -> Result<String, Error> {
    let said = host::run(
        Command::new(program)
            .args(arguments)
            .arg(package)
            .current_dir(place::repository())
            .env("TMPDIR", lab.folder.join("run")),
    )?;
    Ok(said.lines().last().unwrap_or("nothing").trim().to_owned())
}

fn glibc(word: &str) -> Option<(u32, u32)> {
    let (major, minor) = word.strip_prefix("GLIBC_")?.split_once('.')?;
    // `2.2.5` is older than all that matters.
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

/// Installed by dpkg in a root of Debian 11, whose glibc is the oldest that it promises to run with, it plans the example app.
pub(crate) fn run_on_debian_11(lab: &Lab) -> Result<String, Error> {
    let root = lab.folder.join("run/debian-11");
    host::run(Command::new("cp").arg("-a").arg(dist::debian_11()?).arg(&root))?;
    host::run(Command::new("cp").arg(dist::package(".deb")?).arg(root.join("volumes-agent.deb")))?;
    host::run(
        Command::new("cp").arg("-a").arg(place::repository().join("tests/example-app")).arg(root.join("app")),
    )?;
    let inside = |words: &[&str]| host::run(Command::new("chroot").arg(&root).args(words));
    inside(&["dpkg", "-i", "/volumes-agent.deb"])?;
    let glibc = inside(&["sh", "-c", "ldd --version | head -n 1"])?;
    let version = inside(&["volumes-agent", "--version"])?;
    let plan = ["plan", "--rack", "production", "--app", "example-app", "--file", "/app/docker-compose.yml"];
    let there = inside(&[&["volumes-agent"], &plan[..]].concat())?;
    expect(
        there.contains("/volumes/production-example-app/web/var/www/html"),
        "the plan of the example app",
        &*there,
    )?;
    Ok(format!("{} on {}", version.trim(), glibc.trim()))
}
