//! The log of events, `DATA/events/log`: one JSON object a line, appended by whichever process does something.
//!
//! An event is one `O_APPEND` write, so that the lines of several processes do not mix. A file that has grown beyond
//! [`FILE_MAX`] gives way: it is renamed to `log.1`, what was `log.1` to `log.2`, and so on to [`OLD_FILES`]. Who
//! renames holds the lock of `DATA/events/lock` and has looked at the file's size again under it. A writer that has
//! opened the file just before writes to one with another name; readers find its line there.
//!
//! A line may be torn, where the disk was full or the writer was killed: readers take what stands behind it.
//!
//! What happened has happened, whether it can be told or not: a full disk, a read-only one or a user without rights on
//! the folder loses events and fails nothing.

mod subject;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hull_spec::event::Event;
use rustix::fs::{FlockOperation, flock};

pub use subject::Subject;
pub(crate) use subject::volume_destroyed;

/// Bytes after which a file is put away.
pub const FILE_MAX: u64 = 8 << 20;

/// How many files are kept besides the one that is written.
pub const OLD_FILES: u32 = 3;

/// Bytes of one line. Labels can be as long as a stranger likes.
pub const LINE_MAX: usize = 1 << 20;

/// `DATA` of the container whose files are in `DATA/containers/ID`.
pub(crate) fn data_root(container: &Path) -> &Path {
    container.ancestors().nth(2).unwrap_or(container)
}

/// `DATA/events`.
#[must_use]
pub fn folder(data_root: &Path) -> PathBuf {
    data_root.join("events")
}

/// The file of number `number`, 0 for the one that is written, `OLD_FILES` for the oldest.
#[must_use]
pub fn file(data_root: &Path, number: u32) -> PathBuf {
    match number {
        0 => folder(data_root).join("log"),
        number => folder(data_root).join(format!("log.{number}")),
    }
}

/// The time for an event: nanoseconds since 1970.
#[must_use]
pub fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// Appends one event. Never fails: see above.
pub fn append(data_root: &Path, event: &Event) {
    append_all(data_root, std::slice::from_ref(event));
}

/// Appends events by one write, so that nothing comes between them.
pub fn append_all(data_root: &Path, events: &[Event]) {
    let Some(log) = open(data_root) else { return };
    append_to(&log, events);
    // After an appending write the position is the end of the file.
    if (&log).stream_position().is_ok_and(|size| size >= FILE_MAX) {
        rotate(data_root, FILE_MAX);
    }
}

/// The log, for one who will have lost sight of the data root by the time of the event.
///
/// `None` where it cannot be opened.
#[must_use]
pub fn open(data_root: &Path) -> Option<File> {
    let path = file(data_root, 0);
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    match options.open(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            make_folder(data_root).ok()?;
            options.open(&path).ok()
        }
        opened => opened.ok(),
    }
}

/// Makes `DATA/events`; `DATA` itself is there.
///
/// # Errors
/// If it cannot be made.
pub fn make_folder(data_root: &Path) -> std::io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder(data_root)) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Appends events to a log that is open already. It is not put away, however long it is: who has lost sight of the data
/// root must not rename what is found at its path.
pub fn append_to(mut log: &File, events: &[Event]) {
    let mut lines = Vec::with_capacity(512 * events.len());
    for event in events {
        line(event, &mut lines);
    }
    if !lines.is_empty() {
        let _ = log.write(&lines);
    }
}

/// Adds the line of an event. One that is too long goes without the labels, which are what makes it so.
fn line(event: &Event, out: &mut Vec<u8>) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, event).is_ok() && out.len() - start < LINE_MAX {
        out.push(b'\n');
        return;
    }
    out.truncate(start);
    let mut short = event.clone();
    let known = |name: &str| {
        matches!(
            name,
            "image" | "name" | "container" | "type" | "driver" | "exitCode" | "signal" | "execID"
        )
    };
    let attributes = &mut short.actor.attributes;
    attributes.retain(|name, value| known(name) && value.len() <= LINE_MAX / 16);
    // The command line of an exec.
    for text in [&mut short.action, &mut short.status] {
        if let Some((end, _)) = text.char_indices().nth(LINE_MAX / 64) {
            text.truncate(end);
        }
    }
    if serde_json::to_writer(&mut *out, &short).is_ok() && out.len() - start < LINE_MAX {
        out.push(b'\n');
    } else {
        out.truncate(start);
    }
}

