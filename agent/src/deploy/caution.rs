//! What is done as asked, and may not be what was meant: warnings that need more than one entry to see.
//!
//! Rules and their reasons: docs/codes.md. What is known of an image is given; nothing is looked up here.

use super::{Decision, Planned};
use crate::{
    compose::{Compose, Service},
    layout::{Kind, Place, Volume, is_within},
    problem::Problem,
};
use std::collections::{HashMap, HashSet};

/// What an image says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// `VOLUME`: the paths that Docker gives a volume of their own.
    pub volumes: Vec<String>,
    /// `USER`; empty for root.
    pub user: String,
}

/// Images by the name that a compose file calls them.
pub type Images = HashMap<String, Image>;

/// Databases by their image's last name, with the paths of what they keep: one process may open it. Source: the images' Dockerfiles.
const DATABASES: [(&str, &[&str]); 24] = [
    ("postgres", &["/var/lib/postgresql"]),
    ("postgresql", &["/bitnami/postgresql", "/var/lib/postgresql"]),
    ("postgis", &["/var/lib/postgresql"]),
    ("pgvector", &["/var/lib/postgresql"]),
    ("timescaledb", &["/var/lib/postgresql", "/home/postgres/pgdata"]),
    ("mysql", &["/var/lib/mysql", "/bitnami/mysql"]),
    ("mysql-server", &["/var/lib/mysql"]),
    ("mariadb", &["/var/lib/mysql", "/bitnami/mariadb"]),
    ("percona", &["/var/lib/mysql"]),
    ("mongo", &["/data/db"]),
    ("mongodb", &["/bitnami/mongodb", "/data/db"]),
    ("redis", &["/data", "/bitnami/redis"]),
    ("valkey", &["/data"]),
    ("elasticsearch", &["/usr/share/elasticsearch/data", "/bitnami/elasticsearch"]),
    ("opensearch", &["/usr/share/opensearch/data"]),
    ("influxdb", &["/var/lib/influxdb", "/var/lib/influxdb2"]),
    ("rabbitmq", &["/var/lib/rabbitmq"]),
    ("neo4j", &["/data"]),
    ("cassandra", &["/var/lib/cassandra"]),
    ("clickhouse-server", &["/var/lib/clickhouse"]),
    ("couchdb", &["/opt/couchdb/data"]),
    ("solr", &["/var/solr"]),
    ("etcd", &["/bitnami/etcd", "/etcd-data"]),
    ("prometheus", &["/prometheus"]),
];

/// Images that don't run as root, for those that are not at hand; without registry, tag and digest. Source: their Dockerfiles.
const NOT_ROOT: [(&str, &str); 18] = [
    ("jenkins/jenkins", "1000"),
    ("grafana/grafana", "472"),
    ("grafana/grafana-oss", "472"),
    ("grafana/grafana-enterprise", "472"),
    ("grafana/loki", "10001"),
    ("prom/prometheus", "65534"),
    ("elasticsearch", "1000"),
    ("elasticsearch/elasticsearch", "1000"),
    ("kibana", "1000"),
    ("kibana/kibana", "1000"),
    ("logstash", "1000"),
    ("logstash/logstash", "1000"),
    ("opensearchproject/opensearch", "1000"),
    ("sonarqube", "1000"),
    ("sonatype/nexus3", "200"),
    ("nodered/node-red", "1000"),
    ("n8nio/n8n", "1000"),
    ("odoo", "odoo"),
];

/// An image's repository without its registry, tag and digest.
fn repository(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    let name = match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => rest,
        _ => name,
    };
    let name = name.strip_prefix("library/").unwrap_or(name);
    name.split(':').next().unwrap_or(name)
}

/// The last part of that: what an image is called, whoever made it.
fn last_name(image: &str) -> &str {
    let repository = repository(image);
    repository.rsplit('/').next().unwrap_or(repository)
}

/// Services with volumes that no active profile has.
pub(super) fn inactive<'a>(compose: &'a Compose, place: Place<'_>) -> impl Iterator<Item = Problem> + 'a {
    let why = match place {
        Place::Deployed { .. } => "if it is deployed all the same, nothing of what it writes is kept",
        Place::Local { .. } => {
            "its folders are not in this plan; `start` makes them all the same, for when the service is started by its name"
        }
    };
    let has_volumes = |service: &&Service| {
        let lists = [service.entries.len(), service.tmpfs.len(), service.volumes_from.len()];
        !service.is_active && lists.iter().any(|length| *length > 0)
    };
    compose.services.iter().filter(has_volumes).map(move |service| {
        let profiles: Vec<String> = service.profiles.iter().map(|profile| format!("`{profile}`")).collect();
        let reason = format!(
            "it is left out with its volumes: it runs with the profile {} alone, which is not active",
            profiles.join(" or ")
        );
        let profile = service.profiles.first().map_or("NAME", String::as_str);
        let help = format!("to have it as well, add `--profile {profile}`");
        Problem::warning("inactive-service", reason, help).why(why).at(&service.place).service(&service.name)
    })
}

