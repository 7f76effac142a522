//! Lists, one line an item, in the forms that `--format` gives them.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::{TemplateError, Value};
use hull_engine::elapsed;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::data::Data;
use super::table;
use super::template::Template;
use crate::context::Context;
use crate::error::{Failure, Result};

/// What help says of `--format` for lists.
pub(crate) const FORMAT_HELP: &str = "Format output using a custom template: 'table' prints output in table format with \
     column headers (default), 'table TEMPLATE' prints it using the given Go template, 'json' prints in JSON format, and \
     'TEMPLATE' prints using the given Go template";

/// A moment in this host's time zone, as Go prints it.
pub(crate) fn local_time(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or_default();
    let zone = TimeZone::system();
    let info = zone.to_offset_info(time);
    let offset = info.offset().seconds();
    let local = zone.to_datetime(time);
    format!(
        "{} {} {}{:02}{:02} {}",
        local.date(),
        local.time(),
        if offset < 0 { '-' } else { '+' },
        offset.abs() / 3600,
        offset.abs() / 60 % 60,
        info.abbreviation()
    )
}

/// A moment in this host's time zone, to the second (RFC 3339).
pub(crate) fn rfc3339(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or_default();
    let zone = TimeZone::system();
    let offset = zone.to_offset_info(time).offset();
    let local = zone.to_datetime(time);
    let zone = match offset.seconds() {
        0 => "Z".to_owned(),
        seconds => format!(
            "{}{:02}:{:02}",
            if seconds < 0 { '-' } else { '+' },
            seconds.abs() / 3600,
            seconds.abs() / 60 % 60
        ),
    };
    format!("{}T{}{zone}", local.date(), local.time())
}

/// How long ago a moment was; `N/A` where it is not known.
pub(crate) fn ago(seconds: i64, now: Timestamp) -> String {
    if seconds <= 0 {
        return "N/A".to_owned();
    }
    let then = Timestamp::from_second(seconds).unwrap_or_default();
    format!("{} ago", elapsed::words(now.duration_since(then).as_secs()))
}

/// The value of a field that has none: null in JSON.
pub(crate) const NULL: &str = "\0";

/// A field of an item, by which templates and the columns of the default table name it.
pub(crate) struct Field<T> {
    /// The name in templates.
    pub(crate) name: &'static str,
    /// The header of its column.
    pub(crate) header: &'static str,
    /// Its text.
    pub(crate) value: fn(&T) -> String,
}

/// Gives an item's labels.
pub(crate) type Labels<T> = fn(&T) -> &BTreeMap<String, String>;

/// What a kind of item has.
pub(crate) struct Listing<T: 'static> {
    /// Its fields.
    pub(crate) fields: &'static [Field<T>],
    /// Its labels, where it has any.
    pub(crate) labels: Option<Labels<T>>,
}

/// How a list is printed.
#[derive(Debug)]
pub(crate) enum Format {
    /// A table of these fields.
    Columns(Vec<&'static str>),
    /// A table whose lines a template makes, and the template of its header.
    Table(Template, Template),
    /// What a template makes of each item.
    Lines(Template),
}

impl Format {
    /// What `--format` asks for: nothing or `table` for the default table, `json`, `table TEMPLATE` or a template.
    ///
    /// # Errors
    /// If the template is malformed.
    pub(crate) fn read(source: &str, columns: Vec<&'static str>) -> Result<Self> {
        let failed = |reason| Failure::new(format!("failed to parse template: {reason}"));
        // The shell does not make these: Docker does.
        let unescape = |text: &str| text.replace("\\t", "\t").replace("\\n", "\n");
        match source {
            "" | "table" => Ok(Self::Columns(columns)),
            "json" => Ok(Self::Lines(Template::parse("{{json .}}").map_err(failed)?)),
            source => match source.strip_prefix("table") {
                Some(rest) => {
                    let rest = unescape(rest.trim_matches(' '));
                    let header = Template::parse_header(&rest).map_err(failed)?;
                    Ok(Self::Table(Template::parse(&rest).map_err(failed)?, header))
                }
                None => Ok(Self::Lines(
                    Template::parse(&unescape(source.trim_matches(' '))).map_err(failed)?,
                )),
            },
        }
    }

    /// Whether the field is printed.
    pub(crate) fn mentions(&self, field: &str) -> bool {
        match self {
            Self::Columns(columns) => columns.contains(&field),
            Self::Table(template, _) | Self::Lines(template) => template.mentions(field),
        }
    }
}

/// What `--format` was given, or else what Docker's `config.json` has under `key`: a table format of the user's own.
pub(crate) fn source(given: Option<&str>, quiet: bool, key: &str, ctx: &Context) -> String {
    if let Some(given) = given.filter(|text| !text.is_empty()) {
        return given.to_owned();
    }
    let own = || {
        let text = std::fs::read(ctx.docker_config.as_ref()?.join("config.json")).ok()?;
        let config: serde_json::Value = serde_json::from_slice(&text).ok()?;
        Some(config.get(key)?.as_str()?.to_owned())
    };
    if quiet {
        String::new()
    } else {
        own().unwrap_or_default()
    }
}

impl<T> Listing<T> {
    /// The items in this format.
    ///
    /// # Errors
    /// If the template names a field that is not there, or fails otherwise.
    pub(crate) fn render(&self, items: &[T], format: &Format) -> Result<String> {
        match format {
            Format::Columns(columns) => Ok(self.columns(items, columns)),
            Format::Table(template, header) => {
                let mut out = run(header, &self.header())?;
                out.push('\n');
                for item in items {
                    out.push_str(&run(template, &self.row(item))?);
                    out.push('\n');
                }
                Ok(table::layout(&out))
            }
            Format::Lines(template) => {
                let mut out = String::new();
                for item in items {
                    out.push_str(&run(template, &self.row(item))?);
                    out.push('\n');
                }
                Ok(out)
            }
        }
    }

