//! The guests' disk: a Debian with systemd and Docker, the agent as a package would install it, and the lab's own few files
//! (`tests/guest`). Made once; made again when anything that goes into it has changed.

use crate::{
    error::Error,
    host, place,
    progress::{Progress, during},
};
use std::{
    collections::BTreeSet,
    fs::{self, File, Permissions},
    hash::Hasher,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};
use volumes_agent::order::{HELPER, HELPER_FOLDER};

/// Room on a guest's disk; what isn't written costs nothing.
const DISK: &str = "4G";
/// Where User-Mode Linux's package keeps its modules.
const MODULES: &str = "/usr/lib/uml/modules";
/// Kernel modules that guests may need, by folder or file: all of them would be 100 MB more on each disk.
const MODULES_NEEDED: [&str; 20] = [
    "kernel/crypto",
    "kernel/drivers/block/loop.ko",
    "kernel/fs/autofs",
    "kernel/fs/fscache",
    "kernel/fs/lockd",
    "kernel/fs/netfs",
    "kernel/fs/nfs",
    "kernel/fs/nfs_common",
    "kernel/fs/overlayfs",
    "kernel/lib",
    "kernel/net/bridge",
    "kernel/net/dns_resolver",
    "kernel/net/ipv4",
    "kernel/net/ipv6",
    "kernel/net/netfilter",
    "kernel/net/sched",
    "kernel/net/sunrpc",
    "modules.builtin",
    "modules.builtin.modinfo",
    "modules.order",
];

/// The agent's configuration file.
const CONFIGURATION: &str = "etc/volumes-agent/config.toml";

/// What a guest is started with.
#[derive(Debug)]
pub struct Image {
    /// The disk, shared by all guests: each writes to a file of its own.
    pub disk: PathBuf,
    /// The key that root on each guest accepts.
    pub key: PathBuf,
    /// The library that User-Mode Linux needs on newer processors: `whole_xstate.c` has the reason.
    pub library: PathBuf,
}

/// What a guest's disk has of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The agent and its units, as a package installs them.
    Agent,
    /// Nothing, for packages and image builds: an instance as it is before (`tests/guest/clean`).
    Clean,
}

impl Content {
    /// What the names of its files in the cache begin with.
    fn prefix(self) -> &'static str {
        match self {
            Self::Agent => "",
            Self::Clean => "clean-",
        }
    }

    /// Debian's packages, a line each.
    fn packages(self) -> Result<String, Error> {
        let all = host::read(&place::repository().join("tests/guest/packages"))?;
        // For the .rpm: there is no distribution with rpm to be had, so its own tool installs it on a Debian.
        Ok(if self == Self::Clean { all + "rpm\n" } else { all })
    }
}

/// Makes what isn't there yet.
///
/// # Errors
/// [`Error::Missing`] with what to build or install; what the tools say.
pub fn prepare(content: Content, progress: &Progress) -> Result<Image, Error> {
    let cache = place::cache()?;
    let lock = File::create(cache.join("lock")).map_err(host::failed("open", &cache))?;
    during(progress, "another lab prepares the guests' disk", || lock.lock())
        .map_err(host::failed("lock", &cache))?;
    let key = key(&cache)?;
    let files = payload(content)?;
    let root = root(content, &cache, progress)?;
    let mut parts = vec![
        root.to_string_lossy().into_owned().into_bytes(),
        host::read(&key.with_extension("pub"))?.into_bytes(),
    ];
    parts.push(include_bytes!("image.rs").to_vec());
    for file in &files {
        parts.push(format!("{} {:o}", file.to, file.mode).into_bytes());
        parts.push(fs::read(&file.from).map_err(host::failed("read", &file.from))?);
    }
    let prefix = content.prefix();
    let disk = cache.join(format!("{prefix}disk-{:016x}.img", hash(&parts)));
    if !disk.exists() {
        progress.say(match content {
            Content::Agent => "making the guests' disk: Debian, Docker, the agent under its units",
            Content::Clean => "making the guests' disk: Debian and Docker",
        });
        during(progress, "the guests' disk", || made(&cache, &root, &key, &files, &disk))?;
    }
    for old in fs::read_dir(&cache).map_err(host::failed("read", &cache))?.flatten() {
        let name = old.file_name().to_string_lossy().into_owned();
        let stale = name.starts_with(&format!("{prefix}disk-")) && old.path() != disk
            || name.starts_with(&format!("{prefix}root-")) && old.path() != root;
        if stale {
            host::remove(&old.path())?;
        }
    }
    Ok(Image { disk, key, library: library(&cache)? })
}

