//! Limits that change: what may be asked for, what the container has then, and what the kernel is told.

use hull_runtime::cgroup::Resources;
use hull_spec::container::HostConfig;

use crate::container::describe::{check_limits, resources};
use crate::{Error, Result};

/// Refuses wishes that cannot be, whatever the container has: in Docker's words.
pub(super) fn check(wishes: &HostConfig) -> Result<()> {
    // Memory and swap may be had from the container itself: looked at when they are merged.
    let alone = wishes.memory == 0 && wishes.memory_swap > 0;
    check_limits(&HostConfig {
        memory_swap: if alone { 0 } else { wishes.memory_swap },
        ..wishes.clone()
    })
}

/// Puts `wishes` over what a container has.
pub(super) fn merge(host: &mut HostConfig, wishes: &HostConfig) -> Result<()> {
    conflicts(host, wishes)?;
    let number = |own: &mut i64, wish: i64| {
        if wish != 0 {
            *own = wish;
        }
    };
    let text = |own: &mut String, wish: &String| {
        if !wish.is_empty() {
            own.clone_from(wish);
        }
    };
    if wishes.memory != 0 {
        // What was left to the rule (as much swap as memory) is a number from now on.
        let swap = effective_swap(host);
        if wishes.memory_swap == 0 && swap > 0 && wishes.memory > swap {
            return Err(Error::State(
                "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
                    .to_owned(),
            ));
        }
        host.memory_swap = swap;
    }
    number(&mut host.memory, wishes.memory);
    number(&mut host.memory_swap, wishes.memory_swap);
    number(&mut host.memory_reservation, wishes.memory_reservation);
    number(&mut host.cpu_shares, wishes.cpu_shares);
    number(&mut host.nano_cpus, wishes.nano_cpus);
    number(&mut host.cpu_period, wishes.cpu_period);
    number(&mut host.cpu_quota, wishes.cpu_quota);
    number(&mut host.cpu_realtime_period, wishes.cpu_realtime_period);
    number(&mut host.cpu_realtime_runtime, wishes.cpu_realtime_runtime);
    text(&mut host.cpuset_cpus, &wishes.cpuset_cpus);
    text(&mut host.cpuset_mems, &wishes.cpuset_mems);
    if wishes.blkio_weight != 0 {
        host.blkio_weight = wishes.blkio_weight;
    }
    host.pids_limit = wishes.pids_limit.or(host.pids_limit);
    check_limits(host)
}

fn conflicts(host: &HostConfig, wishes: &HostConfig) -> Result<()> {
    let set = |n: i64| n != 0;
    for (wish, there, text) in [
        (
            wishes.nano_cpus,
            host.cpu_period,
            "Nano CPUs cannot be updated as CPU Period has already been set",
        ),
        (
            wishes.nano_cpus,
            host.cpu_quota,
            "Nano CPUs cannot be updated as CPU Quota has already been set",
        ),
        (
            wishes.cpu_period,
            host.nano_cpus,
            "CPU Period cannot be updated as NanoCPUs has already been set",
        ),
        (
            wishes.cpu_quota,
            host.nano_cpus,
            "CPU Quota cannot be updated as NanoCPUs has already been set",
        ),
    ] {
        if set(wish) && set(there) {
            return Err(Error::State(format!("Conflicting options: {text}")));
        }
    }
    Ok(())
}

/// The limit of memory and swap together that a container has: 0 for none.
fn effective_swap(host: &HostConfig) -> i64 {
    if host.memory_swap == 0 {
        host.memory.saturating_mul(2)
    } else {
        host.memory_swap
    }
}

