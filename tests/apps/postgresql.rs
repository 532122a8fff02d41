//! PostgreSQL: refuses a folder that isn't its own and empty, and trusts fsync with its life.

use crate::place::{Application, Place, Seen};
use lab::{Error, expect};
use std::time::Instant;

pub(crate) const APPLICATION: Application = Application {
    name: "postgresql",
    told: "Its machine is killed while a client inserts rows one by one (under Docker Compose its container), and it recovers on the other \
           instance. Each row whose insertion was acknowledged has to be there.",
    images: &[("applications-postgresql", "postgresql/Dockerfile")],
    at_one_address: &[],
    story,
};

const SERVICE: &str = "db";

/// A client that inserts rows one by one until it can't, and tells the last one that the server has acknowledged.
const INSERTS: &str = "seq 1000000 | awk '{ print \"INSERT INTO records VALUES (\" $1 \");\"; print \"\\\\echo \" $1 }' | psql -qtA -v ON_ERROR_STOP=1 'host=ADDRESS user=postgres tcp_user_timeout=10000' 2> /dev/null | tail -n 1";

fn story(place: &dyn Place) -> Result<Vec<Seen>, Error> {
    let query = |sql: &str| format!("psql -qtA -U postgres -h 127.0.0.1 -c '{sql}'");
    let ask = |sql: &str| place.run(SERVICE, &query(sql));
    let begun = Instant::now();
    place.start(SERVICE, 1, &[])?;
    place.answers(SERVICE, &query("SELECT 4711"), "4711")?;
    let first = Seen::time("first start, initdb included", begun);
    let looks = place.run(SERVICE, "stat -c '%U:%G %a' \"$PGDATA\"")?;
    ask("CREATE TABLE records (n int PRIMARY KEY)")?;
    let address = place.first(SERVICE)?;
    let (acknowledged, recovered) = std::thread::scope(|scope| {
        let line = INSERTS.replace("ADDRESS", &address);
        let client = scope.spawn(move || place.elsewhere(SERVICE, APPLICATION.images[0].0, &line));
        let lost = place.answers(SERVICE, &query("SELECT count(*) > 200 FROM records"), "t").and_then(|()| {
            let begun = Instant::now();
            place.lose_machine(SERVICE)?;
            place.answers(SERVICE, &query("SELECT 4711"), "4711")?;
            Ok(Seen::time("killed, and recovered", begun))
        });
        let acknowledged = client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok::<_, Error>((acknowledged.trim().to_owned(), lost?))
    })?;
    let last: u64 = acknowledged.parse().unwrap_or_default();
    expect(last >= 200, "200 acknowledged rows and more", &*acknowledged)?;
    let there = ask(&format!("SELECT count(*) FROM records WHERE n <= {last}"))?;
    let gaps = ask("SELECT max(n) - count(*) FROM records")?;
    ask("INSERT INTO records VALUES (2000000)")?;
    place.replace(SERVICE)?;
    place.answers(SERVICE, &query("SELECT max(n) FROM records"), "2000000")?;
    Ok(vec![
        Seen::fact("folder", looks),
        Seen::fact(
            "acknowledged rows that are missing after recovery",
            format!("{}", last.saturating_sub(there.parse().unwrap_or_default())),
        ),
        Seen::fact("gaps", gaps),
        Seen::fact("a row of after the recovery, after a replacement", ask("SELECT max(n) FROM records")?),
        Seen { what: "rows acknowledged before", seen: acknowledged, must_agree: false },
        first,
        recovered,
    ])
}
