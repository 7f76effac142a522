//! What a template works on: JSON, with what Go knows of its types.
//!
//! A Go template tells a structure from a map: a field that a structure lacks is an error, a key that a map lacks is
//! nothing; a structure prints as `{a b}`, a map as `map[k:v]`. The template engine has one kind of map only, so the
//! difference is kept beside it, in [`Shapes`], by the address of each map.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use gotmpl::Value;

use super::json::{self, Json};

/// What a value was in Go.
#[derive(Clone, Debug, PartialEq)]
enum Shape {
    /// A structure with these fields, in order.
    Struct(Vec<Arc<str>>),
    /// A map from texts to texts, where a missing key is an empty text.
    Texts,
    /// A map to anything else, where a missing key is nothing.
    Map,
    /// A nil map, slice or pointer, and how that prints.
    Nil(&'static str),
}

/// The shapes of the maps and lists of one piece of data.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shapes(HashMap<usize, Shape>);

/// A template's data.
#[derive(Clone, Debug)]
pub(crate) struct Data {
    pub(super) value: Value,
    pub(super) shapes: Shapes,
}

/// Fields that are maps in Go, from texts to texts.
const TEXTS: [&str; 10] = [
    "Attributes",
    "Labels",
    "Annotations",
    "Sysctls",
    "Tmpfs",
    "StorageOpt",
    "DriverOpts",
    "Options",
    "Data",
    "Details",
];
/// Fields that are maps in Go, to something else.
const MAPS: [&str; 8] = [
    "ExposedPorts",
    "Volumes",
    "Networks",
    "Ports",
    "PortBindings",
    "EndpointsConfig",
    "Runtimes",
    "IndexConfigs",
];
/// Fields that are pointers in Go.
const POINTERS: [&str; 9] = [
    "MemorySwappiness",
    "OomKillDisable",
    "PidsLimit",
    "Init",
    "Health",
    "Healthcheck",
    "IPAMConfig",
    "StopTimeout",
    "SizeRw",
];
/// Fields that JSON leaves out and a template finds all the same: what tells the structure, the field, and its value.
const ABSENT: [(&str, &str, Absent); 17] = [
    ("OOMKilled", "Health", Absent::Nil("<nil>")),
    ("ResolvConfPath", "SizeRw", Absent::Nil("<nil>")),
    ("ResolvConfPath", "SizeRootFs", Absent::Nil("<nil>")),
    ("AttachStdin", "Healthcheck", Absent::Nil("<nil>")),
    ("AttachStdin", "StopTimeout", Absent::Nil("<nil>")),
    ("AttachStdin", "StopSignal", Absent::Text),
    ("AttachStdin", "MacAddress", Absent::Text),
    ("AttachStdin", "ExposedPorts", Absent::Nil("map[]")),
    ("AttachStdin", "Shell", Absent::Nil("[]")),
    ("ContainerIDFile", "Init", Absent::Nil("<nil>")),
    ("ContainerIDFile", "Annotations", Absent::Nil("map[]")),
    ("ContainerIDFile", "Tmpfs", Absent::Nil("map[]")),
    ("ContainerIDFile", "Sysctls", Absent::Nil("map[]")),
    ("ContainerIDFile", "StorageOpt", Absent::Nil("map[]")),
    ("ContainerIDFile", "Mounts", Absent::Nil("[]")),
    ("Propagation", "Name", Absent::Text),
    ("Propagation", "Driver", Absent::Text),
];

/// The value of a field that is left out.
#[derive(Clone, Copy)]
enum Absent {
    Nil(&'static str),
    Text,
}

/// Fields whose Go names differ from their names in JSON: both are understood.
const ALIASES: [(&str, &str); 2] = [("Id", "ID"), ("ApiVersion", "APIVersion")];

impl Data {
    /// The data of a document. Its objects are structures, except for the fields that are known to be maps.
    pub(crate) fn document(json: &Json) -> Self {
        let mut shapes = Shapes::default();
        let value = shapes.build(json, "", false);
        Self { value, shapes }
    }

