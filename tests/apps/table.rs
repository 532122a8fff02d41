//! docs/applications.md: the tables, as the last whole run saw them.

use crate::place::{Application, Seen};
use lab::{Error, host, place};

const HEAD: &str = include_str!("head.md");

/// What an application saw.
pub(crate) struct Alike {
    /// Which.
    pub(crate) application: &'static Application,
    /// Under Docker Compose.
    pub(crate) there: Vec<Seen>,
    /// On the cluster.
    pub(crate) here: Vec<Seen>,
}

/// Writes the page.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn write(seen: &[Alike]) -> Result<(), Error> {
    let mut page = HEAD.to_owned();
    for Alike { application, there, here } in seen {
        page += &format!(
            "\n## {}\n{}\n\n| | Docker Compose, Docker's volumes | the cluster, the share |\n|---|---|---|\n",
            application.name, application.told
        );
        for (there, here) in there.iter().zip(here) {
            page += &format!("| {} | {} | {} |\n", there.what, cell(&there.seen), cell(&here.seen));
        }
    }
    host::write(&place::repository().join("docs/applications.md"), page)
}

/// Text as a table's cell takes it.
fn cell(text: &str) -> String {
    text.trim().replace('<', "&lt;").replace('|', "\\|").replace('\n', "<br>")
}
