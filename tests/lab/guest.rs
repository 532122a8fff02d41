//! An EC2 instance: a User-Mode Linux guest with real systemd, Docker and NFS client, on a disk image of its own.

use crate::{
    error::Error,
    host,
    image::Image,
    network::{self, GATEWAYS, PREFIX, ZONES},
    place, processor,
    progress::Progress,
    wait,
};
use serde_json::Value;
use std::{
    fs::File,
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Memory of a guest; about 100 MB are used.
const MEMORY: &str = "768M";
/// A guest that doesn't answer by then never will.
const BOOT: Duration = Duration::from_secs(180);
/// How long a command in a guest may take unless it says otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a guest is, to the other parts of the lab.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Which of the guests, from 0.
    pub number: usize,
    /// The host name: `instance-1`, `instance-2`.
    pub name: String,
    /// The EC2 instance id.
    pub id: String,
    /// Its address in its zone's subnet.
    pub address: String,
    /// The zone.
    pub zone: &'static str,
    /// The other end of its wire.
    pub tap: String,
}

impl Identity {
    /// The guests of every lab: one in each zone.
    pub fn all() -> [Self; 2] {
        [0, 1].map(|index: usize| Self {
            number: index,
            name: format!("instance-{}", index + 1),
            id: format!("i-{:017x}", index + 1),
            address: ["10.77.0.11", "10.77.16.12"][index].to_owned(),
            zone: ZONES[index],
            tap: format!("tap{}", index + 1),
        })
    }

    /// The access key that its agents call AWS with.
    pub fn access_key(&self) -> String {
        crate::metadata::access_key(&self.id)
    }

    fn gateway(&self) -> &'static str {
        GATEWAYS[ZONES.iter().position(|zone| *zone == self.zone).unwrap_or_default()]
    }
}

/// What a command in a guest did.
#[derive(Debug)]
pub struct Output {
    /// The exit code; 255 also for a guest that can't be reached, 124 for one that took too long.
    pub code: i32,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

/// An answer of a daemon on a guest's loopback.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status, 0 if there was no answer.
    pub status: u16,
    /// The body.
    pub body: String,
    /// From the request to the end of the answer.
    pub took: Duration,
}

impl Answer {
    /// The body as JSON; [`Value::Null`] if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// A guest, running or not.
#[derive(Debug)]
pub struct Guest {
    /// Who it is.
    pub identity: Identity,
    disk: PathBuf,
    changes: PathBuf,
    key: PathBuf,
    library: PathBuf,
    console: PathBuf,
    machine: Mutex<Option<Child>>,
}

impl Guest {
    /// Gives a guest its wire and an empty disk over the image; it isn't started yet.
    ///
    /// # Errors
    /// What making the tap says.
    pub fn new(identity: Identity, image: &Image, folder: &Path) -> Result<Self, Error> {
        network::tap(&identity.tap)?;
        // A name of this lab's own: another lab may replace the cached image while this one's guests reboot.
        let disk = folder.join("run/disk.img");
        if !disk.exists() {
            std::fs::hard_link(&image.disk, &disk).map_err(host::failed("link", &disk))?;
        }
        Ok(Self {
            changes: folder.join(format!("run/{}.changes", identity.name)),
            console: folder.join(format!("logs/{}.console", identity.name)),
            disk,
            key: image.key.clone(),
            library: image.library.clone(),
            machine: Mutex::new(None),
            identity,
        })
    }

