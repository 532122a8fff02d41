//! From which address the share is mounted: the mount target of the instance's own zone before any other, and what a mount from
//! an address is to the file system. Pure: the edges bring the addresses.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Addresses that a file system had before are remembered up to this number: mount targets are replaced by hand, seldom.
const MOST_FORMER: usize = 32;

/// How a mount target was learnt: what is worth most comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KnownFrom {
    /// The EFS API told it.
    Efs,
    /// The configuration names the server (`nfs_server`).
    Configuration,
    /// The file system's DNS name, while the API is out of reach.
    Dns,
    /// An earlier run of the agent on this instance wrote it to the disk.
    Memory,
}

impl KnownFrom {
    /// Whether it is the word of whoever decides, and not a stand-in for it.
    pub fn is_first_hand(self) -> bool {
        matches!(self, Self::Efs | Self::Configuration)
    }

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Efs => "told by EFS",
            Self::Configuration => "configured",
            Self::Dns => "found by its DNS name",
            Self::Memory => "the last one known on this instance",
        }
    }
}

/// What will be mounted, from where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountTarget {
    /// The file system's id, or `nfs:address:/export` for a plain NFS server: what the marker names.
    pub file_system: String,
    /// The server's address.
    pub address: IpAddr,
    /// The exported path.
    pub export: String,
    /// The zone the address is in; a plain server has none.
    pub zone: Option<String>,
    /// Every address under which the same file system may be mounted: any of these is the right one.
    pub all_addresses: Vec<IpAddr>,
    /// Addresses that were among them earlier: a mount from one of these is the right share, at an address that is no more.
    pub former_addresses: Vec<IpAddr>,
    /// How it was learnt.
    pub known_from: KnownFrom,
}

/// Where an instance is, as far as that matters to which mount target it takes.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The availability zone's name, as `us-east-1a`.
    pub zone: &'a str,
    /// The subnet of its first network interface, where metadata tells it.
    pub subnet: Option<&'a str>,
}

/// A mount target that can be mounted from now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its addresses: IPv4 before IPv6.
    pub addresses: Vec<IpAddr>,
    /// Its zone's name.
    pub zone: Option<String>,
    /// Its subnet's id.
    pub subnet: String,
}

/// What a mount from an address is to the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The address that would be chosen now.
    Chosen,
    /// Another address of the same file system.
    Another,
    /// An address that the file system had once and has no more.
    Former,
}

/// The target for an instance at `place`: its own subnet's, else its own zone's, else any other's, always the same one of several.
///
/// Traffic to another zone costs, and falls with that zone. `None`: there is no candidate.
pub fn choose(file_system: &str, candidates: &[Candidate], place: Place<'_>) -> Option<MountTarget> {
    let distance = |candidate: &&Candidate| {
        let own_subnet = place.subnet == Some(candidate.subnet.as_str());
        let own_zone = candidate.zone.as_deref() == Some(place.zone);
        (!own_subnet, !own_zone, candidate.addresses.first().copied())
    };
    let chosen =
        candidates.iter().filter(|candidate| !candidate.addresses.is_empty()).min_by_key(distance)?;
    let mut all_addresses: Vec<IpAddr> =
        candidates.iter().flat_map(|candidate| candidate.addresses.iter().copied()).collect();
    all_addresses.sort();
    Some(MountTarget {
        file_system: file_system.to_owned(),
        address: *chosen.addresses.first()?,
        export: "/".to_owned(),
        zone: chosen.zone.clone(),
        all_addresses,
        former_addresses: Vec::new(),
        known_from: KnownFrom::Efs,
    })
}

impl MountTarget {
    /// A plain NFS server is its own mount target, in no zone.
    pub fn plain_server(address: IpAddr, export: &str) -> Self {
        Self {
            file_system: format!("nfs:{address}:{export}"),
            address,
            export: export.to_owned(),
            zone: None,
            all_addresses: vec![address],
            former_addresses: Vec::new(),
            known_from: KnownFrom::Configuration,
        }
    }

    /// The target of a file system's DNS name, which resolves to the address in the asker's own zone.
    ///
    /// Source: Amazon EFS user guide, "Mounting on Amazon EC2 with a DNS name".
    pub fn of_dns_name(file_system: &str, address: IpAddr, zone: &str) -> Self {
        let plain = Self::plain_server(address, "/");
        Self {
            file_system: file_system.to_owned(),
            zone: Some(zone.to_owned()),
            known_from: KnownFrom::Dns,
            ..plain
        }
    }

    /// `address:/export`, as mount(2) and mountinfo write it.
    pub fn source(&self) -> String {
        source(self.address, &self.export)
    }

    /// What a mount from `address` is to this file system. `None`: nothing that is known of.
    pub fn standing(&self, address: IpAddr) -> Option<Standing> {
        if address == self.address {
            Some(Standing::Chosen)
        } else if self.all_addresses.contains(&address) {
            Some(Standing::Another)
        } else if self.former_addresses.contains(&address) {
            Some(Standing::Former)
        } else {
            None
        }
    }