fn library(cache: &Path) -> Result<PathBuf, Error> {
    const SOURCE: &str = include_str!("whole_xstate.c");
    let library = cache.join(format!("whole_xstate-{:016x}.so", hash([SOURCE])));
    if !library.exists() {
        let (source, new) = (cache.join("whole_xstate.c"), cache.join("whole_xstate.new"));
        host::write(&source, SOURCE)?;
        host::run(Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&new).arg(&source))?;
        fs::rename(&new, &library).map_err(host::failed("rename", &new))?;
    }
    Ok(library)
}

/// A short name for content; not against anyone's will.
pub fn hash<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    for part in parts {
        hasher.write_usize(part.as_ref().len());
        hasher.write(part.as_ref());
    }
    hasher.finish()
}

/// The folder of the binaries that were built together with this one: the same profile, the same sources.
///
/// # Errors
/// [`Error::File`] when this program's own path can't be found.
pub fn built(binary: &str) -> Result<PathBuf, Error> {
    let own = std::env::current_exe().map_err(host::failed("find", Path::new("this program")))?;
    let folder = own.parent().map_or_else(PathBuf::new, Path::to_owned);
    let folder = if folder.ends_with("deps") { folder.join("..") } else { folder };
    let path = folder.join(binary);
    if path.exists() {
        return Ok(path);
    }
    Err(Error::Missing { what: path.display().to_string(), help: "build it with `make build`".to_owned() })
}

struct Payload {
    from: PathBuf,
    to: String,
    mode: u32,
}

/// Every file that goes onto the disk beside Debian's.
fn payload(content: Content) -> Result<Vec<Payload>, Error> {
    let program = |binary: &str, to: String| Ok(Payload { from: built(binary)?, to, mode: 0o755 });
    let mut files = vec![program("lab-ecs-agent", "usr/local/bin/lab-ecs-agent".to_owned())?];
    let (ours, at) = match content {
        Content::Agent => {
            let helper = format!("{}/{HELPER}", HELPER_FOLDER.trim_start_matches('/'));
            files.push(program("volumes-agent", "usr/bin/volumes-agent".to_owned())?);
            files.push(program("static/volumes-agent-seed", helper)?);
            ("systemd", "usr/lib/systemd/system/")
        }
        Content::Clean => ("tests/guest/clean", ""),
    };
    for (folder, at) in [("tests/guest/root", ""), (ours, at)] {
        let folder = place::repository().join(folder);
        for from in host::files_below(&folder)? {
            let within = from.strip_prefix(&folder).unwrap_or(&from).to_string_lossy().into_owned();
            // A package brings its own.
            if content == Content::Clean && within == CONFIGURATION {
                continue;
            }
            let mode = fs::metadata(&from).map_err(host::failed("read", &from))?.permissions().mode() & 0o777;
            files.push(Payload {
                to: format!("{at}{within}"),
                mode: if mode & 0o100 == 0 { 0o644 } else { 0o755 },
                from,
            });
        }
    }
    Ok(files)
}

