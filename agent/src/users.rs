//! Users of the container, read from its files: a static binary can not ask the C library.

use std::{fs, path::PathBuf};

use anyhow::Context;
use nix::unistd::{Gid, Uid};

/// A user of the container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    /// Name.
    pub name: String,
    /// Number.
    pub uid: Uid,
    /// Number of the main group.
    pub gid: Gid,
    /// Numbers of all groups, the main one included.
    pub groups: Vec<Gid>,
    /// Home folder.
    pub home: PathBuf,
    /// Log-in shell.
    pub shell: PathBuf,
}

impl User {
    /// Looks a user up by name.
    pub fn find(name: &str) -> anyhow::Result<Self> {
        let users = fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
        let groups = fs::read_to_string("/etc/group").unwrap_or_default();
        Self::parse(name, &users, &groups).with_context(|| format!("there is no user {name}"))
    }

    fn parse(name: &str, users: &str, groups: &str) -> Option<Self> {
        let fields = users
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(&name))?;
        let [_, _, uid, gid, _, home, shell, ..] = fields.as_slice() else { return None };
        let gid = Gid::from_raw(gid.parse().ok()?);
        let shell = if shell.is_empty() { "/bin/sh" } else { shell };
        Some(Self {
            name: name.to_owned(),
            uid: Uid::from_raw(uid.parse().ok()?),
            gid,
            groups: std::iter::once(gid)
                .chain(member_of(name, groups).filter(|other| *other != gid))
                .collect(),
            home: PathBuf::from(home),
            shell: PathBuf::from(shell),
        })
    }

    /// Makes this process that user's, for good.
    pub fn become_it(&self) -> anyhow::Result<()> {
        if nix::unistd::geteuid() == self.uid {
            return Ok(());
        }
        nix::unistd::setgroups(&self.groups).context("setgroups")?;
        nix::unistd::setgid(self.gid).context("setgid")?;
        nix::unistd::setuid(self.uid).context("setuid")
    }
}

fn member_of<'a>(name: &'a str, groups: &'a str) -> impl Iterator<Item = Gid> + 'a {
    groups.lines().filter_map(move |line| {
        let mut fields = line.split(':');
        let (_, _, number, members) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let member = members.split(',').any(|member| member == name);
        member.then(|| number.parse().ok().map(Gid::from_raw)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str =
        "root:x:0:0:root:/root:/bin/bash\nbroken\ndev:x:1000:1000::/home/dev:/bin/bash\nbare:x:7:7::/:\n";
    const GROUPS: &str = "root:x:0:\ndocker:x:44:other,dev\ndev:x:1000:dev\nvideo:x:45:devil\n";

    #[test]
    fn a_user_has_its_groups() {
        let user = User::parse("dev", USERS, GROUPS).unwrap();
        assert_eq!(user.groups, [Gid::from_raw(1000), Gid::from_raw(44)]);
        assert_eq!((user.uid, user.home.to_str().unwrap()), (Uid::from_raw(1000), "/home/dev"));
    }

    #[test]
    fn a_user_without_a_shell_has_the_usual_one() {
        assert_eq!(User::parse("bare", USERS, GROUPS).unwrap().shell, PathBuf::from("/bin/sh"));
    }

    #[test]
    fn who_is_not_there_is_not_found() {
        assert_eq!(User::parse("nobody", USERS, GROUPS), None);
        assert_eq!(User::parse("broken", USERS, GROUPS), None);
    }
}
