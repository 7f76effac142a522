//! What a container is asked to be on top of what its image says it is.

use hull_spec::container::{Config, Empty};

/// The image's defaults under `asked`, as Docker merges them.
pub(crate) fn merge(asked: &Config, image: Option<&Config>) -> Config {
    let mut out = asked.clone();
    let Some(image) = image else { return out };
    if out.user.is_empty() {
        out.user.clone_from(&image.user);
    }
    out.exposed_ports
        .extend(image.exposed_ports.iter().map(|(port, e)| (port.clone(), *e)));
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let asked_names: Vec<String> = out.env.iter().map(|e| name(e)).collect();
    let of_image = image.env.iter().filter(|e| !asked_names.contains(&name(e)));
    out.env.extend(of_image.cloned());
    // A name without `=` takes the variable away.
    out.env.retain(|entry| entry.contains('='));
    for (key, value) in &image.labels {
        out.labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    // An entrypoint of one's own drops the image's command; an empty one stands for none at all.
    let own_entrypoint = out.entrypoint.as_ref().is_some_and(|e| !e.is_empty());
    if !own_entrypoint {
        if out.cmd.as_ref().is_none_or(Vec::is_empty) {
            out.cmd.clone_from(&image.cmd);
            out.args_escaped = image.args_escaped;
        }
        out.entrypoint.clone_from(&image.entrypoint);
    }
    if out.entrypoint.as_ref().is_some_and(|e| e.len() == 1 && e[0].is_empty()) {
        out.entrypoint = None;
    }
    if out.working_dir.is_empty() {
        out.working_dir.clone_from(&image.working_dir);
    }
    if let Some(volumes) = &image.volumes {
        let mine = out.volumes.get_or_insert_default();
        for path in volumes.keys() {
            mine.insert(path.clone(), Empty {});
        }
    }
    out.stop_signal = out
        .stop_signal
        .filter(|s| !s.is_empty())
        .or_else(|| image.stop_signal.clone());
    out.stop_timeout = out.stop_timeout.or(image.stop_timeout);
    out.shell = out.shell.or_else(|| image.shell.clone());
    out.healthcheck = match (out.healthcheck, &image.healthcheck) {
        (None, theirs) => theirs.clone(),
        (Some(mut mine), Some(theirs)) => {
            let pick = |own: &mut i64, other: i64| {
                if *own == 0 {
                    *own = other;
                }
            };
            if mine.test.is_empty() {
                mine.test.clone_from(&theirs.test);
            }
            pick(&mut mine.interval, theirs.interval);
            pick(&mut mine.timeout, theirs.timeout);
            pick(&mut mine.start_period, theirs.start_period);
            pick(&mut mine.start_interval, theirs.start_interval);
            pick(&mut mine.retries, theirs.retries);
            Some(mine)
        }
        (mine, None) => mine,
    };
    out
}

/// Program and arguments of a merged config.
pub(crate) fn arguments(config: &Config) -> Vec<String> {
    let parts = config.entrypoint.iter().chain(config.cmd.iter());
    parts.flatten().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&t| t.to_owned()).collect()
    }

    #[test]
    fn the_command_follows_docker_s_rules() {
        let image = Config {
            entrypoint: Some(strings(&["/entry"])),
            cmd: Some(strings(&["default"])),
            env: strings(&["A=1", "B=2"]),
            working_dir: "/srv".to_owned(),
            ..Config::default()
        };
        let check = |entrypoint: Option<&[&str]>, cmd: Option<&[&str]>, expected: &[&str]| {
            let asked = Config {
                entrypoint: entrypoint.map(strings),
                cmd: cmd.map(strings),
                ..Config::default()
            };
            assert_eq!(arguments(&merge(&asked, Some(&image))), expected);
        };
        check(None, None, &["/entry", "default"]);
        check(None, Some(&["x"]), &["/entry", "x"]);
        check(Some(&["/mine"]), None, &["/mine"]);
        check(Some(&["/mine"]), Some(&["x"]), &["/mine", "x"]);
        check(Some(&[""]), Some(&["sh"]), &["sh"]);
    }

    #[test]
    fn the_environment_is_replaced_by_name() {
        let image = Config {
            env: strings(&["A=1", "B=2", "C=3"]),
            ..Config::default()
        };
        let asked = Config {
            env: strings(&["B=9", "C"]),
            ..Config::default()
        };
        assert_eq!(merge(&asked, Some(&image)).env, strings(&["B=9", "A=1"]));
    }
}
