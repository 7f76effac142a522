//! A file of systemd's: sections of keys, in order (`systemd.syntax(7)`).

/// Sections in the order of the file, each with its keys in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unit(Vec<(String, Vec<(String, String)>)>);

impl Unit {
    /// Reads a file.
    ///
    /// # Errors
    /// A line that is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut out = Self::default();
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                out.section(name);
                continue;
            }
            let mut whole = line.to_owned();
            while let Some(begun) = whole.strip_suffix('\\') {
                let mut more = None;
                // Comments between the parts of a line are none of it.
                for (_, next) in lines.by_ref() {
                    if !next.trim_start().starts_with(['#', ';']) {
                        more = Some(next.trim());
                        break;
                    }
                }
                whole = format!("{} {}", begun.trim_end(), more.unwrap_or_default());
                if more.is_none() {
                    break;
                }
            }
            let (key, value) = whole
                .split_once('=')
                .ok_or_else(|| format!("line {}: neither a section nor `Key=value`", number + 1))?;
            let key = key.trim();
            let valid = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            let section = out.0.last_mut().filter(|_| valid);
            let section = section.ok_or_else(|| format!("line {}: `{key}` is no key of a section", number + 1))?;
            section.1.push((key.to_owned(), value.trim().to_owned()));
        }
        Ok(out)
    }

    /// Adds another file's keys: a drop-in.
    pub(crate) fn merge(&mut self, other: Self) {
        for (name, keys) in other.0 {
            self.section(&name);
            if let Some((_, own)) = self.0.iter_mut().find(|(section, _)| *section == name) {
                own.extend(keys);
            }
        }
    }

    /// Makes the section the last one, or a new one.
    fn section(&mut self, name: &str) {
        match self.0.iter().position(|(section, _)| section == name) {
            Some(at) => {
                let section = self.0.remove(at);
                self.0.push(section);
            }
            None => self.0.push((name.to_owned(), Vec::new())),
        }
    }

    fn keys_mut(&mut self, section: &str) -> &mut Vec<(String, String)> {
        let at = self.0.iter().position(|(name, _)| name == section);
        let at = at.unwrap_or_else(|| {
            self.0.push((section.to_owned(), Vec::new()));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }

    /// All keys of a section, in order.
    pub(super) fn keys(&self, section: &str) -> &[(String, String)] {
        self.0
            .iter()
            .find(|(name, _)| name == section)
            .map_or(&[], |(_, keys)| keys)
    }

    /// The names of its sections.
    pub(super) fn sections(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn has(&self, section: &str) -> bool {
        self.sections().any(|name| name == section)
    }

    /// The last value of a key.
    pub(super) fn last(&self, section: &str, key: &str) -> Option<&str> {
        let keys = self.keys(section).iter().rev();
        keys.into_iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// All values of a key; an empty one forgets those before it.
    pub(super) fn all(&self, section: &str, key: &str) -> Vec<&str> {
        let mut out = Vec::new();
        for (_, value) in self.keys(section).iter().filter(|(name, _)| name == key) {
            match value.as_str() {
                "" => out.clear(),
                value => out.push(value),
            }
        }
        out
    }

    /// The words of all values of a key of names, which hold no quotes.
    pub(super) fn words(&self, section: &str, key: &str) -> Vec<String> {
        let values = self.all(section, key).into_iter();
        values
            .flat_map(|value| value.split_whitespace().map(str::to_owned))
            .collect()
    }

    pub(super) fn add(&mut self, section: &str, key: &str, value: &str) {
        self.keys_mut(section).push((key.to_owned(), value.to_owned()));
    }

    pub(super) fn prepend(&mut self, section: &str, key: &str, value: &str) {
        self.keys_mut(section).insert(0, (key.to_owned(), value.to_owned()));
    }

    /// Adds a key in place of all others of its name.
    pub(super) fn set(&mut self, section: &str, key: &str, value: &str) {
        self.keys_mut(section).retain(|(name, _)| name != key);
        self.add(section, key, value);
    }

    /// Adds a key that the file does not have.
    pub(super) fn preset(&mut self, section: &str, key: &str, value: &str) {
        if self.last(section, key).is_none() {
            self.add(section, key, value);
        }
    }

    pub(super) fn rename(&mut self, section: &str, to: &str) {
        for (name, _) in self.0.iter_mut().filter(|(name, _)| name == section) {
            to.clone_into(name);
        }
    }

    pub(super) fn remove(&mut self, section: &str) {
        self.0.retain(|(name, _)| name != section);
    }

    /// The file's text.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for (name, keys) in &self.0 {
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(&format!("[{name}]\n"));
            for (key, value) in keys {
                out.push_str(&format!("{key}={value}\n"));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read() {
        let text = "# c\n[A]\nx = 1\ny=a \\\n# between\n  b\nx=2\n\n[B]\nz=\n[A]\nw=3\n";
        let unit = Unit::parse(text).unwrap();
        assert_eq!(unit.all("A", "x"), ["1", "2"]);
        assert_eq!(unit.last("A", "y"), Some("a b"));
        assert_eq!(unit.last("A", "w"), Some("3"));
        assert_eq!(Unit::parse("[A]\nx=1\nx=\nx=2").unwrap().all("A", "x"), ["2"]);
        for bad in ["x=1", "[A]\nx", "[A]\n=1", "[A\nx=1", "[A]\na b=1"] {
            assert!(Unit::parse(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[\\[\\]a-b=#; \\\\\n]{0,80}") {
            if let Ok(unit) = Unit::parse(&text) {
                proptest::prop_assert_eq!(Unit::parse(&unit.text()).unwrap().text(), unit.text());
            }
        }
    }
}