    /// Every address that is or was the file system's.
    pub fn every_address(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.all_addresses.iter().chain(&self.former_addresses).copied()
    }

    /// Keeps in mind what was known before: addresses of the same file system that are no more among its own.
    ///
    /// A stand-in for EFS's word (DNS, memory) takes nothing away: it may know one address of several.
    pub fn after(mut self, before: Option<&Self>) -> Self {
        let Some(before) = before.filter(|before| before.file_system == self.file_system) else {
            return self;
        };
        if !self.known_from.is_first_hand() {
            for address in &before.all_addresses {
                if !self.all_addresses.contains(address) {
                    self.all_addresses.push(*address);
                }
            }
        }
        for address in before.all_addresses.iter().chain(&before.former_addresses) {
            if !self.all_addresses.contains(address)
                && !self.former_addresses.contains(address)
                && self.former_addresses.len() < MOST_FORMER
            {
                self.former_addresses.push(*address);
            }
        }
        self
    }

    /// Whether it is in the instance's own zone; unknown where one of them is not known.
    pub fn is_in(&self, zone: Option<&str>) -> Option<bool> {
        Some(self.zone.as_deref()? == zone?)
    }
}

/// `address:/export`, with IPv6 addresses in brackets.
pub fn source(address: IpAddr, export: &str) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}:{export}"),
        IpAddr::V6(address) => format!("[{address}]:{export}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn candidate(text: &str, zone: &str, subnet: &str) -> Candidate {
        Candidate { addresses: vec![address(text)], zone: Some(zone.to_owned()), subnet: subnet.to_owned() }
    }

    const HERE: Place<'_> = Place { zone: "b", subnet: Some("subnet-2") };

    #[test]
    fn the_own_zone_comes_first_and_another_one_is_better_than_none() {
        let (a, b) = (candidate("10.0.0.1", "a", "subnet-1"), candidate("10.0.1.1", "b", "subnet-9"));
        let chosen = choose("fs-1", &[a.clone(), b], HERE).unwrap();
        assert_eq!((chosen.address, chosen.zone.as_deref()), (address("10.0.1.1"), Some("b")));
        assert_eq!(chosen.is_in(Some("b")), Some(true));
        assert_eq!(chosen.all_addresses.len(), 2);
        let chosen = choose("fs-1", &[a], HERE).unwrap();
        assert_eq!((chosen.zone.as_deref(), chosen.is_in(Some("b"))), (Some("a"), Some(false)));
        assert_eq!(choose("fs-1", &[], HERE), None);
    }

    #[test]
    fn of_several_in_the_zone_the_own_subnets_is_taken() {
        let others = [candidate("10.0.1.1", "b", "subnet-1"), candidate("10.0.1.2", "b", "subnet-2")];
        assert_eq!(choose("fs-1", &others, HERE).unwrap().address, address("10.0.1.2"));
        let unknown = Place { subnet: None, ..HERE };
        assert_eq!(choose("fs-1", &others, unknown).unwrap().address, address("10.0.1.1"));
    }

    #[test]
    fn an_address_that_changed_is_remembered_as_a_former_one() {
        let before = choose("fs-1", &[candidate("10.0.0.1", "b", "s")], HERE).unwrap();
        let now = choose("fs-1", &[candidate("10.0.0.9", "b", "s")], HERE).unwrap().after(Some(&before));
        assert_eq!(now.standing(address("10.0.0.9")), Some(Standing::Chosen));
        assert_eq!(now.standing(address("10.0.0.1")), Some(Standing::Former));
        assert_eq!(now.standing(address("10.0.0.2")), None);
        let back = before.clone().after(Some(&now));
        assert_eq!(back.standing(address("10.0.0.1")), Some(Standing::Chosen));
        let other = choose("fs-2", &[candidate("10.0.0.9", "b", "s")], HERE).unwrap().after(Some(&before));
        assert_eq!(other.standing(address("10.0.0.1")), None, "another file system's");
    }

    #[test]
    fn a_stand_in_takes_no_address_away() {
        let both = [candidate("10.0.0.1", "a", "s"), candidate("10.0.1.1", "b", "t")];
        let known = choose("fs-1", &both, HERE).unwrap();
        let by_name = MountTarget::of_dns_name("fs-1", address("10.0.1.1"), "b").after(Some(&known));
        assert_eq!(by_name.standing(address("10.0.0.1")), Some(Standing::Another));
    }

    proptest! {
        /// However the candidates are ordered, every instance of a place takes the same one.
        #[test]
        fn the_order_of_the_answer_does_not_matter(mut octets in prop::collection::btree_set(1u8..250, 1..6).prop_map(Vec::from_iter), seed in any::<u64>()) {
            let of = |octets: &[u8]| -> Vec<Candidate> {
                octets.iter().map(|o| candidate(&format!("10.0.0.{o}"), if o % 2 == 0 { "a" } else { "b" }, "s")).collect()
            };
            let first = choose("fs-1", &of(&octets), HERE);
            let mut random = fastrand::Rng::with_seed(seed);
            random.shuffle(&mut octets);
            prop_assert_eq!(first, choose("fs-1", &of(&octets), HERE));
        }
    }
}
