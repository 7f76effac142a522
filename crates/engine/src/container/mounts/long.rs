//! `--mount`.

use std::path::Path;

use hull_spec::container::{Mount, MountPlan, MountPoint, MountedImage};

use super::{Wanted, clean, invalid};
use crate::{Engine, Error, Result, volume};

/// Reads a mount.
pub(super) fn read(engine: &Engine, mount: &Mount) -> Result<Wanted> {
    let kind = if mount.kind.is_empty() { "volume" } else { &mount.kind };
    let bad = |reason: String| invalid(format!("invalid mount config for type \"{kind}\": {reason}"));
    if !matches!(kind, "bind" | "volume" | "tmpfs" | "image") {
        return Err(bad("mount type unknown".to_owned()));
    }
    if mount.target.is_empty() {
        return Err(bad("field Target must not be empty".to_owned()));
    }
    if !mount.target.starts_with('/') {
        return Err(bad(format!(
            "invalid mount path: '{}' mount path must be absolute",
            mount.target
        )));
    }
    let destination = clean(&mount.target).map_err(bad)?;
    if mount.source.contains('\0') {
        return Err(bad("field Source must not hold a NUL byte".to_owned()));
    }
    foreign_options(mount, kind).map_err(bad)?;
    let point = MountPoint {
        kind: kind.to_owned(),
        destination,
        rw: !mount.read_only,
        ..MountPoint::default()
    };
    let mut wanted = match kind {
        "bind" => bind(mount, point).map_err(bad)?,
        "volume" => of_volume(mount, point, bad)?,
        "tmpfs" => tmpfs(mount, point).map_err(bad)?,
        _ => image(engine, mount, point, bad)?,
    };
    wanted.chown = mount.chown;
    wanted.id_map.clone_from(&mount.id_map);
    Ok(wanted)
}

/// Options of another kind of mount.
fn foreign_options(mount: &Mount, kind: &str) -> std::result::Result<(), String> {
    for (given, field, of) in [
        (mount.bind_options.is_some(), "BindOptions", "bind"),
        (mount.volume_options.is_some(), "VolumeOptions", "volume"),
        (mount.tmpfs_options.is_some(), "TmpfsOptions", "tmpfs"),
        (mount.image_options.is_some(), "ImageOptions", "image"),
    ] {
        if given && kind != of {
            return Err(format!("field {field} must not be specified"));
        }
    }
    if matches!(kind, "tmpfs" | "image") && (mount.chown || mount.id_map.is_some()) {
        return Err("owners can be changed or mapped of binds and volumes only".to_owned());
    }
    Ok(())
}

fn bind(mount: &Mount, mut point: MountPoint) -> std::result::Result<Wanted, String> {
    if mount.source.is_empty() {
        return Err("field Source must not be empty".to_owned());
    }
    if !mount.source.starts_with('/') {
        return Err(format!(
            "invalid mount path: '{}' mount path must be absolute",
            mount.source
        ));
    }
    point.source.clone_from(&mount.source);
    let options = mount.bind_options.clone().unwrap_or_default();
    point.propagation = match options.propagation.as_str() {
        "" => "rprivate".to_owned(),
        mode @ ("rprivate" | "private" | "rshared" | "shared" | "rslave" | "slave") => mode.to_owned(),
        mode => return Err(format!("invalid propagation mode: {mode}")),
    };
    if !options.create_mountpoint && !Path::new(&mount.source).exists() {
        return Err(format!("bind source path does not exist: {}", mount.source));
    }
    let mut wanted = Wanted::bind(point, options.create_mountpoint);
    wanted.plan = MountPlan {
        non_recursive: options.non_recursive,
        read_only_non_recursive: options.read_only_non_recursive,
        ..MountPlan::default()
    };
    Ok(wanted)
}

fn of_volume(mount: &Mount, point: MountPoint, bad: impl Fn(String) -> Error) -> Result<Wanted> {
    let options = mount.volume_options.clone().unwrap_or_default();
    if mount.source.is_empty() && !options.subpath.is_empty() {
        return Err(bad("must not set Subpath when using anonymous volumes".to_owned()));
    }
    if !is_inside(&options.subpath) {
        return Err(bad("subpath must be a relative path within the volume".to_owned()));
    }
    if !mount.source.is_empty() {
        volume::check_name(&mount.source)?;
    }
    let driver = options.driver_config.unwrap_or_default();
    let mut wanted = Wanted::volume(&mount.source, point.destination);
    wanted.point.rw = point.rw;
    "z".clone_into(&mut wanted.point.mode);
    wanted.no_copy = options.no_copy;
    wanted.plan.subpath = options.subpath;
    wanted.request.driver = driver.name;
    wanted.request.options = driver.options;
    wanted.request.labels = options.labels;
    Ok(wanted)
}

/// Whether a subpath names something below: relative, and without `..` at its end.
fn is_inside(subpath: &str) -> bool {
    let mut depth = 0;
    for part in Path::new(subpath).components() {
        match part {
            std::path::Component::Normal(_) => depth += 1,
            std::path::Component::ParentDir => depth -= 1,
            std::path::Component::CurDir => {}
            _ => return false,
        }
        if depth < 0 {
            return false;
        }
    }
    !subpath.contains('\0')
}

