//! kill -9 during each verb: of the command, of the monitors, or of both. What must hold afterwards is said by the verb's
//! row: the container is still there under the name that it should have, every line that it had written before the kill is
//! in its log once and in order, its volume keeps its file, what is shown is true, and nothing is left when it is removed.

use std::collections::BTreeMap;
use std::time::Duration;

use hull_testkit::{Host, wait};

use super::{Random, Victim, check_truth, end, rounds, strike};
use crate::{machine, words};

/// What is there when the verb begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Nothing,
    Created,
    Running,
    Paused,
    Exited,
    /// A pod with one more container, made and never started.
    Pod,
    /// A pod that runs.
    RunningPod,
}

/// A verb and what it may do to the container.
struct Row {
    stage: Stage,
    line: &'static str,
    /// More flags of the container.
    flags: &'static str,
    /// Whether it may be gone afterwards.
    may_go: bool,
    /// Whether it must run, if nobody ended it: with a restart policy somebody starts it again.
    runs: bool,
}

const fn row(stage: Stage, line: &'static str) -> Row {
    Row {
        stage,
        line,
        flags: "",
        may_go: false,
        runs: false,
    }
}

impl Row {
    const fn with(self, flags: &'static str) -> Self {
        Self { flags, ..self }
    }

    const fn may_go(self) -> Self {
        Self { may_go: true, ..self }
    }

    const fn runs(self) -> Self {
        Self { runs: true, ..self }
    }
}

/// Names its run, and tells the folder that it shares with the test of each line once it has written it.
const SCRIPT: &str = "trap 'exit 3' TERM; read run </proc/sys/kernel/random/uuid; i=0; \
    while :; do echo $run $i; i=$((i+1)); echo $run $i >>/shared/written; usleep 300; done";

struct Field {
    host: Host,
    image: String,
    random: Random,
    seed: u64,
}

impl Field {
    fn new() -> Option<Self> {
        let (host, image) = machine()?;
        for folder in ["shared", "out"] {
            std::fs::create_dir(host.path(folder)).unwrap();
        }
        std::fs::write(host.path("out/file"), vec![b'x'; 300_000]).unwrap();
        // What every first one makes.
        host.ok(words(&format!("run --rm -v vv:/vol -p 8099:80 {image} true")));
        host.ok(words("volume rm vv"));
        host.ok(words("pod create --name pp"));
        host.ok(words("pod rm pp"));
        let seed = u64::from(std::process::id()) | 1;
        let random = Random(seed);
        Some(Self {
            host,
            image,
            random,
            seed,
        })
    }

