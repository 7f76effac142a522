//! `pod logs`: the logs of a pod's containers, each line after its container.

use std::process::{Command as Process, Stdio};

use hull_engine::pod;
use hull_spec::container::Record;

use crate::args::{Count, Flag, Matches};
use crate::command::Command;
use crate::context::Context;
use crate::error::{Failure, Outcome, Result};

pub(crate) const COMMAND: Command = Command {
    names: &["pod logs"],
    synopsis: "[OPTIONS] POD",
    about: "Show the logs of a pod's containers",
    flags: &[
        Flag::switch("color").help("Show each container in a color of its own"),
        Flag::string("container").short('c').help("Show only this container's"),
        Flag::switch("follow").short('f').help("Follow the logs"),
        Flag::switch("latest").short('l').help("Of the pod that was made last"),
        Flag::switch("names").short('n').help("Show names instead of IDs"),
        Flag::string("since").help("Show logs since a timestamp, or relative (42m)"),
        Flag::int("tail")
            .default("-1")
            .help("Number of lines to show from the end of the logs"),
        Flag::switch("timestamps").short('t').help("Show timestamps"),
        Flag::string("until").help("Show logs before a timestamp, or relative (42m)"),
    ],
    count: Count::AtMost(1),
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let engine = ctx.engine();
    let [name] = super::names(args, &engine)?
        .try_into()
        .map_err(|_| Failure::new("logs are of one pod"))?;
    let found = pod::find(&engine, &name)?;
    let mut members = pod::members(&engine, &found)?;
    // It says nothing.
    members.retain(|member| found.infra.as_deref() != Some(&member.id));
    if let Some(wanted) = args.value("container") {
        let is_wanted = |member: &Record| member.name == wanted || member.id.starts_with(wanted);
        members.retain(is_wanted);
        if members.is_empty() {
            return Err(Failure::new(format!("container {wanted} is not in pod {}", found.id)));
        }
    }
    drop(engine);
    // One `hull logs` for each, which reads whatever driver there is and follows; here their lines come together.
    let mut readers = Vec::new();
    for (number, member) in members.iter().enumerate() {
        let label = match args.on("names") {
            true => member.name.clone(),
            false => member.id[..12].to_owned(),
        };
        let label = match args.on("color") {
            true => format!("\x1b[3{}m{label}\x1b[0m ", number % 6 + 1),
            false => format!("{label} "),
        };
        readers.push((label, reader(args, ctx, &member.id)?));
    }
    let mut failed = false;
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (label, child) in &mut readers {
            let (out, err) = (child.stdout.take(), child.stderr.take());
            let label = label.as_str();
            threads.extend(out.map(|out| scope.spawn(move || copy(label, out, std::io::stdout()))));
            threads.extend(err.map(|err| scope.spawn(move || copy(label, err, std::io::stderr()))));
        }
        for thread in threads {
            failed |= thread.join().is_err();
        }
    });
    for (_, mut child) in readers {
        failed |= !child.wait()?.success();
    }
    Ok(u8::from(failed))
}

fn reader(args: &Matches, ctx: &Context, id: &str) -> Result<std::process::Child> {
    let mut command = Process::new("/proc/self/exe");
    let settings = &ctx.settings;
    command
        .arg("--root")
        .arg(&settings.root)
        .arg("--run-root")
        .arg(&settings.run_root)
        .arg("--config-file")
        .arg(&settings.config);
    command.arg("logs");
    for flag in ["follow", "timestamps"] {
        if args.on(flag) {
            command.arg(format!("--{flag}"));
        }
    }
    for flag in ["since", "until"] {
        if let Some(value) = args.value(flag) {
            command.arg(format!("--{flag}={value}"));
        }
    }
    if let Some(lines) = args.int("tail").filter(|lines| *lines >= 0) {
        command.arg(format!("--tail={lines}"));
    }
    command
        .arg(id)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command.spawn()?)
}

/// Copies whole lines, each after its label.
fn copy(label: &str, from: impl std::io::Read, mut to: impl std::io::Write) {
    use std::io::BufRead as _;
    let mut from = std::io::BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        line.extend_from_slice(label.as_bytes());
        match from.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if !line.ends_with(b"\n") {
            line.push(b'\n');
        }
        // Nobody reads any more.
        if to.write_all(&line).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}
