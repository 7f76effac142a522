//! `system boot` and `system shutdown`: what a daemon would do by itself when the host starts and when it goes down.

use hull_engine::system::{self, Outcome as Done};

use super::Command;
use crate::args::{Count, Matches};
use crate::context::Context;
use crate::error::{ENGINE, Failure, Outcome, print_line};

pub(crate) const BOOT: Command = Command {
    names: &["system boot"],
    synopsis: "",
    about: "Make the state of containers true after a boot, and start those that their restart policy wants to run",
    flags: &[],
    count: Count::None,
    interspersed: true,
    run: boot,
};

pub(crate) const SHUTDOWN: Command = Command {
    names: &["system shutdown"],
    synopsis: "",
    about: "Stop all running containers for the host's end: at the next boot their restart policies hold",
    flags: &[],
    count: Count::None,
    interspersed: true,
    run: shutdown,
};

fn boot(_args: &Matches, ctx: &Context) -> Outcome {
    report(system::boot(&ctx.engine())?)
}

fn shutdown(_args: &Matches, ctx: &Context) -> Outcome {
    report(system::shutdown(&ctx.engine())?)
}

fn report(done: Done) -> Outcome {
    for name in &done.done {
        print_line(name)?;
    }
    let mut code = 0;
    for (name, error) in done.failed {
        code = Failure::from(anyhow::Error::from(error).context(format!("container {name}")))
            .code(ENGINE)
            .report();
    }
    Ok(code)
}
