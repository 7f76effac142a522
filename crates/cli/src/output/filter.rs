//! `--filter name=value`.

use hull_engine::filter::Filters;

use crate::args::{Flag, Matches};

/// The flag.
pub(crate) const FLAG: Flag = Flag::list("filter")
    .short('f')
    .named("filter")
    .checked(check)
    .help("Filter output based on conditions provided");

/// The flag of commands whose `-f` is another one.
pub(crate) const LONG_FLAG: Flag = Flag { short: None, ..FLAG };

fn check(text: &str) -> Result<(), String> {
    match text.split_once('=') {
        Some(_) => Ok(()),
        // Docker takes it for none at all.
        None if text.is_empty() => Ok(()),
        None => Err("bad format of filter (expected name=value)".to_owned()),
    }
}

/// All filters that were given.
pub(crate) fn read(args: &Matches) -> Filters {
    let mut out = Filters::new();
    for (name, value) in args.values("filter").filter_map(|text| text.split_once('=')) {
        out.add(&name.trim().to_lowercase(), value.trim());
    }
    out
}
