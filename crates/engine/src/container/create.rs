//! `create`: a record, a name and a writable layer. Nothing runs yet.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use hull_spec::container::{CreateRequest, Record};
use hull_spec::{ErrorKind, Platform, Reference};
use hull_store::Access;
use hull_store::image::Image;
use rustix::fs::{FlockOperation, flock};

use super::{describe, find, mapped, merge, mounts, name, record, userns};
use crate::volume::Claims;
use crate::{Engine, Error, Result, event, pod};

/// A new container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its ID.
    pub id: String,
    /// What the person should know.
    pub warnings: Vec<String>,
}

/// Creates a container.
///
/// # Errors
/// [`Error::NoSuchImage`], [`Error::NameInUse`], and whatever is malformed in the request: nothing is left then.
pub fn create(engine: &Engine, request: &CreateRequest) -> Result<Created> {
    // Docker shows names with a slash before them, and takes them so.
    let wanted = request.name.strip_prefix('/').unwrap_or(&request.name);
    if !request.name.is_empty() {
        find::check_name(wanted, &request.name)?;
    }
    describe::check_shared_network(&request.config, &request.host_config)?;
    if !engine.data.exists() {
        // A fresh machine: nothing was ever pulled.
        return Err(no_image(&request.config.image));
    }
    describe::conflicts(&request.config, &request.host_config)?;
    let store = engine.store(Access::Read)?;
    // Until the record is on disk, this keeps the image's layers from being collected.
    let _hold = store.hold()?;
    let image = resolve(engine, request)?;
    let mut config = merge::merge(&request.config, image.config.config.as_ref());
    if merge::arguments(&config).is_empty() {
        return Err(Error::Invalid("no command specified".to_owned()));
    }
    let id = name::id(name::entropy());
    if config.hostname.is_empty() {
        config.hostname = describe::default_hostname(engine, &id, &request.host_config);
    }
    let mut record = Record {
        id: id.clone(),
        name: wanted.to_owned(),
        created: format!("{:.9}", jiff::Timestamp::now()),
        image_id: image.id.clone(),
        manifest: image.manifest.clone(),
        layers: image.layers.clone(),
        platform: format!("{}/{}", image.config.os, image.config.architecture),
        config,
        host_config: request.host_config.clone(),
        networking_config: request.networking_config.clone(),
        mounts: Vec::new(),
        pod: request.pod.clone(),
        id_maps: None,
    };
    // Everything that can be refused is, before anything is made.
    let warnings = describe::check(engine, &record)?;
    let mut claims = Claims::new(&id);
    let placed = mounts::resolve(engine, &record, &image, &mut claims).and_then(|mounts| {
        record.mounts = mounts;
        describe::check_mounts(engine, &record)?;
        place(engine, &mut record, &|_| match &request.pod {
            Some(pod) => pod::enlist(engine, pod, &id).map(Some),
            None => Ok(None),
        })
    });
    if let Err(e) = placed {
        claims.undo(engine);
        return Err(e);
    }
    // The container is on disk: it keeps its volumes now.
    drop(claims);
    event::container(engine, &record, "create", &[]);
    Ok(Created { id, warnings })
}

/// The image that an infra container says it is of.
const PAUSE: &str = concat!("hull-pause:", env!("CARGO_PKG_VERSION"));

/// Creates the infra container of a pod that is being made, whose list of containers is the folder `members`. It needs no
/// image: its one program is ours, and of the host it needs nothing. Returns its ID.
pub(crate) fn create_infra(engine: &Engine, request: &CreateRequest, members: &Path) -> Result<String> {
    find::check_name(&request.name, &request.name)?;
    describe::conflicts(&request.config, &request.host_config)?;
    let program = hull_sys::pause::program();
    let digest = hull_store::digest(hull_spec::Algorithm::Sha256, program);
    let id = name::id(name::entropy());
    let host = Platform::host();
    let mut config = request.config.clone();
    config.image = PAUSE.to_owned();
    config.entrypoint = Some(vec!["/pause".to_owned()]);
    config.cmd = None;
    if config.hostname.is_empty() {
        config.hostname = describe::default_hostname(engine, &id, &request.host_config);
    }
    let mut host_config = request.host_config.clone();
    host_config.cap_drop = Some(vec!["ALL".to_owned()]);
    host_config.security_opt = Some(vec!["no-new-privileges".to_owned()]);
    host_config.readonly_rootfs = true;
    "none".clone_into(&mut host_config.log_config.driver);
    let mut record = Record {
        id: id.clone(),
        name: request.name.clone(),
        created: format!("{:.9}", jiff::Timestamp::now()),
        image_id: digest.clone(),
        manifest: digest,
        layers: Vec::new(),
        platform: format!("{}/{}", host.os, host.architecture),
        config,
        host_config,
        networking_config: request.networking_config.clone(),
        mounts: Vec::new(),
        pod: request.pod.clone(),
        id_maps: None,
    };
    describe::check(engine, &record)?;
    place(engine, &mut record, &|new| {
        let write = |path: PathBuf, bytes: &[u8], mode: u32| {
            let mut options = fs::OpenOptions::new();
            let file = options.write(true).create(true).truncate(true).mode(mode).open(&path);
            let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, bytes));
            written.map_err(|source| Error::Write { path, source })
        };
        write(new.join("upper/pause"), program, 0o755)?;
        write(members.join(&id), &[], 0o600)?;
        Ok(None)
    })?;
    event::container(engine, &record, "create", &[]);
    Ok(id)
}

