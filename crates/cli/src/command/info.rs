//! `info`.

use std::fmt::Write as _;

use hull_engine::system::{self, Info};

use super::Command;
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, note};
use crate::output::data::Data;
use crate::output::json::Json;
use crate::output::template::Template;
use crate::output::{self, size};

pub(crate) const COMMAND: Command = Command {
    names: &["info", "system info"],
    synopsis: "[OPTIONS]",
    about: "Display system-wide information",
    flags: &[Flag::string("format").short('f').help(
        "Format output using a custom template: 'json' prints in JSON format, and 'TEMPLATE' prints using the given Go template",
    )],
    count: Count::None,
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let info = system::info(&ctx.engine())?;
    match args.value("format").unwrap_or_default() {
        "" => {
            output::print(&text(&info))?;
            for warning in info.warnings.iter().flatten() {
                note(warning);
            }
        }
        "json" => output::print(&(serde_json::to_string(&document(&info)?)? + "\n"))?,
        source => {
            let failed = |e| Failure::new(format!("template parsing error: {e}"));
            let template = Template::parse(source).map_err(|e| failed(e).code(64))?;
            let text = template.execute(&Data::document(&document(&info)?)).map_err(failed)?;
            output::print(&(text + "\n"))?;
        }
    }
    Ok(0)
}

/// The engine's JSON, and what Docker's client says of itself behind it.
fn document(info: &Info) -> serde_json::Result<Json> {
    let version = system::version();
    let text = |text: &str| Json::Text(text.to_owned());
    let client = [
        ("Debug", Json::Bool(false)),
        ("Version", text(&version.version)),
        ("GitCommit", text(&version.git_commit)),
        ("GoVersion", text("")),
        ("Os", text(&version.os)),
        ("Arch", text(&version.arch)),
        ("BuildTime", text(&version.build_time)),
        ("Context", text("default")),
        ("Plugins", Json::List(Vec::new())),
        ("Warnings", Json::Null),
    ];
    let client = client.map(|(key, value)| (key.to_owned(), value)).to_vec();
    let mut json = Json::of(info)?;
    if let Json::Object(fields) = &mut json {
        fields.push(("ClientInfo".to_owned(), Json::Object(client)));
    }
    Ok(json)
}

/// Docker's layout.
fn text(info: &Info) -> String {
    let mut lines = Lines::default();
    lines.pair(0, "Client", "");
    lines.pair(1, "Version", &format!("   {}", info.server_version));
    lines.pair(1, "Context", "   default");
    lines.pair(1, "Debug Mode", "false");
    lines.pair(0, "\nServer", "");
    lines.pair(1, "Containers", &info.containers.to_string());
    lines.pair(2, "Running", &info.containers_running.to_string());
    lines.pair(2, "Paused", &info.containers_paused.to_string());
    lines.pair(2, "Stopped", &info.containers_stopped.to_string());
    lines.pair(1, "Images", &info.images.to_string());
    lines.pair(1, "Server Version", info.server_version);
    lines.pair(1, "Storage Driver", info.driver);
    for [name, value] in &info.driver_status {
        lines.pair(2, name, value);
    }
    lines.pair(1, "Logging Driver", &info.logging_driver);
    lines.pair(1, "Cgroup Driver", info.cgroup_driver);
    lines.pair(1, "Cgroup Version", info.cgroup_version);
    lines.pair(1, "Plugins", "");
    lines.pair(2, "Volume", &info.plugins.volume.join(" "));
    lines.pair(2, "Network", &info.plugins.network.join(" "));
    lines.pair(2, "Log", &info.plugins.log.join(" "));
    lines.pair(1, "Swarm", info.swarm.local_node_state);
    if !info.cdi_spec_dirs.is_empty() {
        lines.pair(1, "CDI spec directories", "");
        for folder in &info.cdi_spec_dirs {
            lines.add(2, folder);
        }
    }
    if !info.discovered_devices.is_empty() {
        lines.pair(1, "Discovered Devices", "");
        for device in &info.discovered_devices {
            lines.pair(2, device.source, &device.id);
        }
    }
    let runtimes: Vec<&str> = info.runtimes.keys().copied().collect();
    lines.pair(1, "Runtimes", &runtimes.join(" "));
    lines.pair(1, "Default Runtime", info.default_runtime);
    lines.pair(1, "Init Binary", info.init_binary);
    lines.pair(1, "Security Options", "");
    for option in &info.security_options {
        let mut parts = option.split(',').filter_map(|part| part.split_once('='));
        if let Some((_, name)) = parts.next() {
            lines.add(2, name);
        }
        for (key, value) in parts {
            lines.pair(3, &capitalised(key), value);
        }
    }
    lines.pair(1, "Kernel Version", &info.kernel_version);
    lines.pair(1, "Operating System", &info.operating_system);
    lines.pair(1, "OSType", info.os_type);
    lines.pair(1, "Architecture", &info.architecture);
    lines.pair(1, "CPUs", &info.cpus.to_string());
    lines.pair(1, "Total Memory", &size::binary(info.mem_total));
    lines.pair(1, "Name", &info.name);
    lines.pair(1, "ID", &info.id);
    lines.pair(1, "Docker Root Dir", &info.docker_root_dir);
    lines.pair(1, "Debug Mode", &info.debug.to_string());
    lines.pair(1, "Experimental", &info.experimental_build.to_string());
    lines.pair(1, "Insecure Registries", "");
    let insecure = info
        .registry_config
        .index_configs
        .values()
        .filter(|index| !index.secure);
    for name in insecure
        .map(|index| &index.name)
        .chain(&info.registry_config.insecure_registry_cidrs)
    {
        lines.add(2, name);
    }
    if !info.registry_config.mirrors.is_empty() {
        lines.pair(1, "Registry Mirrors", "");
        for mirror in &info.registry_config.mirrors {
            lines.add(2, mirror);
        }
    }
    lines.pair(1, "Live Restore Enabled", &info.live_restore_enabled.to_string());
    lines.0 + "\n"
}

/// Lines that grow.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, indent: usize, text: &str) {
        let _ = writeln!(self.0, "{:indent$}{}", "", text.trim_end());
    }

    fn pair(&mut self, indent: usize, name: &str, value: &str) {
        self.add(indent, &format!("{name}: {value}"));
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|c| c.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}
