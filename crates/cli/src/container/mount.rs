//! `--mount`: one line of comma-separated values.

use std::path::Path;

use hull_spec::container::{BindOptions, DriverConfig, Mount, TmpfsOptions, VolumeOptions};

use crate::args::value::{parse_bool, parse_bytes, quote};

pub(super) fn check(text: &str) -> Result<(), String> {
    parse(text, Path::new("/")).map(drop)
}

/// Reads a mount. A source that begins with a dot is relative to `directory`.
pub(super) fn parse(text: &str, directory: &Path) -> Result<Mount, String> {
    let mut mount = Mount {
        kind: "volume".to_owned(),
        ..Mount::default()
    };
    for field in fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        set(&mut mount, &key, value, &field, directory)?;
    }
    validate(&mount)?;
    Ok(mount)
}

fn set(mount: &mut Mount, key: &str, value: Option<&str>, field: &str, directory: &Path) -> Result<(), String> {
    let Some(value) = value else {
        match key {
            "readonly" | "ro" => mount.read_only = true,
            "volume-nocopy" => volume(mount).no_copy = true,
            "bind-create-src" => bind(mount).create_mountpoint = true,
            "idmap" => mount.id_map = Some(String::new()),
            "chown" | "u" => mount.chown = true,
            "bind-nonrecursive" => return Err(BIND_NONRECURSIVE.to_owned()),
            _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
        }
        return Ok(());
    };
    let flag = || parse_bool(value).ok_or_else(|| format!("invalid value for {key}: {value}"));
    match key {
        "type" => mount.kind = value.to_lowercase(),
        "source" | "src" => mount.source = super::volume::absolute(value, directory),
        "target" | "dst" | "destination" => value.clone_into(&mut mount.target),
        "readonly" | "ro" => mount.read_only = flag()?,
        "consistency" => mount.consistency = value.to_lowercase(),
        "bind-propagation" => bind(mount).propagation = value.to_lowercase(),
        "bind-nonrecursive" => return Err(BIND_NONRECURSIVE.to_owned()),
        "bind-recursive" => match value {
            "enabled" => {}
            "disabled" => bind(mount).non_recursive = true,
            "writable" => bind(mount).read_only_non_recursive = true,
            // Kernels have had it since 5.12, and hull needs 5.15: it is what `readonly` does anyway.
            "readonly" => bind(mount).read_only_force_recursive = true,
            _ => {
                return Err(format!(
                    "invalid value for {key}: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                ));
            }
        },
        "volume-subpath" => value.clone_into(&mut volume(mount).subpath),
        "volume-nocopy" => volume(mount).no_copy = flag()?,
        "volume-label" => {
            let (name, text) = value.split_once('=').unwrap_or((value, ""));
            volume(mount).labels.insert(name.to_owned(), text.to_owned());
        }
        "volume-driver" => value.clone_into(&mut driver(mount).name),
        "volume-opt" => {
            let (name, text) = value.split_once('=').unwrap_or((value, ""));
            driver(mount).options.insert(name.to_owned(), text.to_owned());
        }
        "image-subpath" => value.clone_into(&mut mount.image_options.get_or_insert_default().subpath),
        "bind-create-src" => bind(mount).create_mountpoint = flag()?,
        "idmap" => mount.id_map = Some(value.to_owned()),
        "chown" | "u" => mount.chown = flag()?,
        "tmpfs-size" => {
            tmpfs(mount).size_bytes = parse_bytes(value).map_err(|_| format!("invalid value for {key}: {value}"))?;
        }
        "tmpfs-mode" => {
            tmpfs(mount).mode =
                u32::from_str_radix(value, 8).map_err(|_| format!("invalid value for {key}: {value}"))?;
        }
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

const BIND_NONRECURSIVE: &str = "bind-nonrecursive is deprecated, use bind-recursive=disabled instead";

fn bind(mount: &mut Mount) -> &mut BindOptions {
    mount.bind_options.get_or_insert_default()
}

fn volume(mount: &mut Mount) -> &mut VolumeOptions {
    // Docker's client sends a driver, empty or not, with whatever option of a volume.
    mount.volume_options.get_or_insert_with(|| VolumeOptions {
        driver_config: Some(DriverConfig::default()),
        ..VolumeOptions::default()
    })
}

fn driver(mount: &mut Mount) -> &mut DriverConfig {
    volume(mount).driver_config.get_or_insert_default()
}

fn tmpfs(mount: &mut Mount) -> &mut TmpfsOptions {
    mount.tmpfs_options.get_or_insert_default()
}

fn validate(mount: &Mount) -> Result<(), String> {
    let kind = mount.kind.as_str();
    if kind.is_empty() {
        return Err("type is required".to_owned());
    }
    if mount.target.is_empty() {
        return Err("target is required".to_owned());
    }
    for (given, of) in [
        (mount.volume_options.is_some(), "volume"),
        (mount.bind_options.is_some(), "bind"),
        (mount.tmpfs_options.is_some(), "tmpfs"),
        (mount.image_options.is_some(), "image"),
    ] {
        if given && kind != of {
            return Err(format!("cannot mix '{of}-*' options with mount type '{kind}'"));
        }
    }
    let Some(bind) = &mount.bind_options else { return Ok(()) };
    let requires = |option: &str, other: &str| {
        Err(format!(
            "option 'bind-recursive={option}' requires '{other}' to be specified in conjunction"
        ))
    };
    if bind.read_only_non_recursive && !mount.read_only {
        return requires("writable", "readonly");
    }
    if bind.read_only_force_recursive && !mount.read_only {
        return requires("readonly", "readonly");
    }
    if bind.read_only_force_recursive && bind.propagation != "rprivate" {
        return requires("readonly", "bind-propagation=rprivate");
    }
    Ok(())
}

/// One record of comma-separated values (RFC 4180, as Go's encoding/csv reads it).
pub(super) fn fields(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Err("value is empty".to_owned());
    }
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (field, after) = quoted_field(quoted).ok_or_else(|| {
                format!(
                    "parse error on line 1, column {}: extraneous or missing \" in quoted-field",
                    text.len() + 1
                )
            })?;
            out.push(field);
            match after.strip_prefix(',') {
                Some(next) => rest = next,
                None => return Ok(out),
            }
        } else {
            let (field, next) = match rest.split_once(',') {
                Some((field, next)) => (field, Some(next)),
                None => (rest, None),
            };
            if field.contains('"') {
                return Err(format!("parse error: bare \" in non-quoted-field: {}", quote(field)));
            }
            out.push(field.to_owned());
            match next {
                Some(next) => rest = next,
                None => return Ok(out),
            }
        }
    }
}

/// The field up to its closing quote, and what follows: the end or a comma. `""` stands for a quote.
fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        out.push_str(before);
        match after.strip_prefix('"') {
            Some(next) => {
                out.push('"');
                rest = next;
            }
            None => return (after.is_empty() || after.starts_with(',')).then_some((out, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_in_dockers_words() {
        let check = |text: &str, expected: &str| {
            assert_eq!(parse(text, Path::new("/")).unwrap_err(), expected, "{text}");
        };
        check("", "value is empty");
        check("foo", "invalid field 'foo' must be a key=value pair");
        check("type=bind", "target is required");
        check("type=bind,target=/x,foo=bar", "unexpected key 'foo' in 'foo=bar'");
        check("type=bind,target=/x,ro=x", "invalid value for ro: x");
        check("type=tmpfs,target=/x,tmpfs-size=x", "invalid value for tmpfs-size: x");
        check("type=tmpfs,target=/x,tmpfs-mode=9", "invalid value for tmpfs-mode: 9");
        check(
            "type=bind,target=/x,volume-nocopy",
            "cannot mix 'volume-*' options with mount type 'bind'",
        );
        check(
            "type=volume,target=/x,tmpfs-size=1",
            "cannot mix 'tmpfs-*' options with mount type 'volume'",
        );
        check(
            "type=bind,src=/a,target=/x,bind-recursive=writable",
            "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction",
        );
        check(
            "type=volume,target=/x,image-subpath=a",
            "cannot mix 'image-*' options with mount type 'volume'",
        );
    }

    #[test]
    fn every_option_has_its_place() {
        let check = |text: &str, expected: &str| {
            let mount = parse(text, Path::new("/here")).unwrap();
            assert_eq!(serde_json::to_string(&mount).unwrap(), expected, "{text}");
        };
        // As `docker inspect` of Docker 26 shows them.
        check(
            "type=volume,dst=/c,volume-label=x=y",
            r#"{"Type":"volume","Target":"/c","VolumeOptions":{"Labels":{"x":"y"},"DriverConfig":{}}}"#,
        );
        check(
            "type=volume,src=vtS,dst=/d,volume-nocopy,ro",
            r#"{"Type":"volume","Source":"vtS","Target":"/d","ReadOnly":true,"VolumeOptions":{"NoCopy":true,"DriverConfig":{}}}"#,
        );
        check(
            "type=tmpfs,dst=/f,tmpfs-size=1m,tmpfs-mode=700,ro",
            r#"{"Type":"tmpfs","Target":"/f","ReadOnly":true,"TmpfsOptions":{"SizeBytes":1048576,"Mode":448}}"#,
        );
        check(
            "type=bind,src=/tmp,dst=/g,bind-recursive=disabled",
            r#"{"Type":"bind","Source":"/tmp","Target":"/g","BindOptions":{"NonRecursive":true}}"#,
        );
        check(
            "volume-driver=local,volume-opt=type=nfs,\"volume-opt=o=addr=1.2.3.4,rw\",volume-opt=device=:/x,dst=/n",
            r#"{"Type":"volume","Target":"/n","VolumeOptions":{"DriverConfig":{"Name":"local","Options":{"device":":/x","o":"addr=1.2.3.4,rw","type":"nfs"}}}}"#,
        );
        check(
            "type=image,source=busybox,target=/x,image-subpath=bin",
            r#"{"Type":"image","Source":"busybox","Target":"/x","ImageOptions":{"Subpath":"bin"}}"#,
        );
        check(
            "type=bind,src=./a,dst=/x,bind-create-src,idmap",
            r#"{"Type":"bind","Source":"/here/a","Target":"/x","BindOptions":{"CreateMountpoint":true},"IDMap":""}"#,
        );
        check(
            "src=vol,dst=/x,idmap=uids=0-1-2;gids=0-1-2",
            r#"{"Type":"volume","Source":"vol","Target":"/x","IDMap":"uids=0-1-2;gids=0-1-2"}"#,
        );
        check(
            "src=vol,dst=/x,U",
            r#"{"Type":"volume","Source":"vol","Target":"/x","Chown":true}"#,
        );
    }

    #[test]
    fn fields_are_comma_separated_values() {
        let check = |text: &str, expected: &[&str]| assert_eq!(fields(text).unwrap(), expected, "{text}");
        check("a,b", &["a", "b"]);
        check(r#""a,b",c"#, &["a,b", "c"]);
        check(r#"a,"x""y""#, &["a", "x\"y"]);
        check("a,", &["a", ""]);
        for bad in ["", r#"a"b"#, r#""a"#, r#""a"b"#] {
            assert!(fields(bad).is_err(), "{bad}");
        }
    }
}
