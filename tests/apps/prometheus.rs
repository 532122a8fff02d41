//! Prometheus: not root, memory-mapped files, a lock on its folder.

use crate::place::{Application, Place, Seen};
use lab::Error;
use std::time::Instant;

pub(crate) const APPLICATION: Application = Application {
    name: "prometheus",
    told: "One task that scrapes itself each second, as nobody; replaced, and what it had scraped before is asked for.",
    images: &[("applications-prometheus", "prometheus/Dockerfile")],
    at_one_address: &[],
    story,
};

const SERVICE: &str = "prometheus";

fn story(place: &dyn Place) -> Result<Vec<Seen>, Error> {
    let begun = Instant::now();
    place.start(SERVICE, 1, &[])?;
    place.answers(SERVICE, "curl -s http://127.0.0.1:9090/-/ready", "Ready")?;
    let first = Seen::time("first start", begun);
    let looks = place.run(SERVICE, "stat -c '%U:%G %a' /prometheus; ls -d /prometheus/wal")?;
    let at_least = "curl -s -G 'http://127.0.0.1:9090/api/v1/query' --data-urlencode 'query=count_over_time(up[1h]) >= bool 20' | grep -o '\"[01]\"'";
    // Some more than are asked for afterwards: that question is about a whole second.
    place.answers(SERVICE, &at_least.replace("bool 20", "bool 25"), "\"1\"")?;
    let epoch = place.run(SERVICE, "date +%s")?;
    let begun = Instant::now();
    place.replace(SERVICE)?;
    place.answers(SERVICE, "curl -s http://127.0.0.1:9090/-/ready", "Ready")?;
    let again = Seen::time("replaced, and ready again", begun);
    // As of the moment before: nothing that was scraped later counts.
    let before = place.run(SERVICE, &at_least.replace("query'", &format!("query?time={epoch}'")))?;
    let corrupted =
        "curl -s http://127.0.0.1:9090/metrics | grep -E '^prometheus_tsdb_wal_corruptions_total'";
    Ok(vec![
        Seen::fact("folder, and what is in it", looks),
        Seen::fact("20 samples and more of before the replacement (\"1\": yes)", before),
        Seen::fact("corruptions of the write-ahead log", place.run(SERVICE, corrupted)?),
        first,
        again,
    ])
}
