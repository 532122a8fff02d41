//! What the agent tells people and programs.

use lab::{Error, Lab, expect, faults::PROMPT, http, network::METADATA};

/// A token before anything else (IMDSv2), and never a request without one.
pub(crate) fn metadata_is_asked_with_a_token(lab: &Lab) -> Result<String, Error> {
    let calls = http::get(&format!("http://{METADATA}/lab/calls"))?.json();
    let calls = calls.as_array().cloned().unwrap_or_default();
    for guest in lab.instances() {
        let own: Vec<_> =
            calls.iter().filter(|call| call["source"] == guest.identity.address.as_str()).collect();
        let asks_first =
            own.first().is_some_and(|call| call["method"] == "PUT" && call["path"] == "/latest/api/token");
        expect(asks_first, "PUT /latest/api/token as the first call", format!("{:?}", own.first()))?;
        let bare = own.iter().find(|call| call["method"] == "GET" && call["token"] != true);
        expect(bare.is_none(), "no GET without a token", format!("{bare:?}"))?;
    }
    Ok("a token first".to_owned())
}

/// `/status` as text and JSON, `/metrics`, `volumes-agent status`, `systemctl status`: all say ready, and at once.
pub(crate) fn status_tells_people_and_programs(lab: &Lab) -> Result<String, Error> {
    let guest = lab.instance(0);
    let text = guest.get(12049, "/status", "*/*");
    expect(
        text.status == 200 && text.body.starts_with("share       ready since "),
        "a page that begins with the state",
        &*text.body,
    )?;
    let json = guest.get(12049, "/status", "application/json");
    expect(json.json()["health"]["state"] == "ready", "the same as JSON", &*json.body)?;
    expect(json.took < PROMPT, "an answer at once", format!("{:?}", json.took))?;
    let metrics = guest.get(12049, "/metrics", "*/*").body;
    for line in [
        "volumes_agent_ready 1.0",
        "volumes_agent_mount_state{state=\"ready\"} 1",
        "volumes_agent_guard_set 1.0",
    ] {
        expect(metrics.lines().any(|seen| seen == line), line, &*metrics)?;
    }
    let command = guest.run("volumes-agent status")?;
    expect(
        command.starts_with("share       ready since "),
        "the page from the command, status 0",
        &*command,
    )?;
    let line = guest.run("systemctl show -P StatusText volumes-agent")?;
    expect(
        line.starts_with("ready: ") && line.contains("gate open"),
        "`ready: ... (gate open)` from systemctl",
        &*line,
    )?;
    let kind = guest.run("systemctl show -P Type -P WatchdogUSec volumes-agent | tr '\\n' ' '")?;
    expect(kind.contains("notify") && kind.contains("30s"), "Type=notify with a watchdog of 30 s", &*kind)?;
    Ok(line)
}
