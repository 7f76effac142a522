//! `port`.

use hull_engine::container::port;

use super::Command;
use crate::args::{Count, Matches, value};
use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output;

pub(crate) const COMMAND: Command = Command {
    names: &["port", "container port"],
    synopsis: "CONTAINER [PRIVATE_PORT[/PROTO]]",
    about: "List a container's published ports",
    flags: &[],
    count: Count::Between(1, 2),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let name = args.arg();
    let ports = port::published(&ctx.engine(), name)?;
    let asked = args.args().get(1).map_or("", String::as_str);
    let mut lines: Vec<String> = Vec::new();
    if asked.is_empty() {
        for (private, protocol, host) in &ports {
            lines.push(format!("{private}/{protocol} -> {host}"));
        }
    } else {
        let (number, protocol) = asked.split_once('/').unwrap_or((asked, "tcp"));
        let number =
            value::parse_uint(number, 16).map_err(|e| Failure::new(format!("invalid port ({number}): {e}")))?;
        for (private, own, host) in &ports {
            if u64::from(*private) == number && own == protocol {
                lines.push(host.clone());
            }
        }
        if lines.is_empty() {
            return Err(Failure::new(format!("No public port '{asked}' published for {name}")));
        }
    }
    let text: String = lines.into_iter().map(|line| line + "\n").collect();
    output::print(&text)?;
    Ok(0)
}
