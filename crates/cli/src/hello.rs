//! What the image `hello` runs: this binary, called `/hello`, tells what it sees around itself in its container.
//!
//! Nothing is taken for granted: every fact is read from /proc and /sys when it is printed, and one that cannot be read
//! is not told. The page fits a terminal of 24 lines and 80 columns.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::net::Ipv4Addr;

use crate::error::{FAILED, Failure, Outcome};
use crate::output::{print, size};
use crate::terminal;

/// The last column that is written to.
const WIDTH: usize = 79;
/// Where the facts begin.
const INDENT: usize = 13;
/// A space at which no line is broken.
const JOINT: char = '\u{a0}';
/// More than this of a file is not looked at: a host's table of routes or mounts may be long.
const FILE_MAX: u64 = 1 << 20;

const INTRODUCTION: &str = "\
What hull did, in one command and without a daemon:
 1. It took the image `hello`, made of its own binary: nothing was downloaded.
 2. It mounted the image's layers, with a layer of the container's own on top.
 3. It ran this process in namespaces and a cgroup, with the privileges below.
";

const NEXT: &str = "
  hull run -it debian bash                   a shell in Debian
  hull run -d --name web -p 8080:80 nginx    a web server on port 8080
  hull ps                                    what runs
  hull rm -f web                             stop it and forget it
";

/// Whether the image's environment says that this is its program.
pub(crate) fn is_called(program: &std::path::Path) -> bool {
    program.file_name().is_some_and(|name| name == "hello")
        && crate::env::HULL_HELLO.get().is_some_and(|value| value == "1")
}

/// Prints the page.
pub(crate) fn main(mut args: impl Iterator<Item = OsString>) -> Outcome {
    if args.next().is_some() {
        return Err(Failure::new("the image `hello` takes no arguments")
            .hint("run 'hull run hello' alone; 'hull run -it debian bash' gives a shell")
            .code(FAILED));
    }
    print(&page(&read, terminal::stdout_is_terminal()))?;
    Ok(0)
}

/// A file's text, or where a link of a namespace leads.
fn read(path: &str) -> Option<String> {
    if path.starts_with("/proc/self/ns/") {
        return std::fs::read_link(path).ok()?.into_os_string().into_string().ok();
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(FILE_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// How the facts are come by.
type Reader<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The whole page. `bold` is for terminals.
fn page(read: Reader<'_>, bold: bool) -> String {
    let heading = |text: &str| match bold {
        true => format!("\x1b[1m{text}\x1b[0m\n"),
        false => format!("{text}\n"),
    };
    let mut out = heading("Hello from a container! hull works on this machine.");
    out.push('\n');
    let (title, steps) = INTRODUCTION.split_once('\n').unwrap_or_default();
    out += &heading(title);
    out += steps;
    out.push('\n');
    out += &heading("What this process sees of it, read just now:");
    let status = read("/proc/self/status").unwrap_or_default();
    let facts = [
        ("process", process(read, &status)),
        ("host name", read("/proc/sys/kernel/hostname")),
        ("namespaces", namespaces(read)),
        ("root", root(&read("/proc/self/mountinfo").unwrap_or_default())),
        ("network", network(read)),
        ("cgroup", cgroup(read)),
        ("privileges", privileges(read, &status)),
    ];
    for (name, fact) in facts {
        if let Some(fact) = fact {
            line(&mut out, name, fact.trim());
        }
    }
    out.push('\n');
    out += heading("What to type next:").trim_end();
    out += NEXT;
    out
}

/// Appends one fact, broken between its words where it is too long, and a word cut where it is longer than a line.
fn line(out: &mut String, name: &str, fact: &str) {
    let mut column = INDENT;
    let _ = write!(out, " {name:<0$}", INDENT - 1);
    for (i, word) in fact.split(' ').enumerate() {
        // What a host name or a cgroup holds is its maker's choice, and may be no text for a terminal.
        let word: String = word.chars().filter(|c| !c.is_control()).collect();
        let word = word.replace(JOINT, " ");
        let length = word.chars().count();
        if i > 0 && column + 1 + length > WIDTH {
            let _ = write!(out, "\n{:1$}", "", INDENT);
            column = INDENT;
        } else if i > 0 {
            out.push(' ');
            column += 1;
        }
        let room = WIDTH - column;
        if length > room {
            out.extend(word.chars().take(room - 2));
            out.push_str("..");
        } else {
            out.push_str(&word);
        }
        column += length.min(room);
    }
    out.push('\n');
}

fn process(read: Reader<'_>, status: &str) -> Option<String> {
    let id = |field: &str| value(status, field)?.split_whitespace().nth(1)?.parse::<u64>().ok();
    let (user, group) = (id("Uid")?, id("Gid")?);
    let mut out = format!("PID {}, user {user}, group {group}", value(status, "Pid")?);
    // Each line of the map: the first ID inside, the first outside, and how many.
    let outside = read("/proc/self/uid_map")?.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(|n| n.parse::<u64>().ok());
        let (inside, outside, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        (inside..inside.checked_add(count)?)
            .contains(&user)
            .then(|| outside + (user - inside))
    });
    if let Some(outside) = outside.filter(|outside| *outside != user) {
        let _ = write!(out, " (user {outside} outside)");
    }
    Some(out)
}

fn namespaces(read: Reader<'_>) -> Option<String> {
    let found = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"]
        .iter()
        .filter_map(|kind| {
            // `pid:[4026531836]`
            let link = read(&format!("/proc/self/ns/{kind}"))?;
            let number = link.strip_prefix(kind)?.strip_prefix(":[")?.strip_suffix(']')?;
            Some(format!("{kind}{JOINT}{number}"))
        });
    let found: Vec<String> = found.collect();
    (!found.is_empty()).then(|| found.join(", "))
}

/// What the root file system is made of (proc_pid_mountinfo(5); the last mount on a place hides the others).
fn root(mounts: &str) -> Option<String> {
    let (before, after) = mounts.lines().rev().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        (before.split(' ').nth(4)? == "/").then_some((before, after))
    })?;
    let mut after = after.splitn(3, ' ');
    let kind = after.next()?;
    let options: Vec<&str> = after.nth(1).unwrap_or_default().split(',').collect();
    let mut out = kind.to_owned();
    if kind == "overlay" {
        // One option with all layers, or from Linux 6.8 one for each. A colon in a path is escaped.
        let layers: usize = options
            .iter()
            .map(|option| match option.split_once('=') {
                Some(("lowerdir+", _)) => 1,
                Some(("lowerdir", paths)) => paths.replace("\\:", "").split(':').count(),
                _ => 0,
            })
            .sum();
        if layers > 0 {
            let plural = if layers == 1 { "layer" } else { "layers" };
            let _ = write!(out, " of {layers} {plural}");
            if options.iter().any(|option| option.starts_with("upperdir=")) {
                out += " below a writable one";
            }
        }
    }
    if before.split(' ').nth(5)?.split(',').any(|option| option == "ro") {
        out += ", mounted read-only";
    }
    Some(out)
}

