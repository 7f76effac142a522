//! The build graph: what each step needs, and which steps a target needs.
//!
//! A node is a step of a stage, or something from outside: an image, the build context, a named context. What has to be
//! asked from outside first, the `ONBUILD` instructions of a base image, is given with the request; a caller that does not
//! know them yet plans without, asks for the images that are needed, and plans again.

mod reference;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hull_spec::Platform;

use crate::error::{Error, Located, Near, Problem};
use crate::expand::Expander;
use crate::instruction::{Command, Instruction, MountType};
use crate::parse::{Dockerfile, parse_trigger};
use crate::remote::{self, Location};
use crate::scope::Globals;
use crate::source::{Span, Word};
use crate::suggest::nearest;

/// What is planned.
#[derive(Clone, Debug, Default)]
pub struct Request<'r> {
    /// `--target`: a stage's name, or its number from 0; the last stage where there is none.
    pub target: Option<&'r str>,
    /// What is built for, where a stage does not say.
    pub platform: Option<Platform>,
    /// The names of `--build-context`, each as `NAME` or `NAME::PLATFORM`.
    pub contexts: BTreeSet<String>,
    /// The `ONBUILD` instructions of the base images, by stage.
    pub triggers: BTreeMap<usize, Vec<String>>,
}

/// The number of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(usize);

/// One thing that is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// What it needs, in the order of the instruction's words.
    pub inputs: Vec<Input>,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// No files.
    Scratch,
    /// An image.
    Image(Image),
    /// The build context.
    Context,
    /// A `--build-context`, by the name that it was given with.
    NamedContext(String),
    /// A step of a stage, by their numbers.
    Step {
        /// In [`Graph::stages`].
        stage: usize,
        /// In [`PlannedStage::steps`].
        step: usize,
        /// Whether what it makes does not depend on what is below (`--link`).
        linked: bool,
    },
}

/// An image that is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its name as written, with variables replaced.
    pub name: String,
    /// The platform that it is needed for.
    pub platform: Option<Platform>,
    /// Where it is asked for first.
    pub span: Span,
}

/// What an input is to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The files that the step changes.
    Below,
    /// What `COPY` and `ADD` copy from.
    Source,
    /// What the mount of this number is of.
    Mount(usize),
}

/// An input of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// What it is there for.
    pub role: Role,
    /// The node.
    pub node: NodeId,
}

/// A stage as it will be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStage {
    /// Its name, or `stage-N`.
    pub name: String,
    /// What it starts from.
    pub base: NodeId,
    /// The number of the stage that it starts from, where it is one.
    pub base_stage: Option<usize>,
    /// Its platform, where `FROM` or its base say so.
    pub platform: Option<Platform>,
    /// Its instructions: those of `ONBUILD` first.
    pub steps: Vec<Step>,
    /// The node of its last step.
    pub last: NodeId,
}

/// An instruction of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The instruction.
    pub instruction: Instruction,
    /// Whether it is an `ONBUILD` of the base: then its places are those of another text, and [`Step::span`] is the `FROM`.
    pub trigger: bool,
    /// Where a failure of it is shown.
    pub span: Span,
}

/// All stages of a file, and the target among them.
#[derive(Clone, Debug)]
pub struct Graph {
    nodes: Vec<Node>,
    stages: Vec<PlannedStage>,
    target: usize,
    /// Steps that ask for a stage that comes later: a failure if they are needed.
    late: HashMap<NodeId, Located>,
}

impl Graph {
    /// Plans a file.
    ///
    /// # Errors
    /// What is wrong with a `FROM` or a `--from`, stages that need each other, a target that is not there.
    pub fn new(file: &Dockerfile, globals: &Globals, request: &Request<'_>) -> Result<Self, Error> {
        let fail = |(problem, span): Located| file.error(span, problem);
        let mut planner = Planner {
            file,
            globals,
            request,
            nodes: Vec::new(),
            outside: HashMap::new(),
            stages: Vec::new(),
            names: HashMap::new(),
            all_names: names(file),
            edges: vec![Vec::new(); file.stages.len()],
            late: HashMap::new(),
        };
        for number in 0..file.stages.len() {
            planner.stage(number).map_err(fail)?;
        }
        planner.check_cycles().map_err(fail)?;
        let target = planner.target().map_err(|problem| fail((problem, Span::default())))?;
        Ok(Self {
            nodes: planner.nodes,
            stages: planner.stages,
            target,
            late: planner.late,
        })
    }

    /// The stages, in the file's order.
    #[must_use]
    pub fn stages(&self) -> &[PlannedStage] {
        &self.stages
    }

