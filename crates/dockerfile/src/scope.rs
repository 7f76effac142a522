//! Which variables there are, and what instructions say once they are replaced.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hull_spec::Platform;

use crate::environment::Environment;
use crate::error::{Error, Located, Near, Problem, TransferProblem};
use crate::expand::{Expanded, Expander};
use crate::instruction::{Add, Argument, Command, Copy, Files, Instruction, Mount, Run};
use crate::mode::Mode;
use crate::parse::{Dockerfile, Stage};
use crate::port;
use crate::remote::{self, Location};
use crate::source::Word;
use crate::suggest::nearest;
use crate::token::Pair;

/// What is looked for where nothing says where to look for programs.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Build arguments that no `ARG` has to declare.
const PREDEFINED: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Variables that steer the build and are no variables of its steps.
const STEERING: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// What is given to a build from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// `--build-arg`.
    pub arguments: BTreeMap<String, String>,
    /// Where it builds.
    pub build: Platform,
    /// What it builds for.
    pub platform: Platform,
    /// `--target`.
    pub target: Option<String>,
}

impl Default for Parameters {
    /// Nothing given, for the host.
    fn default() -> Self {
        Self {
            arguments: BTreeMap::new(),
            build: Platform::host(),
            platform: Platform::host(),
            target: None,
        }
    }
}

/// The variables that `FROM` sees: those of the platforms, and the `ARG`s before the first `FROM`.
#[derive(Clone, Debug)]
pub struct Globals {
    variables: Environment,
    arguments: BTreeMap<String, String>,
    declared: BTreeSet<String>,
    expander: Expander,
}

/// What `FROM` says once its variables are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// An image, a stage or `scratch`.
    pub name: Expanded,
    /// `--platform`.
    pub platform: Option<Platform>,
    /// `--platform` as it was read, for the lint rules.
    pub(crate) platform_text: Option<Expanded>,
}

impl Globals {
    /// The global variables of a build.
    ///
    /// # Errors
    /// What is wrong with the default of an `ARG`.
    pub fn new(file: &Dockerfile, parameters: &Parameters) -> Result<Self, Error> {
        let mut out = Self {
            variables: Environment::default(),
            arguments: parameters.arguments.clone(),
            declared: BTreeSet::new(),
            expander: Expander::new(file.escape()),
        };
        let last = file.stages.last().and_then(|stage| stage.name.as_deref());
        let target = parameters.target.as_deref().or(last).unwrap_or("default");
        let platforms = [("BUILD", &parameters.build), ("TARGET", &parameters.platform)];
        let mut predefined = vec![("TARGETSTAGE".to_owned(), target.to_owned())];
        for (side, platform) in platforms {
            let platform = shown(platform);
            predefined.extend([
                (format!("{side}PLATFORM"), platform.to_string()),
                (format!("{side}OS"), platform.os.clone()),
                (
                    format!("{side}OSVERSION"),
                    platform.os_version.clone().unwrap_or_default(),
                ),
                (format!("{side}ARCH"), platform.architecture.clone()),
                (format!("{side}VARIANT"), platform.variant.clone().unwrap_or_default()),
            ]);
        }
        let fail = |span, problem| file.error(span, problem);
        for (name, value) in predefined {
            let value = out.arguments.get(&name).cloned().unwrap_or(value);
            out.variables
                .set(&name, &value)
                .map_err(|problem| fail(crate::Span::default(), problem))?;
        }
        let arguments = file
            .globals
            .iter()
            .filter_map(|instruction| match &instruction.command {
                Command::Arg(arguments) => Some(arguments),
                _ => None,
            });
        let mut made = 0;
        for argument in arguments.flatten() {
            let name = &argument.name.text;
            out.declared.insert(name.clone());
            let value = match (out.arguments.get(name), &argument.value) {
                (Some(given), _) => given.clone(),
                (None, Some(default)) => {
                    let expanded = out.expander.word(&default.text, &out.variables);
                    let text = expanded.map_err(|problem| fail(default.span, problem))?.text;
                    spend(&mut made, text.len()).map_err(|problem| fail(default.span, problem))?;
                    text
                }
                (None, None) => continue,
            };
            out.variables
                .set(name, &value)
                .map_err(|problem| fail(argument.name.span, problem))?;
        }
        Ok(out)
    }

    /// The variables.
    #[must_use]
    pub fn variables(&self) -> &Environment {
        &self.variables
    }

