//! What a registry has: `image tags`, `image digest`, `image delete`, `image referrers`.

use std::sync::Arc;

use hull_registry::Client;
use hull_spec::Reference;
use hull_spec::manifest::Descriptor;

use super::{Command, pull};
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Outcome, Result, for_each, print_line};
use crate::output;
use crate::output::table;

pub(crate) const TAGS: Command = Command {
    names: &["image tags"],
    synopsis: "[OPTIONS] REPOSITORY",
    about: "List the tags of a repository in its registry",
    flags: &[Flag::switch("full").help("Print whole references")],
    count: Count::Exactly(1),
    interspersed: true,
    run: |args, ctx| {
        let reference = remote(args.arg())?;
        for tag in client(ctx)?.tags(&reference)? {
            let name = reference.with_tag(&tag)?;
            print_line(if args.on("full") { name.to_string() } else { tag }.as_str())?;
        }
        Ok(0)
    },
};

pub(crate) const DIGEST: Command = Command {
    names: &["image digest"],
    synopsis: "NAME[:TAG] [NAME[:TAG]...]",
    about: "Print the digests that names have in their registries",
    flags: &[],
    count: Count::AtLeast(1),
    interspersed: true,
    run: |args, ctx| {
        let client = client(ctx)?;
        for_each(args.args(), |name| Ok(Some(client.digest(&remote(name)?)?.to_string())))
    },
};

pub(crate) const DELETE: Command = Command {
    names: &["image delete"],
    synopsis: "[OPTIONS] NAME[:TAG|@DIGEST] [NAME[:TAG|@DIGEST]...]",
    about: "Delete images from their registries",
    flags: &[Flag::switch("untag").help("Remove only the tag, and leave the image to its other tags")],
    count: Count::AtLeast(1),
    interspersed: true,
    run: |args, ctx| {
        let client = client(ctx)?;
        let untag = args.on("untag");
        for_each(args.args(), |name| {
            let reference = remote(name)?.or_latest();
            client.delete(&reference, untag)?;
            let word = if untag { "Untagged" } else { "Deleted" };
            Ok(Some(format!("{word}: {}", reference.familiar())))
        })
    },
};

pub(crate) const REFERRERS: Command = Command {
    names: &["image referrers"],
    synopsis: "[OPTIONS] NAME[:TAG|@DIGEST]",
    about: "List what is attached to an image in its registry",
    flags: &[
        Flag::switch("json").help("Print them as descriptors in JSON"),
        Flag::string("type").help("Only artifacts of this type"),
    ],
    count: Count::Exactly(1),
    interspersed: true,
    run: referrers,
};

/// A name that a registry has: `docker://` before it changes nothing.
pub(super) fn remote(text: &str) -> Result<Reference> {
    Ok(text.strip_prefix("docker://").unwrap_or(text).parse()?)
}

pub(super) fn client(ctx: &Context) -> Result<Arc<Client>> {
    Ok(Arc::new(Client::new(pull::settings(ctx)?)))
}

fn referrers(args: &Matches, ctx: &Context) -> Outcome {
    let reference = remote(args.arg())?.or_latest();
    let client = client(ctx)?;
    let subject = match reference.digest() {
        Some(digest) => digest.clone(),
        None => client.digest(&reference)?,
    };
    let found: Vec<Descriptor> = client.referrers(&reference, &subject, args.value("type"))?;
    if args.on("json") {
        print_line(&serde_json::to_string(&found)?)?;
        return Ok(0);
    }
    let mut text = "DIGEST\tTYPE\tSIZE\n".to_owned();
    for entry in &found {
        let kind = entry.artifact_type.as_deref().unwrap_or("<none>");
        let kind: String = kind.chars().filter(|c| !c.is_control()).collect();
        text += &format!("{}\t{kind}\t{}\n", entry.digest, entry.size);
    }
    output::print(&table::layout(&text))?;
    Ok(0)
}