    /// The number of the target's stage.
    #[must_use]
    pub fn target(&self) -> usize {
        self.target
    }

    /// A node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The step of a node that is one.
    #[must_use]
    pub fn step(&self, id: NodeId) -> Option<&Step> {
        match self.node(id).kind {
            NodeKind::Step { stage, step, .. } => self.stages[stage].steps.get(step),
            _ => None,
        }
    }

    /// The nodes that the target needs, each behind its inputs.
    ///
    /// # Errors
    /// A step among them asks for a stage that comes later.
    pub fn needed(&self, file: &Dockerfile) -> Result<Vec<NodeId>, Error> {
        self.needed_by(file, [self.target])
    }

    /// The nodes that some stages need, each behind its inputs.
    ///
    /// # Errors
    /// As [`Graph::needed`].
    pub fn needed_by(&self, file: &Dockerfile, stages: impl IntoIterator<Item = usize>) -> Result<Vec<NodeId>, Error> {
        let mut order = Vec::new();
        let mut seen = vec![false; self.nodes.len()];
        // The way down: a node, and how many of its inputs were looked at. Not recursion: a file may have any number of steps.
        let mut way: Vec<(NodeId, usize)> = Vec::new();
        for stage in stages {
            let Some(stage) = self.stages.get(stage) else { continue };
            if !std::mem::replace(&mut seen[stage.last.0], true) {
                way.push((stage.last, 0));
            }
            while let Some((node, next)) = way.last_mut() {
                let Some(input) = self.nodes[node.0].inputs.get(*next) else {
                    order.push(*node);
                    way.pop();
                    continue;
                };
                *next += 1;
                if !std::mem::replace(&mut seen[input.node.0], true) {
                    way.push((input.node, 0));
                }
            }
        }
        match order.iter().find_map(|node| self.late.get(node)) {
            Some((problem, span)) => Err(file.error(*span, problem.clone())),
            None => Ok(order),
        }
    }

    /// The stages of which some node is among `nodes`.
    #[must_use]
    pub fn stages_of(&self, nodes: &[NodeId]) -> BTreeSet<usize> {
        let stages = nodes.iter().filter_map(|node| match self.node(*node).kind {
            NodeKind::Step { stage, .. } => Some(stage),
            _ => None,
        });
        stages.collect()
    }
}

/// The stage that was probably meant where there is no image of a name.
#[must_use]
pub fn similar_stage(file: &Dockerfile, name: &str) -> Near {
    let names = file.stages.iter().filter_map(|stage| stage.name.as_deref());
    Near(nearest(&name.to_lowercase(), names).map(str::to_owned))
}

/// The last stage of each name.
fn names(file: &Dockerfile) -> HashMap<String, usize> {
    let stages = file.stages.iter().enumerate();
    stages
        .filter_map(|(number, stage)| Some((stage.name.clone()?, number)))
        .collect()
}

struct Planner<'p> {
    file: &'p Dockerfile,
    globals: &'p Globals,
    request: &'p Request<'p>,
    nodes: Vec<Node>,
    /// The nodes of what is outside, so that each is there once.
    outside: HashMap<String, NodeId>,
    stages: Vec<PlannedStage>,
    /// The stages so far, by name.
    names: HashMap<String, usize>,
    all_names: HashMap<String, usize>,
    /// The stages that each stage's steps ask for, with the words that do.
    edges: Vec<Vec<(usize, Span)>>,
    late: HashMap<NodeId, Located>,
}

/// What a `--from` means.
enum From {
    Node(NodeId),
    /// A stage that comes later, or this one.
    Later,
}

