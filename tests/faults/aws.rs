//! What the agent asks: the EFS and ECS APIs, instance metadata, the ECS agent's introspection, its own configuration.

use crate::{
    row::{BACK, NOTHING_WRITTEN, Seen, drop_in, says, whole},
    trail::Trail,
};
use lab::{Error, Lab, expect, wait, writer::Writer};
use serde_json::json;
use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

const ENVIRONMENT: &str = "/etc/volumes-agent/environment";
const CONFIGURATION: &str = "/etc/volumes-agent/config.toml";
/// ECS can't be told before it is known whom, or with which credentials.
const STALE: &str = "ECS goes by what it was told before: new tasks wait for the gate, or fail by the guard";

/// Everything that the metadata service would answer goes nowhere; by a command that may do more than the agent.
const WITHOUT_METADATA: &str =
    "[Service]\nExecStartPre=+/bin/sh -c 'ip route replace blackhole 169.254.169.254/32'";

/// Boots the instance with this as the EFS API, and puts the right one back.
fn booted_with_efs_at(lab: &Lab, index: usize, url: &str) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    let right = guest.run(&format!("cat {ENVIRONMENT}"))?;
    // A service's own endpoint goes before the one of all services.
    guest.write(ENVIRONMENT, &format!("{right}AWS_ENDPOINT_URL_EFS={url}"))?;
    guest.reboot(&lab.progress)?;
    let trail = Trail::of_this_boot(lab, index);
    let ready = whole(lab, index);
    let told = trail.told()?;
    let problems = guest.get(12049, "/status", "application/json").json()["problems"].to_string();
    guest.write(ENVIRONMENT, right.trim_end())?;
    guest.run("systemctl restart volumes-agent")?;
    whole(lab, index)?;
    ready?;
    Ok(Seen::new(format!("since the boot: {told}\n`problems`: {problems}"), "start as ever", NOTHING_WRITTEN))
}

/// The instance boots and nobody answers at the EFS API's address.
pub(crate) fn efs_api_down_at_boot(lab: &Lab, index: usize) -> Result<Seen, Error> {
    // An address of the subnet that nobody has.
    let seen = booted_with_efs_at(lab, index, "http://10.77.0.200:5000")?;
    expect(
        seen.states.contains("out of reach"),
        "a problem says that EFS is out of reach",
        seen.states.clone(),
    )?;
    Ok(seen)
}

/// The instance boots and EFS throttles each of its calls. A fake in place of moto's, which never throttles.
pub(crate) fn efs_throttles_at_boot(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let efs = ThrottlingEfs::start()?;
    let seen = booted_with_efs_at(lab, index, &efs.url)?;
    expect(seen.states.contains("throttled"), "a problem says that EFS throttles", seen.states.clone())?;
    let calls = efs.calls();
    expect(calls > 0, "it was asked", calls.to_string())?;
    Ok(Seen { states: format!("{}\n{calls} calls were throttled until then", seen.states), ..seen })
}

/// Answers every request with ThrottlingException (EFS API reference, "Common Errors"), until it is dropped.
struct ThrottlingEfs {
    url: String,
    calls: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
}

impl ThrottlingEfs {
    fn start() -> Result<Self, Error> {
        let gateway = lab::network::GATEWAYS[0];
        let failed = lab::host::failed_again("listen at", Path::new(gateway));
        let listener = TcpListener::bind((gateway, 0)).map_err(&failed)?;
        let url = format!("http://{}", listener.local_addr().map_err(&failed)?);
        let (calls, ends) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (calls.clone(), ends.clone());
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if end.load(Ordering::Relaxed) {
                    break;
                }
                // EFS's calls have no body: an empty line ends a request.
                let mut lines = BufReader::new(&connection).lines().map_while(Result::ok);
                if lines.any(|line| line.is_empty()) {
                    count.fetch_add(1, Ordering::Relaxed);
                    let body = r#"{"ErrorCode":"ThrottlingException","Message":"Rate exceeded"}"#;
                    let answer = format!(
                        "HTTP/1.1 429 Too Many Requests\r\nx-amzn-ErrorType: ThrottlingException\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    // Whoever went away needs none.
                    drop((&connection).write_all(answer.as_bytes()));
                }
            }
        });
        Ok(Self { url, calls, ends })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

impl Drop for ThrottlingEfs {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // Wakes the listener, which then sees that it ends.
        drop(TcpStream::connect(self.url.trim_start_matches("http://")));
    }
}