/// An IPv4 route: to where, through whom.
struct Route<'a> {
    interface: &'a str,
    destination: u32,
    gateway: u32,
    mask: u32,
}

/// The addresses on `/proc/net/route` are in the order of the machine's bytes.
fn routes(table: &str) -> Vec<Route<'_>> {
    let number = |text: Option<&str>| u32::from_str_radix(text?, 16).ok().map(u32::to_be);
    let rows = table.lines().skip(1).filter_map(|line| {
        let mut cells = line.split_whitespace();
        Some(Route {
            interface: cells.next()?,
            destination: number(cells.next())?,
            gateway: number(cells.next())?,
            mask: number(cells.nth(4))?,
        })
    });
    rows.collect()
}

/// This machine's own addresses: the leaves of `/proc/net/fib_trie` that are `host LOCAL`.
fn addresses(trie: &str) -> Vec<u32> {
    let mut leaf = None;
    let mut out = Vec::new();
    for line in trie.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            leaf = address.trim().parse::<Ipv4Addr>().ok();
        } else if line.contains("/32 host LOCAL") {
            out.extend(leaf.take().map(u32::from));
        }
    }
    out
}

fn network(read: Reader<'_>) -> Option<String> {
    let table = read("/proc/net/route").unwrap_or_default();
    let trie = read("/proc/net/fib_trie").unwrap_or_default();
    let (routes, own) = (routes(&table), addresses(&trie));
    let connected = routes.iter().filter(|route| route.gateway == 0 && route.mask != 0);
    let found = connected.filter_map(|route| {
        let address = own.iter().find(|address| **address & route.mask == route.destination)?;
        Some((route, Ipv4Addr::from(*address)))
    });
    let found: Vec<_> = found.collect();
    let Some((route, address)) = found.iter().find(|(r, _)| r.interface == "eth0").or(found.first()) else {
        return interfaces(&read("/proc/net/dev")?);
    };
    let mut out = format!("{} has {address}/{}", route.interface, route.mask.count_ones());
    let default = |r: &&Route<'_>| r.mask == 0 && r.gateway != 0 && r.interface == route.interface;
    if let Some(default) = routes.iter().find(default) {
        let _ = write!(out, ", gateway {}", Ipv4Addr::from(default.gateway));
    }
    Some(out)
}

