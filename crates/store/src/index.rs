//! The index, `hull.db`: which names mean which image, which layers an image has, which layers are good.
//!
//! Opening and closing SQLite is the dearest part of looking up an image, so a reader opens the file read-only, runs
//! one statement, and nobody checkpoints on close: the verbs that change it do so when they are done.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::{At, Error, Result};
use crate::{Access, Store};

/// Steps from one layout to the next; the layout's version is how many of them were taken.
///
/// Digests and references are stored as their text, lists of digests one a line.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE images (
        id TEXT PRIMARY KEY,
        manifest TEXT NOT NULL,
        config BLOB NOT NULL,
        layers TEXT NOT NULL,
        blobs TEXT NOT NULL,
        size INTEGER NOT NULL
    );
    CREATE TABLE refs (
        name TEXT PRIMARY KEY,
        image TEXT NOT NULL REFERENCES images(id)
    ) WITHOUT ROWID;
    CREATE INDEX refs_image ON refs(image);
    CREATE TABLE layers (
        chain TEXT PRIMARY KEY,
        diff TEXT NOT NULL,
        blob TEXT NOT NULL,
        size INTEGER NOT NULL,
        boot TEXT
    ) WITHOUT ROWID;
"];

/// How long to wait for another process's transaction; ours take milliseconds.
const BUSY: Duration = Duration::from_secs(30);

const KNOWN: i64 = MIGRATIONS.len() as i64;

/// Names the statement that failed.
pub(crate) trait Statement<T> {
    fn act(self, act: &'static str) -> Result<T>;
}

impl<T> Statement<T> for rusqlite::Result<T> {
    fn act(self, act: &'static str) -> Result<T> {
        self.map_err(|source| Error::Index { act, source })
    }
}

impl Store {
    /// Runs `f` on the index, which is opened if it is not yet.
    ///
    /// # Errors
    /// What `f` returns, and failures to open. A missing index is [`std::io::ErrorKind::NotFound`] of [`Error::Io`].
    pub(crate) fn with_index<T>(&self, f: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let mut slot = self.index.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &mut *slot {
            Some(connection) => f(connection),
            None => f(slot.insert(open(self.root(), self.access())?)),
        }
    }

    /// Whether there is an index at all; without one there are no images.
    pub(crate) fn has_index(&self) -> bool {
        self.access() == Access::Write || self.dir("hull.db").exists()
    }
}

fn open(root: &Path, access: Access) -> Result<Connection> {
    let path = root.join("hull.db");
    let mut flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    flags |= match access {
        Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    };
    let mut connection = Connection::open_with_flags(&path, flags).act("open")?;
    connection.busy_timeout(BUSY).act("set the busy timeout")?;
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .act("keep the log on close")?;
    let found: i64 = version(&connection)?;
    if found > KNOWN {
        return Err(Error::Newer {
            root: root.to_owned(),
            found,
            known: KNOWN,
        });
    }
    if access == Access::Write {
        // NORMAL syncs at checkpoints only: a power cut may take back the last commits, but never tears one.
        write_ahead(&connection)?;
        connection
            .execute_batch("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 500")
            .act("choose when to sync")?;
        migrate(&mut connection)?;
    } else if found < KNOWN {
        // A reader cannot migrate; whoever may write does it in passing.
        open(root, Access::Write)?;
        return open(root, Access::Read);
    }
    Ok(connection)
}

/// Turns write-ahead logging on. Two commands that make the index at once both want to, and for this one change SQLite does
/// not wait for the other as it does elsewhere.
fn write_ahead(connection: &Connection) -> Result<()> {
    let started = std::time::Instant::now();
    loop {
        let mode: rusqlite::Result<String> =
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0));
        match mode {
            Err(rusqlite::Error::SqliteFailure(e, _))
                if e.code == rusqlite::ErrorCode::DatabaseBusy && started.elapsed() < BUSY =>
            {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            done => return done.map(drop).act("choose write-ahead logging"),
        }
    }
}

fn version(connection: &Connection) -> Result<i64> {
    connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .act("read the layout version")
}

fn migrate(connection: &mut Connection) -> Result<()> {
    if version(connection)? == KNOWN {
        return Ok(());
    }
    let transaction = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .act("begin a migration")?;
    let found = version(&transaction)?;
    for step in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(step).act("migrate the layout")?;
    }
    transaction
        .pragma_update(None, "user_version", KNOWN)
        .act("set the layout version")?;
    transaction.commit().act("commit a migration")
}

/// Empties the log after a change. Whoever opens the index next without anybody else having it open reads the whole log
/// first, so a reader's time depends on it; a writer's does not matter as much. A log in use is left to the next one.
pub(crate) fn empty_log(connection: &Connection) -> Result<()> {
    let checkpoint = || {
        connection.busy_timeout(Duration::ZERO)?;
        let outcome = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        connection.busy_timeout(BUSY)?;
        match outcome {
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => Ok(()),
            outcome => outcome,
        }
    };
    checkpoint().act("empty the log")
}

/// This boot's ID: what was written in an earlier one without a sync may not have reached the disk.
pub(crate) fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(std::fs::read_to_string(path).at("read", path)?.trim().to_owned())
}
