//! The other side of a session: a container's monitor behind a socket, or the pipes or terminal of an `exec`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use hull_monitor::frame;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::termios::{Winsize, tcsetwinsize};

/// The largest piece of output that is read at once.
const PIECE: usize = 64 << 10;

/// The other side.
#[derive(Debug)]
pub(crate) enum Remote {
    /// A monitor: frames of `kind: u8, length: u32 LE, payload` both ways.
    Monitor {
        /// Its socket.
        socket: UnixStream,
        /// Takes frames out of what arrives.
        reader: frame::Reader,
        /// Whether the socket's end was read.
        ended: bool,
    },
    /// A process that we started.
    Process {
        /// Becomes readable when it ends.
        pidfd: OwnedFd,
        /// Its standard input; with a terminal, the terminal.
        stdin: Option<OwnedFd>,
        /// Its standard output, unless that has ended; with a terminal, the terminal.
        stdout: Option<OwnedFd>,
        /// Its standard error, unless that has ended.
        stderr: Option<OwnedFd>,
        /// Whether `stdout` is a terminal.
        tty: bool,
    },
}

/// What came from the other side.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Output.
    Stdout(Vec<u8>),
    /// Error output.
    Stderr(Vec<u8>),
    /// The end, with the process's exit code.
    Exit(i32),
    /// The end, without.
    Closed,
}

impl Remote {
    /// A monitor behind `socket`.
    pub(crate) fn monitor(socket: UnixStream) -> Self {
        Self::Monitor {
            socket,
            reader: frame::Reader::default(),
            ended: false,
        }
    }

    /// Makes writing to it fail rather than block.
    pub(super) fn prepare(&self) -> Result<(), Errno> {
        let writable = match self {
            Self::Monitor { socket, .. } => Some(socket.as_fd()),
            Self::Process { stdin, .. } => stdin.as_ref().map(AsFd::as_fd),
        };
        let readable = match self {
            Self::Monitor { .. } => [None, None],
            Self::Process { stdout, stderr, .. } => [stdout.as_ref(), stderr.as_ref()],
        };
        for fd in writable
            .into_iter()
            .chain(readable.into_iter().flatten().map(AsFd::as_fd))
        {
            let flags = rustix::fs::fcntl_getfl(fd)?;
            rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?;
        }
        Ok(())
    }

