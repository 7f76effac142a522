//! The loop of a session.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::remote::Event;
use super::signals::{Ask, PIPE, Signals};
use super::{Ending, Local, Options, Remote};
use crate::detach_keys::Watch;
use crate::error::Result;
use crate::terminal::{self, Raw};

/// What one read of standard input takes.
const INPUT_PIECE: usize = 32 << 10;
/// A pipe that poll says is writable takes so many bytes without blocking (POSIX, `PIPE_BUF`).
const OUTPUT_PIECE: usize = 4096;

/// One of our outputs and what is still to be written there.
struct Output<'a> {
    fd: BorrowedFd<'a>,
    pending: Vec<u8>,
    written: usize,
    wanted: bool,
}

impl<'a> Output<'a> {
    fn new(fd: BorrowedFd<'a>, wanted: bool) -> Self {
        Self {
            fd,
            pending: Vec::new(),
            written: 0,
            wanted,
        }
    }

    fn is_empty(&self) -> bool {
        self.written == self.pending.len()
    }

    fn push(&mut self, bytes: &[u8]) {
        if !self.wanted {
            return;
        }
        if self.is_empty() {
            self.pending.clear();
            self.written = 0;
        }
        self.pending.extend_from_slice(bytes);
    }

    /// Writes a piece. Returns false where nobody reads it any more.
    fn write(&mut self) -> Result<bool, Errno> {
        let rest = &self.pending[self.written..];
        match rustix::io::write(self.fd, &rest[..rest.len().min(OUTPUT_PIECE)]) {
            Ok(n) => self.written += n,
            // Somebody else made it non-blocking; poll says when there is room.
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::PIPE) => return Ok(false),
            Err(e) => return Err(e),
        }
        Ok(true)
    }
}

