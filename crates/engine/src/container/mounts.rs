//! What is mounted into a container: resolved when it is created, from binds, volumes, `--mount`, `--tmpfs` and the
//! image's own volumes.

mod idmap;
mod long;
mod short;

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use hull_monitor::volume::VolumeMount;
use hull_spec::container::{MountPlan, MountPoint, Record};
use hull_store::image::Image;
use rustix::fs::{Mode, OFlags};

use super::{describe, find};
use crate::volume::options::{self, Kind};
use crate::volume::{self, Claims, CreateRequest, Target};
use crate::{Engine, Error, Result};

/// All mounts of a new container, sorted so that a parent comes before what is below it. Volumes are made and claimed,
/// and what the image has at their place is copied into new ones.
pub(crate) fn resolve(engine: &Engine, record: &Record, image: &Image, claims: &mut Claims) -> Result<Vec<MountPoint>> {
    let mut points = Vec::new();
    for mut wanted in wishes(engine, record)? {
        match wanted.point.kind.as_str() {
            "volume" => place_volume(engine, &mut wanted, image, claims)?,
            "bind" => place_bind(&wanted)?,
            _ => {}
        }
        owners(engine, record, image, &mut wanted)?;
        wanted.plan.make_source |= wanted.make_source;
        let mut point = wanted.point;
        point.plan = Some(Box::new(wanted.plan)).filter(|plan| **plan != MountPlan::default());
        points.push(point);
    }
    points.sort_by(|a, b| a.destination.cmp(&b.destination));
    Ok(points)
}

/// A mount before its source is there.
#[derive(Debug)]
struct Wanted {
    point: MountPoint,
    plan: MountPlan,
    /// The volume to be made, where there is none.
    request: CreateRequest,
    no_copy: bool,
    make_source: bool,
    chown: bool,
    id_map: Option<String>,
}

impl Wanted {
    fn bind(point: MountPoint, make_source: bool) -> Self {
        Self {
            point,
            plan: MountPlan::default(),
            request: CreateRequest::default(),
            no_copy: true,
            make_source,
            chown: false,
            id_map: None,
        }
    }

    fn tmpfs(point: MountPoint, options: String) -> Self {
        let mut wanted = Self::bind(point, false);
        wanted.plan.tmpfs = options;
        wanted
    }

    fn volume(name: &str, destination: String) -> Self {
        let point = MountPoint {
            kind: "volume".to_owned(),
            name: name.to_owned(),
            destination,
            driver: "local".to_owned(),
            rw: true,
            ..MountPoint::default()
        };
        let mut wanted = Self::bind(point, false);
        wanted.request.name = name.to_owned();
        wanted.no_copy = false;
        wanted
    }
}

/// What is asked for, each place in the container once.
fn wishes(engine: &Engine, record: &Record) -> Result<Vec<Wanted>> {
    let host = &record.host_config;
    let mut own = Vec::new();
    for bind in host.binds.iter().flatten() {
        let mut wanted = short::read(bind)?;
        wanted.request.driver.clone_from(&host.volume_driver);
        own.push(wanted);
    }
    for mount in &host.mounts {
        own.push(long::read(engine, mount)?);
    }
    for (path, options) in &host.tmpfs {
        let point = MountPoint {
            kind: "tmpfs".to_owned(),
            destination: clean(path).map_err(invalid)?,
            rw: !options.split(',').any(|o| o == "ro"),
            ..MountPoint::default()
        };
        own.push(Wanted::tmpfs(point, options.clone()));
    }
    for (at, one) in own.iter().enumerate() {
        if own[..at].iter().any(|w| w.point.destination == one.point.destination) {
            return Err(invalid(format!("Duplicate mount point: {}", one.point.destination)));
        }
    }
    // What is asked for in so many words counts more than what another container or the image brings along.
    let mut out = own;
    let add = |wanted: Wanted, out: &mut Vec<Wanted>| {
        if out.iter().all(|w| w.point.destination != wanted.point.destination) {
            out.push(wanted);
        }
    };
    // Of several containers the last one counts.
    for from in host.volumes_from.iter().flatten().rev() {
        for wanted in inherited(engine, from)? {
            add(wanted, &mut out);
        }
    }
    for path in record.config.volumes.iter().flat_map(|v| v.keys()) {
        let mut wanted = Wanted::volume("", clean(path).map_err(invalid)?);
        wanted.request.driver.clone_from(&host.volume_driver);
        add(wanted, &mut out);
    }
    Ok(out)
}

fn invalid(text: String) -> Error {
    Error::Invalid(text)
}

/// `--volumes-from CONTAINER[:ro|rw]`.
fn inherited(engine: &Engine, from: &str) -> Result<Vec<Wanted>> {
    let (from, mode) = from.split_once(':').unwrap_or((from, ""));
    if !matches!(
        mode,
        "" | "ro" | "rw" | "z" | "Z" | "ro,z" | "ro,Z" | "rw,z" | "rw,Z" | "z,ro" | "Z,ro"
    ) {
        return Err(invalid(format!("invalid mode: {mode}")));
    }
    if let Some(label) = mode.split(',').find(|word| matches!(*word, "z" | "Z")) {
        check_label(label)?;
    }
    let other = find(engine, from)?;
    let read_only = mode.split(',').any(|word| word == "ro");
    let inherit = |mut point: MountPoint| {
        point.rw &= !read_only;
        point.mode = String::new();
        let plan = point.plan.take().map_or_else(MountPlan::default, |plan| *plan);
        let mut wanted = Wanted::bind(point, false);
        wanted.request.name.clone_from(&wanted.point.name);
        wanted.plan = plan;
        wanted
    };
    let kinds = ["volume", "bind", "image"];
    let mounts = other.mounts.into_iter();
    Ok(mounts
        .filter(|m| kinds.contains(&m.kind.as_str()))
        .map(inherit)
        .collect())
}

