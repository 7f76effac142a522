//! Which flags an instruction has, and which of them were given.

use crate::error::{Located, Near, Problem};
use crate::source::Word;
use crate::suggest::nearest;
use crate::token::Flag;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `--name`, `--name=true` or `--name=false`.
    Switch,
    /// `--name=value`, once.
    Value,
    /// `--name=value`, as often as wanted.
    List,
}

/// The flags of one instruction and their kinds.
pub(crate) type Table = &'static [(&'static str, Kind)];

pub(crate) const NONE: Table = &[];
pub(crate) const FROM: Table = &[("platform", Kind::Value)];
pub(crate) const RUN: Table = &[
    ("mount", Kind::List),
    ("network", Kind::Value),
    ("security", Kind::Value),
    ("device", Kind::List),
];
pub(crate) const COPY: Table = &[
    ("chown", Kind::Value),
    ("from", Kind::Value),
    ("chmod", Kind::Value),
    ("link", Kind::Switch),
    ("exclude", Kind::List),
    ("parents", Kind::Switch),
];
pub(crate) const ADD: Table = &[
    ("chown", Kind::Value),
    ("chmod", Kind::Value),
    ("link", Kind::Switch),
    ("keep-git-dir", Kind::Switch),
    ("checksum", Kind::Value),
    ("unpack", Kind::Switch),
    ("exclude", Kind::List),
];
pub(crate) const HEALTHCHECK: Table = &[
    ("interval", Kind::Value),
    ("timeout", Kind::Value),
    ("start-period", Kind::Value),
    ("start-interval", Kind::Value),
    ("retries", Kind::Value),
];

/// Flags that are in their instruction's table, with the values that it asks for.
#[derive(Debug)]
pub(crate) struct Flags<'f>(&'f [Flag]);

impl<'f> Flags<'f> {
    /// Checks `flags` against `table`.
    pub(crate) fn check(flags: &'f [Flag], table: Table) -> Result<Self, Located> {
        for (place, flag) in flags.iter().enumerate() {
            let fail = |problem: fn(String) -> Problem| (problem(flag.name.text.clone()), flag.name.span);
            let Some((_, kind)) = table.iter().find(|(name, _)| *name == flag.name.text) else {
                let near = nearest(&flag.name.text, table.iter().map(|(name, _)| *name));
                let problem = Problem::UnknownFlag {
                    name: flag.name.text.chars().take(100).collect(),
                    near: Near(near.map(str::to_owned)),
                };
                return Err((problem, flag.name.span));
            };
            // Flags of a kind that is not a list are few, because they may not be repeated.
            if *kind != Kind::List && flags[..place].iter().any(|other| other.name.text == flag.name.text) {
                return Err(fail(|name| Problem::FlagRepeated { name }));
            }
            match (kind, &flag.value) {
                (Kind::Switch, None) => {}
                (Kind::Switch, Some(value)) if value.text.is_empty() => {
                    return Err(fail(|name| Problem::FlagWithoutValue { name }));
                }
                (Kind::Switch, Some(value)) => {
                    switch(&value.text).ok_or_else(|| {
                        let problem = Problem::FlagNotBoolean {
                            name: flag.name.text.clone(),
                            value: value.text.clone(),
                        };
                        (problem, value.span)
                    })?;
                }
                (Kind::Value | Kind::List, None) => return Err(fail(|name| Problem::FlagWithoutValue { name })),
                (Kind::Value | Kind::List, Some(_)) => {}
            }
        }
        Ok(Self(flags))
    }

    /// The value of a flag, which may be empty.
    pub(crate) fn given(&self, name: &str) -> Option<Word> {
        let found = self.0.iter().find(|flag| flag.name.text == name)?;
        found.value.clone()
    }

    /// The value of a flag; an empty one is none.
    pub(crate) fn value(&self, name: &str) -> Option<Word> {
        self.given(name).filter(|value| !value.text.is_empty())
    }

    /// Whether a switch was given, and which way.
    pub(crate) fn switch(&self, name: &str) -> Option<bool> {
        let found = self.0.iter().find(|flag| flag.name.text == name)?;
        found.value.as_ref().map_or(Some(true), |value| switch(&value.text))
    }

    /// All values of a flag.
    pub(crate) fn list(&self, name: &str) -> Vec<Word> {
        let found = self.0.iter().filter(|flag| flag.name.text == name);
        found.filter_map(|flag| flag.value.clone()).collect()
    }
}

fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}
