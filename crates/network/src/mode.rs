//! Which network a container is on, from its `NetworkMode`.

use std::str::FromStr;

use crate::Error;

/// A container's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The default bridge: `default`, `bridge` or empty.
    Bridge,
    /// A namespace with `lo` and nothing else.
    None,
    /// The host's namespace.
    Host,
    /// The namespace of another container, by name or ID.
    Container(String),
    /// A network made by a user, by name.
    Named(String),
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(mode: &str) -> Result<Self, Error> {
        let refuse = |reason| Error::Mode {
            mode: mode.to_owned(),
            reason,
        };
        match mode {
            "" | "default" | "bridge" => Ok(Self::Bridge),
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            _ => match mode.split_once(':') {
                Some(("container", "")) => Err(refuse("the container is missing")),
                Some(("container", container)) => Ok(Self::Container(container.to_owned())),
                Some(_) => Err(refuse("only `container:` takes a value")),
                None => Ok(Self::Named(mode.to_owned())),
            },
        }
    }
}

impl Mode {
    /// Refuses what a user without root cannot have yet, and networks that are not there yet.
    ///
    /// # Errors
    /// `Unsupported`, with a hint.
    pub fn check(&self, rootless: bool) -> Result<(), Error> {
        match self {
            Self::Bridge if rootless => Err(Error::Unsupported {
                what: "the bridged network needs root: rootless bridges are not supported yet".into(),
                hint: "use `--network none` or `--network host`".into(),
            }),
            Self::Named(name) => Err(Error::Unsupported {
                what: format!("network {name} not found: user networks are not supported yet"),
                hint: "use `--network bridge`, `none`, `host` or `container:NAME`".into(),
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_parse() {
        let check = |mode: &str, expected: Option<Mode>| assert_eq!(mode.parse::<Mode>().ok(), expected, "{mode}");
        check("", Some(Mode::Bridge));
        check("default", Some(Mode::Bridge));
        check("bridge", Some(Mode::Bridge));
        check("none", Some(Mode::None));
        check("host", Some(Mode::Host));
        check("container:web", Some(Mode::Container("web".into())));
        check("container:", None);
        check("ns:/proc/1", None);
        check("mine", Some(Mode::Named("mine".into())));
    }

    #[test]
    fn rootless_bridge_is_refused_with_a_hint() {
        let error = Mode::Bridge.check(true).unwrap_err();
        assert_eq!(error.kind(), hull_spec::ErrorKind::Unsupported);
        assert!(error.hint().unwrap().contains("--network none"));
        assert!(Mode::Host.check(true).is_ok());
        assert!(Mode::Bridge.check(false).is_ok());
        assert!(Mode::Named("x".into()).check(false).is_err());
    }
}
