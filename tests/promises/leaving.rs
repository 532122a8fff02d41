//! `volumes-agent leave` on an instance: the leader rests, tasks run without volumes, files stay.

use crate::services::{AS_THE_UNIT, patching, pause, remove, source, update};
use lab::{
    Error, Lab,
    app::{self, DEPLOYED},
    expect,
    story::calls_of_agents,
    wait,
};
use serde_json::{Value, json};

const NAMES: [&str; 2] = ["leaves", "leaves-too"];
const WRITE: &str = "echo kept > /var/www/html/kept; exec /bin/busybox sleep 3600";

/// Told first, then done on a follower; what a pipeline deploys afterwards stays unpatched, and nothing on the share was touched.
pub(crate) fn leaving_takes_all_volumes_off_and_no_files(lab: &Lab) -> Result<String, Error> {
    let writes = |document: &mut Value| {
        let container = &mut document["containerDefinitions"][0];
        container["entryPoint"] = json!(["/bin/busybox", "sh", "-c"]);
        container["command"] = json!([WRITE]);
    };
    let mut sources = Vec::new();
    for name in NAMES {
        sources.push(source(lab, name, writes)?);
        app::create(lab, name, &sources[sources.len() - 1], 1)?;
    }
    for name in NAMES {
        app::patched(lab, name)?;
    }
    let kept = |name: &str| lab.share.path(&format!("production-{name}/web/var/www/html/kept"));
    wait::until(&lab.progress, "both have written to their volumes", DEPLOYED, || {
        match NAMES.iter().all(|name| kept(name).exists()) {
            true => Ok(()),
            false => Err("not yet".to_owned()),
        }
    })?;

    // An operator is on an instance that doesn't lead.
    let follower = lab.instance(usize::from(lab.leads(0)));
    let told = follower.run(&format!("{AS_THE_UNIT} leave"))?;
    expect(
        NAMES.iter().all(|name| told.contains(name)) && told.contains("would be moved to it"),
        "`leave` tells what it would do",
        &told,
    )?;
    for name in NAMES {
        expect(app::is_patched(&runs(lab, name)?), format!("{name} is as it was"), &told)?;
    }
    let done = follower.run(&format!("{AS_THE_UNIT} leave --yes 2>&1"))?;
    for (name, source) in NAMES.iter().zip(&sources) {
        expect(app::primary(lab, name)? == *source, format!("{name} runs its own revision again"), &done)?;
        expect(kept(name).exists(), format!("the file of {name} is on the share"), &done)?;
    }
    let said = patching(lab)["last_error"].as_str().unwrap_or_default().to_owned();
    expect(said.contains("paused"), "the leader says that it rests", said)?;

    // A pipeline goes on deploying: nobody patches that.
    let release = |document: &mut Value| {
        writes(document);
        document["containerDefinitions"][0]["environment"] = json!([{ "name": "RELEASE", "value": "2" }]);
    };
    let new = source(lab, NAMES[0], release)?;
    update(lab, NAMES[0], &new)?;
    let before = calls_of_agents(lab, "UpdateService", NAMES[0])?.len();
    std::thread::park_timeout(crate::services::ROUNDS);
    expect(app::primary(lab, NAMES[0])? == new, "it stays as it was deployed", app::primary(lab, NAMES[0])?)?;
    let after = calls_of_agents(lab, "UpdateService", NAMES[0])?.len();
    expect(after == before, "nobody updates it", format!("{} updates more", after - before))?;

    // And back.
    pause(lab, false)?;
    for name in NAMES {
        app::patched(lab, name)?;
        remove(lab, name)?;
    }
    Ok(done.lines().filter(|line| line.starts_with("leaves")).collect::<Vec<_>>().join("; "))
}

fn runs(lab: &Lab, service: &str) -> Result<Value, Error> {
    app::revision(lab, &app::primary(lab, service)?)
}
