//! Go's templates with Docker's functions, for `--format`.

mod balance;
mod rewrite;

use std::collections::BTreeSet;
use std::sync::{Arc, RwLock};

use gotmpl::parse::Parser;
use gotmpl::{TemplateError, Value};

use super::data::{Data, Shapes};
use rewrite::{CALL, GET, Met, SHOW};

/// The name of the tree that is run.
const MAIN: &str = "\0main";

/// A parsed template.
pub(crate) struct Template {
    inner: gotmpl::Template,
    shapes: Arc<RwLock<Shapes>>,
    fields: BTreeSet<String>,
    dot: bool,
}

/// What Docker's functions do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Functions {
    /// What their names say.
    Real,
    /// Nothing: in the header of a table, `{{upper .Names}}` is `NAMES`.
    Header,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// What is wrong with it, in Go's words.
    pub(crate) fn parse(source: &str) -> Result<Self, String> {
        Self::parse_with(source, Functions::Real)
    }

    /// The same template for the header of a table.
    ///
    /// # Errors
    /// As [`Template::parse`].
    pub(crate) fn parse_header(source: &str) -> Result<Self, String> {
        Self::parse_with(source, Functions::Header)
    }

    fn parse_with(source: &str, functions: Functions) -> Result<Self, String> {
        balance::check(source)?;
        let parser = Parser::new(source, "{{", "}}").map_err(|e| syntax(&e))?;
        let (mut tree, mut defines) = parser.parse().map_err(|e| syntax(&e))?;
        let mut met = Met::default();
        met.list(&mut tree);
        for define in &mut defines {
            met.list(&mut define.body);
        }
        let known = gotmpl_builtins();
        if let Some(name) = met.functions.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(format!("template: :1: function \"{name}\" not defined"));
        }
        let shapes = Arc::new(RwLock::new(Shapes::default()));
        let mut inner = with_functions(gotmpl::Template::new(""), functions, &shapes).add_parse_tree(MAIN, tree);
        for define in defines {
            inner = inner.add_parse_tree(&define.name, define.body);
        }
        Ok(Self {
            inner,
            shapes,
            fields: met.fields,
            dot: met.dot,
        })
    }

    /// Whether the template looks at the field, or at everything.
    pub(crate) fn mentions(&self, field: &str) -> bool {
        self.dot || self.fields.contains(field)
    }

    /// Runs the template over `data`.
    ///
    /// # Errors
    /// What went wrong, in Go's words.
    pub(crate) fn execute(&self, data: &Data) -> Result<String, String> {
        if let Ok(mut shapes) = self.shapes.write() {
            *shapes = data.shapes.clone();
        }
        self.inner
            .execute_template_to_string(MAIN, &data.value)
            .map_err(|e| format!("template: {}", message(&e)))
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Template({:?})", self.fields)
    }
}

fn syntax(error: &TemplateError) -> String {
    match error {
        TemplateError::Parse { line, message, .. } | TemplateError::Lex { line, message, .. } => {
            let message = if message == "empty command" {
                "missing value for command"
            } else {
                message
            };
            format!("template: :{line}: {message}")
        }
        other => other.to_string(),
    }
}

fn message(error: &TemplateError) -> String {
    match error {
        TemplateError::Exec(message) => message.clone(),
        other => other.to_string(),
    }
}

/// All functions that a template may call.
fn gotmpl_builtins() -> &'static [&'static str] {
    &[
        "and", "call", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower", "lt", "ne",
        "not", "or", "pad", "print", "printf", "println", "slice", "split", "title", "truncate", "upper", "urlquery",
        GET, CALL, SHOW,
    ]
}

type Answer = gotmpl::Result<Value>;

fn fail(message: impl Into<String>) -> TemplateError {
    TemplateError::Exec(message.into())
}

fn with_functions(template: gotmpl::Template, functions: Functions, shapes: &Arc<RwLock<Shapes>>) -> gotmpl::Template {
    // Each function asks the shapes of the data that is being run over.
    let ask = |f: fn(&Shapes, &[Value]) -> Answer| {
        let shapes = shapes.clone();
        move |args: &[Value]| match shapes.read() {
            Ok(shapes) => f(&shapes, args),
            Err(_) => Err(fail("the data is gone")),
        }
    };
    let template = template
        .func(GET, ask(get))
        .func(CALL, ask(call))
        .func(SHOW, ask(show))
        .func("index", ask(index))
        .func("join", join)
        .func("split", split)
        .func("pad", pad);
    match functions {
        Functions::Real => template
            .func("json", ask(json))
            .func("title", |args| Ok(title(text("title", args, 0)?).into_value()))
            .func("lower", |args| Ok(text("lower", args, 0)?.to_lowercase().into_value()))
            .func("upper", |args| Ok(text("upper", args, 0)?.to_uppercase().into_value()))
            .func("truncate", truncate),
        Functions::Header => ["json", "title", "lower", "upper", "truncate"]
            .into_iter()
            .fold(template, |template, name| template.func(name, first)),
    }
}

trait IntoValue {
    fn into_value(self) -> Value;
}

