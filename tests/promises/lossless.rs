//! Nothing of a task definition is lost: what the API has today passes through, and what ECS itself doesn't keep is noticed in time.

use crate::services::{remove, source, tells, through_a_round, told, update};
use lab::{
    Error, Lab,
    app::{self, DEPLOYED},
    ecs::generated::generated_document,
    expect,
    story::calls_of_agents,
    wait,
};
use serde_json::{Value, json};
use volumes_agent::patch;

/// Lists that patching adds to; everything else stays as it was.
const ADDED_TO: [&str; 3] = ["volumes", "placementConstraints", "containerDefinitions"];

/// A document with every member that the service model has, made from the model, through the daemon and through `patch`.
pub(crate) fn every_field_of_the_api_is_kept(lab: &Lab) -> Result<String, Error> {
    const NAME: &str = "every-field";
    let mut document = generated_document(lab.model());
    document["family"] = json!(NAME);
    let labels = json!({ "convox.app": NAME, "convox.volumes": "[\"/data\"]", "generated": "generated" });
    document["containerDefinitions"][0]["dockerLabels"] = labels;
    let arn = app::register(lab, &document)?;
    app::create(lab, NAME, &arn, 0)?;
    let source = app::revision(lab, &arn)?;
    let patched = app::revision(lab, &app::patched(lab, NAME)?)?;
    let kept = same_but_for_what_is_ours(&source, &patched)?;

    let filtered = lab.agent(&["patch", "--rack", "production", "--app", NAME], &source.to_string())?;
    let text = format!("{}{}", filtered.stdout, filtered.stderr);
    expect(filtered.code == 0, "`patch` takes the same document", text)?;
    let filtered: Value = serde_json::from_str(&filtered.stdout).unwrap_or_default();
    same_but_for_what_is_ours(&source, &filtered)?;
    let again = app::register(lab, &filtered)?;
    let registered = app::revision(lab, &again)?;
    expect(
        registered["volumes"] == patched["volumes"],
        format!("`patch` binds as the daemon does: {}", patched["volumes"]),
        registered["volumes"].to_string(),
    )?;
    remove(lab, NAME)?;
    Ok(format!("{kept} fields at top level and in the container"))
}

/// Compares a source with what became of it. Gives how many fields were compared.
fn same_but_for_what_is_ours(source: &Value, patched: &Value) -> Result<usize, Error> {
    let output_only = [
        "taskDefinitionArn",
        "revision",
        "status",
        "registeredAt",
        "registeredBy",
        "requiresAttributes",
        "compatibilities",
    ];
    let mut compared = 0;
    let mut compare = |place: &str, source: &Value, patched: &Value, skip: &[&str]| -> Result<(), Error> {
        let fields = source.as_object().cloned().unwrap_or_default();
        for (key, sent) in fields.iter().filter(|(key, _)| !skip.contains(&key.as_str())) {
            expect(patched[key] == *sent, format!("{place}{key} is {sent}"), patched[key].to_string())?;
            compared += 1;
        }
        Ok(())
    };
    compare("", source, patched, &[&output_only[..], &ADDED_TO[..]].concat())?;
    for list in ["volumes", "placementConstraints"] {
        starts_with(list, &source[list], &patched[list])?;
    }
    // Those that fill volumes are the agent's.
    let containers = |document: &Value| {
        patch::containers(document).filter(|c| !patch::is_ours(c)).cloned().collect::<Vec<_>>()
    };
    let (before, after) = (containers(source), containers(patched));
    expect(before.len() == after.len(), "as many containers", format!("{}", after.len()))?;
    for (before, after) in before.iter().zip(&after) {
        let place = format!("container {}: ", before["name"]);
        compare(&place, before, after, &["mountPoints", "dockerLabels", "dependsOn"])?;
        starts_with("dependsOn", &before["dependsOn"], &after["dependsOn"])?;
        starts_with("mountPoints", &before["mountPoints"], &after["mountPoints"])?;
        for (label, value) in before["dockerLabels"].as_object().into_iter().flatten() {
            expect(after["dockerLabels"][label] == *value, format!("the label {label}"), after.to_string())?;
        }
    }
    Ok(compared)
}

fn starts_with(list: &str, before: &Value, after: &Value) -> Result<(), Error> {
    let items = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let (before, after) = (items(before), items(after));
    expect(after.starts_with(&before), format!("{list} begins with {before:?}"), format!("{after:?}"))
}

/// ECS accepts a revision and doesn't keep a field of it: no service is moved to it, under this leader and the next.
pub(crate) fn a_field_that_ecs_drops_is_refused(lab: &Lab) -> Result<String, Error> {
    const NAME: &str = "dropped-field";
    let theirs = source(lab, NAME, |document| {
        document["containerDefinitions"][0]["hostname"] = json!("kept-so-far");
    })?;
    for guest in lab.instances() {
        let fault = json!({
            "operation": "RegisterTaskDefinition", "fault": "drop-field", "path": "containerDefinitions.*.hostname",
            "access_key": guest.identity.access_key(),
        });
        lab.ecs_control("POST", "faults", &fault)?;
    }
    app::create(lab, NAME, &theirs, 0)?;
    let refused = tells(lab, NAME, "dropped-field")?;
    let names = refused["reason"].as_str().is_some_and(|reason| reason.contains("hostname"));
    expect(names, "the reason names the field", refused.to_string())?;
    // Another leader knows it from the share.
    lab.instances().iter().try_for_each(|guest| guest.run("systemctl restart volumes-agent").map(drop))?;
    tells(lab, NAME, "dropped-field")?;
    through_a_round(lab, "nothing is registered again, and nothing moved", || {
        let calls = |operation| calls_of_agents(lab, operation, NAME).map_err(|error| error.to_string());
        let seen = (calls("RegisterTaskDefinition")?.len(), calls("UpdateService")?.len());
        if seen == (1, 0) { Ok(()) } else { Err(format!("{seen:?} registrations and updates")) }
    })?;
    lab.ecs_control("DELETE", "faults", &Value::Null)?;
    let mended = source(lab, NAME, |_| {})?;
    update(lab, NAME, &mended)?;
    app::patched(lab, NAME)?;
    wait::until(&lab.progress, "the refusal is over", DEPLOYED, || {
        let seen = told(lab, NAME);
        if seen["outcome"] == "patched" { Ok(()) } else { Err(seen.to_string()) }
    })?;
    remove(lab, NAME)?;
    Ok(refused.to_string())
}