    /// The data of a document whose fields have other names in Go than in JSON: `aliases` are the Go names, with what
    /// fields have that the JSON leaves out.
    pub(crate) fn aliased(json: &Json, aliases: &[(&str, &str, Json)]) -> Self {
        let mut shapes = Shapes::default();
        let value = shapes.build(json, "", false);
        let (Value::Map(map), Some(shape)) = (&value, shapes.of(&value).cloned()) else {
            return Self { value, shapes };
        };
        let mut map = BTreeMap::clone(map);
        for (go, name, missing) in aliases {
            let field = map.get(*name).cloned();
            let field = field.unwrap_or_else(|| shapes.build(missing, go, false));
            map.insert(Arc::from(*go), field);
        }
        let value = shapes.keep(Value::Map(Arc::new(map)), shape);
        Self { value, shapes }
    }

    /// The data of a structure whose fields are lists of rows.
    pub(crate) fn lists(fields: Vec<(&str, Vec<Self>)>) -> Self {
        let mut shapes = Shapes::default();
        let order = fields.iter().map(|(name, _)| Arc::from(*name)).collect();
        let list = |rows: Vec<Self>| Value::List(rows.into_iter().map(|row| row.value).collect::<Vec<_>>().into());
        let map = fields.into_iter().map(|(name, rows)| (Arc::from(name), list(rows)));
        let value = shapes.keep(Value::Map(Arc::new(map.collect())), Shape::Struct(order));
        Self { value, shapes }
    }

    /// The data of one row of a list: fields by name, and methods, which take arguments.
    pub(crate) fn row(fields: BTreeMap<Arc<str>, Value>) -> Self {
        Self {
            value: Value::Map(Arc::new(fields)),
            shapes: Shapes::default(),
        }
    }
}

fn address(value: &Value) -> Option<usize> {
    match value {
        Value::Map(map) => Some(Arc::as_ptr(map).addr()),
        Value::List(list) => Some(Arc::as_ptr(list).cast::<()>().addr()),
        _ => None,
    }
}

impl Shapes {
    fn of(&self, value: &Value) -> Option<&Shape> {
        self.0.get(&address(value)?)
    }

    fn keep(&mut self, value: Value, shape: Shape) -> Value {
        if let Some(address) = address(&value) {
            self.0.insert(address, shape);
        }
        value
    }

    fn nil(&mut self, text: &'static str) -> Value {
        // An allocation of its own, even though it is empty: its address tells it from others.
        self.keep(Value::List(Arc::from(Vec::new())), Shape::Nil(text))
    }

    /// Builds the value of field `name`. `in_log_config`: Docker has two fields called `Config`, of which the log's is a
    /// map.
    fn build(&mut self, json: &Json, name: &str, in_log_config: bool) -> Value {
        match json {
            Json::Null if TEXTS.contains(&name) || MAPS.contains(&name) => self.nil("map[]"),
            Json::Null if POINTERS.contains(&name) => self.nil("<nil>"),
            Json::Null => self.nil("[]"),
            Json::Bool(b) => Value::Bool(*b),
            Json::Int(n) => Value::Int(*n),
            Json::Uint(n) => Value::Uint(*n),
            Json::Float(n) => Value::Float(*n),
            Json::Text(text) => Value::String(text.as_str().into()),
            Json::List(items) => {
                let items: Vec<Value> = items.iter().map(|item| self.build(item, "", false)).collect();
                Value::List(items.into())
            }
            Json::Object(fields) => {
                let shape = match name {
                    "Config" if in_log_config => Shape::Texts,
                    name if TEXTS.contains(&name) => Shape::Texts,
                    name if MAPS.contains(&name) => Shape::Map,
                    _ => Shape::Struct(fields.iter().map(|(key, _)| key.as_str().into()).collect()),
                };
                let is_struct = matches!(shape, Shape::Struct(_));
                let mut map = BTreeMap::new();
                for (key, value) in fields {
                    let field = if is_struct { key.as_str() } else { "" };
                    let value = self.build(value, field, name == "LogConfig");
                    if let Some((_, alias)) = ALIASES.iter().find(|(json, _)| is_struct && json == key) {
                        map.insert(Arc::from(*alias), value.clone());
                    }
                    map.insert(Arc::from(key.as_str()), value);
                }
                if is_struct {
                    for (mark, field, absent) in ABSENT {
                        if map.contains_key(mark) && !map.contains_key(field) {
                            let value = match absent {
                                Absent::Nil(text) => self.nil(text),
                                Absent::Text => Value::String("".into()),
                            };
                            map.insert(Arc::from(field), value);
                        }
                    }
                }
                self.keep(Value::Map(Arc::new(map)), shape)
            }
        }
    }

