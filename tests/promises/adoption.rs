//! A restart of the agent is invisible to containers and to ECS.

use lab::{Error, Lab, app, expect};
use std::time::Duration;

/// The same mount before and after, and the gate was never closed for it.
pub(crate) fn a_restarted_agent_adopts_its_mount(lab: &Lab) -> Result<String, Error> {
    app::up(lab)?;
    let guest = lab.instance(0);
    lab.gates(0, "ready", Duration::from_secs(90))?;
    let mount = || guest.run("grep ' /volumes ' /proc/self/mountinfo");
    let told = || {
        let calls = lab.ecs_calls(Some(0))?;
        let is_closing = |call: &&serde_json::Value| {
            call["operation"] == "PutAttributes" && call["request"].to_string().contains("not-ready")
        };
        Ok::<_, Error>(calls.iter().filter(is_closing).count())
    };
    let (before, closed) = (mount()?, told()?);
    guest.run("systemctl restart volumes-agent")?;
    lab.reports(0, "ready", Duration::from_secs(90))?;
    let after = mount()?;
    expect(before == after, format!("the same mount: {before}"), after)?;
    guest.run("systemctl kill -s KILL volumes-agent")?;
    lab.reports(0, "ready", Duration::from_secs(90))?;
    let after = mount()?;
    expect(before == after, format!("the same mount after SIGKILL: {before}"), after)?;
    expect(told()? == closed, "the gate stayed open", "it was closed")?;
    Ok(before)
}
