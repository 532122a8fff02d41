//! Asks the share, by a child that can be killed, and ECS, at the agent's own pace.

use crate::{
    aws::{self, AwsError},
    commands::look::Look,
    config::{Config, ShareChoice},
    ecs::Ecs,
    inventory::{ListRequest, Listed, OWNERS, Owner, Page, PageRequest, Record},
    listing::{self, Cluster, Share, uses::Revision, uses::Uses, walk::Walk},
    missing_volumes::{CheckRequest, Checked, RECORDS, Unreadable},
    mount::VOLUMES_ROOT,
    names::Rack,
    observed::cluster_name,
    reading::Reader,
    share::AGENT_DIRECTORY,
    share_worker::{Request, Spare, WorkerError},
};
use serde::de::DeserializeOwned;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

/// A question to the share stops by itself after this, and is asked again from there.
const BUDGET: Duration = Duration::from_secs(5);
/// More than the budget, a large directory, and the second look at what seems wrong: a share that takes longer does not answer.
const DEADLINE: Duration = Duration::from_secs(30);

/// What both sides tell.
#[derive(Debug, Default)]
pub(super) struct Sides {
    /// The rack, where it is known.
    pub rack: Option<Rack>,
    /// The cluster, as it is configured.
    pub cluster_name: Option<String>,
    /// What the share's marker names.
    pub file_system: Option<String>,
    /// The share, if it answers.
    pub share: Option<Share>,
    /// The cluster's services, if ECS answers.
    pub cluster: Option<Cluster>,
    /// What is missing because a side, or a part of it, can't be asked.
    pub missing: Vec<String>,
}

/// Asks both.
pub(super) async fn sides(look: &Look, config: &Config, file: &str) -> Sides {
    let mut sides = Sides {
        cluster_name: look.observed.cluster(config),
        rack: look.observed.rack(config, file).ok(),
        ..Sides::default()
    };
    match in_cluster(look, config, file).await {
        Ok(cluster) => {
            sides
                .missing
                .extend(cluster.incomplete.iter().map(|why| format!("what all services use: {why}")));
            sides.cluster = Some(cluster);
        }
        Err(why) => sides.missing.push(format!("what services use: {why}")),
    }
    let services = sides.cluster.as_ref().map(|cluster| cluster.services.as_slice()).unwrap_or_default();
    match on_share(look, config, listing::used_paths(services), &mut sides.file_system).await {
        Ok(share) => sides.share = Some(share),
        Err(why) => sides.missing.push(format!("the share: {why}")),
    }
    if let (Some(ShareChoice::FileSystem(id)), Some(marker)) = (&config.share, &sides.file_system)
        && id != marker
    {
        sides.missing.push(format!(
            "whether this is the right share: its marker names {marker}, the configuration {id} (`volumes-agent doctor`)"
        ));
    }
    sides
}

async fn in_cluster(look: &Look, config: &Config, file: &str) -> Result<Cluster, String> {
    let observed = &look.observed;
    let rack = observed.rack(config, file)?;
    let cluster = observed.cluster(config).ok_or("the cluster is not known: give --cluster")?;
    let region = observed.region(config).ok_or("the Region is not known: give --region")?;
    let ecs = Ecs::new(&aws::connect(&region).await);
    let services = ecs.services(&cluster).await.map_err(|error| error.to_string())?;
    let mut revisions: HashMap<(String, bool), Arc<Revision>> = HashMap::new();
    let mut incomplete = None;
    'services: for service in &services {
        for deployment in &service.deployments {
            let key = (deployment.task_definition.clone(), service.is_daemon);
            if revisions.contains_key(&key) {
                continue;
            }
            let reader = Reader {
                rack: &rack,
                host_paths: &config.host_paths,
                is_daemon: service.is_daemon,
                fills: true,
            };
            let revision = match ecs.task_definition(&key.0).await {
                Ok(answer) => Revision::read(&reader, &key.0, answer),
                // It is about this revision alone.
                Err(error @ (AwsError::Refused { .. } | AwsError::Garbled { .. })) => {
                    Revision::unreadable("refused-by-aws", error.to_string())
                }
                Err(error) => {
                    incomplete = Some(error.to_string());
                    break 'services;
                }
            };
            revisions.insert(key, Arc::new(revision));
        }
    }
    let uses = services.iter().map(|service| {
        Uses::new(service, |arn| revisions.get(&(arn.to_owned(), service.is_daemon)).cloned())
    });
    Ok(Cluster { services: uses.collect(), rack, incomplete })
}

