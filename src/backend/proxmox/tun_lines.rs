//! The lines of a container's configuration file that give it the device `/dev/net/tun`.

const ALLOW: &str = "lxc.cgroup2.devices.allow: c 10:200 rwm";
const MOUNT: &str = "lxc.mount.entry: /dev/net/tun dev/net/tun none bind,create=file";

/// The text of a configuration file with the lines that are missing; `None` when none is.
///
/// They stand at the end of what is the container's own, before the first section: what follows is
/// of its snapshots, or pending. There is no comment line, since that would become the container's
/// description. A container that has the device by an entry `dev0` and the like needs no lines.
pub fn with_tun(text: &str) -> Option<String> {
    let (own, sections) = text.split_at(first_section(text));
    let lines: Vec<Line> = own.lines().filter_map(Line::parse).collect();
    if lines.iter().any(Line::is_device_entry) {
        return None;
    }
    let is_allowed = lines.iter().any(Line::allows);
    let is_mounted = lines.iter().any(Line::mounts);
    let missing: String = [(is_allowed, ALLOW), (is_mounted, MOUNT)]
        .iter()
        .filter(|(is_there, _)| !is_there)
        .map(|(_, line)| format!("{line}\n"))
        .collect();
    if missing.is_empty() {
        return None;
    }
    // The empty lines before a section stay before it.
    let written = own.trim_end_matches(['\n', '\r', ' ', '\t']);
    let end = own.get(written.len()..).unwrap_or_default();
    let (last_end, blank) = match end.split_once('\n') {
        Some((last_end, blank)) if !written.is_empty() => (format!("{last_end}\n"), blank),
        None if !written.is_empty() => (format!("{end}\n"), ""),
        _ => (String::new(), end),
    };
    Some(format!("{written}{last_end}{missing}{blank}{sections}"))
}

/// Where the first section begins.
fn first_section(text: &str) -> usize {
    let mut place = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with('[') && line.trim_end().ends_with(']') {
            break;
        }
        place += line.len();
    }
    place
}