fn tmpfs(mount: &Mount, point: MountPoint) -> std::result::Result<Wanted, String> {
    if !mount.source.is_empty() {
        return Err("field Source must not be specified".to_owned());
    }
    let options = mount.tmpfs_options.clone().unwrap_or_default();
    let mut words = Vec::new();
    if options.size_bytes > 0 {
        words.push(format!("size={}", options.size_bytes));
    }
    if options.mode > 0 {
        words.push(format!("mode={:o}", options.mode));
    }
    Ok(Wanted::tmpfs(point, words.join(",")))
}

fn image(engine: &Engine, mount: &Mount, mut point: MountPoint, bad: impl Fn(String) -> Error) -> Result<Wanted> {
    if mount.source.is_empty() {
        return Err(bad("field Source must not be empty".to_owned()));
    }
    let subpath = mount.image_options.clone().unwrap_or_default().subpath;
    if !is_inside(&subpath) {
        return Err(bad("subpath must be a relative path within the image".to_owned()));
    }
    let store = engine.store(hull_store::Access::Read)?;
    let image = match hull_store::image::resolve(store, &mount.source) {
        Ok(image) => image,
        Err(hull_store::Error::NoImage { .. }) => {
            return Err(Error::NoSuchImage {
                name: mount.source.clone(),
            });
        }
        Err(e) => return Err(e.into()),
    };
    point.source.clone_from(&mount.source);
    // An image never changes, whoever mounts it.
    point.rw = false;
    Ok(Wanted {
        plan: MountPlan {
            subpath,
            image: Some(MountedImage {
                id: image.id,
                layers: image.layers,
            }),
            ..MountPlan::default()
        },
        ..Wanted::bind(point, false)
    })
}

#[cfg(test)]
mod tests {
    use hull_spec::container::{BindOptions, ImageOptions, TmpfsOptions, VolumeOptions};

    use super::*;

    #[test]
    fn mistakes_are_told_in_dockers_words() {
        let engine = Engine::open(&crate::Settings::rootful());
        let check = |kind: &str, source: &str, target: &str, change: fn(&mut Mount), expected: &str| {
            let mut mount = Mount {
                kind: kind.to_owned(),
                source: source.to_owned(),
                target: target.to_owned(),
                ..Mount::default()
            };
            change(&mut mount);
            let error = read(&engine, &mount).map(|w| w.point).unwrap_err().to_string();
            assert_eq!(error, format!("invalid mount config for type \"{kind}\": {expected}"));
        };
        let none = |_: &mut Mount| {};
        check("bind", "", "/a", none, "field Source must not be empty");
        check(
            "bind",
            "x",
            "/a",
            none,
            "invalid mount path: 'x' mount path must be absolute",
        );
        check(
            "bind",
            "/no-such",
            "/a",
            none,
            "bind source path does not exist: /no-such",
        );
        check(
            "bind",
            "/",
            "/",
            none,
            "invalid specification: destination can't be '/'",
        );
        check(
            "tmpfs",
            "",
            "a",
            none,
            "invalid mount path: 'a' mount path must be absolute",
        );
        check("tmpfs", "x", "/a", none, "field Source must not be specified");
        check("cluster", "x", "/a", none, "mount type unknown");
        check("npipe", "x", "/a", none, "mount type unknown");
        check("image", "", "/a", none, "field Source must not be empty");
        let propagation = |m: &mut Mount| {
            m.bind_options = Some(BindOptions {
                propagation: "wat".to_owned(),
                ..BindOptions::default()
            });
        };
        check("bind", "/", "/a", propagation, "invalid propagation mode: wat");
        check(
            "tmpfs",
            "",
            "/a",
            propagation,
            "field BindOptions must not be specified",
        );
        let subpath = |m: &mut Mount| {
            m.volume_options = Some(VolumeOptions {
                subpath: "x/../..".to_owned(),
                ..VolumeOptions::default()
            });
        };
        let outside = "subpath must be a relative path within the volume";
        check("volume", "vol", "/a", subpath, outside);
        check(
            "volume",
            "",
            "/a",
            subpath,
            "must not set Subpath when using anonymous volumes",
        );
        let absolute = |m: &mut Mount| {
            m.volume_options = Some(VolumeOptions {
                subpath: "/x".to_owned(),
                ..VolumeOptions::default()
            });
        };
        check("volume", "vol", "/a", absolute, outside);
        let image = |m: &mut Mount| {
            m.image_options = Some(ImageOptions {
                subpath: "../x".to_owned(),
            });
        };
        check(
            "image",
            "busybox",
            "/a",
            image,
            "subpath must be a relative path within the image",
        );
        let tmpfs = |m: &mut Mount| m.tmpfs_options = Some(TmpfsOptions::default());
        check("volume", "vol", "/a", tmpfs, "field TmpfsOptions must not be specified");
        let idmap = |m: &mut Mount| m.id_map = Some(String::new());
        check(
            "tmpfs",
            "",
            "/a",
            idmap,
            "owners can be changed or mapped of binds and volumes only",
        );
    }
}
