//! `volume ls`.

use std::collections::BTreeMap;

use hull_engine::volume::{self, ListRequest, Volume};

use crate::args::{Count, Flag, Matches};
use crate::command::Command;
use crate::context::Context;
use crate::error::{Outcome, Result};
use crate::output::listing::{self, Field, Format, Listing};
use crate::output::{self, filter};

pub(in crate::command) const COMMAND: Command = Command {
    names: &["volume ls", "volume list"],
    synopsis: "[OPTIONS]",
    about: "List volumes",
    flags: &[
        Flag::switch("cluster").refused(super::CLUSTER),
        filter::FLAG,
        Flag::string("format").help(listing::FORMAT_HELP),
        Flag::switch("quiet").short('q').help("Only display volume names"),
    ],
    count: Count::AtMost(0),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let quiet = args.on("quiet");
    let source = listing::source(args.value("format"), quiet, "volumesFormat", ctx);
    let format = format(&source, quiet)?;
    let request = ListRequest {
        filters: filter::read(args),
    };
    let rows: Vec<Row> = volume::list(&ctx.engine(), &request)?
        .into_iter()
        .map(Row::new)
        .collect();
    output::print(&LISTING.render(&rows, &format)?)?;
    Ok(0)
}

fn format(source: &str, quiet: bool) -> Result<Format> {
    let columns = vec!["Driver", "Name"];
    match source {
        "" | "table" if quiet => Format::read("{{.Name}}", columns),
        "raw" if quiet => Format::read("name: {{.Name}}", columns),
        "raw" => Format::read("name: {{.Name}}\ndriver: {{.Driver}}\n", columns),
        source => Format::read(source, columns),
    }
}

struct Row {
    volume: Volume,
    labels: BTreeMap<String, String>,
}

impl Row {
    fn new(volume: Volume) -> Self {
        let labels = volume.labels.clone().unwrap_or_default();
        Self { volume, labels }
    }
}

/// What Docker prints of a volume's use, which it counts elsewhere, and of what only cluster volumes have.
fn unknown(_: &Row) -> String {
    "N/A".to_owned()
}

const LISTING: Listing<Row> = Listing {
    fields: &[
        Field {
            name: "Availability",
            header: "AVAILABILITY",
            value: unknown,
        },
        Field {
            name: "Driver",
            header: "DRIVER",
            value: |row| row.volume.driver.clone(),
        },
        Field {
            name: "Group",
            header: "GROUP",
            value: unknown,
        },
        Field {
            name: "Labels",
            header: "LABELS",
            value: |row| {
                let pairs: Vec<String> = row.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
                pairs.join(",")
            },
        },
        Field {
            name: "Links",
            header: "LINKS",
            value: unknown,
        },
        Field {
            name: "Mountpoint",
            header: "MOUNTPOINT",
            value: |row| row.volume.mountpoint.clone(),
        },
        Field {
            name: "Name",
            header: "VOLUME NAME",
            value: |row| row.volume.name.clone(),
        },
        Field {
            name: "Scope",
            header: "SCOPE",
            value: |row| row.volume.scope.clone(),
        },
        Field {
            name: "Size",
            header: "SIZE",
            value: unknown,
        },
        Field {
            name: "Status",
            header: "STATUS",
            value: unknown,
        },
    ],
    labels: Some(|row| &row.labels),
};

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, quiet: bool) -> String {
        let volume = |name: &str, labels: &[(&str, &str)]| Volume {
            driver: "local".to_owned(),
            name: name.to_owned(),
            scope: "local".to_owned(),
            mountpoint: format!("/var/lib/docker/volumes/{name}/_data"),
            labels: Some(labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
                .filter(|l: &BTreeMap<_, _>| !l.is_empty()),
            ..Volume::default()
        };
        let rows = [
            Row::new(volume("vtA", &[])),
            Row::new(volume("vtB", &[("a", "b"), ("c", "")])),
        ];
        LISTING.render(&rows, &format(source, quiet).unwrap()).unwrap()
    }

    #[test]
    fn tables_are_dockers() {
        assert_eq!(
            render("", false),
            "DRIVER    VOLUME NAME\nlocal     vtA\nlocal     vtB\n"
        );
        assert_eq!(render("", true), "vtA\nvtB\n");
        assert_eq!(render("{{.Label \"a\"}}", false), "\nb\n");
        assert_eq!(
            render("table {{.Name}}\\t{{.Scope}}\\t{{.Labels}}", false),
            "VOLUME NAME   SCOPE     LABELS\nvtA           local     \nvtB           local     a=b,c=\n"
        );
        // As Docker 26 prints it.
        assert_eq!(
            render("json", false).lines().nth(1),
            Some(
                r#"{"Availability":"N/A","Driver":"local","Group":"N/A","Labels":"a=b,c=","Links":"N/A","Mountpoint":"/var/lib/docker/volumes/vtB/_data","Name":"vtB","Scope":"local","Size":"N/A","Status":"N/A"}"#
            )
        );
    }
}
