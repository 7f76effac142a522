//! The options of the local driver: `type`, `o` and `device`, as `mount(8)` takes them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hull_runtime::bundle::MountOptions;
use hull_sys::mount::{Attributes, Propagation};

use crate::{Error, Result};

/// What a volume with options is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A folder of the host.
    Bind {
        /// Its path.
        path: PathBuf,
        /// With what is mounted below it.
        recursive: bool,
        /// Attributes of the mount.
        set: Attributes,
        /// How it passes mounts on.
        propagation: Option<Propagation>,
    },
    /// A file system of its own.
    FileSystem {
        /// `nfs`, `tmpfs`, ..
        kind: String,
        /// The device, or what stands in its place.
        device: String,
        /// The file system's options.
        options: Vec<(String, Option<String>)>,
        /// Attributes of the mount.
        set: Attributes,
    },
}

/// Refuses options that cannot be, in Docker's words where it has some.
///
/// # Errors
/// Options that are unknown, incomplete, or that hull does not do.
pub(super) fn check(name: &str, options: &BTreeMap<String, String>) -> Result<()> {
    let refuse = |why: String| {
        Err(Error::Volume {
            name: name.to_owned(),
            why,
        })
    };
    if let Some(unknown) = options
        .keys()
        .find(|key| !["type", "o", "device", "size"].contains(&key.as_str()))
    {
        return refuse(format!("invalid option: \"{unknown}\""));
    }
    if options.contains_key("size") {
        return refuse("quota size requested but no quota support".to_owned());
    }
    for (given, needed) in [
        ("device", ["type"].as_slice()),
        ("type", &["device"]),
        ("o", &["device", "type"]),
    ] {
        if let Some(missing) = needed.iter().find(|n| !options.contains_key(**n))
            && options.contains_key(given)
        {
            return refuse(format!("missing required option: \"{missing}\""));
        }
    }
    if options.values().any(|value| value.contains('\0')) {
        return refuse("an option holds a NUL byte".to_owned());
    }
    match read(options) {
        Ok(_) => Ok(()),
        Err(why) => refuse(why),
    }
}

/// Reads the options; `None` where there are none.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn read(options: &BTreeMap<String, String>) -> Result<Option<Kind>, String> {
    let text = |key: &str| options.get(key).map_or("", String::as_str);
    let (kind, device) = (text("type"), text("device"));
    if kind.is_empty() && device.is_empty() {
        return Ok(None);
    }
    let words: Vec<String> = text("o")
        .split(',')
        .filter(|w| !w.is_empty())
        .map(str::to_owned)
        .collect();
    let words = MountOptions::read(&words).map_err(|e| e.to_string())?;
    if words.idmap.is_some() {
        return Err("mount option `idmap` is an option of a mount, not of a volume".to_owned());
    }
    if kind == "bind" || words.bind.is_some() {
        if let Some((word, _)) = words.data.first() {
            return Err(format!("mount option `{word}` means nothing for a bind"));
        }
        if !device.starts_with('/') {
            return Err(format!("the device of a bind must be an absolute path, not `{device}`"));
        }
        return Ok(Some(Kind::Bind {
            path: PathBuf::from(device),
            recursive: words.bind.unwrap_or(false),
            set: words.set,
            propagation: words.propagation,
        }));
    }
    if kind.is_empty() || kind == "none" {
        return Err("a volume of type `none` needs the option `bind`".to_owned());
    }
    Ok(Some(Kind::FileSystem {
        kind: kind.to_owned(),
        device: device.to_owned(),
        options: words.data,
        set: words.set,
    }))
}

