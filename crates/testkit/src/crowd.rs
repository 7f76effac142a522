//! Many containers at little cost.

use std::fs;
use std::os::unix::fs::symlink;

use crate::Host;

impl Host {
    /// Makes `count` more containers of the one that `id` is and that does not run: each a copy of its record, as if it had
    /// run and ended. They are called `NAME-0`, `NAME-1` and so on. Returns their IDs.
    ///
    /// # Panics
    /// If a file cannot be read or written.
    pub fn multiply(&self, id: &str, count: usize) -> Vec<String> {
        const EXIT: &str = r#"{"ExitCode":0,"OOMKilled":false,"Error":"","StartedAt":"2026-01-02T03:04:05.123456789Z","FinishedAt":"2026-01-02T03:04:06.123456789Z"}"#;
        let containers = self.data().join("containers");
        let record = fs::read_to_string(containers.join(id).join("config.json")).expect("read the record");
        let mut record: serde_json::Value = serde_json::from_str(&record).expect("the record is JSON");
        let name = record["Name"].as_str().expect("it has a name").to_owned();
        let mut ids = Vec::with_capacity(count);
        for number in 0..count {
            // An odd factor gives each number an ID of its own, spread over all of them.
            let spread = (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            let new = format!("{spread:032x}{number:032x}");
            let new_name = format!("{name}-{number}");
            let folder = containers.join(&new);
            fs::create_dir_all(folder.join("upper")).expect("make its folder");
            fs::create_dir_all(folder.join("work/work")).expect("make its folder");
            record["Id"] = new.clone().into();
            record["Name"] = new_name.clone().into();
            fs::write(folder.join("config.json"), record.to_string()).expect("write its record");
            fs::write(folder.join("exit.json"), EXIT).expect("write its end");
            symlink(&new, self.data().join("names").join(new_name)).expect("make its name");
            ids.push(new);
        }
        ids
    }

    /// Takes containers of [`Host::multiply`] away again, faster than a removal of each by the program.
    ///
    /// # Panics
    /// If a file cannot be removed.
    pub fn clear(&self, ids: &[String]) {
        let ids: std::collections::HashSet<&str> = ids.iter().map(String::as_str).collect();
        for id in &ids {
            fs::remove_dir_all(self.data().join("containers").join(id)).expect("remove its folder");
        }
        for name in fs::read_dir(self.data().join("names"))
            .expect("list the names")
            .flatten()
        {
            if fs::read_link(name.path()).is_ok_and(|id| id.to_str().is_some_and(|id| ids.contains(id))) {
                fs::remove_file(name.path()).expect("remove its name");
            }
        }
    }
}
