//! What a host holds: the mounts, cgroups, links, firewall elements, files and processes that came with its containers.
//!
//! Several hosts are tested at once, so nothing is compared that belongs to the whole machine: a mount or a process is a
//! host's own when it names the host's folder, a cgroup when no living process of another host is in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// One line for each thing found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces(BTreeSet<String>);

impl Traces {
    /// What is here and was not there `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

/// Collects the traces of the host in `folder` whose network is `namespace`, with the files below `roots`.
pub(crate) fn traces(folder: &Path, roots: &[PathBuf], namespace: &str) -> Traces {
    let mut found = BTreeSet::new();
    let own: BTreeSet<u32> = processes(folder).into_iter().collect();
    for pid in &own {
        found.insert(format!("process {pid} {}", command_line(*pid)));
    }
    found.extend(mounts(folder).iter().map(|mount| format!("mount {}", mount.display())));
    for root in cgroup_roots() {
        cgroups(&root, &own, &mut found);
    }
    for root in roots {
        files(root, &mut found);
    }
    links(namespace, &mut found);
    elements(namespace, &mut found);
    Traces(found)
}

/// Kills the processes and unmounts the mounts of the host in `folder`.
pub(crate) fn sweep(folder: &Path) {
    let killed = crate::wait::within(std::time::Duration::from_secs(5), || {
        let left = processes(folder);
        for pid in &left {
            if let Some(pid) = i32::try_from(*pid).ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        left.is_empty().then_some(())
    });
    if killed.is_none() {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "processes of {} survived SIGKILL", folder.display());
    }
    for mount in mounts(folder).iter().rev() {
        let _ = rustix::mount::unmount(mount, rustix::mount::UnmountFlags::DETACH);
    }
}

/// The host's processes: those whose environment or arguments name its folder, and those that live in a root made of it.
/// The caller itself is none.
fn processes(folder: &Path) -> Vec<u32> {
    let needle = folder.as_os_str().as_encoded_bytes();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            let names_it = ["environ", "cmdline"].iter().any(|file| {
                let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                bytes.windows(needle.len()).any(|window| window == needle)
            });
            names_it
                || std::fs::read_to_string(format!("/proc/{pid}/mountinfo"))
                    .is_ok_and(|table| is_inside(&table, folder))
        })
        .collect()
}

/// Whether a process with this mount table is in a container of the host: its root is an overlay over the folder, or a
/// file of the folder is mounted elsewhere. A mount *at* the folder says nothing, every new namespace copies it.
fn is_inside(table: &str, folder: &Path) -> bool {
    let name = folder.to_string_lossy();
    table.lines().any(|line| {
        let mut fields = line.split(' ').skip(3);
        let (Some(root), Some(point)) = (fields.next(), fields.next()) else {
            return false;
        };
        let overlay = point == "/" && line.contains(&format!("upperdir={name}/"));
        overlay || Path::new(root).starts_with(folder) && !Path::new(point).starts_with(folder)
    })
}

fn command_line(pid: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
}

/// Mount points below `folder`, in the order in which they were made.
fn mounts(folder: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|p| p.starts_with(folder))
        .collect()
}

/// Where cgroup hierarchies are mounted: one in v2, several in v1 and hybrid.
fn cgroup_roots() -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let of_cgroups = table.lines().filter(|line| {
        let kind = line.split(" - ").nth(1).unwrap_or_default();
        kind.starts_with("cgroup ") || kind.starts_with("cgroup2 ")
    });
    of_cgroups
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .collect()
}

/// Adds the cgroups below `folder` that are named for a container (64 hexadecimal digits) and hold a process of the host
/// or none at all.
fn cgroups(folder: &Path, own: &BTreeSet<u32>, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        if names_a_container(&entry.file_name().to_string_lossy()) {
            let members = members(&path);
            if members.is_empty() || members.iter().any(|pid| own.contains(pid)) {
                found.insert(format!("cgroup {}", path.display()));
            }
        } else {
            cgroups(&path, own, found);
        }
    }
}

