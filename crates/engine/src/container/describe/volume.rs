//! The container's own mounts: binds, volumes, images, file systems in memory.

use std::path::Path;

use hull_monitor::volume::VolumeMount;
use hull_runtime::Container;
use hull_runtime::container::{IdMap, Mount, MountIdMap, Namespaces, Source};
use hull_spec::container::{MountPlan, MountPoint, OwnerRange, Record};
use hull_store::{Access, snapshot};
use hull_sys::mount::{Attributes, Propagation};

use super::tree;
use crate::volume::options::{self, Kind, with_address};
use crate::{Engine, Error, Result, volume};

/// The mounts that the record asks for.
pub(super) fn mounts(engine: &Engine, record: &Record, namespaces: &Namespaces) -> Result<Vec<Mount>> {
    // The order of `file_systems`.
    let mut prepared = 0;
    let one = |point: &MountPoint| one(engine, point, namespaces, &mut prepared);
    record.mounts.iter().map(one).collect()
}

/// The mounts that outlive a run of the container, its volumes, binds and images, and the file systems that some of them
/// need.
pub(in crate::container) fn lasting(engine: &Engine, record: &Record) -> Result<(Vec<Mount>, Vec<VolumeMount>)> {
    let mut prepared = 0;
    let own = Namespaces::default();
    let points = record.mounts.iter().filter(|point| point.kind != "tmpfs");
    let mounts = points.map(|point| one(engine, point, &own, &mut prepared));
    Ok((mounts.collect::<Result<_>>()?, file_systems(engine, record)?))
}

fn plan(point: &MountPoint) -> MountPlan {
    point.plan.as_deref().cloned().unwrap_or_default()
}

fn one(engine: &Engine, point: &MountPoint, namespaces: &Namespaces, prepared: &mut usize) -> Result<Mount> {
    let read_only = if point.rw {
        Attributes::default()
    } else {
        Attributes::RDONLY
    };
    if point.kind == "tmpfs" {
        return tree::tmpfs(point, read_only);
    }
    let plan = plan(point);
    let recursive = !plan.non_recursive && !matches!(point.propagation.as_str(), "private" | "slave" | "shared");
    let mut mount = tree::bind(Path::new(&point.source), &point.destination, read_only, recursive);
    // Read-only means all of it, unless told otherwise (what Docker 25 and later do).
    mount.recursive_attributes = recursive && !plan.read_only_non_recursive;
    mount.propagation = match point.propagation.as_str() {
        "shared" | "rshared" => Some(Propagation::Shared),
        "slave" | "rslave" => Some(Propagation::Slave),
        _ => None,
    };
    mount.idmap = plan.id_map.as_ref().map(|map| {
        let seen = |ranges: &[OwnerRange], own: &[IdMap]| outside(ranges, if map.host { &[] } else { own });
        MountIdMap {
            uids: seen(&map.uids, &namespaces.uid_maps),
            gids: seen(&map.gids, &namespaces.gid_maps),
            recursive,
        }
    });
    // A map of its own says it all.
    let shifted = namespaces.user.is_new() && !engine.rootless && mount.idmap.is_none();
    if let Some(image) = &plan.image {
        let mut lower = snapshot::lower(engine.store(Access::Read)?, &image.layers);
        mount.source = match lower.pop() {
            // overlayfs wants two.
            Some(path) if lower.is_empty() => Source::Bind {
                path,
                recursive: false,
                idmap: shifted,
                beneath: plan.subpath,
            },
            lowest => {
                lower.extend(lowest);
                Source::Layers {
                    lower,
                    user_xattr: engine.rootless,
                    beneath: plan.subpath,
                }
            }
        };
        return Ok(mount);
    }
    match options::read(&plan.file_system).map_err(Error::Invalid)? {
        None => {
            mount.source = Source::Bind {
                path: Path::new(&point.source).to_owned(),
                recursive,
                // The files of a volume belong to the same users in every container, whatever these are on the host.
                idmap: shifted && point.kind == "volume",
                beneath: plan.subpath,
            };
        }
        Some(Kind::Bind {
            path,
            recursive,
            set,
            propagation,
        }) => {
            mount.source = Source::Bind {
                path,
                recursive,
                idmap: false,
                beneath: plan.subpath,
            };
            mount.set = mount.set.with(set);
            mount.recursive_attributes = recursive;
            mount.propagation = propagation;
        }
        Some(Kind::FileSystem { set, .. }) => {
            mount.source = Source::Prepared {
                number: *prepared,
                beneath: plan.subpath,
                idmap: shifted,
            };
            *prepared += 1;
            mount.set = mount.set.with(set);
            // The mount may be a copy of one that another container has read-only.
            if !mount.set.has(Attributes::RDONLY) {
                mount.clear = Attributes::RDONLY;
            }
        }
    }
    Ok(mount)
}