    /// Turns the machine on.
    ///
    /// # Errors
    /// When User-Mode Linux can't be started.
    pub fn start(&self) -> Result<(), Error> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.console)
            .map_err(host::failed("open", &self.console))?;
        let errors = log.try_clone().map_err(host::failed("open", &self.console))?;
        let me = &self.identity;
        // A process namespace of its own: each process of the guest is one of the host, and all have to go with it. It ends with the lab,
        // whose process namespace it is in (a death signal would come when the thread ends that started it).
        let mut machine = match processor::of_guest(me.number) {
            Some(processor) => {
                let mut command = Command::new("taskset");
                command.args(["--cpu-list", &processor.to_string(), "unshare"]);
                command
            }
            None => Command::new("unshare"),
        };
        let machine = machine
            .args(["--pid", "--fork", "--kill-child"])
            // At a reboot User-Mode Linux executes its own name again, still holding its tap, which it then can't open: under a
            // name that isn't there it ends instead, and the lab starts it anew.
            .args([
                "bash",
                "-c",
                "export LD_PRELOAD=$LIBRARY; exec -a no-second-life \"$0\" \"$@\"",
                "linux.uml",
            ])
            .env("LIBRARY", &self.library)
            .arg(format!("ubd0={},{}", self.changes.display(), self.disk.display()))
            .args([
                "root=/dev/ubda",
                "rw",
                "con=null",
                "con0=null,fd:1",
                "systemd.unified_cgroup_hierarchy=1",
            ])
            .arg(format!("mem={MEMORY}"))
            .arg(format!("vec0:transport=tap,ifname={},depth=128,gro=1", me.tap))
            .arg(format!("uml_dir={}/uml", place::MEMORY))
            .arg(format!("umid={}", me.name))
            .arg(format!("systemd.hostname={}", me.name))
            .arg(format!("systemd.machine_id={:032x}", crate::image::hash([&me.name, &me.id])))
            .arg(format!("lab.address={}/{PREFIX}", me.address))
            .arg(format!("lab.gateway={}", me.gateway()))
            .env("TMPDIR", place::MEMORY)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(host::failed("start", Path::new("linux.uml")))?;
        *self.machine() = Some(machine);
        Ok(())
    }

    /// Waits until commands can be run.
    ///
    /// # Errors
    /// [`Error::NotSeen`] when the guest doesn't answer in time.
    pub fn answers(&self, progress: &Progress) -> Result<(), Error> {
        wait::until(progress, &format!("{} has booted", self.identity.name), BOOT, || {
            if let Some(Ok(Some(status))) = self.machine().as_mut().map(Child::try_wait) {
                return Err(format!(
                    "its machine ended with {status}; its console is {}",
                    self.console.display()
                ));
            }
            let output = self.try_run("true", Duration::from_secs(15));
            if output.code == 0 { Ok(()) } else { Err(output.stderr) }
        })
    }

    /// Runs a shell command as root; a status other than 0 is an answer like any other.
    pub fn try_run(&self, command: &str, patience: Duration) -> Output {
        self.try_run_with(Stdio::null(), command, patience)
    }

    /// The same, with a file of the lab's machine as its standard input.
    ///
    /// # Errors
    /// [`Error::File`] when there is no such file.
    pub fn feed(&self, input: &Path, command: &str, patience: Duration) -> Result<Output, Error> {
        let input = File::open(input).map_err(host::failed("open", input))?;
        Ok(self.try_run_with(input.into(), command, patience))
    }

    fn try_run_with(&self, input: Stdio, command: &str, patience: Duration) -> Output {
        let failed = |error: std::io::Error| Output {
            code: 255,
            stdout: String::new(),
            stderr: format!("ssh can't be started: {error}"),
        };
        // Files, not pipes: ssh hands its outputs to the shared connection, which keeps a pipe open after a guest's death for ever.
        let (stdout, stderr) = match (scratch(), scratch()) {
            (Ok(stdout), Ok(stderr)) => (stdout, stderr),
            (Err(error), _) | (_, Err(error)) => return failed(error),
        };
        let status = stdout
            .try_clone()
            .and_then(|out| Ok((out, stderr.try_clone()?)))
            .and_then(|(out, err)| self.ssh(command, patience).stdin(input).stdout(out).stderr(err).status());
        match status {
            Ok(status) => {
                if status.code().is_none() {
                    // It took too long, so the connection may be to a guest that is gone.
                    self.forget_connection();
                }
                Output {
                    code: status.code().unwrap_or(124),
                    stdout: written(stdout),
                    stderr: written(stderr),
                }
            }
            Err(error) => failed(error),
        }
    }

    fn ssh(&self, command: &str, patience: Duration) -> Command {
        let socket = format!("{}/ssh-{}", place::MEMORY, self.identity.name);
        let mut ssh = Command::new("timeout");
        ssh.args(["--signal=KILL", &format!("{:.1}", patience.as_secs_f64()), "ssh", "-F", "none", "-i"])
            .arg(&self.key);
        for option in [
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            // On a machine that has much to do, the first words of a connection alone take seconds.
            "ConnectTimeout=10",
            "ControlMaster=auto",
            "ControlPersist=yes",
            &format!("ControlPath={socket}"),
        ] {
            ssh.args(["-o", option]);
        }
        ssh.arg(format!("root@{}", self.identity.address)).arg(command);
        ssh
    }

    /// Runs a shell command as root and gives its standard output.
    ///
    /// # Errors
    /// [`Error::Command`] when its status isn't 0 or it takes longer than half a minute.
    pub fn run(&self, command: &str) -> Result<String, Error> {
        let output = self.try_run(command, PATIENCE);
        if output.code == 0 {
            return Ok(output.stdout);
        }
        Err(Error::Command {
            command: format!("{}: {command}", self.identity.name),
            how: if output.code == 124 {
                "took too long".to_owned()
            } else {
                format!("ended with {}", output.code)
            },
            output: output.stdout + &output.stderr,
        })
    }

    /// Gets a path of a server on the guest's loopback.
    pub fn get(&self, port: u16, path: &str, accept: &str) -> Answer {
        let command = format!(
            "curl -s -m 10 -H 'Accept: {accept}' -w '\\n%{{http_code}} %{{time_total}}' http://127.0.0.1:{port}{path}"
        );
        let output = self.try_run(&command, Duration::from_secs(15));
        let (body, last) = output.stdout.rsplit_once('\n').unwrap_or_default();
        let (status, took) = last.split_once(' ').unwrap_or_default();
        Answer {
            status: status.parse().unwrap_or(0),
            body: body.to_owned(),
            took: took
                .parse()
                .ok()
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .unwrap_or(PATIENCE),
        }
    }

    /// Writes a file in the guest.
    ///
    /// # Errors
    /// As [`Guest::run`].
    pub fn write(&self, path: &str, content: &str) -> Result<(), Error> {
        self.run(&format!("cat > {path} <<'END-OF-FILE'\n{content}\nEND-OF-FILE")).map(drop)
    }

    /// Takes away what is mounted at `/volumes`, as a person does: again, where something that looks at it just now keeps it busy.
    ///
    /// # Errors
    /// As [`Guest::run`].
    pub fn unmount_volumes(&self) -> Result<(), Error> {
        self.run("for i in $(seq 100); do said=$(umount /volumes 2>&1) && exit 0; case $said in *busy*) sleep 0.1;; *) break;; esac; done; echo \"$said\"; exit 1")
            .map(drop)
    }

    /// Reboots by `systemctl reboot` and waits until another boot answers. Gives how long it took.
    ///
    /// # Errors
    /// When the guest doesn't come back.
    pub fn reboot(&self, progress: &Progress) -> Result<Duration, Error> {
        let since = Instant::now();
        self.shut_down(progress, BOOT)?;
        self.start()?;
        self.answers(progress)?;
        Ok(since.elapsed())
    }

    /// Ends the machine by `systemctl reboot`; it isn't started again. Gives how long it took.
    ///
    /// # Errors
    /// [`Error::NotSeen`] when it still runs after `deadline`.
    pub fn shut_down(&self, progress: &Progress, deadline: Duration) -> Result<Duration, Error> {
        let since = Instant::now();
        // The connection ends before the command does, so its status means nothing.
        self.try_run("systemctl reboot", PATIENCE);
        self.forget_connection();
        wait::until(progress, &format!("{} has shut down", self.identity.name), deadline, || {
            let ended = self.machine().as_mut().map(Child::try_wait);
            if matches!(ended, Some(Ok(Some(_)))) { Ok(()) } else { Err("it is shutting down".to_owned()) }
        })?;
        Ok(since.elapsed())
    }

    /// Gives a guest that is off an empty disk over the image again.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn reset(&self) -> Result<(), Error> {
        host::remove(&self.changes)
    }

    /// Gives a guest that is off a copy of the disk of another one that is off.
    ///
    /// # Errors
    /// What `cp` says.
    pub fn copy_disk_of(&self, other: &Self) -> Result<(), Error> {
        host::run(Command::new("cp").arg("--sparse=always").arg(&other.changes).arg(&self.changes)).map(drop)
    }

    /// Starts a shell command whose standard output goes to a file of the lab's machine as it comes: it survives the guest.
    ///
    /// # Errors
    /// When the file can't be made or ssh not be started.
    pub fn stream(&self, command: &str, output: &Path) -> Result<Child, Error> {
        let file = File::create(output).map_err(host::failed("write", output))?;
        self.ssh(command, Duration::from_secs(600))
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(Stdio::null())
            .spawn()
            .map_err(host::failed("start", Path::new("ssh")))
    }

    /// Stops the machine, as a hypervisor that pauses it does.
    ///
    /// # Errors
    /// When it can't be stopped.
    pub fn freeze(&self) -> Result<(), Error> {
        self.signal("STOP")
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it can't go on.
    pub fn thaw(&self) -> Result<(), Error> {
        self.signal("CONT")
    }

    /// To the guest's kernel alone, `unshare`'s only child: what runs in the guest stops with it, and is traced by it, so that a signal of its
    /// own would be taken for an event.
    fn signal(&self, signal: &str) -> Result<(), Error> {
        match self.machine().as_ref().map(Child::id) {
            Some(id) => host::sh(&format!("pkill -{signal} -P {id}")).map(drop),
            None => Ok(()),
        }
    }

    /// Takes the power away: no goodbye to anyone.
    ///
    /// # Errors
    /// When the machine can't be killed.
    pub fn kill(&self) -> Result<(), Error> {
        if let Some(mut machine) = self.machine().take() {
            machine
                .kill()
                .and_then(|()| machine.wait())
                .map_err(host::failed("end", Path::new("linux.uml")))?;
        }
        self.forget_connection();
        Ok(())
    }

    /// Writes what the guest knows about itself into `folder`; what can't be had is said there.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn evidence(&self, folder: &Path) -> Result<(), Error> {
        let commands = [
            ("journal", "journalctl --no-pager -o short-precise -n 3000"),
            ("agent.journal", "journalctl --no-pager -o short-precise -u 'volumes-agent*'"),
            ("status", "curl -s -m 5 http://127.0.0.1:12049/status"),
            ("healthz", "curl -s -m 5 http://127.0.0.1:12049/healthz"),
            ("metrics", "curl -s -m 5 http://127.0.0.1:12049/metrics"),
            (
                "introspection",
                "curl -s -m 5 http://127.0.0.1:51678/v1/metadata; echo; curl -s -m 5 http://127.0.0.1:51678/v1/tasks",
            ),
            ("mountinfo", "cat /proc/self/mountinfo"),
            (
                "units",
                "systemctl --no-pager status 'volumes*' ecs.service docker.service; systemctl --no-pager --failed",
            ),
            ("containers", "timeout 5 docker ps -a"),
            ("processes", "ps -eo pid,ppid,stat,wchan:30,etimes,args"),
            ("kernel", "dmesg"),
        ];
        if self.try_run("true", Duration::from_secs(8)).code != 0 {
            let text = format!(
                "{} does not answer; its console is {}\n",
                self.identity.name,
                self.console.display()
            );
            return host::write(&folder.join(format!("{}.silent", self.identity.name)), text);
        }
        for (name, command) in commands {
            let output = self.try_run(command, Duration::from_secs(8));
            let text = format!("$ {command}\n{}{}\n(status {})\n", output.stdout, output.stderr, output.code);
            host::write(&folder.join(format!("{}.{name}", self.identity.name)), text)?;
        }
        Ok(())
    }

    fn machine(&self) -> MutexGuard<'_, Option<Child>> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to a guest that was turned off would be waited for.
    fn forget_connection(&self) {
        let socket = format!("{}/ssh-{}", place::MEMORY, self.identity.name);
        // That there is no connection is fine.
        drop(
            Command::new("ssh")
                .args(["-F", "none", "-O", "exit", "-o", &format!("ControlPath={socket}"), "guest"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status(),
        );
        drop(std::fs::remove_file(&socket));
        drop(std::io::stdout().flush());
    }
}

/// A file of no name in the lab's memory.
fn scratch() -> std::io::Result<File> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let path = format!("{}/output-{}", place::MEMORY, COUNT.fetch_add(1, Ordering::Relaxed));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// All that was written to a [`scratch`] file; what can't be read is said there.
fn written(mut file: File) -> String {
    let mut bytes = Vec::new();
    match file.rewind().and_then(|()| file.read_to_end(&mut bytes)) {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("(can't be read: {error})"),
    }
}
