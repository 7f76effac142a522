//! `system df`: what takes how much of the disk.

use std::collections::BTreeMap;

use hull_engine::system::{self, Usage, VolumeUsage};
use hull_spec::container::Status;
use jiff::Timestamp;

use super::images::{self, Shape};
use super::{Command, ps};
use crate::args::{Count, Flag, Matches};
use crate::context::Context;
use crate::error::{Failure, Outcome, Result};
use crate::output::data::Data;
use crate::output::listing::{self, Field, Format, Listing};
use crate::output::template::Template;
use crate::output::{self, size};

pub(crate) const COMMAND: Command = Command {
    names: &["system df"],
    synopsis: "[OPTIONS]",
    about: "Show disk usage",
    flags: &[
        Flag::string("format").help(listing::FORMAT_HELP),
        Flag::switch("verbose")
            .short('v')
            .help("Show detailed information on space usage"),
    ],
    count: Count::None,
    interspersed: true,
    run,
};

fn run(args: &Matches, ctx: &Context) -> Outcome {
    let source = args.value("format").unwrap_or_default();
    let verbose = args.on("verbose");
    let format = match verbose {
        true => None,
        false => Some(Format::read(
            source,
            vec!["Type", "TotalCount", "Active", "Size", "Reclaimable"],
        )?),
    };
    let usage = system::usage(&ctx.engine())?;
    let text = match format {
        Some(format) => KINDS.render(&kinds(&usage), &format)?,
        None => Details::of(usage).show(source)?,
    };
    output::print(&text)?;
    Ok(0)
}

/// One line of the summary.
struct Kind {
    name: &'static str,
    total: usize,
    active: usize,
    size: u64,
    reclaimable: u64,
}

const KINDS: Listing<Kind> = Listing {
    fields: &[
        Field {
            name: "Type",
            header: "TYPE",
            value: |kind| kind.name.to_owned(),
        },
        Field {
            name: "TotalCount",
            header: "TOTAL",
            value: |kind| kind.total.to_string(),
        },
        Field {
            name: "Active",
            header: "ACTIVE",
            value: |kind| kind.active.to_string(),
        },
        Field {
            name: "Size",
            header: "SIZE",
            value: |kind| size::long(kind.size),
        },
        Field {
            name: "Reclaimable",
            header: "RECLAIMABLE",
            value: |kind| kind.reclaimable(),
        },
    ],
    labels: None,
};

impl Kind {
    fn reclaimable(&self) -> String {
        let bytes = size::long(self.reclaimable);
        match (u128::from(self.reclaimable) * 100).checked_div(u128::from(self.size)) {
            Some(percent) => format!("{bytes} ({percent}%)"),
            None => bytes,
        }
    }
}

fn kinds(usage: &Usage) -> [Kind; 4] {
    let unsigned = |number: i64| u64::try_from(number).unwrap_or_default();
    // What images share with others does not come back with them: Docker's rule counts it as free all the same.
    let images: u64 = usage
        .images
        .iter()
        .filter(|image| image.containers > 0)
        .map(|image| image.size.saturating_sub(unsigned(image.shared_size)))
        .sum();
    let lives = |status: Status| matches!(status, Status::Running | Status::Paused | Status::Restarting);
    let (running, stopped): (Vec<_>, Vec<_>) = usage.containers.iter().partition(|c| lives(c.state));
    let bytes = |containers: &[&hull_engine::container::Summary]| -> u64 {
        containers.iter().filter_map(|container| container.size_rw).sum()
    };
    let (used, unused): (Vec<_>, Vec<_>) = usage.volumes.iter().partition(|volume| volume.links > 0);
    let held = |volumes: &[&VolumeUsage]| -> u64 { volumes.iter().map(|volume| volume.size).sum() };
    [
        Kind {
            name: "Images",
            total: usage.images.len(),
            active: usage.images.iter().filter(|image| image.containers > 0).count(),
            size: usage.layers,
            reclaimable: usage.layers.saturating_sub(images),
        },
        Kind {
            name: "Containers",
            total: usage.containers.len(),
            active: running.len(),
            size: bytes(&running) + bytes(&stopped),
            reclaimable: bytes(&stopped),
        },
        Kind {
            name: "Local Volumes",
            total: usage.volumes.len(),
            active: used.len(),
            size: held(&used) + held(&unused),
            reclaimable: held(&unused),
        },
        Kind {
            name: "Build Cache",
            total: 0,
            active: 0,
            size: 0,
            reclaimable: 0,
        },
    ]
}

const VOLUMES: Listing<VolumeUsage> = Listing {
    fields: &[
        Field {
            name: "Name",
            header: "VOLUME NAME",
            value: |of| of.volume.name.clone(),
        },
        Field {
            name: "Links",
            header: "LINKS",
            value: |of| of.links.to_string(),
        },
        Field {
            name: "Size",
            header: "SIZE",
            value: |of| size::long(of.size),
        },
        Field {
            name: "Driver",
            header: "DRIVER",
            value: |of| of.volume.driver.clone(),
        },
        Field {
            name: "Scope",
            header: "SCOPE",
            value: |of| of.volume.scope.clone(),
        },
        Field {
            name: "Mountpoint",
            header: "MOUNTPOINT",
            value: |of| of.volume.mountpoint.clone(),
        },
        Field {
            name: "Labels",
            header: "LABELS",
            value: |of| {
                let pair = |(name, value): (&String, &String)| format!("{name}={value}");
                let labels = of.volume.labels.iter().flatten();
                labels.map(pair).collect::<Vec<_>>().join(",")
            },
        },
        // What volumes of a swarm have.
        Field {
            name: "Availability",
            header: "AVAILABILITY",
            value: |_| "N/A".to_owned(),
        },
        Field {
            name: "Group",
            header: "GROUP",
            value: |_| "N/A".to_owned(),
        },
        Field {
            name: "Status",
            header: "STATUS",
            value: |_| "N/A".to_owned(),
        },
    ],
    labels: Some(|of| {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        of.volume.labels.as_ref().unwrap_or(&NONE)
    }),
};

