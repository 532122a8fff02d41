//! Agents of several versions on one share, as while an image is upgraded. The other versions' files are written by hand.

use crate::services::{patching, remove, source, tells, told, update};
use lab::{
    Error, Lab,
    app::{self, DEPLOYED},
    expect, wait,
};
use serde_json::json;
use volumes_agent::patch;

/// The agents of all instances restart beside one of an older version; what is patched stays as it is, also what another version patched.
pub(crate) fn an_upgrade_alone_changes_nothing(lab: &Lab) -> Result<String, Error> {
    const NAME: &str = "patched-by-another-version";
    const BESIDE: &str = "beside-an-older-agent";
    app::create(lab, NAME, &source(lab, NAME, |_| {})?, 0)?;
    let patched = app::patched(lab, NAME)?;
    let described =
        lab.ecs("DescribeTaskDefinition", &json!({ "taskDefinition": patched, "include": ["TAGS"] }))?;
    let mut document = patch::registerable(described).unwrap_or_default();
    let label = &mut document["containerDefinitions"][0]["dockerLabels"]["convox.volumes.fingerprint"];
    expect(label.is_string(), "the patched revision has a fingerprint", label.to_string())?;
    *label = json!("v0:of-another-version");
    let theirs = app::register(lab, &document)?;
    let before = app::revisions(lab, NAME)?;
    update(lab, NAME, &theirs)?;

    let older = json!({ "format": 1, "instance": "i-0older", "version": "0.0.9", "reads": 1 });
    lab.instance(0).write("/volumes/.volumes-agent/agents/i-0older.json", &older.to_string())?;
    for guest in lab.instances() {
        guest.run("systemctl restart volumes-agent")?;
    }
    let fleet = wait::until(&lab.progress, "the leader counts agents of two versions", DEPLOYED, || {
        let fleet = patching(lab)["fleet"].clone();
        let versions = fleet.as_object().map_or(0, serde_json::Map::len);
        if versions == 2 && fleet["0.0.9"] == 1 { Ok(fleet) } else { Err(fleet.to_string()) }
    })?;
    let is_left_alone = || {
        let seen = told(lab, NAME);
        if seen["outcome"] == "patched" { Ok(()) } else { Err(seen.to_string()) }
    };
    wait::until(&lab.progress, "it is patched for this version too", DEPLOYED, is_left_alone)?;
    let after = app::revisions(lab, NAME)?;
    let primary = app::primary(lab, NAME)?;
    expect(
        after == before && primary == theirs,
        "nothing was registered, and the service is where it was",
        format!("{primary} of {after:?}, {before:?} before"),
    )?;
    // That agent's instance has no helper that fills volumes.
    app::create(lab, BESIDE, &source(lab, BESIDE, |_| {})?, 0)?;
    let document = app::revision(lab, &app::patched(lab, BESIDE)?)?;
    let containers = document["containerDefinitions"].as_array().map_or(0, Vec::len);
    expect(
        containers == 1,
        "nothing is added that an older agent's instance can't run",
        document.to_string(),
    )?;
    lab.instance(0).run("rm /volumes/.volumes-agent/agents/i-0older.json")?;
    remove(lab, BESIDE)?;
    remove(lab, NAME)?;
    Ok(fleet.to_string())
}

/// A volume whose record a newer agent wrote is left alone and told; once it is gone, the service is patched.
pub(crate) fn a_newer_agents_record_is_left_alone(lab: &Lab) -> Result<String, Error> {
    const NAME: &str = "of-a-newer-agent";
    let path = format!("production-{NAME}/web/var/www/html");
    let name = lab.instance(0).run(&format!("printf %s {path} | sha256sum | cut -c1-32"))?;
    let record = format!("/volumes/.volumes-agent/volumes/{}.json", name.trim());
    lab.instance(0).write(&record, r#"{ "format": 99, "anything": "else" }"#)?;
    app::create(lab, NAME, &source(lab, NAME, |_| {})?, 0)?;
    let refused = tells(lab, NAME, "directories")?;
    let reason = refused["reason"].as_str().unwrap_or_default().to_owned();
    let says = reason.contains("has format 99") && reason.contains("newer");
    expect(says, "the reason says that a newer agent wrote it", &*reason)?;
    let kept = lab.instance(0).run(&format!("cat {record}"))?;
    expect(kept.contains("\"format\": 99"), "the record is as the newer agent wrote it", kept)?;
    lab.instance(0).run(&format!("rm {record}"))?;
    app::patched(lab, NAME)?;
    remove(lab, NAME)?;
    Ok(reason)
}