/// Puts the log away if it is still as long as `max`; somebody else may have done it, or be about to.
fn rotate(data_root: &Path, max: u64) {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let Ok(lock) = options.open(folder(data_root).join("lock")) else {
        return;
    };
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return;
    }
    let current = file(data_root, 0);
    if !std::fs::metadata(&current).is_ok_and(|found| found.size() >= max) {
        return;
    }
    for number in (0..OLD_FILES).rev() {
        let _ = std::fs::rename(file(data_root, number), file(data_root, number + 1));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use hull_spec::event::Kind;

    use super::*;

    fn event(at: i64) -> Event {
        Event::new(Kind::Container, "start", "c", at).with("name", "n")
    }

    fn lines(path: &Path) -> Vec<Event> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    #[test]
    fn events_are_appended_and_private() {
        let data = tempfile::tempdir().unwrap();
        append(data.path(), &event(1));
        append_all(data.path(), &[event(2), event(3)]);
        append_all(data.path(), &[]);
        let path = file(data.path(), 0);
        assert_eq!(lines(&path), [event(1), event(2), event(3)]);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let folder = std::fs::metadata(folder(data.path())).unwrap();
        assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn what_cannot_be_written_is_let_go() {
        let data = tempfile::tempdir().unwrap();
        append(&data.path().join("missing"), &event(1));
        std::fs::write(data.path().join("events"), "").unwrap();
        append(data.path(), &event(1));
        // /dev/full says that there is no space.
        append_to(&File::options().write(true).open("/dev/full").unwrap(), &[event(1)]);
    }

    #[test]
    fn long_labels_are_left_out() {
        let data = tempfile::tempdir().unwrap();
        let long = event(1).with("label", "x".repeat(LINE_MAX)).with("exitCode", "3");
        append_all(data.path(), &[event(0), long, event(2)]);
        let found = lines(&file(data.path(), 0));
        assert_eq!(found, [event(0), event(1).with("exitCode", "3"), event(2)]);
        let command = format!("exec_create: {}", "\u{1}é".repeat(LINE_MAX));
        append(data.path(), &Event::new(Kind::Container, &command, "c", 4));
        let found = lines(&file(data.path(), 0));
        assert!(command.starts_with(&found[3].action) && found[3].action.len() > 1000);
    }

    #[test]
    fn old_files_are_kept_in_order_and_the_oldest_goes() {
        let data = tempfile::tempdir().unwrap();
        for round in 0..6 {
            append(data.path(), &event(round));
            rotate(data.path(), 1);
            // Nothing to put away: nothing moves.
            rotate(data.path(), 1);
        }
        append(data.path(), &event(6));
        let times = |number| {
            lines(&file(data.path(), number))
                .iter()
                .map(|e| e.time_nano)
                .collect::<Vec<_>>()
        };
        assert_eq!([times(0), times(1), times(2), times(3)], [[6], [5], [4], [3]]);
        assert!(!file(data.path(), 4).exists());
    }

    #[test]
    fn writers_at_once_lose_nothing_across_rotations() {
        let data = tempfile::tempdir().unwrap();
        let root = data.path();
        std::thread::scope(|scope| {
            for writer in 0..4_i64 {
                scope.spawn(move || {
                    for at in 0..250 {
                        append(root, &event(writer * 1000 + at));
                        if at == 100 && writer == 0 {
                            rotate(root, 1);
                        }
                    }
                });
            }
        });
        let mut all: Vec<i64> = (0..=OLD_FILES)
            .flat_map(|number| lines(&file(root, number)))
            .map(|e| e.time_nano)
            .collect();
        all.sort_unstable();
        let expected: Vec<i64> = (0..4).flat_map(|w| (0..250).map(move |at| w * 1000 + at)).collect();
        assert_eq!(all, expected);
    }
}
