//! A file of the Container Device Interface (<https://github.com/cncf-tags/container-device-interface>), checked. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The versions of the interface that are understood.
const VERSIONS: [&str; 7] = ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0"];

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct File {
    cdi_version: String,
    /// `vendor.com/class`.
    pub(super) kind: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    pub(super) devices: Vec<Device>,
    /// For whichever of the devices is asked for.
    #[serde(default)]
    pub(super) container_edits: Edits,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Device {
    pub(super) name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) container_edits: Edits,
}

/// What a device changes of a container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Edits {
    /// Variables, `NAME=value`.
    pub(crate) env: Vec<String>,
    /// Device nodes.
    pub(crate) device_nodes: Vec<Node>,
    /// OCI hooks.
    pub(crate) hooks: Vec<serde_json::Value>,
    /// Mounts.
    pub(crate) mounts: Vec<Mount>,
    /// Cache and memory bandwidth of Intel's processors.
    pub(crate) intel_rdt: Option<serde_json::Value>,
    /// Supplementary groups.
    #[serde(rename = "additionalGids")]
    pub(crate) additional_gids: Vec<u32>,
}

/// A device node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Node {
    /// Path in the container.
    pub(crate) path: String,
    /// Path on the host, where it is another.
    #[serde(default)]
    pub(crate) host_path: String,
    /// `b`, `c`, `u` or `p`; as on the host unless given.
    #[serde(default, rename = "type")]
    pub(crate) kind: String,
    /// Major number.
    pub(crate) major: Option<i64>,
    /// Minor number.
    pub(crate) minor: Option<i64>,
    /// Permission bits.
    pub(crate) file_mode: Option<u32>,
    /// What the container may do: `rwm`.
    #[serde(default)]
    pub(crate) permissions: String,
    /// Owner.
    pub(crate) uid: Option<u32>,
    /// Group.
    pub(crate) gid: Option<u32>,
}

/// A mount.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Mount {
    /// Path on the host.
    pub(crate) host_path: String,
    /// Path in the container.
    pub(crate) container_path: String,
    /// Options as of mount(8).
    #[serde(default)]
    pub(crate) options: Vec<String>,
    /// The file system; a bind unless given.
    #[serde(default, rename = "type")]
    pub(crate) kind: String,
}

impl File {
    /// Reads a file by its name's ending.
    pub(super) fn read(text: &str, yaml: bool) -> Result<Self, String> {
        let value = match yaml {
            true => super::yaml::read(text)?,
            false => serde_json::from_str(text).map_err(|e| e.to_string())?,
        };
        let file: Self = serde_json::from_value(value).map_err(|e| e.to_string())?;
        file.check()?;
        Ok(file)
    }

    fn check(&self) -> Result<(), String> {
        let version = self.cdi_version.trim_start_matches('v');
        let known = |version: &str| VERSIONS.iter().position(|known| *known == version);
        let Some(own) = known(version) else {
            return Err(format!("version `{}` of the interface is not known", self.cdi_version));
        };
        let (vendor, class) = self.kind.split_once('/').unwrap_or((&self.kind, ""));
        if !is_vendor(vendor) || !is_class(class) {
            return Err(format!("invalid kind `{}`", self.kind));
        }
        if self.devices.is_empty() {
            return Err("it has no devices".to_owned());
        }
        let all =
            || std::iter::once(&self.container_edits).chain(self.devices.iter().map(|device| &device.container_edits));
        for (at, device) in self.devices.iter().enumerate() {
            if !is_device(&device.name) {
                return Err(format!("invalid device name `{}`", device.name));
            }
            if self.devices[..at].iter().any(|other| other.name == device.name) {
                return Err(format!("device `{}` is there twice", device.name));
            }
        }
        all().try_for_each(Edits::check)?;
        // What came with which version: a file that uses it says so (SPEC.md, "Released versions").
        let uses = [
            (
                "0.4.0",
                "a mount's `type`",
                all().any(|e| e.mounts.iter().any(|m| !m.kind.is_empty())),
            ),
            (
                "0.5.0",
                "a device's `hostPath`",
                all().any(|e| e.device_nodes.iter().any(|n| !n.host_path.is_empty())),
            ),
            (
                "0.5.0",
                "a device's name that begins with a digit",
                self.devices
                    .iter()
                    .any(|d| d.name.starts_with(|c: char| c.is_ascii_digit())),
            ),
            (
                "0.6.0",
                "`annotations`",
                !self.annotations.is_empty() || self.devices.iter().any(|d| !d.annotations.is_empty()),
            ),
            ("0.6.0", "a dot in a class", class.contains('.')),
            ("0.7.0", "`intelRdt`", all().any(|e| e.intel_rdt.is_some())),
            (
                "0.7.0",
                "`additionalGids`",
                all().any(|e| !e.additional_gids.is_empty()),
            ),
        ];
        match uses.iter().find(|(since, _, used)| *used && known(since) > Some(own)) {
            Some((since, what, _)) => Err(format!(
                "{what} needs version {since}, and it says {}",
                self.cdi_version
            )),
            None => Ok(()),
        }
    }
}