fn resolve(engine: &Engine, request: &CreateRequest) -> Result<Image> {
    let name = &request.config.image;
    let image = match hull_store::image::resolve(engine.store(Access::Read)?, name) {
        Ok(image) => image,
        Err(hull_store::Error::NoImage { .. }) => {
            return Err(no_image(name));
        }
        Err(e) => return Err(e.into()),
    };
    if let Some(wanted) = &request.platform {
        let offered = Platform {
            os: image.config.os.clone(),
            architecture: image.config.architecture.clone(),
            variant: image.config.variant.clone(),
            ..Platform::default()
        };
        if wanted.rank(&offered).is_none() {
            // Docker says the same and looks for the right one in the registry.
            return Err(no_image(name));
        }
    }
    Ok(image)
}

/// Docker names the tag that it looked for.
fn no_image(name: &str) -> Error {
    let full = name.parse::<Reference>().map(|name| name.or_latest().familiar());
    Error::NoSuchImage {
        name: full.unwrap_or_else(|_| name.to_owned()),
    }
}

/// Puts the container on disk under its name. It becomes visible by the last rename.
/// `prepare` works in the folder before that; what it returns is kept until then.
fn place(engine: &Engine, record: &mut Record, prepare: Prepare<'_>) -> Result<()> {
    let containers = engine.data.join("containers");
    let new = containers.join(format!(".new-{}", record.id));
    let _folder = locked(&new)?;
    let done = fill(engine, record, &new, prepare);
    if done.is_err() {
        // The lock goes with the descriptor; whatever cannot be removed is swept by a later command.
        let _ = fs::remove_dir_all(&new);
    }
    done
}

/// Adds to the folder of a container that is about to appear.
type Prepare<'a> = &'a dyn Fn(&Path) -> Result<Option<File>>;

fn fill(engine: &Engine, record: &mut Record, new: &Path, prepare: Prepare<'_>) -> Result<()> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    };
    let mut builder = DirBuilder::new();
    for part in ["upper", "work"] {
        builder.mode(if part == "upper" { 0o755 } else { 0o700 });
        builder.create(new.join(part)).map_err(at(new))?;
    }
    // While the folder is there and locked, nobody takes the claim for one of a container that is gone.
    userns::assign(engine, record)?;
    if let (true, Some(maps)) = (engine.rootless, &record.id_maps) {
        mapped::layer(engine, record, maps)?;
        let (uid, gid) = userns::root(maps).unwrap_or_default();
        for part in ["upper", "work"] {
            let path = new.join(part);
            std::os::unix::fs::chown(&path, Some(uid), Some(gid)).map_err(at(&path))?;
        }
    }
    let _kept = prepare(new)?;
    let wanted = record.name.clone();
    let mut attempt = 0;
    loop {
        if wanted.is_empty() {
            record.name = name::random(name::entropy(), attempt);
        }
        match claim(engine, &record.name, &record.id) {
            Ok(()) => break,
            Err(e) if wanted.is_empty() && e.kind() == ErrorKind::Conflict && attempt < 100 => attempt += 1,
            Err(e) => return Err(e),
        }
    }
    let path = new.join("config.json");
    let done = serde_json::to_vec(record)
        .map_err(|e| at(&path)(e.into()))
        .and_then(|bytes| fs::write(&path, bytes).map_err(at(&path)))
        .and_then(|()| fs::rename(new, engine.container_dir(&record.id)).map_err(at(new)));
    if done.is_err() {
        let _ = fs::remove_file(engine.names().join(&record.name));
    }
    done
}