/// What the kernel is told of `host`, which holds `wishes` already: what they name, and what goes with it.
pub(super) fn changed(host: &HostConfig, wishes: &HostConfig) -> Result<Resources> {
    let all = resources(host)?;
    let memory = wishes.memory != 0 || wishes.memory_swap != 0;
    let cpu = wishes.nano_cpus != 0 || wishes.cpu_quota != 0 || wishes.cpu_period != 0;
    let realtime = wishes.cpu_realtime_period != 0 || wishes.cpu_realtime_runtime != 0;
    Ok(Resources {
        memory: all.memory.filter(|_| memory),
        memory_swap: all.memory_swap.filter(|_| memory),
        memory_reservation: all.memory_reservation.filter(|_| wishes.memory_reservation != 0),
        cpu_shares: all.cpu_shares.filter(|_| wishes.cpu_shares != 0),
        cpu_quota: all.cpu_quota.filter(|_| cpu),
        cpu_period: all.cpu_period.filter(|_| cpu),
        cpu_realtime_period: all.cpu_realtime_period.filter(|_| realtime),
        cpu_realtime_runtime: all.cpu_realtime_runtime.filter(|_| realtime),
        cpuset_cpus: all.cpuset_cpus.filter(|_| !wishes.cpuset_cpus.is_empty()),
        cpuset_mems: all.cpuset_mems.filter(|_| !wishes.cpuset_mems.is_empty()),
        io_weight: all.io_weight.filter(|_| wishes.blkio_weight != 0),
        // 0 and less stand for no limit, which must be said to a container that has one.
        pids: wishes.pids_limit.map(|n| if n <= 0 { -1 } else { n }),
        ..Resources::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: i64 = 1 << 20;

    fn memory(memory: i64, swap: i64) -> HostConfig {
        HostConfig {
            memory: memory * MB,
            memory_swap: if swap > 0 { swap * MB } else { swap },
            ..HostConfig::default()
        }
    }

    #[test]
    fn memory_and_swap_go_together() {
        // What is there, what is asked for, what comes out: megabytes.
        let check = |there: (i64, i64), wish: (i64, i64), expected: Result<(i64, i64), &str>| {
            let mut host = memory(there.0, there.1);
            let found = merge(&mut host, &memory(wish.0, wish.1)).map(|()| {
                let swap = if host.memory_swap > 0 {
                    host.memory_swap / MB
                } else {
                    host.memory_swap
                };
                (host.memory / MB, swap)
            });
            let found = found.map_err(|e| e.to_string());
            match (&found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(*found, expected, "{there:?} {wish:?}"),
                (Err(text), Err(expected)) => assert!(text.starts_with(expected), "{there:?} {wish:?}: {text}"),
                (found, expected) => panic!("{there:?} {wish:?}: {found:?}, not {expected:?}"),
            }
        };
        check((0, 0), (100, 0), Ok((100, 0)));
        check((100, 0), (50, 0), Ok((50, 200)));
        check((100, 0), (150, 0), Ok((150, 200)));
        check(
            (100, 0),
            (300, 0),
            Err("Memory limit should be smaller than already set memoryswap"),
        );
        check((100, 0), (300, 400), Ok((300, 400)));
        check((100, 0), (300, -1), Ok((300, -1)));
        check((100, -1), (300, 0), Ok((300, -1)));
        check(
            (100, 200),
            (0, 50),
            Err("Minimum memoryswap limit should be larger than memory limit"),
        );
        check((100, 200), (0, 150), Ok((100, 150)));
        check(
            (0, 0),
            (0, 100),
            Err("You should always set the Memory limit when using Memoryswap"),
        );
        check((100, 200), (0, 0), Ok((100, 200)));
    }

    #[test]
    fn only_what_is_asked_for_is_written() {
        let host = HostConfig {
            cpu_shares: 512,
            pids_limit: Some(10),
            cpuset_cpus: "0".to_owned(),
            ..memory(100, 200)
        };
        let told = |wishes: HostConfig| {
            let mut merged = host.clone();
            merge(&mut merged, &wishes).unwrap();
            changed(&merged, &wishes).unwrap()
        };
        assert_eq!(told(HostConfig::default()), Resources::default());
        let pids = told(HostConfig {
            pids_limit: Some(0),
            ..HostConfig::default()
        });
        assert_eq!(
            pids,
            Resources {
                pids: Some(-1),
                ..Resources::default()
            }
        );
        let shares = told(HostConfig {
            cpu_shares: 100,
            ..HostConfig::default()
        });
        assert_eq!((shares.cpu_shares, shares.pids, shares.memory), (Some(100), None, None));
        let cpus = told(HostConfig {
            nano_cpus: 500_000_000,
            ..HostConfig::default()
        });
        assert_eq!((cpus.cpu_quota, cpus.cpu_period), (Some(50_000), Some(100_000)));
    }

    #[test]
    fn cpus_and_quotas_exclude_each_other() {
        let quota = HostConfig {
            cpu_quota: 5000,
            ..HostConfig::default()
        };
        let cpus = HostConfig {
            nano_cpus: 500_000_000,
            ..HostConfig::default()
        };
        let text = |there: &HostConfig, wish: &HostConfig| merge(&mut there.clone(), wish).unwrap_err().to_string();
        assert_eq!(
            text(&cpus, &quota),
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set"
        );
        assert_eq!(
            text(&quota, &cpus),
            "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set"
        );
    }
}