/// A session under way.
pub(super) struct Session<'a> {
    remote: Remote,
    watch: Watch,
    signals: Signals,
    raw: Option<&'a Raw>,
    forward: Option<&'a dyn Fn(i32)>,
    tty: bool,
    /// Whether standard input is still read.
    reading: bool,
    /// Whether the remote's input is to be closed once `to_remote` is written.
    closing: bool,
    to_remote: Vec<u8>,
    stdin: BorrowedFd<'a>,
    stdout: Output<'a>,
    stderr: Output<'a>,
    /// How the process ended, once that is known. The session goes on until its output is written.
    ended: Option<Ending>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        remote: Remote,
        local: Local<'a>,
        options: &Options<'a>,
        watch: Watch,
        signals: Signals,
        raw: Option<&'a Raw>,
    ) -> Result<Self, Errno> {
        remote.prepare()?;
        let mut session = Self {
            remote,
            watch,
            signals,
            raw,
            forward: options.forward,
            tty: options.tty,
            reading: options.stdin,
            closing: false,
            to_remote: Vec::new(),
            stdin: local.stdin,
            stdout: Output::new(local.stdout, options.stdout),
            stderr: Output::new(local.stderr, options.stderr),
            ended: None,
        };
        session.resize();
        Ok(session)
    }

    /// Runs until the process has ended and its output is written, or one side leaves.
    pub(super) fn run(&mut self) -> Result<Ending> {
        loop {
            let idle = self.stdout.is_empty() && self.stderr.is_empty();
            if let Some(ending) = self.ended.filter(|_| idle) {
                return Ok(ending);
            }
            // Nothing is shown, and all that was typed has gone: there is nothing left to stay for.
            let deaf = !self.stdout.wanted && !self.stderr.wanted;
            if deaf && !self.reading && self.to_remote.is_empty() {
                return Ok(Ending::Detached);
            }
            for part in self.wait(idle)? {
                match part {
                    Part::Signals => {
                        if let Some(ending) = self.obey()? {
                            return Ok(ending);
                        }
                    }
                    Part::Stdout | Part::Stderr => {
                        let output = if part == Part::Stdout {
                            &mut self.stdout
                        } else {
                            &mut self.stderr
                        };
                        if !output.write()? {
                            return Ok(Ending::Signalled(PIPE));
                        }
                    }
                    Part::RemoteInput => self.send()?,
                    Part::RemoteOutput => self.receive()?,
                    Part::Stdin => {
                        if self.type_in()? {
                            return Ok(Ending::Detached);
                        }
                    }
                }
            }
        }
    }

    /// Waits until something can be done, and tells what. The remote is read only while our outputs have taken all that
    /// came before.
    fn wait(&self, idle: bool) -> Result<Vec<Part>, Errno> {
        let mut waits: Vec<(Part, BorrowedFd<'_>, PollFlags)> =
            vec![(Part::Signals, self.signals.as_fd(), PollFlags::IN)];
        if self.reading && self.to_remote.is_empty() {
            waits.push((Part::Stdin, self.stdin, PollFlags::IN));
        }
        if !self.stdout.is_empty() {
            waits.push((Part::Stdout, self.stdout.fd, PollFlags::OUT));
        }
        if !self.stderr.is_empty() {
            waits.push((Part::Stderr, self.stderr.fd, PollFlags::OUT));
        }
        if let Some(fd) = self.remote.writable().filter(|_| !self.to_remote.is_empty()) {
            waits.push((Part::RemoteInput, fd, PollFlags::OUT));
        }
        if idle && self.ended.is_none() {
            waits.extend(
                self.remote
                    .readable()
                    .into_iter()
                    .map(|fd| (Part::RemoteOutput, fd, PollFlags::IN)),
            );
        }
        let mut fds: Vec<PollFd<'_>> = waits
            .iter()
            .map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
            .collect();
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
        // Errors and hang-ups count as readiness: the call that follows tells what they are.
        let ready = fds.iter().zip(&waits).filter(|(fd, _)| !fd.revents().is_empty());
        let mut ready: Vec<Part> = ready.map(|(_, (part, ..))| *part).collect();
        ready.dedup();
        Ok(ready)
    }

    /// Does what pending signals ask. Returns how the session ends, if one ends it.
    fn obey(&mut self) -> Result<Option<Ending>, Errno> {
        while let Some(ask) = self.signals.next()? {
            match ask {
                Ask::Resize => self.resize(),
                Ask::Resume => {
                    if let Some(raw) = self.raw {
                        raw.enter()?;
                    }
                    self.resize();
                }
                Ask::Forward(signal) => {
                    if let Some(forward) = self.forward {
                        forward(signal);
                    }
                }
                Ask::End(signal) => return Ok(Some(Ending::Signalled(signal))),
            }
        }
        Ok(None)
    }

    fn resize(&mut self) {
        let size = terminal::size();
        if self.tty && size != [0, 0] {
            let bytes = self.remote.resize(size);
            self.to_remote.extend(bytes);
        }
    }

    /// Writes what waits for the remote.
    fn send(&mut self) -> Result<(), Errno> {
        let written = self.remote.write(&self.to_remote)?;
        self.to_remote.drain(..written);
        if self.closing && self.to_remote.is_empty() {
            self.remote.close_input();
            self.closing = false;
        }
        Ok(())
    }

    /// Reads what the remote says.
    fn receive(&mut self) -> Result<(), Errno> {
        for event in self.remote.read()? {
            match event {
                Event::Stdout(bytes) => self.stdout.push(&bytes),
                Event::Stderr(bytes) => self.stderr.push(&bytes),
                Event::Exit(code) => self.ended = Some(Ending::Exited(code)),
                Event::Closed => self.ended = self.ended.or(Some(Ending::Closed)),
            }
        }
        Ok(())
    }

    /// Reads standard input. Returns whether the user left.
    fn type_in(&mut self) -> Result<bool, Errno> {
        let mut buffer = [0u8; INPUT_PIECE];
        let read = match rustix::io::read(self.stdin, &mut buffer) {
            Ok(n) => n,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            // A terminal that hung up, or that we may not read from the background.
            Err(Errno::IO | Errno::BADF) => 0,
            Err(e) => return Err(e),
        };
        if read == 0 {
            self.reading = false;
            self.to_remote.extend(self.remote.input_end());
            self.closing = true;
            if self.to_remote.is_empty() {
                self.remote.close_input();
            }
            return Ok(false);
        }
        let mut typed = Vec::with_capacity(read);
        let left = self.watch.pass(&buffer[..read], &mut typed);
        if !typed.is_empty() && self.remote.writable().is_some() {
            self.to_remote.extend(self.remote.input(&typed));
        }
        Ok(left)
    }
}

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Signals,
    Stdin,
    Stdout,
    Stderr,
    RemoteInput,
    RemoteOutput,
}

#[cfg(test)]
mod tests;
