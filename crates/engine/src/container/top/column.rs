//! The columns of `ps` (procps).

use super::process::{Host, Process, TICKS};

/// A column.
#[derive(Clone, Copy)]
pub(super) struct Column {
    /// What `-o` calls it.
    pub(super) names: &'static [&'static str],
    /// Its header.
    pub(super) title: &'static str,
    /// A process's text in it.
    pub(super) value: fn(&Process, &Host) -> String,
}

/// A day in seconds.
const DAY: u64 = 24 * 3600;

/// Every column that is known here.
pub(super) const COLUMNS: &[Column] = &[
    column(&["pid", "tgid"], "PID", |p, _| p.pid.to_string()),
    column(&["ppid"], "PPID", |p, _| p.parent.to_string()),
    column(&["pgid", "pgrp"], "PGID", |p, _| p.group.to_string()),
    column(&["sid", "sess", "session"], "SID", |p, _| p.session.to_string()),
    column(&["user", "euser", "uname"], "USER", |p, host| short(&host.user(p.user))),
    column(&["uid", "euid"], "UID", |p, _| p.user.to_string()),
    column(&["group", "egroup"], "GROUP", |p, host| short(&host.group(p.group_id))),
    column(&["gid", "egid"], "GID", |p, _| p.group_id.to_string()),
    column(&["comm", "ucmd", "ucomm"], "COMMAND", |p, _| p.name()),
    column(&["args", "command"], "COMMAND", |p, _| p.command_line()),
    column(&["cmd"], "CMD", |p, _| p.command_line()),
    column(&["pcpu", "%cpu"], "%CPU", |p, host| tenths(cpu(p, host).min(9999))),
    column(&["c"], "C", |p, host| (cpu(p, host) / 10).min(99).to_string()),
    column(&["pmem", "%mem"], "%MEM", |p, host| {
        tenths((p.resident * 1000).checked_div(host.memory).unwrap_or(0).min(999))
    }),
    column(&["vsz", "vsize"], "VSZ", |p, _| (p.virtual_size / 1024).to_string()),
    column(&["rss", "rssize"], "RSS", |p, _| p.resident.to_string()),
    column(&["tty", "tt", "tname"], "TT", |p, _| terminal(p.terminal)),
    column(&["stat"], "STAT", |p, _| state(p)),
    column(&["s", "state"], "S", |p, _| p.state.to_string()),
    column(&["stime"], "STIME", start),
    column(&["start_time"], "START", start),
    column(&["bsdstart"], "START", |p, host| {
        let form = if host.age(p) >= DAY { "%b%d" } else { "%H:%M" };
        host.start(p).strftime(form).to_string()
    }),
    column(&["time", "cputime"], "TIME", |p, _| clock(p.ticks / TICKS)),
    column(&["bsdtime"], "TIME", |p, _| {
        let seconds = p.ticks / TICKS;
        format!("{}:{:02}", seconds / 60, seconds % 60)
    }),
    column(&["etime"], "ELAPSED", |p, host| elapsed(host.age(p))),
    column(&["etimes"], "ELAPSED", |p, host| host.age(p).to_string()),
    column(&["ni", "nice"], "NI", |p, _| p.nice.to_string()),
    column(&["pri"], "PRI", |p, _| (39 - p.priority).to_string()),
    column(&["nlwp", "thcount"], "NLWP", |p, _| p.threads.to_string()),
    column(&["psr"], "PSR", |p, _| p.processor.to_string()),
];

/// The columns of `-f`: its user is called UID, and its terminal TTY.
pub(super) const FULL: [Column; 8] = [
    column(&[], "UID", |p, host| short(&host.user(p.user))),
    column(&[], "PID", |p, _| p.pid.to_string()),
    column(&[], "PPID", |p, _| p.parent.to_string()),
    column(&[], "C", |p, host| (cpu(p, host) / 10).min(99).to_string()),
    column(&[], "STIME", start),
    column(&[], "TTY", |p, _| terminal(p.terminal)),
    column(&[], "TIME", |p, _| clock(p.ticks / TICKS)),
    column(&[], "CMD", |p, _| p.command_line()),
];