impl Edits {
    fn check(&self) -> Result<(), String> {
        if let Some(bad) = self
            .env
            .iter()
            .find(|e| e.split_once('=').is_none_or(|(name, _)| name.is_empty()))
        {
            return Err(format!("invalid variable `{bad}`"));
        }
        for node in &self.device_nodes {
            let paths = node.path.starts_with('/') && (node.host_path.is_empty() || node.host_path.starts_with('/'));
            let kind = matches!(node.kind.as_str(), "" | "b" | "c" | "u" | "p");
            if !paths || !kind || node.permissions.chars().any(|c| !"rwm".contains(c)) {
                return Err(format!("invalid device node `{}`", node.path));
            }
        }
        for mount in &self.mounts {
            if mount.host_path.is_empty() || !mount.container_path.starts_with('/') {
                return Err(format!("invalid mount on `{}`", mount.container_path));
            }
        }
        Ok(())
    }
}

/// `vendor.com/class=device`, in its two parts.
pub(super) fn qualified(name: &str) -> Option<(&str, &str)> {
    let (kind, device) = name.split_once('=')?;
    let (vendor, class) = kind.split_once('/')?;
    (is_vendor(vendor) && is_class(class) && is_device(device)).then_some((kind, device))
}

fn is_vendor(text: &str) -> bool {
    is_word(text, "-_.", false)
}

fn is_class(text: &str) -> bool {
    is_word(text, "-_.", false)
}

fn is_device(text: &str) -> bool {
    is_word(text, "-_.:", true)
}

fn is_word(text: &str, between: &str, digit_first: bool) -> bool {
    let begins = |c: char| c.is_ascii_alphabetic() || (digit_first && c.is_ascii_digit());
    text.starts_with(begins)
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || between.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(qualified("vendor.com/class=name"), Some(("vendor.com/class", "name")));
        assert_eq!(qualified("nvidia.com/gpu=0:1"), Some(("nvidia.com/gpu", "0:1")));
        for bad in [
            "",
            "a",
            "a=b",
            "/a=b",
            "v/=b",
            "v/c=",
            "1v/c=d",
            "v/c=d=e",
            "v/c=-d",
            "v/c/d=e",
            "/dev/null",
        ] {
            assert_eq!(qualified(bad), None, "{bad}");
        }
    }

    fn error(edit: &str) -> String {
        let text =
            format!("{{\"cdiVersion\": \"0.3.0\", \"kind\": \"v.com/c\", \"devices\": [{{\"name\": \"d\"}}]{edit}}}");
        File::read(&text, false).map(|_| String::new()).unwrap_or_else(|e| e)
    }

    #[test]
    fn files_are_checked() {
        assert_eq!(error(""), "");
        for (edit, says) in [
            (r#", "containerEdits": {"env": ["A"]}"#, "invalid variable `A`"),
            (
                r#", "containerEdits": {"deviceNodes": [{"path": "dev"}]}"#,
                "invalid device node",
            ),
            (
                r#", "containerEdits": {"deviceNodes": [{"path": "/d", "type": "z"}]}"#,
                "invalid device node",
            ),
            (
                r#", "containerEdits": {"deviceNodes": [{"path": "/d", "hostPath": "/e"}]}"#,
                "a device's `hostPath` needs version 0.5.0",
            ),
            (r#", "containerEdits": {"additionalGids": [1]}"#, "needs version 0.7.0"),
            (r#", "annotations": {"a": "b"}"#, "`annotations` needs version 0.6.0"),
            (r#", "wat": 1"#, "unknown field `wat`"),
            (
                r#", "containerEdits": {"netDevices": []}"#,
                "unknown field `netDevices`",
            ),
        ] {
            let found = error(edit);
            assert!(found.contains(says), "{edit}: {found}");
        }
        for (text, says) in [
            ("cdiVersion: 9.9.9\nkind: v/c\ndevices: [{name: d}]", "version `9.9.9`"),
            ("cdiVersion: 0.3.0\nkind: v\ndevices: [{name: d}]", "invalid kind"),
            ("cdiVersion: 0.3.0\nkind: v/c\ndevices: []", "no devices"),
            ("cdiVersion: 0.3.0\nkind: v/c\ndevices: [{name: a}, {name: a}]", "twice"),
            (
                "cdiVersion: 0.3.0\nkind: v/c\ndevices: [{name: -a}]",
                "invalid device name",
            ),
        ] {
            let found = File::read(text, true).unwrap_err();
            assert!(found.contains(says), "{text}: {found}");
        }
    }
}