/// A line that is no comment: `KEY: VALUE`, or `KEY = VALUE` of LXC's own keys.
struct Line<'a> {
    key: &'a str,
    value: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (key, value) = line.split_once([':', '='])?;
        let (key, value) = (key.trim(), value.trim());
        (!key.starts_with('#')).then_some(Self { key, value })
    }

    fn is_device_entry(&self) -> bool {
        let number = self.key.strip_prefix("dev").unwrap_or_default();
        let is_entry = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let path = self.value.split(',').map(|part| part.trim().trim_start_matches("path=")).next();
        is_entry && path == Some("/dev/net/tun")
    }

    fn allows(&self) -> bool {
        let words: Vec<&str> = self.value.split_whitespace().collect();
        self.key == "lxc.cgroup2.devices.allow"
            && matches!(words.as_slice(), ["c", "10:200", rights] if rights.contains('r') && rights.contains('w'))
    }

    fn mounts(&self) -> bool {
        let mut words = self.value.split_whitespace();
        self.key == "lxc.mount.entry"
            && words.next() == Some("/dev/net/tun")
            && words.next().is_some_and(|target| target.trim_start_matches('/') == "dev/net/tun")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const BOTH: &str = "lxc.cgroup2.devices.allow: c 10:200 rwm\n\
                        lxc.mount.entry: /dev/net/tun dev/net/tun none bind,create=file\n";

    #[rstest]
    #[case::plain("arch: amd64\nmemory: 512\n", "arch: amd64\nmemory: 512\nBOTH")]
    #[case::no_last_line_end("arch: amd64", "arch: amd64\nBOTH")]
    #[case::empty("", "BOTH")]
    #[case::before_a_snapshot(
        "#words\narch: amd64\nparent: one\n\n[one]\narch: amd64\nsnaptime: 1\n",
        "#words\narch: amd64\nparent: one\nBOTH\n[one]\narch: amd64\nsnaptime: 1\n"
    )]
    #[case::before_what_is_pending(
        "arch: amd64\n[pve:pending]\nmemory: 1\n",
        "arch: amd64\nBOTH[pve:pending]\nmemory: 1\n"
    )]
    #[case::nothing_but_a_section("[one]\narch: amd64\n", "BOTH[one]\narch: amd64\n")]
    #[case::of_a_snapshot_alone(
        "arch: amd64\n\n[one]\nBOTHdev0: /dev/net/tun\n",
        "arch: amd64\nBOTH\n[one]\nBOTHdev0: /dev/net/tun\n"
    )]
    #[case::in_a_comment("#ALLOW\n#MOUNTarch: amd64\n", "#ALLOW\n#MOUNTarch: amd64\nBOTH")]
    #[case::only_described("#dev0: /dev/net/tun\narch: amd64\n", "#dev0: /dev/net/tun\narch: amd64\nBOTH")]
    #[case::one_of_two(
        "lxc.cgroup2.devices.allow: c 10:200 rwm\narch: amd64\n",
        "lxc.cgroup2.devices.allow: c 10:200 rwm\narch: amd64\nMOUNT"
    )]
    #[case::another_device(
        "lxc.mount.entry: /dev/fuse dev/fuse none bind\ndev0: /dev/kvm\n",
        "lxc.mount.entry: /dev/fuse dev/fuse none bind\ndev0: /dev/kvm\nBOTH"
    )]
    fn lines_are_put_before_the_first_section(#[case] text: &str, #[case] wanted: &str) {
        let mount = format!("{MOUNT}\n");
        let fill = |text: &str| text.replace("BOTH", BOTH).replace("MOUNT", &mount).replace("ALLOW", ALLOW);
        assert_eq!(with_tun(&fill(text)).unwrap(), fill(wanted));
    }

    #[rstest]
    #[case("BOTH")]
    #[case("arch: amd64\nBOTH\n[one]\narch: amd64\n")]
    #[case(
        "lxc.cgroup2.devices.allow = c 10:200 rw\nlxc.mount.entry =/dev/net/tun  dev/net/tun none bind 0 0\n"
    )]
    #[case("dev0: /dev/net/tun\n")]
    #[case("dev12: /dev/net/tun,mode=0666\n")]
    #[case("dev0: mode=0666\ndev1: path=/dev/net/tun\n")]
    fn nothing_is_missing(#[case] text: &str) {
        assert_eq!(with_tun(&text.replace("BOTH", BOTH)), None);
    }

    fn config() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            Just(ALLOW.to_owned()),
            Just(MOUNT.to_owned()),
            Just("dev0: /dev/net/tun".to_owned()),
            Just(String::new()),
            Just("[snap]".to_owned()),
            "[a-z]{1,8}: [a-z0-9,=/]{0,12}",
            "#[ -~]{0,12}",
            "[ -~]{0,16}",
        ];
        (proptest::collection::vec(line, 0..10), any::<bool>())
            .prop_map(|(lines, ended)| lines.join("\n") + if ended { "\n" } else { "" })
    }

    proptest! {
        #[test]
        fn once_is_enough(text in config()) {
            if let Some(changed) = with_tun(&text) {
                prop_assert_eq!(with_tun(&changed), None);
            }
        }

        #[test]
        fn nothing_else_is_touched(text in config()) {
            if let Some(changed) = with_tun(&text) {
                let at = first_section(&changed);
                prop_assert_eq!(&changed[at..], &text[first_section(&text)..]);
                let mut before = text[..first_section(&text)].lines();
                let mut added = Vec::new();
                for line in changed[..at].lines() {
                    let rest = before.clone();
                    if before.next() != Some(line) {
                        before = rest;
                        added.push(line);
                    }
                }
                prop_assert_eq!(before.next(), None);
                prop_assert!(!added.is_empty() && added.iter().all(|line| [ALLOW, MOUNT].contains(line)));
            }
        }
    }
}