/// What `-v` shows.
struct Details {
    images: Vec<images::Row>,
    containers: Vec<ps::Row>,
    volumes: Vec<VolumeUsage>,
}

impl Details {
    fn of(usage: Usage) -> Self {
        let now = Timestamp::now();
        let shape = Shape {
            digests: false,
            trunc: true,
            now,
        };
        let row = |mut item: hull_engine::container::Summary| {
            // Here only what is its own is of interest.
            item.size_root_fs = None;
            ps::Row { item, trunc: true, now }
        };
        Self {
            images: usage.images.iter().flat_map(|image| shape.rows(image)).collect(),
            containers: usage.containers.into_iter().map(row).collect(),
            volumes: usage.volumes,
        }
    }

    fn show(&self, source: &str) -> Result<String> {
        let template = match source {
            "" | "table" => return self.tables(),
            "json" => "{{json .}}",
            source => source,
        };
        let failed = |e| Failure::new(format!("failed to execute template: {e}"));
        let parsed = Template::parse(template).map_err(|e| Failure::new(format!("failed to parse template: {e}")))?;
        let data = Data::lists(vec![
            ("Images", images::LISTING.rows(&self.images)),
            ("Containers", ps::LISTING.rows(&self.containers)),
            ("Volumes", VOLUMES.rows(&self.volumes)),
            ("BuildCache", Vec::new()),
        ]);
        let end = if source == "json" { "\n" } else { "" };
        Ok(parsed.execute(&data).map_err(failed)? + end)
    }

    /// Docker's four tables.
    fn tables(&self) -> Result<String> {
        let columns = |names: &[&'static str]| Format::Columns(names.to_vec());
        let images = columns(&[
            "Repository",
            "Tag",
            "ID",
            "CreatedSince",
            "Size",
            "SharedSize",
            "UniqueSize",
            "Containers",
        ]);
        let containers = columns(&[
            "ID",
            "Image",
            "Command",
            "LocalVolumes",
            "Size",
            "RunningFor",
            "Status",
            "Names",
        ]);
        let volumes = columns(&["Name", "Links", "Size"]);
        Ok(format!(
            "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}\nBuild cache usage: \
             0B\n\nCACHE ID   CACHE TYPE   SIZE      CREATED   LAST USED   USAGE     SHARED\n",
            images::LISTING.render(&self.images, &images)?,
            ps::LISTING.render(&self.containers, &containers)?,
            VOLUMES.render(&self.volumes, &volumes)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use hull_engine::image;
    use hull_engine::volume::Volume;

    use super::*;

    fn usage() -> Usage {
        let image = |id: &str, containers: i64, shared_size: i64, size: u64| image::Summary {
            containers,
            created: 1,
            id: format!("sha256:{}", id.repeat(64)),
            labels: None,
            parent_id: String::new(),
            repo_digests: Vec::new(),
            repo_tags: vec![format!("{id}:latest")],
            shared_size,
            size,
        };
        let volume = |name: &str, links: usize, size: u64| VolumeUsage {
            volume: Volume {
                name: name.to_owned(),
                driver: "local".to_owned(),
                ..Volume::default()
            },
            links,
            size,
        };
        Usage {
            layers: 3000,
            images: vec![image("a", 1, 500, 1500), image("b", 0, 500, 2000)],
            containers: Vec::new(),
            volumes: vec![volume("v", 1, 10), volume("w", 0, 30)],
        }
    }

    #[test]
    fn the_summary_is_dockers() {
        let format = Format::read("", vec!["Type", "TotalCount", "Active", "Size", "Reclaimable"]).unwrap();
        insta::assert_snapshot!(KINDS.render(&kinds(&usage()), &format).unwrap(), @r"
        TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE
        Images          2         1         3kB       2kB (66%)
        Containers      0         0         0B        0B
        Local Volumes   2         1         40B       30B (75%)
        Build Cache     0         0         0B        0B
        ");
    }

    #[test]
    fn details_are_tables_or_lists_of_rows() {
        let details = Details::of(usage());
        let text = details.show("").unwrap();
        assert!(
            text.contains("\nVOLUME NAME   LINKS     SIZE\nv             1         10B\n"),
            "{text}"
        );
        assert!(text.contains("SHARED SIZE   UNIQUE SIZE   CONTAINERS\n"), "{text}");
        assert!(text.contains("500B          1kB           1\n"), "{text}");
        let rows = "{{range .Images}}{{.Repository}}={{.UniqueSize}} {{end}}{{range .Volumes}}{{.Name}} {{end}}";
        assert_eq!(details.show(rows).unwrap(), "a=1kB b=1.5kB v w ");
        let json = details.show("json").unwrap();
        assert!(json.starts_with(r#"{"Images":[{"Containers":"1","#), "{json}");
        assert!(json.ends_with("\"Status\":\"N/A\"}],\"BuildCache\":[]}\n"), "{json}");
        assert!(details.show("{{.Nope}}").is_err());
    }
}
