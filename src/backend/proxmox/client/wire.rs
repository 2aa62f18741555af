//! How Proxmox VE writes values in JSON: a number may be a string, a boolean is mostly `0` or `1`,
//! and which of them is sent differs between calls, releases and settings.

use std::{fmt::Display, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

/// The text of a scalar, whatever its type in JSON. Nothing for lists, maps and `null`.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(u8::from(*flag).to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether a value is one of the forms of "yes".
pub(super) fn is_true(value: &Value) -> bool {
    text_of(value).is_some_and(|text| text == "1")
}

/// A number, or something written like one.
pub(super) fn number<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let value = Value::deserialize(deserializer)?;
    text_of(&value).ok_or_else(|| D::Error::custom("no number"))?.parse().map_err(D::Error::custom)
}

/// A number that may be `null`, empty or, with `#[serde(default)]`, not there.
pub(super) fn optional_number<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let value = Value::deserialize(deserializer)?;
    match text_of(&value).filter(|text| !text.trim().is_empty()) {
        Some(text) => text.trim().parse().map(Some).map_err(D::Error::custom),
        None => Ok(None),
    }
}

/// A boolean. Not there with `#[serde(default)]`: no.
pub(super) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(is_true(&Value::deserialize(deserializer)?))
}

/// A text, or a scalar taken as its text.
pub(super) fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(text_of(&Value::deserialize(deserializer)?))
}

/// A list; `null` is an empty one.
pub(super) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
