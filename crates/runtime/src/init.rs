//! Init: what happens in the container's first process between `clone3` and its program, in order.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use hull_spec::ErrorKind;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{DumpableBehavior, Signal};

use crate::cgroup;
use crate::container::{Container, Namespace, Namespaces, namespace_flag};
use crate::create::Setup;
use crate::error::{During, Error, Result};
use crate::finish::{Stdio, become_program, prepare};
use crate::mount;

/// Magic number of devpts (`statfs(2)`).
const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;

/// What the creator has made ready for init.
pub(crate) struct Given {
    /// Whether it was born in its cgroup.
    pub(crate) in_cgroup: bool,
    /// With `--init`: our own executable, out of the container's reach. It can only be had in the mount namespace that
    /// it was started in.
    pub(crate) sealed: Option<OwnedFd>,
    /// What the creator has made for the container's mounts.
    pub(crate) made: mount::Made,
}

/// Runs all steps. Returns only with the reason why the program was not started.
pub(crate) fn run(container: &Container, setup: Setup<'_>, sync: BorrowedFd<'_>, given: Given) -> Error {
    match steps(container, setup, sync, given) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn steps(
    container: &Container,
    setup: Setup<'_>,
    sync: BorrowedFd<'_>,
    given: Given,
) -> Result<std::convert::Infallible> {
    let namespaces = &container.namespaces;
    // The container's other processes must not read this one's memory or reach its executable while it is still ours.
    // One in a new user namespace hides once its maps are written: they could not be written to a hidden process by a
    // creator that is no more than root of its own namespace.
    if !namespaces.user.is_new() {
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).during(|| "hide init".to_owned())?;
    }
    // Until the program runs, init does not outlive its creator: nobody else would clean up after it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).during(|| "follow the creator".to_owned())?;
    rustix::process::setsid().during(|| "make a session".to_owned())?;
    new_keyring()?;
    // Modes are what the plan says, whatever the creator's mask is.
    rustix::process::umask(Mode::empty());
    let mut ready = Ready { sync, done: false };
    let (ops, paths) = mount::plan(container);
    let mut handed = None;
    if namespaces.user.is_new() {
        // Until its maps are written, init is nobody and can do nothing.
        if mount::handed::needed(container) {
            handed = Some(mount::handed::take(sync, &paths)?);
        } else {
            ready.wait()?;
        }
        become_root()?;
    }
    join(namespaces)?;
    set_names(container)?;

    let (root, sources) = match handed {
        Some((root, sources)) => (Some(root), sources),
        None => (None, mount::open_sources(&paths, given.made)?),
    };
    let sources = sources.into_iter().map(Some).collect();
    let chrooted = mount::detach()?;
    let folders = &setup.cgroups.folders;
    let mut entered = false;
    let mut enter_cgroups = || -> Result<Vec<std::path::PathBuf>> {
        if !entered {
            ready.wait()?;
            // One in a user namespace has been put there by its creator.
            if !given.in_cgroup && !namespaces.user.is_new() {
                cgroup::enter(folders)?;
            }
            match &namespaces.cgroup {
                Namespace::New => hull_sys::clone::unshare(namespace_flag::NEWCGROUP)
                    .during(|| "make a cgroup namespace".to_owned())?,
                Namespace::Join(fd) => enter_namespace(fd, namespace_flag::NEWCGROUP, "cgroup")?,
                Namespace::Host => {}
            }
            entered = true;
        }
        Ok(folders.clone())
    };
    let tree = mount::apply(&ops, root, sources, &mut enter_cgroups)?;
    enter_cgroups()?;
    hook(setup.inside)?;
    // Still through the host's own /proc, which no image can shape (CVE-2025-52881).
    set_sysctls(container)?;
    if let Some(score) = container.process.oom_score_adj.filter(|_| !namespaces.user.is_new()) {
        set_oom_score("self", score)?;
    }
    let stdio = if container.process.terminal {
        console(container, &tree.root, sync)?
    } else {
        setup.stdio
    };
    set_labels(container)?;
    hook(setup.before_pivot)?;

    if chrooted {
        mount::leave_chroot()?;
    }
    pivot(&tree.root)?;
    // From here on the host's files are out of reach.
    if container.propagation.is_some() {
        let change = hull_sys::mount::Change {
            propagation: container.propagation,
            recursive: true,
            ..Default::default()
        };
        hull_sys::mount::set_attributes(rustix::fs::CWD, c"/", &change)
            .during(|| "set the root's propagation".to_owned())?;
    }
    let mut prepared = prepare(&container.process)?;
    prepared.sealed = given.sealed;
    hook(setup.before_program)?;
    rustix::process::set_parent_process_death_signal(None).during(|| "outlive the creator".to_owned())?;
    let sync = sync.try_clone_to_owned().map_err(|_| Error::InitDied)?;
    Err(become_program(&container.process, prepared, stdio, sync))
}

