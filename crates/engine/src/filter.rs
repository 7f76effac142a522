//! Docker's filters: names with values, of which one has to match.

use std::collections::BTreeMap;

use regex_lite::Regex;

use crate::{Error, Result};

/// What a list is narrowed to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// No filter.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `name=value`.
    pub fn add(&mut self, name: &str, value: &str) {
        let values = self.0.entry(name.to_owned()).or_default();
        if !values.iter().any(|v| v == value) {
            values.push(value.to_owned());
        }
    }

    /// The values given for `name`.
    #[must_use]
    pub fn values(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether anything is asked of `name`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        !self.values(name).is_empty()
    }

    /// The first name that is not one of `known`.
    #[must_use]
    pub fn unknown(&self, known: &[&str]) -> Option<&str> {
        self.0.keys().map(String::as_str).find(|name| !known.contains(name))
    }

    /// Refuses any name that is not one of `known`: a filter that is not understood must not pass for one that
    /// everything matches.
    pub(crate) fn only(&self, known: &[&str]) -> Result<()> {
        match self.unknown(known) {
            Some(name) => Err(Error::Filter { name: name.to_owned() }),
            None => Ok(()),
        }
    }

    /// Whether one of the values of `name` is `text`, or there are none.
    pub(crate) fn is(&self, name: &str, text: &str) -> bool {
        let values = self.values(name);
        values.is_empty() || values.iter().any(|v| v == text)
    }

    /// The values of `name` as regular expressions, which is how Docker matches names and IDs; `None` where the filter
    /// was not given. What is no expression matches nothing.
    pub(crate) fn patterns(&self, name: &str) -> Option<Vec<Regex>> {
        let values = self.values(name);
        (!values.is_empty()).then(|| values.iter().filter_map(|value| Regex::new(value).ok()).collect())
    }

    /// The one truth value of `name`, if it was given.
    pub(crate) fn flag(&self, name: &'static str) -> Result<Option<bool>> {
        let mut out = None;
        for value in self.values(name) {
            let on = match value.as_str() {
                "1" | "true" | "True" | "TRUE" | "t" | "T" => true,
                "0" | "false" | "False" | "FALSE" | "f" | "F" => false,
                _ => return Err(self.bad(name, &format!("[{}]", self.values(name).join(" ")))),
            };
            if out.is_some_and(|before| before != on) {
                return Err(self.bad(name, &format!("[{}]", self.values(name).join(" "))));
            }
            out = Some(on);
        }
        Ok(out)
    }

    /// Whether `labels` hold every label asked for: `name`, or `name=value`.
    pub(crate) fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.values("label").iter().all(|wanted| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|v| v == value),
            None => labels.contains_key(wanted),
        })
    }

    /// Whether `labels` hold none of those that `label!=` names.
    pub(crate) fn labels_not(&self, labels: &BTreeMap<String, String>) -> bool {
        self.values("label!")
            .iter()
            .all(|unwanted| match unwanted.split_once('=') {
                Some((name, value)) => labels.get(name).is_none_or(|v| v != value),
                None => !labels.contains_key(unwanted),
            })
    }

    /// The moment that `until` gives: what was made later is left alone.
    pub(crate) fn until(&self) -> Result<Option<jiff::Timestamp>> {
        match self.values("until") {
            [] => Ok(None),
            [text] => crate::moment::parse(text, jiff::Timestamp::now(), &jiff::tz::TimeZone::system())
                .map(Some)
                .ok_or_else(|| Error::Invalid(format!("failed to parse value as time or duration: {text:?}"))),
            _ => Err(Error::Invalid("more than one until filter specified".to_owned())),
        }
    }

    pub(crate) fn bad(&self, name: &'static str, value: &str) -> Error {
        Error::FilterValue {
            name,
            value: value.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(pairs: &[(&str, &str)]) -> Filters {
        let mut out = Filters::new();
        for (name, value) in pairs {
            out.add(name, value);
        }
        out
    }

    #[test]
    fn labels_must_all_match() {
        let labels = BTreeMap::from([("a".to_owned(), "b=c".to_owned()), ("d".to_owned(), String::new())]);
        for (wanted, expected) in [
            (&[][..], true),
            (&["a"][..], true),
            (&["a=b=c"][..], true),
            (&["a=b"][..], false),
            (&["d="][..], true),
            (&["a", "x"][..], false),
        ] {
            let pairs: Vec<_> = wanted.iter().map(|w| ("label", *w)).collect();
            assert_eq!(filters(&pairs).labels(&labels), expected, "{wanted:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(filters(&[("name", "x")]).only(&["name"]).is_ok());
        let error = filters(&[("nmae", "x")]).only(&["name"]).unwrap_err();
        assert_eq!(error.to_string(), "invalid filter 'nmae'");
        assert!(
            filters(&[("name", "(")])
                .patterns("name")
                .is_some_and(|found| found.is_empty())
        );
        assert!(filters(&[("dangling", "maybe")]).flag("dangling").is_err());
        assert!(
            filters(&[("dangling", "true"), ("dangling", "false")])
                .flag("dangling")
                .is_err()
        );
        assert_eq!(filters(&[("dangling", "1")]).flag("dangling").unwrap(), Some(true));
    }
}
