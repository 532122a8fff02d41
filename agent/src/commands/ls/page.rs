//! The listing as text: a line a use where that fits the reader's terminal, else a volume below its app.

use crate::{
    commands::columns::{aligned, fit},
    listing::{Listing, UsedBy, Volume, uses::Volumes},
    service::short_name,
};

const HEADS: [&str; 10] =
    ["RACK", "APP", "SERVICE", "VOLUME", "STATE", "USED BY", "REVISION", "FROM", "TASKS", "SINCE"];
const SERVICE_HEADS: [&str; 4] = ["SERVICE", "ITS VOLUMES", "CODE", "REVISION"];
/// What is not known, or not there: every line has as many words.
const NOTHING: &str = "-";

/// A use of a volume by a revision, of all of its containers.
#[derive(Debug)]
struct Use<'a> {
    by: &'a UsedBy,
    read_only: bool,
    mounted: bool,
}

/// The page.
pub(super) fn text(listing: &Listing, width: Option<usize>) -> String {
    let mut page = String::new();
    let mut add = |lines: Vec<String>| lines.iter().for_each(|line| page.push_str(&format!("{line}\n")));
    let flat = aligned(HEADS, &listing.volumes.iter().flat_map(rows).collect::<Vec<_>>());
    if listing.volumes.is_empty() {
        add(vec!["no volumes".to_owned()]);
    } else if fit(&flat, width) {
        add(flat);
    } else {
        add(stacked(&listing.volumes));
    }
    // Those that mount what they declare are told by their volumes.
    let others = listing.services.iter().filter(|service| service.volumes != Volumes::Patched);
    let rows: Vec<[String; 4]> = others
        .map(|service| {
            let code = service.code.unwrap_or(NOTHING);
            [&service.service, service.volumes.name(), code, short_revision(&service.revision)]
                .map(str::to_owned)
        })
        .collect();
    if !rows.is_empty() {
        add(vec![String::new()]);
        add(aligned(SERVICE_HEADS, &rows));
    }
    page
}

/// What goes to stderr beside the page; the summary is the last line.
pub(super) fn beside(listing: &Listing, missing: &[String], summary: String) -> Vec<String> {
    let missing = missing.iter().map(|missing| format!("not known: {missing}"));
    let unreadable =
        listing.unreadable.iter().map(|file| format!("can't be read: {}: {}", file.record, file.why));
    let notes = listing.notes().into_iter().map(|note| format!("note: {note}"));
    missing.chain(unreadable).chain(notes).chain([summary]).collect()
}

/// A revision as `family:number`, of its ARN; `pipeline` stays.
fn short_revision(revision: &str) -> &str {
    short_name(revision)
}

/// A volume's uses: those of one revision in one.
fn uses(volume: &Volume) -> Vec<Use<'_>> {
    let mut uses: Vec<Use<'_>> = Vec::new();
    for by in &volume.used_by {
        let same = uses.iter_mut().find(|one| one.by.service == by.service && one.by.revision == by.revision);
        match same {
            Some(one) => {
                one.read_only &= by.read_only;
                one.mounted &= by.mounted;
            }
            None => uses.push(Use { by, read_only: by.read_only, mounted: by.mounted }),
        }
    }
    uses
}

impl Use<'_> {
    /// What the table says of it in brackets.
    fn remarks(&self) -> String {
        let read_only = if self.read_only { " (read-only)" } else { "" };
        let not_mounted = if self.mounted { "" } else { " (NOT MOUNTED)" };
        format!("{read_only}{not_mounted}")
    }
}

fn rows(volume: &Volume) -> Vec<[String; 10]> {
    let or = |text: Option<&str>| text.unwrap_or(NOTHING).to_owned();
    let row = |by: [String; 5]| {
        let [service, revision, from, tasks, since] = by;
        [
            or(volume.rack.as_deref()),
            or(volume.app.as_deref()),
            or(volume.service.as_deref()),
            volume.path.clone(),
            volume.state.name().to_owned(),
            service,
            revision,
            from,
            tasks,
            since,
        ]
    };
    let rows: Vec<_> = uses(volume)
        .iter()
        .map(|one| {
            row([
                format!("{}{}", one.by.service, one.remarks()),
                short_revision(&one.by.revision).to_owned(),
                or(one.by.source.as_deref().map(short_revision)),
                one.by.tasks.to_string(),
                or(one.by.since.as_deref()),
            ])
        })
        .collect();
    if rows.is_empty() { vec![row([NOTHING; 5].map(str::to_owned))] } else { rows }
}

