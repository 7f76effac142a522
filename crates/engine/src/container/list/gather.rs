//! Looks at the containers that may be shown: with few system calls at those that do not run, which are most of a long
//! list, and with several threads where they are many.

use std::collections::HashSet;

use hull_spec::container::Record;
use jiff::Timestamp;

use super::{Matcher, Summary, summary};
use crate::container::find::ids_below;
use crate::container::ids;
use crate::container::reader::Reader;
use crate::container::status::{self, Look};
use crate::{Engine, Error, Result, elapsed};

/// A container that is looked at, with what of its record lists show.
pub(super) struct Seen {
    pub(super) record: Box<Record>,
    pub(super) look: Look,
    pub(super) created: Timestamp,
}

/// A container that a list shows.
pub(super) struct Found {
    pub(super) created: Timestamp,
    pub(super) summary: Summary,
    /// Whether it was made of an image.
    pub(super) of_image: bool,
}

/// How many containers that do not run are worth a thread.
const SHARE: usize = 400;

/// How many of them one is worth that runs: its lock, its state and its processes are looked at, too.
const RUNNING: usize = 8;

/// The containers that match, in no order.
pub(super) fn matching(engine: &Engine, matcher: &Matcher<'_>, now: Timestamp) -> Result<Vec<Found>> {
    let mut ids = ids(engine)?;
    // What has no folder here does not run. Most containers of a long list do not: nothing more is asked of them where
    // only running ones are wanted.
    let up: HashSet<String> = ids_below(&engine.run.join("containers"))?.into_iter().collect();
    ids.retain(|id| {
        (matcher.all || up.contains(id))
            && matcher
                .ids
                .as_ref()
                .is_none_or(|ids| ids.iter().any(|re| re.is_match(id)))
    });
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let running = ids.iter().filter(|id| up.contains(*id)).count();
    let most = ((ids.len() + running * (RUNNING - 1)) / SHARE).max(1);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(most));
    let (own, others) = ids.split_at(ids.len().div_ceil(threads));
    if others.is_empty() {
        return part(engine, own, &up, (matcher, now));
    }
    let up = &up;
    std::thread::scope(|scope| {
        let parts: Vec<_> = others
            .chunks(own.len())
            .map(|ids| {
                let engine = engine.again();
                let thread = std::thread::Builder::new();
                // Where no more threads are allowed, this one does all of it.
                (
                    ids,
                    thread.spawn_scoped(scope, move || part(&engine, ids, up, (matcher, now))),
                )
            })
            .collect();
        let mut found = part(engine, own, up, (matcher, now));
        for (ids, thread) in parts {
            let more = match thread {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(_) => part(engine, ids, up, (matcher, now)),
            };
            found = found.and_then(|mut found| {
                found.extend(more?);
                Ok(found)
            });
        }
        found
    })
}

/// Those of `ids` that match; `up` are the ones that can be running.
fn part(
    engine: &Engine,
    ids: &[String],
    up: &HashSet<String>,
    (matcher, now): (&Matcher<'_>, Timestamp),
) -> Result<Vec<Found>> {
    let mut files = Reader::of_many(engine);
    let mut found = Vec::new();
    for id in ids {
        match seen(engine, &mut files, id, up.contains(id), matcher) {
            // What a list does not show is not kept: ten thousand records are many megabytes.
            Ok(Some(seen)) => found.push(Found {
                created: seen.created,
                of_image: seen.record.pod.is_none() || !seen.record.layers.is_empty(),
                summary: summary(seen, now),
            }),
            Ok(None) => {}
            // Its creation or removal is under way.
            Err(Error::NoSuchContainer { .. }) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}

fn seen(engine: &Engine, files: &mut Reader<'_>, id: &str, up: bool, matcher: &Matcher<'_>) -> Result<Option<Seen>> {
    let at_rest = if up { None } else { status::at_rest(files, id)? };
    let mut look = match at_rest {
        Some(look) => look,
        None => status::look(engine, files, id)?,
    };
    if !matcher.all && look.live.is_none() {
        return Ok(None);
    }
    let record = files.brief(id)?;
    look.health = status::health(engine, &record, &look)?;
    let created = elapsed::moment(&record.created).unwrap_or_default();
    let seen = Seen { record, look, created };
    Ok(matcher.matches(&seen).then_some(seen))
}
