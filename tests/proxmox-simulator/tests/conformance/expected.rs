//! Whether an answer is what a file says.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

/// What `{name}` stands for.
pub type Names = BTreeMap<String, String>;

/// Puts values in the place of names; braces around anything else stay.
pub fn filled(text: &str, names: &Names) -> String {
    names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

/// [`filled`] in all strings of a value.
pub fn filled_value(value: &Value, names: &Names) -> Value {
    match value {
        Value::String(text) => Value::String(filled(text, names)),
        Value::Array(items) => items.iter().map(|item| filled_value(item, names)).collect(),
        Value::Object(object) => {
            let fields = object.iter().map(|(key, value)| (filled(key, names), filled_value(value, names)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

/// Whether a text is the expected one. `~` starts a regular expression for the whole of it; what
/// names stand for is taken literally there.
pub fn text_is(expected: &str, found: &str, names: &Names) -> bool {
    match expected.strip_prefix('~') {
        None => filled(expected, names) == found,
        Some(pattern) => {
            let escaped = names.iter().map(|(name, value)| (name.clone(), regex::escape(value))).collect();
            let pattern = format!("(?s)^(?:{})$", filled(pattern, &escaped));
            Regex::new(&pattern).unwrap_or_else(|error| panic!("{pattern}: {error}")).is_match(found)
        }
    }
}

/// What is wrong with a value; nothing if it is the expected one. An object may have more fields than
/// are expected, an array not more items.
pub fn difference(at: &str, expected: &Value, found: &Value, names: &Names) -> Option<String> {
    let wrong = || Some(format!("{at} is {found}, not {}", filled_value(expected, names)));
    match (expected, found) {
        (Value::String(kind), _) if is_kind(kind) => {
            let matches = match kind.as_str() {
                "<any>" => true,
                "<integer>" => found.is_i64(),
                "<number>" => found.is_number(),
                "<string>" => found.is_string(),
                _ => false,
            };
            if matches { None } else { wrong() }
        }
        (Value::String(expected), Value::String(found)) if text_is(expected, found, names) => None,
        (Value::Object(expected), Value::Object(found)) => expected.iter().find_map(|(key, expected)| {
            let at = format!("{at}.{key}");
            match found.get(&filled(key, names)) {
                None if expected == "<absent>" => None,
                None => Some(format!("{at} is absent")),
                Some(found) => difference(&at, expected, found, names),
            }
        }),
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            expected.iter().zip(found).enumerate().find_map(|(index, (expected, found))| {
                difference(&format!("{at}[{index}]"), expected, found, names)
            })
        }
        (expected, found) if expected == found => None,
        _ => wrong(),
    }
}

fn is_kind(text: &str) -> bool {
    matches!(text, "<any>" | "<integer>" | "<number>" | "<string>" | "<absent>")
}

/// Whether an array has an item like this.
pub fn has_item(expected: &Value, found: &Value, names: &Names) -> bool {
    let items = found.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().any(|item| difference("", expected, item, names).is_none())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(json!({"a": 1}), json!({"a": 1, "b": 2}), true)]
    #[case(json!({"a": 1}), json!({"a": "1"}), false)]
    #[case(json!({"a": "<absent>"}), json!({"a": null}), false)]
    #[case(json!({"a": "<absent>"}), json!({}), true)]
    #[case(json!({"a": "<integer>"}), json!({"a": "1"}), false)]
    #[case(json!("~[0-9]{2}"), json!("12"), true)]
    #[case(json!("~[0-9]{2}"), json!("123"), false)]
    #[case(json!("{node}.x"), json!("pve.1.x"), true)]
    #[case(json!("~{node}"), json!("pveX1"), false)]
    #[case(json!([1]), json!([1, 2]), false)]
    #[case(json!(null), json!({}), false)]
    fn what_is_the_expected_value(#[case] expected: Value, #[case] found: Value, #[case] same: bool) {
        let names = Names::from([("node".to_owned(), "pve.1".to_owned())]);
        assert_eq!(difference("data", &expected, &found, &names).is_none(), same);
    }
}