    /// The field `name` of `value`.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn field(&self, value: &Value, name: &str) -> Result<Value, String> {
        match value {
            Value::Map(map) => match (map.get(name), self.of(value)) {
                (Some(found), _) => Ok(found.clone()),
                (None, Some(Shape::Texts | Shape::Map)) => Ok(Value::Nil),
                (None, _) => Err(format!("map has no entry for key \"{name}\"")),
            },
            _ if matches!(self.of(value), Some(Shape::Nil("map[]"))) => Ok(Value::Nil),
            Value::Nil => Err(format!("nil data; no entry for key \"{name}\"")),
            _ if matches!(self.of(value), Some(Shape::Nil(_))) => Err(format!("nil pointer evaluating .{name}")),
            other => Err(format!("can't evaluate field {name} in type {}", other.type_name())),
        }
    }

    /// Go's `index`, for one key.
    ///
    /// # Errors
    /// Why the value has no such element.
    pub(super) fn index(&self, value: &Value, key: &Value) -> Result<Value, String> {
        if let (Value::Map(map), Value::String(text)) = (value, key) {
            return match (map.get(text), self.of(value)) {
                (Some(found), _) => Ok(found.clone()),
                (None, Some(Shape::Texts)) => Ok(Value::String("".into())),
                (None, _) => Ok(Value::List(Arc::from(Vec::new()))),
            };
        }
        if matches!(self.of(value), Some(Shape::Nil("map[]"))) && matches!(key, Value::String(_)) {
            return Ok(Value::String("".into()));
        }
        value.index(key).map_err(|e| format!("error calling index: {e}"))
    }

    /// How Go prints a value.
    pub(super) fn show(&self, value: &Value) -> String {
        let list =
            |items: &mut dyn Iterator<Item = &Value>| items.map(|item| self.show(item)).collect::<Vec<_>>().join(" ");
        match (value, self.of(value)) {
            (_, Some(Shape::Nil(text))) => (*text).to_owned(),
            (Value::Map(map), Some(Shape::Struct(order))) => {
                format!("{{{}}}", list(&mut order.iter().filter_map(|key| map.get(key))))
            }
            (Value::Map(map), _) => {
                let fields: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", self.show(v))).collect();
                format!("map[{}]", fields.join(" "))
            }
            (Value::List(items), _) => format!("[{}]", list(&mut items.iter())),
            (other, _) => other.to_string(),
        }
    }

    /// A value as JSON.
    pub(super) fn json(&self, value: &Value) -> String {
        // Rows of lists go through Go's `json.Marshal`, which thinks of HTML; values of documents do not.
        let is_row = matches!(value, Value::Map(_)) && self.of(value).is_none();
        let text = serde_json::to_string(&self.unbuild(value)).unwrap_or_default();
        if is_row { json::escape_html(&text) } else { text }
    }

    fn unbuild(&self, value: &Value) -> Json {
        match (value, self.of(value)) {
            (_, Some(Shape::Nil(_))) | (Value::Nil | Value::Function(_), _) => Json::Null,
            (Value::Bool(b), _) => Json::Bool(*b),
            (Value::Int(n), _) => Json::Int(*n),
            (Value::Uint(n), _) => Json::Uint(*n),
            (Value::Float(n), _) => Json::Float(*n),
            (Value::String(text), _) => Json::Text(text.to_string()),
            (Value::List(items), _) => Json::List(items.iter().map(|item| self.unbuild(item)).collect()),
            (Value::Map(map), Some(Shape::Struct(order))) => Json::Object(
                order
                    .iter()
                    .filter_map(|key| Some((key.to_string(), self.unbuild(map.get(key)?))))
                    .collect(),
            ),
            (Value::Map(map), _) => Json::Object(
                map.iter()
                    .filter(|(_, v)| !matches!(v, Value::Function(_)))
                    .map(|(k, v)| (k.to_string(), self.unbuild(v)))
                    .collect(),
            ),
        }
    }
}
