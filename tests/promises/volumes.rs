//! `volumes-agent ls` on an instance: what lies on the share, and who uses it.

use crate::services::{remove, source};
use lab::{
    Error, Lab,
    app::{self, ON_SHARE},
    expect,
};
use serde_json::Value;
use std::time::Duration;

/// The unit's environment names the lab's endpoints, on a real instance there is nothing to name.
const LS: &str = "set -a; . /etc/volumes-agent/environment; set +a; volumes-agent ls";
const SOON: Duration = Duration::from_secs(60);

fn listed(lab: &Lab, index: usize) -> Result<Value, Error> {
    let ended = lab.instance(index).try_run(&format!("{LS} --format json"), SOON);
    let told = format!("{} {}{}", ended.code, ended.stdout, ended.stderr);
    expect(ended.code == 0, "`ls` ends with 0", &*told)?;
    serde_json::from_str(&ended.stdout).map_err(|_| Error::NotSeen {
        expected: "JSON".to_owned(),
        seen: told,
        waited: Duration::ZERO,
    })
}

fn volume(listed: &Value, path: &str) -> Value {
    let volumes = listed["volumes"].as_array().cloned().unwrap_or_default();
    volumes.into_iter().find(|volume| volume["path"] == format!("/volumes/{path}")).unwrap_or_default()
}

/// Used, orphaned, replaced and unowned volumes on NFS, told alike with the daemon and without.
pub(crate) fn all_volumes_are_listed(lab: &Lab) -> Result<String, Error> {
    const NAME: &str = "listed";
    app::up(lab)?;
    app::create(lab, NAME, &source(lab, NAME, |_| {})?, 0)?;
    app::patched(lab, NAME)?;
    let path = format!("production-{NAME}/web/var/www/html");
    let used = listed(lab, 0)?;
    expect(
        volume(&used, &path)["state"] == "used",
        "a service's volume is used",
        volume(&used, &path).to_string(),
    )?;
    let web = volume(&used, ON_SHARE);
    let by = &web["used_by"][0];
    expect(
        by["service"] == app::SERVICE
            && by["tasks"] == 2
            && by["mounted"] == true
            && web["record"].is_string(),
        "the example app's volume, with its service, two tasks and a record",
        web.to_string(),
    )?;

    remove(lab, NAME)?;
    lab.instance(0).run(&format!(
        "mkdir -p /volumes/by-hand/web/data && mv /volumes/{ON_SHARE} /volumes/kept && mkdir /volumes/{ON_SHARE}"
    ))?;
    let told = |index: usize| -> Result<(Value, [String; 3]), Error> {
        let listed = listed(lab, index)?;
        let states = [path.as_str(), ON_SHARE, "by-hand"].map(|begin| {
            let volumes = listed["volumes"].as_array().cloned().unwrap_or_default();
            let is_it = |volume: &&Value| {
                volume["path"].as_str().is_some_and(|path| path.starts_with(&format!("/volumes/{begin}")))
            };
            let found = volumes.iter().find(is_it).and_then(|volume| volume["state"].as_str());
            found.unwrap_or_default().to_owned()
        });
        Ok((listed, states))
    };
    let (all, states) = told(0)?;
    lab.instance(0).run("systemctl stop volumes-agent")?;
    let (_, without_daemon) = told(0)?;
    lab.instance(0).run(&format!(
        "systemctl start volumes-agent; rmdir /volumes/{ON_SHARE} && mv /volumes/kept /volumes/{ON_SHARE} && rm -r /volumes/by-hand"
    ))?;
    expect(
        states == ["orphan", "replaced", "unowned"] && states == without_daemon,
        "an orphan, a replaced and an unowned directory, with the daemon and without",
        format!("{states:?} {without_daemon:?} {all}"),
    )?;
    Ok(format!("{states:?}"))
}
