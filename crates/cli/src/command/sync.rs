//! `image sync`: whole repositories from one registry to another, or to a folder.

use std::path::Path;

use hull_engine::image::sync::{Tags, Wanted, read_list};
use hull_registry::copy::{Around, Options, Place, copy};
use hull_spec::Reference;
use hull_store::Access;
use hull_store::archive::Form;

use super::{Command, copy as copying};
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{FAILED, Failure, Outcome, Result, USAGE, print_line};
use crate::progress::Show;

pub(crate) const COMMAND: Command = Command {
    names: &["image sync"],
    synopsis: "[OPTIONS] SOURCE TARGET",
    about: "Copy whole repositories from one registry to another, or to a folder",
    flags: &[
        copying::ALL,
        Flag::switch("dry-run").help("Only print what would be copied"),
        copying::FORMAT,
        Flag::switch("keep-going").help("Go on after a failure; the exit code still tells"),
        copying::PRESERVE,
        copying::REFERRERS,
        Flag::switch("scoped").help("Keep the registry's name in the target: TARGET/REGISTRY/REPOSITORY"),
    ],
    count: Count::Exactly(2),
    interspersed: true,
    run,
};

/// Where it all goes.
enum Target {
    /// Below `registry[/prefix]`.
    Registry(String),
    /// An OCI image layout, with the references as labels.
    Layout(String),
    /// A folder for each image.
    Folder(String),
}

impl Target {
    fn parse(text: &str) -> Result<Self> {
        let unslashed = |text: &str| text.trim_end_matches('/').to_owned();
        if let Some(rest) = text.strip_prefix("docker://") {
            // Checked now, and not after an hour of copying.
            format!("{}/x", unslashed(rest)).parse::<Reference>()?;
            return Ok(Self::Registry(unslashed(rest)));
        }
        match text.split_once(':') {
            Some(("oci", path)) if !path.is_empty() => Ok(Self::Layout(path.to_owned())),
            Some(("dir", path)) if !path.is_empty() => Ok(Self::Folder(unslashed(path))),
            _ => Err(Failure::new(format!(
                "the target `{text}` is none of docker://REGISTRY[/PREFIX], oci:PATH and dir:PATH"
            ))
            .code(USAGE)),
        }
    }

    /// Where one image goes.
    fn place(&self, image: &Reference, scoped: bool) -> Result<Place> {
        let whole = match scoped {
            true => format!(
                "{}/{}",
                image.registry().replace([':', '[', ']'], "-"),
                image.repository()
            ),
            false => image.repository().to_owned(),
        };
        let suffix = match (image.digest(), image.tag()) {
            (Some(digest), _) => format!("@{digest}"),
            (None, tag) => format!(":{}", tag.unwrap_or("latest")),
        };
        Ok(match self {
            Self::Registry(root) => Place::Registry(format!("{root}/{whole}{suffix}").parse()?),
            Self::Layout(path) => Place::Archive {
                form: Form::Layout,
                path: path.into(),
                name: Some(format!("{whole}{suffix}")),
            },
            Self::Folder(path) => {
                let path = Path::new(path).join(format!("{whole}{suffix}"));
                Place::Archive {
                    form: Form::Dir,
                    path,
                    name: None,
                }
            }
        })
    }
}

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let options = copying::options(args, ctx)?;
    let target = Target::parse(&args.args()[1])?;
    let engine = ctx.engine();
    let store = engine.store(Access::Write)?;
    let around = copying::around(args, ctx, store, Show::Nothing)?;
    let wanted = wanted(args.arg(), &around)?;
    let mut code = 0;
    for repository in &wanted {
        let images = match repository
            .tags
            .pick(&repository.repository, || around.client.tags(&repository.repository))
        {
            Ok(images) => images,
            Err(err) => {
                code = go_on(args, err.into())?;
                continue;
            }
        };
        for image in images {
            let place = target.place(&image, args.on("scoped"))?;
            if args.on("dry-run") {
                print_line(&format!("{} -> {place}", image.familiar()))?;
                continue;
            }
            match one(&image, &place, &around, &options) {
                Ok(digest) => print_line(&format!("{} -> {place} {digest}", image.familiar()))?,
                Err(failure) => code = go_on(args, failure)?,
            }
        }
    }
    Ok(code)
}

/// Tells of a failure and goes on, or ends.
fn go_on(args: &Matches, failure: Failure) -> Result<u8> {
    if !args.on("keep-going") {
        return Err(failure);
    }
    failure.report();
    Ok(FAILED)
}

fn one(image: &Reference, place: &Place, around: &Around<'_>, options: &Options) -> Result<String> {
    if let Place::Archive {
        form: Form::Dir, path, ..
    } = place
    {
        std::fs::create_dir_all(path)?;
    }
    let source = Place::Registry(image.clone()).source(around, options.all, None)?;
    let target = place.target(around)?;
    let copied = copy(source.as_ref(), target.as_ref(), options, &around.progress)?;
    Ok(copied.digest.to_string())
}

/// The repositories that a source names: one, all of a registry's catalogue, or those of a list.
fn wanted(source: &str, around: &Around<'_>) -> Result<Vec<Wanted>> {
    if let Some(path) = source.strip_prefix("yaml:") {
        return Ok(read_list(Path::new(path))?);
    }
    let Some(name) = source.strip_prefix("docker://") else {
        return Err(Failure::new(format!(
            "the source `{source}` is neither docker://REGISTRY[/REPOSITORY[:TAG]] nor yaml:FILE"
        ))
        .code(USAGE));
    };
    let all = |repository: Reference| Wanted {
        repository,
        tags: Tags::All,
    };
    let name = name.trim_end_matches('/');
    let is_registry = !name.contains('/') && (name.contains(['.', ':']) || name == "localhost");
    if is_registry {
        return Ok(around.client.catalog(name)?.into_iter().map(all).collect());
    }
    let reference: Reference = name.parse()?;
    if reference.tag().is_some() || reference.digest().is_some() {
        return Ok(vec![Wanted {
            repository: reference.clone(),
            tags: Tags::Named(vec![reference]),
        }]);
    }
    Ok(vec![all(reference)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_has_its_place() {
        let check = |target: &str, scoped: bool, expected: &str| {
            let image: Reference = "reg.lan:5000/a/b:1".parse().unwrap();
            let place = Target::parse(target).ok().unwrap().place(&image, scoped).ok().unwrap();
            assert_eq!(place.to_string(), expected, "{target}");
        };
        check("docker://new.lan", false, "docker://new.lan/a/b:1");
        check("docker://new.lan/x/", true, "docker://new.lan/x/reg.lan-5000/a/b:1");
        check("oci:/x", false, "oci:/x:a/b:1");
        check("dir:/x", true, "dir:/x/reg.lan-5000/a/b:1");
        for bad in ["x", "docker://", "oci:", "docker-archive:x"] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }
}