    /// Whether `FROM` may use a name, whether it has a value or not.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.variables.get(name).is_some() || self.declared.contains(name)
    }

    /// All names that `FROM` may use.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.names().chain(self.declared.iter().map(String::as_str))
    }

    /// A word of `FROM`, with its variables replaced.
    pub(crate) fn expand(&self, word: &Word) -> Result<Expanded, Problem> {
        self.expander.word(&word.text, &self.variables)
    }

    /// The base of a stage.
    ///
    /// # Errors
    /// What is wrong with the name or the platform.
    pub fn base(&self, stage: &Stage) -> Result<Base, Located> {
        let from = &stage.from;
        let expand = |word: &Word| self.expand(word).map_err(|problem| (problem, word.span));
        let name = expand(&from.base)?;
        if name.text.is_empty() {
            let problem = Problem::BlankBase {
                name: from.base.text.clone(),
            };
            return Err((problem, from.base.span));
        }
        let mut base = Base {
            name,
            platform: None,
            platform_text: None,
        };
        if let Some(word) = &from.platform {
            let text = expand(word)?;
            let near = || {
                let mut missing = text.missing.iter();
                let found = missing.find_map(|name| nearest(name, self.variables.names()));
                Near(found.map(str::to_owned))
            };
            let expression = word.text.clone();
            if text.text.is_empty() {
                return Err((
                    Problem::EmptyPlatform {
                        expression,
                        near: near(),
                    },
                    word.span,
                ));
            }
            let parsed = text.text.parse().map_err(|reason| {
                let near = near();
                let problem = Problem::Platform {
                    expression,
                    reason,
                    near,
                };
                (problem, word.span)
            });
            base.platform = Some(parsed?);
            base.platform_text = Some(text);
        }
        Ok(base)
    }

    /// The proxy variables that every `RUN` gets, although no `ARG` declares them and no layer remembers them.
    pub fn proxies(&self) -> impl Iterator<Item = (&str, &str)> {
        let given = self
            .arguments
            .iter()
            .filter(|(name, _)| PREDEFINED.contains(&name.as_str()));
        given.map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Docker leaves out the variant that every machine of an architecture has.
pub(crate) fn shown(platform: &Platform) -> Platform {
    let mut out = platform.normalized();
    if out.architecture == "arm64" && out.variant.as_deref() == Some("v8") {
        out.variant = None;
    }
    out
}

/// The build arguments that nothing in the file asks for.
#[must_use]
pub fn unused_arguments(file: &Dockerfile, arguments: &BTreeMap<String, String>) -> Vec<String> {
    let declared: BTreeSet<&str> = file
        .instructions()
        .filter_map(|instruction| match &instruction.command {
            Command::Arg(arguments) => Some(arguments),
            _ => None,
        })
        .flatten()
        .map(|argument| argument.name.text.as_str())
        .collect();
    let steering = |name: &str| name.starts_with("BUILDKIT_") || name == "SOURCE_DATE_EPOCH";
    let unused = arguments
        .keys()
        .filter(|name| !declared.contains(name.as_str()) && !PREDEFINED.contains(&name.as_str()) && !steering(name));
    unused.cloned().collect()
}

/// The variables of a stage while its instructions are walked through.
#[derive(Clone, Debug)]
pub struct Scope<'g> {
    globals: &'g Globals,
    /// What the image's config says: the base's variables and those of `ENV`.
    config: Environment,
    /// What steps see: the same, and those of `ARG`.
    variables: Environment,
    /// What `ARG` declared, in order, each name once.
    arguments: Vec<(String, Option<String>)>,
    /// Where a name is in `arguments`.
    declared: HashMap<String, usize>,
    /// The bytes that all replacing has made so far.
    made: usize,
}

/// An instruction whose variables are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The instruction.
    pub command: Command,
    /// The mounts of a `RUN`.
    pub mounts: Vec<Mount>,
    /// The ports of an `EXPOSE`, as `port/protocol`.
    pub ports: Vec<String>,
    /// Variables that nothing set, with the word that they stand in.
    pub missing: Vec<(String, Word)>,
}

