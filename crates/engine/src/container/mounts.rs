//! What is mounted into a container: resolved when it is created, from binds, volumes, `--mount`, `--tmpfs` and the
//! image's own volumes.

use std::path::{Component, Path, PathBuf};

use hull_spec::container::{Mount, MountPoint, Record};
use hull_store::image::Image;

use super::{find, name};
use crate::{Engine, Error, Result, volume};

/// All mounts of a new container, sorted so that a parent comes before what is below it. Volumes are made, and what the
/// image has at their place is copied into new ones.
pub(crate) fn resolve(engine: &Engine, record: &Record, image: &Image) -> Result<Vec<MountPoint>> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for from in record.host_config.volumes_from.iter().flatten() {
        wanted.extend(inherited(engine, from)?);
    }
    for bind in record.host_config.binds.iter().flatten() {
        wanted.push(short(bind)?);
    }
    for mount in &record.host_config.mounts {
        wanted.push(long(mount)?);
    }
    for (path, options) in &record.host_config.tmpfs {
        let point = MountPoint {
            kind: "tmpfs".to_owned(),
            destination: clean(path)?,
            mode: options.clone(),
            rw: !options.split(',').any(|o| o == "ro"),
            ..MountPoint::default()
        };
        wanted.push(Wanted {
            point,
            no_copy: true,
            make_source: false,
        });
    }
    duplicates(&wanted)?;
    // A volume of the image gives way to whatever is asked for at its path.
    for path in record.config.volumes.iter().flat_map(|v| v.keys()) {
        let destination = clean(path)?;
        if wanted.iter().all(|w| w.point.destination != destination) {
            wanted.push(Wanted::volume(String::new(), destination));
        }
    }
    let mut points = Vec::new();
    for mut w in wanted {
        match w.point.kind.as_str() {
            "volume" => place_volume(engine, &mut w, image)?,
            "bind" => place_bind(&w)?,
            _ => {}
        }
        points.push(w.point);
    }
    points.sort_by(|a, b| a.destination.cmp(&b.destination));
    Ok(points)
}

/// A mount before its source is there.
struct Wanted {
    point: MountPoint,
    no_copy: bool,
    make_source: bool,
}

impl Wanted {
    fn volume(name: String, destination: String) -> Self {
        let point = MountPoint {
            kind: "volume".to_owned(),
            name,
            destination,
            driver: "local".to_owned(),
            rw: true,
            ..MountPoint::default()
        };
        Self {
            point,
            no_copy: false,
            make_source: false,
        }
    }
}

fn invalid(text: String) -> Error {
    Error::Invalid(text)
}

/// `[source:]target[:options]`, Docker's `-v`.
fn short(spec: &str) -> Result<Wanted> {
    let bad = || invalid(format!("invalid volume specification: '{spec}'"));
    let parts: Vec<&str> = spec.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] => ("", target, ""),
        [source, target] if target.starts_with('/') => (source, target, ""),
        // One path and options: an anonymous volume.
        [target, options] if target.starts_with('/') => ("", target, options),
        [source, target, options] => (source, target, options),
        _ => return Err(bad()),
    };
    if target.is_empty() || !target.starts_with('/') {
        return Err(invalid(format!(
            "invalid volume specification: '{spec}': invalid mount config: mount path must be absolute"
        )));
    }
    let destination = clean(target)?;
    let mut wanted = if source.starts_with('/') {
        let point = MountPoint {
            kind: "bind".to_owned(),
            source: source.to_owned(),
            destination,
            rw: true,
            propagation: "rprivate".to_owned(),
            ..MountPoint::default()
        };
        Wanted {
            point,
            no_copy: true,
            make_source: true,
        }
    } else {
        if !source.is_empty() && !find::is_name(source) {
            return Err(invalid(format!(
                "create {source}: \"{source}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
            )));
        }
        Wanted::volume(source.to_owned(), destination)
    };
    wanted.point.mode = options.to_owned();
    for option in options.split(',').filter(|o| !o.is_empty()) {
        match option {
            "rw" => wanted.point.rw = true,
            "ro" => wanted.point.rw = false,
            "nocopy" if wanted.point.kind == "volume" => wanted.no_copy = true,
            // Hints for other platforms, and SELinux labels where there is no SELinux: Docker takes and forgets them.
            "consistent" | "cached" | "delegated" | "z" | "Z" => {}
            "shared" | "slave" | "private" | "rshared" | "rslave" | "rprivate" if wanted.point.kind == "bind" => {
                wanted.point.propagation = option.to_owned();
            }
            _ => return Err(invalid(format!("invalid mode: {options}"))),
        }
    }
    Ok(wanted)
}

