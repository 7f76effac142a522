//! `history`: how an image was made.

use hull_engine::image::{self, Step};
use hull_spec::Platform;
use jiff::Timestamp;

use super::Command;
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, Result};
use crate::output::listing::{self, Field, Format, Listing};
use crate::output::{self, size, text};

pub(crate) const COMMAND: Command = Command {
    names: &["history", "image history"],
    synopsis: "[OPTIONS] IMAGE",
    about: "Show the history of an image",
    flags: &[
        Flag::string("format").help(listing::FORMAT_HELP),
        Flag::switch("human")
            .short('H')
            .default("true")
            .help("Print sizes and dates in human readable format"),
        Flag::switch("no-trunc").help("Don't truncate output"),
        Flag::string("platform").help("The platform that the image must be for, os[/arch[/variant]]"),
        Flag::switch("quiet").short('q').help("Only show image IDs"),
    ],
    count: Count::Exactly(1),
    interspersed: true,
    run,
};

/// The ID of a step that has none on this host.
const MISSING: &str = "<missing>";
/// Columns of an instruction, unless it is shown whole.
const CREATED_BY: usize = 45;

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let quiet = args.on("quiet");
    let shape = Shape {
        human: args.on_by_default("human"),
        trunc: !args.on("no-trunc"),
        now: Timestamp::now(),
    };
    let format = format(args.value("format").unwrap_or_default(), quiet, shape.human)?;
    let engine = ctx.engine();
    if let Some(asked) = args.value("platform") {
        check_platform(&image::inspect(&engine, args.arg())?, args.arg(), &asked.parse()?)?;
    }
    let steps = image::history(&engine, args.arg())?;
    let rows: Vec<Row> = steps.into_iter().map(|step| Row { step, shape }).collect();
    output::print(&LISTING.render(&rows, &format)?)?;
    Ok(0)
}

fn check_platform(image: &image::Inspect, name: &str, asked: &Platform) -> Result<()> {
    let actual = Platform {
        os: image.os.clone(),
        architecture: image.architecture.clone(),
        variant: image.variant.clone(),
        ..Platform::default()
    };
    if asked.rank(&actual) == Some(0) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "image with reference {name} was found but does not provide the specified platform ({asked})"
    )))
}

fn format(source: &str, quiet: bool, human: bool) -> Result<Format> {
    let created = if human { "CreatedSince" } else { "CreatedAt" };
    let columns = vec!["ID", created, "CreatedBy", "Size", "Comment"];
    match source {
        "" | "table" if quiet => Format::read("{{.ID}}", columns),
        source => Format::read(source, columns),
    }
}

#[derive(Clone, Copy)]
struct Shape {
    human: bool,
    trunc: bool,
    now: Timestamp,
}

struct Row {
    step: Step,
    shape: Shape,
}

const LISTING: Listing<Row> = Listing {
    fields: &[
        Field {
            name: "ID",
            header: "IMAGE",
            value: Row::id,
        },
        Field {
            name: "CreatedSince",
            header: "CREATED",
            value: Row::created_since,
        },
        Field {
            name: "CreatedAt",
            header: "CREATED AT",
            value: |row| listing::rfc3339(row.step.created),
        },
        Field {
            name: "CreatedBy",
            header: "CREATED BY",
            value: Row::created_by,
        },
        Field {
            name: "Size",
            header: "SIZE",
            value: |row| match row.shape.human {
                true => size::short(row.step.size),
                false => row.step.size.to_string(),
            },
        },
        Field {
            name: "Comment",
            header: "COMMENT",
            value: |row| row.step.comment.clone(),
        },
    ],
    labels: None,
};

impl Row {
    fn id(&self) -> String {
        match &self.step.id {
            None => MISSING.to_owned(),
            Some(id) => match id.split_once(':') {
                Some((_, hex)) if self.shape.trunc => hex[..12].to_owned(),
                _ => id.clone(),
            },
        }
    }

    /// As a person says it, or, where sizes and dates are not for people, the moment itself.
    fn created_since(&self) -> String {
        match self.shape.human {
            true => listing::ago(self.step.created, self.shape.now),
            false => listing::rfc3339(self.step.created),
        }
    }

    fn created_by(&self) -> String {
        let text = self.step.created_by.replace('\t', " ");
        match self.shape.trunc {
            true => text::ellipsis(&text, CREATED_BY),
            false => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, quiet: bool, human: bool, trunc: bool) -> String {
        let step = |id: Option<&str>, created_by: &str, size: u64| Step {
            id: id.map(str::to_owned),
            created: 1_714_557_600,
            created_by: created_by.to_owned(),
            size,
            comment: "a remark".to_owned(),
        };
        let id = format!("sha256:{}", "ab".repeat(32));
        let steps = [
            step(
                Some(&id),
                "/bin/sh -c #(nop)\tCMD [\"/usr/local/bin/something-long\"]",
                0,
            ),
            step(None, "ADD file", 437_100_000),
        ];
        let shape = Shape {
            human,
            trunc,
            now: "2024-05-01T10:05:00Z".parse().unwrap(),
        };
        let rows: Vec<Row> = steps.into_iter().map(|step| Row { step, shape }).collect();
        LISTING.render(&rows, &format(source, quiet, human).unwrap()).unwrap()
    }

    #[test]
    fn tables_are_dockers() {
        insta::assert_snapshot!(render("", false, true, true), @r#"
        IMAGE          CREATED         CREATED BY                                      SIZE      COMMENT
        abababababab   5 minutes ago   /bin/sh -c #(nop) CMD ["/usr/local/bin/somet…   0B        a remark
        <missing>      5 minutes ago   ADD file                                        437MB     a remark
        "#);
        assert_eq!(render("", true, true, true), "abababababab\n<missing>\n");
        assert_eq!(
            render("{{.ID}} {{.Size}} {{.CreatedBy}}", false, false, false)
                .lines()
                .last(),
            Some("<missing> 437100000 ADD file")
        );
        let json = render("json", false, true, true);
        let keys: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!(keys.as_object().unwrap().len(), 6);
    }
}
