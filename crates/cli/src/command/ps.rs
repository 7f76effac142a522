//! `ps`.

use std::collections::BTreeMap;

use hull_engine::container::{self, ListRequest, Summary, port};
use jiff::Timestamp;

use super::Command;
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Outcome, Result, note};
use crate::output::listing::{self, Field, Format, Listing};
use crate::output::{self, size, text};

pub(crate) const COMMAND: Command = Command {
    names: &["ps", "container ls", "container list", "container ps"],
    synopsis: "[OPTIONS]",
    about: "List containers",
    flags: &[
        Flag::switch("all")
            .short('a')
            .help("Show all containers (default shows just running)"),
        output::filter::FLAG,
        Flag::string("format").help(listing::FORMAT_HELP),
        Flag::int("last")
            .short('n')
            .default("-1")
            .help("Show n last created containers (includes all states)"),
        Flag::switch("latest")
            .short('l')
            .help("Show the latest created container (includes all states)"),
        Flag::switch("no-trunc").help("Don't truncate output"),
        Flag::switch("pod")
            .short('p')
            .help("Also display the pods that containers are in"),
        Flag::switch("quiet").short('q').help("Only display container IDs"),
        Flag::switch("size").short('s').help("Display total file sizes"),
    ],
    count: Count::None,
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let quiet = args.on("quiet");
    let mut source = listing::source(args.value("format"), quiet, "psFormat", ctx);
    if quiet && !matches!(source.as_str(), "" | "table" | "raw") {
        note("WARNING: Ignoring custom format, because both --format and --quiet are set");
        source.clear();
    }
    let format = format(&source, quiet, args.on("size"))?;
    let last = args
        .int("last")
        .and_then(|n| usize::try_from(n).ok())
        .filter(|n| *n > 0);
    let request = ListRequest {
        all: args.on("all"),
        last: if args.on("latest") && last.is_none() {
            Some(1)
        } else {
            last
        },
        filters: output::filter::read(args),
        // A template that shows sizes asks for them; `--format json` does not.
        size: args.on("size") || (format.mentions("Size") && source != "json" && !source.is_empty()),
    };
    let engine = ctx.engine();
    // What killed commands and monitors left is cleared in passing; a list that cannot do so is a list all the same.
    let _ = container::recover(&engine);
    let list = container::list(&engine, &request)?;
    let now = Timestamp::now();
    let trunc = !args.on("no-trunc");
    let rows = list.into_iter().map(|item| Row { item, trunc, now });
    if args.on("pod") && matches!(source.as_str(), "" | "table") && !quiet {
        return with_pods(&engine, rows.collect());
    }
    output::print(&LISTING.render(&rows.collect::<Vec<_>>(), &format)?)?;
    Ok(0)
}

/// The table with two columns more, as Podman has it.
fn with_pods(engine: &hull_engine::Engine, rows: Vec<Row>) -> Outcome {
    let names: BTreeMap<String, String> = hull_engine::pod::pods(engine)?
        .into_iter()
        .map(|pod| (pod.id, pod.name))
        .collect();
    let columns = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];
    let format = Format::read("", columns.to_vec())?;
    // The columns of pods come last, where the lines of the table end.
    let text = LISTING.render(&rows, &format)?;
    let width = text.lines().map(|line| line.chars().count()).max().unwrap_or(0) + 3;
    let mut out = String::new();
    for (number, line) in text.lines().enumerate() {
        let (id, name) = match number.checked_sub(1).and_then(|row| rows.get(row)) {
            None => ("POD ID", "PODNAME"),
            Some(row) => {
                let id = row.item.pod.as_str();
                let name = names.get(id).map_or("", String::as_str);
                (id.get(..12).filter(|_| row.trunc).unwrap_or(id), name)
            }
        };
        let id_width = if rows.iter().all(|row| row.trunc) { 12 } else { 64 };
        out.push_str(format!("{line:width$}{id:id_width$}   {name}").trim_end());
        out.push('\n');
    }
    output::print(&out)?;
    Ok(0)
}

