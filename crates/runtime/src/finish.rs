//! The last steps of every process that hull starts in a container: its descriptors, its identity, its privileges, its
//! program. Runs inside the container's namespaces and root, so nothing of the host is in reach any more.

use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_spec::ErrorKind;
use hull_sys::{exec, prctl, signal};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::container::{Capabilities, Limit, Process, User};
use crate::error::{During, Error, Result};
use crate::identity::{self, Identity};

/// passwd and group files larger than this are not read: they come from a stranger.
const ACCOUNTS_MAX: u64 = 16 << 20;

/// The mask of a process that was given none: Docker's.
const UMASK: u32 = 0o022;

/// The standard descriptors of a process to be.
#[derive(Debug)]
pub struct Stdio {
    /// Standard input.
    pub stdin: OwnedFd,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

/// Everything that is looked up in the container's files before privileges are given up.
#[derive(Debug)]
pub(crate) struct Prepared {
    identity: Identity,
    environment: Vec<CString>,
    program: CString,
    arguments: Vec<CString>,
    /// With `--init`: our own executable, out of the container's reach.
    pub(crate) sealed: Option<OwnedFd>,
}

/// Resolves the user, enters the working directory and finds the program. Root is already the container's.
pub(crate) fn prepare(process: &Process) -> Result<Prepared> {
    let identity = resolve_user(&process.user)?;
    let mut env = process.env.clone();
    if process.set_home && !env.iter().any(|e| e.starts_with("HOME=")) {
        env.push(format!("HOME={}", identity.home));
    }
    if process.args.is_empty() {
        return Err(Error::Invalid("no command specified".to_owned()));
    }
    enter_folder(process)?;
    Ok(Prepared {
        program: CString::default(),
        sealed: None,
        environment: c_strings(&env, "environment")?,
        arguments: c_strings(&process.args, "argument")?,
        identity,
    })
}

fn c_strings(texts: &[String], what: &str) -> Result<Vec<CString>> {
    let convert =
        |text: &String| CString::new(text.as_str()).map_err(|_| Error::Invalid(format!("an {what} holds a NUL byte")));
    texts.iter().map(convert).collect()
}

fn resolve_user(user: &User) -> Result<Identity> {
    match user {
        User::Ids { uid, gid, groups } => {
            let passwd = accounts("/etc/passwd");
            let home = identity::resolve(&uid.to_string(), &[], &passwd, "").map(|i| i.home);
            Ok(Identity {
                uid: *uid,
                gid: *gid,
                groups: groups.clone(),
                home: home.unwrap_or_else(|_| "/".to_owned()),
            })
        }
        User::Named { user, groups } => {
            let group = if user.is_empty() && groups.is_empty() {
                String::new()
            } else {
                accounts("/etc/group")
            };
            let mut found = identity::resolve(user, groups, &accounts("/etc/passwd"), &group)?;
            if user.is_empty() && groups.is_empty() {
                found.groups = identity::resolve("", &[], &accounts("/etc/passwd"), &accounts("/etc/group"))?.groups;
            }
            Ok(found)
        }
    }
}

/// Reads an accounts file of the container: only a regular file, without waiting, and not without end.
fn accounts(path: &str) -> String {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::NO_MAGICLINKS;
    let Ok(fd) = rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), resolve) else {
        return String::new();
    };
    let regular = rustix::fs::fstat(&fd).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::RegularFile);
    if !regular {
        return String::new();
    }
    let mut bytes = Vec::new();
    let _ = std::fs::File::from(fd).take(ACCOUNTS_MAX).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Enters the working directory as root, through no magic link: `/proc/self/fd/7` as a working directory would be a
/// folder of the host that a descriptor still refers to (CVE-2024-21626).
fn enter_folder(process: &Process) -> Result<()> {
    let cwd = if process.cwd.is_empty() {
        "/"
    } else {
        process.cwd.as_str()
    };
    if !cwd.starts_with('/') {
        return Err(Error::Invalid(format!(
            "the working directory '{cwd}' is invalid, it needs to be an absolute path"
        )));
    }
    let resolve = ResolveFlags::NO_MAGICLINKS | ResolveFlags::IN_ROOT;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty()).during(|| "open the container's root".to_owned())?;
    let open = |path: &str| rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve);
    let act = || format!("enter working directory `{cwd}`");
    let folder = match open(cwd) {
        Err(Errno::NOENT) if process.create_cwd => {
            let mut at = String::from("/");
            for part in cwd.split('/').filter(|p| !p.is_empty()) {
                let parent = open(&at).during(act)?;
                match rustix::fs::mkdirat(&parent, part, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => {
                        return Err(Error::System {
                            act: format!("make working directory `{cwd}`"),
                            errno,
                        });
                    }
                }
                at = format!("{}/{part}", at.trim_end_matches('/'));
            }
            open(cwd).during(act)?
        }
        Err(Errno::NOTDIR) if process.create_cwd => {
            return Err(Error::Invalid(format!("Cannot mkdir: {cwd} is not a directory")));
        }
        Err(errno) => return Err(Error::System { act: act(), errno }),
        Ok(folder) => folder,
    };
    rustix::process::fchdir(&folder).during(act)
}

