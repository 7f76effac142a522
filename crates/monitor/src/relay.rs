//! Moves bytes between the container's process, its log and its clients until the process has ended.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::buffer::Buffer;
use crate::client::{BEHIND_MAX, Client, Word};
use crate::error::{Error, Result};
use crate::frame;
use crate::log::{Log, Stream};

/// Input that may wait for the container before its clients are not read any more.
const INPUT_MAX: usize = 64 << 10;

/// After this time without output there may be none for long.
const QUIET: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};

/// What is asked for again before this time has passed is not given back to the kernel.
const SOON: Duration = Duration::from_secs(10);

/// What the relay works on.
pub(crate) struct Relay {
    /// The container's init: readable when it has ended.
    pub(crate) init: OwnedFd,
    /// The container's standard input.
    pub(crate) stdin: Option<File>,
    /// Its standard output and error, or its terminal's master as the first.
    pub(crate) outputs: [Option<File>; 2],
    /// Whether the first output is a terminal's master, which takes input too.
    pub(crate) terminal: bool,
    /// Where clients come in.
    pub(crate) listener: UnixListener,
    /// Who is attached.
    pub(crate) clients: Vec<Client>,
    /// The log.
    pub(crate) log: Log,
    /// Whether standard input ends with its client.
    pub(crate) stdin_once: bool,
    /// Input on its way to the container.
    pub(crate) input: Input,
    /// Where a health check tells what it has found.
    pub(crate) probe: Option<OwnedFd>,
    /// Whether memory was given back since the container was started.
    pub(crate) settled: bool,
}

/// Input on its way.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Input {
    queue: VecDeque<u8>,
    ended: bool,
    #[serde(skip)]
    size: Option<(u16, u16)>,
}

/// Why the relay stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The container's init has ended and all that it wrote is taken.
    Ended,
    /// The time is up.
    Due,
    /// A health check has something to tell.
    Probed,
    /// The container's terminal has another size.
    Resized { rows: u16, columns: u16 },
}

impl Relay {
    /// Runs until the container's init has ended and all that it wrote is taken, or until `due`.
    pub(crate) fn run(&mut self, due: Option<Instant>) -> Result<Outcome> {
        let mut buffer = Buffer::new();
        let mut input = std::mem::take(&mut self.input);
        let outcome = self.turn(due, &mut buffer, &mut input);
        self.input = input;
        outcome
    }

