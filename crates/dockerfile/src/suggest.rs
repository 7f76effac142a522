//! What a person probably meant by a name that nobody knows.

/// The one of `known` that is at most two edits away from `name`, the nearest and then the first; nothing where `name`
/// is known.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for candidate in known {
        if candidate == name {
            return None;
        }
        let limit = best.map_or(3, |(distance, _)| distance);
        if let Some(distance) = distance(name, candidate, limit) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, name)| name)
}

/// The number of characters that have to be put in, left out or exchanged, where it is below `limit`.
fn distance(a: &str, b: &str, limit: usize) -> Option<usize> {
    // Names that are too long are no misspelt ones, and would take time.
    if a.len() > 256 || b.len() > 256 {
        return None;
    }
    let b: Vec<char> = b.chars().collect();
    if a.chars().count().abs_diff(b.len()) >= limit {
        return None;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let exchanged = corner + usize::from(from != *to);
            corner = row[j + 1];
            row[j + 1] = exchanged.min(corner + 1).min(row[j] + 1);
        }
    }
    row.last().copied().filter(|distance| *distance < limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested() {
        let check = |name: &str, known: &[&str], expected: Option<&str>| {
            assert_eq!(nearest(name, known.iter().copied()), expected, "{name}");
        };
        check("biuld", &["build", "test"], Some("build"));
        check("buil", &["built", "build"], Some("built"));
        check("build", &["builds", "build"], None);
        check("xyz", &["build"], None);
        check("bu", &["build"], None);
        check("", &["ab"], Some("ab"));
        check(&"a".repeat(1_000_000), &["a"], None);
    }
}
