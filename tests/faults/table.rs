//! docs/faults.md: the table, as the last run of each row saw it.

use crate::{kept, row::Row};
use lab::{Error, host, place};

const HEAD: &str = "# The fault matrix

Written by `make test-faults`, which makes each fault happen on a booted cluster ([the lab](lab.md): real NFS, kernel, systemd and
Docker), asserts what must hold, and puts down here what it saw. Don't edit it.

Times are in seconds since the fault, from the agent's own journal. Of the agent's settings only two differ from the defaults, to
save time: `probe_interval` is 2 s and `stall_deadline` 10 s (defaults: 5 s and 15 s). The NFS server's lease and grace period are 10 s
(EFS: longer). A *writer* is a container that appends numbered records to a file of its volume, each with `fsync`, and notes on the
instance's own disk, or outside of it, that a record was acknowledged; afterwards each acknowledged record is looked for in the
server's own files.

| fault | states, and what the agent says | what containers see | lost |
|---|---|---|---|
";

/// Writes the page.
pub(crate) fn write(rows: &[(&Row, kept::Remembered)]) -> Result<(), Error> {
    let mut page = HEAD.to_owned();
    for (row, kept::Remembered { seen, .. }) in rows {
        let cells = [row.told, &seen.states, &seen.containers, &seen.lost].map(cell);
        page += &format!("| {} |\n", cells.join(" | "));
    }
    let minutes = rows.iter().map(|(_, result)| result.seconds).sum::<f64>() / 60.0;
    page += &format!(
        "\nAll rows were seen with the same programs on the instances. They took {minutes:.0} minutes, those of one instance two at a time.\n"
    );
    host::write(&place::repository().join("docs/faults.md"), page)
}

/// Text as a table's cell takes it.
fn cell(text: &str) -> String {
    text.trim().replace('|', "\\|").replace('\n', "<br>")
}
