//! `network ls` and `network inspect`.

use hull_engine::network::{self, ListRequest, Network};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Command, inspect};
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::Outcome;
use crate::output;
use crate::output::listing::{self, Field, Format, Listing};

pub(crate) const LIST: Command = Command {
    names: &["network ls", "network list"],
    synopsis: "[OPTIONS]",
    about: "List networks",
    flags: &[
        output::filter::FLAG,
        Flag::string("format").help(listing::FORMAT_HELP),
        Flag::switch("no-trunc").help("Do not truncate the output"),
        Flag::switch("quiet").short('q').help("Only display network IDs"),
    ],
    count: Count::None,
    interspersed: true,
    run: list,
};

pub(crate) const INSPECT: Command = Command {
    names: &["network inspect"],
    synopsis: "[OPTIONS] NETWORK [NETWORK...]",
    about: "Display detailed information on one or more networks",
    flags: &[
        inspect::FORMAT,
        Flag::switch("verbose")
            .short('v')
            .refused("it tells of a swarm's tasks and services, of which there are none"),
    ],
    count: Count::AtLeast(1),
    interspersed: true,
    run: |args, ctx| inspect::show(args, ctx, inspect::Kind::Network, false),
};

fn list(args: &Matches, ctx: &Context) -> Outcome {
    let quiet = args.on("quiet");
    let source = listing::source(args.value("format"), quiet, "networksFormat", ctx);
    let columns = vec!["ID", "Name", "Driver", "Scope"];
    let format = match source.as_str() {
        "" | "table" if quiet => Format::read("{{.ID}}", columns)?,
        "raw" if quiet => Format::read("network_id: {{.ID}}", columns)?,
        "raw" => Format::read(
            "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n",
            columns,
        )?,
        source => Format::read(source, columns)?,
    };
    let request = ListRequest {
        filters: output::filter::read(args),
    };
    let trunc = !args.on("no-trunc");
    let networks = network::list(&ctx.engine(), &request)?;
    let rows: Vec<Row> = networks.into_iter().map(|network| Row { network, trunc }).collect();
    output::print(&LISTING.render(&rows, &format)?)?;
    Ok(0)
}

struct Row {
    network: Network,
    trunc: bool,
}

const LISTING: Listing<Row> = Listing {
    fields: &[
        Field {
            name: "ID",
            header: "NETWORK ID",
            value: |row| {
                let id = &row.network.id;
                id.get(..12).filter(|_| row.trunc).unwrap_or(id).to_owned()
            },
        },
        Field {
            name: "Name",
            header: "NAME",
            value: |row| row.network.name.clone(),
        },
        Field {
            name: "Driver",
            header: "DRIVER",
            value: |row| row.network.driver.to_owned(),
        },
        Field {
            name: "Scope",
            header: "SCOPE",
            value: |row| row.network.scope.to_owned(),
        },
        Field {
            name: "IPv6",
            header: "IPV6",
            value: |row| row.network.enable_ipv6.to_string(),
        },
        Field {
            name: "Internal",
            header: "INTERNAL",
            value: |row| row.network.internal.to_string(),
        },
        Field {
            name: "Labels",
            header: "LABELS",
            value: |row| {
                let pair = |(name, value): (&String, &String)| format!("{name}={value}");
                row.network.labels.iter().map(pair).collect::<Vec<_>>().join(",")
            },
        },
        Field {
            name: "CreatedAt",
            header: "CREATED AT",
            value: |row| moment(&row.network.created),
        },
    ],
    labels: Some(|row| &row.network.labels),
};

/// A moment as Go prints it.
fn moment(text: &str) -> String {
    text.parse::<Timestamp>().map_or_else(
        |_| text.to_owned(),
        |at| {
            let at = TimeZone::UTC.to_datetime(at);
            format!("{} {} +0000 UTC", at.date(), at.time())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_gos() {
        for (text, expected) in [
            (
                "2026-11-24T13:24:34.163806900Z",
                "2026-11-24 13:24:34.1638069 +0000 UTC",
            ),
            ("0001-01-01T00:00:00Z", "0001-01-01 00:00:00 +0000 UTC"),
            ("x", "x"),
        ] {
            assert_eq!(moment(text), expected);
        }
    }
}