/// Gives up privileges and becomes the program. Returns only why that failed.
pub(crate) fn become_program(process: &Process, prepared: Prepared, stdio: Stdio, sync: OwnedFd) -> Error {
    match try_become(process, prepared, stdio, sync) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_become(
    process: &Process,
    mut prepared: Prepared,
    stdio: Stdio,
    sync: OwnedFd,
) -> Result<std::convert::Infallible> {
    // The descriptor on which the launcher reports stands after those that the program keeps.
    let error_fd = 3 + i32::try_from(process.preserve_fds).unwrap_or(0);
    let launcher = exec::Launcher::new(error_fd).map_err(|errno| Error::System {
        act: "make the sealed launcher (is the sysctl vm.memfd_noexec 2?)".to_owned(),
        errno,
    })?;
    // Before the limits: a process may be allowed fewer descriptors than are open here.
    let lifted = lift(&stdio, &sync, error_fd)?;
    set_limits(&process.limits)?;
    own_streams(&stdio, prepared.identity.uid);
    drop_bounding(process.capabilities)?;
    let filter_first = !process.no_new_privileges;
    if let (Some(filter), true) = (&process.seccomp, filter_first) {
        // Without no_new_privs a filter needs CAP_SYS_ADMIN, which goes away with the user ID.
        become_user(&prepared.identity, process, || install(filter))?;
    } else {
        become_user(&prepared.identity, process, || Ok(()))?;
    }
    prepared.program = find_program(&process.args[0], &prepared.environment)?;
    rustix::process::umask(Mode::from_raw_mode(process.umask.unwrap_or(UMASK)));
    place(&lifted, error_fd)?;
    signal::reset_all();
    if process.no_new_privileges {
        prctl::no_new_privileges().during(|| "set no_new_privs".to_owned())?;
        if let Some(filter) = &process.seccomp {
            install(filter)?;
        }
    }
    let (act, errno) = match &prepared.sealed {
        Some(executable) => {
            let arguments = crate::reaper::arguments(error_fd, &prepared.program, &prepared.arguments);
            (
                "start the init",
                exec::execve_fd(executable.as_fd(), &arguments, &prepared.environment),
            )
        }
        None => {
            let errno = launcher.exec(&prepared.program, &prepared.arguments, &prepared.environment);
            ("start the sealed launcher", errno)
        }
    };
    Err(Error::System {
        act: act.to_owned(),
        errno,
    })
}

/// Gives the standard streams to the user, who may open them again as `/dev/stdout`. Where they are not ours to give, he
/// has to do without.
fn own_streams(stdio: &Stdio, uid: u32) {
    for stream in [&stdio.stdin, &stdio.stdout, &stdio.stderr] {
        let Ok(stat) = rustix::fs::fstat(stream) else { continue };
        let kind = FileType::from_raw_mode(stat.st_mode);
        // A device such as the null device is everybody's; a terminal is the session's.
        let is_null = kind == FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(1, 3);
        if stat.st_uid != uid && !is_null {
            let _ = rustix::fs::fchown(stream, Some(rustix::fs::Uid::from_raw(uid)), None);
        }
    }
}

fn install(filter: &crate::container::Filter) -> Result<()> {
    hull_sys::seccomp::install(&filter.instructions, filter.flags).during(|| "install the seccomp filter".to_owned())
}

/// Copies of the standard descriptors and of the error descriptor, out of the way of the numbers that they will have.
fn lift(stdio: &Stdio, sync: &OwnedFd, error_fd: i32) -> Result<[OwnedFd; 4]> {
    let lift = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, error_fd + 8).during(placing);
    Ok([
        lift(stdio.stdin.as_fd())?,
        lift(stdio.stdout.as_fd())?,
        lift(stdio.stderr.as_fd())?,
        lift(sync.as_fd())?,
    ])
}

fn placing() -> String {
    "place the standard descriptors".to_owned()
}

