//! The networks that there are: the default bridge, and `none` and `host`, which are no networks of ours.

use std::collections::BTreeMap;

use hull_network::bridge;
use hull_spec::container::Record;
use serde::Serialize;

use crate::container::{self, status};
use crate::elapsed::NEVER;
use crate::filter::Filters;
use crate::{Engine, Error, Result, event};

/// Docker's `Network` (Engine API 1.47), in its order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    /// Its name.
    pub name: String,
    /// 64 hexadecimal digits.
    pub id: String,
    /// RFC 3339 with nanoseconds, UTC.
    pub created: String,
    /// Always `local`.
    pub scope: &'static str,
    /// `bridge`, `host` or `null`.
    pub driver: &'static str,
    /// Whether it has IPv6 addresses.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Its addresses.
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    /// Whether nothing leads out of it.
    pub internal: bool,
    /// Of a swarm.
    pub attachable: bool,
    /// Of a swarm.
    pub ingress: bool,
    /// Of a swarm.
    pub config_from: ConfigFrom,
    /// Of a swarm.
    pub config_only: bool,
    /// Its endpoints by their containers' IDs, where they were asked for.
    pub containers: BTreeMap<String, Endpoint>,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// Docker's `IPAM`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ipam {
    /// `default`.
    pub driver: &'static str,
    /// None.
    pub options: Option<BTreeMap<String, String>>,
    /// Its subnets; `None` where it has none.
    pub config: Option<Vec<IpamConfig>>,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct IpamConfig {
    /// `172.17.0.0/16`.
    pub subnet: String,
    /// `172.17.0.1`.
    pub gateway: String,
}

/// Docker's `ConfigFrom`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConfigFrom {
    /// Always empty.
    pub network: String,
}

/// A container on a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Endpoint {
    /// The container's name.
    pub name: String,
    /// The endpoint's ID.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// Its MAC.
    pub mac_address: String,
    /// Its address and the prefix's length.
    #[serde(rename = "IPv4Address")]
    pub ipv4_address: String,
    /// Its address and the prefix's length.
    #[serde(rename = "IPv6Address")]
    pub ipv6_address: String,
}

/// Which networks are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// `dangling`, `driver`, `id`, `label`, `name`, `scope` and `type`.
    pub filters: Filters,
}

