//! `.volume` and `.image` files: what containers stand on.

use super::keys::{self, Key, flags, line};
use super::{Surroundings, Unit};

const VOLUME: &[(&str, Key)] = &[
    ("ContainersConfModule", Key::Refused("hull has no containers.conf")),
    (
        "Copy",
        Key::Refused("a new volume is filled unless its mount says nocopy"),
    ),
    ("Device", Key::Last("--opt")),
    ("Driver", Key::Last("--driver")),
    ("GlobalArgs", Key::Elsewhere),
    ("Group", Key::Elsewhere),
    ("Image", Key::Refused("hull has no volumes of images: mount the image")),
    ("Label", Key::Words("--label")),
    ("Options", Key::Elsewhere),
    ("PodmanArgs", Key::Plain),
    ("ServiceName", Key::Elsewhere),
    ("Type", Key::Last("--opt")),
    ("User", Key::Elsewhere),
    ("VolumeName", Key::Elsewhere),
];

const NO_PULL_FLAG: &str = "hull pull has no such flag: its configuration file says it";

const IMAGE: &[(&str, Key)] = &[
    ("AllTags", Key::Refused("name each tag")),
    ("Arch", Key::Elsewhere),
    ("AuthFile", Key::Refused(NO_PULL_FLAG)),
    ("CertDir", Key::Refused(NO_PULL_FLAG)),
    ("ContainersConfModule", Key::Refused("hull has no containers.conf")),
    ("Creds", Key::Refused(NO_PULL_FLAG)),
    ("DecryptionKey", Key::Refused("hull has no encrypted images")),
    ("GlobalArgs", Key::Elsewhere),
    ("Image", Key::Elsewhere),
    (
        "ImageTag",
        Key::Refused("hull pulls from registries, where an image has its name"),
    ),
    ("OS", Key::Elsewhere),
    ("PodmanArgs", Key::Plain),
    ("Policy", Key::Refused("the service pulls whenever it is started")),
    ("Retry", Key::Refused(NO_PULL_FLAG)),
    ("RetryDelay", Key::Refused(NO_PULL_FLAG)),
    ("ServiceName", Key::Elsewhere),
    ("TLSVerify", Key::Refused(NO_PULL_FLAG)),
    ("Variant", Key::Elsewhere),
];

/// Adds the service that makes a volume.
pub(super) fn volume(unit: &mut Unit, stem: &str, around: &Surroundings<'_>) -> Result<(), String> {
    const SECTION: &str = "Volume";
    let mut args = flags(unit, SECTION, VOLUME, &mut |key, value| {
        Ok(Some(match key {
            "Device" => format!("device={value}"),
            "Type" => format!("type={value}"),
            _ => value,
        }))
    })?;
    let last = |key: &str| unit.last(SECTION, key).filter(|value| !value.is_empty());
    let mut options: Vec<String> = Vec::new();
    for (key, name) in [("User", "uid"), ("Group", "gid")] {
        options.extend(last(key).map(|value| format!("{name}={value}")));
    }
    options.extend(last("Options").map(str::to_owned));
    if !options.is_empty() {
        args.extend(["--opt".to_owned(), format!("o={}", options.join(","))]);
    }
    args.push(last("VolumeName").map_or_else(|| format!("systemd-{stem}"), str::to_owned));
    let program = keys::program(unit, SECTION, around.program)?;
    once(unit, &line(&program, &["volume", "create"], &args));
    Ok(())
}

/// Adds the service that pulls an image.
pub(super) fn image(unit: &mut Unit, around: &Surroundings<'_>) -> Result<(), String> {
    const SECTION: &str = "Image";
    let mut args = flags(unit, SECTION, IMAGE, &mut |_, value| Ok(Some(value)))?;
    let last = |key: &str| unit.last(SECTION, key).filter(|value| !value.is_empty());
    match (last("OS"), last("Arch"), last("Variant")) {
        (None, None, None) => {}
        (_, None, _) => return Err("OS= and Variant= need Arch=".to_owned()),
        (os, Some(arch), variant) => {
            let variant = variant.map(|variant| format!("/{variant}")).unwrap_or_default();
            args.extend([
                "--platform".to_owned(),
                format!("{}/{arch}{variant}", os.unwrap_or("linux")),
            ]);
        }
    }
    let image = last("Image").ok_or("no Image= key specified")?.to_owned();
    args.push(image);
    let program = keys::program(unit, SECTION, around.program)?;
    once(unit, &line(&program, &["pull"], &args));
    Ok(())
}

/// A service that does one thing and then counts as running.
fn once(unit: &mut Unit, command: &str) {
    unit.set("Service", "ExecStart", command);
    unit.set("Service", "Type", "oneshot");
    unit.preset("Service", "RemainAfterExit", "yes");
    unit.preset("Service", "SyslogIdentifier", "%N");
}