/// The options of a network file system with its server's address, which the kernel wants as a number and does not look
/// up: `addr=` is resolved, and made of the device where it is missing.
///
/// # Errors
/// If the server's name cannot be resolved.
pub(crate) fn with_address(
    kind: &str,
    device: &str,
    mut options: Vec<(String, Option<String>)>,
    resolve: impl Fn(&str) -> Result<String>,
) -> Result<Vec<(String, Option<String>)>> {
    if !matches!(kind, "nfs" | "nfs4" | "cifs" | "smb3") {
        return Ok(options);
    }
    let key = if kind.starts_with("nfs") { "addr" } else { "ip" };
    let given = options.iter_mut().find(|(k, _)| k == "addr" || k == key);
    match given {
        Some((_, Some(host))) => *host = resolve(host)?,
        Some(_) => {}
        None => {
            let host = match key {
                "addr" => device.split_once(":/").map(|(host, _)| host),
                _ => device.trim_start_matches('/').split('/').next(),
            };
            if let Some(host) = host.filter(|host| !host.is_empty()) {
                options.push((key.to_owned(), Some(resolve(host.trim_matches(['[', ']']))?)));
            }
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn options_are_refused_in_dockers_words() {
        let check = |pairs: &[(&str, &str)], expected: &str| {
            assert_eq!(
                check("vol", &map(pairs)).unwrap_err().to_string(),
                format!("create vol: {expected}")
            );
        };
        check(&[("foo", "bar")], "invalid option: \"foo\"");
        check(&[("type", "nfs")], "missing required option: \"device\"");
        check(&[("device", "/x")], "missing required option: \"type\"");
        check(&[("o", "ro")], "missing required option: \"device\"");
        check(&[("size", "10m")], "quota size requested but no quota support");
        check(
            &[("type", "none"), ("device", "/x")],
            "a volume of type `none` needs the option `bind`",
        );
        check(
            &[("type", "none"), ("device", "x"), ("o", "bind")],
            "the device of a bind must be an absolute path, not `x`",
        );
        check(
            &[("type", "none"), ("device", "/x"), ("o", "bind,uid=3")],
            "mount option `uid` means nothing for a bind",
        );
        check(
            &[("type", "tmpfs"), ("device", "tmpfs"), ("o", "remount")],
            "mount option `remount` is not supported",
        );
        check(
            &[("type", "tmpfs"), ("device", "tmp\0fs")],
            "an option holds a NUL byte",
        );
    }

    #[test]
    fn options_are_read() {
        let read = |pairs: &[(&str, &str)]| read(&map(pairs)).unwrap();
        assert_eq!(read(&[]), None);
        assert_eq!(
            read(&[("type", "none"), ("device", "/srv"), ("o", "rbind,ro,rslave")]),
            Some(Kind::Bind {
                path: "/srv".into(),
                recursive: true,
                set: Attributes::RDONLY,
                propagation: Some(Propagation::Slave),
            })
        );
        assert_eq!(
            read(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,uid=7,noexec")]),
            Some(Kind::FileSystem {
                kind: "tmpfs".to_owned(),
                device: "tmpfs".to_owned(),
                options: vec![
                    ("size".to_owned(), Some("1m".to_owned())),
                    ("uid".to_owned(), Some("7".to_owned()))
                ],
                set: Attributes::NOEXEC,
            })
        );
    }

    #[test]
    fn a_network_file_system_gets_its_servers_address() {
        let plan = |kind: &str, device: &str, o: &str| {
            let Some(Kind::FileSystem { options, .. }) =
                read(&map(&[("type", kind), ("device", device), ("o", o)])).unwrap()
            else {
                panic!("a file system")
            };
            let resolve = |host: &str| match host {
                "filer" => Ok("192.0.2.7".to_owned()),
                host if host.parse::<std::net::IpAddr>().is_ok() => Ok(host.to_owned()),
                host => Err(Error::Invalid(format!("no {host}"))),
            };
            with_address(kind, device, options, resolve).map(|options| {
                let words = options.iter().map(|(k, v)| match v {
                    Some(v) => format!("{k}={v}"),
                    None => k.clone(),
                });
                words.collect::<Vec<_>>().join(",")
            })
        };
        let check = |kind, device, o, expected: &str| assert_eq!(plan(kind, device, o).unwrap(), expected, "{o}");
        check(
            "nfs",
            ":/export",
            "addr=filer,nfsvers=4,soft",
            "addr=192.0.2.7,nfsvers=4,soft",
        );
        check("nfs4", "filer:/export", "vers=4.2", "vers=4.2,addr=192.0.2.7");
        check("nfs", "192.0.2.9:/export", "", "addr=192.0.2.9");
        check("nfs", "[2001:db8::1]:/export", "", "addr=2001:db8::1");
        check("cifs", "//filer/share", "username=x", "username=x,ip=192.0.2.7");
        check("tmpfs", "tmpfs", "size=1m", "size=1m");
        assert!(plan("nfs", "nowhere:/x", "").is_err());
    }
}
