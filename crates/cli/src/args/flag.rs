//! One flag, as a row of a table.

/// How many values a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arity {
    /// None: it is on or off, `--rm` or `--rm=false`.
    Switch,
    /// One; the last given counts.
    One,
    /// One each time it is given.
    Many,
}

/// Checks a value, or says what is wrong with it.
pub(crate) type Check = fn(&str) -> Result<(), String>;

/// A flag of a command. Made by `const` builders, so that tables cost nothing at start-up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    /// The name after `--`.
    pub(crate) long: &'static str,
    /// The letter after `-`.
    pub(crate) short: Option<char>,
    /// How many values it takes.
    pub(crate) arity: Arity,
    /// What help calls its value.
    pub(crate) value_name: &'static str,
    /// What values may be.
    pub(crate) check: Option<Check>,
    /// The default that help shows, in the form it is shown in.
    pub(crate) default: &'static str,
    /// What help says of it.
    pub(crate) help: &'static str,
    /// Why it is refused, if it is.
    pub(crate) refused: Option<&'static str>,
    /// Whether help leaves it out.
    pub(crate) hidden: bool,
}

impl Flag {
    const fn new(long: &'static str, arity: Arity, value_name: &'static str) -> Self {
        Self {
            long,
            short: None,
            arity,
            value_name,
            check: None,
            default: "",
            help: "",
            refused: None,
            hidden: false,
        }
    }

    /// A flag that is on or off.
    pub(crate) const fn switch(long: &'static str) -> Self {
        Self::new(long, Arity::Switch, "")
    }

    /// A flag with one free text.
    pub(crate) const fn string(long: &'static str) -> Self {
        Self::new(long, Arity::One, "string")
    }

    /// A flag that may be given several times.
    pub(crate) const fn list(long: &'static str) -> Self {
        Self::new(long, Arity::Many, "list")
    }

    /// A flag with one whole number.
    pub(crate) const fn int(long: &'static str) -> Self {
        Self::new(long, Arity::One, "int").checked(super::value::check_int)
    }

    /// A flag with one size, such as `512m`.
    pub(crate) const fn bytes(long: &'static str) -> Self {
        Self::new(long, Arity::One, "bytes").checked(super::value::check_bytes)
    }

    /// What help calls the value.
    pub(crate) const fn named(mut self, value_name: &'static str) -> Self {
        self.value_name = value_name;
        self
    }

    /// The letter.
    pub(crate) const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    /// What values may be.
    pub(crate) const fn checked(mut self, check: Check) -> Self {
        self.check = Some(check);
        self
    }

    /// The default that help shows.
    pub(crate) const fn default(mut self, text: &'static str) -> Self {
        self.default = text;
        self
    }

    /// What help says.
    pub(crate) const fn help(mut self, text: &'static str) -> Self {
        self.help = text;
        self
    }

    /// Known, but refused for this reason: nothing that Docker has is ignored in silence.
    pub(crate) const fn refused(mut self, reason: &'static str) -> Self {
        self.refused = Some(reason);
        self
    }

    /// Left out of help.
    pub(crate) const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// The flag as messages name it: `-m, --memory`.
    pub(crate) fn display(&self) -> String {
        match self.short {
            Some(letter) => format!("-{letter}, --{}", self.long),
            None => format!("--{}", self.long),
        }
    }
}
