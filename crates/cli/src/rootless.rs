//! A normal user's engine: it works as root of a user namespace, which this enters before the command runs.
//!
//! All of a user's containers live in one such namespace, so that any command may signal, enter and remove any of them:
//! the first command makes it, and the others join it as long as a container or a command lives there. Nobody has to
//! keep it open: when nothing runs in it, a new one is as good.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use hull_engine::container::status::alive;
use hull_spec::container::LiveState;
use hull_sys::clone::{Fork, exit_now, fork, join_namespaces, parent_namespace, unshare};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::{ENGINE, Failure, Result};

const NEW_USER: u64 = 0x1000_0000;
const NEW_MOUNT: u64 = 0x0002_0000;
/// The most that is read of a file of identities.
const FILE_MAX: u64 = 4 << 20;

/// Makes this process root of the user's namespace, in a mount namespace of its own. The process must have one thread.
///
/// # Errors
/// If the host lets a normal user have no user namespace.
pub(crate) fn enter(run_root: &Path) -> Result<()> {
    let failed = |what: &str, e: std::io::Error| {
        Failure::from(anyhow::Error::from(e).context(format!("cannot {what} `{}`", run_root.display()))).code(ENGINE)
    };
    std::fs::create_dir_all(run_root).map_err(|e| failed("make the folder", e))?;
    // Held while a namespace is looked for or made: two commands at once must not make two.
    let mut members = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(run_root.join("user-namespace"))
        .map_err(|e| failed("write the list of processes in", e))?;
    members.lock().map_err(|e| failed("lock the list of processes in", e))?;
    if join(&mut members, run_root) {
        return unshare(NEW_MOUNT).map_err(refused);
    }
    make()?;
    // A list that cannot be emptied only names processes that are gone.
    let _ = members.set_len(0).and_then(|()| members.rewind());
    note_self(&mut members);
    Ok(())
}

/// Joins the namespace of a process that is known to be in it. Returns whether one was found.
fn join(members: &mut File, run_root: &Path) -> bool {
    let mut text = String::new();
    let _ = members.take(FILE_MAX).read_to_string(&mut text);
    let listed = text.lines().filter_map(|line| {
        let (pid, ticks) = line.split_once(' ')?;
        Some((pid.parse().ok()?, ticks.parse().ok()?))
    });
    let found = listed.chain(running(run_root)).any(|(pid, ticks)| join_one(pid, ticks));
    if found {
        // The list need not grow for ever: of the others, those that start containers are found through these.
        let _ = members.seek(SeekFrom::End(0));
        if text.len() > 4096 {
            let _ = members.set_len(0).and_then(|()| members.rewind());
        }
        note_self(members);
    }
    found
}

/// First processes of running containers, and when they started.
fn running(run_root: &Path) -> impl Iterator<Item = (i32, u64)> + use<> {
    let entries = std::fs::read_dir(run_root.join("containers"))
        .into_iter()
        .flatten()
        .flatten();
    entries.filter_map(|entry| {
        let bytes = std::fs::read(entry.path().join("state.json")).ok()?;
        let live: LiveState = serde_json::from_slice(&bytes).ok()?;
        Some((live.pid, live.start_ticks))
    })
}

fn join_one(pid: i32, ticks: u64) -> bool {
    let Some(pid) = Pid::from_raw(pid) else {
        return false;
    };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return false;
    };
    // Asked after the descriptor was opened: it cannot turn into another process any more.
    if is_of_user(pid) {
        return alive(pid.as_raw_pid(), ticks) && join_namespaces(pidfd.as_fd(), NEW_USER).is_ok();
    }
    // A container has one of its own, which is in the user's.
    let own = File::open(format!("/proc/{}/ns/user", pid.as_raw_pid()));
    let user = own.ok().filter(|_| alive(pid.as_raw_pid(), ticks));
    let user = user.and_then(|own| parent_namespace(own.as_fd()).ok());
    user.is_some_and(|user| join_namespaces(user.as_fd(), NEW_USER).is_ok())
}

/// Whether the user is root in the namespace of process `pid`: not in one that a container has of its own below it.
fn is_of_user(pid: Pid) -> bool {
    let map = read(Path::new(&format!("/proc/{}/uid_map", pid.as_raw_pid())));
    let own = rustix::process::geteuid().as_raw();
    let starts = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    map.lines().filter_map(starts).any(|start| start == (0, own))
}

/// Adds this process to the list of those in the namespace.
fn note_self(members: &mut File) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in field 2 may hold anything, so the fields are counted from its end.
    let ticks = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(19));
    if let Some(ticks) = ticks {
        // Without the line, another command makes a namespace of its own until our container runs.
        let _ = writeln!(members, "{} {ticks}", std::process::id());
    }
}

