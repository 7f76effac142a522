//! The options of the driver `syslog`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use hull_monitor::{SyslogAddress, SyslogFormat, SyslogPlan};

use super::options::{Options, driver_error};
use crate::{Error, Result};

/// Where the host's own syslog listens.
const LOCAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "", "", "",
    "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

/// The plan of a log that goes to a syslog server. Without `resolve` it only is checked.
pub(super) fn plan(options: &Options, tag: String, resolve: bool) -> Result<SyslogPlan> {
    options.only(&[
        "env",
        "env-regex",
        "labels",
        "labels-regex",
        "syslog-address",
        "syslog-facility",
        "syslog-tls-ca-cert",
        "syslog-tls-cert",
        "syslog-tls-key",
        "syslog-tls-skip-verify",
        "tag",
        "syslog-format",
    ])?;
    let addresses = addresses(options.text("syslog-address"), resolve)?;
    if let Some(name) = options.given.keys().find(|name| name.starts_with("syslog-tls-")) {
        return Err(Error::Unsupported(format!(
            "log opt '{name}' is not there yet: {NO_TLS}"
        )));
    }
    Ok(SyslogPlan {
        addresses,
        facility: facility(options.text("syslog-facility"))?,
        format: match options.text("syslog-format") {
            "" => SyslogFormat::Local,
            "rfc3164" => SyslogFormat::Rfc3164,
            "rfc5424" => SyslogFormat::Rfc5424,
            "rfc5424micro" => SyslogFormat::Rfc5424Micro,
            _ => return Err(Error::Invalid("Invalid syslog format".to_owned())),
        },
        tag,
        hostname: super::super::host_name(),
    })
}

const NO_TLS: &str = "use unix, unixgram, udp or tcp, with a relay on this host for TLS";

fn facility(text: &str) -> Result<u8> {
    let bad = || Error::Invalid("invalid syslog facility".to_owned());
    if text.is_empty() {
        return Ok(3);
    }
    let named = FACILITIES.iter().position(|name| *name == text);
    match named {
        Some(number) => u8::try_from(number).map_err(|_| bad()),
        None => text.parse().ok().filter(|n| *n < 24).ok_or_else(bad),
    }
}

fn addresses(text: &str, resolve: bool) -> Result<Vec<SyslogAddress>> {
    if text.is_empty() {
        let both = |path: &str| [SyslogAddress::Unixgram(path.into()), SyslogAddress::Unix(path.into())];
        return Ok(LOCAL.into_iter().flat_map(both).collect());
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    match scheme {
        "unix" => Ok(vec![SyslogAddress::Unix(socket(rest)?)]),
        "unixgram" => Ok(vec![SyslogAddress::Unixgram(socket(rest)?)]),
        "udp" => Ok(hosts(rest, resolve)?.into_iter().map(SyslogAddress::Udp).collect()),
        "tcp" => Ok(hosts(rest, resolve)?.into_iter().map(SyslogAddress::Tcp).collect()),
        "tcp+tls" => Err(Error::Unsupported(format!(
            "syslog over TLS is not there yet: {NO_TLS}"
        ))),
        other => Err(Error::Invalid(format!("unsupported scheme: '{other}'"))),
    }
}

fn socket(path: &str) -> Result<PathBuf> {
    match Path::new(path).metadata() {
        Ok(_) => Ok(path.into()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::Invalid(format!("stat {path}: no such file or directory")))
        }
        Err(source) => Err(Error::Read {
            path: path.into(),
            source,
        }),
    }
}

/// `HOST`, `HOST:PORT`, `[IPV6]:PORT`; the port is 514 unless given.
fn hosts(text: &str, resolve: bool) -> Result<Vec<SocketAddr>> {
    let text = text.trim_end_matches('/');
    let bad = || Error::Invalid(format!("invalid syslog-address: {text}"));
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') && (host.ends_with(']') || !host.contains(':')) => {
            (host, port.parse().map_err(|_| bad())?)
        }
        _ => (text, 514),
    };
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if bare.is_empty() {
        return Err(bad());
    }
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    if bare.contains([':', '/', ' ']) {
        return Err(bad());
    }
    if !resolve {
        return Ok(Vec::new());
    }
    let found = hull_registry::lookup(bare).map_err(|e| driver_error(format!("dial {bare}: {e}")))?;
    Ok(found
        .into_iter()
        .map(|address| SocketAddr::new(address, port))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let tcp = |text: &str| SyslogAddress::Tcp(text.parse().unwrap());
        for (text, expected) in [
            ("tcp://10.0.0.1", Ok(vec![tcp("10.0.0.1:514")])),
            ("tcp://10.0.0.1:1514/", Ok(vec![tcp("10.0.0.1:1514")])),
            ("tcp://[::1]:5", Ok(vec![tcp("[::1]:5")])),
            ("tcp://[::1]", Ok(vec![tcp("[::1]:514")])),
            (
                "udp://1.2.3.4:5",
                Ok(vec![SyslogAddress::Udp("1.2.3.4:5".parse().unwrap())]),
            ),
            ("tcp://logs.example:7", Ok(vec![])),
            ("unix:///", Ok(vec![SyslogAddress::Unix("/".into())])),
            ("unixgram:///", Ok(vec![SyslogAddress::Unixgram("/".into())])),
            ("foo", Err("unsupported scheme: ''")),
            ("http://x", Err("unsupported scheme: 'http'")),
            ("unix:///no/such", Err("stat /no/such: no such file or directory")),
            ("tcp://1.2.3.4:x", Err("invalid syslog-address: 1.2.3.4:x")),
            ("tcp://", Err("invalid syslog-address: ")),
            (
                "tcp+tls://x",
                Err(
                    "syslog over TLS is not there yet: use unix, unixgram, udp or tcp, with a relay on this host for TLS",
                ),
            ),
        ] {
            let found = addresses(text, false).map_err(|e| e.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{text}");
        }
        assert_eq!(addresses("", false).unwrap().len(), 6);
    }

    #[test]
    fn facilities_have_names_and_numbers() {
        for (text, expected) in [
            ("", Some(3)),
            ("kern", Some(0)),
            ("local7", Some(23)),
            ("23", Some(23)),
            ("24", None),
            ("xx", None),
            ("-1", None),
        ] {
            assert_eq!(facility(text).ok(), expected, "{text}");
        }
    }
}
