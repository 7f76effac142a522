//! Giving memory back that a long-lived process no longer needs.

use std::fs;

/// Gives the kernel back what a process that has come to rest has only for its past: free heap, the stack below the
/// caller, and the pages of its executable's code that are mapped (they come back from the file when they are used).
///
/// A monitor is a fork of a command that did much more than the monitor will: without this each would keep some hundred
/// kilobytes of that for as long as its container runs.
pub fn settle() {
    // SAFETY: gives free memory of the allocator back; takes its own locks.
    unsafe { libc::malloc_trim(0) };
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else {
        return;
    };
    let Ok(executable) = fs::read_link("/proc/self/exe") else {
        return;
    };
    let executable = executable.to_string_lossy();
    let here = std::ptr::from_ref(&maps) as usize;
    let mut code_seen = false;
    for line in maps.lines() {
        let Some((start, end)) = range(line) else { continue };
        if line.ends_with("[stack]") {
            // Leave some pages for the frames of this function and of those that it calls.
            let end = (here & !0xfff).saturating_sub(4 * 4096);
            if (start..end).contains(&(end.saturating_sub(1))) && start < end {
                // SAFETY: below the stack pointer there is nothing that anybody will read before it is written.
                unsafe { libc::madvise(start as *mut _, end - start, libc::MADV_DONTNEED) };
            }
        } else if line.ends_with(&*executable) && !code_seen {
            // Read-only data comes before the code and is never written; what follows it was relocated and must stay.
            let permissions = line.split(' ').nth(1).unwrap_or_default();
            if permissions.contains('w') {
                continue;
            }
            code_seen = permissions.contains('x');
            // SAFETY: these pages are unchanged copies of the file's and are read again from there at the next use.
            unsafe { libc::madvise(start as *mut _, end - start, libc::MADV_DONTNEED) };
        }
    }
}

fn range(line: &str) -> Option<(usize, usize)> {
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    Some((
        usize::from_str_radix(start, 16).ok()?,
        usize::from_str_radix(end, 16).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_use_is_lost() {
        let text: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
        settle();
        assert!(text.iter().enumerate().all(|(n, t)| *t == n.to_string()));
    }
}