/// Puts the standard descriptors at 0, 1 and 2 and the error descriptor behind what is kept; all else closes on exec.
fn place([stdin, stdout, stderr, sync]: &[OwnedFd; 4], error_fd: i32) -> Result<()> {
    let first = u32::try_from(error_fd).unwrap_or(3);
    exec::close_on_exec_from(first).during(placing)?;
    exec::place_fd(stdin.as_fd(), 0).during(placing)?;
    exec::place_fd(stdout.as_fd(), 1).during(placing)?;
    exec::place_fd(stderr.as_fd(), 2).during(placing)?;
    exec::place_fd(sync.as_fd(), error_fd).during(placing)
}

fn set_limits(limits: &[Limit]) -> Result<()> {
    for limit in limits {
        hull_sys::prctl::set_limit(limit.resource, limit.soft, limit.hard).map_err(|errno| match errno {
            Errno::PERM => Error::Unsupported(format!(
                "cannot raise resource limit {} to {}: hull lacks CAP_SYS_RESOURCE and the hard limit of this session is lower",
                limit.resource, limit.hard
            )),
            errno => Error::System { act: format!("set resource limit {}", limit.resource), errno },
        })?;
    }
    Ok(())
}

fn drop_bounding(capabilities: Capabilities) -> Result<()> {
    let last = last_capability();
    for capability in 0..=last {
        if capabilities.bounding & (1 << capability) == 0 {
            prctl::drop_bounding(capability).during(|| format!("drop capability {capability}"))?;
        }
    }
    Ok(())
}

/// The last capability that this kernel knows: CAP_CHECKPOINT_RESTORE (Linux 5.9) or later.
fn last_capability() -> u32 {
    (40..63)
        .take_while(|&c| prctl::has_bounding(c).is_some())
        .last()
        .unwrap_or(40)
}

/// Changes the IDs, then the capabilities. `between` runs when the filter must: the IDs are set, CAP_SYS_ADMIN is not
/// yet gone.
fn become_user(identity: &Identity, process: &Process, between: impl FnOnce() -> Result<()>) -> Result<()> {
    let gid = rustix::fs::Gid::from_raw(identity.gid);
    let uid = rustix::fs::Uid::from_raw(identity.uid);
    let groups: Vec<_> = identity.groups.iter().map(|&g| rustix::fs::Gid::from_raw(g)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        // A user namespace with one ID only has no right to set groups (user_namespaces(7)).
        Err(Errno::PERM) if identity.groups.iter().all(|&g| g == identity.gid) => {}
        done => done.during(|| "set the supplementary groups".to_owned())?,
    }
    let unmapped = |errno, what: &str, id: u32| match errno {
        Errno::INVAL => Error::Invalid(format!(
            "{what} ID {id} is not mapped in this user namespace: give its user more IDs in /etc/subuid and /etc/subgid"
        )),
        errno => Error::System {
            act: format!("become {what} {id}"),
            errno,
        },
    };
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(|e| unmapped(e, "group", identity.gid))?;
    prctl::keep_capabilities(true).during(|| "keep capabilities".to_owned())?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(|e| unmapped(e, "user", identity.uid))?;
    prctl::keep_capabilities(false).during(|| "keep capabilities".to_owned())?;
    // The change of user cleared the effective set; what is permitted may be put back for the filter.
    let (_, permitted, inheritable) = prctl::capabilities().during(|| "read the capabilities".to_owned())?;
    prctl::set_capabilities(permitted, permitted, inheritable).during(|| "set the capabilities".to_owned())?;
    between()?;
    let wanted = process.capabilities;
    // Docker gives a non-root user no capability but the ambient ones; the exec drops them by the kernel's own rule.
    prctl::set_capabilities(
        wanted.effective & permitted,
        wanted.permitted & permitted,
        wanted.inheritable,
    )
    .during(|| "set the capabilities".to_owned())?;
    prctl::clear_ambient().during(|| "clear the ambient capabilities".to_owned())?;
    for capability in (0..64).filter(|c| wanted.ambient & (1 << c) != 0) {
        prctl::raise_ambient(capability).during(|| format!("raise ambient capability {capability}"))?;
    }
    Ok(())
}

