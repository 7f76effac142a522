//! `version`.

use std::fmt::Write as _;

use hull_engine::system::{self, API_VERSION, Version};
use serde::Serialize;

use super::Command;
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output;
use crate::output::data::Data;
use crate::output::json::Json;
use crate::output::template::Template;

pub(crate) const COMMAND: Command = Command {
    names: &["version"],
    synopsis: "[OPTIONS]",
    about: "Show the version information",
    flags: &[Flag::string("format").short('f').help(
        "Format output using a custom template: 'json' prints in JSON format, and 'TEMPLATE' prints using the given Go template",
    )],
    count: Count::None,
    interspersed: true,
    run,
};

/// Both sides: hull is one program, and answers for a client and for a server as Docker's scripts ask for them.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Both {
    client: Client,
    server: Version,
}

/// Docker's client.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Client {
    version: String,
    api_version: &'static str,
    #[serde(rename = "DefaultAPIVersion")]
    default_api_version: &'static str,
    git_commit: String,
    go_version: String,
    os: String,
    arch: String,
    build_time: String,
    context: &'static str,
}

fn run(args: &Matches, _ctx: &Context) -> Outcome {
    let server = system::version();
    let both = Both {
        client: Client {
            version: server.version.clone(),
            api_version: API_VERSION,
            default_api_version: API_VERSION,
            git_commit: server.git_commit.clone(),
            go_version: server.go_version.clone(),
            os: server.os.clone(),
            arch: server.arch.clone(),
            build_time: server.build_time.clone(),
            context: "default",
        },
        server,
    };
    let text = match args.value("format").unwrap_or_default() {
        "" => text(&both),
        "json" => serde_json::to_string(&both)? + "\n",
        source => {
            let failed = |e| Failure::new(format!("template parsing error: {e}"));
            let template = Template::parse(source).map_err(|e| failed(e).code(64))?;
            template.execute(&Data::document(&Json::of(&both)?)).map_err(failed)? + "\n"
        }
    };
    output::print(&text)?;
    Ok(0)
}

/// Docker's layout. What only programs of Go have, and what a build was not told, is left out.
fn text(both: &Both) -> String {
    let mut out = String::new();
    let (client, server) = (&both.client, &both.server);
    let platform = format!("{}/{}", client.os, client.arch);
    let mut line = |indent: usize, name: &str, value: &str| {
        if !value.is_empty() {
            let width = 19 - indent;
            let _ = writeln!(out, "{:indent$}{name:width$} {value}", "");
        }
    };
    line(0, "Client:", " ");
    line(1, "Version:", &client.version);
    line(1, "API version:", client.api_version);
    line(1, "Git commit:", &client.git_commit);
    line(1, "Built:", &client.build_time);
    line(1, "OS/Arch:", &platform);
    line(1, "Context:", client.context);
    line(0, "\nServer:", " ");
    for component in &server.components {
        let detail = |name: &str| component.details.get(name).cloned().unwrap_or_default();
        line(1, &format!("{}:", component.name), " ");
        line(2, "Version:", &component.version);
        if component.details.contains_key("ApiVersion") {
            let api = format!("{} (minimum version {})", detail("ApiVersion"), detail("MinAPIVersion"));
            line(2, "API version:", &api);
        }
        line(2, "Git commit:", &detail("GitCommit"));
        line(2, "Built:", &detail("BuildTime"));
        if component.details.contains_key("Os") {
            line(2, "OS/Arch:", &format!("{}/{}", detail("Os"), detail("Arch")));
        }
        line(2, "Experimental:", &detail("Experimental"));
    }
    let lines: Vec<&str> = out.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}
