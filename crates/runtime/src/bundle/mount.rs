//! `mounts` of a config: a kind, a source, and the words that `mount(8)` and runc take as options.

use std::path::{Path, PathBuf};

use hull_sys::mount::{Attributes, Propagation};
use oci_spec::runtime::Spec;

use super::invalid;
use crate::container::{IdMap, Mount, MountIdMap, Source};
use crate::error::{Error, Result};

/// What the options of a mount say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Attributes set.
    pub set: Attributes,
    /// Attributes cleared.
    pub clear: Attributes,
    /// Whether the attributes reach the mounts below.
    pub recursive_attributes: bool,
    /// Whether it is a bind, and whether with the mounts below its source.
    pub bind: Option<bool>,
    /// Its propagation.
    pub propagation: Option<Propagation>,
    /// Whether owners are mapped, and whether those of the mounts below are, too.
    pub idmap: Option<bool>,
    /// For the file system itself.
    pub data: Vec<(String, Option<String>)>,
}

/// Words that set or clear an attribute.
const ATTRIBUTES: [(&str, Attributes, bool); 13] = [
    ("ro", Attributes::RDONLY, true),
    ("rw", Attributes::RDONLY, false),
    ("nosuid", Attributes::NOSUID, true),
    ("suid", Attributes::NOSUID, false),
    ("nodev", Attributes::NODEV, true),
    ("dev", Attributes::NODEV, false),
    ("noexec", Attributes::NOEXEC, true),
    ("exec", Attributes::NOEXEC, false),
    ("nodiratime", Attributes::NODIRATIME, true),
    ("diratime", Attributes::NODIRATIME, false),
    ("nosymfollow", Attributes::NOSYMFOLLOW, true),
    ("symfollow", Attributes::NOSYMFOLLOW, false),
    ("noatime", Attributes::NOATIME, true),
];

impl Options {
    /// Reads words such as `ro`, `rbind` and `size=1m`.
    ///
    /// # Errors
    /// A word that hull does not do.
    pub fn read(words: &[String]) -> Result<Self> {
        let mut options = Self::default();
        for word in words {
            options.word(word)?;
        }
        Ok(options)
    }

    fn word(&mut self, word: &str) -> Result<()> {
        if self.attribute(word) {
            return Ok(());
        }
        if let Some(rest) = word.strip_prefix('r').filter(|rest| is_attribute(rest)) {
            self.recursive_attributes = true;
            self.attribute(rest);
            return Ok(());
        }
        match word {
            "bind" => self.bind = Some(self.bind.unwrap_or(false)),
            "rbind" => self.bind = Some(true),
            "private" | "rprivate" => self.propagation = Some(Propagation::Private),
            "slave" | "rslave" => self.propagation = Some(Propagation::Slave),
            "shared" | "rshared" => self.propagation = Some(Propagation::Shared),
            "unbindable" | "runbindable" => self.propagation = Some(Propagation::Unbindable),
            // What is so anyway, or concerns only who reads fstab.
            "" | "defaults" | "loud" | "noiversion" | "nofail" => {}
            "idmap" => self.idmap = Some(false),
            "ridmap" => self.idmap = Some(true),
            "remount" | "iversion" | "tmpcopyup" => {
                return Err(Error::Unsupported(format!("mount option `{word}` is not supported")));
            }
            _ => {
                let (key, value) = match word.split_once('=') {
                    Some((key, value)) => (key, Some(value.to_owned())),
                    None => (word, None),
                };
                self.data.push((key.to_owned(), value));
            }
        }
        Ok(())
    }

    /// Takes a word about an attribute; the last one of an attribute counts.
    fn attribute(&mut self, word: &str) -> bool {
        // The three kinds of access times are values of one field, which is cleared to set another.
        let atime = match word {
            "noatime" => Some(Attributes::NOATIME),
            "strictatime" => Some(Attributes::STRICTATIME),
            "relatime" | "atime" | "norelatime" | "nostrictatime" => Some(Attributes::default()),
            _ => None,
        };
        if let Some(atime) = atime {
            self.set = self.set.without(Attributes::ATIME_MASK).with(atime);
            self.clear = self.clear.with(Attributes::ATIME_MASK);
            return true;
        }
        let Some((_, attribute, set)) = ATTRIBUTES.iter().find(|(known, ..)| *known == word) else {
            return false;
        };
        if *set {
            self.set = self.set.with(*attribute);
            self.clear = self.clear.without(*attribute);
        } else {
            self.set = self.set.without(*attribute);
            self.clear = self.clear.with(*attribute);
        }
        true
    }
}

fn is_attribute(word: &str) -> bool {
    let times = ["atime", "relatime", "norelatime", "strictatime", "nostrictatime"];
    ATTRIBUTES.iter().any(|(known, ..)| *known == word) || times.contains(&word)
}

pub(super) fn mounts(spec: &Spec, bundle: &Path, label: Option<&str>) -> Result<Vec<Mount>> {
    spec.mounts()
        .iter()
        .flatten()
        .map(|mount| one(mount, bundle, label))
        .collect()
}