    fn turn(&mut self, due: Option<Instant>, buffer: &mut Buffer, input: &mut Input) -> Result<Outcome> {
        let mut rested = false;
        loop {
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Outcome::Due);
            }
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let log = self.log.patience();
            let rest = (!rested).then_some(QUIET);
            let patience = left.into_iter().chain(log).chain(rest);
            let patience = patience.min_by_key(|time| (time.tv_sec, time.tv_nsec));
            let ready = self.wait(input, patience.as_ref())?;
            self.log.pump();
            let Some(ready) = ready else {
                if !rested {
                    // What a burst of output needed is not kept for ever.
                    buffer.rest(&self.outputs);
                    self.log.rest();
                    self.settle(due);
                    rested = true;
                }
                continue;
            };
            rested &= !ready.outputs.contains(&true);
            if ready.listener {
                self.accept();
            }
            let resized = self.hear(&ready.clients, buffer.bytes(), input);
            self.feed(input);
            for at in 0..self.outputs.len() {
                if ready.outputs[at] {
                    self.take(at, buffer);
                }
            }
            for client in &mut self.clients {
                client.flush();
            }
            self.clients.retain(|client| !client.gone);
            if let (Some((rows, columns)), false) = (resized, ready.init) {
                return Ok(Outcome::Resized { rows, columns });
            }
            if ready.probe && !ready.init {
                return Ok(Outcome::Probed);
            }
            if ready.init {
                self.drain(buffer);
                self.clients.iter_mut().for_each(Client::confess);
                self.log.finish();
                return Ok(Outcome::Ended);
            }
        }
    }

    /// Gives memory back, but not again and again between health checks that follow one another.
    fn settle(&mut self, due: Option<Instant>) {
        let soon = due.is_some_and(|due| due.saturating_duration_since(Instant::now()) < SOON);
        if !soon || !std::mem::replace(&mut self.settled, true) {
            hull_sys::memory::settle();
        }
    }

    /// Waits for something to do; `None` where nothing came up for `patience`.
    fn wait(&self, input: &Input, patience: Option<&Timespec>) -> Result<Option<Ready>> {
        let late = !self.log.is_lossy() && self.clients.iter().any(|c| c.behind() > BEHIND_MAX);
        let congested = late || self.log.is_congested();
        let mut fds = Vec::with_capacity(7 + self.clients.len());
        fds.push(PollFd::new(&self.init, PollFlags::IN));
        fds.push(PollFd::new(&self.listener, PollFlags::IN));
        let mut outputs = [None; 2];
        for (at, output) in self.outputs.iter().enumerate() {
            let Some(output) = output else { continue };
            let mut wanted = PollFlags::empty();
            if !congested {
                wanted |= PollFlags::IN;
            }
            if at == 0 && self.terminal && !input.queue.is_empty() {
                wanted |= PollFlags::OUT;
            }
            if !wanted.is_empty() {
                outputs[at] = Some(fds.len());
                fds.push(PollFd::new(output, wanted));
            }
        }
        if let Some(stdin) = self.stdin.as_ref().filter(|_| !input.queue.is_empty()) {
            fds.push(PollFd::new(stdin, PollFlags::OUT));
        }
        let first_client = fds.len();
        for client in &self.clients {
            let mut wanted = PollFlags::empty();
            if input.queue.len() < INPUT_MAX {
                wanted |= PollFlags::IN;
            }
            if client.behind() > 0 {
                wanted |= PollFlags::OUT;
            }
            fds.push(PollFd::new(&client.stream, wanted));
        }
        let clients = first_client..fds.len();
        let probe = self.probe.as_ref().map(|probe| {
            fds.push(PollFd::new(probe, PollFlags::IN));
            fds.len() - 1
        });
        if let Some(target) = self.log.waits_for() {
            fds.push(PollFd::from_borrowed_fd(target, PollFlags::OUT));
        }
        match poll(&mut fds, patience) {
            Ok(0) if patience.is_some() => return Ok(None),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(Error::System {
                    act: "wait for the container",
                    errno,
                });
            }
        }
        let is_ready = |at: usize| !fds[at].revents().is_empty();
        Ok(Some(Ready {
            init: is_ready(0),
            listener: is_ready(1),
            probe: probe.is_some_and(is_ready),
            outputs: outputs.map(|at| at.is_some_and(is_ready)),
            clients: clients.map(is_ready).collect(),
        }))
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if let Ok(client) = Client::new(stream) {
                self.clients.push(client);
            }
        }
    }

    /// Takes what clients say. The result is the terminal's new size, if it got one.
    fn hear(&mut self, ready: &[bool], buffer: &mut [u8], input: &mut Input) -> Option<(u16, u16)> {
        for (client, _) in self.clients.iter_mut().zip(ready).filter(|(_, ready)| **ready) {
            client.read(buffer, |word| match word {
                Word::Input(bytes) => input.queue.extend(bytes),
                Word::InputEnd => input.ended = true,
                Word::Resize { rows, columns } => input.size = Some((rows, columns)),
            });
        }
        if self.stdin_once && self.clients.iter().any(|c| c.gone) && self.clients.iter().all(|c| c.gone) {
            input.ended = true;
        }
        let (rows, columns) = input.size.take().filter(|_| self.terminal)?;
        let size = rustix::termios::Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let done = rustix::termios::tcsetwinsize(self.outputs[0].as_ref()?, size);
        done.is_ok().then_some((rows, columns))
    }

    /// Gives the container as much input as it takes.
    fn feed(&mut self, input: &mut Input) {
        let target = if self.terminal {
            &mut self.outputs[0]
        } else {
            &mut self.stdin
        };
        let Some(file) = target else {
            input.queue.clear();
            return;
        };
        while !input.queue.is_empty() {
            let (front, _) = input.queue.as_slices();
            match file.write(front) {
                Ok(n) => drop(input.queue.drain(..n)),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                // Nobody reads any more.
                Err(_) => {
                    input.queue.clear();
                    if !self.terminal {
                        self.stdin = None;
                    }
                    return;
                }
            }
        }
        if input.queue.capacity() > INPUT_MAX {
            input.queue = VecDeque::new();
        }
        if input.ended && self.stdin_once && !self.terminal {
            self.stdin = None;
        }
    }

    /// Takes what one output has. `false` when there is nothing (more).
    fn take(&mut self, at: usize, buffer: &mut Buffer) -> bool {
        let Some(output) = &mut self.outputs[at] else {
            return false;
        };
        // What becomes an entry leaves its pipe only once that is written.
        let mut ahead = self.log.is_kept() && !(at == 0 && self.terminal);
        let mut read = if ahead {
            buffer.look(at, output)
        } else {
            buffer.read(at, output)
        };
        if ahead && read.as_ref().is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock) {
            ahead = false;
            read = buffer.read(at, output);
        }
        let taken = match read {
            Ok(0) => None,
            Ok(length) => Some(length),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock) => return false,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => return true,
            // A terminal whose other side is closed by all says EIO.
            Err(_) => None,
        };
        let Some(length) = taken else {
            self.outputs[at] = None;
            return false;
        };
        let bytes = buffer.seen(length);
        let (stream, kind) = if at == 0 {
            (Stream::Stdout, frame::STDOUT)
        } else {
            (Stream::Stderr, frame::STDERR)
        };
        if ahead {
            self.log.write_ahead(stream, bytes);
            buffer.discard(output, length);
            self.log.left();
        } else {
            self.log.write(stream, bytes);
        }
        let lossy = self.log.is_lossy();
        for client in &mut self.clients {
            if lossy {
                client.offer(kind, bytes);
            } else {
                client.send(kind, bytes);
            }
        }
        true
    }

    /// Takes from its pipe what an earlier monitor had written into the log when it was killed, and had not taken yet.
    pub(crate) fn take_over(&mut self) {
        let Some(taken) = self.log.take_over() else { return };
        let Some(output) = &self.outputs[taken.stream] else {
            return;
        };
        let mut buffer = Buffer::new();
        let seen = buffer.look(taken.stream, output).unwrap_or_default();
        let there = rustix::io::ioctl_fionread(output).unwrap_or_default();
        if buffer.seen(seen).starts_with(&taken.front) && there >= taken.length as u64 {
            buffer.discard(output, taken.length);
        }
        buffer.rest(&self.outputs);
        self.log.left();
    }

    /// Takes what is left when init has ended. Processes that share its PID namespace are gone with it; where it had none
    /// of its own, what others still write is not waited for.
    fn drain(&mut self, buffer: &mut Buffer) {
        for at in 0..self.outputs.len() {
            while self.take(at, buffer) {
                let lossy = self.log.is_lossy();
                let behind = |c: &Client| !lossy && c.behind() > BEHIND_MAX && !c.gone;
                while self.clients.iter().any(behind) {
                    let mut fds: Vec<_> = self
                        .clients
                        .iter()
                        .filter(|c| behind(c))
                        .map(|c| PollFd::from_borrowed_fd(c.stream.as_fd(), PollFlags::OUT))
                        .collect();
                    if poll(&mut fds, None).is_err() {
                        break;
                    }
                    drop(fds);
                    self.clients.iter_mut().for_each(Client::flush);
                }
            }
        }
    }
}

/// What [`Relay::wait`] found.
struct Ready {
    init: bool,
    listener: bool,
    probe: bool,
    outputs: [bool; 2],
    clients: Vec<bool>,
}