/// IDs that a container sees as the host's, with the map of its user namespace; without one they are the host's.
fn outside(ranges: &[OwnerRange], own: &[IdMap]) -> Vec<IdMap> {
    let mut out = Vec::new();
    for range in ranges {
        if own.is_empty() {
            out.push(IdMap {
                inside: range.disk,
                outside: range.seen,
                count: range.count,
            });
        }
        for map in own {
            let start = range.seen.max(map.inside);
            let end =
                (u64::from(range.seen) + u64::from(range.count)).min(u64::from(map.inside) + u64::from(map.count));
            if u64::from(start) < end {
                out.push(IdMap {
                    inside: range.disk + (start - range.seen),
                    outside: map.outside + (start - map.inside),
                    count: u32::try_from(end - u64::from(start)).unwrap_or(u32::MAX),
                });
            }
        }
    }
    out
}

/// The file systems of volumes that have their own, in the order of the mounts.
pub(crate) fn file_systems(engine: &Engine, record: &Record) -> Result<Vec<VolumeMount>> {
    let mut out = Vec::new();
    for point in &record.mounts {
        if let Some(plan) = &point.plan {
            out.extend(volume_mount(engine, point, plan)?);
        }
    }
    Ok(out)
}

/// The volume's file system, where it has its own.
pub(crate) fn volume_mount(engine: &Engine, point: &MountPoint, plan: &MountPlan) -> Result<Option<VolumeMount>> {
    let kind = options::read(&plan.file_system).map_err(Error::Invalid)?;
    let Some(Kind::FileSystem {
        kind,
        device,
        options,
        set,
    }) = kind
    else {
        return Ok(None);
    };
    let options = with_address(&kind, &device, options, address)?;
    Ok(Some(VolumeMount {
        name: point.name.clone(),
        kind,
        device,
        options,
        set,
        folder: volume::folder(engine, &point.name),
    }))
}

/// The address of a file server.
fn address(host: &str) -> Result<String> {
    if host.parse::<std::net::IpAddr>().is_ok() {
        return Ok(host.to_owned());
    }
    let failed = |why: String| {
        Error::Invalid(format!(
            "error resolving passed in network volume address: lookup {host}: {why}"
        ))
    };
    let found = hull_registry::lookup(host).map_err(|e| failed(e.to_string()))?;
    let first = found.first().ok_or_else(|| failed("no such host".to_owned()))?;
    Ok(first.to_string())
}

/// Makes the folders of the host that are missing, and gives away and labels what the mounts ask for.
pub(crate) fn ready_sources(record: &Record, container: &Container) -> Result<()> {
    for point in &record.mounts {
        let Some(plan) = &point.plan else { continue };
        if plan.make_source && !Path::new(&point.source).exists() {
            std::fs::create_dir_all(&point.source).map_err(|source| Error::Write {
                path: point.source.clone().into(),
                source,
            })?;
        }
        if plan.owner.is_none() && !plan.relabel {
            continue;
        }
        let path = match options::read(&plan.file_system).map_err(Error::Invalid)? {
            None => point.source.clone().into(),
            Some(Kind::Bind { path, .. }) => path,
            Some(Kind::FileSystem { .. }) => {
                return Err(Error::Unsupported(format!(
                    "the owners and labels of volume {} are its file system's: U and z do not change them",
                    point.name
                )));
            }
        };
        if let Some([uid, gid]) = plan.owner {
            let seen = |id, own: &[IdMap]| {
                let range = OwnerRange {
                    disk: 0,
                    seen: id,
                    count: 1,
                };
                outside(&[range], own).first().map_or(id, |map| map.outside)
            };
            let namespaces = &container.namespaces;
            volume::give(
                &path,
                [seen(uid, &namespaces.uid_maps), seen(gid, &namespaces.gid_maps)],
            )?;
        }
        if plan.relabel {
            volume::relabel(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_pass_through_a_user_namespace() {
        let map = |inside, outside, count| IdMap { inside, outside, count };
        let range = |disk, seen, count| OwnerRange { disk, seen, count };
        let check = |ranges: &[OwnerRange], own: &[IdMap], expected: &[IdMap]| {
            assert_eq!(outside(ranges, own), expected);
        };
        check(&[range(1000, 0, 1)], &[], &[map(1000, 0, 1)]);
        check(
            &[range(1000, 0, 1)],
            &[map(0, 100_000, 65_536)],
            &[map(1000, 100_000, 1)],
        );
        // A range over the borders of two.
        check(
            &[range(0, 5, 10)],
            &[map(0, 100, 8), map(8, 200, 100)],
            &[map(0, 105, 3), map(3, 200, 7)],
        );
        // What the container cannot see is not mapped.
        check(&[range(0, 0, u32::MAX)], &[map(0, 100_000, 10)], &[map(0, 100_000, 10)]);
        check(&[range(0, 70_000, 1)], &[map(0, 100_000, 65_536)], &[]);
    }
}
