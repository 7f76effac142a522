//! `volume create`.

use hull_engine::volume::{self, CreateRequest};

use super::CLUSTER;
use crate::args::{Count, Flag, Matches};
use crate::command::Command;
use crate::container::read_labels;
use crate::context::Context;
use crate::error::{Failure, Outcome, USAGE, print_line};

pub(in crate::command) const COMMAND: Command = Command {
    names: &["volume create"],
    synopsis: "[OPTIONS] [VOLUME]",
    about: "Create a volume",
    flags: &[
        Flag::string("availability").refused(CLUSTER),
        Flag::string("driver")
            .short('d')
            .default("\"local\"")
            .help("Specify volume driver name"),
        Flag::string("group").refused(CLUSTER),
        Flag::list("label").help("Set metadata for a volume"),
        Flag::bytes("limit-bytes").refused(CLUSTER),
        Flag::string("name").hidden(),
        Flag::list("opt")
            .short('o')
            .named("map")
            .default("map[]")
            .help("Set driver specific options"),
        Flag::bytes("required-bytes").refused(CLUSTER),
        Flag::string("scope").refused(CLUSTER),
        Flag::list("secret").named("map").refused(CLUSTER),
        Flag::string("sharing").refused(CLUSTER),
        Flag::list("topology-preferred").refused(CLUSTER),
        Flag::list("topology-required").refused(CLUSTER),
        Flag::string("type").refused(CLUSTER),
    ],
    count: Count::AtMost(1),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let labels = read_labels(std::iter::empty(), args.values("label"))
        .map_err(|text| Failure::usage(&COMMAND, text).code(USAGE))?;
    let option = |text: &str| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    // Of older clients.
    let name = match (args.value("name"), args.args().first()) {
        (Some(_), Some(_)) => {
            return Err(Failure::new(
                "conflicting options: either specify --name or provide positional arg, not both",
            ));
        }
        (Some(name), None) => name,
        (None, given) => given.map_or("", String::as_str),
    };
    let request = CreateRequest {
        name: name.to_owned(),
        driver: args.text("driver"),
        labels: labels.into_iter().collect(),
        options: args.values("opt").map(option).collect(),
    };
    print_line(&volume::create(&ctx.engine(), &request)?)?;
    Ok(0)
}
