//! `system generator`: systemd's generator (`systemd.generator(7)`) that makes units of Quadlet's files.
//!
//! Called as `hull-generator` or `hull-user-generator`, as systemd calls it, it takes the three folders that systemd gives.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::Command;
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::env;
use crate::error::{FAILED, Failure, Outcome, note};
use crate::output;
use crate::quadlet::{self, Service, Source, Surroundings, Unit};

pub(crate) const COMMAND: Command = Command {
    names: &["system generator"],
    synopsis: "[OPTIONS] [FOLDER [FOLDER FOLDER]]",
    about: "Make units of systemd of Quadlet's files (.container, .pod, .volume, .image)",
    flags: &[
        Flag::switch("dryrun").help("Print the units instead of writing them"),
        Flag::switch("user").help("Make units of a user's files"),
    ],
    count: Count::AtMost(3),
    interspersed: true,
    run,
};

/// A file larger than this is not read.
const FILE_MAX: u64 = 1 << 20;
/// Folders below folders are looked into so deep.
const DEPTH: usize = 8;

fn run(args: &Matches, _ctx: &Context) -> Outcome {
    if args.on("dryrun") {
        return generate(args.on("user"), None);
    }
    let folder = args.args().first().map(PathBuf::from);
    let folder =
        folder.ok_or_else(|| Failure::new("name the folder that the units are written to, or give --dryrun"))?;
    generate(args.on("user"), Some(&folder))
}

/// Whether systemd has called us by a generator's name; for a user's units?
pub(crate) fn called(program: &Path) -> Option<bool> {
    match program.file_name()?.to_str()? {
        "hull-generator" | "hull-system-generator" => Some(false),
        "hull-user-generator" => Some(true),
        _ => None,
    }
}

/// Runs as systemd's generator: `args` are the folders for units of normal, early and late priority.
pub(crate) fn main(args: impl Iterator<Item = OsString>, user: bool) -> Outcome {
    let mut args = args.peekable();
    if args.peek().is_some_and(|arg| arg == "-dryrun" || arg == "--dryrun") {
        return generate(user, None);
    }
    let folder = args.next().map(PathBuf::from);
    let folder = folder.ok_or_else(|| Failure::new("a generator is called with the folders for its units"))?;
    generate(user, Some(&folder))
}

fn generate(user: bool, folder: Option<&Path>) -> Outcome {
    let (sources, mut errors) = read_all(&folders(user));
    // systemd tells a unit of this name where the program is.
    let program = std::env::current_exe().map_err(|e| Failure::new(format!("cannot tell where hull is: {e}")))?;
    if called(&program).is_some() {
        return Err(Failure::new(format!(
            "`{}` must be a symbolic link to hull: the units call what it leads to",
            program.display()
        )));
    }
    let program = program.display().to_string();
    let around = Surroundings {
        program: &program,
        user,
        exists: &|path| Path::new(path).exists(),
    };
    let (services, more) = quadlet::generate(&sources, &around);
    errors.extend(more);
    for service in &services {
        match folder {
            None => output::print(&format!("---{}---\n{}\n", service.name, service.text))?,
            Some(folder) => {
                if let Err(e) = write(folder, service) {
                    errors.push(format!("cannot write `{}`: {e}", folder.join(&service.name).display()));
                }
            }
        }
    }
    for error in &errors {
        note(&format!("hull: {error}"));
    }
    Ok(if errors.is_empty() { 0 } else { FAILED })
}

