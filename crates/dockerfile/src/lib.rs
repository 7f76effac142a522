//! Dockerfiles: from text to instructions, stages and a build graph, with the place of every word.
//!
//! Pure: nothing here reads a file, a registry or a clock. What has to be known from outside (the build arguments, the
//! platforms, what a base image's config says) is given.
//!
//! - [`parse`] reads the text. What is wrong is told with its line and column, in BuildKit's words.
//! - [`Globals`] and [`Scope`] know which variables there are at each instruction, and replace them.
//! - [`Graph`] says what each step needs, and which steps a target needs.
//! - [`lint`] has the rules of `build --check`.
//! - [`IgnoreFile`] says which paths of a build context are there.
//!
//! The text is a stranger's. Any bytes are either read or refused, without a panic, and in a time that grows as they do;
//! what could grow faster (variables in variables, patterns, nested substitutions) has a limit.

mod directive;
mod environment;
mod error;
mod expand;
pub mod graph;
mod heredoc;
pub mod ignore;
pub mod instruction;
mod json;
mod line;
pub mod lint;
pub mod mode;
mod parse;
pub mod path;
mod pattern;
pub mod port;
pub mod remote;
mod scope;
mod source;
mod suggest;
mod token;

pub use directive::Directives;
pub use environment::Environment;
pub use error::{Error, Located, MountProblem, Near, PortProblem, Problem, Substitution, TransferProblem};
pub use expand::{Expanded, Expander};
pub use graph::Graph;
pub use heredoc::Heredoc;
pub use ignore::IgnoreFile;
pub use instruction::{Command, Instruction, Keyword};
pub use parse::{Dockerfile, Stage, parse, parse_trigger};
pub use scope::{Base, DEFAULT_PATH, Globals, Parameters, Resolved, Scope, unused_arguments};
pub use source::{Position, Source, Span, Word};
pub use token::{Flag, Pair};
