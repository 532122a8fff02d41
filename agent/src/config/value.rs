//! The text of a value, understood; the error is what is allowed instead.

use super::{MountFlag, ShareChoice};
use std::time::Duration;

pub(super) fn not_empty(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("it can't be empty".to_owned()) } else { Ok(text.to_owned()) }
}

pub(super) fn file_system(text: &str) -> Result<ShareChoice, String> {
    let id = text.strip_prefix("fs-").unwrap_or_default();
    if (8..=40).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(ShareChoice::FileSystem(text.to_owned()))
    } else {
        Err("an EFS file system's id, as in fs-0123456789abcdef0".to_owned())
    }
}

pub(super) fn tag(text: &str) -> Result<ShareChoice, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            Ok(ShareChoice::Tag { key: key.to_owned(), value: value.to_owned() })
        }
        _ => Err("a tag as key=value, as in convox.rack=production".to_owned()),
    }
}

/// `address:/export`; an IPv6 address in brackets. The export goes into mount(2)'s source, so nothing odd gets in.
pub(super) fn nfs_server(text: &str) -> Result<ShareChoice, String> {
    let allowed = || "address:/export with an IP address, as in 10.0.0.5:/ or [fd00::5]:/export".to_owned();
    let (address, export) = text.split_once(":/").ok_or_else(allowed)?;
    let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    let address = address.parse().map_err(|_| allowed())?;
    if export.chars().any(|c| c == ',' || c.is_control() || c.is_whitespace()) {
        return Err("an export without commas, blanks or control characters".to_owned());
    }
    Ok(ShareChoice::NfsServer { address, export: format!("/{export}") })
}

pub(super) fn mount_flags(text: &str) -> Result<Vec<MountFlag>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|flag| !flag.is_empty())
        .map(|flag| match flag {
            "nosuid" => Ok(MountFlag::Nosuid),
            "nodev" => Ok(MountFlag::Nodev),
            "noexec" => Ok(MountFlag::Noexec),
            "noatime" => Ok(MountFlag::Noatime),
            _ => Err("nosuid, nodev, noexec and noatime, separated by commas, or nothing".to_owned()),
        })
        .collect()
}

pub(super) fn host_paths(text: &str) -> Result<Vec<String>, String> {
    let paths: Vec<String> =
        text.split(',').map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned).collect();
    if paths.iter().all(|path| path.starts_with('/')) {
        Ok(paths)
    } else {
        Err("absolute paths, separated by commas".to_owned())
    }
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("`on` or `off`".to_owned()),
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time >= Duration::from_millis(100) && time <= Duration::from_secs(3600) => Ok(time),
        _ => Err("a time from 100ms to 1h, as in 5s".to_owned()),
    }
}

/// Shorter ones would move tasks for what a hard mount waits out.
pub(super) fn drain_after(text: &str) -> Result<Option<Duration>, String> {
    let (least, most) = (Duration::from_secs(10), Duration::from_secs(24 * 3600));
    match humantime::parse_duration(text) {
        _ if text == "off" => Ok(None),
        Ok(time) if (least..=most).contains(&time) => Ok(Some(time)),
        _ => Err("`off`, or a time from 10s to 24h, as in 10m".to_owned()),
    }
}
