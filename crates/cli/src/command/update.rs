//! `update`.

use hull_engine::container::{self, UpdateRequest};
use hull_spec::container::HostConfig;

use super::Command;
use crate::args::{Count, Flag, Matches, value};
use crate::container::restart;
use crate::context::Context;
use crate::error::{Failure, Outcome, Result, for_each};

pub(crate) const COMMAND: Command = Command {
    names: &["update", "container update"],
    synopsis: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Change the limits and the restart policy of containers",
    flags: FLAGS,
    count: Count::AtLeast(1),
    interspersed: true,
    run,
};

const FLAGS: &[Flag] = &[
    Flag::string("blkio-weight")
        .named("uint16")
        .checked(value::check_uint16)
        .default("0")
        .help("Relative share of I/O, 10 to 1000; 0 leaves it alone"),
    Flag::int("cpu-period").help("Period of the CPU quota, in microseconds"),
    Flag::int("cpu-quota").help("CPU time in each period, in microseconds; -1 for no limit"),
    Flag::int("cpu-rt-period").help("Period of the real-time limit, in microseconds"),
    Flag::int("cpu-rt-runtime").help("Real-time CPU time in each period, in microseconds"),
    Flag::int("cpu-shares").short('c').help("Relative share of CPU time"),
    Flag::string("cpus")
        .named("decimal")
        .checked(value::check_cpus)
        .help("Number of CPUs"),
    Flag::string("cpuset-cpus").help("CPUs that it may run on (0-3, 0,1)"),
    Flag::string("cpuset-mems").help("NUMA nodes that it may take memory from (0-3, 0,1)"),
    Flag::bytes("kernel-memory")
        .hidden()
        .refused("kernels have had no such limit since 5.4; --memory covers kernel memory, too"),
    Flag::bytes("memory").short('m').help("Limit of memory"),
    Flag::bytes("memory-reservation").help("Memory that it keeps when the host runs short"),
    Flag::bytes("memory-swap")
        .checked(value::check_swap)
        .help("Limit of memory and swap together; -1 for unlimited swap"),
    Flag::int("pids-limit").help("Limit of processes; -1 for none"),
    Flag::string("restart").help(
        "When it is started again: no, on-failure[:N], always, unless-stopped; and unhealthy, alone or behind a comma",
    ),
];

fn run(args: &Matches, ctx: &Context) -> Outcome {
    if !FLAGS.iter().any(|flag| args.changed(flag.long)) {
        return Err(Failure::new(
            "you must provide one or more flags when using this command",
        ));
    }
    let request = request(args)?;
    let engine = ctx.engine();
    for_each(args.args(), |name| {
        container::update(&engine, name, &request)?;
        Ok(Some(name.to_owned()))
    })
}

fn request(args: &Matches) -> Result<UpdateRequest> {
    let parsed = |result: std::result::Result<i64, String>| result.map_err(Failure::new);
    let weight = args
        .value("blkio-weight")
        .map_or(Ok(0), |text| value::parse_uint(text, 16));
    let limits = HostConfig {
        blkio_weight: weight
            .ok()
            .and_then(|weight| u16::try_from(weight).ok())
            .unwrap_or_default(),
        cpu_period: args.int("cpu-period").unwrap_or(0),
        cpu_quota: args.int("cpu-quota").unwrap_or(0),
        cpu_realtime_period: args.int("cpu-rt-period").unwrap_or(0),
        cpu_realtime_runtime: args.int("cpu-rt-runtime").unwrap_or(0),
        cpu_shares: args.int("cpu-shares").unwrap_or(0),
        nano_cpus: parsed(args.value("cpus").map_or(Ok(0), value::parse_cpus))?,
        cpuset_cpus: args.text("cpuset-cpus"),
        cpuset_mems: args.text("cpuset-mems"),
        memory: args.bytes("memory").unwrap_or(0),
        memory_reservation: args.bytes("memory-reservation").unwrap_or(0),
        memory_swap: parsed(args.value("memory-swap").map_or(Ok(0), value::parse_swap))?,
        pids_limit: args.int("pids-limit"),
        ..HostConfig::default()
    };
    let mut request = UpdateRequest {
        limits,
        ..UpdateRequest::default()
    };
    if let Some(text) = args.value("restart").filter(|text| !text.is_empty()) {
        let restart = restart::parse(text).map_err(Failure::new)?;
        let never = matches!(restart.policy.name.as_str(), "" | "no");
        request.health_on_failure = match restart.unhealthy {
            true => Some("restart".to_owned()),
            false => never.then(String::new),
        };
        request.restart_policy = Some(restart.policy);
    }
    Ok(request)
}