/// Makes a namespace whose root is this user, with the IDs that /etc/subuid and /etc/subgid grant, or with the user's
/// own alone.
fn make() -> Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let name = user_name(uid);
    let ranges = |file: &str| ranges(&read(Path::new(file)), name.as_deref(), uid);
    let (uids, gids) = (ranges("/etc/subuid"), ranges("/etc/subgid"));
    if uids.is_empty() || gids.is_empty() || !make_mapped((uid, &uids), (gid, &gids))? {
        make_single(uid, gid)?;
    }
    Ok(())
}

/// Makes the namespace and has newuidmap and newgidmap, which may, fill its maps. Returns false where they are missing
/// or refuse; the namespace is there then and its maps are not.
fn make_mapped(uids: (u32, &[(u32, u32)]), gids: (u32, &[(u32, u32)])) -> Result<bool> {
    let (start, started) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(refused)?;
    let parent = std::process::id();
    let helper = match fork().map_err(refused)? {
        Fork::Parent(helper) => helper,
        Fork::Child => {
            drop(started);
            // The namespace is there once our parent has written; it has failed where the pipe just closes.
            let mut byte = [0u8];
            let made = rustix::io::retry_on_intr(|| rustix::io::read(&start, &mut byte)) == Ok(1);
            let mapped = made && run_map("newuidmap", parent, uids) && run_map("newgidmap", parent, gids);
            exit_now(i32::from(!mapped));
        }
    };
    drop(start);
    let made = unshare(NEW_USER | NEW_MOUNT);
    if made.is_ok() {
        let _ = rustix::io::write(&started, b"x");
    }
    drop(started);
    let ended =
        rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(helper.pid), rustix::process::WaitOptions::empty()));
    made.map_err(refused)?;
    Ok(matches!(ended, Ok(Some((_, status))) if status.exit_status() == Some(0)))
}

fn run_map(program: &str, pid: u32, (own, granted): (u32, &[(u32, u32)])) -> bool {
    let mut command = Command::new(program);
    command
        .arg(pid.to_string())
        .args(["0".to_owned(), own.to_string(), "1".to_owned()]);
    let mut inside = 1u32;
    for &(first, count) in granted {
        command.args([inside, first, count].map(|n| n.to_string()));
        inside = inside.saturating_add(count);
    }
    command.stdin(std::process::Stdio::null());
    command.output().is_ok_and(|output| output.status.success())
}

/// Maps the user's own IDs alone, which needs nobody's help. Makes the namespace where it is not there yet.
fn make_single(uid: u32, gid: u32) -> Result<()> {
    let mapped = |text: &str| text.split_whitespace().next().is_some();
    let inside = std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|text| !mapped(&text));
    if !inside {
        unshare(NEW_USER | NEW_MOUNT).map_err(refused)?;
    }
    let write = |file: &str, text: String| {
        std::fs::write(file, text).map_err(|e| {
            Failure::from(anyhow::Error::from(e).context(format!("cannot set up the user namespace: write `{file}`")))
                .code(ENGINE)
        })
    };
    write("/proc/self/uid_map", format!("0 {uid} 1\n"))?;
    // The kernel asks for this before a user may map a group (CVE-2014-8989).
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/gid_map", format!("0 {gid} 1\n"))
}

/// The ranges that a file such as /etc/subuid grants the user, by name or number: first and count.
fn ranges(file: &str, name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    file.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let (first, count): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            let ours = Some(owner) == name || owner == number;
            (ours && count > 0 && first.checked_add(count).is_some()).then_some((first, count))
        })
        .collect()
}

/// The user's name in /etc/passwd.
fn user_name(uid: u32) -> Option<String> {
    read(Path::new("/etc/passwd")).lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// A text file of a bounded size; empty where it cannot be read.
fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(FILE_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn refused(errno: Errno) -> Failure {
    let error = anyhow::Error::from(errno).context("cannot make a user namespace");
    Failure::from(error).code(ENGINE).hint(
        "the host may forbid them to normal users: look at the sysctls user.max_user_namespaces, \
         kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns, or run hull as root",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_by_name_or_number() {
        let file = "me:100000:65536\n1000:300000:10\nother:1:2\nme:bad:1\nme:1:0\n# c\nme:4294967295:5\nme\n";
        assert_eq!(ranges(file, Some("me"), 1000), [(100_000, 65536), (300_000, 10)]);
        assert_eq!(ranges(file, None, 1000), [(300_000, 10)]);
        assert_eq!(ranges("", Some("me"), 1000), []);
    }
}