    /// Descriptors to wait on for output or the end.
    pub(super) fn readable(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Monitor { socket, .. } => vec![socket.as_fd()],
            Self::Process {
                pidfd, stdout, stderr, ..
            } => [Some(pidfd), stdout.as_ref(), stderr.as_ref()]
                .into_iter()
                .flatten()
                .map(AsFd::as_fd)
                .collect(),
        }
    }

    /// The descriptor to wait on before more input is written; `None` where it takes no more.
    pub(super) fn writable(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Monitor { socket, ended, .. } => (!ended).then(|| socket.as_fd()),
            Self::Process { stdin, .. } => stdin.as_ref().map(AsFd::as_fd),
        }
    }

    /// `typed` as it is sent.
    pub(super) fn input(&self, typed: &[u8]) -> Vec<u8> {
        match self {
            Self::Monitor { .. } => frame_of(frame::STDIN, typed),
            Self::Process { .. } => typed.to_vec(),
        }
    }

    /// What is sent when the input has ended. For a process its pipe is closed once all before it is written
    /// ([`Remote::close_input`]).
    pub(super) fn input_end(&self) -> Vec<u8> {
        match self {
            Self::Monitor { .. } => frame_of(frame::STDIN_END, &[]),
            Self::Process { .. } => Vec::new(),
        }
    }

    /// Closes the input of a process without a terminal. A monitor does it itself.
    pub(super) fn close_input(&mut self) {
        if let Self::Process { stdin, tty: false, .. } = self {
            *stdin = None;
        }
    }

    /// Tells the size of the terminal: at once where that is possible, or as bytes to send.
    pub(super) fn resize(&self, [rows, columns]: [u16; 2]) -> Vec<u8> {
        match self {
            Self::Monitor { .. } => {
                let [r, c] = [rows.to_le_bytes(), columns.to_le_bytes()];
                frame_of(frame::RESIZE, &[r[0], r[1], c[0], c[1]])
            }
            Self::Process { stdout, tty, .. } => {
                if let Some(terminal) = stdout.as_ref().filter(|_| *tty) {
                    let size = Winsize {
                        ws_row: rows,
                        ws_col: columns,
                        ws_xpixel: 0,
                        ws_ypixel: 0,
                    };
                    // Only a closed terminal has no size, and it needs none.
                    let _ = tcsetwinsize(terminal, size);
                }
                Vec::new()
            }
        }
    }

    /// Writes some of `bytes`; 0 where it would block. A process that reads no input is no failure.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        let written = match self {
            // No SIGPIPE whatever this process does with it.
            Self::Monitor { socket, .. } => rustix::net::send(socket, bytes, rustix::net::SendFlags::NOSIGNAL),
            Self::Process { stdin: Some(fd), .. } => rustix::io::write(fd, bytes),
            Self::Process { stdin: None, .. } => return Ok(bytes.len()),
        };
        match written {
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(Errno::PIPE | Errno::CONNRESET | Errno::IO) => {
                // The reader is gone; how it ended comes in by the reading side.
                if let Self::Process { stdin, .. } = self {
                    *stdin = None;
                }
                Ok(bytes.len())
            }
            other => other,
        }
    }

    /// Reads what is there. An empty list means that nothing is, for now.
    pub(super) fn read(&mut self) -> Result<Vec<Event>, Errno> {
        match self {
            Self::Monitor { socket, reader, ended } => read_monitor(socket, reader, ended),
            Self::Process {
                pidfd, stdout, stderr, ..
            } => {
                // Looked at first: what it wrote before its end is then still there to be read.
                let exited = is_readable(pidfd);
                let mut events = Vec::new();
                if let Some(bytes) = read_some(stdout)? {
                    events.push(Event::Stdout(bytes));
                }
                if let Some(bytes) = read_some(stderr)? {
                    events.push(Event::Stderr(bytes));
                }
                if events.is_empty() && exited {
                    events.push(Event::Closed);
                }
                Ok(events)
            }
        }
    }
}

fn is_readable(fd: &OwnedFd) -> bool {
    let mut fds = [rustix::event::PollFd::new(fd, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut fds, Some(&now)).is_ok_and(|n| n > 0)
}

/// Reads a piece. At the end the descriptor is closed.
fn read_some(fd: &mut Option<OwnedFd>) -> Result<Option<Vec<u8>>, Errno> {
    let Some(open) = fd else { return Ok(None) };
    let mut buffer = vec![0; PIECE];
    match rustix::io::read(&*open, &mut buffer) {
        Ok(0) => *fd = None,
        // A terminal whose last user has closed it.
        Err(Errno::IO) => *fd = None,
        Ok(n) => {
            buffer.truncate(n);
            return Ok(Some(buffer));
        }
        Err(Errno::AGAIN | Errno::INTR) => {}
        Err(e) => return Err(e),
    }
    Ok(None)
}

fn read_monitor(socket: &UnixStream, reader: &mut frame::Reader, ended: &mut bool) -> Result<Vec<Event>, Errno> {
    let mut buffer = vec![0; PIECE];
    match rustix::io::read(socket, &mut buffer) {
        Ok(0) | Err(Errno::CONNRESET) => {
            *ended = true;
            return Ok(vec![Event::Closed]);
        }
        Ok(n) => reader.push(&buffer[..n]),
        Err(Errno::AGAIN | Errno::INTR) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    }
    let mut events = Vec::new();
    while let Some((kind, payload)) = reader.next_frame().map_err(|_| Errno::PROTO)? {
        match (kind, payload) {
            (frame::STDOUT, bytes) => events.push(Event::Stdout(bytes.to_vec())),
            (frame::STDERR, bytes) => events.push(Event::Stderr(bytes.to_vec())),
            (frame::EXIT, &[a, b, c, d]) => events.push(Event::Exit(i32::from_le_bytes([a, b, c, d]))),
            // A later monitor may say more than we know.
            _ => {}
        }
    }
    Ok(events)
}

fn frame_of(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(frame::HEADER + payload.len());
    out.extend_from_slice(&frame::header(kind, payload.len()));
    out.extend_from_slice(payload);
    out
}
