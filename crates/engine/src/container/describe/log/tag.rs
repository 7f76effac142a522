//! The option `tag`: a Go template over what the container is.

use std::collections::BTreeMap;

use gotmpl::{MissingKey, Template, Value};
use hull_spec::container::Record;

use super::options::driver_error;
use crate::Result;

/// Fills a tag's template.
pub(super) fn fill(template: &str, record: &Record) -> Result<String> {
    // Most tags are plain words or this: not worth a parser.
    if !template.contains("{{") {
        return Ok(template.to_owned());
    }
    if template == "{{.ID}}" {
        return Ok(record.id[..12].to_owned());
    }
    let config = &record.config;
    let command = config.entrypoint.iter().flatten().chain(config.cmd.iter().flatten());
    let command = command.map(String::as_str).collect::<Vec<_>>().join(" ");
    let image = record.image_id.to_string();
    let host = super::super::host_name();
    let name = format!("/{}", record.name);
    let fields: BTreeMap<&str, &str> = [
        ("ID", &record.id[..12]),
        ("FullID", &record.id),
        ("ContainerID", &record.id),
        ("Name", &record.name),
        ("ContainerName", &name),
        ("ImageID", &image[..12]),
        ("ImageFullID", &image),
        ("ContainerImageID", &image),
        ("ImageName", &config.image),
        ("ContainerImageName", &config.image),
        ("Command", &command),
        ("Hostname", &host),
        ("DaemonName", "hull"),
    ]
    .into();
    let data = fields
        .into_iter()
        .map(|(name, value)| (name.into(), Value::String(value.into())));
    let failed = |e: gotmpl::TemplateError| driver_error(format!("template: log-tag: {e}"));
    Template::new("log-tag")
        .missing_key(MissingKey::Error)
        .func("lower", |args| {
            text(args).map(|t| Value::String(t.to_lowercase().into()))
        })
        .func("upper", |args| {
            text(args).map(|t| Value::String(t.to_uppercase().into()))
        })
        .func("truncate", |args| {
            let length = match args.get(1) {
                Some(Value::Int(n)) => usize::try_from(*n).unwrap_or(0),
                _ => return Err(gotmpl::TemplateError::Exec("truncate wants a length".to_owned())),
            };
            text(args).map(|t| Value::String(t.chars().take(length).collect::<String>().into()))
        })
        .parse(template)
        .map_err(failed)?
        .execute_to_string(&Value::Map(std::sync::Arc::new(data.collect())))
        .map_err(failed)
}

fn text(args: &[Value]) -> gotmpl::Result<&str> {
    let wrong = || gotmpl::TemplateError::Exec("wrong type for value; expected string".to_owned());
    args.first().and_then(Value::as_str).ok_or_else(wrong)
}
