//! `images`.

use std::collections::BTreeMap;

use hull_engine::image::{self, ListRequest, Summary};
use jiff::Timestamp;

use super::Command;
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Outcome, Result};
use crate::output::listing::{self, Field, Format, Listing};
use crate::output::{self, size};

pub(crate) const COMMAND: Command = Command {
    names: &["images", "image ls", "image list"],
    synopsis: "[OPTIONS] [REPOSITORY[:TAG]]",
    about: "List images",
    flags: &[
        Flag::switch("all")
            .short('a')
            .help("Show all images (default hides intermediate images)"),
        Flag::switch("digests").help("Show digests"),
        output::filter::FLAG,
        Flag::string("format").help(listing::FORMAT_HELP),
        Flag::switch("no-trunc").help("Don't truncate output"),
        Flag::switch("quiet").short('q').help("Only show image IDs"),
        Flag::switch("tree").refused("hull keeps one platform of an image, so there is no tree of them"),
    ],
    count: Count::AtMost(1),
    interspersed: true,
    run,
};

/// What stands where there is no name, tag or digest.
const NONE: &str = "<none>";

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let (quiet, digests) = (args.on("quiet"), args.on("digests"));
    let mut source = listing::source(args.value("format"), quiet, "imagesFormat", ctx);
    if digests && source.starts_with("table ") && !source.contains("{{.Digest}}") {
        // Docker adds the column that was asked for.
        source.push_str("\\t{{.Digest}}");
    }
    let format = format(&source, quiet, digests)?;
    let mut request = ListRequest {
        filters: output::filter::read(args),
    };
    if let Some(pattern) = args.args().first() {
        request.filters.add("reference", pattern);
    }
    let list = image::list(&ctx.engine(), &request)?;
    let shape = Shape {
        // A template that shows digests asks for a line for each.
        digests: digests || (!matches!(source.as_str(), "" | "table" | "json") && format.mentions("Digest")),
        trunc: !args.on("no-trunc"),
        now: Timestamp::now(),
    };
    let rows: Vec<Row> = list.iter().flat_map(|item| shape.rows(item)).collect();
    output::print(&LISTING.render(&rows, &format)?)?;
    Ok(0)
}

fn format(source: &str, quiet: bool, digests: bool) -> Result<Format> {
    let columns = match digests {
        true => vec!["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"],
        false => vec!["Repository", "Tag", "ID", "CreatedSince", "Size"],
    };
    match source {
        "" | "table" if quiet => Format::read("{{.ID}}", columns),
        "raw" if quiet => Format::read("image_id: {{.ID}}", columns),
        "raw" => {
            let digest = if digests { "digest: {{.Digest}}\n" } else { "" };
            let raw = format!(
                "repository: {{{{.Repository}}}}\ntag: {{{{.Tag}}}}\n{digest}image_id: {{{{.ID}}}}\n\
                 created_at: {{{{.CreatedAt}}}}\nvirtual_size: {{{{.Size}}}}\n"
            );
            Format::read(&raw, columns)
        }
        source => Format::read(source, columns),
    }
}

/// How images become lines.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) digests: bool,
    pub(super) trunc: bool,
    pub(super) now: Timestamp,
}

/// One name of an image, as its line shows it.
pub(super) struct Row {
    id: String,
    created: i64,
    size: u64,
    containers: i64,
    shared: i64,
    shape: Shape,
    repository: String,
    tag: String,
    digest: String,
}

impl Shape {
    /// A line for each tag, with digests one for each of both; what has only digests gets a line for each of them.
    pub(super) fn rows(&self, item: &Summary) -> Vec<Row> {
        let row = |repository: &str, tag: &str, digest: &str| Row {
            id: item.id.clone(),
            created: item.created,
            size: item.size,
            containers: item.containers,
            shared: item.shared_size,
            shape: *self,
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            digest: digest.to_owned(),
        };
        let mut digests: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (repository, digest) in item.repo_digests.iter().filter_map(|name| name.split_once('@')) {
            digests.entry(repository).or_default().push(digest);
        }
        let mut out = Vec::new();
        let mut tagged = Vec::new();
        for (repository, tag) in item.repo_tags.iter().filter_map(|name| name.rsplit_once(':')) {
            match digests.get(repository) {
                Some(digests) if self.digests => {
                    out.extend(digests.iter().map(|digest| row(repository, tag, digest)));
                }
                _ => out.push(row(repository, tag, NONE)),
            }
            tagged.push(repository);
        }
        for (repository, digests) in digests.iter().filter(|(repository, _)| !tagged.contains(repository)) {
            if self.digests {
                out.extend(digests.iter().map(|digest| row(repository, NONE, digest)));
            } else {
                out.push(row(repository, NONE, NONE));
            }
        }
        if out.is_empty() {
            out.push(row(NONE, NONE, NONE));
        }
        out
    }
}