impl IntoValue for String {
    fn into_value(self) -> Value {
        Value::String(self.into())
    }
}

fn first(args: &[Value]) -> Answer {
    args.first().cloned().ok_or_else(|| fail("wrong number of args"))
}

fn text<'a>(function: &str, args: &'a [Value], at: usize) -> gotmpl::Result<&'a str> {
    args.get(at)
        .and_then(Value::as_str)
        .ok_or_else(|| fail(format!("wrong type for value; expected string in call of {function}")))
}

fn number(function: &str, args: &[Value], at: usize) -> gotmpl::Result<usize> {
    match args.get(at) {
        Some(Value::Int(n)) => Ok(usize::try_from(*n).unwrap_or(0).min(1 << 16)),
        _ => Err(fail(format!(
            "wrong type for value; expected int in call of {function}"
        ))),
    }
}

/// Follows `names` from `base`; the last field is not called even if it is a method.
fn walk(shapes: &Shapes, base: &Value, names: &[Value]) -> Answer {
    let mut value = base.clone();
    for name in names {
        let name = name.as_str().unwrap_or_default();
        value = shapes.field(&value, name).map_err(|reason| {
            let path: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
            fail(format!("executing at <.{}>: {reason}", path.join(".")))
        })?;
    }
    Ok(value)
}

fn get(shapes: &Shapes, args: &[Value]) -> Answer {
    let (base, names) = args.split_first().ok_or_else(|| fail("no value"))?;
    match walk(shapes, base, names)? {
        Value::Function(method) => method(&[]),
        value => Ok(value),
    }
}

fn call(shapes: &Shapes, args: &[Value]) -> Answer {
    let count = number("method", args, 0)?;
    let names = args.get(2..2 + count).ok_or_else(|| fail("no method"))?;
    match walk(shapes, &args[1], names)? {
        Value::Function(method) => method(&args[2 + count..]),
        _ => {
            let name = names.last().and_then(Value::as_str).unwrap_or_default();
            Err(fail(format!("{name} has arguments but cannot be invoked as function")))
        }
    }
}

fn show(shapes: &Shapes, args: &[Value]) -> Answer {
    match args.first() {
        // The engine prints it as `<no value>`, as Go does.
        None | Some(Value::Nil) => Ok(Value::Nil),
        Some(value) => Ok(shapes.show(value).into_value()),
    }
}

fn index(shapes: &Shapes, args: &[Value]) -> Answer {
    let (value, keys) = args
        .split_first()
        .ok_or_else(|| fail("wrong number of args for index"))?;
    keys.iter()
        .try_fold(value.clone(), |value, key| shapes.index(&value, key))
        .map_err(fail)
}

fn json(shapes: &Shapes, args: &[Value]) -> Answer {
    Ok(shapes.json(&first(args)?).into_value())
}

fn join(args: &[Value]) -> Answer {
    let separator = text("join", args, 1)?;
    match args.first() {
        Some(Value::List(items)) => {
            let items: Vec<String> = items.iter().map(ToString::to_string).collect();
            Ok(items.join(separator).into_value())
        }
        _ => Err(fail("wrong type for value; expected []string in call of join")),
    }
}

fn split(args: &[Value]) -> Answer {
    let (whole, separator) = (text("split", args, 0)?, text("split", args, 1)?);
    let parts: Vec<Value> = match separator {
        // Go splits into characters.
        "" => whole.chars().map(|c| c.to_string().into_value()).collect(),
        separator => whole
            .split(separator)
            .map(|part| part.to_owned().into_value())
            .collect(),
    };
    Ok(Value::List(parts.into()))
}

fn pad(args: &[Value]) -> Answer {
    let whole = text("pad", args, 0)?;
    if whole.is_empty() {
        return Ok(String::new().into_value());
    }
    let (before, after) = (number("pad", args, 1)?, number("pad", args, 2)?);
    Ok(format!("{}{whole}{}", " ".repeat(before), " ".repeat(after)).into_value())
}

fn truncate(args: &[Value]) -> Answer {
    let (whole, length) = (text("truncate", args, 0)?, number("truncate", args, 1)?);
    // Go cuts bytes; a cut within a character would make no text.
    let end = (0..=length.min(whole.len()))
        .rev()
        .find(|&at| whole.is_char_boundary(at))
        .unwrap_or(0);
    Ok(whole[..end].to_owned().into_value())
}