/// What there is where no interface has an address.
fn interfaces(devices: &str) -> Option<String> {
    let names = devices
        .lines()
        .skip(2)
        .filter_map(|line| Some(line.split_once(':')?.0.trim()));
    let names: Vec<&str> = names.collect();
    match names[..] {
        [] => None,
        ["lo"] => Some("none but the loopback interface".to_owned()),
        _ => Some(format!("interfaces {}", names.join(", "))),
    }
}

/// The cgroup that limits memory, and its limits (cgroups(7)): of version 2, or of version 1's controllers.
fn cgroup(read: Reader<'_>) -> Option<String> {
    let table = read("/proc/self/cgroup")?;
    let rows = table.lines().filter_map(|line| {
        let mut cells = line.splitn(3, ':');
        Some((cells.nth(1)?, cells.next()?))
    });
    let rows: Vec<(&str, &str)> = rows.collect();
    let memory = |row: &&(&str, &str)| row.0.split(',').any(|controller| controller == "memory");
    let unified = |row: &&(&str, &str)| row.0.is_empty();
    let (_, path) = rows.iter().find(memory).or_else(|| rows.iter().find(unified))?;
    let limit = |files: [&str; 2], tell: &dyn Fn(u64) -> String, none: &str| -> String {
        match files.iter().find_map(|file| read(file)) {
            None => String::new(),
            // Version 1 writes no limit as the largest number of whole pages.
            Some(text) => match text.trim().parse().ok().filter(|n| *n < 1 << 62) {
                Some(n) => format!(", {}", tell(n)),
                None => format!(", {none}"),
            },
        }
    };
    let memory = limit(
        [
            "/sys/fs/cgroup/memory.max",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        ],
        &|n| format!("at most {} of memory", size::binary(n)),
        "memory not limited",
    );
    let tasks = limit(
        ["/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"],
        &|n| format!("at most {n} tasks"),
        "tasks not limited",
    );
    Some(format!("{path}{memory}{tasks}"))
}

fn privileges(read: Reader<'_>, status: &str) -> Option<String> {
    let effective = u64::from_str_radix(value(status, "CapEff")?, 16).ok()?;
    let mut out = effective.count_ones().to_string();
    if let Some(last) = read("/proc/sys/kernel/cap_last_cap").and_then(|text| text.trim().parse::<u64>().ok()) {
        let _ = write!(out, " of {}", last + 1);
    }
    out += " capabilities";
    match value(status, "Seccomp") {
        Some("0") => out += ", no seccomp filter",
        Some("1") => out += ", seccomp in strict mode",
        Some("2") => out += ", a seccomp filter",
        _ => {}
    }
    if value(status, "NoNewPrivs") == Some("1") {
        out += ", no_new_privs";
    }
    Some(out)
}