fn key(cache: &Path) -> Result<PathBuf, Error> {
    let key = cache.join("key");
    if !key.exists() {
        host::run(
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"]).arg(&key),
        )?;
    }
    Ok(key)
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Debian with the guests' packages and the kernel's modules, from the archives that this machine itself uses.
fn root(content: Content, cache: &Path, progress: &Progress) -> Result<PathBuf, Error> {
    let packages = content.packages()?;
    let codename = codename()?;
    let kernel =
        fs::read_dir(MODULES).ok().and_then(|mut kernels| kernels.next()).and_then(Result::ok).ok_or_else(
            || Error::Missing {
                what: MODULES.to_owned(),
                help: "tests/install-packages installs user-mode-linux".to_owned(),
            },
        )?;
    let version = kernel.file_name().to_string_lossy().into_owned();
    let recipe = hash([
        packages.as_bytes(),
        codename.as_bytes(),
        version.as_bytes(),
        MODULES_NEEDED.concat().as_bytes(),
    ]);
    let root = cache.join(format!("{}root-{recipe:016x}", content.prefix()));
    if root.exists() {
        return Ok(root);
    }
    progress.say("making the guests' root: Debian, systemd and Docker, about half a minute, once");
    let new = cache.join("root.new");
    host::remove(&new)?;
    during(progress, "mmdebstrap installs the guests' packages", || bootstrap(cache, &packages, &[], &new))?;
    let modules = new.join("lib/modules").join(&version);
    for needed in MODULES_NEEDED {
        copy(&kernel.path().join(needed), &modules.join(needed))?;
    }
    host::run(Command::new("chroot").arg(&new).args(["depmod", &version]))?;
    fs::rename(&new, &root).map_err(host::failed("rename", &new))?;
    Ok(root)
}

/// A Debian with packages (a line each), from the archives that this machine itself uses: a folder, or a tar if `to` is called so.
///
/// # Errors
/// [`Error::Missing`] without an archive; what mmdebstrap says.
pub fn bootstrap(cache: &Path, packages: &str, options: &[&str], to: &Path) -> Result<(), Error> {
    let codename = codename()?;
    let archives = archives(|release| release.starts_with(&codename).then(|| release.to_owned()))?;
    mmdebstrap(&codename, &archives, cache, packages, options, to)
}

/// The same of another release, without its updates.
///
/// # Errors
/// As [`bootstrap`].
pub fn bootstrap_of(release: &str, cache: &Path, packages: &str, to: &Path) -> Result<(), Error> {
    let codename = codename()?;
    let archives = archives(|own| (own == codename).then(|| release.to_owned()))?;
    mmdebstrap(release, &archives, cache, packages, &[], to)
}

/// The host's own archives, mirrors and proxies, whatever they are, of those releases that `wanted` has a name for: nothing here names one.
fn archives(wanted: impl Fn(&str) -> Option<String>) -> Result<BTreeSet<String>, Error> {
    let archives = host::run(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    ]))?;
    let line = |line: &str| {
        let mut words = line.split(' ');
        let (uri, release, component) = (words.next()?, words.next()?, words.next()?);
        Some(format!("deb {uri} {} {component}", wanted(release)?))
    };
    let archives: BTreeSet<String> = archives.lines().filter_map(line).collect();
    if archives.is_empty() {
        return Err(Error::Missing {
            what: "an apt source of this Debian".to_owned(),
            help: "the guests are installed from this machine's own sources; run `apt-get update`".to_owned(),
        });
    }
    Ok(archives)
}

fn mmdebstrap(
    release: &str,
    archives: &BTreeSet<String>,
    cache: &Path,
    packages: &str,
    options: &[&str],
    to: &Path,
) -> Result<(), Error> {
    let sources = cache.join("sources.list");
    host::write(&sources, archives.iter().map(|line| format!("{line}\n")).collect::<String>())?;
    let apt = cache.join("apt.conf");
    host::write(&apt, host::run(Command::new("apt-config").args(["dump", "Acquire"]))?)?;
    host::run(
        Command::new("mmdebstrap")
            .args(["--mode=root", "--variant=minbase"])
            .arg(format!("--include={}", lines(packages).collect::<Vec<_>>().join(",")))
            .args(
                ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"]
                    .map(|path| format!("--dpkgopt=path-exclude={path}")),
            )
            .arg(format!("--aptopt={}", apt.display()))
            .args(options)
            .arg(release)
            .arg(to)
            .arg(&sources),
    )
    .map(drop)
}

fn codename() -> Result<String, Error> {
    let release = host::read(Path::new("/etc/os-release"))?;
    Ok(release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or_default().to_owned())
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    if !from.exists() {
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        host::directory(parent)?;
    }
    host::run(Command::new("cp").arg("-a").arg(from).arg(to)).map(drop)
}

