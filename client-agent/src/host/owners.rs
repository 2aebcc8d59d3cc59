//! The names of users and groups, asked of the host once for each number.

use std::collections::HashMap;

use nix::errno::Errno;
use outlast_proto::words::limits::MOST_OWNER;
use parking_lot::Mutex;

/// So many numbers are remembered, whatever is in a tree.
const MOST_KNOWN: usize = 10_000;

/// What the host calls its users and groups. Unknown numbers have the empty name, as those have that could not be asked for: those
/// are asked for again.
#[derive(Default)]
pub(crate) struct Owners {
    users: Mutex<HashMap<u32, String>>,
    groups: Mutex<HashMap<u32, String>>,
}

impl Owners {
    pub(crate) fn user(&self, uid: u32) -> String {
        let ask = || Ok(nix::unistd::User::from_uid(uid.into())?.map(|user| user.name));
        cached(&self.users, uid, ask)
    }

    pub(crate) fn group(&self, gid: u32) -> String {
        let ask = || Ok(nix::unistd::Group::from_gid(gid.into())?.map(|group| group.name));
        cached(&self.groups, gid, ask)
    }
}

fn cached(
    names: &Mutex<HashMap<u32, String>>,
    id: u32,
    ask: impl FnOnce() -> nix::Result<Option<String>>,
) -> String {
    let mut names = names.lock();
    if let Some(name) = names.get(&id) {
        return name.clone();
    }
    let found = match ask() {
        Ok(found) => found,
        // What some libraries say in place of nothing.
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => None,
        Err(_) => return String::new(),
    };
    let name = found.filter(|name| name.len() <= MOST_OWNER).unwrap_or_default();
    if names.len() >= MOST_KNOWN {
        names.clear();
    }
    names.insert(id, name.clone());
    name
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;
    use parking_lot::Mutex;

    use super::{MOST_KNOWN, cached};

    #[test]
    fn t90_an_owner_that_could_not_be_asked_for_is_asked_for_again() {
        let names = Mutex::default();
        // What the host says, and what the file is said to belong to.
        let rows = [
            (Err(Errno::EMFILE), ""),
            (Ok(Some("ada".to_owned())), "ada"),
            (Err(Errno::EMFILE), "ada"),
        ];
        for (said, name) in rows {
            assert_eq!(cached(&names, 1, || said), name);
        }
        assert_eq!(cached(&names, 2, || Ok(Some("x".repeat(257)))), "");
        for id in 0..20_000 {
            cached(&names, id, || Ok(None));
        }
        assert!(names.lock().len() <= MOST_KNOWN);
    }
}
