//! How much each repository has, and whether it may have more.
//!
//! A blob counts in every repository that has it: what others have already does not make an upload cheaper, nor does a
//! quota tell whether they have it. What an upload has received counts at once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::route::Name;
use super::super::settings::Quota;
use super::Fault;

/// The sums.
#[derive(Debug)]
pub(in super::super) struct Ledger {
    quota: Quota,
    sums: Mutex<Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    by_name: HashMap<Name, u64>,
    total: u64,
    /// Of uploads that are not finished.
    pending: HashMap<Name, u64>,
    pending_total: u64,
}

impl Ledger {
    pub(super) fn new(quota: Quota) -> Self {
        Self {
            quota,
            sums: Mutex::default(),
        }
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of all repositories, and of unfinished uploads.
    pub(in super::super) fn totals(&self) -> (u64, u64) {
        let sums = self.sums();
        (sums.total, sums.pending_total)
    }

    pub(super) fn add(&self, name: &Name, size: u64) {
        let mut sums = self.sums();
        *sums.by_name.entry(name.clone()).or_default() += size;
        sums.total += size;
    }

    pub(super) fn remove(&self, name: &Name, size: u64) {
        let mut sums = self.sums();
        lower(&mut sums.by_name, name, size);
        sums.total = sums.total.saturating_sub(size);
    }

    /// Counts an upload that an earlier server began.
    pub(super) fn restore(&self, name: &Name, size: u64) {
        let mut sums = self.sums();
        *sums.pending.entry(name.clone()).or_default() += size;
        sums.pending_total += size;
    }

    /// Counts bytes that an upload has received, if they fit.
    pub(super) fn reserve(&self, name: &Name, size: u64) -> Result<(), Fault> {
        let mut sums = self.sums();
        self.fits(&sums, name, size)?;
        *sums.pending.entry(name.clone()).or_default() += size;
        sums.pending_total += size;
        Ok(())
    }

    pub(super) fn release(&self, name: &Name, size: u64) {
        let mut sums = self.sums();
        lower(&mut sums.pending, name, size);
        sums.pending_total = sums.pending_total.saturating_sub(size);
    }

    /// Whether `size` more bytes fit.
    pub(in super::super) fn check(&self, name: &Name, size: u64) -> Result<(), Fault> {
        self.fits(&self.sums(), name, size)
    }

    fn fits(&self, sums: &Sums, name: &Name, size: u64) -> Result<(), Fault> {
        let of = |map: &HashMap<Name, u64>| map.get(name).copied().unwrap_or(0);
        let limit = self.quota.of(name.as_str());
        if limit.is_some_and(|limit| of(&sums.by_name) + of(&sums.pending) + size > limit) {
            return Err(Fault::Quota(format!(
                "quota exceeded: repository `{}` may have {} bytes",
                name.as_str(),
                limit.unwrap_or(0)
            )));
        }
        let limit = self.quota.total;
        if limit.is_some_and(|limit| sums.total + sums.pending_total + size > limit) {
            return Err(Fault::Quota("quota exceeded: the registry is full".to_owned()));
        }
        Ok(())
    }
}

fn lower(map: &mut HashMap<Name, u64>, name: &Name, size: u64) {
    if let Some(sum) = map.get_mut(name) {
        *sum = sum.saturating_sub(size);
        if *sum == 0 {
            map.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_count_what_is_there_and_what_arrives() {
        let quota = Quota {
            total: Some(100),
            repository: Some(60),
            by_pattern: vec![("big/**".to_owned(), 90)],
        };
        let ledger = Ledger::new(quota);
        let name = |text: &str| Name::parse(text).unwrap();
        ledger.add(&name("a"), 30);
        ledger.reserve(&name("a"), 30).unwrap();
        assert!(matches!(ledger.reserve(&name("a"), 1), Err(Fault::Quota(_))));
        ledger.release(&name("a"), 30);
        ledger.add(&name("a"), 30);
        assert!(ledger.check(&name("a"), 1).is_err());
        assert!(ledger.check(&name("b"), 40).is_ok());
        assert!(ledger.check(&name("b"), 41).is_err());
        ledger.remove(&name("a"), 60);
        assert!(ledger.check(&name("b"), 61).is_err());
        assert!(ledger.check(&name("big/x"), 90).is_ok());
        assert!(ledger.check(&name("big/x"), 91).is_err());
        assert_eq!(ledger.totals(), (0, 0));
    }
}
