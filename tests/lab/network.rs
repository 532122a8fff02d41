//! The lab's network, inside its namespace: one bridge that is the router of both zones, the server of both mount targets, the
//! AWS endpoints' address and the instance metadata's; one tap for each guest.

use crate::{error::Error, host};

/// Addresses of the lab's side: one a zone, each the gateway and the mount target there. The first is the AWS endpoints' as well.
pub const GATEWAYS: [&str; 2] = ["10.77.0.1", "10.77.16.1"];
/// Bits of each zone's subnet.
pub const PREFIX: u8 = 20;
/// The zones' names.
pub const ZONES: [&str; 2] = ["us-east-1a", "us-east-1b"];
/// Where every EC2 instance finds its metadata.
pub const METADATA: &str = "169.254.169.254";
/// Where moto listens (EFS, EC2).
pub const MOTO_PORT: u16 = 5000;
/// Where the lab's ECS listens.
pub const ECS_PORT: u16 = 5001;

const BRIDGE: &str = "lab0";

/// Makes the bridge and its addresses.
///
/// # Errors
/// What `ip` says.
pub fn up() -> Result<(), Error> {
    host::sh("ip link set lo up")?;
    host::sh(&format!("ip link add {BRIDGE} type bridge forward_delay 0"))?;
    for gateway in GATEWAYS {
        host::sh(&format!("ip address add {gateway}/{PREFIX} dev {BRIDGE}"))?;
    }
    host::sh(&format!("ip address add {METADATA}/32 dev {BRIDGE}"))?;
    host::sh(&format!("ip link set {BRIDGE} up")).map(drop)
}

/// Makes a guest's tap.
///
/// # Errors
/// What `ip` says.
pub fn tap(name: &str) -> Result<(), Error> {
    host::sh(&format!("ip tuntap add {name} mode tap"))?;
    host::sh(&format!("ip link set {name} master {BRIDGE} up")).map(drop)
}

/// A partition: takes a guest off the bridge or puts it back. Its own end of the link stays up: a tap that is down is an error to the
/// guest's driver, which doesn't come back from it.
///
/// # Errors
/// What `ip` says.
pub fn connect(tap: &str, connected: bool) -> Result<(), Error> {
    let bridge = if connected { format!("master {BRIDGE}") } else { "nomaster".to_owned() };
    host::sh(&format!("ip link set {tap} {bridge}")).map(drop)
}

/// Gives the lab's side one more address, or takes it away again: a mount target that comes and goes.
///
/// # Errors
/// What `ip` says.
pub fn address(address: &str, there: bool) -> Result<(), Error> {
    host::sh(&format!("ip address {} {address}/{PREFIX} dev {BRIDGE}", if there { "add" } else { "delete" }))
        .map(drop)
}
