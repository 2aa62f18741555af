//! The id of a task.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};

use super::{InvalidName, NodeName};

/// The id of a task:
/// `UPID:{node}:{pid}:{pstart}:{start}:{type}:{id}:{user}:`, with numbers in hexadecimal.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Upid {
    text: String,
    node: NodeName,
    started: u64,
    /// Where `type`, `id` and `user` are in the text.
    fields: [(usize, usize); 3],
}

/// Longest text that is taken for an id.
const LONGEST: usize = 400;

impl Upid {
    /// The id as Proxmox VE writes it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The node that the task runs on. Others know nothing of it.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// When the task began, in seconds since 1970, by the clock of the node.
    pub fn started(&self) -> u64 {
        self.started
    }

    /// What the task does, as `vzcreate`. `hastart` and `hastop` only ask the cluster's high
    /// availability to do something, and end before it is done.
    pub fn kind(&self) -> &str {
        self.field(0)
    }

    /// What the task is about: mostly a container; of a clone the source.
    pub fn id(&self) -> &str {
        self.field(1)
    }

    /// Who began it, with the token after a `!`.
    pub fn user(&self) -> &str {
        self.field(2)
    }

    fn field(&self, index: usize) -> &str {
        self.fields.get(index).and_then(|&(from, to)| self.text.get(from..to)).unwrap_or_default()
    }
}

impl FromStr for Upid {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        read(text).ok_or_else(|| InvalidName::new("id of a task", text))
    }
}

fn read(text: &str) -> Option<Upid> {
    let printable = text.len() <= LONGEST && text.chars().all(|char| char.is_ascii_graphic());
    let mut parts = text.strip_prefix("UPID:").filter(|_| printable)?.split(':');
    let node = parts.next()?.parse().ok()?;
    hexadecimal(parts.next()?, 8..=8)?;
    hexadecimal(parts.next()?, 8..=9)?;
    let started = hexadecimal(parts.next()?, 8..=8)?;
    let texts = [parts.next()?, parts.next()?, parts.next()?];
    let [kind, _, user] = texts;
    let complete = parts.next() == Some("") && parts.next().is_none();
    if !complete || kind.is_empty() || user.is_empty() {
        return None;
    }
    // From the end, since what follows has known lengths: the last colon, then the fields.
    let mut end = text.len() - 1;
    let mut fields = texts.map(|_| (0, 0));
    for (field, text) in fields.iter_mut().zip(texts).rev() {
        *field = (end - text.len(), end);
        end -= text.len() + 1;
    }
    Some(Upid { text: text.to_owned(), node, started, fields })
}

fn hexadecimal(text: &str, length: std::ops::RangeInclusive<usize>) -> Option<u64> {
    let valid = length.contains(&text.len()) && text.chars().all(|char| char.is_ascii_hexdigit());
    valid.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Upid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[test]
    fn an_id_has_parts() {
        let text = "UPID:pve1:0001A2B3:00C0FFEE1:6740AB12:vzclone:9000:berth@pve!operator:";
        let upid: Upid = text.parse().unwrap();
        assert_eq!(upid.node().as_str(), "pve1");
        assert_eq!(upid.started(), 0x6740_AB12);
        assert_eq!((upid.kind(), upid.id(), upid.user()), ("vzclone", "9000", "berth@pve!operator"));
        assert_eq!(upid.to_string(), text);
    }

    #[rstest]
    #[case::no_last_colon("UPID:pve1:0001A2B3:00C0FFEE:6740AB12:vzclone:9000:root@pam")]
    #[case::one_field_more("UPID:pve1:0001A2B3:00C0FFEE:6740AB12:vzclone:9000:root@pam:x:")]
    #[case::no_hexadecimal("UPID:pve1:0001A2BX:00C0FFEE:6740AB12:vzclone:9000:root@pam:")]
    #[case::a_plus("UPID:pve1:+001A2B3:00C0FFEE:6740AB12:vzclone:9000:root@pam:")]
    #[case::short("UPID:pve1:A2B3:00C0FFEE:6740AB12:vzclone:9000:root@pam:")]
    #[case::no_node("UPID::0001A2B3:00C0FFEE:6740AB12:vzclone:9000:root@pam:")]
    #[case::a_path_as_node("UPID:../x:0001A2B3:00C0FFEE:6740AB12:vzclone:9000:root@pam:")]
    #[case::no_user("UPID:pve1:0001A2B3:00C0FFEE:6740AB12:vzclone:9000::")]
    #[case::a_line("UPID:pve1:0001A2B3:00C0FFEE:6740AB12:vzclone:9000:root@pam:\n")]
    #[case::something_else("OK")]
    #[case::nothing("")]
    fn what_is_no_id(#[case] text: &str) {
        assert!(text.parse::<Upid>().is_err());
    }

    #[test]
    fn a_task_may_be_about_nothing() {
        let upid: Upid = "UPID:pve1:0001A2B3:00C0FFEE:6740AB12:aptupdate::root@pam:".parse().unwrap();
        assert_eq!((upid.kind(), upid.id(), upid.user()), ("aptupdate", "", "root@pam"));
    }

    proptest! {
        #[test]
        fn every_id_keeps_its_parts(
            node in "[a-z][a-z0-9]{0,8}", pid: u32, pstart in 0..0x000F_FFFF_FFFF_u64, start: u32,
            kind in "[a-z]{1,10}", id in "[0-9a-z-]{0,9}", user in "[a-z]{1,8}@(pam|pve)(![a-z]{1,5})?",
        ) {
            let text = format!("UPID:{node}:{pid:08X}:{pstart:08X}:{start:08X}:{kind}:{id}:{user}:");
            let upid: Upid = text.parse().unwrap();
            prop_assert_eq!(upid.node().as_str(), node);
            prop_assert_eq!(upid.started(), u64::from(start));
            prop_assert_eq!((upid.kind(), upid.id(), upid.user()), (&*kind, &*id, &*user));
            prop_assert_eq!(upid.as_str(), text);
        }

        #[test]
        fn no_text_does_harm(text in "\\PC{0,60}|UPID(:[A-Za-z0-9@!]{0,9}){0,10}:?") {
            let _ = text.parse::<Upid>();
        }
    }
}