/// Waits once for the creator's word that the outside is ready.
struct Ready<'fd> {
    sync: BorrowedFd<'fd>,
    done: bool,
}

impl Ready<'_> {
    fn wait(&mut self) -> Result<()> {
        if self.done {
            return Ok(());
        }
        let mut byte = [0u8; 1];
        let heard = rustix::io::retry_on_intr(|| rustix::net::recv(self.sync, &mut byte[..], RecvFlags::empty()));
        match heard {
            Ok((1, _)) if byte[0] == b'G' => {
                self.done = true;
                Ok(())
            }
            // The creator gave up or died: nobody reads what is reported now.
            _ => Err(Error::InitDied),
        }
    }
}

fn hook(hook: &dyn Fn() -> std::result::Result<(), String>) -> Result<()> {
    hook().map_err(|message| Error::Init {
        message,
        errno: None,
        kind: ErrorKind::Internal,
    })
}

/// A session keyring of its own: the creator's keys are not the container's.
pub(crate) fn new_keyring() -> Result<()> {
    match hull_sys::prctl::new_session_keyring() {
        // A kernel without keys has none to hide.
        Ok(()) | Err(Errno::NOSYS) => Ok(()),
        Err(errno) => Err(Error::System {
            act: "make a session keyring (see the sysctls kernel.keys.maxkeys and kernel.keys.root_maxkeys)".to_owned(),
            errno,
        }),
    }
}

fn become_root() -> Result<()> {
    let act = || "become root of the user namespace".to_owned();
    let gid = rustix::fs::Gid::ROOT;
    let uid = rustix::fs::Uid::ROOT;
    rustix::thread::set_thread_res_gid(gid, gid, gid).during(act)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).during(act)?;
    // The change of IDs made the process dumpable again or not as the kernel saw fit; init must stay hidden.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).during(act)
}

fn join(namespaces: &Namespaces) -> Result<()> {
    let all = [
        (&namespaces.user, namespace_flag::NEWUSER, "user"),
        (&namespaces.network, namespace_flag::NEWNET, "network"),
        (&namespaces.ipc, namespace_flag::NEWIPC, "IPC"),
        (&namespaces.uts, namespace_flag::NEWUTS, "UTS"),
    ];
    for (namespace, flag, name) in all {
        if let Namespace::Join(fd) = namespace {
            enter_namespace(fd, flag, name)?;
        }
    }
    Ok(())
}

fn enter_namespace(fd: &OwnedFd, flag: u64, name: &str) -> Result<()> {
    hull_sys::clone::join_namespaces(fd.as_fd(), flag).during(|| format!("join the {name} namespace"))
}

fn set_names(container: &Container) -> Result<()> {
    if let Some(name) = &container.hostname {
        rustix::system::sethostname(name.as_bytes()).during(|| format!("set the host name `{name}`"))?;
    }
    if let Some(name) = container.domainname.as_ref().filter(|n| !n.is_empty()) {
        rustix::system::setdomainname(name.as_bytes()).during(|| format!("set the domain name `{name}`"))?;
    }
    Ok(())
}

