//! Checks parameters against the description of the API.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    formats,
    schema::{Endpoint, Format, Property},
};
use crate::failure::Failure;

/// A call's parameters after they were read, whatever carried them. `None` is a JSON `null`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(pub BTreeMap<String, Option<String>>);

impl Params {
    /// A parameter's text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_deref()
    }

    /// Whether a boolean is set.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name) == Some("1")
    }

    /// A number.
    pub fn number<N: std::str::FromStr>(&self, name: &str) -> Option<N> {
        self.get(name)?.parse().ok()
    }

    /// Reads `key=value&...`. A semicolon parts as well, what follows a second `=` is dropped, and
    /// an empty value is none.
    pub fn add_form(&mut self, text: &[u8]) {
        for pair in text.split(|byte| matches!(byte, b'&' | b';')).filter(|pair| !pair.is_empty()) {
            let mut parts = pair.split(|byte| *byte == b'=').map(decoded);
            let key = parts.next().unwrap_or_default();
            self.0.insert(key, parts.next().filter(|value| !value.is_empty()));
        }
    }

    /// Reads a JSON object. Booleans are `0` and `1`, the items of a list are joined.
    ///
    /// # Errors
    ///
    /// That it is no JSON object.
    pub fn add_json(&mut self, text: &[u8]) -> Result<(), String> {
        let object: BTreeMap<String, Value> =
            serde_json::from_slice(text).map_err(|error| format!("malformed JSON string: {error}"))?;
        self.0.extend(object.into_iter().map(|(key, value)| (key, plain(&value))));
        Ok(())
    }
}

fn decoded(text: &[u8]) -> String {
    // What could part it further is gone already.
    let name = url::form_urlencoded::parse(text).next();
    name.map(|(name, _)| name.into_owned()).unwrap_or_default()
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(set) => Some(u8::from(*set).to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(items.iter().filter_map(plain).collect::<Vec<_>>().join(",")),
        other => Some(other.to_string()),
    }
}

/// Checks all parameters of a call; the failure names every one that is wrong.
///
/// # Errors
///
/// 400 with the words for each wrong parameter.
pub fn verify(endpoint: &Endpoint, params: &Params) -> Result<(), Failure> {
    let mut errors = BTreeMap::new();
    for (name, value) in &params.0 {
        let Some(property) = endpoint.property(name) else {
            errors.insert(name.clone(), UNKNOWN.to_owned());
            continue;
        };
        if let Some(value) = value
            && let Err(words) = check(name, property, value)
        {
            errors.insert(name.clone(), words);
        }
        if let Some(other) = &property.requires
            && !params.0.contains_key(other)
        {
            errors.insert(other.clone(), format!("missing property required by '{name}'"));
        }
    }
    for (name, property) in &endpoint.params {
        if !property.optional() && params.get(name).is_none() {
            errors.insert(name.clone(), MISSING.to_owned());
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Failure::parameters(errors)) }
}

const MISSING: &str = "property is missing and it is not optional";
const UNKNOWN: &str = "property is not defined in schema and the schema does not allow additional properties";

/// Checks one value.
///
/// # Errors
///
/// The words for it.
pub fn check(name: &str, property: &Property, value: &str) -> Result<(), String> {
    let kind = property.kind.as_deref().unwrap_or("string");
    let is_number = match kind {
        "boolean" if !matches!(value, "0" | "1") => false,
        "integer" => formats::whole(r"[+-]?\d+", value),
        "number" => formats::whole(r"[+-]?\d*\.?\d+(?:[eE][+-]?\d+)?", value),
        _ => true,
    };
    if !is_number {
        return Err(format!("type check ('{kind}') failed - got '{value}'"));
    }
    match &property.format {
        Some(Format::Name(format)) => {
            formats::check(format, value).map_err(|words| format!("invalid format - {words}"))?;
        }
        Some(Format::Keys(keys)) => {
            drop(split(name, keys, value).map_err(|words| format!("invalid format - {words}"))?)
        }
        None => {}
    }
    if let Some(pattern) = property.pattern()
        && !formats::whole(&pattern, value)
    {
        return Err("value does not match the regex pattern".into());
    }
    bounds(property, kind, value)
}

fn bounds(property: &Property, kind: &str, value: &str) -> Result<(), String> {
    let length = value.chars().count();
    if let Some(longest) = property.max_length.filter(|longest| length > *longest) {
        return Err(format!("value may only be {longest} characters long"));
    }
    if let Some(shortest) = property.min_length.filter(|shortest| length < *shortest) {
        return Err(format!("value must be at least {shortest} characters long"));
    }
    if matches!(kind, "integer" | "number")
        && let Ok(number) = value.parse::<f64>()
    {
        if let Some(least) = bound(property.minimum.as_ref()).filter(|least| number < *least) {
            return Err(format!("value must have a minimum value of {least}"));
        }
        if let Some(most) = bound(property.maximum.as_ref()).filter(|most| number > *most) {
            return Err(format!("value must have a maximum value of {most}"));
        }
    }
    match &property.values {
        Some(values) if !values.iter().any(|allowed| allowed == value) => {
            let values = values.join(", ");
            Err(format!("value '{value}' does not have a value in the enumeration '{values}'"))
        }
        _ => Ok(()),
    }
}

fn bound(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::String(text) => text.parse().ok(),
        value => value.as_f64(),
    }
}

/// In lists of `key=value` more words are booleans than in parameters.
fn flag_in_a_list<'a>(property: &Property, value: &'a str) -> &'a str {
    if property.kind.as_deref() != Some("boolean") {
        return value;
    }
    match value.to_ascii_lowercase().as_str() {
        "on" | "yes" | "true" => "1",
        "off" | "no" | "false" => "0",
        _ => value,
    }
}

/// Splits `key=value,...` and checks each part. A value without a key belongs to `volume` or `path`.
///
/// # Errors
///
/// The words for what is wrong in it.
pub fn split(
    name: &str,
    keys: &BTreeMap<String, Property>,
    text: &str,
) -> Result<BTreeMap<String, String>, String> {
    let default = ["volume", "path"].into_iter().find(|key| keys.contains_key(*key));
    let mut values = BTreeMap::new();
    let mut errors = BTreeMap::new();
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        let (key, value) = match (part.split_once('='), default) {
            (Some((key, value)), _) if key.is_empty() || value.is_empty() => {
                return Err("missing key in comma-separated list property\n".into());
            }
            (Some((key, value)), _) => (key, value),
            (None, Some(default)) => (default, part),
            (None, None) => {
                return Err("value without key, but schema does not define a default key\n".into());
            }
        };
        if values.contains_key(key) {
            return Err(format!("duplicate key in comma-separated list property: {key}\n"));
        }
        let Some(property) = keys.get(key) else {
            return Err(format!("invalid key in comma-separated list property: {key}\n"));
        };
        let value = flag_in_a_list(property, value);
        if let Err(words) = check(key, property, value) {
            errors.insert(key.to_owned(), words);
        }
        values.insert(key.to_owned(), value.to_owned());
    }
    for (key, property) in keys {
        if !property.optional() && !values.contains_key(key) {
            errors.insert(key.clone(), MISSING.to_owned());
        }
    }
    if errors.is_empty() {
        return Ok(values);
    }
    Err(errors.iter().fold("format error\n".to_owned(), |all, (key, words)| {
        format!("{all}{name}.{key}: {}\n", words.trim_end_matches('\n'))
    }))
}