/// Finds the program as a shell would, with the errors that Docker shows.
pub(crate) fn find_program(name: &str, environment: &[CString]) -> Result<CString> {
    let to_c =
        |path: &str| CString::new(path).map_err(|_| Error::Invalid("the program's name holds a NUL byte".to_owned()));
    let program = name.to_owned();
    if name.is_empty() {
        return Err(Error::NotFound {
            program,
            reason: "executable file not found in $PATH".to_owned(),
        });
    }
    if name.contains('/') {
        return match executable(name) {
            Ok(()) => to_c(name),
            Err(Errno::NOENT) => Err(Error::NotFound {
                reason: format!("stat {name}: no such file or directory"),
                program,
            }),
            Err(Errno::NOTDIR) => Err(Error::NotFound {
                reason: format!("stat {name}: not a directory"),
                program,
            }),
            Err(Errno::ISDIR) => Err(Error::NotExecutable {
                program,
                reason: "is a directory".to_owned(),
            }),
            Err(errno) => Err(Error::NotExecutable {
                program,
                reason: crate::error::describe(errno),
            }),
        };
    }
    let path = environment.iter().find_map(|e| e.to_bytes().strip_prefix(b"PATH="));
    let path = path.map_or("", |p| std::str::from_utf8(p).unwrap_or_default());
    let mut denied = false;
    for folder in path.split(':') {
        let candidate = if folder.is_empty() {
            format!("./{name}")
        } else {
            format!("{folder}/{name}")
        };
        match executable(&candidate) {
            Ok(()) => return to_c(&candidate),
            Err(Errno::ACCESS) => denied = true,
            Err(_) => {}
        }
    }
    if denied {
        return Err(Error::NotExecutable {
            program,
            reason: "permission denied".to_owned(),
        });
    }
    Err(Error::NotFound {
        program,
        reason: "executable file not found in $PATH".to_owned(),
    })
}

fn executable(path: &str) -> rustix::io::Result<()> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    // With the effective IDs: the real ones are the same by now.
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK)
}

/// What the launcher's bare errno means for `program`.
pub(crate) fn launch_error(program: &str, errno: Errno) -> Error {
    let program = program.to_owned();
    match errno {
        Errno::NOENT => Error::NotFound {
            reason: "no such file or directory (is its interpreter in the image?)".to_owned(),
            program,
        },
        Errno::NOEXEC => Error::NotExecutable {
            program,
            reason: "exec format error".to_owned(),
        },
        errno => Error::NotExecutable {
            program,
            reason: crate::error::describe(errno),
        },
    }
}

/// Sends why a step failed to whoever waits for this process, on its one socket.
pub(crate) fn report(sync: BorrowedFd<'_>, error: &Error) {
    let (tag, program, text) = match error {
        Error::NotFound { program, reason } => ('N', program.as_str(), reason.clone()),
        Error::NotExecutable { program, reason } => ('X', program.as_str(), reason.clone()),
        other => (kind_letter(other.kind()), "", other.to_string()),
    };
    let message = format!("E{tag}{program}\0{text}");
    let message = message.as_bytes();
    let _ = rustix::net::send(
        sync,
        &message[..message.len().min(8000)],
        rustix::net::SendFlags::NOSIGNAL,
    );
}

const KINDS: [(char, ErrorKind); 8] = [
    ('0', ErrorKind::NotFound),
    ('1', ErrorKind::Conflict),
    ('2', ErrorKind::Invalid),
    ('3', ErrorKind::Denied),
    ('4', ErrorKind::Unavailable),
    ('5', ErrorKind::Unsupported),
    ('6', ErrorKind::Exhausted),
    ('7', ErrorKind::Internal),
];

fn kind_letter(kind: ErrorKind) -> char {
    KINDS
        .iter()
        .find(|(_, k)| *k == kind)
        .map_or('7', |(letter, _)| *letter)
}

/// Reads what [`report`] or the launcher sent; `program` is what was to be started.
pub(crate) fn received(message: &[u8], program: &str) -> Error {
    if let Ok(errno) = <[u8; 4]>::try_from(message) {
        return launch_error(program, Errno::from_raw_os_error(i32::from_ne_bytes(errno)));
    }
    let text = String::from_utf8_lossy(message).into_owned();
    let mut chars = text.chars();
    if chars.next() != Some('E') {
        return Error::InitDied;
    }
    let tag = chars.next().unwrap_or('7');
    let (program, text) = chars.as_str().split_once('\0').unwrap_or(("", ""));
    match tag {
        'N' => Error::NotFound {
            program: program.to_owned(),
            reason: text.to_owned(),
        },
        'X' => Error::NotExecutable {
            program: program.to_owned(),
            reason: text.to_owned(),
        },
        tag => {
            let kind = KINDS
                .iter()
                .find(|(letter, _)| *letter == tag)
                .map_or(ErrorKind::Internal, |(_, k)| *k);
            Error::Init {
                message: text.to_owned(),
                errno: None,
                kind,
            }
        }
    }
}