fn format(source: &str, quiet: bool, with_size: bool) -> Result<Format> {
    let mut columns = vec!["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];
    if with_size {
        columns.push("Size");
    }
    match source {
        "" | "table" if quiet => Format::read("{{.ID}}", columns),
        "raw" if quiet => Format::read("container_id: {{.ID}}", columns),
        "raw" => {
            let mut raw =
                "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\n\
                           state: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\n\
                           labels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n"
                    .to_owned();
            if with_size {
                raw.push_str("size: {{.Size}}\n");
            }
            Format::read(&raw, columns)
        }
        source => Format::read(source, columns),
    }
}

/// A container as its line shows it.
pub(super) struct Row {
    pub(super) item: Summary,
    pub(super) trunc: bool,
    pub(super) now: Timestamp,
}

pub(super) const LISTING: Listing<Row> = Listing {
    fields: &[
        Field {
            name: "ID",
            header: "CONTAINER ID",
            value: |row| row.id(),
        },
        Field {
            name: "Names",
            header: "NAMES",
            value: |row| row.names(),
        },
        Field {
            name: "Image",
            header: "IMAGE",
            value: |row| row.image(),
        },
        Field {
            name: "Command",
            header: "COMMAND",
            value: |row| row.command(),
        },
        Field {
            name: "CreatedAt",
            header: "CREATED AT",
            value: |row| listing::local_time(row.item.created),
        },
        Field {
            name: "RunningFor",
            header: "CREATED",
            value: |row| listing::ago(row.item.created, row.now),
        },
        Field {
            name: "Platform",
            header: "PLATFORM",
            // Docker tells it of containers of images with several platforms.
            value: |_| listing::NULL.to_owned(),
        },
        Field {
            name: "Ports",
            header: "PORTS",
            value: |row| port::display(&row.item.ports),
        },
        Field {
            name: "State",
            header: "STATE",
            value: |row| row.item.state.name().to_owned(),
        },
        Field {
            name: "Status",
            header: "STATUS",
            value: |row| row.item.status.clone(),
        },
        Field {
            name: "Size",
            header: "SIZE",
            value: |row| row.size(),
        },
        Field {
            name: "Labels",
            header: "LABELS",
            value: |row| row.labels(),
        },
        Field {
            name: "Mounts",
            header: "MOUNTS",
            value: |row| row.mounts(),
        },
        Field {
            name: "LocalVolumes",
            header: "LOCAL VOLUMES",
            value: |row| row.local_volumes(),
        },
        Field {
            name: "Networks",
            header: "NETWORKS",
            value: |row| row.networks(),
        },
    ],
    labels: Some(|row| &row.item.labels),
};

impl Row {
    fn id(&self) -> String {
        self.item.id[..if self.trunc { 12 } else { self.item.id.len() }].to_owned()
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self
            .item
            .names
            .iter()
            .map(|name| name.trim_start_matches('/'))
            .collect();
        names.join(",")
    }

    /// The name as it was given; an ID is cut short, and a digest behind a tag is left out.
    fn image(&self) -> String {
        let image = self.item.image.as_str();
        let id = self.item.image_id.trim_start_matches("sha256:");
        match image {
            "" => "<no image>".to_owned(),
            image if !self.trunc => image.to_owned(),
            image if image.len() >= 12 && id.starts_with(image.trim_start_matches("sha256:")) => id[..12].to_owned(),
            image => match image.split_once('@') {
                Some((name, _)) if name.rsplit('/').next().is_some_and(|last| last.contains(':')) => name.to_owned(),
                _ => image.to_owned(),
            },
        }
    }

    fn command(&self) -> String {
        match self.trunc {
            true => text::quote(&text::ellipsis(&self.item.command, 20)),
            false => text::quote(&self.item.command),
        }
    }

    fn size(&self) -> String {
        let rw = size::short(self.item.size_rw.unwrap_or_default());
        match self.item.size_root_fs {
            Some(all) if all > 0 => format!("{rw} (virtual {})", size::short(all)),
            _ => rw,
        }
    }

    fn labels(&self) -> String {
        let pair = |(name, value): (&String, &String)| format!("{name}={value}");
        self.item.labels.iter().map(pair).collect::<Vec<_>>().join(",")
    }

    fn mounts(&self) -> String {
        let shown = self.item.mounts.iter().map(|mount| {
            let name = if mount.name.is_empty() {
                &mount.source
            } else {
                &mount.name
            };
            if self.trunc {
                text::ellipsis(name, 15)
            } else {
                name.clone()
            }
        });
        shown.collect::<Vec<_>>().join(",")
    }

    fn local_volumes(&self) -> String {
        self.item
            .mounts
            .iter()
            .filter(|mount| mount.driver == "local")
            .count()
            .to_string()
    }

    fn networks(&self) -> String {
        let names: Vec<&str> = self.item.network_settings.networks.keys().map(String::as_str).collect();
        names.join(",")
    }
}

#[cfg(test)]
mod tests {
    use hull_engine::container::{SummaryHostConfig, SummaryNetworks};
    use hull_spec::container::{MountPoint, Status};

    use std::collections::BTreeMap;

    use super::*;

    fn row(trunc: bool) -> Row {
        let mount = |name: &str, source: &str, driver: &str| MountPoint {
            name: name.to_owned(),
            source: source.to_owned(),
            driver: driver.to_owned(),
            ..MountPoint::default()
        };
        Row {
            item: Summary {
                id: "0123456789abcdef".repeat(4),
                names: vec!["/web".to_owned()],
                image: "busybox".to_owned(),
                image_id: format!("sha256:{}", "ab".repeat(32)),
                command: "sh -c 'echo one; echo two >&2; sleep 600'".to_owned(),
                created: 1_714_557_600,
                ports: Vec::new(),
                size_rw: Some(0),
                size_root_fs: Some(2_026_481),
                labels: BTreeMap::from([("a".to_owned(), "b".to_owned()), ("c".to_owned(), String::new())]),
                state: Status::Running,
                status: "Up 2 seconds".to_owned(),
                host_config: SummaryHostConfig {
                    network_mode: "bridge".to_owned(),
                },
                network_settings: SummaryNetworks {
                    networks: BTreeMap::from([("bridge".to_owned(), Default::default())]),
                },
                mounts: vec![
                    mount("vol1", "/x", "local"),
                    mount("", "/a/path/that/is/long", ""),
                    mount("", "", ""),
                ],
                pod: String::new(),
            },
            trunc,
            now: "2024-05-01T10:05:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn tables_are_dockers() {
        let render = |format: &str, quiet, size| {
            let format = super::format(format, quiet, size).unwrap();
            LISTING.render(&[row(true)], &format).unwrap()
        };
        insta::assert_snapshot!(render("", false, false), @r#"
        CONTAINER ID   IMAGE     COMMAND                  CREATED         STATUS         PORTS     NAMES
        0123456789ab   busybox   "sh -c 'echo one; ec…"   5 minutes ago   Up 2 seconds             web
        "#);
        insta::assert_snapshot!(render("", false, true), @r#"
        CONTAINER ID   IMAGE     COMMAND                  CREATED         STATUS         PORTS     NAMES     SIZE
        0123456789ab   busybox   "sh -c 'echo one; ec…"   5 minutes ago   Up 2 seconds             web       0B (virtual 2.03MB)
        "#);
        assert_eq!(render("table", true, false), "0123456789ab\n");
        assert_eq!(render("{{.Names}}", true, false), "web\n");
        assert_eq!(
            render(
                "{{.Labels}}|{{.Mounts}}|{{.LocalVolumes}}|{{.Networks}}|{{.State}}",
                false,
                false
            ),
            "a=b,c=|vol1,/a/path/that/i\u{2026},|1|bridge|running\n"
        );
        insta::assert_snapshot!(render("raw", false, false).replace(&listing::local_time(1_714_557_600), "TIME"), @r#"
        container_id: 0123456789ab
        image: busybox
        command: "sh -c 'echo one; ec…"
        created_at: TIME
        state: running
        status: Up 2 seconds
        names: web
        labels: a=b,c=
        ports:

        "#);
    }

    #[test]
    fn images_are_cut_where_that_loses_nothing() {
        let image = |name: &str, trunc| {
            let mut row = row(trunc);
            row.item.image = name.to_owned();
            row.image()
        };
        let digest = "sha256:".to_owned() + &"cd".repeat(32);
        let id = "ab".repeat(32);
        for (name, expected) in [
            ("busybox".to_owned(), "busybox".to_owned()),
            (String::new(), "<no image>".to_owned()),
            (id.clone(), "abababababab".to_owned()),
            (format!("sha256:{id}"), "abababababab".to_owned()),
            (format!("busybox:1@{digest}"), "busybox:1".to_owned()),
            (
                format!("localhost:5000/x@{digest}"),
                format!("localhost:5000/x@{digest}"),
            ),
        ] {
            assert_eq!(image(&name, true), expected);
        }
        assert_eq!(image(&id, false), id);
    }
}