/// The first letter of each word in upper case.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_word = false;
    for c in text.chars() {
        if in_word {
            out.push(c);
        } else {
            out.extend(c.to_uppercase());
        }
        in_word = c.is_alphanumeric() || c == '_' || c == '\'';
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::json::Json;
    use super::*;

    const DOCUMENT: &str = r#"{
        "Id": "abc", "Name": "/web", "Args": ["-c", "a b"],
        "State": {"Status": "running", "OOMKilled": false, "Pid": 7, "Error": ""},
        "Config": {"Labels": {"b": "2", "a": "1", "x.y": "z"}, "Env": ["A=b<"], "Volumes": null},
        "HostConfig": {"Binds": null, "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}},
        "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "81/tcp": null},
            "Networks": {"bridge": {"IPAddress": "172.17.0.2"}, "two": {"IPAddress": "10.0.0.2"}}}
    }"#;

    fn run(template: &str) -> Result<String, String> {
        let json: Json = serde_json::from_str(DOCUMENT).unwrap();
        Template::parse(template)?.execute(&Data::document(&json))
    }

    #[test]
    fn documents_are_printed_as_go_does() {
        for (template, expected) in [
            ("{{.Id}} {{.ID}} {{.Name}}", "abc abc /web"),
            ("{{.State.Status}}:{{.State.Pid}}", "running:7"),
            ("{{.State}}", "{running false 7 }"),
            ("{{.Config.Labels}}", "map[a:1 b:2 x.y:z]"),
            ("{{.Config.Labels.a}} {{.Config.Labels.none}}", "1 <no value>"),
            (
                r#"{{index .Config.Labels "x.y"}}|{{index .Config.Labels "none"}}|"#,
                "z||",
            ),
            (
                r#"{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}"#,
                "8080",
            ),
            (r#"{{index .NetworkSettings.Ports "99/tcp"}}"#, "[]"),
            (
                "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}",
                "172.17.0.2 10.0.0.2 ",
            ),
            (
                "{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}};{{end}}",
                "bridge=172.17.0.2;two=10.0.0.2;",
            ),
            (
                "{{range $p, $c := .NetworkSettings.Ports}}{{$p}}->{{with $c}}{{(index . 0).HostPort}}{{end}} {{end}}",
                "80/tcp->8080 81/tcp-> ",
            ),
            (
                "{{.Args}} {{.HostConfig.Binds}} {{.Config.Volumes}}",
                "[-c a b] [] map[]",
            ),
            (
                "{{json .Args}} {{json .HostConfig.Binds}} {{json .Config.Env}}",
                r#"["-c","a b"] null ["A=b<"]"#,
            ),
            (
                "{{json .State}}",
                r#"{"Status":"running","OOMKilled":false,"Pid":7,"Error":""}"#,
            ),
            ("{{.HostConfig.LogConfig}}", "{json-file map[max-size:1m]}"),
            (r#"{{.HostConfig.LogConfig.Config.x}}"#, "<no value>"),
            (
                r#"{{join .Args "+"}} {{upper .Name}} {{title "a b"}} {{lower "AB"}}"#,
                "-c+a b /WEB A B ab",
            ),
            (
                r#"{{index (split .Name "/") 1}} {{truncate .State.Status 3}} {{pad "x" 1 2}}|"#,
                "web run  x  |",
            ),
            (r#"{{if eq .State.Status "running"}}yes{{else}}no{{end}}"#, "yes"),
            ("{{if .HostConfig.Binds}}some{{else}}none{{end}}", "none"),
            (r#"{{printf "%s-%d" .Name .State.Pid}} {{len .Args}}"#, "/web-7 2"),
            (
                "{{println .Name}}{{with .State}}{{.Pid}} {{$.Id}}{{end}}",
                "/web\n7 abc",
            ),
            (r#"{{define "x"}}<{{.Pid}}>{{end}}{{template "x" .State}}"#, "<7>"),
            ("{{$s := .State}}{{$s.Pid}}", "7"),
            (
                "{{.State.OOMKilled}} {{if .State.Health}}x{{else}}none{{end}}",
                "false none",
            ),
            ("{{.Name | upper | printf \"%q\"}}", "\"/WEB\""),
        ] {
            assert_eq!(run(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (template, expected) in [
            (
                "{{.Nope}}",
                "template: executing at <.Nope>: map has no entry for key \"Nope\"",
            ),
            (
                "{{.State.Nope}}",
                "template: executing at <.State.Nope>: map has no entry for key \"Nope\"",
            ),
            (
                "{{.State.Health.Status}}",
                "template: executing at <.State.Health.Status>: nil pointer evaluating .Status",
            ),
            (
                "{{.Name.x}}",
                "template: executing at <.Name.x>: can't evaluate field x in type string",
            ),
            ("{{nope .}}", "template: :1: function \"nope\" not defined"),
            ("{{", "template: :1: unclosed action"),
            (
                "{{.Name \"x\"}}",
                "template: Name has arguments but cannot be invoked as function",
            ),
            (
                "{{index .Args 5}}",
                "template: error calling index: index out of range: 5",
            ),
        ] {
            assert_eq!(
                run(template).as_ref().map_err(String::as_str),
                Err(expected),
                "{template}"
            );
        }
    }

    #[test]
    fn what_a_template_needs_is_known() {
        let check = |template: &str, expected: bool| {
            assert_eq!(
                Template::parse(template).unwrap().mentions("Size"),
                expected,
                "{template}"
            );
        };
        check("{{.Names}}", false);
        check("{{.Size}}", true);
        check("{{if $.Size}}x{{end}}", true);
        check("{{json .}}", true);
        check("{{json .Names}}", false);
        check("{{.Names | printf \"%s %s\" .Size}}", true);
    }
}