/// The database that a service runs, by its image's last name, and where it keeps its files.
fn database(service: &Service) -> Option<(&'static str, &'static [&'static str])> {
    let name = last_name(service.image.as_ref()?);
    DATABASES.into_iter().find(|(known, _)| *known == name)
}

/// A volume in which a database keeps its files.
#[derive(Debug, Clone, Copy)]
pub struct DatabaseFiles<'a> {
    /// The volume.
    pub planned: &'a Planned,
    /// The database, by its image's last name.
    pub name: &'static str,
    service: &'a Service,
}

impl DatabaseFiles<'_> {
    /// A warning of more than one task that would open them.
    pub fn several_tasks(&self, reason: String, help: impl Into<String>) -> Problem {
        let why = "a database locks its files on its own machine, not across machines: two that write one directory destroy it";
        of_volume(self.planned, Problem::warning("several-database-tasks", reason, help).why(why))
    }
}

/// The volumes in which databases keep their files, where they can be written.
pub fn database_files<'a>(
    compose: &'a Compose,
    decision: &'a Decision,
) -> impl Iterator<Item = DatabaseFiles<'a>> {
    let services: HashMap<&str, &Service> =
        compose.active().map(|service| (service.name.as_str(), service)).collect();
    decision.volumes.iter().filter_map(move |planned| {
        let service = *services.get(planned.service.as_str())?;
        let (name, paths) = database(service)?;
        let Volume { target, kind, read_only, folded_into, .. } = &planned.volume;
        let is_data = paths.iter().any(|path| is_within(target, path) || is_within(path, target));
        let is_kept = matches!(kind, Kind::Service | Kind::Named | Kind::Host);
        let is_own = is_data && is_kept && !read_only && folded_into.is_none();
        is_own.then_some(DatabaseFiles { planned, name, service })
    })
}

/// Databases whose files would be opened by more than one task.
pub(super) fn several_database_tasks(compose: &Compose, decision: &Decision) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut first_by_source: HashMap<&str, &Planned> = HashMap::new();
    for files in database_files(compose, decision) {
        let DatabaseFiles { planned, name, service } = files;
        if let Some(replicas) = service.replicas.as_ref().filter(|replicas| replicas.count > 1) {
            let reason = format!(
                "{} tasks of the database `{name}` would open one directory at `{}`",
                replicas.count, planned.volume.target
            );
            let help = "run one; to have more, let the database replicate, with a volume for each node";
            problems
                .push(files.several_tasks(reason, help).see(&replicas.place, "so many are asked for here"));
        }
        match first_by_source.get(planned.volume.source.as_str()) {
            Some(first) if first.service != planned.service => {
                let reason = format!(
                    "its database `{name}` would open the directory that the one of the service `{}` opens",
                    first.service
                );
                let help = "give each a volume of its own";
                problems.push(files.several_tasks(reason, help).see(&first.place, "the other one"));
            }
            Some(_) => {}
            None => drop(first_by_source.insert(&planned.volume.source, planned)),
        }
    }
    problems
}

fn of_volume(planned: &Planned, problem: Problem) -> Problem {
    let mut problem = problem.at(&planned.place).service(planned.service.as_str());
    problem.declaration = Some(planned.volume.declaration.clone());
    problem.resolved.clone_from(&planned.resolved);
    problem
}

