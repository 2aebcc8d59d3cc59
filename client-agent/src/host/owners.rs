//! The names of users and groups, asked of the host once for each number.

use std::collections::HashMap;

use parking_lot::Mutex;

/// What the host calls its users and groups. Unknown numbers have the empty name.
#[derive(Default)]
pub(crate) struct Owners {
    users: Mutex<HashMap<u32, String>>,
    groups: Mutex<HashMap<u32, String>>,
}

impl Owners {
    pub(crate) fn user(&self, uid: u32) -> String {
        let ask = || nix::unistd::User::from_uid(uid.into()).ok().flatten();
        cached(&self.users, uid, || ask().map(|user| user.name))
    }

    pub(crate) fn group(&self, gid: u32) -> String {
        let ask = || nix::unistd::Group::from_gid(gid.into()).ok().flatten();
        cached(&self.groups, gid, || ask().map(|group| group.name))
    }
}

fn cached(names: &Mutex<HashMap<u32, String>>, id: u32, ask: impl FnOnce() -> Option<String>) -> String {
    let mut names = names.lock();
    names
        .entry(id)
        .or_insert_with(|| ask().unwrap_or_default())
        .clone()
}