/// The networks by name, without their containers.
///
/// # Errors
/// Filters that mean nothing; what is kept of the bridge cannot be read.
pub fn list(engine: &Engine, request: &ListRequest) -> Result<Vec<Network>> {
    let filters = &request.filters;
    filters.only(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
    let dangling = filters.flag("dangling")?;
    for kind in filters.values("type") {
        if !["builtin", "custom"].contains(&kind.as_str()) {
            return Err(Error::Invalid(format!("invalid filter: 'type'='{kind}'")));
        }
    }
    let part = |name: &str, text: &str| {
        let values = filters.values(name);
        values.is_empty() || values.iter().any(|value| text.contains(value.as_str()))
    };
    let mut out = all(engine)?;
    out.retain(|network| {
        // Those that are built in are never dangling.
        dangling != Some(true)
            && filters.is("driver", network.driver)
            && part("id", &network.id)
            && part("name", &network.name)
            && filters.is("scope", network.scope)
            && filters.is("type", "builtin")
            && filters.labels(&network.labels)
    });
    Ok(out)
}

/// All that is known of the network of this name, ID or beginning of an ID, with the containers on it.
///
/// # Errors
/// [`Error::NoSuchNetwork`]; [`Error::Ambiguous`]; what cannot be read.
pub fn inspect(engine: &Engine, name: &str) -> Result<Network> {
    let networks = all(engine)?;
    let exactly = networks
        .iter()
        .find(|network| network.name == name || network.id == name);
    let mut network = match exactly {
        Some(network) => network.clone(),
        None => {
            let mut found = networks.iter().filter(|network| network.id.starts_with(name));
            match (found.next(), found.next()) {
                (Some(network), None) if !name.is_empty() => network.clone(),
                (Some(_), Some(_)) if !name.is_empty() => {
                    return Err(Error::Ambiguous {
                        prefix: name.to_owned(),
                    });
                }
                _ => {
                    return Err(Error::NoSuchNetwork { name: name.to_owned() });
                }
            }
        }
    };
    for id in container::ids(engine)? {
        let Some(live) = status::sight(engine, &id)?.live else {
            continue;
        };
        let record = match container::load(engine, &id) {
            Ok(record) => record,
            // Removed meanwhile.
            Err(Error::NoSuchContainer { .. }) => continue,
            Err(e) => return Err(e),
        };
        if let Some(endpoint) = endpoint(&record, &live, &network.name) {
            network.containers.insert(id, endpoint);
        }
    }
    Ok(network)
}

fn endpoint(record: &Record, live: &hull_spec::container::LiveState, network: &str) -> Option<Endpoint> {
    let address = |address: &str, prefix: u8| match address {
        "" => String::new(),
        address => format!("{address}/{prefix}"),
    };
    let name = record.name.clone();
    if let Some(on) = live.networks.get(network) {
        return Some(Endpoint {
            name,
            endpoint_id: on.endpoint_id.clone(),
            mac_address: on.mac_address.clone(),
            ipv4_address: address(&on.ip_address, on.ip_prefix_len),
            ipv6_address: address(&on.global_ipv6_address, on.global_ipv6_prefix_len),
        });
    }
    // On these a container has no end of its own.
    (record.host_config.network_mode == network && matches!(network, "none" | "host")).then(|| Endpoint {
        name,
        endpoint_id: String::new(),
        mac_address: String::new(),
        ipv4_address: String::new(),
        ipv6_address: String::new(),
    })
}

fn all(engine: &Engine) -> Result<Vec<Network>> {
    let plain = |name: &str, driver: &'static str, created: String| Network {
        name: name.to_owned(),
        id: event::network_id(engine, name),
        created,
        scope: "local",
        driver,
        enable_ipv6: false,
        ipam: Ipam {
            driver: "default",
            options: None,
            config: None,
        },
        internal: false,
        attachable: false,
        ingress: false,
        config_from: ConfigFrom::default(),
        config_only: false,
        containers: BTreeMap::new(),
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
    };
    let settings = container::network_settings(engine);
    let born = made(&engine.data);
    let mut bridge_network = plain("bridge", "bridge", born.clone());
    // Until a container needs it, it is neither made nor decided upon.
    if let Some(found) = bridge::find(&settings)? {
        bridge_network.created = made(&settings.run.join(&found.name).join("network.json"));
        bridge_network.id = found.id;
        bridge_network.ipam.config = Some(vec![IpamConfig {
            subnet: found.subnet.to_string(),
            gateway: found.gateway.to_string(),
        }]);
        let options = [
            ("com.docker.network.bridge.default_bridge", "true".to_owned()),
            ("com.docker.network.bridge.enable_icc", "true".to_owned()),
            (
                "com.docker.network.bridge.enable_ip_masquerade",
                found.masquerade.to_string(),
            ),
            ("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0".to_owned()),
            ("com.docker.network.bridge.name", found.bridge),
            ("com.docker.network.driver.mtu", found.mtu.to_string()),
        ];
        bridge_network.options = options.map(|(name, value)| (name.to_owned(), value)).into();
    }
    Ok(vec![
        bridge_network,
        plain("host", "host", born.clone()),
        plain("none", "null", born),
    ])
}

/// When a file was made or changed; Go's zero time where it is not there.
fn made(path: &std::path::Path) -> String {
    let time = std::fs::metadata(path).and_then(|m| m.created().or_else(|_| m.modified()));
    let time = time.ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
    time.map_or_else(|| NEVER.to_owned(), |time| format!("{time:.9}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_three_networks() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::open(&crate::Settings {
            root: folder.path().join("data"),
            run_root: folder.path().join("run"),
            ..crate::Settings::rootful()
        });
        let names = |pairs: &[(&str, &str)]| {
            let mut request = ListRequest::default();
            for (name, value) in pairs {
                request.filters.add(name, value);
            }
            list(&engine, &request)
                .map(|networks| networks.into_iter().map(|n| n.name).collect::<Vec<_>>().join(" "))
                .map_err(|e| e.to_string())
        };
        for (pairs, expected) in [
            (&[][..], Ok("bridge host none")),
            (&[("driver", "null")], Ok("none")),
            (&[("name", "o")], Ok("host none")),
            (&[("type", "custom")], Ok("")),
            (&[("type", "x")], Err("invalid filter: 'type'='x'")),
            (&[("nosuch", "x")], Err("invalid filter 'nosuch'")),
            (&[("dangling", "true")], Ok("")),
            (&[("scope", "swarm")], Ok("")),
        ] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(names(pairs), expected, "{pairs:?}");
        }
        let host = inspect(&engine, "host").unwrap();
        assert_eq!(inspect(&engine, &host.id[..9]).unwrap(), host);
        for missing in ["nosuch", ""] {
            let e = inspect(&engine, missing).unwrap_err();
            assert_eq!(e.to_string(), format!("network {missing} not found"));
        }
    }
}
