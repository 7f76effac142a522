//! Variables: what a text is expanded with, and what a step runs with.

use std::collections::HashMap;

use crate::error::Problem;

/// The most bytes that all names and values may have together: what Linux lets a program be started with is less.
const TOTAL_MAX: usize = 8 << 20;

/// Names and values, in the order in which the names came first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    variables: Vec<(String, String)>,
    places: HashMap<String, usize>,
    size: usize,
}

impl Environment {
    /// Reads `NAME=value` lines, as an image's config has them. Of several for one name the last counts.
    ///
    /// # Errors
    /// [`Problem::TooLarge`] where no program could be started with it.
    pub fn from_lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, Problem> {
        let mut out = Self::default();
        for line in lines {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            out.set(name, value)?;
        }
        Ok(out)
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|place| self.variables[*place].1.as_str())
    }

    /// Gives a name a value.
    ///
    /// # Errors
    /// [`Problem::TooLarge`] where no program could be started with the whole.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        let place = self.places.get(name).copied();
        let before = place.map_or(0, |place| name.len() + self.variables[place].1.len());
        let size = self.size - before + name.len() + value.len();
        if size > TOTAL_MAX {
            return Err(Problem::TooLarge {
                what: "the environment",
                limit: TOTAL_MAX,
            });
        }
        self.size = size;
        match place {
            Some(place) => value.clone_into(&mut self.variables[place].1),
            None => {
                self.places.insert(name.to_owned(), self.variables.len());
                self.variables.push((name.to_owned(), value.to_owned()));
            }
        }
        Ok(())
    }

    /// All names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.variables.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.variables.is_empty()
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name)
    }

    /// `NAME=value` lines, as an image's config has them.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_place_and_take_the_last_value() {
        let mut environment = Environment::from_lines(["A=1", "B=2=3", "A=4", "C"]).unwrap();
        assert_eq!(environment.lines(), ["A=4", "B=2=3", "C="]);
        environment.set("B", "").unwrap();
        assert_eq!((environment.get("B"), environment.get("D")), (Some(""), None));
    }

    #[test]
    fn an_environment_has_an_end() {
        let mut environment = Environment::default();
        let half = "x".repeat(TOTAL_MAX / 2);
        environment.set("A", &half[1..]).unwrap();
        environment.set("B", &half[1..]).unwrap();
        environment.set("A", &half[1..]).unwrap();
        assert!(environment.set("C", "x").is_err());
        environment.set("A", "").unwrap();
        environment.set("C", "x").unwrap();
    }
}
