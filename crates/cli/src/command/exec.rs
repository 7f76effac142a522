//! `exec`: another process in a running container.

use hull_engine::container::{self, ExecIo, ExecRequest};

use super::{Command, run as run_command};
use crate::args::{Count, Flag, Matches};
use crate::attach::{self, Ending, Options, Remote};
use crate::container::read_environment;
use crate::context::Context;
use crate::error::{Failure, Outcome, USAGE};
use crate::{env, terminal};

pub(crate) const COMMAND: Command = Command {
    names: &["exec", "container exec"],
    synopsis: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    about: "Run another command in a running container",
    flags: &[
        Flag::switch("detach").short('d').help("Leave it running in the background"),
        Flag::string("detach-keys").help("Keys that detach, instead of ctrl-p,ctrl-q"),
        Flag::list("env").short('e').help("Set a variable, or pass one on by its name"),
        Flag::list("env-file").help("Set the variables in a file, one a line"),
        Flag::switch("interactive").short('i').help("Pass standard input on"),
        Flag::switch("privileged").help("Give it all capabilities"),
        Flag::switch("tty").short('t').help("Give it a terminal"),
        Flag::string("user").short('u').help("User, and group after a colon, by name or number"),
        Flag::string("workdir").short('w').help("Working directory"),
    ],
    count: Count::AtLeast(2),
    interspersed: false,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let detached = args.on("detach");
    let environment = read_environment(args.values("env-file"), args.values("env"), env::passed_on)
        .map_err(|e| Failure::new(e).code(USAGE))?;
    let keys = run_command::read_detach_keys(args)?;
    let tty = args.on("tty");
    let stdin = args.on("interactive") && !detached;
    run_command::check_terminal(stdin, tty)?;
    let request = ExecRequest {
        cmd: args.args()[1..].to_vec(),
        env: environment,
        user: args.text("user"),
        working_dir: args.text("workdir"),
        tty,
        stdin,
        privileged: args.on("privileged"),
        detach: detached,
        console_size: if tty { terminal::size() } else { [0, 0] },
    };

}
