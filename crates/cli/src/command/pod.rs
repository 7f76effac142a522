//! `pod`: containers that share namespaces, with Podman's commands.

mod create;
mod enter;
mod logs;
mod ps;

use hull_engine::pod::{self, RemoveRequest};
use hull_engine::{Engine, container};

use super::{Command, stats as container_stats, top as container_top};
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{FAILED, Failure, Outcome, Result, for_each, print_line};
use crate::output;
use crate::output::data::Data;
use crate::output::json::{self, Json};
use crate::output::template::Template;

pub(crate) use create::COMMAND as CREATE;
pub(super) use enter::enter;
pub(crate) use logs::COMMAND as LOGS;
pub(crate) use ps::COMMAND as PS;

const ALL: Flag = Flag::switch("all").short('a').help("Act on all pods");
const LATEST: Flag = Flag::switch("latest")
    .short('l')
    .help("Act on the pod that was made last");
const IGNORE: Flag = Flag::switch("ignore")
    .short('i')
    .help("A pod that is not there is no failure");
const TIME: Flag = Flag::int("time")
    .short('t')
    .help("Seconds until a container is killed (default 10)");
const ID_FILE: Flag = Flag::list("pod-id-file")
    .named("file")
    .help("Read the pod's ID from this file");

macro_rules! verb {
    ($name:literal, $about:literal, $flags:expr, $run:expr) => {
        Command {
            names: &[$name],
            synopsis: "[OPTIONS] POD [POD...]",
            about: $about,
            flags: $flags,
            count: Count::AtLeast(0),
            interspersed: true,
            run: $run,
        }
    };
}

pub(crate) const START: Command = verb!(
    "pod start",
    "Start all containers of pods",
    &[ALL, LATEST, ID_FILE],
    |args, ctx| act(args, ctx, pod::start)
);
pub(crate) const STOP: Command = verb!(
    "pod stop",
    "Stop all containers of pods",
    &[ALL, LATEST, IGNORE, ID_FILE, TIME],
    |args, ctx| act(args, ctx, |engine, name| pod::stop(engine, name, args.int("time")))
);
pub(crate) const RESTART: Command = verb!(
    "pod restart",
    "Stop and start all containers of pods",
    &[ALL, LATEST],
    |args, ctx| act(args, ctx, pod::restart)
);
pub(crate) const KILL: Command = verb!(
    "pod kill",
    "Send a signal to all running containers of pods",
    &[
        ALL,
        LATEST,
        Flag::string("signal").short('s').help("The signal (KILL unless given)"),
    ],
    |args, ctx| act(args, ctx, |engine, name| {
        pod::kill(engine, name, args.value("signal").unwrap_or("KILL"))
    })
);
pub(crate) const PAUSE: Command = verb!(
    "pod pause",
    "Freeze all running containers of pods",
    &[ALL, LATEST],
    |args, ctx| act(args, ctx, pod::pause)
);
pub(crate) const UNPAUSE: Command = verb!(
    "pod unpause",
    "Let all frozen containers of pods go on",
    &[ALL, LATEST],
    |args, ctx| act(args, ctx, pod::unpause)
);
pub(crate) const RM: Command = verb!(
    "pod rm",
    "Remove pods",
    &[
        ALL,
        Flag::switch("force")
            .short('f')
            .help("Stop and remove their containers, too; a pod that is not there is no failure"),
        IGNORE,
        LATEST,
        ID_FILE,
        TIME,
    ],
    |args, ctx| act(args, ctx, |engine, name| {
        let request = RemoveRequest {
            force: args.on("force"),
            timeout: args.int("time"),
        };
        pod::remove(engine, name, &request)
    })
);

/// Does `verb` to each pod that is named, and prints its ID.
fn act(args: &Matches, ctx: &Context, verb: impl Fn(&Engine, &str) -> hull_engine::Result<String>) -> Outcome {
    let engine = ctx.engine();
    let names = names(args, &engine)?;
    let knows = |flag: &str| args.knows(flag) && args.on(flag);
    let lenient = knows("ignore") || knows("force");
    let code = for_each(&names, |name| match verb(&engine, name) {
        Ok(id) => Ok(Some(id)),
        Err(hull_engine::Error::NoSuchPod { .. }) if lenient => Ok(None),
        Err(e) => Err(e.into()),
    })?;
    // What killed commands and monitors left is cleared in passing.
    let _ = container::recover(&engine);
    Ok(code)
}

/// The pods that a command line means.
fn names(args: &Matches, engine: &Engine) -> Result<Vec<String>> {
    let mut names = args.args().to_vec();
    if args.knows("pod-id-file") {
        for path in args.values("pod-id-file") {
            let text = std::fs::read_to_string(path)
                .map_err(|e| Failure::new(format!("cannot read the pod's ID from `{path}`: {e}")))?;
            names.push(text.trim().to_owned());
        }
    }
    let all = args.knows("all") && args.on("all");
    let latest = args.knows("latest") && args.on("latest");
    if (all || latest) && !names.is_empty() || (all && latest) {
        return Err(Failure::new(
            "--all, --latest and pods by name are mutually exclusive: give one of them",
        ));
    }
    if all || latest {
        let mut pods = pod::pods(engine)?;
        pods.sort_by(|a, b| b.created.cmp(&a.created));
        let count = if all { pods.len() } else { 1 };
        names = pods.into_iter().take(count).map(|pod| pod.id).collect();
        if latest && names.is_empty() {
            return Err(Failure::new("no such pod"));
        }
    } else if names.is_empty() {
        return Err(Failure::new("you must provide at least one pod name or id"));
    }
    Ok(names)
}