/// Services that run as somebody else than root, and write to a directory that is root's at first: one that doesn't begin as the image has it,
/// or whose process is not the image's own user.
pub(super) fn not_root(compose: &Compose, decision: &Decision, images: &Images) -> Vec<Problem> {
    let say_user: HashSet<&str> = compose
        .active()
        .filter(|service| service.user.as_ref().is_some_and(|user| !user.is_empty()))
        .map(|service| service.name.as_str())
        .collect();
    let mut first_of: HashMap<&str, &Planned> = HashMap::new();
    for planned in &decision.volumes {
        let volume = &planned.volume;
        let is_written = volume.relative.is_some() && !volume.read_only && volume.folded_into.is_none();
        let is_the_images =
            volume.first_use.content.is_of_the_image() && !say_user.contains(planned.service.as_str());
        if is_written && !is_the_images && volume.first_use.owner.is_none() {
            first_of.entry(planned.service.as_str()).or_insert(planned);
        }
    }
    let warn = |service: &Service| {
        let planned = *first_of.get(service.name.as_str())?;
        let (who, user) = runs_as(service, images)?;
        let (uid, gid) = user.split_once(':').unwrap_or((&user, "0"));
        if ["", "root"].contains(&uid) || uid.parse() == Ok(0) {
            return None;
        }
        let is_number = [uid, gid].iter().all(|part| part.parse::<u32>().is_ok());
        let owner = if is_number { format!("{uid}:{gid}") } else { "UID:GID".to_owned() };
        let Volume { source, target, first_use, .. } = &planned.volume;
        let unless =
            if first_use.content.is_of_the_image() { ", unless the image has it otherwise" } else { "" };
        let reason =
            format!("{who} runs as `{user}`, and the directory at `{target}` is root's at first{unless}");
        let help = format!(
            "say whose it is, by `x-volumes: {{ owner: \"{owner}\" }}` in the service; one that is there already is given away by `volumes-agent chown {source} {owner}` on an instance"
        );
        let why = "whoever is not root can't write there, and many programs don't start then";
        Some(of_volume(planned, Problem::warning("non-root-image", reason, help).why(why)))
    };
    compose.active().filter_map(warn).collect()
}

/// As whom a service's process starts, and who says so.
fn runs_as(service: &Service, images: &Images) -> Option<(String, String)> {
    if let Some(user) = service.user.as_ref().filter(|user| !user.is_empty()) {
        return Some(("it".to_owned(), user.clone()));
    }
    let image = service.image.as_ref()?;
    let user = match images.get(image) {
        Some(known) => known.user.clone(),
        None => NOT_ROOT.into_iter().find(|(name, _)| *name == repository(image))?.1.to_owned(),
    };
    Some((format!("its image `{image}`"), user))
}

/// Volumes that an image asks for and no entry covers.
pub(super) fn uncovered(compose: &Compose, decision: &Decision, images: &Images) -> Vec<Problem> {
    let mut targets: HashMap<&str, Vec<&str>> = HashMap::new();
    for planned in &decision.volumes {
        targets.entry(planned.service.as_str()).or_default().push(&planned.volume.target);
    }
    let mut problems = Vec::new();
    for service in compose.active() {
        let Some((image, known)) = service.image.as_ref().and_then(|name| Some((name, images.get(name)?)))
        else {
            continue;
        };
        // What is refused is told already.
        let refused = service.entries.iter().map(|entry| crate::path::clean(&entry.declaration.target));
        let refused: Vec<String> = refused.collect();
        let own = targets.get(service.name.as_str()).into_iter().flatten().copied();
        let covering: Vec<&str> = own.chain(refused.iter().map(String::as_str)).collect();
        for path in &known.volumes {
            let path = crate::path::clean(path);
            if covering.iter().any(|target| is_within(&path, target)) {
                continue;
            }
            let reason =
                format!("its image `{image}` has a volume of its own at `{path}`, and no entry covers it");
            let help = match covering.iter().find(|target| is_within(target, &path)) {
                Some(inside) => format!(
                    "`{inside}` lies inside it and covers a part of it at most: write `{path}` instead, if that is where the data is"
                ),
                None => format!("to keep what is written there, add `- {path}` to the service's `volumes`"),
            };
            let problem = Problem::warning("uncovered-image-volume", reason, help).why(
                "what is written there lives as long as the container, and is gone with the next deploy",
            );
            problems.push(problem.at(&service.place).service(&service.name));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_by_its_last_name() {
        for (image, name) in [
            ("postgres", "postgres"),
            ("postgres:16-alpine", "postgres"),
            ("docker.io/library/postgres@sha256:abc", "postgres"),
            ("localhost:5000/team/postgres:16@sha256:abc", "postgres"),
            ("localhost:5000/postgres", "postgres"),
            ("", ""),
        ] {
            assert_eq!(last_name(image), name, "{image}");
        }
        assert_eq!(
            repository("docker.elastic.co/elasticsearch/elasticsearch:8@sha256:0"),
            "elasticsearch/elasticsearch"
        );
        assert_eq!(repository("bitnami/jenkins"), "bitnami/jenkins", "another one than jenkins/jenkins");
    }
}
