//! Wall time of commands, measured in turn.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// A command that is measured, with what has to be done before each of its runs.
pub(crate) struct Contender {
    pub(crate) name: String,
    words: Vec<String>,
    env: Vec<(String, PathBuf)>,
    before: Option<Box<dyn Fn() -> Result<()>>>,
    rounds: Option<usize>,
}

impl Contender {
    pub(crate) fn new(name: &str, words: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            words,
            env: Vec::new(),
            before: None,
            rounds: None,
        }
    }

    pub(crate) fn of(name: &str, line: &str) -> Self {
        Self::new(name, line.split(' ').map(str::to_owned).collect())
    }

    /// A line for the shell.
    pub(crate) fn shell(name: &str, line: &str) -> Self {
        Self::new(name, vec!["sh".into(), "-ec".into(), line.into()])
    }

    pub(crate) fn env(mut self, name: &str, value: PathBuf) -> Self {
        self.env.push((name.to_owned(), value));
        self
    }

    /// What to do before each run, outside the time.
    pub(crate) fn before(mut self, act: impl Fn() -> Result<()> + 'static) -> Self {
        self.before = Some(Box::new(act));
        self
    }

    /// Takes part in that many rounds only: for what takes long.
    pub(crate) fn rounds(mut self, rounds: usize) -> Self {
        self.rounds = Some(rounds);
        self
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command
            .args(&self.words[1..])
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/");
        command
    }

    /// Runs it once, unmeasured; it must succeed.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(before) = &self.before {
            before()?;
        }
        let output = self
            .command()
            .stderr(Stdio::piped())
            .output()
            .with_context(|| format!("run {}", self.name))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.success(),
            "{}: `{}` ended with {}: {said}",
            self.name,
            self.words.join(" "),
            output.status
        );
        Ok(())
    }

    /// Runs it once; it must succeed.
    pub(crate) fn time(&self) -> Result<Duration> {
        if let Some(before) = &self.before {
            before()?;
        }
        let mut command = self.command();
        let start = Instant::now();
        let status = command.status().with_context(|| format!("run {}", self.name))?;
        let took = start.elapsed();
        ensure!(
            status.success(),
            "{}: `{}` ended with {status}",
            self.name,
            self.words.join(" ")
        );
        Ok(took)
    }
}

/// The wall times of one contender.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn push(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// The middle of the times, the least disturbed figure that is still typical.
    pub(crate) fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

/// Measures the contenders in turn, `rounds` times, after one run each that does not count.
pub(crate) fn in_turn(rounds: usize, contenders: &[Contender]) -> Result<Vec<Times>> {
    for contender in contenders {
        contender.check()?;
    }
    let mut times = vec![Times::default(); contenders.len()];
    for round in 0..rounds {
        for (contender, times) in contenders.iter().zip(&mut times) {
            if round < contender.rounds.unwrap_or(rounds) {
                times.0.push(contender.time()?);
            }
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_each_in_turn() {
        let slow = Contender::shell("slow", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done").rounds(2);
        let times = in_turn(3, &[Contender::of("fast", "true"), slow]).unwrap();
        assert_eq!((times[0].0.len(), times[1].0.len()), (3, 2));
        assert!(times[0].median() < times[1].median());
        assert!(in_turn(1, &[Contender::of("bad", "false")]).is_err());
    }

    #[test]
    fn the_median_is_the_middle() {
        let ms = Duration::from_millis;
        assert_eq!(Times(vec![ms(9), ms(1), ms(2)]).median(), ms(2));
        assert_eq!(Times::default().median(), ms(0));
    }
}
