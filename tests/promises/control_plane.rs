//! An instance gets its share while AWS's control plane is down: by the file system's DNS name, or from where it was last.

use lab::{Error, Lab, expect};
use serde_json::Value;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(90);
const ENVIRONMENT: &str = "/etc/volumes-agent/environment";

pub(crate) fn the_share_is_found_without_efs(lab: &Lab) -> Result<String, Error> {
    let guest = lab.instance(1);
    let id = &lab.file_system.id;
    let before = guest.run(&format!("cat {ENVIRONMENT}"))?;
    // Nothing listens there: EFS's API is out of reach.
    guest.run(&format!(
        "sed -i 's|^AWS_ENDPOINT_URL_EFS=.*|AWS_ENDPOINT_URL_EFS=http://10.77.0.1:9|' {ENVIRONMENT}"
    ))?;
    let anew = |name: &str| {
        guest.run("systemctl stop volumes-agent && umount /volumes && systemctl start volumes-agent")?;
        let health = lab.reports(1, "ready", SOON)?;
        let problems = told(lab, "efs-unreachable")?;
        expect(problems.contains(name), format!("the problem says: {name}"), problems.clone())?;
        Ok::<_, Error>(format!("{}: {problems}\n", health["reason"]))
    };
    let mut seen = anew("meanwhile the mount target is 10.77.16.1:/, the last one known on this instance")?;
    // The name resolves to the address in the asker's zone, as EFS's names do; here by /etc/hosts.
    guest.run(&format!("echo '10.77.16.1 {id}.efs.us-east-1.amazonaws.com' >> /etc/hosts"))?;
    seen += &anew("meanwhile the mount target is 10.77.16.1:/, found by its DNS name")?;
    guest.run(&format!("sed -i '/{id}/d' /etc/hosts && cat > {ENVIRONMENT} <<'END'\n{before}END\nsystemctl restart volumes-agent"))?;
    lab.reports(1, "ready", SOON)?;
    Ok(seen)
}

/// The problem of `/status` that has a code.
fn told(lab: &Lab, code: &str) -> Result<String, Error> {
    let what = format!("/status tells a problem [{code}]");
    lab::wait::until(&lab.progress, &what, SOON, || {
        let status = lab.instance(1).get(12049, "/status", "application/json").json();
        let problems = status["problems"].as_array().cloned().unwrap_or_default();
        let found =
            problems.iter().filter_map(Value::as_str).find(|text| text.ends_with(&format!("[{code}]")));
        found.map(str::to_owned).ok_or_else(|| status["problems"].to_string())
    })
}