fn made(cache: &Path, root: &Path, key: &Path, files: &[Payload], disk: &Path) -> Result<(), Error> {
    let stage = cache.join("stage");
    host::remove(&stage)?;
    // Hard links: what is changed below is always a new file, so that the root stays as it is.
    host::run(Command::new("cp").arg("-al").arg(root).arg(&stage))?;
    for file in files {
        install(
            &stage,
            &file.to,
            file.mode,
            &fs::read(&file.from).map_err(host::failed("read", &file.from))?,
        )?;
    }
    install(&stage, "root/.ssh/authorized_keys", 0o600, host::read(&key.with_extension("pub"))?.as_bytes())?;
    install(&stage, "usr/lib/lab/wordpress.tar", 0o644, &wordpress(cache)?)?;
    for stamp in ["etc/.updated", "var/.updated", "etc/machine-id"] {
        install(&stage, stamp, 0o644, b"")?;
    }
    host::remove(&stage.join("etc/hostname"))?;
    let masked = host::read(&place::repository().join("tests/guest/masked-units"))?;
    for unit in lines(&masked) {
        let path = stage.join("etc/systemd/system").join(unit);
        host::remove(&path)?;
        symlink("/dev/null", &path).map_err(host::failed("link", &path))?;
    }
    let units = files
        .iter()
        .filter_map(|file| Path::new(&file.to).file_name()?.to_str()?.ends_with(".service").then_some(file));
    for unit in units {
        if host::read(&unit.from)?.contains("[Install]") {
            let name = Path::new(&unit.to).file_name().unwrap_or_default();
            host::run(Command::new("chroot").arg(&stage).args(["systemctl", "enable"]).arg(name))?;
        }
    }
    host::run(Command::new("chroot").arg(&stage).args(["systemctl", "set-default", "multi-user.target"]))?;
    let new = cache.join("disk.new");
    host::remove(&new)?;
    host::run(Command::new("mkfs.ext4").args(["-q", "-d"]).arg(&stage).arg(&new).arg(DISK))?;
    host::remove(&stage)?;
    fs::rename(&new, disk).map_err(host::failed("rename", &new))
}

fn install(stage: &Path, to: &str, mode: u32, content: &[u8]) -> Result<(), Error> {
    let path = stage.join(to);
    if let Some(parent) = path.parent() {
        host::directory(parent)?;
    }
    host::remove(&path)?;
    host::write(&path, content)?;
    fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(host::failed("write", &path))
}

/// The root of the stand-in for `wordpress:4.5.2-apache`: busybox, an entry point like WordPress's, a page, an upload form's other end.
/// Gives a tar, made in a folder.
///
/// # Errors
/// [`Error::Missing`] without busybox; what the tools say.
pub fn wordpress(cache: &Path) -> Result<Vec<u8>, Error> {
    let folder = cache.join("wordpress");
    host::remove(&folder)?;
    host::directory(&folder.join("bin"))?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new).into_iter().find(|path| path.exists());
    let busybox = busybox.ok_or_else(|| Error::Missing {
        what: "busybox".to_owned(),
        help: "tests/install-packages installs busybox-static".to_owned(),
    })?;
    copy(busybox, &folder.join("bin/busybox"))?;
    for applet in
        host::run(Command::new(busybox).arg("--list"))?.lines().filter(|applet| *applet != "busybox")
    {
        let link = folder.join("bin").join(applet);
        symlink("busybox", &link).map_err(host::failed("link", &link))?;
    }
    host::run(
        Command::new("cp").arg("-a").arg(place::repository().join("tests/guest/wordpress/.")).arg(&folder),
    )?;
    for part in ["tmp", "var/www/html", "etc", "proc", "sys", "dev"] {
        host::directory(&folder.join(part))?;
    }
    let tar = cache.join("wordpress.tar");
    host::run(
        Command::new("tar").args(["--owner=0", "--group=0", "-C"]).arg(&folder).arg("-cf").arg(&tar).arg("."),
    )?;
    let content = fs::read(&tar).map_err(host::failed("read", &tar))?;
    host::remove(&folder)?;
    host::remove(&tar)?;
    Ok(content)
}