    /// Kills during each verb, and looks for leaks after each.
    fn all(&mut self, rows: &[Row]) {
        let before = self.host.traces();
        for row in rows {
            for round in 0..rounds(2) {
                self.round(row, round);
            }
            // What a killed commit leaves goes with the next command that writes the store.
            self.host.ok(words("image prune -f"));
            let words = row.line;
            let clean = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.host.assert_clean(&before)));
            assert!(clean.is_ok(), "`{words}` leaks, seed {}", self.seed);
        }
    }

    fn round(&mut self, row: &Row, round: u64) {
        let victim = [Victim::Command, Victim::Monitor, Victim::Both][usize::try_from(self.random.below(3)).unwrap()];
        let span = [6_000, 40_000][usize::try_from(self.random.below(2)).unwrap()];
        let after = Duration::from_micros(self.random.below(span));
        let context = format!(
            "`{}` {:?} {}, seed {}, round {round}, {victim:?} after {after:?}",
            row.line, row.stage, row.flags, self.seed
        );
        let id = self.set(row);
        let host = &self.host;
        let line = row
            .line
            .replace("IMAGE", &self.image)
            .replace("OUT", host.path("out").to_str().unwrap());
        let mut counted = BTreeMap::new();
        let command = strike(host, &words(&line), victim, after, &mut || counted = written(host));
        check_truth(host, &context);
        if let Some(id) = &id {
            self.check_container(row, id, &counted, victim, &context);
        }
        self.check_things(&context);
        end(host, command, &context);
        self.clear(&context);
    }

    /// Makes what the verb works on and returns the container's ID.
    fn set(&self, row: &Row) -> Option<String> {
        let host = &self.host;
        let shared = host.path("shared");
        let _ = std::fs::remove_file(shared.join("written"));
        let in_pod = matches!(row.stage, Stage::Pod | Stage::RunningPod);
        if in_pod {
            host.ok(words("pod create --name pp -p 8099:80"));
        }
        if row.stage == Stage::Nothing {
            return None;
        }
        let place = if in_pod { "--pod pp" } else { "-p 8099:80" };
        let line = format!(
            "create --name cc {place} --stop-timeout 0 -v vv:/vol -v {}:/shared {} {}",
            shared.display(),
            row.flags,
            self.image
        );
        let mut line = words(&line);
        line.extend(["sh", "-c", SCRIPT]);
        let id = host.ok(line);
        match row.stage {
            Stage::Created | Stage::Pod | Stage::Nothing => {}
            Stage::RunningPod => drop(host.ok(words("pod start pp"))),
            Stage::Running | Stage::Paused | Stage::Exited => {
                host.ok(words("start cc"));
                wait::until("a first line", || (!written(host).is_empty()).then_some(()));
                match row.stage {
                    Stage::Paused => drop(host.ok(words("pause cc"))),
                    Stage::Exited => drop(host.ok(words("kill cc"))),
                    _ => {}
                }
            }
        }
        std::fs::write(host.data().join("volumes/vv/_data/kept"), "whole").unwrap();
        Some(id)
    }

    fn check_container(&self, row: &Row, id: &str, counted: &BTreeMap<String, u64>, victim: Victim, context: &str) {
        let host = &self.host;
        let look = host.hull([
            "inspect",
            "-f",
            "{{.Name}} {{.State.Status}} {{.HostConfig.Memory}}",
            id,
        ]);
        if look.code() != 0 && row.may_go {
            return;
        }
        let look = look.ok().stdout;
        let (name, _) = look.trim().split_once(' ').unwrap();
        let named: &[&str] = if row.line.starts_with("rename") {
            &["/cc", "/dd"]
        } else {
            &["/cc"]
        };
        assert!(named.contains(&name), "{context}: {look}");
        let by_name = host.hull(["inspect", "-f", "{{.Id}}", &name[1..]]);
        assert_eq!(by_name.stdout.trim(), id, "{context}: {by_name:?}");
        let kept = host.data().join("volumes/vv/_data/kept");
        assert_eq!(std::fs::read_to_string(kept).unwrap(), "whole", "{context}");
        if row.runs {
            let state = || host.ok(["inspect", "-f", "{{.State.Status}}", id]);
            let runs = wait::within(Duration::from_secs(10), || {
                host.ok(["ps", "-q"]);
                (state() == "running").then_some(())
            });
            assert!(runs.is_some(), "{context}: it is {}", state());
        }
        let status = host.ok(["inspect", "-f", "{{.State.Status}} {{.State.StartedAt}}", id]);
        let now = written(host);
        let runs = status.starts_with("running");
        let due: BTreeMap<String, u64> = match victim {
            // One that still runs has lost nothing of what it has written since, either.
            Victim::Command if runs => now,
            Victim::Command => counted.clone(),
            // What nobody had read when a container ended that had no monitor went with its pipes. Of a run that goes on all
            // is there, and of no run is anything there twice.
            _ => {
                let live = if runs { writing_run(host) } else { None };
                now.into_iter().filter(|(run, _)| live.as_ref() == Some(run)).collect()
            }
        };
        let mut missing = String::new();
        let whole = wait::within(Duration::from_secs(5), || {
            let log = host.hull(["logs", id]);
            missing = gaps(&log.stdout, &due).unwrap_or_default();
            missing.is_empty().then_some(())
        });
        assert!(whole.is_some(), "{context}, now {status}: {missing}");
    }

    /// Whatever else a verb has left is whole.
    fn check_things(&self, context: &str) {
        let host = &self.host;
        for list in ["images -q", "volume ls -q", "pod ps -q"] {
            let run = host.hull(words(list));
            assert_eq!(run.code(), 0, "{context}: {run:?}");
        }
        if !host.ok(words("images -q made")).is_empty() {
            let run = host.hull(words("run --rm --network none made true"));
            assert_eq!(run.code(), 0, "{context}: {run:?}");
            host.ok(words("rmi -f made"));
        }
    }

    fn clear(&self, context: &str) {
        let host = &self.host;
        let pods = host.ok(words("pod ps -q"));
        if !pods.is_empty() {
            host.ok(["pod", "rm", "-f", "-t", "0"].into_iter().chain(pods.lines()));
        }
        super::remove_all(host, context);
        let volumes = host.ok(words("volume ls -q"));
        if !volumes.is_empty() {
            host.ok(["volume", "rm"].into_iter().chain(volumes.lines()));
        }
        for entry in std::fs::read_dir(host.path("out")).unwrap().flatten() {
            if entry.file_name() != "file" {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
    }
}

/// How many lines each run of the container says to have written.
fn written(host: &Host) -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(host.path("shared/written")).unwrap_or_default();
    // The last line may be on its way.
    let whole = &text[..text.rfind('\n').map_or(0, |at| at + 1)];
    let lines = whole.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(run, count)| (run.to_owned(), count.parse().unwrap()))
        .collect()
}

/// The run that is writing.
fn writing_run(host: &Host) -> Option<String> {
    let before = written(host);
    wait::within(Duration::from_secs(5), || {
        let now = written(host).into_iter();
        let mut grown = now.filter(|(run, count)| before.get(run).is_none_or(|earlier| count > earlier));
        grown.next().map(|(run, _)| run)
    })
}

/// What is wrong with a log in which each run should have written so many lines: the first line that is missing, there
/// twice, or out of order.
fn gaps(log: &str, due: &BTreeMap<String, u64>) -> Option<String> {
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for line in log.lines() {
        let (run, number) = line.split_once(' ')?;
        let next = seen.entry(run).or_default();
        if number.parse() != Ok(*next) {
            return Some(format!("line `{line}` where {next} should be"));
        }
        *next += 1;
    }
    due.iter().find_map(|(run, count)| {
        let found = seen.get(run.as_str()).copied().unwrap_or_default();
        (found < *count).then(|| format!("run {run} wrote {count} lines, {found} are in the log"))
    })
}