fn names_a_container(name: &str) -> bool {
    name.split(|c: char| !c.is_ascii_hexdigit())
        .any(|part| part.len() == 64)
}

/// The processes in a cgroup and in those below it.
fn members(folder: &Path) -> Vec<u32> {
    let own = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<u32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pids.extend(members(&entry.path()));
        }
    }
    pids
}

/// Adds every file below `folder`, but for the contents of unpacked layers, the database's own side files, what the
/// store remembers of names it has looked up (`resolved`), the executable of monitors (`resident`), and address leases: one whose container is gone counts for
/// nothing, and is taken back when addresses run short.
fn files(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if name.to_string_lossy().starts_with("hull.db") || name == "resolved" || name == "resident" {
            continue;
        }
        found.insert(format!("file {}", path.display()));
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && name != "fs" && name != "leases" {
            files(&path, found);
        }
    }
}

fn links(namespace: &str, found: &mut BTreeSet<String>) {
    let list = json(Command::new("ip").args(["-n", namespace, "-j", "link"]));
    for link in list.as_array().into_iter().flatten() {
        found.insert(format!("link {}", link["ifname"].as_str().unwrap_or_default()));
    }
}

/// Adds the elements of sets and maps, and the rules, of the host's nftables.
fn elements(namespace: &str, found: &mut BTreeSet<String>) {
    let Some(nft) = crate::root::find_program("nft") else {
        return;
    };
    let net = format!("--net=/run/netns/{namespace}");
    let list = json(
        Command::new("nsenter")
            .arg(net)
            .arg("--")
            .arg(nft)
            .args(["-j", "list", "ruleset"]),
    );
    for object in list["nftables"].as_array().into_iter().flatten() {
        for kind in ["set", "map"] {
            let (place, name) = (&object[kind], object[kind]["name"].as_str().unwrap_or_default());
            for element in place["elem"].as_array().into_iter().flatten() {
                found.insert(format!("element of {kind} {name}: {element}"));
            }
        }
        if let Some(rule) = object.get("rule") {
            found.insert(format!("rule {}", without_counters(rule.clone())));
        }
    }
}

fn without_counters(mut rule: Value) -> Value {
    for expression in rule["expr"].as_array_mut().into_iter().flatten() {
        if let Some(fields) = expression.as_object_mut() {
            fields.remove("counter");
        }
    }
    rule
}

fn json(command: &mut Command) -> Value {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    serde_json::from_slice(&output).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_container_cgroup_by_its_name() {
        let id = "0123456789abcdef".repeat(4);
        for name in [id.clone(), format!("hull-{id}.scope")] {
            assert!(names_a_container(&name), "{name}");
        }
        for name in ["hull".to_owned(), "system.slice".into(), id[1..].to_owned()] {
            assert!(!names_a_container(&name), "{name}");
        }
    }

    #[test]
    fn knows_a_container_by_its_mounts() {
        let check = |line: &str, inside: bool| assert_eq!(is_inside(line, Path::new("/tmp/h-1")), inside, "{line}");
        check(
            "9 8 0:5 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/tmp/h-1/data/containers/1/upper",
            true,
        );
        check(
            "9 8 0:5 / /tmp/h-1/m rw - overlay overlay rw,lowerdir=/l,upperdir=/tmp/h-1/data/1/upper",
            false,
        );
        check(
            "9 8 0:5 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/tmp/h-12/data/containers/1/upper",
            false,
        );
        check(
            "9 8 8:1 /tmp/h-1/run/containers/1/hosts /etc/hosts rw - ext4 /dev/vda rw",
            true,
        );
        check("9 8 0:5 / /tmp/h-1/data rw - tmpfs left rw", false);
    }

    #[test]
    fn since_names_only_what_is_new() {
        let of = |lines: &[&str]| Traces(lines.iter().map(|line| (*line).to_owned()).collect());
        assert_eq!(of(&["a", "b"]).since(&of(&["b", "c"])), ["a"]);
    }
}
