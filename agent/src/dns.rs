//! The DNS name of an EFS file system, for when the EFS API doesn't answer.

use crate::port::NFS_PORT;
use std::{
    net::{IpAddr, ToSocketAddrs},
    time::Duration,
};

/// A resolver inside a VPC answers in milliseconds; libc's own patience with one that doesn't is several times five seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The names of the partitions' domains, by the prefix of their Regions (efs-utils, `efs-utils.conf`: `dns_name_suffix`).
const DOMAINS: [(&str, &str); 6] = [
    ("cn-", "amazonaws.com.cn"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isoe-", "cloud.adc-e.uk"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("eusc-", "amazonaws.eu"),
];

/// `fs-0123.efs.us-east-1.amazonaws.com`
pub fn name(file_system: &str, region: &str) -> String {
    let domain = DOMAINS.iter().find(|(prefix, _)| region.starts_with(prefix));
    format!("{file_system}.efs.{region}.{}", domain.map_or("amazonaws.com", |(_, domain)| domain))
}

/// The name's address: IPv4 before IPv6, since a dual-stack name may resolve to an address that nothing listens on
/// (aws/efs-utils#271).
///
/// libc's resolver can't be cut short, so it has a thread of its own, which nothing waits for when time is up.
///
/// # Errors
/// What the resolver says, or that it said nothing in time.
pub async fn look_up(name: &str) -> Result<IpAddr, String> {
    let (sender, answer) = tokio::sync::oneshot::channel();
    let asked = name.to_owned();
    let thread = std::thread::Builder::new().name("dns".to_owned()).spawn(move || {
        let found = (asked.as_str(), NFS_PORT).to_socket_addrs().map(Vec::from_iter);
        // Nobody waits any longer: time is up.
        drop(sender.send(found));
    });
    thread.map_err(|error| format!("{name}: the resolver can't be started: {error}"))?;
    let found = match tokio::time::timeout(ANSWER_WITHIN, answer).await {
        Ok(Ok(Ok(found))) => found,
        Ok(Ok(Err(error))) => return Err(format!("{name} does not resolve: {error}")),
        Ok(Err(_)) => return Err(format!("{name} does not resolve: the resolver ended without an answer")),
        Err(_) => {
            let waited = humantime::format_duration(ANSWER_WITHIN);
            return Err(format!("{name} does not resolve: the resolver said nothing for {waited}"));
        }
    };
    let addresses = found.iter().map(std::net::SocketAddr::ip);
    addresses.min_by_key(IpAddr::is_ipv6).ok_or_else(|| format!("{name} resolves to no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_its_domain() {
        for (region, expected) in [
            ("us-east-1", "fs-1.efs.us-east-1.amazonaws.com"),
            ("us-gov-west-1", "fs-1.efs.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", "fs-1.efs.cn-north-1.amazonaws.com.cn"),
            ("us-isob-east-1", "fs-1.efs.us-isob-east-1.sc2s.sgov.gov"),
        ] {
            assert_eq!(name("fs-1", region), expected);
        }
    }

    #[tokio::test]
    async fn a_name_that_nobody_knows_is_told_with_the_name() {
        let name = "fs-0.efs.nowhere.invalid";
        let error = look_up(name).await.unwrap_err();
        assert!(error.starts_with(name), "{error}");
        assert!(look_up("localhost").await.unwrap().is_loopback());
    }
}
