//! The options of `ps` that are understood here.

use super::column::{COLUMNS, Column, FULL, USER};

/// What is shown.
pub(super) struct Format {
    pub(super) columns: Vec<Column>,
}

/// Reads options; `None` where they hold anything that is not understood here.
pub(super) fn read(options: &[String]) -> Option<Format> {
    let mut listed = Vec::new();
    let (mut full, mut user) = (options.is_empty(), false);
    // As words: `docker top x "-o pid"` is one argument.
    let mut words = options
        .iter()
        .flat_map(|option| option.split_ascii_whitespace())
        .peekable();
    while let Some(word) = words.next() {
        match word {
            "-e" | "-A" | "ax" | "-ax" => {}
            "-f" | "-ef" | "-fe" | "-Af" => full = true,
            "aux" | "axu" | "-aux" => user = true,
            "-o" | "o" | "-eo" | "-Ao" | "axo" | "-axo" | "--format" => list(words.next()?, &mut listed)?,
            word => list(
                word.strip_prefix("-o")
                    .or_else(|| word.strip_prefix("--format="))
                    .or_else(|| word.strip_prefix("-eo"))?,
                &mut listed,
            )?,
        }
    }
    let columns = match (listed.is_empty(), full, user) {
        (false, false, false) => listed,
        (true, true, false) => FULL.to_vec(),
        (true, false, true) => {
            let mut columns = Vec::new();
            list(&USER.join(","), &mut columns)?;
            for column in &mut columns {
                if column.title == "TT" {
                    column.title = "TTY";
                }
            }
            columns
        }
        _ => return None,
    };
    Some(Format { columns })
}

/// Adds the columns of `pid,comm`. Own headers (`pid=NUMBER`) are for the real `ps`.
fn list(text: &str, out: &mut Vec<Column>) -> Option<()> {
    for name in text.split(',') {
        out.push(*COLUMNS.iter().find(|column| column.names.contains(&name))?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_or_left_to_ps() {
        let check = |line: &str, expected: Option<&str>| {
            let options: Vec<String> = line
                .split('|')
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect();
            let titles = read(&options).map(|format| {
                let titles: Vec<&str> = format.columns.iter().map(|column| column.title).collect();
                titles.join(" ")
            });
            assert_eq!(titles.as_deref(), expected, "{line}");
        };
        check("", Some("UID PID PPID C STIME TTY TIME CMD"));
        check("-ef", Some("UID PID PPID C STIME TTY TIME CMD"));
        check("-e|-f", Some("UID PID PPID C STIME TTY TIME CMD"));
        check("aux", Some("USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"));
        check("-o|pid,comm", Some("PID COMMAND"));
        check("-o pid,comm", Some("PID COMMAND"));
        check("-opid|-o|args", Some("PID COMMAND"));
        check("-eo|pid,%cpu,etime,tty", Some("PID %CPU ELAPSED TT"));
        check("axo|pid,user,nlwp", Some("PID USER NLWP"));
        check("-o|comm", Some("COMMAND"));
        for other in [
            "-x",
            "-o",
            "-o|pid,wchan",
            "-o|pid=N",
            "-ef|--forest",
            "aux|-o|pid",
            "-p|1",
            "-e",
        ] {
            check(other, None);
        }
    }
}
