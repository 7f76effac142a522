//! `search`: repositories by a word.

use hull_engine::filter::Filters;
use hull_registry::{Client, Found, SearchRequest};

use super::{Command, pull};
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, Result};
use crate::output::listing::{self, Field, Format, Listing};
use crate::output::{self, text};

pub(crate) const COMMAND: Command = Command {
    names: &["search"],
    synopsis: "[OPTIONS] TERM",
    about: "Search Docker Hub, or the registry before a slash, for images",
    flags: &[
        output::filter::FLAG,
        Flag::string("format").help(listing::FORMAT_HELP),
        Flag::int("limit").default("25").help("How many at the most, 1 to 100"),
        Flag::switch("no-trunc").help("Don't truncate output"),
    ],
    count: Count::Exactly(1),
    interspersed: true,
    run,
};

/// Columns of a description, unless it is shown whole.
const DESCRIPTION: usize = 45;

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let source = args.value("format").unwrap_or_default();
    let format = Format::read(source, vec!["Name", "Description", "StarCount", "IsOfficial"])?;
    let limit = args.int("limit").filter(|limit| *limit != 0).unwrap_or(25);
    let limit = usize::try_from(limit)
        .ok()
        .filter(|limit| (1..=100).contains(limit))
        .ok_or_else(|| Failure::new(format!("limit {limit} is outside the range of [1, 100]")))?;
    let filter = Filter::read(&output::filter::read(args))?;
    let request = SearchRequest {
        term: args.arg().to_owned(),
        limit,
    };
    let mut found = hull_registry::search(&Client::new(pull::settings(ctx)?), &request)?;
    found.retain(|one| filter.takes(one));
    let trunc = !args.on("no-trunc");
    let json = source == "json" || source.contains("{{json");
    let rows: Vec<Row> = found.into_iter().map(|found| Row { found, trunc, json }).collect();
    output::print(&LISTING.render(&rows, &format)?)?;
    Ok(0)
}

/// What is shown of what was found.
struct Filter {
    official: Option<bool>,
    automated: Option<bool>,
    stars: i64,
}

impl Filter {
    fn read(filters: &Filters) -> Result<Self> {
        if let Some(name) = filters.unknown(&["is-official", "is-automated", "stars"]) {
            return Err(Failure::new(format!("invalid filter '{name}'")));
        }
        let flag = |name: &str| match filters.values(name).last().map(String::as_str) {
            None => Ok(None),
            Some("1" | "true") => Ok(Some(true)),
            Some("0" | "false") => Ok(Some(false)),
            Some(other) => Err(Failure::new(format!("invalid filter '{name}={other}'"))),
        };
        let stars = filters.values("stars").iter().map(|text| {
            text.parse::<i64>()
                .map_err(|_| Failure::new(format!("invalid filter 'stars={text}'")))
        });
        Ok(Self {
            official: flag("is-official")?,
            automated: flag("is-automated")?,
            stars: stars.collect::<Result<Vec<_>>>()?.into_iter().max().unwrap_or(0),
        })
    }

    fn takes(&self, found: &Found) -> bool {
        self.official.is_none_or(|wanted| wanted == found.official)
            && self.automated.is_none_or(|wanted| wanted == found.automated)
            && found.stars >= self.stars
    }
}

struct Row {
    found: Found,
    trunc: bool,
    json: bool,
}

impl Row {
    fn mark(&self, on: bool) -> String {
        match (on, self.json) {
            (true, true) => "true",
            (false, true) => "false",
            (true, false) => "[OK]",
            (false, false) => "",
        }
        .to_owned()
    }

    fn description(&self) -> String {
        let text = self.found.description.replace(['\n', '\r'], " ");
        match self.trunc {
            true => text::ellipsis(&text, DESCRIPTION),
            false => text,
        }
    }
}

const LISTING: Listing<Row> = Listing {
    fields: &[
        Field {
            name: "Name",
            header: "NAME",
            value: |row| row.found.name.clone(),
        },
        Field {
            name: "Description",
            header: "DESCRIPTION",
            value: Row::description,
        },
        Field {
            name: "StarCount",
            header: "STARS",
            value: |row| row.found.stars.to_string(),
        },
        Field {
            name: "IsOfficial",
            header: "OFFICIAL",
            value: |row| row.mark(row.found.official),
        },
        Field {
            name: "IsAutomated",
            header: "AUTOMATED",
            value: |row| row.mark(row.found.automated),
        },
    ],
    labels: None,
};

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, stars: i64, official: bool) -> Found {
        Found {
            name: name.to_owned(),
            description: "A small set of tools,\nall of them in one file, for small systems".to_owned(),
            stars,
            official,
            automated: false,
        }
    }

    #[test]
    fn tables_are_dockers() {
        let render = |source: &str, json| {
            let row = |found| Row {
                found,
                trunc: true,
                json,
            };
            let rows = [row(found("busybox", 3000, true)), row(found("me/busybox", 0, false))];
            let format = Format::read(source, vec!["Name", "Description", "StarCount", "IsOfficial"]).unwrap();
            LISTING.render(&rows, &format).unwrap()
        };
        insta::assert_snapshot!(render("", false), @r"
        NAME         DESCRIPTION                                     STARS     OFFICIAL
        busybox      A small set of tools, all of them in one fil…   3000      [OK]
        me/busybox   A small set of tools, all of them in one fil…   0         
        ");
        assert!(render("json", true).starts_with(r#"{"Description":"A small set of tools, all of them in one fil…","IsAutomated":"false","IsOfficial":"true","Name":"busybox","StarCount":"3000"}"#));
    }

    #[test]
    fn filters_narrow() {
        let filter = |pairs: &[(&str, &str)]| {
            let mut filters = Filters::new();
            pairs.iter().for_each(|(name, value)| filters.add(name, value));
            Filter::read(&filters)
        };
        let official = filter(&[("is-official", "true"), ("stars", "10")]).unwrap();
        assert!(official.takes(&found("a", 10, true)));
        assert!(!official.takes(&found("a", 9, true)) && !official.takes(&found("a", 10, false)));
        for bad in [("x", "y"), ("stars", "many"), ("is-official", "maybe")] {
            assert!(
                filter(&[bad]).err().unwrap().message().starts_with("invalid filter"),
                "{bad:?}"
            );
        }
    }
}
