//! Which lines are errors.

use berth_link::wire::process::ErrorDetection;
use serde_json::Value;

use super::beginning;

/// Levels, as pino has them.
const ERROR: u8 = 50;
const FATAL: u8 = 60;
const LONGEST_MESSAGE: usize = 1 << 10;
/// What lines of common tools contain where something is wrong.
const CONTAINED: [&str; 14] = [
    "Error:",
    "Exception:",
    "Traceback (most recent call last)",
    "EADDRINUSE",
    "panic:",
    "panicked at",
    "error TS",
    "Failed to compile",
    "Module not found",
    "Cannot find module",
    "UnhandledPromiseRejection",
    "Segmentation fault",
    "FATAL ERROR",
    "Out of memory",
];
/// What they begin with.
const FIRST: [&str; 4] = ["error:", "error[", "fatal:", "ERROR"];

/// Finds errors.
#[derive(Clone, Debug)]
pub struct Detector {
    json: bool,
    text: bool,
    fatal: Vec<String>,
}

/// An error in a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// As pino has it.
    pub level: u8,
    /// What it says, at most 1 KiB.
    pub message: String,
    /// Whether the process is beyond help.
    pub fatal: bool,
}

impl Detector {
    /// Finds what is asked for.
    pub fn new(wanted: &ErrorDetection) -> Self {
        let fatal = wanted.fatal.iter().map(|part| part.to_lowercase());
        Self { json: wanted.json, text: wanted.text, fatal: fatal.filter(|part| !part.is_empty()).collect() }
    }

    /// The error in a line, if there is one.
    pub fn find(&self, line: &str) -> Option<Found> {
        let line = without_colours(line);
        let line = line.trim();
        let json = if self.json { Logged::read(line) } else { None };
        let message = json.as_ref().map_or(line, |logged| &logged.message);
        let found = |level, fatal| {
            let message = beginning(message, LONGEST_MESSAGE).to_owned();
            Some(Found { level, message, fatal })
        };
        if self.is_fatal(line) {
            return found(FATAL, true);
        }
        match &json {
            Some(logged) if logged.level >= ERROR => found(logged.level, false),
            // It says itself that it is none.
            Some(_) => None,
            None if self.text && looks_wrong(line) => found(ERROR, false),
            None => None,
        }
    }

    fn is_fatal(&self, line: &str) -> bool {
        if self.fatal.is_empty() {
            return false;
        }
        let line = line.to_lowercase();
        self.fatal.iter().any(|part| line.contains(part))
    }
}

/// A line that is a JSON object with a numeric level.
struct Logged {
    level: u8,
    message: String,
}

impl Logged {
    fn read(line: &str) -> Option<Self> {
        if !line.starts_with('{') {
            return None;
        }
        let value: Value = serde_json::from_str(line).ok()?;
        let level = value.get("level")?.as_f64()?.clamp(0.0, f64::from(u8::MAX));
        let message = ["/msg", "/message", "/err/message", "/error/message"]
            .into_iter()
            .find_map(|place| value.pointer(place)?.as_str())
            .unwrap_or(line);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within bounds")]
        Some(Self { level: level as u8, message: message.to_owned() })
    }
}

fn looks_wrong(line: &str) -> bool {
    FIRST.iter().any(|part| line.starts_with(part)) || CONTAINED.iter().any(|part| line.contains(part))
}

/// A line without the sequences that colour it.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|each: char| ('\u{40}'..='\u{7e}').contains(&each));
        plain.push_str(end.map_or("", |end| &part[end + 1..]));
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn detector(json: bool, text: bool) -> Detector {
        Detector::new(&ErrorDetection { json, text, fatal: vec!["Out of Memory".to_owned(), String::new()] })
    }

    #[rstest]
    #[case::pino(r#"{"level":50,"time":1,"msg":"no database"}"#, Some((50, "no database", false)))]
    #[case::fatal_level(r#"  {"level":60,"msg":"down"}"#, Some((60, "down", false)))]
    #[case::no_message(r#"{"level":50}"#, Some((50, r#"{"level":50}"#, false)))]
    #[case::inner_message(r#"{"level":55,"err":{"message":"inner"}}"#, Some((55, "inner", false)))]
    #[case::huge(r#"{"level":1e300,"msg":"x"}"#, Some((255, "x", false)))]
    #[case::warning(r#"{"level":40,"msg":"Error: only a warning"}"#, None)]
    #[case::level_as_text(r#"{"level":"error","msg":"x"}"#, None)]
    #[case::javascript("TypeError: x is not a function", Some((50, "TypeError: x is not a function", false)))]
    #[case::colours("\u{1b}[31m\u{1b}[1mError: red\u{1b}[0m", Some((50, "Error: red", false)))]
    #[case::python("Traceback (most recent call last):", Some((50, "Traceback (most recent call last):", false)))]
    #[case::typescript("a.ts(1,2): error TS2304: no name", Some((50, "a.ts(1,2): error TS2304: no name", false)))]
    #[case::rust("error[E0382]: moved", Some((50, "error[E0382]: moved", false)))]
    #[case::go("panic: nil", Some((50, "panic: nil", false)))]
    #[case::port("listen EADDRINUSE :::3000", Some((50, "listen EADDRINUSE :::3000", false)))]
    #[case::fatal("now OUT OF memory", Some((60, "now OUT OF memory", true)))]
    #[case::fatal_json(r#"{"level":30,"msg":"out of memory"}"#, Some((60, "out of memory", true)))]
    #[case::no_error("compiled with 0 errors", None)]
    #[case::nothing("", None)]
    fn errors_are_found(#[case] line: &str, #[case] expected: Option<(u8, &str, bool)>) {
        let expected =
            expected.map(|(level, message, fatal)| Found { level, message: message.to_owned(), fatal });
        assert_eq!(detector(true, true).find(line), expected);
    }

    #[rstest]
    #[case(r#"{"level":50,"msg":"x"}"#)]
    #[case("Error: x")]
    fn only_what_is_asked_for(#[case] line: &str) {
        assert_eq!(detector(false, false).find(line), None);
        assert!(detector(false, false).find("out of memory").is_some_and(|found| found.fatal));
    }

    proptest! {
        #[test]
        fn any_line_is_taken(line in "\\PC{0,80}|(\u{1b}\\[[0-9;]{0,4}m?[a-zü{}\":]{0,5}){0,20}") {
            let found = detector(true, true).find(&line);
            prop_assert!(found.is_none_or(|found| found.message.len() <= LONGEST_MESSAGE));
        }
    }
}
