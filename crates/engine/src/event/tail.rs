//! Reading the log of events while others write it and put it away.

use std::fs::{self, File};
use std::io::Read;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hull_monitor::event::{LINE_MAX, OLD_FILES, file};
use hull_spec::event::Event;

use crate::{Error, Result};

/// How every line begins. Inside of a line neither can be found: a text's quotes are escaped there, and no inner object
/// has these as its first fields.
const BEGINNINGS: [&[u8]; 2] = [b"{\"status\":", b"{\"Type\":"];

/// All files of the log, as far as they were read.
#[derive(Debug, Default)]
pub(super) struct Tail {
    files: Vec<Reading>,
}

#[derive(Debug)]
struct Reading {
    file: File,
    /// Device and inode: renamed, a file stays the same.
    key: (u64, u64),
    /// A line whose end has not come yet.
    partial: Vec<u8>,
    /// Whether `partial` is the end of a line that is too long to be one of ours.
    skipping: bool,
}

impl Tail {
    /// A reader of what is there, oldest first, or with `new_only` of what will come.
    pub(super) fn open(data_root: &Path, new_only: bool) -> Result<Self> {
        let mut tail = Self::default();
        tail.find(data_root)?;
        if new_only {
            for reading in &mut tail.files {
                std::io::Seek::seek(&mut reading.file, std::io::SeekFrom::End(0)).map_err(cannot_read(data_root))?;
            }
        }
        Ok(tail)
    }