fn write(folder: &Path, service: &Service) -> std::io::Result<()> {
    let header = "# Made by hull's generator of the file that SourcePath= names. Changes are lost.\n\n";
    std::fs::write(folder.join(&service.name), format!("{header}{}", service.text))?;
    for link in &service.links {
        let path = folder.join(link);
        let below = path.parent().filter(|parent| *parent != folder);
        if let Some(parent) = below {
            std::fs::create_dir_all(parent)?;
        }
        // An instance is a link to its template.
        let to = match (link.rsplit_once('/'), service.name.split_once("@.")) {
            (Some(_), Some(_)) | (None, _) => service.name.clone(),
            (Some((_, name)), None) => name.to_owned(),
        };
        let to = if below.is_some() { format!("../{to}") } else { to };
        match symlink(&to, &path) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// Where files are looked for; what an earlier folder has hides what a later one has.
fn folders(user: bool) -> Vec<PathBuf> {
    if let Some(given) = env::QUADLET_UNIT_DIRS.get() {
        return std::env::split_paths(&given).collect();
    }
    if !user {
        return ["/run", "/etc", "/usr/share"]
            .map(|root| Path::new(root).join("containers/systemd"))
            .to_vec();
    }
    let uid = rustix::process::getuid().as_raw().to_string();
    let users = Path::new("/etc/containers/systemd/users");
    let own = env::XDG_CONFIG_HOME
        .path()
        .or_else(|| env::HOME.path().map(|home| home.join(".config")));
    let mut out: Vec<PathBuf> = env::XDG_RUNTIME_DIR.path().into_iter().chain(own).collect();
    for folder in &mut out {
        folder.push("containers/systemd");
    }
    out.extend([
        users.join(uid),
        users.to_owned(),
        PathBuf::from("/usr/share/containers/systemd/users"),
    ]);
    out
}

/// All files of `folders`, each with its drop-ins, by name; and what cannot be read.
fn read_all(folders: &[PathBuf]) -> (Vec<Source>, Vec<String>) {
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    for folder in folders {
        // The folder of all users' files has those of single users below it.
        collect(folder, DEPTH, &mut found);
    }
    let mut out = Vec::new();
    let mut errors = Vec::new();
    for (name, path) in found {
        match read_one(&name, &path, folders) {
            Ok(unit) => out.push(Source {
                name,
                path: path.display().to_string(),
                unit,
            }),
            Err(error) => errors.push(format!("{}: {error}", path.display())),
        }
    }
    (out, errors)
}

fn collect(folder: &Path, depth: usize, found: &mut BTreeMap<String, PathBuf>) {
    let mut below = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if path.is_dir() {
            let numbered = name.bytes().all(|b| b.is_ascii_digit()) && folder.ends_with("users");
            let of_users = name == "users" && folder.ends_with("containers/systemd");
            let dropins = name.ends_with(".d");
            if !(dropins || numbered || of_users) {
                below.push(path);
            }
        } else if quadlet::is_source(&name) {
            found.entry(name).or_insert(path);
        }
    }
    below.sort();
    if depth > 0 {
        for folder in below {
            collect(&folder, depth - 1, found);
        }
    }
}

fn read_one(name: &str, path: &Path, folders: &[PathBuf]) -> std::result::Result<Unit, String> {
    let mut unit = Unit::parse(&read(path)?)?;
    // `web.container.d/*.conf`, and `container.d` for all of a kind; of equal names the first counts.
    let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
    let mut dropins: BTreeMap<String, PathBuf> = BTreeMap::new();
    for set in [format!("{name}.d"), format!("{kind}.d")] {
        for folder in folders {
            for entry in std::fs::read_dir(folder.join(&set)).into_iter().flatten().flatten() {
                match entry.file_name().into_string() {
                    Ok(name) if name.ends_with(".conf") => drop(dropins.entry(name).or_insert(entry.path())),
                    _ => {}
                }
            }
        }
    }
    for path in dropins.values() {
        let dropin = read(path).and_then(|text| Unit::parse(&text));
        unit.merge(dropin.map_err(|e| format!("{}: {e}", path.display()))?);
    }
    Ok(unit)
}

fn read(path: &Path) -> std::result::Result<String, String> {
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    if !file.metadata().is_ok_and(|m| m.is_file()) {
        return Err("it is no file".to_owned());
    }
    let mut text = String::new();
    file.take(FILE_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|e| e.to_string())?;
    if text.len() as u64 > FILE_MAX {
        return Err(format!("it is larger than {FILE_MAX} bytes"));
    }
    Ok(text)
}

/// Kept with the command that it is about: the folder is systemd's, so its failures are too.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;

    fn sources(folder: &Path) -> (Vec<Source>, Vec<String>) {
        read_all(&[folder.join("first"), folder.join("second")])
    }

    #[test]
    fn earlier_folders_hide_later_ones_and_dropins_add() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let put = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("first/web.container", "[Container]\nImage=first\n");
        put("second/web.container", "[Container]\nImage=second\n");
        put("second/deep/er/other.volume", "[Volume]\n");
        put("second/web.container.d/10-more.conf", "[Container]\nImage=dropped\n");
        put("second/notes.txt", "x");
        put("first/bad.pod", "Pod\n");
        let (found, errors) = sources(folder.path());
        let names: Vec<&str> = found.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["other.volume", "web.container"]);
        assert!(found[1].path.ends_with("first/web.container"));
        assert_eq!(errors.len(), 1);
        assert!(errors[0].contains("bad.pod: line 1"), "{errors:?}");
        let around = Surroundings {
            program: "/usr/bin/hull",
            user: false,
            exists: &|_| true,
        };
        let (services, _) = quadlet::generate(&found, &around);
        assert!(services.iter().any(|s| s.text.contains(" dropped")), "{services:?}");
        Ok(())
    }
}