/// Makes the folder of a container to be and takes its lock, which tells a sweeping command that this one is alive.
pub(crate) fn locked(path: &Path) -> Result<File> {
    let failed = |source| Error::Write {
        path: path.to_owned(),
        source,
    };
    loop {
        make_folder(path)?;
        let folder = match File::open(path) {
            Ok(folder) => folder,
            // Swept in the instant since it was made.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(failed(e)),
        };
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if path.exists() => return Ok(folder),
            // Being swept.
            Ok(()) | Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(errno) => return Err(failed(errno.into())),
        }
    }
}

fn make_folder(path: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    builder.mode(0o710);
    match builder.create(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            builder.recursive(true).create(path).map_err(|source| Error::Write {
                path: path.to_owned(),
                source,
            })
        }
        Err(source) => Err(Error::Write {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Makes `name` a symbolic link to `id`: only one claimant can.
pub(crate) fn claim(engine: &Engine, name: &str, id: &str) -> Result<()> {
    let names = engine.names();
    let path = names.join(name);
    let write = |source| Error::Write {
        path: path.clone(),
        source,
    };
    for _ in 0..3 {
        match symlink(id, &path) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => fs::create_dir_all(&names).map_err(write)?,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                let Ok(owner) = fs::read_link(&path) else { continue };
                let owner = owner.to_string_lossy().into_owned();
                // What a rename that was killed left behind is its container's own.
                if owner == id {
                    return Ok(());
                }
                if !disown(engine, name, &owner) {
                    return Err(Error::NameInUse {
                        name: name.to_owned(),
                        id: owner,
                    });
                }
            }
            Err(e) => return Err(write(e)),
        }
    }
    Err(Error::NameInUse {
        name: name.to_owned(),
        id: String::new(),
    })
}

/// Removes the link `name` to container `owner` if that does not go by it: it was killed half-way, is removed, or has
/// another name since a rename that was killed. Returns whether the name is free now.
fn disown(engine: &Engine, name: &str, owner: &str) -> bool {
    let path = engine.names().join(name);
    // One at a time, so that nobody removes the link that the next claimant has just made.
    let Ok(names) = File::open(engine.names()) else {
        return false;
    };
    if flock(&names, FlockOperation::LockExclusive).is_err() {
        return false;
    }
    // Another's by now, or nobody's: to be tried again.
    if !fs::read_link(&path).is_ok_and(|target| target.as_os_str() == owner) {
        return true;
    }
    let has_name = || find::load(engine, owner).map_or(true, |record| record.name == name);
    if find::exists(engine, owner) {
        // A living rename claims the new name first, and holds the record until it is written there.
        match record::try_hold(engine, owner) {
            Ok(Some(_hold)) if !has_name() => drop(fs::remove_file(&path)),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            _ => return false,
        }
        return true;
    }
    if is_being_made(engine, owner) {
        return false;
    }
    let _ = fs::remove_file(&path);
    true
}

/// Whether a living command is about to make container `id`.
pub(crate) fn is_being_made(engine: &Engine, id: &str) -> bool {
    let path = engine.data.join("containers").join(format!(".new-{id}"));
    File::open(path).is_ok_and(|f| flock(&f, FlockOperation::NonBlockingLockShared).is_err())
        || find::exists(engine, id)
}

/// Removes what commands that were killed left behind among the containers: half-made and half-removed ones, and names
/// of none.
pub(crate) fn sweep(engine: &Engine) {
    let containers = engine.data.join("containers");
    let mut whole = 0;
    for entry in fs::read_dir(&containers).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if find::is_id(&name) {
            whole += 1;
            continue;
        }
        let path: PathBuf = entry.path();
        let dead = if name.starts_with(".removed-") {
            true
        } else if name.starts_with(".new-") {
            let folder = File::open(&path);
            let free = folder
                .as_ref()
                .is_ok_and(|f| flock(f, FlockOperation::NonBlockingLockExclusive).is_ok());
            // Between the making of the folder and the taking of its lock there is an instant, in which the folder is
            // empty: whoever is in it finds that it is gone and makes another ([`locked`]).
            free && fs::remove_dir(&path).is_err()
        } else {
            false
        };
        if dead {
            // A leftover that resists now is tried again by the next sweep.
            let _ = fs::remove_dir_all(&path);
        }
    }
    mapped::sweep(engine);
    let names = || fs::read_dir(engine.names()).into_iter().flatten().flatten();
    // Every container has a name, so that without more names than containers none is left over. One that nobody swept
    // is in nobody's way: whoever wants it takes it.
    if names().count() <= whole {
        return;
    }
    for entry in names() {
        let Ok(owner) = fs::read_link(entry.path()) else {
            continue;
        };
        let owner = owner.to_string_lossy();
        if !find::exists(engine, &owner) && !is_being_made(engine, &owner) {
            disown(engine, &entry.file_name().to_string_lossy(), &owner);
        }
    }
}
