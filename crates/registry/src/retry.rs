//! Pauses between tries: exponential, with jitter so that many clients do not come back at once, and never shorter than
//! the server asks.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::Error;
use crate::settings::Retry;

impl Retry {
    /// How long to wait after `failures` failures (1 or more); `None` where waiting is no use any more.
    pub(crate) fn pause(&self, failures: u32, asked: Option<u64>) -> Option<Duration> {
        if failures >= self.attempts {
            return None;
        }
        let doubled = self.base.saturating_mul(1 << (failures - 1).min(20)).min(self.longest);
        // Between half and the whole: the random state of a new hasher is seeded by the kernel, then stepped.
        let random = RandomState::new().hash_one(failures) % 1000;
        let jittered = doubled.mul_f64(0.5 + random as f64 / 2000.0);
        match asked.map(Duration::from_secs) {
            Some(asked) if asked > self.longest => None,
            Some(asked) => Some(jittered.max(asked)),
            None => Some(jittered),
        }
    }
}

/// Tells several workers that one of them failed.
#[derive(Debug, Default)]
pub(crate) struct Cancel(AtomicBool);

impl Cancel {
    /// Cancels the work; returns whether this was the first to do so.
    pub(crate) fn cancel(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.0.load(Ordering::Acquire) {
            return Err(Error::Cancelled);
        }
        Ok(())
    }

    /// Sleeps, but not on when the work was cancelled.
    pub(crate) fn sleep(&self, pause: Duration) -> Result<(), Error> {
        let end = Instant::now() + pause;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }
}

/// Seconds that a `Retry-After` header asks for: a number, or a date (RFC 9110, 10.2.3).
pub(crate) fn after(value: &str, now: SystemTime) -> Option<u64> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(seconds);
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp().as_second();
    let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    Some(u64::try_from(at).unwrap_or(0).saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let retry = Retry {
            attempts: 4,
            base: Duration::from_millis(100),
            longest: Duration::from_secs(10),
        };
        let within = |pause: Option<Duration>, low: u64, high: u64| {
            let ms = u64::try_from(pause.unwrap().as_millis()).unwrap();
            assert!((low..=high).contains(&ms), "{ms} is not {low}..={high}");
        };
        within(retry.pause(1, None), 50, 100);
        within(retry.pause(2, None), 100, 200);
        within(retry.pause(3, None), 200, 400);
        assert_eq!(retry.pause(4, None), None);
        within(retry.pause(1, Some(2)), 2000, 2000);
        assert_eq!(retry.pause(1, Some(3600)), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, expected) in [
            ("7", Some(7)),
            ("Sun, 06 Nov 1994 08:50:00 GMT", Some(23)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(after(value, now), expected, "{value}");
        }
    }
}
