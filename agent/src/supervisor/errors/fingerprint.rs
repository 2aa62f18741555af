//! Which errors are the same: those that differ only in times, ports, positions and hashes.

use sha2::{Digest, Sha256};

/// So much of a message counts.
const COUNTS: usize = 500;
const TIME: &str = "0000-00-00T00:00:00";
const MILLISECONDS: usize = 13;

/// The same for the same errors, as hexadecimal digits.
pub fn fingerprint(message: &str, level: u8) -> String {
    let hash = Sha256::new().chain_update(clean(message)).chain_update([0, level]).finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A message without what differs each time.
fn clean(message: &str) -> String {
    let mut clean = String::new();
    let mut rest = message.trim();
    while let Some(first) = rest.chars().next() {
        let (length, stands_for) = if let Some(length) = time(rest) {
            (length, "<time>")
        } else if first.is_ascii_digit() {
            let length = digits(rest);
            (length, if length == MILLISECONDS { "<time>" } else { &rest[..length] })
        } else if let Some(length) = position(rest) {
            (length, ":<position>")
        } else if let Some(length) = port(rest) {
            (length, ":<port>")
        } else if let Some(hash) = rest.strip_prefix("?v=") {
            (3 + run(hash, |byte| byte.is_ascii_alphanumeric()), "?v=<hash>")
        } else if first.is_whitespace() {
            (rest.len() - rest.trim_start().len(), " ")
        } else {
            (first.len_utf8(), &rest[..first.len_utf8()])
        };
        clean.push_str(stands_for);
        rest = &rest[length..];
        if clean.len() > COUNTS {
            clean.truncate(clean.floor_char_boundary(COUNTS));
            break;
        }
    }
    clean
}

/// Length of the date and time at the beginning, as in `2026-01-02T03:04:05.678Z`.
fn time(text: &str) -> Option<usize> {
    let alike = |(byte, form): (u8, u8)| match form {
        b'0' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b' '),
        _ => byte == form,
    };
    let begins = text.len() >= TIME.len() && text.bytes().zip(TIME.bytes()).all(alike);
    if !begins {
        return None;
    }
    let mut length = TIME.len();
    if let Some(fraction) = text[length..].strip_prefix(['.', ',']) {
        length += 1 + digits(fraction);
    }
    length += match &text.as_bytes()[length..] {
        [b'Z', ..] => 1,
        [b'+' | b'-', b'0'..=b'9', b'0'..=b'9', b':', b'0'..=b'9', b'0'..=b'9', ..] => 6,
        _ => 0,
    };
    Some(length)
}

/// Length of the line and column at the beginning, as in `:12:34`.
fn position(text: &str) -> Option<usize> {
    let line = digits(text.strip_prefix(':')?);
    let column = digits(text[1 + line..].strip_prefix(':')?);
    if line > 0 && column > 0 { Some(2 + line + column) } else { None }
}

/// Length of the port at the beginning, as in `:3000`.
fn port(text: &str) -> Option<usize> {
    let length = digits(text.strip_prefix(':')?);
    if matches!(length, 4 | 5) { Some(1 + length) } else { None }
}

fn digits(text: &str) -> usize {
    run(text, u8::is_ascii_digit)
}

fn run(text: &str, belongs: impl Fn(&u8) -> bool) -> usize {
    text.bytes().take_while(belongs).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("at 2026-01-02T03:04:05.678Z it failed", "at <time> it failed")]
    #[case("2026-01-02 03:04:05+01:00 failed", "<time> failed")]
    #[case("took until 1767323045678", "took until <time>")]
    #[case("id 17673230456789 and 176732304567", "id 17673230456789 and 176732304567")]
    #[case("connect 127.0.0.1:43211 refused", "connect 127.0.0.1:<port> refused")]
    #[case("in app.js:12:7", "in app.js:<position>")]
    #[case("in app.js:12", "in app.js:12")]
    #[case("import /x.js?v=1a2b3c failed", "import /x.js?v=<hash> failed")]
    #[case("  much \t\n space ", "much space")]
    #[case("2026-01-02", "2026-01-02")]
    fn what_differs_each_time_is_left_out(#[case] message: &str, #[case] expected: &str) {
        assert_eq!(clean(message), expected);
    }

    #[test]
    fn level_and_text_tell_errors_apart() {
        assert_eq!(fingerprint("on :3000", 50), fingerprint("on  :4000", 50));
        assert_ne!(fingerprint("a", 50), fingerprint("a", 60));
        assert_ne!(fingerprint("a", 50), fingerprint("b", 50));
        assert_eq!(fingerprint(&"x".repeat(501), 50), fingerprint(&"x".repeat(502), 50));
    }

    proptest! {
        #[test]
        fn any_message_is_taken(message in "\\PC{0,700}|[0-9:?v=TZü .+-]{0,80}") {
            prop_assert!(clean(&message).len() <= COUNTS);
        }
    }
}
