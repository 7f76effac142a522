//! Devices by name, `vendor.com/class=name`: the Container Device Interface. Vendors describe in files what a container
//! needs for a device: nodes, mounts, variables, groups.

mod spec;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) use spec::{Edits, Mount, Node};

use crate::{Engine, Error, Result};

/// A file larger than this is not read.
const FILE_MAX: u64 = 4 << 20;

/// Reads a document of plain YAML.
///
/// # Errors
/// What is wrong with it, and in which line.
pub(crate) fn yaml(text: &str) -> Result<serde_json::Value, String> {
    yaml::read(text)
}

/// Whether `name` is that of a device in a file, and not a path.
#[must_use]
pub fn is_name(name: &str) -> bool {
    spec::qualified(name).is_some()
}

/// The devices that the files of this host describe.
#[derive(Debug, Default)]
pub struct Devices {
    /// By qualified name; `None` where two files of one folder describe it.
    found: BTreeMap<String, Option<Found>>,
    /// What is wrong with which file.
    pub errors: Vec<(PathBuf, String)>,
}

#[derive(Clone, Debug)]
struct Found {
    folder: usize,
    file: std::rc::Rc<spec::File>,
    at: usize,
}

/// Reads all files of `folders`. A later folder counts more than an earlier one.
#[must_use]
pub fn discover(folders: &[PathBuf]) -> Devices {
    let mut out = Devices::default();
    for (number, folder) in folders.iter().enumerate() {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let yaml = match path.extension().and_then(|e| e.to_str()) {
                Some("json") => false,
                Some("yaml") => true,
                _ => continue,
            };
            match read(&path).and_then(|text| spec::File::read(&text, yaml)) {
                Ok(file) => out.add(number, file),
                Err(error) => out.errors.push((path, error)),
            }
        }
    }
    out
}

fn read(path: &Path) -> std::result::Result<String, String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    if !file.metadata().is_ok_and(|m| m.is_file()) {
        return Err("it is no file".to_owned());
    }
    file.take(FILE_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|e| e.to_string())?;
    if text.len() as u64 > FILE_MAX {
        return Err(format!("it is larger than {FILE_MAX} bytes"));
    }
    Ok(text)
}

impl Devices {
    fn add(&mut self, folder: usize, file: spec::File) {
        let file = std::rc::Rc::new(file);
        for (at, device) in file.devices.iter().enumerate() {
            let name = format!("{}={}", file.kind, device.name);
            let found = Found {
                folder,
                file: file.clone(),
                at,
            };
            let clashes = self
                .found
                .get(&name)
                .is_some_and(|other| other.as_ref().is_none_or(|other| other.folder == folder));
            self.found.insert(name, Some(found).filter(|_| !clashes));
        }
    }

    /// All names that can be asked for, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.found
            .iter()
            .filter(|(_, found)| found.is_some())
            .map(|(name, _)| name.as_str())
    }

    /// What the devices `names` change of a container: what their files say for each of their devices once, then what
    /// they say for the devices.
    ///
    /// # Errors
    /// Docker's, with all names that are not there.
    pub(crate) fn resolve(&self, names: &[String]) -> Result<Vec<Edits>> {
        let find = |name: &String| self.found.get(name).and_then(Option::as_ref);
        let missing: Vec<&str> = names
            .iter()
            .filter(|name| find(name).is_none())
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            let why: Vec<String> = self
                .errors
                .iter()
                .map(|(path, error)| format!("; `{}` is not used: {error}", path.display()))
                .collect();
            return Err(Error::Invalid(format!(
                "CDI device injection failed: unresolvable CDI devices {}{}",
                missing.join(", "),
                why.concat()
            )));
        }
        let mut files: Vec<std::rc::Rc<spec::File>> = Vec::new();
        let mut out = Vec::new();
        for found in names.iter().filter_map(find) {
            if !files.iter().any(|file| std::rc::Rc::ptr_eq(file, &found.file)) {
                files.push(found.file.clone());
                out.push(found.file.container_edits.clone());
            }
            out.push(found.file.devices[found.at].container_edits.clone());
        }
        Ok(out)
    }
}

/// The devices of this engine's host.
///
/// # Errors
/// If the configuration file cannot be used.
pub fn devices(engine: &Engine) -> Result<Devices> {
    Ok(discover(&engine.config()?.cdi.spec_dirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, name: &str, variable: &str) {
        let text = format!(
            "cdiVersion: 0.6.0\nkind: v.com/c\ncontainerEdits: {{env: [ALL={variable}]}}\n\
             devices:\n- name: one\n  containerEdits: {{env: [ONE={variable}]}}\n- name: two\n"
        );
        std::fs::write(folder.join(name), text).unwrap();
    }

    fn env(devices: &Devices, names: &[&str]) -> Result<Vec<String>> {
        let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
        Ok(devices.resolve(&names)?.into_iter().flat_map(|e| e.env).collect())
    }

    #[test]
    fn devices_are_found_and_later_folders_count_more() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let paths: Vec<PathBuf> = folders.iter().map(|f| f.path().to_owned()).collect();
        file(&paths[0], "a.yaml", "first");
        std::fs::write(paths[0].join("b.json"), "{").unwrap();
        std::fs::write(paths[0].join("c.txt"), "{").unwrap();
        let devices = discover(&paths);
        assert_eq!(devices.names().collect::<Vec<_>>(), ["v.com/c=one", "v.com/c=two"]);
        assert_eq!(devices.errors.len(), 1);
        assert_eq!(
            env(&devices, &["v.com/c=one", "v.com/c=two"]).unwrap(),
            ["ALL=first", "ONE=first"]
        );
        let error = env(&devices, &["v.com/c=one", "v.com/c=three", "x.com/y=z"]).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("CDI device injection failed: unresolvable CDI devices v.com/c=three, x.com/y=z; "));
        assert!(text.contains("b.json"), "{text}");
        file(&paths[1], "a.yaml", "second");
        assert_eq!(
            env(&discover(&paths), &["v.com/c=one"]).unwrap(),
            ["ALL=second", "ONE=second"]
        );
        // Two of equal rank: neither counts.
        file(&paths[1], "b.yaml", "third");
        assert!(env(&discover(&paths), &["v.com/c=one"]).is_err());
        assert_eq!(discover(&paths).names().count(), 0);
    }
}
