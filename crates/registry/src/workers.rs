//! Several things at once, a bounded number at a time; the first failure ends all of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::Error;
use crate::retry::Cancel;

/// Does `work` for each of `items`, in order, on `count` threads at the most, this one among them. The first failure
/// cancels the rest, calls `interrupt`, and is the one that is returned.
pub(crate) fn each<T: Sync>(
    items: &[T],
    count: usize,
    cancel: &Cancel,
    interrupt: &(dyn Fn() + Sync),
    work: &(dyn Fn(&T) -> Result<(), Error> + Sync),
) -> Result<(), Error> {
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    let run = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if cancel.check().is_err() {
                return;
            }
            if let Err(err) = work(item) {
                let first = cancel.cancel();
                // Before the others break off: what they say then is of no interest.
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                if !matches!(err, Error::Cancelled) {
                    failed.get_or_insert(err);
                }
                drop(failed);
                if first {
                    interrupt();
                }
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..count.clamp(1, items.len().max(1)) {
            scope.spawn(run);
        }
        run();
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(err) => Err(err),
        None => cancel.check(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_done_or_the_first_failure_is_told() {
        let done = Mutex::new(Vec::new());
        let work = |n: &u32| {
            if *n == 7 {
                return Err(Error::Cancelled);
            }
            if *n == 5 {
                return Err(Error::Malformed {
                    what: "five".to_owned(),
                    reason: String::new(),
                });
            }
            done.lock().unwrap().push(*n);
            Ok(())
        };
        each(&[1, 2, 3], 2, &Cancel::default(), &|| (), &work).unwrap();
        let mut seen = std::mem::take(&mut *done.lock().unwrap());
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3]);
        let interrupted = Mutex::new(0);
        let interrupt = || *interrupted.lock().unwrap() += 1;
        let err = each(&[1, 5, 2, 7, 5], 1, &Cancel::default(), &interrupt, &work).unwrap_err();
        assert!(err.to_string().starts_with("five"), "{err}");
        assert_eq!(
            (done.into_inner().unwrap(), interrupted.into_inner().unwrap()),
            (vec![1], 1)
        );
    }
}
