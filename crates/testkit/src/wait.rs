//! Waiting for a state instead of for a time.

use std::time::{Duration, Instant};

/// Calls `state` until it returns something, and returns that.
///
/// # Panics
/// When `what` has not come about after 20 seconds.
pub fn until<T>(what: &str, state: impl FnMut() -> Option<T>) -> T {
    within(Duration::from_secs(20), state).unwrap_or_else(|| panic!("20 seconds have passed without {what}"))
}

/// Calls `state` until it returns something or `limit` has passed.
pub fn within<T>(limit: Duration, mut state: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(value) = state() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_what_the_state_gave_and_gives_up_in_time() {
        let mut calls = 0;
        let found = within(Duration::from_secs(5), || {
            calls += 1;
            (calls == 3).then_some(calls)
        });
        assert_eq!(found, Some(3));
        assert_eq!(within(Duration::from_millis(5), || None::<()>), None);
    }
}
