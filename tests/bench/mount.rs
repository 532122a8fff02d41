//! The mount half of the agent, on a booted instance with real NFS: each figure beside its floor, as ratios in one run.
//!
//! `make bench` runs it. `IDLE_SECONDS` says how long the idle agent's CPU time is counted (default: ten minutes).

use lab::{
    Error, Lab, cluster,
    enclosure::{self, Entered},
    expect,
    guest::Guest,
    network::GATEWAYS,
    progress::Progress,
};
use std::{path::Path, process::ExitCode, time::Duration};

const NAME: &str = "bench";
const ROUNDS: usize = 11;
const READY: Duration = Duration::from_secs(60);
const IMAGE: &str = "wordpress:4.5.2-apache";
/// The image's one program, outside of a container.
const BUSYBOX: &str = "/tmp/bin/busybox";
/// What is written and read, in MiB.
const MEBIBYTES: usize = 64;

fn main() -> ExitCode {
    let progress = Progress::new();
    let entered = enclosure::enter(NAME, false, &progress, || cluster::prepare(&progress).map(drop));
    let outcome = match entered {
        Ok(Entered::Done(code)) => return code,
        Ok(Entered::Inside(inside)) => Lab::start(&inside, &progress).and_then(|lab| {
            let code =
                u8::from(measure(&lab).map_err(|error| progress.plain(&format!("error: {error}"))).is_err());
            inside.leave(code, false)
        }),
        Err(error) => Err(error),
    };
    outcome.unwrap_or_else(|error| {
        progress.plain(&format!("error: {error}"));
        ExitCode::FAILURE
    })
}

fn measure(lab: &Lab) -> Result<(), Error> {
    lab.reports(0, "ready", READY)?;
    let guest = lab.instance(0);
    let say = |line: &str| lab.progress.plain(line);
    say(&format!("minimum, median, maximum of {ROUNDS} rounds, in turns:"));
    time_to_ready(lab, guest)?;
    loss_seen(lab, guest)?;
    through_the_bind(lab, guest)?;
    read_ahead(lab, guest)?;
    at_rest(lab, guest)?;
    // Last: what it leaves would be looked after.
    many_volumes(lab, guest)
}

/// Volumes of a first pass over a large cluster.
const VOLUMES: usize = 10_000;
/// As many as the leader asks a worker for at once.
const VOLUMES_A_REQUEST: usize = 200;

/// 10,000 volumes of 10 apps over a wire that delays each answer by a millisecond, made by the agent's own worker, beside `mkdir -p` of as many
/// paths by one process, which writes neither records nor owners.
fn many_volumes(lab: &Lab, guest: &Guest) -> Result<(), Error> {
    let requests = VOLUMES / VOLUMES_A_REQUEST;
    guest.run(&format!(
        r#"awk 'BEGIN {{ for (r = 0; r < {requests}; r++) {{
            printf "{{\"ensure\":{{\"by\":\"bench\",\"now\":\"2026-01-01T00:00:00Z\",\"format\":1,\"volumes\":["
            for (v = 0; v < {VOLUMES_A_REQUEST}; v++) {{ n = r * {VOLUMES_A_REQUEST} + v
                printf "%s{{\"rack\":\"bench\",\"app\":\"a%d\",\"path\":\"bench-a%d/s%d/var/lib/data\"}}", v ? "," : "", n % 10, n % 10, n }}
            print "]}}}}" }} }}' > /tmp/requests
        seq 0 {} | sed 's|.*|/volumes/bench-plain/s&/var/lib/data|' > /tmp/paths
        tc qdisc add dev vec0 root netem delay 1ms"#,
        VOLUMES - 1
    ))?;
    let timed = |command: &str| -> Result<f64, Error> {
        let said = guest.try_run(
            &format!("a=$(date +%s%N) && {{ {command}; }} > /tmp/said && b=$(date +%s%N) && echo $(((b - a) / 1000000))"),
            Duration::from_secs(900),
        );
        expect(said.code == 0, format!("`{command}` ends"), format!("{} {}", said.code, said.stderr))?;
        Ok(number(&said.stdout) / 1000.0)
    };
    let worker = "sh -c 'volumes-agent share-worker $$ < /tmp/requests; true'";
    let made = timed(worker)?;
    let told = guest.run("grep -c made /tmp/said; grep -o 'bench-a[0-9]*/s' /tmp/said | wc -l")?;
    let again = timed(worker)?;
    let plain = timed("xargs mkdir -p < /tmp/paths")?;
    lab.progress.plain(&format!(
        "{VOLUMES} volumes, 1 ms of delay: made in {made:.1} s, looked at again in {again:.1} s, against {plain:.1} s of `xargs mkdir -p`: {:.2} times (requests answered, volumes made: {})",
        made / plain,
        told.trim().replace('\n', ", ")
    ));
    Ok(())
}