/// A field of `/proc/PID/status`.
fn value<'a>(status: &'a str, field: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| Some(line.strip_prefix(field)?.strip_prefix(':')?.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\thello\nPid:\t1\nPPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n\
        CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t0\nSeccomp:\t2\nSeccomp_filters:\t1\n";

    const TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 172.17.0.0/16 2 0 2
        |-- 172.17.0.0
           /16 link UNICAST
        |-- 172.17.0.2
           /32 host LOCAL
Local:
     |-- 127.0.0.1
        /32 host LOCAL
        |-- 172.17.0.2
           /32 host LOCAL
        |-- 172.17.255.255
           /32 link BROADCAST
";

    fn on_this_machine(text: [u8; 4]) -> String {
        format!("{:08X}", u32::from_ne_bytes(text))
    }

    fn bridged(path: &str) -> Option<String> {
        let route = |destination, gateway, mask| {
            let [destination, gateway, mask] = [destination, gateway, mask].map(on_this_machine);
            format!("eth0\t{destination}\t{gateway}\t0001\t0\t0\t0\t{mask}\t0\t0\t0\n")
        };
        Some(match path {
            "/proc/self/status" => STATUS.to_owned(),
            "/proc/self/uid_map" => "         0          0 4294967295\n".to_owned(),
            "/proc/sys/kernel/hostname" => "3f2a91c07be4\n".to_owned(),
            "/proc/sys/kernel/cap_last_cap" => "40\n".to_owned(),
            "/proc/self/mountinfo" => "\
                600 500 0:60 / / rw,relatime - overlay overlay rw,lowerdir+=/l/2,lowerdir+=/l/1,upperdir=/u,workdir=/w\n\
                601 600 0:61 / /proc rw,nosuid - proc proc rw\n"
                .to_owned(),
            "/proc/net/route" => {
                "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n".to_owned()
                    + &route([0; 4], [172, 17, 0, 1], [0; 4])
                    + &route([172, 17, 0, 0], [0; 4], [255, 255, 0, 0])
            }
            "/proc/net/fib_trie" => TRIE.to_owned(),
            "/proc/self/cgroup" => "0::/\n".to_owned(),
            "/sys/fs/cgroup/memory.max" => "67108864\n".to_owned(),
            "/sys/fs/cgroup/pids.max" => "max\n".to_owned(),
            _ => {
                let kind = path.strip_prefix("/proc/self/ns/")?;
                format!("{kind}:[40265321{:02}]", kind.len())
            }
        })
    }

    /// A normal user's container without a network, read-only, on a host with cgroup v1.
    fn rootless(path: &str) -> Option<String> {
        Some(match path {
            "/proc/self/uid_map" => "0 1000 1\n1 100000 65536\n".to_owned(),
            "/proc/self/mountinfo" => {
                r"600 500 0:60 / / ro - overlay overlay ro,lowerdir=/a\:b:/c:/d,upperdir=/u".to_owned()
            }
            "/proc/net/route" | "/proc/net/fib_trie" => String::new(),
            "/proc/net/dev" => "Inter-|\n face |\n    lo:       0\n".to_owned(),
            "/proc/self/cgroup" => "4:pids:/\n3:cpu,memory:/user/1000\n0::/elsewhere\n".to_owned(),
            "/sys/fs/cgroup/memory/memory.limit_in_bytes" => "9223372036854771712\n".to_owned(),
            "/sys/fs/cgroup/pids/pids.max" => "100\n".to_owned(),
            "/sys/fs/cgroup/memory.max" | "/sys/fs/cgroup/pids.max" => return None,
            "/proc/self/status" => STATUS.replace("NoNewPrivs:\t0", "NoNewPrivs:\t1"),
            _ => return bridged(path),
        })
    }

    #[test]
    fn the_page_fits_a_terminal() {
        insta::assert_snapshot!(page(&bridged, false), @r"
        Hello from a container! hull works on this machine.

        What hull did, in one command and without a daemon:
         1. It took the image `hello`, made of its own binary: nothing was downloaded.
         2. It mounted the image's layers, with a layer of the container's own on top.
         3. It ran this process in namespaces and a cgroup, with the privileges below.

        What this process sees of it, read just now:
         process     PID 1, user 0, group 0
         host name   3f2a91c07be4
         namespaces  cgroup 4026532106, ipc 4026532103, mnt 4026532103, net 4026532103,
                     pid 4026532103, user 4026532104, uts 4026532103
         root        overlay of 2 layers below a writable one
         network     eth0 has 172.17.0.2/16, gateway 172.17.0.1
         cgroup      /, at most 64MiB of memory, tasks not limited
         privileges  14 of 41 capabilities, a seccomp filter

        What to type next:
          hull run -it debian bash                   a shell in Debian
          hull run -d --name web -p 8080:80 nginx    a web server on port 8080
          hull ps                                    what runs
          hull rm -f web                             stop it and forget it
        ");
        insta::assert_snapshot!(page(&rootless, false), @r"
        Hello from a container! hull works on this machine.

        What hull did, in one command and without a daemon:
         1. It took the image `hello`, made of its own binary: nothing was downloaded.
         2. It mounted the image's layers, with a layer of the container's own on top.
         3. It ran this process in namespaces and a cgroup, with the privileges below.

        What this process sees of it, read just now:
         process     PID 1, user 0, group 0 (user 1000 outside)
         host name   3f2a91c07be4
         namespaces  cgroup 4026532106, ipc 4026532103, mnt 4026532103, net 4026532103,
                     pid 4026532103, user 4026532104, uts 4026532103
         root        overlay of 3 layers below a writable one, mounted read-only
         network     none but the loopback interface
         cgroup      /user/1000, memory not limited, at most 100 tasks
         privileges  14 of 41 capabilities, a seccomp filter, no_new_privs

        What to type next:
          hull run -it debian bash                   a shell in Debian
          hull run -d --name web -p 8080:80 nginx    a web server on port 8080
          hull ps                                    what runs
          hull rm -f web                             stop it and forget it
        ");
        let long = |path: &str| match path {
            "/proc/sys/kernel/hostname" => Some("h".repeat(64)),
            "/proc/self/cgroup" => Some(format!("0::/{}\u{1b}[31m\n", "deep/".repeat(50))),
            _ => bridged(path),
        };
        for text in [page(&bridged, false), page(&rootless, false), page(&long, false)] {
            // One line is left for the next prompt.
            assert!(text.lines().count() < 24, "{text}");
            assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
            assert!(!text.contains('\u{1b}'), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_told() {
        let text = page(&|_| None, false);
        assert!(text.contains("What to type next"), "{text}");
        assert!(!text.contains("host name"), "{text}");
    }

    #[test]
    fn headings_are_bold_on_a_terminal() {
        assert_eq!(page(&bridged, true).matches("\x1b[1m").count(), 4);
    }

    #[test]
    fn the_marker_is_the_images() {
        assert_eq!(crate::env::HULL_HELLO.name, hull_engine::image::hello::MARKER);
    }
}
