//! Redis with an append-only file that is synchronised at each command.

use crate::place::{Application, Place, Seen};
use lab::Error;
use std::time::Instant;

pub(crate) const APPLICATION: Application = Application {
    name: "redis",
    told: "Append-only file, `appendfsync always`; killed (SIGKILL of the server) after 300 acknowledged commands, then replaced.",
    images: &[("applications-redis", "redis/Dockerfile")],
    at_one_address: &[],
    story,
};

const SERVICE: &str = "redis";

fn story(place: &dyn Place) -> Result<Vec<Seen>, Error> {
    let begun = Instant::now();
    place.start(SERVICE, 1, &[])?;
    place.answers(SERVICE, "redis-cli ping", "PONG")?;
    let first = Seen::time("first start", begun);
    let looks = place.run(SERVICE, "stat -c '%U:%G %a' /data; ls /data")?;
    let begun = Instant::now();
    let acknowledged =
        place.run(SERVICE, "for i in $(seq 300); do redis-cli rpush records $i; done | tail -n 1")?;
    let pushes = Seen::time("300 commands, each by a client of its own", begun);
    place.kill(SERVICE)?;
    place.answers(SERVICE, "redis-cli ping", "PONG")?;
    let after = place.run(SERVICE, "redis-cli llen records; redis-cli lindex records -1")?;
    place.run(SERVICE, "redis-cli bgrewriteaof")?;
    place.answers(SERVICE, "redis-cli info persistence", "aof_rewrite_in_progress:0")?;
    place.replace(SERVICE)?;
    place.answers(SERVICE, "redis-cli ping", "PONG")?;
    Ok(vec![
        Seen::fact("folder, and what is in it", looks),
        Seen::fact("acknowledged", acknowledged),
        Seen::fact("how many are there after SIGKILL, and the last", after),
        Seen::fact("after a rewrite and a replacement", place.run(SERVICE, "redis-cli llen records")?),
        first,
        pushes,
    ])
}
