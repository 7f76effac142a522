//! `pod ps`.

use hull_engine::elapsed;
use hull_engine::pod::{self, ListRequest, Summary};
use jiff::Timestamp;

use crate::args::{Count, Flag, Matches};
use crate::command::Command;
use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output::listing::{Field, Format, Listing};
use crate::output::{self, json};

pub(crate) const COMMAND: Command = Command {
    names: &["pod ps", "pod ls", "pod list"],
    synopsis: "[OPTIONS]",
    about: "List pods",
    flags: &[
        Flag::switch("ctr-ids").help("Show the IDs of their containers"),
        Flag::switch("ctr-names").help("Show the names of their containers"),
        Flag::switch("ctr-status").help("Show what their containers are doing"),
        output::filter::FLAG,
        Flag::string("format").help("'json', or a Go template"),
        Flag::switch("latest")
            .short('l')
            .help("Show only the pod that was made last"),
        Flag::switch("no-trunc").help("Don't truncate output"),
        Flag::switch("noheading").short('n').help("Show no header"),
        Flag::switch("ns").help("Show what they share"),
        Flag::switch("quiet").short('q').help("Only show IDs"),
        Flag::string("sort")
            .checked(check_sort)
            .default("\"created\"")
            .help("Order: created, id, name, number or status"),
    ],
    count: Count::None,
    interspersed: true,
    run,
};

fn check_sort(text: &str) -> Result<(), String> {
    match text {
        "created" | "id" | "name" | "number" | "status" => Ok(()),
        _ => Err(format!(
            "\"{text}\" is not a valid value, choose from: created, id, name, number, status"
        )),
    }
}

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let engine = ctx.engine();
    let request = ListRequest {
        filters: output::filter::read(args),
    };
    let mut pods = pod::list(&engine, &request)?;
    if args.on("latest") {
        pods.truncate(1);
    }
    match args.value("sort").unwrap_or("created") {
        "id" => pods.sort_by(|a, b| a.id.cmp(&b.id)),
        "name" => pods.sort_by(|a, b| a.name.cmp(&b.name)),
        "number" => pods.sort_by_key(|pod| pod.containers.len()),
        "status" => pods.sort_by(|a, b| a.status.cmp(&b.status)),
        _ => {}
    }
    let source = args.value("format").unwrap_or_default();
    if source == "json" {
        output::print(&format!("{}\n", json::pretty(&pods)?))?;
        return Ok(0);
    }
    let mut columns = vec!["ID", "Name", "Status", "Created", "InfraID"];
    let asked = |flag: &str, column: &'static str| args.on(flag).then_some(column);
    let details: Vec<&str> = [
        asked("ctr-ids", "ContainerIds"),
        asked("ctr-names", "ContainerNames"),
        asked("ctr-status", "ContainerStatuses"),
        asked("ns", "Namespace"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if details.iter().all(|column| *column == "Namespace") {
        columns.push("NumberOfContainers");
    }
    columns.extend(details);
    let format = match source {
        "" if args.on("quiet") => Format::read("{{.ID}}", columns)?,
        source => Format::read(source, columns)?,
    };
    let rows = pods.into_iter().map(|pod| Row {
        pod,
        trunc: !args.on("no-trunc"),
        now: Timestamp::now(),
    });
    let text = LISTING
        .render(&rows.collect::<Vec<_>>(), &format)
        .map_err(|e| Failure::new(e.text()))?;
    let skipped = if args.on("noheading") && source.is_empty() && !args.on("quiet") {
        text.find('\n').map_or(0, |end| end + 1)
    } else {
        0
    };
    output::print(&text[skipped..])?;
    Ok(0)
}

struct Row {
    pod: Summary,
    trunc: bool,
    now: Timestamp,
}

impl Row {
    fn short(&self, id: &str) -> String {
        id.get(..if self.trunc { 12 } else { id.len() })
            .unwrap_or(id)
            .to_owned()
    }

    fn containers(&self, text: impl Fn(&pod::SummaryContainer) -> String) -> String {
        self.pod.containers.iter().map(text).collect::<Vec<_>>().join(",")
    }
}

const LISTING: Listing<Row> = Listing {
    fields: &[
        Field {
            name: "ID",
            header: "POD ID",
            value: |row| row.short(&row.pod.id),
        },
        Field {
            name: "Name",
            header: "NAME",
            value: |row| row.pod.name.clone(),
        },
        Field {
            name: "Status",
            header: "STATUS",
            value: |row| row.pod.status.clone(),
        },
        Field {
            name: "Created",
            header: "CREATED",
            value: |row| {
                let created = elapsed::moment(&row.pod.created).unwrap_or_default();
                let seconds = row.now.duration_since(created).as_secs();
                format!("{} ago", elapsed::words(seconds))
            },
        },
        Field {
            name: "InfraID",
            header: "INFRA ID",
            value: |row| row.short(&row.pod.infra_id),
        },
        Field {
            name: "NumberOfContainers",
            header: "# OF CONTAINERS",
            value: |row| row.pod.containers.len().to_string(),
        },
        Field {
            name: "ContainerIds",
            header: "IDS",
            value: |row| row.containers(|c| row.short(&c.id)),
        },
        Field {
            name: "ContainerNames",
            header: "NAMES",
            value: |row| row.containers(|c| c.names.clone()),
        },
        Field {
            name: "ContainerStatuses",
            header: "STATUS",
            value: |row| row.containers(|c| c.status.name().to_owned()),
        },
        Field {
            name: "Namespace",
            header: "NAMESPACES",
            value: |row| row.pod.namespace.clone(),
        },
        Field {
            name: "Networks",
            header: "NETWORKS",
            value: |row| row.pod.networks.join(","),
        },
        Field {
            name: "Labels",
            header: "LABELS",
            value: |row| {
                let pair = |(name, value): (&String, &String)| format!("{name}={value}");
                row.pod.labels.iter().map(pair).collect::<Vec<_>>().join(",")
            },
        },
    ],
    labels: Some(|row| &row.pod.labels),
};