pub(crate) const EXISTS: Command = Command {
    names: &["pod exists"],
    synopsis: "POD",
    about: "Tell by the exit code whether there is a pod",
    flags: &[],
    count: Count::Exactly(1),
    interspersed: true,
    run: |args, ctx| Ok(u8::from(!pod::exists(&ctx.engine(), args.arg())?)),
};

pub(crate) const PRUNE: Command = Command {
    names: &["pod prune"],
    synopsis: "[OPTIONS]",
    about: "Remove all pods that have ended, and their containers",
    flags: &[Flag::switch("force").short('f').help("Do not ask")],
    count: Count::None,
    interspersed: true,
    run: |args, ctx| {
        if !args.on("force") && !confirmed()? {
            return Ok(0);
        }
        for id in pod::prune(&ctx.engine())? {
            print_line(&id)?;
        }
        Ok(0)
    },
};

fn confirmed() -> Result<bool> {
    output::print("WARNING! This will remove all stopped/exited pods..\nAre you sure you want to continue? [y/N] ")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().to_ascii_lowercase().starts_with('y'))
}

pub(crate) const INSPECT: Command = Command {
    names: &["pod inspect"],
    synopsis: "[OPTIONS] POD [POD...]",
    about: "Tell all about pods",
    flags: &[
        Flag::string("format")
            .short('f')
            .help("'json' (default), or a Go template"),
        LATEST,
    ],
    count: Count::AtLeast(0),
    interspersed: true,
    run: inspect,
};

fn inspect(args: &Matches, ctx: &Context) -> Outcome {
    let engine = ctx.engine();
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for name in names(args, &engine)? {
        match pod::inspect(&engine, &name) {
            Ok(pod) => found.push(Json::of(&pod)?),
            Err(e) => failures.push(Failure::from(e)),
        }
    }
    match args.value("format").filter(|f| !matches!(*f, "" | "json")) {
        None => output::print(&format!("{}\n", json::pretty(&found)?))?,
        Some(source) => {
            let bad = |e| Failure::new(format!("template parsing error: {e}"));
            let template = Template::parse(source).map_err(bad)?;
            for pod in &found {
                output::print(&format!("{}\n", template.execute(&Data::document(pod)).map_err(bad)?))?;
            }
        }
    }
    let code = if failures.is_empty() { 0 } else { FAILED };
    for failure in failures {
        failure.report();
    }
    Ok(code)
}

pub(crate) const TOP: Command = Command {
    names: &["pod top"],
    synopsis: "POD [ps OPTIONS]",
    about: "Show the processes of a pod's containers",
    flags: &[],
    count: Count::AtLeast(1),
    interspersed: false,
    run: top,
};

fn top(args: &Matches, ctx: &Context) -> Outcome {
    let engine = ctx.engine();
    let found = pod::find(&engine, args.arg())?;
    let mut all: Option<container::Processes> = None;
    for member in pod::members(&engine, &found)? {
        match container::top(&engine, &member.id, &args.args()[1..]) {
            Ok(processes) => match &mut all {
                Some(all) => all.rows.extend(processes.rows),
                None => all = Some(processes),
            },
            Err(hull_engine::Error::NotRunning { .. }) => {}
            Err(e) => return Err(e.into()),
        }
    }
    let Some(processes) = all else {
        return Err(Failure::new(format!(
            "pod {} has no running containers: pod top can only be used on pods with at least one running container",
            found.id
        )));
    };
    container_top::print(&processes)
}

pub(crate) const STATS: Command = Command {
    names: &["pod stats"],
    synopsis: "[OPTIONS] [POD...]",
    about: "Show what the containers of pods use",
    flags: &[
        ALL,
        Flag::string("format").help(output::listing::FORMAT_HELP),
        LATEST,
        Flag::switch("no-reset").help("Do not paint over what was shown before"),
        Flag::switch("no-stream").help("Show the figures once"),
    ],
    count: Count::AtLeast(0),
    interspersed: true,
    run: stats,
};

fn stats(args: &Matches, ctx: &Context) -> Outcome {
    let engine = ctx.engine();
    let pods = match args.args().is_empty() && !args.on("latest") {
        true => pod::pods(&engine)?.into_iter().map(|pod| pod.id).collect(),
        false => names(args, &engine)?,
    };
    let mut members = Vec::new();
    for name in pods {
        let found = pod::find(&engine, &name)?;
        members.extend(pod::members(&engine, &found)?.into_iter().map(|member| member.id));
    }
    if members.is_empty() {
        return Err(Failure::new("there is no pod with containers"));
    }
    let repaint = crate::terminal::stdout_is_terminal() && !args.on("no-reset");
    container_stats::show(args, ctx, &members, repaint)
}
