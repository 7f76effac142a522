//! `volume inspect`.

use crate::args::Count;
use crate::command::Command;
use crate::command::inspect::{FORMAT, Kind, show};

pub(in crate::command) const COMMAND: Command = Command {
    names: &["volume inspect"],
    synopsis: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Display detailed information on one or more volumes",
    flags: &[FORMAT],
    count: Count::AtLeast(1),
    interspersed: true,
    run: |args, ctx| show(args, ctx, Kind::Volume, false),
};