/// From the agent's start to `ready`, against a bare mount of the same share.
fn time_to_ready(lab: &Lab, guest: &Guest) -> Result<(), Error> {
    let (mut bare, mut mounting, mut asking) = (Vec::new(), Vec::new(), Vec::new());
    let options = guest
        .run("grep ' /volumes ' /proc/self/mountinfo | sed 's/.* //; s/^rw,//; s/,local_lock=none//'")?;
    for _ in 0..ROUNDS {
        guest.run("systemctl stop volumes-agent && umount /volumes")?;
        let took = guest.run(&format!(
            "mkdir -p /mnt/bare && a=$(date +%s%N) && mount -i -t nfs4 -o {} {}:/ /mnt/bare && b=$(date +%s%N) && umount /mnt/bare && echo $(((b - a) / 1000))",
            options.trim(),
            GATEWAYS[0],
        ))?;
        bare.push(number(&took) / 1000.0);
        // Asking meanwhile would take the guest's one processor away from what is measured.
        guest.run("systemctl start volumes-agent; sleep 4")?;
        lab.reports(0, "ready", READY)?;
        let started = number(&guest.run("systemctl show -P ExecMainStartTimestampMonotonic volumes-agent")?);
        let found = logged(guest, "mount target found")?;
        let ready = logged(guest, "to=ready")?;
        asking.push((found - started) / 1000.0);
        mounting.push((ready - found) / 1000.0);
    }
    row(lab, "bare mount -t nfs4", "ms", &bare);
    row(lab, "agent: from the mount target known to `ready`", "ms", &mounting);
    row(lab, "agent: from its start to the mount target known (metadata, EFS)", "ms", &asking);
    ratio(lab, "mounting against the bare mount (goal: 1.2)", &mounting, &bare);
    Ok(())
}

/// From `umount -l` by hand to the change of state.
fn loss_seen(lab: &Lab, guest: &Guest) -> Result<(), Error> {
    let mut seen = Vec::new();
    for _ in 0..ROUNDS {
        // The kernel's monotonic clock, which is the journal's as well: /proc/uptime has hundredths, perl's clock has all.
        let at = guest.run("perl -MTime::HiRes=clock_gettime,CLOCK_MONOTONIC -e 'printf \"%d\\n\", 1e6 * clock_gettime(CLOCK_MONOTONIC)' && umount -l /volumes && sleep 2")?;
        lab.reports(0, "ready", READY)?;
        seen.push((logged(guest, "to=lost")? - number(&at)) / 1000.0);
    }
    row(lab, "from before `umount -l` to `lost`, umount's own start included", "ms", &seen);
    Ok(())
}

/// Through a container's bind against the mount itself.
fn through_the_bind(lab: &Lab, guest: &Guest) -> Result<(), Error> {
    // The container's own program on both sides.
    guest.run("mkdir -p /volumes/bench/data && tar -xf /usr/lib/lab/wordpress.tar -C /tmp ./bin/busybox")?;
    guest.run(&format!(
        "docker run -d --name bench --network host -v /volumes/bench/data:/data --entrypoint /bin/sleep {IMAGE} 100000"
    ))?;
    let write = format!("dd if=/dev/zero of=DIR/file bs=1M count={MEBIBYTES} conv=fsync");
    let read = "dd if=DIR/file of=/dev/null bs=1M".to_owned();
    for (what, command) in [("write and fsync", write), ("read", read)] {
        let (mut bind, mut direct) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bind.push(timed(guest, "docker exec bench", "/bin/busybox", &command.replace("DIR", "/data"))?);
            direct.push(timed(guest, "", BUSYBOX, &command.replace("DIR", "/volumes/bench/data"))?);
        }
        row(lab, &format!("{MEBIBYTES} MiB, {what}, through a container's bind"), "ms", &bind);
        row(lab, &format!("{MEBIBYTES} MiB, {what}, on the mount"), "ms", &direct);
        ratio(lab, "the bind against the mount (goal: 1.00)", &bind, &direct);
    }
    Ok(())
}

/// A sequential read over a link with a delay, with the read-ahead that the agent sets and with the kernel's own.
fn read_ahead(lab: &Lab, guest: &Guest) -> Result<(), Error> {
    let device = guest.run("grep ' /volumes ' /proc/self/mountinfo | cut -d' ' -f3")?;
    let file = format!("/sys/class/bdi/{}/read_ahead_kb", device.trim());
    guest.run("systemctl stop volumes-agent && tc qdisc add dev vec0 root netem delay 2ms")?;
    let (mut set, mut unset) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (size, times) in [("15360", &mut set), ("128", &mut unset)] {
            guest.run(&format!("echo {size} > {file}"))?;
            times.push(timed(guest, "", BUSYBOX, "dd if=/volumes/bench/data/file of=/dev/null bs=1M")?);
        }
    }
    guest.run(&format!(
        "tc qdisc del dev vec0 root && echo 15360 > {file} && systemctl start volumes-agent"
    ))?;
    lab.reports(0, "ready", READY)?;
    row(
        lab,
        &format!("{MEBIBYTES} MiB, read with 2 ms of delay, read-ahead as the agent sets it"),
        "ms",
        &set,
    );
    row(lab, &format!("{MEBIBYTES} MiB, read with 2 ms of delay, read-ahead of 128 KiB"), "ms", &unset);
    ratio(lab, "set against unset", &set, &unset);
    Ok(())
}

