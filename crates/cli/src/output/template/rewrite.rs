//! Makes a parsed template ask us wherever Go would look at a type: for fields, for methods, and when it prints.
//!
//! `{{.State.Pid}}` becomes `{{get . "State" "Pid" | show}}`, and `{{.Label "x"}}` becomes `{{call 1 . "Label" "x" | show}}`,
//! under names that nobody can type.

use std::collections::BTreeSet;

use gotmpl::parse::{CommandNode, Expr, ListNode, Node, Number, PipeNode, Pos, SmolStr};

/// The function that reads fields: value, names.
pub(super) const GET: &str = "\0get";
/// The function that calls a method: how many names, value, names, arguments.
pub(super) const CALL: &str = "\0call";
/// The function that prints a value as Go does.
pub(super) const SHOW: &str = "\0show";

/// What was met on the way.
#[derive(Debug, Default)]
pub(super) struct Met {
    /// First names of fields.
    pub(super) fields: BTreeSet<String>,
    /// Whether the whole data is used: `{{json .}}`.
    pub(super) dot: bool,
    /// Functions.
    pub(super) functions: BTreeSet<String>,
}

impl Met {
    pub(super) fn list(&mut self, list: &mut ListNode) {
        for node in &mut list.nodes {
            self.node(node);
        }
    }

    fn node(&mut self, node: &mut Node) {
        match node {
            Node::List(list) => self.list(list),
            Node::Action(action) => {
                self.pipe(&mut action.pipe);
                if action.pipe.decl.is_empty() {
                    let pos = action.pos;
                    action
                        .pipe
                        .commands
                        .push(command(pos, vec![Expr::Identifier(pos, SHOW.into())]));
                }
            }
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => {
                self.pipe(&mut branch.pipe);
                self.list(&mut branch.body);
                if let Some(other) = &mut branch.else_body {
                    self.list(other);
                }
            }
            Node::Template(template) => {
                if let Some(pipe) = &mut template.pipe {
                    self.pipe(pipe);
                }
            }
            Node::Define(define) => self.list(&mut define.body),
            Node::Text(_) | Node::Break(_) | Node::Continue(_) => {}
        }
    }

    fn pipe(&mut self, pipe: &mut PipeNode) {
        for (at, command) in pipe.commands.iter_mut().enumerate() {
            self.command(command, at > 0);
        }
    }

    fn command(&mut self, command: &mut CommandNode, piped: bool) {
        let has_arguments = piped || command.args.len() > 1;
        let Some((first, rest)) = command.args.split_first_mut() else {
            return;
        };
        for argument in rest.iter_mut() {
            self.expr(argument);
        }
        if has_arguments && let Some((base, names)) = self.fields_of(first) {
            let pos = first.pos();
            let count = i64::try_from(names.len()).unwrap_or(i64::MAX);
            let mut args = vec![
                Expr::Identifier(pos, CALL.into()),
                Expr::Number(pos, Number::Int(count)),
                base,
            ];
            args.extend(names.iter().map(|name| Expr::String(pos, name.as_str().into())));
            args.extend(rest.iter().cloned());
            command.args = args;
            return;
        }
        self.expr(first);
    }

    fn expr(&mut self, expr: &mut Expr) {
        let pos = expr.pos();
        if let Some((base, names)) = self.fields_of(expr) {
            let mut args = vec![Expr::Identifier(pos, GET.into()), base];
            args.extend(names.iter().map(|name| Expr::String(pos, name.as_str().into())));
            *expr = Expr::Pipe(pos, one(pos, args));
            return;
        }
        match expr {
            Expr::Dot(_) => self.dot = true,
            Expr::Identifier(_, name) => {
                self.functions.insert(name.to_string());
            }
            Expr::Pipe(_, pipe) => self.pipe(pipe),
            Expr::Chain(_, inner, _) => self.expr(inner),
            _ => {}
        }
    }

    /// What a chain of fields starts from, and their names.
    fn fields_of(&mut self, expr: &Expr) -> Option<(Expr, Vec<SmolStr>)> {
        let pos = expr.pos();
        match expr {
            Expr::Field(_, names) => {
                self.fields.extend(names.first().map(ToString::to_string));
                Some((Expr::Dot(pos), names.clone()))
            }
            Expr::Variable(_, variable, names) if !names.is_empty() => {
                if variable == "$" {
                    self.fields.extend(names.first().map(ToString::to_string));
                }
                Some((Expr::Variable(pos, variable.clone(), Vec::new()), names.clone()))
            }
            // A function's name before the fields is a call, whose arguments follow: that is left as it is.
            Expr::Chain(_, inner, names) if !matches!(**inner, Expr::Identifier(..)) => {
                let mut inner = (**inner).clone();
                self.expr(&mut inner);
                Some((inner, names.clone()))
            }
            _ => None,
        }
    }
}

fn command(pos: Pos, args: Vec<Expr>) -> CommandNode {
    CommandNode { pos, args }
}

fn one(pos: Pos, args: Vec<Expr>) -> PipeNode {
    PipeNode {
        pos,
        decl: Vec::new(),
        commands: vec![command(pos, args)],
        is_assign: false,
    }
}
