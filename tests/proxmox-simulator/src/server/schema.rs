//! The description of the API: calls, their parameters and who may make them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// Every call, by the pattern of its path and its method.
#[derive(Debug, Deserialize)]
pub struct Api {
    endpoints: BTreeMap<String, BTreeMap<String, Endpoint>>,
}

/// One call.
#[derive(Debug, Deserialize)]
pub struct Endpoint {
    /// The parameters, `net[n]` stands for `net0`, `net1` and so on.
    pub params: BTreeMap<String, Property>,
    /// Who may make it.
    #[serde(default)]
    pub permissions: Permissions,
    /// Whether pvedaemon answers, not the proxy.
    #[serde(default)]
    pub protected: bool,
    /// Whether it is passed on to the node in the path.
    #[serde(default)]
    pub proxyto: Option<String>,
}

/// Who may make a call.
#[derive(Debug, Default, Deserialize)]
pub struct Permissions {
    /// `all` who are logged in, or `world`.
    pub user: Option<String>,
    /// A check of privileges, as nested lists.
    pub check: Option<Value>,
}

/// One parameter.
#[derive(Debug, Deserialize)]
pub struct Property {
    /// string, integer, number or boolean.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The name of a format, or the keys of a list of `key=value`.
    pub format: Option<Format>,
    #[serde(default)]
    optional: u8,
    /// The smallest number.
    pub minimum: Option<Value>,
    /// The largest number.
    pub maximum: Option<Value>,
    /// The fewest characters.
    #[serde(rename = "minLength")]
    pub min_length: Option<usize>,
    /// The most characters.
    #[serde(rename = "maxLength")]
    pub max_length: Option<usize>,
    pattern: Option<Value>,
    /// The only values.
    #[serde(rename = "enum")]
    pub values: Option<Vec<String>>,
    /// Another parameter that has to be there.
    pub requires: Option<String>,
}

/// How a string is checked.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Format {
    /// By a named rule.
    Name(String),
    /// As a list of `key=value`.
    Keys(BTreeMap<String, Property>),
}

impl Property {
    /// Whether it may be left out.
    pub fn optional(&self) -> bool {
        self.optional != 0
    }

    /// The regular expression for the whole value, in Rust's notation.
    pub fn pattern(&self) -> Option<String> {
        let text = match self.pattern.as_ref()? {
            Value::String(text) => text.as_str(),
            object => object.get("$regex")?.as_str()?,
        };
        Some(text.replace("(?^:", "(?:").replace("\\0", "\\x00"))
    }
}

impl Endpoint {
    /// The description of a parameter.
    pub fn property(&self, name: &str) -> Option<&Property> {
        self.params.get(name).or_else(|| {
            let stem = name.trim_end_matches(|character: char| character.is_ascii_digit());
            let index = name.get(stem.len()..).filter(|index| !index.is_empty())?;
            let last: u32 = if stem == "net" { 31 } else { 255 };
            (index.parse::<u32>().ok()? <= last && (index == "0" || !index.starts_with('0')))
                .then(|| self.params.get(&format!("{stem}[n]")))?
        })
    }
}

/// A call that a path and a method name.
#[derive(Clone, Debug)]
pub struct Route<'a> {
    /// The path's pattern.
    pub pattern: &'a str,
    /// The call.
    pub endpoint: &'a Endpoint,
    /// What stands in the path.
    pub parameters: BTreeMap<String, String>,
}

impl Api {
    /// Reads the description that the program carries.
    ///
    /// # Errors
    ///
    /// That the description is wrong; never in a released program.
    pub fn load() -> Result<Self, serde_json::Error> {
        serde_json::from_str(include_str!("../api.json"))
    }

    /// Finds a call.
    pub fn route(&self, method: &str, path: &str) -> Option<Route<'_>> {
        self.endpoints.iter().find_map(|(pattern, methods)| {
            let parameters = matches(pattern, path)?;
            let endpoint = methods.get(method)?;
            Some(Route { pattern, endpoint, parameters })
        })
    }

    /// The keys of a container's configuration: what config PUT describes.
    pub fn config_property(&self, key: &str) -> Option<&Property> {
        if matches!(key, "digest" | "delete" | "revert" | "node" | "vmid") {
            return None;
        }
        let endpoint = self.endpoints.get("/nodes/{node}/lxc/{vmid}/config")?.get("PUT")?;
        match key {
            "unprivileged" => self.endpoints.get("/nodes/{node}/lxc")?.get("POST")?.params.get("template"),
            key => endpoint.property(key),
        }
    }
}

fn matches(pattern: &str, path: &str) -> Option<BTreeMap<String, String>> {
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    let mut parameters = BTreeMap::new();
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return Some(parameters),
            (Some(pattern), Some(part)) => {
                match pattern.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                    Some(name) if !part.is_empty() => drop(parameters.insert(name.into(), part.into())),
                    None if pattern == part => {}
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
}