#[test]
fn privileged_kill_loop_over_a_running_container() {
    let Some(mut field) = Field::new() else { return };
    use Stage::{Paused, Running};
    field.all(&[
        row(Running, "restart -t 0 cc"),
        row(Running, "restart cc").with("--rm").may_go(),
        row(Running, "pause cc"),
        row(Paused, "unpause cc"),
        row(Paused, "stop -t 0 cc"),
        row(Running, "rename cc dd"),
        row(Running, "update -m 64m --memory-swap 64m --cpus 0.9 cc"),
        row(Running, "update --restart always cc"),
        row(Running, "wait cc"),
        row(Running, "attach --no-stdin cc"),
        row(Running, "exec cc true"),
        row(Running, "exec -d cc sleep 1000"),
        row(Running, "stop -t 0 cc"),
        row(Running, "kill cc"),
        row(Running, "rm -f cc").may_go(),
    ]);
}

#[test]
fn privileged_kill_loop_over_files() {
    let Some(mut field) = Field::new() else { return };
    use Stage::{Exited, Running};
    field.all(&[
        row(Running, "cp OUT/file cc:/tmp"),
        row(Running, "cp cc:/bin/busybox OUT/copy"),
        row(Exited, "cp OUT/file cc:/tmp"),
        row(Exited, "cp OUT/file cc:/vol"),
        row(Exited, "cp cc:/bin/busybox OUT/copy"),
        row(Running, "diff cc"),
        row(Exited, "diff cc"),
        row(Running, "commit cc made"),
        row(Exited, "commit cc made"),
        row(Running, "export -o OUT/export cc"),
        row(Exited, "export -o OUT/export cc"),
        row(Exited, "volume create other"),
        row(Exited, "volume rm vv"),
        row(Exited, "volume prune -af"),
    ]);
}

#[test]
fn privileged_kill_loop_over_stopped_containers_and_pods() {
    let Some(mut field) = Field::new() else { return };
    use Stage::{Created, Exited, Nothing, Pod, RunningPod};
    field.all(&[
        row(
            Nothing,
            "create --name cc -v vv:/vol -v /anonymous -p 8099:80 IMAGE true",
        ),
        row(Created, "start cc"),
        row(Exited, "start cc"),
        row(Exited, "restart cc"),
        row(Exited, "rename cc dd"),
        row(Exited, "update --restart on-failure cc"),
        row(Exited, "container prune -f").may_go(),
        row(Exited, "rm -v cc").may_go(),
        row(Nothing, "pod create --name pp -p 8099:80"),
        row(Pod, "pod start pp"),
        row(RunningPod, "pod stop -t 0 pp"),
        row(RunningPod, "pod rm -f -t 0 pp").may_go(),
        row(Pod, "pod rm -f -t 0 pp").may_go(),
    ]);
}

#[test]
fn privileged_kill_loop_over_supervision() {
    let Some(mut field) = Field::new() else { return };
    use Stage::{Created, Exited, Running};
    field.all(&[
        row(Running, "exec cc kill -TERM 1").with("--restart always").runs(),
        row(Running, "restart -t 0 cc").with("--restart always"),
        row(Running, "stop -t 0 cc").with("--restart always"),
        row(Running, "ps").with("--health-cmd true --health-interval 5ms"),
        row(Running, "exec cc rm /bin/true")
            .with("--health-cmd /bin/true --health-interval 5ms --health-retries 1 --health-on-failure restart"),
        row(Created, "start cc").with("--health-cmd true --health-interval 5ms"),
        row(Running, "system boot").with("--restart always"),
        row(Running, "system shutdown").with("--restart always"),
        row(Exited, "system boot").with("--restart always"),
        row(Running, "ps -a"),
        row(Running, "container prune -f"),
    ]);
}

#[test]
fn privileged_a_flood_survives_its_monitors() {
    let Some((host, image)) = machine() else { return };
    let script = "i=0; while [ $i -lt 60000 ]; do echo run $i; i=$((i+1)); done; sleep 1000";
    let mut line: Vec<&str> = vec!["run", "-d", "--name", "cc", &image, "sh", "-c", script];
    let id = host.ok(line.drain(..));
    let mut random = Random(u64::from(std::process::id()) | 1);
    let due = BTreeMap::from([("run".to_owned(), 60_000)]);
    for _ in 0..rounds(12) {
        std::thread::sleep(Duration::from_micros(random.below(30_000)));
        super::own(&host).into_iter().for_each(super::kill);
        host.ok(["ps", "-q"]);
    }
    let mut wrong = None;
    wait::within(Duration::from_secs(20), || {
        wrong = gaps(&host.ok(["logs", &id]), &due);
        wrong.is_none().then_some(())
    });
    assert_eq!(wrong, None);
    host.ok(["rm", "-f", "cc"]);
}