/// Writes the kernel settings. A setting that is not of one of the container's own namespaces would change the host, so
/// it is refused when the container is described; here only the path is made safe.
fn set_sysctls(container: &Container) -> Result<()> {
    if container.sysctls.is_empty() {
        return Ok(());
    }
    let act = || "open /proc/sys".to_owned();
    let base = rustix::fs::open(
        "/proc/sys",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let base = base.during(act)?;
    for (key, value) in &container.sysctls {
        let path = key.replace('.', "/");
        let act = || format!("set sysctl `{key}` to `{value}`");
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat2(&base, path, flags, Mode::empty(), resolve).during(act)?;
        rustix::io::write(&fd, value.as_bytes()).during(act)?;
    }
    Ok(())
}

/// Sets the bias of the OOM killer against `process`, a number or `self`.
pub(crate) fn set_oom_score(process: &str, score: i32) -> Result<()> {
    cgroup::put(Path::new(&format!("/proc/{process}/oom_score_adj")), &score.to_string()).map_err(|errno| match errno {
        Errno::ACCESS | Errno::PERM => Error::Unsupported(format!(
            "cannot set the OOM score to {score}: hull lacks CAP_SYS_RESOURCE and the score of this session is higher"
        )),
        errno => Error::System {
            act: format!("set the OOM score to {score}"),
            errno,
        },
    })
}

/// Asks the security module for its label at the next exec.
fn set_labels(container: &Container) -> Result<()> {
    if let Some(profile) = &container.process.apparmor {
        let value = format!("exec {profile}");
        let modern = cgroup::put(Path::new("/proc/self/attr/apparmor/exec"), &value);
        modern
            .or_else(|_| cgroup::put(Path::new("/proc/self/attr/exec"), &value))
            .during(|| format!("use AppArmor profile `{profile}`"))?;
    }
    if let Some(label) = &container.process.selinux {
        cgroup::put(Path::new("/proc/self/attr/exec"), label).during(|| format!("use SELinux label `{label}`"))?;
    }
    Ok(())
}

/// Makes the process's terminal in the container's own devpts, makes it the controlling one and sends its master.
fn console(container: &Container, root: &OwnedFd, sync: BorrowedFd<'_>) -> Result<Stdio> {
    let (master, slave) = open_terminal(root.as_fd(), container.process.console_size)?;
    // /dev/console is the terminal: made in the container's own /dev, and mounted by descriptor on what was made, so
    // that no swap of a path lands elsewhere (CVE-2025-52565).
    let act = || "mount the terminal on /dev/console".to_owned();
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let dev = rustix::fs::openat2(
        root,
        "/dev",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    );
    let dev = dev.during(act)?;
    let flags =
        OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let place = rustix::fs::openat(&dev, "console", flags, Mode::from_raw_mode(0o600)).during(act)?;
    let tree = rustix::mount::open_tree(
        &slave,
        c"",
        rustix::mount::OpenTreeFlags::OPEN_TREE_CLONE
            | rustix::mount::OpenTreeFlags::OPEN_TREE_CLOEXEC
            | rustix::mount::OpenTreeFlags::AT_EMPTY_PATH,
    )
    .during(act)?;
    let flags =
        rustix::mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | rustix::mount::MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(&tree, c"", &place, c"", flags).during(act)?;
    send_console(sync, &master)?;
    terminal_stdio(slave)
}

fn send_console(sync: BorrowedFd<'_>, master: &OwnedFd) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [master.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(sync, &[IoSlice::new(b"C")], &mut control, SendFlags::NOSIGNAL)
        .map(drop)
        .during(|| "send the terminal".to_owned())
}

/// Opens a new terminal pair in the devpts of the file tree at `root`.
pub(crate) fn open_terminal(root: BorrowedFd<'_>, size: Option<(u16, u16)>) -> Result<(OwnedFd, OwnedFd)> {
    let act = || "open a terminal in the container's /dev/pts".to_owned();
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat2(root, "/dev/pts/ptmx", flags, Mode::empty(), resolve).during(act)?;
    // Anything could have been put there by an image or a mount: only the kernel's own devpts will do.
    if rustix::fs::fstatfs(&master).during(act)?.f_type as u64 != DEVPTS_SUPER_MAGIC {
        return Err(Error::Invalid(
            "the container's /dev/pts is no devpts file system".to_owned(),
        ));
    }
    rustix::pty::unlockpt(&master).during(act)?;
    let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY | rustix::pty::OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).during(act)?;
    if let Some((rows, columns)) = size.filter(|(r, c)| *r > 0 && *c > 0) {
        let size = rustix::termios::Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&master, size).during(act)?;
    }
    Ok((master, slave))
}

/// Makes `slave` the controlling terminal of this session and its three standard descriptors.
pub(crate) fn terminal_stdio(slave: OwnedFd) -> Result<Stdio> {
    let act = || "take the terminal".to_owned();
    rustix::process::ioctl_tiocsctty(&slave).during(act)?;
    let copy = || rustix::io::fcntl_dupfd_cloexec(&slave, 3).during(act);
    Ok(Stdio {
        stdin: copy()?,
        stdout: copy()?,
        stderr: slave,
    })
}

/// Makes the container's tree the root and forgets the host's.
fn pivot(root: &OwnedFd) -> Result<()> {
    let act = || "enter the root file system".to_owned();
    rustix::process::fchdir(root).during(act)?;
    rustix::process::pivot_root(".", ".").during(act)?;
    // The old root now lies on top of the new one at "."; taking it off leaves the new.
    rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH).during(act)?;
    rustix::process::chdir("/").during(act)
}