impl Planner<'_> {
    fn add(&mut self, kind: NodeKind, inputs: Vec<Input>) -> NodeId {
        self.nodes.push(Node { kind, inputs });
        NodeId(self.nodes.len() - 1)
    }

    fn outside(&mut self, key: String, kind: NodeKind) -> NodeId {
        if let Some(known) = self.outside.get(&key) {
            return *known;
        }
        let node = self.add(kind, Vec::new());
        self.outside.insert(key, node);
        node
    }

    fn context(&mut self) -> NodeId {
        self.outside("context".to_owned(), NodeKind::Context)
    }

    fn stage(&mut self, number: usize) -> Result<(), Located> {
        let file = self.file;
        let stage = &file.stages[number];
        let base = self.globals.base(stage)?;
        let shown = stage.name.clone().unwrap_or_else(|| format!("stage-{number}"));
        let platform = base.platform.clone().or_else(|| self.request.platform.clone());
        let replaced = stage.name.as_ref().and_then(|name| self.named(name, platform.as_ref()));
        let before = self.names.get(&base.name.text.to_lowercase()).copied();
        if let Some(name) = &stage.name {
            self.names.insert(name.clone(), number);
        }
        if let Some(context) = replaced {
            let node = self.outside(format!("named {context}"), NodeKind::NamedContext(context));
            self.stages.push(PlannedStage {
                name: shown,
                base: node,
                base_stage: None,
                platform: base.platform,
                steps: Vec::new(),
                last: node,
            });
            return Ok(());
        }
        let (node, inherited) = match before {
            Some(before) => (self.stages[before].last, self.stages[before].platform.clone()),
            None => (self.external(&base.name.text, platform, stage.from.base.span)?, None),
        };
        let steps = self.steps(number, before)?;
        self.stages.push(PlannedStage {
            name: shown,
            base: node,
            base_stage: before,
            platform: base.platform.or(inherited),
            steps: Vec::new(),
            last: node,
        });
        for (place, step) in steps.iter().enumerate() {
            let last = self.step(number, place, step)?;
            self.stages[number].last = last;
        }
        self.stages[number].steps = steps;
        Ok(())
    }

    /// The base's `ONBUILD` instructions, then the stage's own.
    fn steps(&self, number: usize, before: Option<usize>) -> Result<Vec<Step>, Located> {
        let stage = &self.file.stages[number];
        let span = stage.instruction.span;
        let own = before.map_or(&[][..], |before| &self.stages[before].steps);
        let inherited = own.iter().filter_map(|step| match &step.instruction.command {
            Command::Onbuild(onbuild) => Some(onbuild.expression.as_str()),
            _ => None,
        });
        let given = self.request.triggers.get(&number).map_or(&[][..], Vec::as_slice);
        let mut steps = Vec::with_capacity(stage.instructions.len());
        for expression in given.iter().map(String::as_str).chain(inherited) {
            steps.push(Step {
                instruction: parse_trigger(expression).map_err(|problem| (problem, span))?,
                trigger: true,
                span,
            });
        }
        steps.extend(stage.instructions.iter().map(|instruction| Step {
            instruction: instruction.clone(),
            trigger: false,
            span: instruction.span,
        }));
        Ok(steps)
    }

    fn step(&mut self, stage: usize, step: usize, planned: &Step) -> Result<NodeId, Located> {
        let mut inputs = vec![Input {
            role: Role::Below,
            node: self.stages[stage].last,
        }];
        let (mut late, mut linked) = (None, false);
        let place = |word: &Word| if planned.trigger { planned.span } else { word.span };
        match &planned.instruction.command {
            Command::Copy(copy) => {
                linked = copy.files.link;
                let source = match &copy.from {
                    Some(word) => match self.copy_source(stage, word, place(word))? {
                        From::Node(node) => Some(node),
                        From::Later => {
                            let (from, stage) = (word.text.clone(), self.stages[stage].name.clone());
                            late = Some((Problem::CopyFromLater { from, stage }, place(word)));
                            None
                        }
                    },
                    None if copy.files.sources.is_empty() => None,
                    None => Some(self.context()),
                };
                inputs.extend(source.map(|node| Input {
                    role: Role::Source,
                    node,
                }));
            }
            Command::Add(add) => {
                linked = add.files.link;
                // A variable may turn out to be a path as well as a URL.
                let local = |word: &Word| matches!(remote::locate(&word.text), Ok(Location::Local));
                if add.files.sources.iter().any(local) {
                    let node = self.context();
                    inputs.push(Input {
                        role: Role::Source,
                        node,
                    });
                }
            }
            Command::Run(run) => {
                for (number, mount) in run.mounts.iter().enumerate() {
                    let source = match &mount.from {
                        Some(word) => match self.mount_source(stage, word, place(word))? {
                            From::Node(node) => Some(node),
                            From::Later => {
                                let (from, target) = (word.text.clone(), mount.target().to_owned());
                                late = Some((Problem::MountFromLater { from, target }, place(word)));
                                None
                            }
                        },
                        // Where the type is a variable, it may turn out to be a bind.
                        None if mount.kind().is_none_or(|kind| kind == MountType::Bind) => Some(self.context()),
                        None => None,
                    };
                    let role = Role::Mount(number);
                    inputs.extend(source.map(|node| Input { role, node }));
                }
            }
            _ => {}
        }
        let node = self.add(NodeKind::Step { stage, step, linked }, inputs);
        self.late.extend(late.map(|late| (node, late)));
        Ok(node)
    }

    /// `COPY --from`: a stage's number or name, a named context, an image.
    fn copy_source(&mut self, stage: usize, word: &Word, span: Span) -> Result<From, Located> {
        let expander = Expander::new(self.file.escape());
        let none = crate::environment::Environment::default();
        let expanded = expander.word(&word.text, &none).map_err(|problem| (problem, span))?;
        if expanded.text != word.text {
            return Err((Problem::VariableInFrom, span));
        }
        match word.text.parse::<i64>() {
            Ok(index) => {
                let found = usize::try_from(index)
                    .ok()
                    .filter(|index| *index < self.file.stages.len());
                let index = word.text.clone();
                let found = found.ok_or((Problem::StageIndex { index }, span))?;
                Ok(self.other_stage(stage, found, span))
            }
            Err(_) => self.mount_source(stage, word, span),
        }
    }

    /// `from` of a mount: a stage's name, a named context, an image.
    fn mount_source(&mut self, stage: usize, word: &Word, span: Span) -> Result<From, Located> {
        if let Some(found) = self.all_names.get(&word.text.to_lowercase()).copied() {
            return Ok(self.other_stage(stage, found, span));
        }
        let platform = self.request.platform.clone();
        self.external(&word.text, platform, span).map(From::Node)
    }

    fn other_stage(&mut self, stage: usize, found: usize, span: Span) -> From {
        self.edges[stage].push((found, span));
        if found < stage {
            From::Node(self.stages[found].last)
        } else {
            From::Later
        }
    }

    /// What is no stage: nothing at all, a named context, an image.
    fn external(&mut self, name: &str, platform: Option<Platform>, span: Span) -> Result<NodeId, Located> {
        if name == "scratch" {
            return Ok(self.outside(name.to_owned(), NodeKind::Scratch));
        }
        let normal = reference::normal(name).map_err(|reason| {
            let (name, near) = (name.to_owned(), similar_stage(self.file, name));
            (Problem::BaseName { name, reason, near }, span)
        })?;
        if let Some(context) = self.named(&normal, platform.as_ref()) {
            return Ok(self.outside(format!("named {context}"), NodeKind::NamedContext(context)));
        }
        let wanted = platform.as_ref().map(ToString::to_string).unwrap_or_default();
        let name = name.to_owned();
        let image = NodeKind::Image(Image { name, platform, span });
        Ok(self.outside(format!("image {normal} {wanted}"), image))
    }

    /// The `--build-context` that stands for a name.
    fn named(&self, name: &str, platform: Option<&Platform>) -> Option<String> {
        if self.request.contexts.is_empty() || ["scratch", "context"].contains(&name.to_lowercase().as_str()) {
            return None;
        }
        let normal = reference::normal(name).ok()?;
        let platform = platform.map(|platform| format!("{normal}::{}", crate::scope::shown(platform)));
        let found = platform.filter(|name| self.request.contexts.contains(name));
        found.or_else(|| Some(normal).filter(|name| self.request.contexts.contains(name)))
    }

    /// Refuses stages whose steps ask for each other in a circle.
    fn check_cycles(&self) -> Result<(), Located> {
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            No,
            OnTheWay,
            Done,
        }
        let mut seen = vec![Seen::No; self.edges.len()];
        for start in 0..self.edges.len() {
            if seen[start] != Seen::No {
                continue;
            }
            seen[start] = Seen::OnTheWay;
            let mut way = vec![(start, 0)];
            while let Some((stage, next)) = way.last_mut() {
                let Some((other, span)) = self.edges[*stage].get(*next) else {
                    seen[*stage] = Seen::Done;
                    way.pop();
                    continue;
                };
                *next += 1;
                match seen[*other] {
                    Seen::OnTheWay => {
                        let stage = self.stages[start].name.clone();
                        return Err((Problem::Cycle { stage }, *span));
                    }
                    Seen::No => {
                        seen[*other] = Seen::OnTheWay;
                        way.push((*other, 0));
                    }
                    Seen::Done => {}
                }
            }
        }
        Ok(())
    }

    fn target(&self) -> Result<usize, Problem> {
        let last = self.stages.len() - 1;
        let Some(name) = self.request.target.filter(|target| !target.is_empty()) else {
            return Ok(last);
        };
        if let Some(found) = self.all_names.get(&name.to_lowercase()) {
            return Ok(*found);
        }
        let number = name.parse().ok().filter(|number| *number <= last);
        number.ok_or_else(|| Problem::TargetUnknown {
            name: name.to_owned(),
            near: similar_stage(self.file, name),
        })
    }
}