/// The columns of `u`.
pub(super) const USER: [&str; 11] = [
    "user", "pid", "%cpu", "%mem", "vsz", "rss", "tty", "stat", "bsdstart", "bsdtime", "args",
];

const fn column(names: &'static [&'static str], title: &'static str, value: fn(&Process, &Host) -> String) -> Column {
    Column { names, title, value }
}

/// A name in a column of eight.
fn short(name: &str) -> String {
    if name.chars().count() <= 8 {
        return name.to_owned();
    }
    name.chars().take(7).chain(['+']).collect()
}

/// Tenths of a percent of one processor, over its whole life.
fn cpu(process: &Process, host: &Host) -> u64 {
    match host.age(process) {
        0 => 0,
        seconds => process.ticks * 1000 / TICKS / seconds,
    }
}

fn tenths(n: u64) -> String {
    if n >= 1000 {
        return (n / 10).to_string();
    }
    format!("{}.{}", n / 10, n % 10)
}

/// The terminal's name by its device number.
fn terminal(device: i32) -> String {
    let device = device.cast_unsigned();
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    match (major, minor) {
        (0, _) => "?".to_owned(),
        (136..=143, minor) => format!("pts/{}", minor + (major - 136) * 256),
        (4, minor @ 0..=63) => format!("tty{minor}"),
        (4, minor) => format!("ttyS{}", minor - 64),
        (5, 1) => "console".to_owned(),
        _ => "?".to_owned(),
    }
}

fn state(p: &Process) -> String {
    let mut out = String::from(p.state);
    for (holds, letter) in [
        (p.nice < 0, '<'),
        (p.nice > 0, 'N'),
        (p.locked, 'L'),
        (p.session == p.pid, 's'),
        (p.threads > 1, 'l'),
        (p.foreground == p.group, '+'),
    ] {
        if holds {
            out.push(letter);
        }
    }
    out
}

/// When it started: the hour today, the day this year, the year before that.
fn start(p: &Process, host: &Host) -> String {
    let then = host.start(p);
    let now = host.zone.to_datetime(host.now);
    let form = if then.year() != now.year() {
        "%Y"
    } else if then.day_of_year() != now.day_of_year() {
        "%b%d"
    } else {
        "%H:%M"
    };
    then.strftime(form).to_string()
}

/// `[DAYS-]HH:MM:SS`.
fn clock(seconds: u64) -> String {
    let days = if seconds >= DAY {
        format!("{}-", seconds / DAY)
    } else {
        String::new()
    };
    format!(
        "{days}{:02}:{:02}:{:02}",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// `[[DAYS-]HH:]MM:SS`.
fn elapsed(seconds: u64) -> String {
    if seconds < 3600 {
        return format!("{:02}:{:02}", seconds / 60, seconds % 60);
    }
    clock(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_procps_shows_them() {
        assert_eq!(short("www-data"), "www-data");
        assert_eq!(short("systemd-network"), "systemd+");
        let times = [5, 65, 3700, 90_000].map(|n| (clock(n), elapsed(n)));
        let times: Vec<(&str, &str)> = times.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(
            times,
            [
                ("00:00:05", "00:05"),
                ("00:01:05", "01:05"),
                ("01:01:40", "01:01:40"),
                ("1-01:00:00", "1-01:00:00")
            ]
        );
        for (device, name) in [
            (0, "?"),
            (0x8800, "pts/0"),
            (0x8905, "pts/261"),
            (0x401, "tty1"),
            (0x440, "ttyS0"),
        ] {
            assert_eq!(terminal(device), name);
        }
        assert_eq!(
            (tenths(5), tenths(999), tenths(1234)),
            ("0.5".into(), "99.9".into(), "123".into())
        );
        let process = Process {
            pid: 5,
            session: 5,
            group: 5,
            foreground: 5,
            state: 'S',
            nice: 3,
            threads: 2,
            ..Process::default()
        };
        assert_eq!(state(&process), "SNsl+");
    }
}