impl<'g> Scope<'g> {
    /// The variables of a stage on an image whose config has these. `PATH` is set where the image does not set it.
    ///
    /// # Errors
    /// [`Problem::TooLarge`].
    pub fn new<'a>(globals: &'g Globals, config: impl IntoIterator<Item = &'a str>) -> Result<Self, Problem> {
        let mut config = Environment::from_lines(config)?;
        if config.get("PATH").is_none() {
            config.set("PATH", DEFAULT_PATH)?;
        }
        Ok(Self {
            globals,
            variables: config.clone(),
            config,
            arguments: Vec::new(),
            declared: HashMap::new(),
            made: 0,
        })
    }

    /// What the image's config says.
    #[must_use]
    pub fn config(&self) -> &Environment {
        &self.config
    }

    /// What steps see.
    #[must_use]
    pub fn variables(&self) -> &Environment {
        &self.variables
    }

    /// What `ARG` declared so far, with the values that hold now: the history of a `RUN` names them.
    #[must_use]
    pub fn arguments(&self) -> Vec<(&str, &str)> {
        let held = self.arguments.iter().map(|(name, value)| {
            let value = self.variables.get(name).or(value.as_deref());
            (name.as_str(), value.unwrap_or_default())
        });
        held.collect()
    }

    /// Replaces the variables of an instruction, and does what it does to variables.
    ///
    /// # Errors
    /// What is wrong with a word, and where.
    pub fn resolve(&mut self, instruction: &Instruction) -> Result<Resolved, Located> {
        let mut out = Resolved {
            command: instruction.command.clone(),
            mounts: Vec::new(),
            ports: Vec::new(),
            missing: Vec::new(),
        };
        match &mut out.command {
            Command::Env(pairs) => {
                self.pairs(pairs, &mut out.missing)?;
                for pair in pairs {
                    let (name, value) = (&pair.name.text, &pair.value.text);
                    let set = self
                        .config
                        .set(name, value)
                        .and_then(|()| self.variables.set(name, value));
                    set.map_err(|problem| (problem, pair.name.span))?;
                }
            }
            Command::Arg(arguments) => {
                for argument in arguments {
                    self.declare(argument, &mut out.missing)?;
                }
            }
            Command::Label(pairs) => self.pairs(pairs, &mut out.missing)?,
            Command::Copy(copy) => self.copy(copy, &mut out.missing)?,
            Command::Add(add) => self.add(add, &mut out.missing)?,
            Command::Workdir(word) | Command::User(word) | Command::Stopsignal(word) => {
                self.word(word, &mut out.missing)?;
            }
            Command::Volume(words) => {
                for word in words {
                    self.word(word, &mut out.missing)?;
                    if word.text.is_empty() {
                        return Err((Problem::EmptyVolume, word.span));
                    }
                }
            }
            Command::Expose(words) => out.ports = self.expose(words)?,
            Command::Run(run) => out.mounts = self.mounts(run, &mut out.missing)?,
            Command::Cmd(_)
            | Command::Entrypoint(_)
            | Command::From(_)
            | Command::Healthcheck(_)
            | Command::Maintainer(_)
            | Command::Onbuild(_)
            | Command::Shell(_) => {}
        }
        Ok(out)
    }

    fn expand(
        &mut self,
        expander: Expander,
        word: &Word,
        missing: &mut Vec<(String, Word)>,
    ) -> Result<String, Problem> {
        let out = expander.word(&word.text, &self.variables)?;
        spend(&mut self.made, out.text.len())?;
        let unknown = out
            .missing
            .into_iter()
            .filter(|name| !self.declared.contains_key(name) && !STEERING.contains(&name.as_str()));
        missing.extend(unknown.map(|name| (name, word.with(String::new()))));
        Ok(out.text)
    }

    fn word(&mut self, word: &mut Word, missing: &mut Vec<(String, Word)>) -> Result<(), Located> {
        let text = self.expand(self.globals.expander, word, missing);
        word.text = text.map_err(|problem| (problem, word.span))?;
        Ok(())
    }

    fn pairs(&mut self, pairs: &mut [Pair], missing: &mut Vec<(String, Word)>) -> Result<(), Located> {
        for pair in pairs {
            self.word(&mut pair.name, missing)?;
            self.word(&mut pair.value, missing)?;
        }
        Ok(())
    }

    /// An `ARG` takes what is given from outside, else its default, else the global of its name.
    fn declare(&mut self, argument: &mut Argument, missing: &mut Vec<(String, Word)>) -> Result<(), Located> {
        let name = argument.name.text.clone();
        let given = self.globals.arguments.get(&name).map(String::as_str);
        match (given, &mut argument.value) {
            (Some(given), _) => argument.value = Some(argument.name.with(given)),
            (None, Some(default)) => self.word(default, missing)?,
            (None, None) => {
                let global = self.globals.variables.get(&name);
                argument.value = global.map(|value| argument.name.with(value));
            }
        }
        let value = argument.value.as_ref().map(|value| value.text.clone());
        if let Some(value) = &value
            && !STEERING.contains(&name.as_str())
        {
            let set = self.variables.set(&name, value);
            set.map_err(|problem| (problem, argument.name.span))?;
        }
        match self.declared.get(&name) {
            Some(place) => self.arguments[*place].1 = value,
            None => {
                self.declared.insert(name.clone(), self.arguments.len());
                self.arguments.push((name, value));
            }
        }
        Ok(())
    }

    fn files(&mut self, files: &mut Files, missing: &mut Vec<(String, Word)>) -> Result<(), Located> {
        for word in files.chown.iter_mut().chain(&mut files.chmod) {
            self.word(word, missing)?;
        }
        for word in files.sources.iter_mut().chain([&mut files.destination]) {
            self.word(word, missing)?;
        }
        for content in files.contents.iter_mut().filter(|content| content.expand) {
            let word = content.name.with(std::mem::take(&mut content.data));
            let text = self.expand(Expander::of_heredoc(), &word, missing);
            content.data = text.map_err(|problem| (problem, word.span))?;
        }
        // An empty mode leaves the permissions as they are.
        if let Some(word) = files.chmod.as_ref().filter(|word| !word.text.is_empty()) {
            Mode::parse(&word.text).map_err(|problem| (problem.into(), word.span))?;
        }
        Ok(())
    }

    fn copy(&mut self, copy: &mut Copy, missing: &mut Vec<(String, Word)>) -> Result<(), Located> {
        self.files(&mut copy.files, missing)?;
        for source in &copy.files.sources {
            let problem = match remote::locate(&source.text) {
                Ok(Location::Http) => TransferProblem::Url,
                Ok(Location::Git(_)) => TransferProblem::Git,
                Ok(Location::Local) | Err(_) => continue,
            };
            return Err((problem.into(), source.span));
        }
        Ok(())
    }

    fn add(&mut self, add: &mut Add, missing: &mut Vec<(String, Word)>) -> Result<(), Located> {
        self.files(&mut add.files, missing)?;
        if let Some(word) = &mut add.checksum {
            self.word(word, missing)?;
        }
        let Some(word) = add.checksum.as_ref().filter(|word| !word.text.is_empty()) else {
            return Ok(());
        };
        let problem = match add.files.sources.as_slice() {
            [source] if remote::locate(&source.text) == Ok(Location::Local) => TransferProblem::ChecksumOfLocal,
            [_] => return Ok(()),
            _ => TransferProblem::ChecksumOfMany,
        };
        Err((problem.into(), word.span))
    }

    fn expose(&mut self, words: &mut Vec<Word>) -> Result<Vec<String>, Located> {
        let (mut ports, mut found) = (Vec::new(), Vec::new());
        for word in words.iter() {
            let at = |problem| (problem, word.span);
            let (texts, _) = self.globals.expander.words(&word.text, &self.variables).map_err(at)?;
            spend(&mut self.made, word.text.len()).map_err(at)?;
            for text in texts {
                ports.extend(port::read(&text).map_err(|problem| at(problem.into()))?.ports);
                found.push(word.with(text));
            }
            if ports.len() > PORTS_MAX {
                return Err(at(Problem::TooLarge {
                    what: "the list of ports",
                    limit: PORTS_MAX,
                }));
            }
        }
        *words = found;
        Ok(ports)
    }

    fn mounts(&mut self, run: &Run, missing: &mut Vec<(String, Word)>) -> Result<Vec<Mount>, Located> {
        let expander = self.globals.expander;
        let mounts = run
            .mounts
            .iter()
            .map(|flag| flag.resolve(&mut |word| self.expand(expander, word, missing)));
        mounts.collect()
    }
}

/// The most bytes that replacing may make of a whole file: variables in variables could make any number of them.
const MADE_MAX: usize = 64 << 20;

fn spend(made: &mut usize, bytes: usize) -> Result<(), Problem> {
    *made += bytes;
    if *made > MADE_MAX {
        return Err(Problem::TooLarge {
            what: "the Dockerfile with its variables replaced",
            limit: MADE_MAX,
        });
    }
    Ok(())
}

/// The most ports of one instruction: all that there are, of each protocol.
const PORTS_MAX: usize = 3 << 16;