fn one(mount: &oci_spec::runtime::Mount, bundle: &Path, label: Option<&str>) -> Result<Mount> {
    let target = mount
        .destination()
        .to_str()
        .ok_or_else(|| invalid("a mount's destination is not UTF-8"))?;
    if target.is_empty() {
        return Err(invalid("a mount lacks its destination"));
    }
    // Version 1.0 took relative destinations, from the root.
    let target = if target.starts_with('/') {
        target.to_owned()
    } else {
        format!("/{target}")
    };
    let mut options = Options::read(mount.options().as_deref().unwrap_or_default())?;
    let maps = |maps: &Option<Vec<oci_spec::runtime::LinuxIdMapping>>| -> Vec<IdMap> {
        let map = |map: &oci_spec::runtime::LinuxIdMapping| IdMap {
            inside: map.container_id(),
            outside: map.host_id(),
            count: map.size(),
        };
        maps.iter().flatten().map(map).collect()
    };
    let idmap = MountIdMap {
        uids: maps(mount.uid_mappings()),
        gids: maps(mount.gid_mappings()),
        recursive: options.idmap == Some(true),
    };
    if idmap.uids.is_empty() != idmap.gids.is_empty() || (options.idmap.is_some() && idmap.uids.is_empty()) {
        return Err(invalid(format!(
            "the mount on `{target}` needs both `uidMappings` and `gidMappings`"
        )));
    }
    let kind = mount.typ().as_deref().unwrap_or_default();
    let source = mount.source().clone().unwrap_or_default();
    let source = if kind == "bind" || options.bind.is_some() {
        if let Some((word, _)) = options.data.first() {
            return Err(invalid(format!(
                "mount option `{word}` of the bind on `{target}` is unknown"
            )));
        }
        Source::Bind {
            path: bind_source(&source, bundle, &target)?,
            recursive: options.bind.unwrap_or(false),
            idmap: false,
            beneath: String::new(),
        }
    } else if kind == "cgroup" || kind == "cgroup2" {
        // Which it is is up to the host: configs say `cgroup` everywhere.
        Source::Cgroup
    } else if kind.is_empty() {
        return Err(invalid(format!(
            "the mount on `{target}` is neither a bind nor has a type"
        )));
    } else {
        if let Some(label) = label.filter(|label| !label.is_empty() && ["tmpfs", "mqueue", "devpts"].contains(&kind)) {
            options.data.push(("context".to_owned(), Some(label.to_owned())));
        }
        Source::Filesystem {
            kind: kind.to_owned(),
            source: source.to_str().filter(|s| !s.is_empty()).unwrap_or(kind).to_owned(),
            options: options.data,
        }
    };
    Ok(Mount {
        source,
        target,
        set: options.set,
        clear: options.clear,
        recursive_attributes: options.recursive_attributes,
        propagation: options.propagation,
        idmap: Some(idmap).filter(|map| !map.uids.is_empty()),
    })
}

fn bind_source(source: &Path, bundle: &Path, target: &str) -> Result<PathBuf> {
    if source.as_os_str().is_empty() {
        return Err(invalid(format!("the bind on `{target}` lacks its source")));
    }
    Ok(bundle.join(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Options> {
        Options::read(&words.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn options_of_mounts() {
        let check = |words: &[&str], expected: Options| assert_eq!(read(words).unwrap(), expected, "{words:?}");
        let (ro, nosuid, none) = (Attributes::RDONLY, Attributes::NOSUID, Attributes::default());
        check(&[], Options::default());
        check(
            &["ro", "nosuid"],
            Options {
                set: ro.with(nosuid),
                ..Options::default()
            },
        );
        check(
            &["ro", "rw"],
            Options {
                clear: ro,
                ..Options::default()
            },
        );
        check(
            &["rro"],
            Options {
                set: ro,
                recursive_attributes: true,
                ..Options::default()
            },
        );
        check(
            &["rbind", "rprivate"],
            Options {
                bind: Some(true),
                propagation: Some(Propagation::Private),
                ..Options::default()
            },
        );
        check(
            &["rbind", "bind"],
            Options {
                bind: Some(true),
                ..Options::default()
            },
        );
        check(
            &["strictatime", "mode=755", "size=65536k", "sync"],
            Options {
                set: Attributes::STRICTATIME,
                clear: Attributes::ATIME_MASK,
                data: vec![
                    ("mode".into(), Some("755".into())),
                    ("size".into(), Some("65536k".into())),
                    ("sync".into(), None),
                ],
                ..Options::default()
            },
        );
        check(
            &["noatime", "relatime"],
            Options {
                set: none,
                clear: Attributes::ATIME_MASK,
                ..Options::default()
            },
        );
        assert_eq!(read(&["ridmap"]).unwrap().idmap, Some(true));
        assert!(read(&["remount"]).is_err());
    }
}
