//! What an image runs on: `os/architecture[/variant]` (OCI image spec, image-index.md; Go's names).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// An operating system and an instruction set, in Go's words (`linux`, `amd64`, `v8`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`, `arm`, `386`, `riscv64`, ..
    #[serde(default)]
    pub architecture: String,
    /// `linux`, `windows`, ..
    #[serde(default)]
    pub os: String,
    /// Windows' build number.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Windows' features.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// `v6`, `v7`, `v8`; `v2` to `v4` of amd64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// The platform that this binary was built for.
    #[must_use]
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Self {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            variant: variant.map(str::to_owned),
            ..Self::default()
        }
    }

    /// The same platform with one spelling for each name: `x86_64` is `amd64`, `arm64` is `arm64/v8`.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let mut out = self.clone();
        out.os = out.os.to_ascii_lowercase();
        if out.os == "macos" {
            out.os = "darwin".to_owned();
        }
        let architecture = out.architecture.to_ascii_lowercase();
        let variant = out
            .variant
            .take()
            .map(|v| v.to_ascii_lowercase())
            .filter(|v| !v.is_empty());
        let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64" | "amd64", Some(v)) => ("amd64", Some(v)),
            ("i386" | "i486" | "i586" | "i686" | "386", _) => ("386", None),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64", Some("v8")),
            ("aarch64" | "arm64", Some(v)) => ("arm64", Some(v)),
            ("armhf", _) | ("arm", None | Some("7")) => ("arm", Some("v7")),
            ("armel", _) | ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            (other, v) => (other, v),
        };
        out.variant = variant.map(str::to_owned);
        out.architecture = architecture.to_owned();
        out
    }

    /// How well an image made for `offered` runs where `self` is wanted: `None` not at all, otherwise smaller is
    /// better and 0 is exact.
    #[must_use]
    pub fn rank(&self, offered: &Self) -> Option<u32> {
        let (want, have) = (self.normalized(), offered.normalized());
        if want.os != have.os {
            return None;
        }
        let number = |v: &Option<String>, default| {
            v.as_deref()
                .map_or(Some(default), |v| v.strip_prefix('v')?.parse::<u32>().ok())
        };
        match (want.architecture.as_str(), have.architecture.as_str()) {
            ("arm64", "arm") if want.variant.as_deref() == Some("v8") => Some(100 - number(&have.variant, 7)?.min(8)),
            ("amd64", "386") => Some(200),
            (a, b) if a != b => None,
            (a, _) => {
                let default = match a {
                    "amd64" => 1,
                    "arm" => 7,
                    "arm64" => 8,
                    _ => {
                        return (want.variant == have.variant || have.variant.is_none()).then_some(0);
                    }
                };
                number(&want.variant, default)?.checked_sub(number(&have.variant, default)?)
            }
        }
    }
}

/// Go's names of architectures, and others' names of the same. A word alone must be one of them.
const ARCHITECTURES: [&str; 24] = [
    "386", "aarch64", "amd64", "arm", "arm64", "armel", "armhf", "i386", "i486", "i586", "i686", "loong64", "mips",
    "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64", "s390x", "sparc64", "wasm", "x86-64", "x86_64",
];

impl FromStr for Platform {
    type Err = Error;

    /// Reads `linux/arm64/v8`, `linux/amd64`, `arm64` or `linux`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let err = |reason| Error::Platform {
            platform: text.chars().take(200).collect(),
            reason,
        };
        let parts: Vec<&str> = text.split('/').collect();
        if parts.len() > 3 {
            return Err(err("more than `os/architecture/variant`"));
        }
        for part in &parts {
            if part.is_empty()
                || part.starts_with('.')
                || !part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
            {
                return Err(err(
                    "a part is empty or holds a character other than letters, digits, `_`, `.` and `-`",
                ));
            }
        }
        let host = Self::host();
        let given = |os: &str, architecture: &str, variant: Option<&str>| Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
            ..Self::default()
        };
        let out = match parts[..] {
            [os @ ("linux" | "windows" | "darwin" | "freebsd")] => Self {
                os: os.to_owned(),
                ..host
            },
            [architecture] if !ARCHITECTURES.contains(&architecture.to_ascii_lowercase().as_str()) => {
                return Err(err("unknown operating system or architecture"));
            }
            [architecture] => given(&host.os, architecture, None),
            [os, architecture] => given(os, architecture, None),
            [os, architecture, variant] => given(os, architecture, Some(variant)),
            _ => return Err(err("empty")),
        };
        Ok(out.normalized())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_platform_is_chosen() {
        let check = |want: &str, have: &str, expected: Option<u32>| {
            let (want, have): (Platform, Platform) = (want.parse().unwrap(), have.parse().unwrap());
            assert_eq!(want.rank(&have), expected, "{want} <- {have}");
        };
        check("linux/amd64", "linux/amd64", Some(0));
        check("linux/amd64/v3", "linux/amd64", Some(2));
        check("linux/amd64", "linux/amd64/v3", None);
        check("linux/arm64", "linux/arm64/v8", Some(0));
        check("linux/aarch64", "linux/arm64", Some(0));
        check("linux/arm/v7", "linux/arm/v6", Some(1));
        check("linux/arm/v6", "linux/arm/v7", None);
        check("linux/arm64", "linux/arm/v7", Some(93));
        check("linux/amd64", "windows/amd64", None);
        check("linux/riscv64", "linux/riscv64", Some(0));
    }

    #[test]
    fn malformed_platforms_are_refused() {
        for bad in ["", "/", "linux/", "a/b/c/d", "linux/am d64", "linux/../x"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