async fn on_share(
    look: &Look,
    config: &Config,
    used: BTreeSet<String>,
    file_system: &mut Option<String>,
) -> Result<Share, String> {
    if look.observed.mounted.is_none() {
        return Err(format!("nothing is mounted at {VOLUMES_ROOT} here"));
    }
    if !look.share_answers {
        return Err("it does not answer".to_owned());
    }
    let mut found = shelves(file_system, used).await.map_err(|error| error.to_string())?;
    found.other_clusters.retain(|name| !is_this_cluster(name, look, config));
    Ok(found)
}

/// Whether a lock's name, `<region>-<account>-<cluster>`, is this cluster's.
fn is_this_cluster(name: &str, look: &Look, config: &Config) -> bool {
    if let Some(own) = look.observed.lock_name(config) {
        return own == name;
    }
    let (Some(region), Some(cluster)) = (look.observed.region(config), look.observed.cluster(config)) else {
        return false;
    };
    let rest = name.strip_prefix(&region).and_then(|rest| rest.strip_prefix('-'));
    rest.and_then(|rest| rest.split_once('-')).is_some_and(|(_, own)| own == cluster_name(&cluster))
}

async fn shelves(file_system: &mut Option<String>, used: BTreeSet<String>) -> Result<Share, WorkerError> {
    let worker = Spare::default();
    *file_system = worker.ask_within(&Request::ReadMarker, DEADLINE).await?;
    let mut share = Share {
        other_clusters: worker.ask_within(&Request::ListLeaders, DEADLINE).await?,
        ..Share::default()
    };
    let owners = pages::<Owner>(&worker, Request::ReadOwners, OWNERS, &mut share.unreadable).await?;
    share.owners = owners.into_iter().map(|(_, owner)| owner).collect();
    let records = pages::<Record>(&worker, Request::ReadRecords, RECORDS, &mut share.unreadable).await?;
    for (name, record) in records {
        if listing::is_layout_path(&record.path) {
            share.records.push((name, record));
        } else {
            let why = format!("its path `{}` is none of a volume's", record.path);
            share.unreadable.push(unreadable(RECORDS, name, why));
        }
    }
    let known = share.records.iter().map(|(_, record)| record.path.clone()).chain(used).collect();
    let owned = share.owners.iter().map(|owner| format!("{}-{}", owner.rack, owner.app)).collect();
    let mut walk = Walk::new(known, owned);
    while !walk.next().is_empty() {
        let request = Request::ListDirectories(ListRequest::new(walk.next().to_vec(), BUDGET));
        let listed: Vec<Listed> = worker.ask_within(&request, DEADLINE).await?;
        if listed.is_empty() {
            // At least one is answered, or this would go on for ever.
            return Err(WorkerError::Ended(None));
        }
        walk.take(listed);
    }
    share.directories = walk.end();
    share.unreadable.append(&mut share.directories.unreadable);
    let suspects = listing::suspects(&share.records, &share.directories);
    let mut after = None;
    while !suspects.is_empty() {
        let budget_ms = BUDGET.as_millis().try_into().unwrap_or(u64::MAX);
        let request = CheckRequest { after, budget_ms, only: Some(suspects.clone()) };
        let checked: Checked = worker.ask_within(&Request::CheckVolumes(request), DEADLINE).await?;
        share.missing.extend(checked.missing);
        after = checked.until;
        if after.is_none() {
            break;
        }
    }
    Ok(share)
}

/// All files of one of the agent's directories.
async fn pages<T: DeserializeOwned>(
    worker: &Spare,
    request: fn(PageRequest) -> Request,
    of: &str,
    all_unreadable: &mut Vec<Unreadable>,
) -> Result<Vec<(String, T)>, WorkerError> {
    let mut files = Vec::new();
    let mut next = PageRequest::first(BUDGET);
    loop {
        let page: Page<T> = worker.ask_within(&request(next), DEADLINE).await?;
        files.extend(page.files);
        all_unreadable.extend(page.unreadable.into_iter().map(|one| unreadable(of, one.record, one.why)));
        if page.until.is_none() {
            return Ok(files);
        }
        next = PageRequest { after: page.until, ..PageRequest::first(BUDGET) };
    }
}

fn unreadable(of: &str, name: String, why: String) -> Unreadable {
    listing::unreadable(&format!("{AGENT_DIRECTORY}/{of}/{name}"), why)
}