    /// The default table, without going through a template.
    fn columns(&self, items: &[T], columns: &[&'static str]) -> String {
        let fields: Vec<&Field<T>> = columns
            .iter()
            .filter_map(|name| self.fields.iter().find(|field| field.name == *name))
            .collect();
        let mut out = String::new();
        let mut line = |cells: &mut dyn Iterator<Item = String>| {
            for (at, cell) in cells.enumerate() {
                if at > 0 {
                    out.push('\t');
                }
                out.push_str(&cell);
            }
            out.push('\n');
        };
        line(&mut fields.iter().map(|field| field.header.to_owned()));
        for item in items {
            line(&mut fields.iter().map(|field| (field.value)(item)));
        }
        table::layout(&out)
    }

    /// The items as a template sees them.
    pub(crate) fn rows(&self, items: &[T]) -> Vec<Data> {
        items.iter().map(|item| self.row(item)).collect()
    }

    fn row(&self, item: &T) -> Data {
        let mut map: BTreeMap<Arc<str>, Value> = BTreeMap::new();
        for field in self.fields {
            let value = match (field.value)(item) {
                text if text == NULL => Value::Nil,
                text => Value::String(text.into()),
            };
            map.insert(field.name.into(), value);
        }
        if let Some(labels) = self.labels {
            let labels = labels(item).clone();
            map.insert(
                "Label".into(),
                method(move |name| labels.get(name).cloned().unwrap_or_default()),
            );
        }
        Data::row(map)
    }

    fn header(&self) -> Data {
        let mut map: BTreeMap<Arc<str>, Value> = BTreeMap::new();
        for field in self.fields {
            map.insert(field.name.into(), Value::String(field.header.into()));
        }
        if self.labels.is_some() {
            let header = |name: &str| name.rsplit('.').next().unwrap_or_default().replace(['-', '_'], " ");
            map.insert("Label".into(), method(header));
        }
        Data::row(map)
    }
}

fn method(f: impl Fn(&str) -> String + Send + Sync + 'static) -> Value {
    Value::Function(Arc::new(move |args: &[Value]| match args {
        [Value::String(name)] => Ok(Value::String(f(name).into())),
        _ => Err(TemplateError::Exec(format!(
            "wrong number of args for Label: want 1 got {}",
            args.len()
        ))),
    }))
}

fn run(template: &Template, data: &Data) -> Result<String> {
    template
        .execute(data)
        .map_err(|reason| Failure::new(format!("failed to execute template: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Item {
        name: &'static str,
        labels: BTreeMap<String, String>,
    }

    const ITEMS: Listing<Item> = Listing {
        fields: &[
            Field {
                name: "ID",
                header: "ITEM ID",
                value: |item| item.name.len().to_string(),
            },
            Field {
                name: "Names",
                header: "NAMES",
                value: |item| item.name.to_owned(),
            },
        ],
        labels: Some(|item| &item.labels),
    };

    fn render(source: &str) -> String {
        let labels = BTreeMap::from([("com.example.a-b".to_owned(), "x".to_owned())]);
        let items = [
            Item { name: "first", labels },
            Item {
                name: "<second>",
                labels: BTreeMap::new(),
            },
        ];
        match Format::read(source, vec!["ID", "Names"]).and_then(|format| ITEMS.render(&items, &format)) {
            Ok(text) => text,
            Err(failure) => failure.text(),
        }
    }

    #[test]
    fn lists_are_printed_in_each_form() {
        for (source, expected) in [
            ("", "ITEM ID   NAMES\n5         first\n8         <second>\n"),
            ("table", "ITEM ID   NAMES\n5         first\n8         <second>\n"),
            (
                "table {{.Names}}\\t{{.ID}}",
                "NAMES      ITEM ID\nfirst      5\n<second>   8\n",
            ),
            (
                "table {{upper .Names}}\t{{.Label \"com.example.a-b\"}}",
                "NAMES      a b\nFIRST      x\n<SECOND>   \n",
            ),
            ("{{.Names}}\\n", "first\n\n<second>\n\n"),
            (
                "json",
                "{\"ID\":\"5\",\"Names\":\"first\"}\n{\"ID\":\"8\",\"Names\":\"\\u003csecond\\u003e\"}\n",
            ),
            ("{{json .Names}}", "\"first\"\n\"<second>\"\n"),
            ("{{.Label \"com.example.a-b\"}}|", "x|\n|\n"),
            (
                "{{.Nope}}",
                "error: failed to execute template: template: executing at <.Nope>: map has no entry for key \"Nope\"\n",
            ),
            (
                "{{.Label}}",
                "error: failed to execute template: template: wrong number of args for Label: want 1 got 0\n",
            ),
            ("{{", "error: failed to parse template: template: :1: unclosed action\n"),
        ] {
            assert_eq!(render(source), expected, "{source}");
        }
    }
}