/// ECS answers every call of this instance with ThrottlingException while the share is lost and comes back.
pub(crate) fn throttled(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let writer = Writer::start(lab, index, "throttled")?;
    let access_key = lab.instance(index).identity.access_key();
    let trail = Trail::begin(lab, index)?;
    lab.ecs_control(
        "POST",
        "faults",
        &json!({ "operation": "*", "fault": "throttle", "for_seconds": 20, "access_key": access_key }),
    )?;
    lab.instance(index).run("umount --lazy --no-canonicalize --internal-only /volumes")?;
    trail.sees(lab, "ready", Duration::from_secs(15))?;
    wait::until(&lab.progress, "ECS throttles no more", Duration::from_secs(30), || match trail.elapsed() {
        Ok(at) if at > 20.0 => Ok(()),
        Ok(at) => Err(format!("{at:.0} s")),
        Err(error) => Err(error.to_string()),
    })?;
    whole(lab, index)?;
    let written = writer.finish(lab)?;
    written.no_error()?;
    Ok(Seen::new(
        format!("share unmounted by hand meanwhile: {}", trail.told()?),
        written.seen(),
        written.nothing_lost()?,
    ))
}

/// Instance metadata doesn't answer, and the agent is restarted.
pub(crate) fn metadata_down(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    let writer = Writer::start(lab, index, "metadata-down")?;
    let trail = Trail::begin(lab, index)?;
    guest.run("ip route replace blackhole 169.254.169.254/32 && systemctl restart volumes-agent")?;
    let ready = lab.reports(index, "ready", Duration::from_secs(25));
    let told = trail.told()?;
    guest.run("ip route del blackhole 169.254.169.254/32")?;
    whole(lab, index)?;
    ready?;
    let written = writer.finish(lab)?;
    written.no_error()?;
    Ok(Seen::new(told, written.seen(), written.nothing_lost()?))
}

/// Instance metadata doesn't answer while the instance boots, and does later.
pub(crate) fn metadata_down_at_boot(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    drop_in(lab, index, "volumes-agent.service", Some(WITHOUT_METADATA))?;
    guest.reboot(&lab.progress)?;
    let trail = Trail::of_this_boot(lab, index);
    let said = says(lab, index, &["etadata"], Duration::from_secs(30));
    let state = lab.health(index).json()["state"].clone();
    let back = trail.elapsed()?;
    drop_in(lab, index, "volumes-agent.service", None)?;
    guest.run("ip route del blackhole 169.254.169.254/32")?;
    whole(lab, index)?;
    let said = said?;
    expect(state != "ready", "nothing is mounted before the instance is known", state.to_string())?;
    Ok(Seen::new(
        format!("since the boot: {}\nuntil {back:.1}: \"{said}\"", trail.told()?),
        STALE,
        NOTHING_WRITTEN,
    ))
}

/// The ECS agent comes up a minute after this one, and nothing is remembered of it.
pub(crate) fn introspection_late(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    guest.run("systemctl stop ecs volumes-agent && rm -rf /var/lib/volumes-agent/* && umount /volumes")?;
    let trail = Trail::begin(lab, index)?;
    guest.run("systemctl start --no-block volumes-agent")?;
    trail.sees(lab, "ready", Duration::from_secs(20))?;
    let gate = lab.health(index).json()["gate"].clone();
    std::thread::sleep(Duration::from_secs(60));
    guest.run("systemctl start --no-block ecs")?;
    trail.sees(lab, "gate open", Duration::from_secs(40))?;
    whole(lab, index)?;
    expect(gate == "unknown", "nobody is told before it is known whom", gate.to_string())?;
    Ok(Seen::new(trail.told()?, STALE, NOTHING_WRITTEN))
}

/// The agent starts with what an image has, and user-data writes the right configuration half a minute later, in two parts.
pub(crate) fn configuration_late(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    let right = guest.run(&format!("cat {CONFIGURATION}"))?;
    guest.run("systemctl stop volumes-agent && umount /volumes")?;
    guest.write(CONFIGURATION, "file_system_tag = \"convox.rack=not-said-yet\"")?;
    let trail = Trail::begin(lab, index)?;
    guest.run("systemctl start --no-block volumes-agent")?;
    let said = says(lab, index, &["not-said-yet"], Duration::from_secs(20));
    // A file that is being written is a wrong one for a moment.
    guest.write(CONFIGURATION, "probe_interval = \"2s")?;
    std::thread::sleep(Duration::from_secs(4));
    let state = lab.health(index).json()["state"].clone();
    guest.write(CONFIGURATION, right.trim_end())?;
    let back = trail.elapsed()?;
    lab.reports(index, "ready", BACK)?;
    whole(lab, index)?;
    expect(state == "absent", "absent until it is right", state.to_string())?;
    Ok(Seen::new(
        format!("{}\nuntil {back:.1}: \"{}\"", trail.told()?, said?),
        "new tasks wait for the gate",
        NOTHING_WRITTEN,
    ))
}
