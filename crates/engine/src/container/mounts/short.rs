//! `[source:]target[:options]`, Docker's `-v`.

use hull_spec::container::{MountPlan, MountPoint};

use super::{Wanted, clean, invalid};
use crate::{Result, volume};

/// The kinds of options, of which each may be given once.
#[derive(Default)]
struct Options<'a> {
    write: Option<&'a str>,
    label: Option<&'a str>,
    copy: Option<&'a str>,
    propagation: Option<&'a str>,
    consistency: Option<&'a str>,
    owner: Option<&'a str>,
    idmap: Option<&'a str>,
}

impl<'a> Options<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut out = Self::default();
        if text.is_empty() {
            return Some(out);
        }
        for word in text.split(',') {
            let place = match word {
                "rw" | "ro" => &mut out.write,
                "z" | "Z" => &mut out.label,
                "nocopy" => &mut out.copy,
                "shared" | "slave" | "private" | "rshared" | "rslave" | "rprivate" => &mut out.propagation,
                "consistent" | "cached" | "delegated" | "default" => &mut out.consistency,
                "U" => &mut out.owner,
                word if word == "idmap" || word.starts_with("idmap=") => &mut out.idmap,
                _ => return None,
            };
            if place.replace(word).is_some() {
                return None;
            }
        }
        Some(out)
    }
}

/// Reads a specification.
pub(super) fn read(spec: &str) -> Result<Wanted> {
    let bad = || invalid(format!("invalid volume specification: '{spec}'"));
    let parts: Vec<&str> = spec.split(':').collect();
    let (source, target, words) = match parts[..] {
        [target] => ("", target, ""),
        // One path and options: an anonymous volume.
        [target, options]
            if target.starts_with('/') && !options.starts_with('/') && Options::read(options).is_some() =>
        {
            ("", target, options)
        }
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        _ => return Err(bad()),
    };
    if parts.iter().any(|part| part.is_empty()) {
        return Err(bad());
    }
    let options = Options::read(words).ok_or_else(|| invalid(format!("invalid mode: {words}")))?;
    let kind = if source.starts_with('/') { "bind" } else { "volume" };
    let config = |reason: String| {
        invalid(format!(
            "invalid volume specification: '{spec}': invalid mount config for type \"{kind}\": {reason}"
        ))
    };
    if !target.starts_with('/') {
        return Err(config(format!(
            "invalid mount path: '{target}' mount path must be absolute"
        )));
    }
    let destination = clean(target).map_err(config)?;
    let mut wanted = if kind == "bind" {
        if options.copy.is_some() {
            return Err(config("field VolumeOptions must not be specified".to_owned()));
        }
        let point = MountPoint {
            kind: "bind".to_owned(),
            source: clean_source(source),
            destination,
            propagation: options.propagation.unwrap_or("rprivate").to_owned(),
            ..MountPoint::default()
        };
        Wanted::bind(point, true)
    } else {
        if options.propagation.is_some() {
            return Err(config("field BindOptions must not be specified".to_owned()));
        }
        if !source.is_empty() {
            volume::check_name(source)?;
        }
        Wanted::volume(source, destination)
    };
    wanted.no_copy |= options.copy.is_some();
    wanted.chown = options.owner.is_some();
    wanted.id_map = options
        .idmap
        .map(|word| word.strip_prefix("idmap=").unwrap_or_default().to_owned());
    wanted.point.rw = options.write != Some("ro");
    words.clone_into(&mut wanted.point.mode);
    if words.is_empty() && kind == "volume" && !source.is_empty() {
        // What Docker shows of a volume that was given no options.
        "z".clone_into(&mut wanted.point.mode);
    }
    if let Some(label) = options.label {
        super::check_label(label)?;
        wanted.plan = MountPlan {
            relabel: true,
            ..wanted.plan
        };
    }
    Ok(wanted)
}

/// The path without double and trailing slashes, as Docker shows it.
fn clean_source(path: &str) -> String {
    match clean(path) {
        Ok(path) => path,
        // The host's root can be a source.
        Err(_) => "/".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_specifications_are_read() {
        let check = |spec: &str, kind: &str, source: &str, target: &str, rw: bool| {
            let w = read(spec).unwrap();
            let source_of = if kind == "volume" {
                &w.point.name
            } else {
                &w.point.source
            };
            assert_eq!(
                (
                    w.point.kind.as_str(),
                    source_of.as_str(),
                    w.point.destination.as_str(),
                    w.point.rw
                ),
                (kind, source, target, rw),
                "{spec}"
            );
        };
        check("/a:/b", "bind", "/a", "/b", true);
        check("/a//c/:/b", "bind", "/a/c", "/b", true);
        check("/:/b", "bind", "/", "/b", true);
        check("/a:/b:ro", "bind", "/a", "/b", false);
        check("/a:/b//c/../d/:ro,rslave", "bind", "/a", "/b/d", false);
        check("data:/b", "volume", "data", "/b", true);
        check("/b", "volume", "", "/b", true);
        check("/b:ro", "volume", "", "/b", false);
        check("data:/b:ro,nocopy,U", "volume", "data", "/b", false);
    }

    #[test]
    fn modes_are_kept_as_docker_shows_them() {
        let mode = |spec: &str| read(spec).unwrap().point.mode;
        assert_eq!(mode("data:/b"), "z");
        assert_eq!(mode("data:/b:ro"), "ro");
        assert_eq!(mode("/b"), "");
        assert_eq!(mode("/a:/b"), "");
        assert_eq!(mode("/a:/b:ro,rslave"), "ro,rslave");
    }

    #[test]
    fn hulls_own_options_are_read() {
        assert_eq!(read("/a:/b").unwrap().id_map, None);
        assert_eq!(read("/a:/b:idmap").unwrap().id_map.as_deref(), Some(""));
        let custom = read("/a:/b:ro,idmap=uids=0-1-2#5-6-7;gids=0-1-2").unwrap();
        assert_eq!(custom.id_map.as_deref(), Some("uids=0-1-2#5-6-7;gids=0-1-2"));
        assert!(read("vol:/b:U").unwrap().chown);
    }

    #[test]
    fn mistakes_are_told_in_dockers_words() {
        let check = |spec: &str, expected: &str| assert_eq!(read(spec).unwrap_err().to_string(), expected, "{spec}");
        check("vol:/a:wat", "invalid mode: wat");
        check("vol:/a:ro,rw", "invalid mode: ro,rw");
        check("vol:/a:z,Z", "invalid mode: z,Z");
        check("vol:/a:ro,", "invalid mode: ro,");
        check("/tmp:/a:rshared,rslave", "invalid mode: rshared,rslave");
        check("vol:/a:idmap,idmap", "invalid mode: idmap,idmap");
        check(
            "vol:/a:shared",
            "invalid volume specification: 'vol:/a:shared': invalid mount config for type \"volume\": field BindOptions must not be specified",
        );
        check(
            "/tmp:/a:nocopy",
            "invalid volume specification: '/tmp:/a:nocopy': invalid mount config for type \"bind\": field VolumeOptions must not be specified",
        );
        check(
            "vol:a",
            "invalid volume specification: 'vol:a': invalid mount config for type \"volume\": invalid mount path: 'a' mount path must be absolute",
        );
        check(
            "vol:/",
            "invalid volume specification: 'vol:/': invalid mount config for type \"volume\": invalid specification: destination can't be '/'",
        );
        check(
            "../x:/a",
            "create ../x: \"../x\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
        );
        for bad in ["", ":", ":/a", "vol:", "a", "/a:/b:ro:x", "/a:b", "/a:/b\0c"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
