//! Users and groups by name, looked up in the container's own files (`passwd(5)`, `group(5)`).

use crate::error::{Error, Result};

/// Who a process becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User ID.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
    /// Supplementary groups, without duplicates.
    pub groups: Vec<u32>,
    /// Home folder.
    pub home: String,
}

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Malformed lines are passed over, as the C library does.
fn users(text: &str) -> impl Iterator<Item = Passwd<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|n| !n.is_empty())?;
        let _password = fields.next()?;
        let uid = fields.next()?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let _comment = fields.next();
        Some(Passwd {
            name,
            uid,
            gid,
            home: fields.next().unwrap_or_default(),
        })
    })
}

fn groups(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|n| !n.is_empty())?;
        let _password = fields.next()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Group {
            name,
            gid,
            members: fields.next().unwrap_or_default(),
        })
    })
}

/// Docker's range of IDs: what fits a signed 32-bit number.
fn number(text: &str) -> Option<u32> {
    text.parse::<u32>().ok().filter(|n| i32::try_from(*n).is_ok())
}

/// Looks up `user[:group]` and `more` groups in the texts of a passwd and a group file.
///
/// # Errors
/// Docker's: `unable to find user x: no matching entries in passwd file`.
pub fn resolve(user: &str, more: &[String], passwd: &str, group: &str) -> Result<Identity> {
    let (user, primary) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let id = number(user);
    // A name that is all digits is looked up as a number first, as Docker does.
    let entry = users(passwd).find(|e| id.map_or(e.name == user, |id| e.uid == id));
    let entry = entry.or_else(|| users(passwd).find(|e| e.name == user));
    let (uid, mut gid, name, home) = match (&entry, id) {
        (Some(e), _) => (e.uid, e.gid, e.name, e.home),
        (None, Some(id)) => (id, 0, "", ""),
        (None, None) if user.parse::<i64>().is_ok() || user.bytes().all(|b| b.is_ascii_digit()) => {
            return Err(Error::Invalid("uids and gids must be in range 0-2147483647".to_owned()));
        }
        (None, None) => {
            return Err(Error::Invalid(format!(
                "unable to find user {user}: no matching entries in passwd file"
            )));
        }
    };
    let find = |wanted: &str| -> Result<u32> {
        let id = number(wanted);
        let found = groups(group)
            .find(|g| id.map_or(g.name == wanted, |id| g.gid == id))
            .map(|g| g.gid);
        found.or(id).ok_or_else(|| {
            Error::Invalid(format!(
                "unable to find group {wanted}: no matching entries in group file"
            ))
        })
    };
    let mut all = Vec::new();
    match primary {
        Some(wanted) => gid = find(wanted)?,
        None if !name.is_empty() => {
            let of_user = groups(group).filter(|g| g.members.split(',').any(|m| m.trim() == name));
            all.extend(of_user.map(|g| g.gid));
        }
        None => {}
    }
    for wanted in more {
        // Docker's daemon looks these up, not its runtime, and says so with a capital letter.
        let found = find(wanted).map_err(|_| {
            Error::Invalid(format!(
                "Unable to find group {wanted}: no matching entries in group file"
            ))
        });
        all.push(found?);
    }
    // The primary group is a supplementary one too: a set-group-ID program must not be a way to lose it (CVE-2022-36109).
    all.insert(0, gid);
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|g| seen.insert(*g));
    let home = if home.is_empty() { "/" } else { home };
    Ok(Identity {
        uid,
        gid,
        groups: all,
        home: home.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nbad line\nwww:x:33:33::/var/www:/bin/false\n1000:x:7:8::/odd:\n";
    const GROUP: &str = "root:x:0:\nwww:x:33:\nadm:x:4:www,other\ntty:x:5: www\n";

    #[test]
    fn users_and_groups_are_found_as_docker_finds_them() {
        let check = |user: &str, more: &[&str], uid, gid, groups: &[u32], home: &str| {
            let more: Vec<String> = more.iter().map(|&m| m.to_owned()).collect();
            let expected = Identity {
                uid,
                gid,
                groups: groups.to_vec(),
                home: home.to_owned(),
            };
            assert_eq!(resolve(user, &more, PASSWD, GROUP).unwrap(), expected, "{user}");
        };
        check("", &[], 0, 0, &[0], "/root");
        check("www", &[], 33, 33, &[33, 4, 5], "/var/www");
        check("33", &[], 33, 33, &[33, 4, 5], "/var/www");
        check("www:adm", &[], 33, 4, &[4], "/var/www");
        check("www:77", &["adm", "99"], 33, 77, &[77, 4, 99], "/var/www");
        check("12345", &[], 12345, 0, &[0], "/");
        check("1000", &[], 7, 8, &[8], "/odd");
    }

    #[test]
    fn unknown_names_are_refused() {
        let check = |user: &str, more: &[&str], word: &str| {
            let more: Vec<String> = more.iter().map(|&m| m.to_owned()).collect();
            let error = resolve(user, &more, PASSWD, GROUP).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        check("nobody", &[], "unable to find user nobody");
        check("www:nope", &[], "unable to find group nope");
        check("www", &["nope"], "Unable to find group nope");
        check("-1", &[], "uids and gids must be in range 0-2147483647");
        check("4294967295", &[], "range");
        check("99999999999", &[], "range");
    }

    proptest::proptest! {
        #[test]
        fn any_file_is_read(user in "[ -~]{0,12}", passwd in "\\PC{0,200}", group in "\\PC{0,200}") {
            let _ = resolve(&user, &[], &passwd, &group);
        }
    }
}