/// What is only counted where somebody asks for it.
fn counted(number: i64, show: impl Fn(u64) -> String) -> String {
    u64::try_from(number).map_or_else(|_| "N/A".to_owned(), show)
}

pub(super) const LISTING: Listing<Row> = Listing {
    fields: &[
        Field {
            name: "ID",
            header: "IMAGE ID",
            value: |row| row.id(),
        },
        Field {
            name: "Repository",
            header: "REPOSITORY",
            value: |row| row.repository.clone(),
        },
        Field {
            name: "Tag",
            header: "TAG",
            value: |row| row.tag.clone(),
        },
        Field {
            name: "Digest",
            header: "DIGEST",
            value: |row| row.digest.clone(),
        },
        Field {
            name: "CreatedSince",
            header: "CREATED",
            value: |row| listing::ago(row.created, row.shape.now),
        },
        Field {
            name: "CreatedAt",
            header: "CREATED AT",
            value: |row| listing::local_time(row.created),
        },
        Field {
            name: "Size",
            header: "SIZE",
            value: |row| size::short(row.size),
        },
        Field {
            name: "Containers",
            header: "CONTAINERS",
            value: |row| counted(row.containers, |n| n.to_string()),
        },
        Field {
            name: "VirtualSize",
            header: "VIRTUAL SIZE",
            value: |row| size::long(row.size),
        },
        Field {
            name: "SharedSize",
            header: "SHARED SIZE",
            value: |row| counted(row.shared, size::long),
        },
        Field {
            name: "UniqueSize",
            header: "UNIQUE SIZE",
            value: |row| counted(row.shared, |shared| size::long(row.size.saturating_sub(shared))),
        },
    ],
    labels: None,
};

impl Row {
    fn id(&self) -> String {
        match self.id.split_once(':') {
            Some((_, hex)) if self.shape.trunc => hex[..12].to_owned(),
            _ => self.id.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(tags: &[&str], digests: &[&str]) -> Summary {
        Summary {
            containers: -1,
            created: 1_714_557_600,
            id: format!("sha256:{}", "ab".repeat(32)),
            labels: None,
            parent_id: String::new(),
            repo_digests: digests.iter().map(|d| format!("{d}:{}", "cd".repeat(32))).collect(),
            repo_tags: tags.iter().map(|&t| t.to_owned()).collect(),
            shared_size: -1,
            size: 437_100_000,
        }
    }

    fn render(source: &str, quiet: bool, digests: bool) -> String {
        let items = [
            item(&["debian:latest", "localhost:5000/d:1"], &["debian@sha256"]),
            item(&[], &["only/digest@sha256"]),
            item(&[], &[]),
        ];
        let shape = Shape {
            digests,
            trunc: true,
            now: "2024-05-01T10:05:00Z".parse().unwrap(),
        };
        let rows: Vec<Row> = items.iter().flat_map(|item| shape.rows(item)).collect();
        LISTING.render(&rows, &format(source, quiet, digests).unwrap()).unwrap()
    }

    #[test]
    fn tables_are_dockers() {
        insta::assert_snapshot!(render("", false, false), @r"
        REPOSITORY         TAG       IMAGE ID       CREATED         SIZE
        debian             latest    abababababab   5 minutes ago   437MB
        localhost:5000/d   1         abababababab   5 minutes ago   437MB
        only/digest        <none>    abababababab   5 minutes ago   437MB
        <none>             <none>    abababababab   5 minutes ago   437MB
        ");
        insta::assert_snapshot!(render("", false, true), @r"
        REPOSITORY         TAG       DIGEST                                                                    IMAGE ID       CREATED         SIZE
        debian             latest    sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd   abababababab   5 minutes ago   437MB
        localhost:5000/d   1         <none>                                                                    abababababab   5 minutes ago   437MB
        only/digest        <none>    sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd   abababababab   5 minutes ago   437MB
        <none>             <none>    <none>                                                                    abababababab   5 minutes ago   437MB
        ");
        assert_eq!(render("", true, false), "abababababab\n".repeat(4));
        assert_eq!(
            render("{{.Repository}}:{{.Tag}}", true, false).lines().next(),
            Some("debian:latest")
        );
    }

    #[test]
    fn json_has_all_fields() {
        let json = render("json", false, false);
        let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!(first["VirtualSize"], "437.1MB");
        assert_eq!(first.as_object().unwrap().len(), LISTING.fields.len());
    }
}