/// Memory, threads and CPU time of an agent that has nothing to do: of the program in packages, where it was built (`PACKAGED`).
fn at_rest(lab: &Lab, guest: &Guest) -> Result<(), Error> {
    let idle: u64 = std::env::var("IDLE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(600);
    guest.run("docker rm -f bench && rm -r /volumes/bench && systemctl stop volumes-agent")?;
    if let Some(program) = std::env::var_os("PACKAGED") {
        // A child of the agent's may still run the one that is there.
        let put = "cd /usr/bin && cat > new && chmod 755 new && mv new volumes-agent";
        let output = guest.feed(Path::new(&program), put, READY)?;
        expect(output.code == 0, "the packages' program is put in place", output.stderr)?;
        lab.progress.plain("the program of the packages, at rest:");
    }
    guest.run("systemctl start volumes-agent")?;
    lab.reports(0, "ready", READY)?;
    let before = cpu(guest)?;
    std::thread::park_timeout(Duration::from_secs(idle));
    let after = cpu(guest)?;
    let memory = guest.run(&format!(
        "for p in {PROCESSES}; do echo $(grep -E '^(VmRSS|RssAnon|RssFile|Threads)' /proc/$p/status) of $(cat /proc/$p/comm); done"
    ))?;
    lab.progress.plain(&format!(
        "idle for {idle} s: {:.0} ms of CPU in the agent, {:.0} ms in its children (probes, looks)\n{memory}",
        after[0] - before[0],
        after[1] - before[1]
    ));
    Ok(())
}

/// The agent, and the child that stays.
const PROCESSES: &str =
    "$(systemctl show -P MainPID volumes-agent) $(pgrep -P $(systemctl show -P MainPID volumes-agent))";

/// Milliseconds of CPU so far: the agent's own, and its children's, those that run and those that ended (proc(5): utime, stime, cutime and
/// cstime, in hundredths of a second).
fn cpu(guest: &Guest) -> Result<[f64; 2], Error> {
    let stats = guest.run(&format!("for p in {PROCESSES}; do cat /proc/$p/stat; done"))?;
    let mut spent = [0.0, 0.0];
    for (at, stat) in stats.lines().enumerate() {
        let after_the_name = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<f64> =
            after_the_name.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect();
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default() * 10.0;
        spent[at.min(1)] += field(14) + field(15);
        spent[1] += field(16) + field(17);
    }
    Ok(spent)
}

/// Runs a `dd` of the busybox at `busybox`, by its own shell, with cold caches, and takes the time from /proc/uptime, which is the same in
/// a container. Milliseconds, to the hundredth of a second.
fn timed(guest: &Guest, before: &str, busybox: &str, dd: &str) -> Result<f64, Error> {
    let took = guest.run(&format!(
        "echo 3 > /proc/sys/vm/drop_caches; {before} {busybox} sh -c \
         'read a x < /proc/uptime; $0 {dd} 2>/dev/null || exit 1; read b x < /proc/uptime; echo $a $b' {busybox}"
    ))?;
    let (begun, ended) = took.trim().split_once(' ').unwrap_or_default();
    Ok((number(ended) - number(begun)) * 1000.0)
}

/// When the agent's last run logged a line, on the monotonic clock, in microseconds.
fn logged(guest: &Guest, line: &str) -> Result<f64, Error> {
    let at = guest.run(&format!(
        "journalctl -u volumes-agent -o json --output-fields=MESSAGE,_SOURCE_MONOTONIC_TIMESTAMP -n 200 | grep -F '{line}' | tail -1 \
         | sed 's/.*\"__MONOTONIC_TIMESTAMP\":\"\\([0-9]*\\)\".*/\\1/'"
    ))?;
    Ok(number(&at))
}

fn number(text: &str) -> f64 {
    text.trim().parse().unwrap_or(f64::NAN)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

fn row(lab: &Lab, what: &str, unit: &str, values: &[f64]) {
    let values = sorted(values);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    lab.progress.plain(&format!(
        "| {what} | {:.1}, {:.1}, {:.1} {unit} |",
        at(0),
        at(values.len() / 2),
        at(values.len().saturating_sub(1))
    ));
}

fn ratio(lab: &Lab, what: &str, ours: &[f64], floor: &[f64]) {
    let median = |values: &[f64]| sorted(values).get(values.len() / 2).copied().unwrap_or(f64::NAN);
    lab.progress.plain(&format!("| {what}: ratio of the medians | {:.2} |", median(ours) / median(floor)));
}