/// SELinux labels: a private one would have to be the container's own, and its processes get none.
fn check_label(label: &str) -> Result<()> {
    if label == "Z" && Path::new("/sys/fs/selinux/enforce").exists() {
        return Err(Error::Unsupported(
            "a private SELinux label (`Z`) is not there: hull gives processes no labels of their own; use `z`"
                .to_owned(),
        ));
    }
    Ok(())
}

/// The path without `.`, `..` and double slashes.
fn clean(path: &str) -> std::result::Result<String, String> {
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
    if path.contains('\0') {
        return Err("a mount path holds a NUL byte".to_owned());
    }
    if out == Path::new("/") {
        return Err("invalid specification: destination can't be '/'".to_owned());
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

fn place_volume(engine: &Engine, wanted: &mut Wanted, image: &Image, claims: &mut Claims) -> Result<()> {
    let (name, volume_options) = claims.claim(engine, wanted.request.clone())?;
    wanted.plan.anonymous |= wanted.point.name.is_empty();
    wanted.point.name = name;
    let folder = volume::folder(engine, &wanted.point.name);
    wanted.point.source = folder.join("_data").display().to_string();
    wanted.plan.file_system = volume_options;
    if wanted.no_copy {
        return Ok(());
    }
    let kind = options::read(&wanted.plan.file_system).map_err(invalid)?;
    let target = match kind {
        None => Target::Own(&folder),
        Some(Kind::Bind { path, .. }) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let open = rustix::fs::open(&path, flags, Mode::empty());
            Target::Other(open.map_err(|errno| failed_bind(&path, &wanted.point.source, errno))?)
        }
        // What is in memory only is gone with the mount, so there is nothing to fill before a container runs.
        Some(Kind::FileSystem { kind, .. }) if matches!(kind.as_str(), "tmpfs" | "ramfs") => return Ok(()),
        Some(Kind::FileSystem { .. }) => Target::Other(mount_for_copy(engine, &wanted.point, &wanted.plan)?),
    };
    volume::copy_up(
        engine,
        &image.layers,
        &wanted.point.destination,
        &target,
        &wanted.plan.subpath,
    )
}

/// Docker's words for a volume that shows a folder which is not there.
fn failed_bind(path: &Path, mountpoint: &str, errno: rustix::io::Errno) -> Error {
    Error::Invalid(format!(
        "failed to mount local volume: mount {}:{mountpoint}: {}",
        path.display(),
        hull_runtime::describe(errno)
    ))
}

fn mount_for_copy(engine: &Engine, point: &MountPoint, plan: &MountPlan) -> Result<OwnedFd> {
    let volume: VolumeMount = describe::volume_mount(engine, point, plan)?
        .ok_or_else(|| invalid(format!("volume {} has no file system of its own", point.name)))?;
    Ok(hull_monitor::volume::create(&volume)?)
}

/// Decides whose the files are, where that is asked for.
fn owners(engine: &Engine, record: &Record, image: &Image, wanted: &mut Wanted) -> Result<()> {
    if !wanted.chown && wanted.id_map.is_none() {
        return Ok(());
    }
    let user = user(engine, record, image)?;
    if wanted.chown {
        wanted.plan.owner = Some(user);
    }
    let Some(text) = &wanted.id_map else { return Ok(()) };
    if wanted.chown {
        return Err(invalid(
            "owners are either changed (U) or mapped (idmap), not both".to_owned(),
        ));
    }
    if engine.rootless {
        return Err(Error::Unsupported(
            "idmap needs hull to run as root: the kernel lets nobody else map the owners of the host's files"
                .to_owned(),
        ));
    }
    let owner = match options::read(&wanted.plan.file_system).map_err(invalid)? {
        Some(Kind::FileSystem { .. }) if text.is_empty() => {
            return Err(Error::Unsupported(
                "idmap of a volume with a file system of its own needs a map: idmap=uids=..;gids=..".to_owned(),
            ));
        }
        Some(Kind::Bind { path, .. }) => owner_of(&path)?,
        _ => owner_of(Path::new(&wanted.point.source))?,
    };
    wanted.plan.id_map = idmap::read(text, owner, user).map_err(invalid)?;
    Ok(())
}

fn owner_of(path: &Path) -> Result<[u32; 2]> {
    let meta = std::fs::metadata(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok([meta.uid(), meta.gid()])
}

/// The user and group that the container's process will have, in the container.
fn user(engine: &Engine, record: &Record, image: &Image) -> Result<[u32; 2]> {
    let user = &record.config.user;
    if user.is_empty() {
        return Ok([0, 0]);
    }
    let passwd = volume::image_file(engine, &image.layers, "/etc/passwd")?;
    let group = volume::image_file(engine, &image.layers, "/etc/group")?;
    let identity = hull_runtime::identity::resolve(user, &[], &passwd, &group)?;
    Ok([identity.uid, identity.gid])
}
