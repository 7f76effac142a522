//! Ranges of IDs that two containers never share.

use std::fs::{self, File};
use std::os::unix::fs::symlink;

use rustix::fs::{FlockOperation, flock};

use crate::container::{create, find};
use crate::{Engine, Error, Result};

/// Claims `count` consecutive IDs of `pools` for container `id`, the lowest that are free. Returns the first.
pub(super) fn range(engine: &Engine, id: &str, pools: &[(u32, u32)], count: u32) -> Result<u32> {
    let folder = engine.data.join("userns");
    let write = |source| Error::Write {
        path: folder.clone(),
        source,
    };
    fs::create_dir_all(&folder).map_err(write)?;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))
        .map_err(write)?;
    // Held by nobody for longer than it takes to read the folder.
    rustix::io::retry_on_intr(|| flock(&lock, FlockOperation::LockExclusive)).map_err(|e| write(e.into()))?;
    let mut taken = Vec::new();
    for entry in fs::read_dir(&folder).map_err(write)? {
        let entry = entry.map_err(write)?;
        let name = entry.file_name();
        let Some(range) = name.to_str().and_then(read) else {
            continue;
        };
        let owner = fs::read_link(entry.path()).map(|owner| owner.to_string_lossy().into_owned());
        let lives = owner.is_ok_and(|owner| find::exists(engine, &owner) || create::is_being_made(engine, &owner));
        if lives {
            taken.push(range);
        } else {
            // Its container is gone.
            let _ = fs::remove_file(entry.path());
        }
    }
    let Some(start) = free(pools, &mut taken, count) else {
        return Err(Error::Exhausted(format!(
            "not enough unused IDs in user namespace: {count} are wanted in a row (give the users `hull` or `containers` \
             more in /etc/subuid and /etc/subgid, or ask for less with --userns auto:size=N)"
        )));
    };
    symlink(id, folder.join(format!("{start}-{count}"))).map_err(write)?;
    Ok(start)
}

fn read(name: &str) -> Option<(u32, u32)> {
    let (start, count) = name.split_once('-')?;
    Some((start.parse().ok()?, count.parse().ok()?))
}

/// The lowest `count` consecutive IDs of `pools` that none of the `taken` ranges has.
fn free(pools: &[(u32, u32)], taken: &mut [(u32, u32)], count: u32) -> Option<u32> {
    taken.sort_unstable();
    pools.iter().find_map(|&(first, size)| {
        let end = u64::from(first) + u64::from(size);
        let mut start = u64::from(first);
        for &(other, length) in taken.iter() {
            let (other, after) = (u64::from(other), u64::from(other) + u64::from(length));
            if other < start + u64::from(count) && after > start {
                start = after;
            }
        }
        (start + u64::from(count) <= end).then(|| u32::try_from(start).ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_range_is_found() {
        let check = |pools: &[(u32, u32)], taken: &[(u32, u32)], count, expected| {
            assert_eq!(free(pools, &mut taken.to_vec(), count), expected, "{pools:?} {taken:?}");
        };
        check(&[(100, 50)], &[], 50, Some(100));
        check(&[(100, 50)], &[], 51, None);
        check(&[(100, 50)], &[(100, 10)], 10, Some(110));
        check(&[(100, 50)], &[(120, 10), (100, 10)], 10, Some(110));
        check(&[(100, 50)], &[(105, 10)], 10, Some(115));
        check(&[(100, 50)], &[(100, 45)], 10, None);
        check(&[(100, 50), (500, 50)], &[(100, 45)], 10, Some(500));
        check(&[(u32::MAX - 10, 10)], &[], 10, Some(u32::MAX - 10));
    }

    proptest::proptest! {
        #[test]
        fn ranges_never_overlap(counts in proptest::collection::vec(1u32..40, 0..20)) {
            let pools = [(10u32, 100u32), (200, 77)];
            let mut taken: Vec<(u32, u32)> = Vec::new();
            for count in counts {
                if let Some(start) = free(&pools, &mut taken, count) {
                    for &(other, length) in &taken {
                        proptest::prop_assert!(start + count <= other || other + length <= start);
                    }
                    proptest::prop_assert!(pools.iter().any(|p| start >= p.0 && start + count <= p.0 + p.1));
                    taken.push((start, count));
                }
            }
        }
    }
}
