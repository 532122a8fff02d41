//! `volumes-agent config` against the Go Docker Compose, on the largest file of a corpus: time and memory, as ratios in one run.
//!
//! `make bench` runs it. Each measured run is a child of a process of its own, so that the kernel's peak of resident memory is that
//! child's alone. Both programs take turns, so that whatever else the machine does meets both.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

const ROUNDS: usize = 21;

/// One run.
#[derive(Clone, Copy)]
struct Sample {
    milliseconds: f64,
    kibibytes: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [first, command @ ..] = arguments.as_slice()
        && first == "--one"
    {
        return one(command);
    }
    let corpus = env::var_os("CORPUS")
        .map(PathBuf::from)
        .ok_or("say where the corpus is: CORPUS=FOLDER make bench")?;
    let peer = env::var_os("PEER").map(PathBuf::from).ok_or("say where docker-compose is: PEER=FILE")?;
    let file = largest(&corpus.join("cases"))?;
    let ours = fs::canonicalize("../target/release/volumes-agent")?;
    let compose = ["-f", file.to_str().ok_or("a path that isn't UTF-8")?];
    let ours = [&[text(&ours)?], ["config", "--profile", "*"].as_slice(), &compose].concat();
    let theirs =
        [&[text(&peer)?], compose.as_slice(), &["--profile", "*", "config", "--format", "json"]].concat();
    let mut samples = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        for (program, samples) in [&ours, &theirs].into_iter().zip(&mut samples) {
            let sample = measured(program)?;
            // The first one finds a cold cache.
            if round > 0 {
                samples.push(sample);
            }
        }
    }
    let [ours, theirs] = samples;
    let size = fs::metadata(&file)?.len();
    let version = Command::new(&peer).args(["version", "--short"]).output()?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    println(&format!(
        "`config`, a compose file of {size} bytes, {ROUNDS} runs each in turns (minimum, median, maximum):"
    ));
    row("volumes-agent", &ours);
    row(&format!("docker-compose {version}"), &theirs);
    println(&format!(
        "ratio of the medians: time {:.3}, memory {:.3}",
        median(&ours, |sample| sample.milliseconds) / median(&theirs, |sample| sample.milliseconds),
        median(&ours, |sample| sample.kibibytes) / median(&theirs, |sample| sample.kibibytes),
    ));
    Ok(())
}

/// Runs a command once and prints its time and its peak of resident memory (getrusage(2), RUSAGE_CHILDREN).
fn one(command: &[String]) -> Result<(), Box<dyn Error>> {
    let (program, arguments) = command.split_first().ok_or("no command")?;
    let begun = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    let milliseconds = begun.elapsed().as_secs_f64() * 1e3;
    if !status.success() {
        return Err(format!("{program} ended with {status}").into());
    }
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN)?;
    println(&format!("{milliseconds} {}", usage.max_rss()));
    Ok(())
}

fn measured(command: &[&str]) -> Result<Sample, Box<dyn Error>> {
    let output = Command::new(env::current_exe()?).arg("--one").args(command).output()?;
    let text = String::from_utf8(output.stdout)?;
    match text.trim().split_once(' ') {
        Some((time, memory)) => Ok(Sample { milliseconds: time.parse()?, kibibytes: memory.parse()? }),
        None => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// The largest compose file below a folder.
fn largest(folder: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let mut found: Option<(u64, PathBuf)> = None;
    for case in fs::read_dir(folder)? {
        for entry in fs::read_dir(case?.path())? {
            let (path, size) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?.len())))?;
            let is_yaml = path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml");
            if is_yaml && found.as_ref().is_none_or(|(largest, _)| size > *largest) {
                found = Some((size, path));
            }
        }
    }
    found.map(|(_, path)| path).ok_or_else(|| format!("{} has no compose file", folder.display()).into())
}

fn text(path: &Path) -> Result<&str, Box<dyn Error>> {
    path.to_str().ok_or_else(|| format!("{} isn't UTF-8", path.display()).into())
}

fn sorted(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> Vec<f64> {
    let mut values: Vec<f64> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    sorted(samples, of)[samples.len() / 2]
}

fn row(name: &str, samples: &[Sample]) {
    let three = |of: fn(&Sample) -> f64| {
        let values = sorted(samples, of);
        [values[0], values[values.len() / 2], values[values.len() - 1]]
    };
    let [t0, t1, t2] = three(|sample| sample.milliseconds);
    let [m0, m1, m2] = three(|sample| sample.kibibytes / 1024.0);
    println(&format!("{name:<24} {t0:8.1} {t1:8.1} {t2:8.1} ms {m0:8.1} {m1:8.1} {m2:8.1} MiB"));
}

#[allow(clippy::print_stdout)] // what a benchmark is for
fn println(line: &str) {
    println!("{line}");
}
