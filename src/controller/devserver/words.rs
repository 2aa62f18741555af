//! What an agent says, made fit for a status. It comes from inside a workspace: whoever works
//! there may have written it.

use crate::api::condition::truncate;

/// The longest text taken from an agent, in bytes.
pub const TEXT_LIMIT: usize = 1024;
const REASON_LIMIT: usize = 64;

/// A reason that is a word; else the word for all others.
pub fn reason(word: Option<&str>) -> String {
    let word = word.unwrap_or_default();
    let good = word.len() <= REASON_LIMIT
        && word.starts_with(|first: char| first.is_ascii_uppercase())
        && word.chars().all(|each| each.is_ascii_alphanumeric());
    if good { word.to_owned() } else { "ProcessFailed".to_owned() }
}

/// Text on several lines, without what a terminal would act on.
pub fn text(text: &str) -> String {
    let safe: String =
        text.chars().map(|each| if each.is_control() && each != '\n' { ' ' } else { each }).collect();
    truncate(safe.trim(), TEXT_LIMIT)
}

/// Text on one line.
pub fn line(text: &str) -> String {
    let safe: String = text.chars().map(|each| if each.is_control() { ' ' } else { each }).collect();
    truncate(&safe.split_whitespace().collect::<Vec<_>>().join(" "), TEXT_LIMIT)
}

/// The last line that says something.
pub fn last_line(text: &str) -> Option<String> {
    text.lines().rev().map(line).find(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(Some("CrashLoop"), "CrashLoop")]
    #[case(None, "ProcessFailed")]
    #[case(Some(""), "ProcessFailed")]
    #[case(Some("not a word"), "ProcessFailed")]
    #[case(Some("\u{1b}[31mRed"), "ProcessFailed")]
    fn reasons(#[case] told: Option<&str>, #[case] taken: &str) {
        assert_eq!(reason(told), taken);
        assert_eq!(reason(Some(&"A".repeat(65))), "ProcessFailed");
    }

    #[test]
    fn a_terminal_has_nothing_to_act_on() {
        assert_eq!(text("\u{1b}[2Ja\r\nb\u{7}"), "[2Ja \nb");
        assert_eq!(line("a\n\tb\u{9b}c"), "a b c");
        assert!(text(&"ä".repeat(5000)).len() <= TEXT_LIMIT);
    }

    #[test]
    fn the_last_line_is_one_that_says_something() {
        assert_eq!(last_line("first\nError: x\n\n  \n").as_deref(), Some("Error: x"));
        assert_eq!(last_line("\n"), None);
    }
}