/// `--mount`.
fn long(mount: &Mount) -> Result<Wanted> {
    let bad = |reason: &str| invalid(format!("invalid mount config for type \"{}\": {reason}", mount.kind));
    if mount.target.is_empty() {
        return Err(bad("field Target must not be empty"));
    }
    if !mount.target.starts_with('/') {
        return Err(bad(&format!(
            "invalid mount path: '{}' mount path must be absolute",
            mount.target
        )));
    }
    let destination = clean(&mount.target)?;
    let mut point = MountPoint {
        kind: mount.kind.clone(),
        destination,
        rw: !mount.read_only,
        ..MountPoint::default()
    };
    match mount.kind.as_str() {
        "bind" => {
            if !mount.source.starts_with('/') {
                return Err(bad(&format!(
                    "invalid mount path: '{}' mount path must be absolute",
                    mount.source
                )));
            }
            point.source.clone_from(&mount.source);
            let options = mount.bind_options.clone().unwrap_or_default();
            point.propagation = if options.propagation.is_empty() {
                "rprivate".to_owned()
            } else {
                options.propagation
            };
            if !options.create_mountpoint && !Path::new(&mount.source).exists() {
                return Err(bad(&format!("bind source path does not exist: {}", mount.source)));
            }
            Ok(Wanted {
                point,
                no_copy: true,
                make_source: options.create_mountpoint,
            })
        }
        "volume" | "" => {
            if !mount.source.is_empty() && !find::is_name(&mount.source) {
                return Err(bad(&format!(
                    "\"{}\" includes invalid characters for a local volume name",
                    mount.source
                )));
            }
            let options = mount.volume_options.clone().unwrap_or_default();
            let mut wanted = Wanted::volume(mount.source.clone(), point.destination);
            wanted.point.rw = point.rw;
            wanted.no_copy = options.no_copy || !options.subpath.is_empty();
            Ok(wanted)
        }
        "tmpfs" => {
            let options = mount.tmpfs_options.clone().unwrap_or_default();
            let mut words = Vec::new();
            if options.size_bytes > 0 {
                words.push(format!("size={}", options.size_bytes));
            }
            if options.mode > 0 {
                words.push(format!("mode={:o}", options.mode));
            }
            point.mode = words.join(",");
            Ok(Wanted {
                point,
                no_copy: true,
                make_source: false,
            })
        }
        other => Err(Error::Unsupported(format!(
            "mounts of type `{other}` are not there yet: use bind, volume or tmpfs"
        ))),
    }
}

/// `--volumes-from CONTAINER[:ro|rw]`.
fn inherited(engine: &Engine, from: &str) -> Result<Vec<Wanted>> {
    let (from, mode) = from.rsplit_once(':').unwrap_or((from, ""));
    if !matches!(mode, "" | "ro" | "rw") {
        return Err(invalid(format!("invalid mode for volumes-from: {mode}")));
    }
    let other = find(engine, from)?;
    let inherit = |mut point: MountPoint| {
        if mode == "ro" {
            point.rw = false;
        }
        Wanted {
            point,
            no_copy: true,
            make_source: false,
        }
    };
    Ok(other
        .mounts
        .into_iter()
        .filter(|m| m.kind != "tmpfs")
        .map(inherit)
        .collect())
}

fn duplicates(wanted: &[Wanted]) -> Result<()> {
    for (at, one) in wanted.iter().enumerate() {
        if wanted[..at]
            .iter()
            .any(|w| w.point.destination == one.point.destination)
        {
            return Err(invalid(format!("Duplicate mount point: {}", one.point.destination)));
        }
    }
    Ok(())
}

/// The path without `.`, `..` and double slashes.
fn clean(path: &str) -> Result<String> {
    let mut out = PathBuf::from("/");
    for part in Path::new(path).components() {
        match part {
            Component::Normal(part) => out.push(part),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    if out == Path::new("/") {
        return Err(invalid(format!(
            "invalid specification: destination can't be '/': {path}"
        )));
    }
    if path.contains('\0') {
        return Err(invalid("a mount path holds a NUL byte".to_owned()));
    }
    Ok(out.to_string_lossy().into_owned())
}

fn place_bind(wanted: &Wanted) -> Result<()> {
    let path = Path::new(&wanted.point.source);
    if wanted.make_source && !path.exists() {
        // Docker makes a folder of whatever is missing.
        std::fs::create_dir_all(path).map_err(|source| Error::Write {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(())
}

fn place_volume(engine: &Engine, wanted: &mut Wanted, image: &Image) -> Result<()> {
    let anonymous = wanted.point.name.is_empty();
    if anonymous {
        wanted.point.name = name::id(name::entropy());
    }
    let data = volume::ensure(engine, &wanted.point.name, anonymous)?;
    wanted.point.source = data.display().to_string();
    if !wanted.no_copy {
        volume::copy_up(engine, &image.layers, &wanted.point.destination, &data)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_specifications_are_read() {
        let check = |spec: &str, kind: &str, source: &str, target: &str, rw: bool| {
            let w = short(spec).unwrap().point;
            let source_of = if w.kind == "volume" { &w.name } else { &w.source };
            assert_eq!(
                (w.kind.as_str(), source_of.as_str(), w.destination.as_str(), w.rw),
                (kind, source, target, rw)
            );
        };
        check("/a:/b", "bind", "/a", "/b", true);
        check("/a:/b:ro", "bind", "/a", "/b", false);
        check("/a:/b//c/../d/:ro,rslave", "bind", "/a", "/b/d", false);
        check("data:/b", "volume", "data", "/b", true);
        check("/b", "volume", "", "/b", true);
        for bad in [
            "",
            "a",
            "/a:b",
            "/a:/",
            "/a:/b:wat",
            "../x:/b",
            "a:/b:shared",
            "/a:/b:ro:x",
            ":",
        ] {
            assert!(short(bad).is_err(), "{bad}");
        }
    }
}