/// An app, its volumes, and below each who uses it: each can be as long as it is, and a path is never cut.
fn stacked(volumes: &[Volume]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut last = None;
    for volume in volumes {
        let of = (volume.rack.as_deref(), volume.app.as_deref());
        if last != Some(of) {
            if last.is_some() {
                lines.push(String::new());
            }
            lines.push(match of {
                (Some(rack), Some(app)) => format!("rack {rack}, app {app}"),
                _ => "nobody's, as far as is known".to_owned(),
            });
            last = Some(of);
        }
        lines.push(format!("  {} {}", volume.state.name(), volume.path));
        for one in uses(volume) {
            let UsedBy { service, revision, source, tasks, since, .. } = one.by;
            let are = if *tasks == 1 { "task" } else { "tasks" };
            lines.push(format!("      {service}{}, {tasks} {are}", one.remarks()));
            let from = source.as_deref().filter(|source| source != revision);
            let from = from.map(|source| format!(" from {}", short_revision(source))).unwrap_or_default();
            let since = since.as_ref().map(|since| format!(", since {since}")).unwrap_or_default();
            lines.push(format!("      {}{from}{since}", short_revision(revision)));
        }
        if let (Some(at), Some(by)) = (&volume.made_at, &volume.made_by) {
            lines.push(format!("      made {at} by {by}"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::{Place, Service, State, Usage};

    fn volume(app: Option<&str>, path: &str, state: State, used_by: Vec<UsedBy>) -> Volume {
        Volume {
            rack: app.map(|_| "production".to_owned()),
            app: app.map(str::to_owned),
            service: path.split('/').nth(3).map(str::to_owned),
            path: path.to_owned(),
            state,
            directory: Place::There,
            usage: if used_by.is_empty() { Usage::Unused } else { Usage::Used },
            used_by,
            record: None,
            made_at: app.map(|_| "2026-01-02T03:04:05Z".to_owned()),
            made_by: app.map(|_| "i-0abc".to_owned()),
            owner: None,
            mode: None,
            asked_owner: None,
            asked_mode: None,
            first_use: None,
            why: None,
        }
    }

    fn used(service: &str, container: &str, revision: u32, read_only: bool, mounted: bool) -> UsedBy {
        let revision = format!("arn:aws:ecs:us-east-1:123456789012:task-definition/{service}:{revision}");
        UsedBy {
            service: service.to_owned(),
            container: container.to_owned(),
            target: "/assets".to_owned(),
            read_only,
            mounted,
            source: Some(if mounted { "pipeline".to_owned() } else { revision.clone() }),
            revision,
            tasks: 2,
            since: Some("2026-03-04T05:06:07Z".to_owned()),
        }
    }

    fn listing() -> Listing {
        let by = vec![
            used("web", "nginx", 4, true, true),
            used("web", "php", 4, true, true),
            used("worker", "worker", 7, false, false),
        ];
        let service = Service {
            service: "relative".to_owned(),
            volumes: Volumes::Refused,
            code: Some("relative-source"),
            reason: Some("no".to_owned()),
            revision: "arn:x:task-definition/relative:1".to_owned(),
            source: None,
            tasks: 0,
            since: None,
        };
        Listing {
            volumes: vec![
                volume(Some("shop"), "/volumes/production-shop/@volumes/assets", State::Used, by),
                volume(Some("shop"), "/volumes/production-shop/web/old", State::Orphan, Vec::new()),
                volume(None, "/volumes/backup", State::Unowned, Vec::new()),
            ],
            services: vec![service],
            ..Listing::default()
        }
    }

    #[test]
    fn a_line_a_use_where_there_is_room() {
        let expected = "\
RACK        APP   SERVICE   VOLUME                                    STATE    USED BY               REVISION  FROM      TASKS  SINCE
production  shop  @volumes  /volumes/production-shop/@volumes/assets  used     web (read-only)       web:4     pipeline  2      2026-03-04T05:06:07Z
production  shop  @volumes  /volumes/production-shop/@volumes/assets  used     worker (NOT MOUNTED)  worker:7  worker:7  2      2026-03-04T05:06:07Z
production  shop  web       /volumes/production-shop/web/old          orphan   -                     -         -         -      -
-           -     -         /volumes/backup                           unowned  -                     -         -         -      -

SERVICE   ITS VOLUMES  CODE             REVISION
relative  refused      relative-source  relative:1
";
        assert_eq!(text(&listing(), None), expected);
        assert_eq!(text(&listing(), Some(200)), expected);
    }

    #[test]
    fn a_terminal_gets_a_volume_below_its_app() {
        let expected = "\
rack production, app shop
  used /volumes/production-shop/@volumes/assets
      web (read-only), 2 tasks
      web:4 from pipeline, since 2026-03-04T05:06:07Z
      worker (NOT MOUNTED), 2 tasks
      worker:7, since 2026-03-04T05:06:07Z
      made 2026-01-02T03:04:05Z by i-0abc
  orphan /volumes/production-shop/web/old
      made 2026-01-02T03:04:05Z by i-0abc

nobody's, as far as is known
  unowned /volumes/backup

SERVICE   ITS VOLUMES  CODE             REVISION
relative  refused      relative-source  relative:1
";
        assert_eq!(text(&listing(), Some(80)), expected);
    }

    #[test]
    fn nothing_is_said_in_words() {
        assert_eq!(text(&Listing::default(), None), "no volumes\n");
        let missing = ["the share: it does not answer".to_owned()];
        assert_eq!(
            beside(&Listing::default(), &missing, Listing::default().summary()),
            ["not known: the share: it does not answer", "0 volumes"]
        );
    }
}