    /// Gives `take` all events that were not read yet.
    pub(super) fn read(
        &mut self,
        data_root: &Path,
        take: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        // Files that came are found before the old ones are read to their ends, so that what a late writer added to an
        // old one is not overlooked.
        self.find(data_root)?;
        for reading in &mut self.files {
            if reading.read(take).map_err(cannot_read(data_root))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        self.forget(data_root);
        Ok(ControlFlow::Continue(()))
    }

    /// Opens files that are not open yet.
    fn find(&mut self, data_root: &Path) -> Result<()> {
        loop {
            let mut found = Vec::new();
            for number in (0..=OLD_FILES).rev() {
                match File::open(file(data_root, number)) {
                    Ok(file) => {
                        let key = key(&file.metadata().map_err(cannot_read(data_root))?);
                        if found.iter().all(|(other, _)| *other != key) {
                            found.push((key, file));
                        }
                    }
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    Err(e) => return Err(cannot_read(data_root)(e)),
                }
            }
            // While files are renamed one can slip past a look.
            let missed = Self::keys(data_root).any(|key| found.iter().all(|(other, _)| *other != key));
            if missed {
                continue;
            }
            for (key, file) in found {
                if self.files.iter().all(|reading| reading.key != key) {
                    self.files.push(Reading {
                        file,
                        key,
                        partial: Vec::new(),
                        skipping: false,
                    });
                }
            }
            return Ok(());
        }
    }

    fn keys(data_root: &Path) -> impl Iterator<Item = (u64, u64)> {
        let numbers = (0..=OLD_FILES).rev();
        numbers.filter_map(move |number| Some(key(&fs::metadata(file(data_root, number)).ok()?)))
    }

    /// Closes files that have gone: all that they had is read.
    fn forget(&mut self, data_root: &Path) {
        if self.files.len() > OLD_FILES as usize + 1 {
            let there: Vec<_> = Self::keys(data_root).collect();
            self.files.retain(|reading| there.contains(&reading.key));
        }
    }
}

fn key(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn cannot_read(data_root: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = hull_monitor::event::folder(data_root);
    move |source| Error::Read {
        path: path.clone(),
        source,
    }
}

impl Reading {
    fn read(&mut self, take: &mut dyn FnMut(Event) -> ControlFlow<()>) -> std::io::Result<ControlFlow<()>> {
        let mut buffer = [0; 16 << 10];
        loop {
            let n = match self.file.read(&mut buffer) {
                Ok(0) => return Ok(ControlFlow::Continue(())),
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            for piece in buffer[..n].split_inclusive(|b| *b == b'\n') {
                if !self.skipping {
                    self.partial.extend_from_slice(piece);
                }
                if piece.ends_with(b"\n") {
                    let line = std::mem::take(&mut self.partial);
                    let whole = !std::mem::take(&mut self.skipping);
                    if let Some(event) = parse(&line).filter(|_| whole)
                        && take(event).is_break()
                    {
                        return Ok(ControlFlow::Break(()));
                    }
                } else if self.partial.len() > 2 * LINE_MAX {
                    self.partial = Vec::new();
                    self.skipping = true;
                }
            }
        }
    }
}

/// The event of a line. One that was torn has the next one right behind it.
fn parse(line: &[u8]) -> Option<Event> {
    if let Ok(event) = serde_json::from_slice(line) {
        return Some(event);
    }
    let starts = |beginning: &[u8]| line.windows(beginning.len()).rposition(|window| window == beginning);
    let start = BEGINNINGS.iter().filter_map(|beginning| starts(beginning)).max()?;
    serde_json::from_slice(&line[start..]).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use hull_monitor::event::{append, make_folder};
    use hull_spec::event::Kind;

    use super::*;

    fn event(at: i64) -> Event {
        Event::new(Kind::Container, "start", "c", at).with("{\"Type\":", "a\"b")
    }

    fn times(tail: &mut Tail, data: &Path) -> Vec<i64> {
        let mut out = Vec::new();
        let read = tail.read(data, &mut |event| {
            out.push(event.time_nano);
            ControlFlow::Continue(())
        });
        assert!(read.unwrap().is_continue());
        out
    }

    /// Puts the log away as a writer does.
    fn rotate(data: &Path) {
        for number in (0..OLD_FILES).rev() {
            let _ = fs::rename(file(data, number), file(data, number + 1));
        }
    }

    #[test]
    fn every_event_is_read_once_across_rotations() {
        let data = tempfile::tempdir().unwrap();
        let data = data.path();
        append(data, &event(1));
        rotate(data);
        append(data, &event(2));
        let (mut all, mut new) = (Tail::open(data, false).unwrap(), Tail::open(data, true).unwrap());
        assert_eq!(times(&mut all, data), [1, 2]);
        assert_eq!(times(&mut new, data), [0; 0]);
        let late = File::options().append(true).open(file(data, 0)).unwrap();
        append(data, &event(3));
        for at in 4..9 {
            rotate(data);
            append(data, &event(at));
            if at == 4 {
                // By one who had opened the file before it was put away.
                writeln!(&late, "{}", serde_json::to_string(&event(100)).unwrap()).unwrap();
            }
            if at % 2 == 0 {
                let expected: &[i64] = match at {
                    4 => &[3, 100, 4],
                    6 => &[5, 6],
                    _ => &[7, 8],
                };
                assert_eq!(times(&mut all, data), expected);
                assert_eq!(times(&mut new, data), expected);
            }
        }
        assert!(all.files.len() <= OLD_FILES as usize + 1);
        assert_eq!(times(&mut all, data), [0; 0]);
    }

    #[test]
    fn torn_and_foreign_lines_are_passed_over() {
        let data = tempfile::tempdir().unwrap();
        let data = data.path();
        make_folder(data).unwrap();
        let path = file(data, 0);
        let line = |at| serde_json::to_string(&event(at)).unwrap();
        let mut text = line(1);
        text.truncate(text.len() - 20);
        text += &line(2);
        text += "\n\nnonsense\n{}\n[]\n\u{0}\n";
        text += &line(3);
        fs::write(&path, &text).unwrap();
        let mut tail = Tail::open(data, false).unwrap();
        // The last line has no end yet.
        assert_eq!(times(&mut tail, data), [2]);
        let mut log = File::options().append(true).open(&path).unwrap();
        log.write_all(b"\n").unwrap();
        assert_eq!(times(&mut tail, data), [3]);
        log.write_all(&vec![b'x'; 3 * LINE_MAX]).unwrap();
        writeln!(log, "\n{}", line(4)).unwrap();
        assert_eq!(times(&mut tail, data), [4]);
    }
}
