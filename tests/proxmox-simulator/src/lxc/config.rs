//! A container's configuration file: what it holds, its text and its digest.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;
use sha1::{Digest as _, Sha1};

/// One section: the current values, the pending ones, or a snapshot's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Section {
    /// Values by key. `description` is one of them; its lines start with `#` in the text.
    pub values: BTreeMap<String, String>,
    /// Lines for LXC itself.
    pub raw: Vec<(String, String)>,
}

/// A whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Config {
    /// What is current.
    pub main: Section,
    /// What waits for the next start. `delete` holds the keys that go then.
    pub pending: BTreeMap<String, String>,
    /// The snapshots by name.
    pub snapshots: BTreeMap<String, Section>,
}

impl Section {
    fn write(&self, text: &mut String) {
        for line in self.values.get("description").map(|text| text.lines()).into_iter().flatten() {
            let _ = writeln!(text, "#{}", encode(line));
        }
        for (key, value) in self.values.iter().filter(|(key, _)| *key != "description") {
            let _ = writeln!(text, "{key}: {value}");
        }
        for (key, value) in &self.raw {
            let _ = writeln!(text, "{key}: {value}");
        }
    }

    fn read(&mut self, line: &str) -> Result<(), String> {
        if let Some(comment) = line.strip_prefix('#') {
            let description = self.values.entry("description".into()).or_default();
            if !description.is_empty() {
                description.push('\n');
            }
            description.push_str(&decode(comment));
            return Ok(());
        }
        let (key, value) = line.split_once([':', '=']).ok_or(format!("unable to parse config: {line}"))?;
        let (key, value) = (key.trim(), value.trim());
        if key.starts_with("lxc.") {
            self.raw.push((key.into(), value.into()));
        } else if !key.is_empty()
            && key.chars().all(|part| part.is_ascii_alphanumeric() || part == '-' || part == '_')
        {
            self.values.insert(key.into(), value.into());
        } else {
            return Err(format!("unable to parse config: {line}"));
        }
        Ok(())
    }
}

fn encode(line: &str) -> String {
    line.replace('%', "%25").replace('\r', "%0D")
}

fn decode(line: &str) -> String {
    line.replace("%0D", "\r").replace("%3A", ":").replace("%25", "%")
}

impl Config {
    /// A value that is current.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.main.values.get(key).map(String::as_str)
    }

    /// Sets a current value.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.main.values.insert(key.to_owned(), value.into());
    }

    /// Whether a boolean is set.
    pub fn flag(&self, key: &str) -> bool {
        self.get(key) == Some("1")
    }

    /// The lock.
    pub fn lock(&self) -> Option<&str> {
        self.get("lock")
    }

    /// Refuses if it is locked.
    ///
    /// # Errors
    ///
    /// `CT is locked (X)`.
    pub fn check_lock(&self) -> Result<(), String> {
        self.lock().map_or(Ok(()), |lock| Err(format!("CT is locked ({lock})")))
    }

    /// Takes the lock away.
    pub fn unlock(&mut self) {
        self.main.values.remove("lock");
    }

    /// The keys whose removal is pending.
    pub fn pending_deletes(&self) -> Vec<String> {
        let keys = self.pending.get("delete").map(String::as_str).unwrap_or_default();
        keys.split(',').filter(|key| !key.is_empty()).map(str::to_owned).collect()
    }

    /// Notes that a key goes at the next start.
    pub fn remove_later(&mut self, key: &str) {
        let mut keys = self.pending_deletes();
        if !keys.iter().any(|known| known == key) {
            keys.push(key.to_owned());
        }
        self.pending.insert("delete".into(), keys.join(","));
    }

    /// Takes back that a key goes at the next start.
    pub fn keep(&mut self, key: &str) {
        let mut keys = self.pending_deletes();
        keys.retain(|known| known != key);
        if keys.is_empty() {
            self.pending.remove("delete");
        } else {
            self.pending.insert("delete".into(), keys.join(","));
        }
    }

    /// What becomes of the current values at the next start.
    pub fn merged(&self) -> Section {
        let mut section = self.main.clone();
        for key in self.pending_deletes() {
            section.values.remove(&key);
        }
        let pending = self.pending.iter().filter(|(key, _)| *key != "delete");
        section.values.extend(pending.map(|(key, value)| (key.clone(), value.clone())));
        section
    }

    /// Makes what was pending current.
    pub fn apply_pending(&mut self) {
        self.main = self.merged();
        self.pending.clear();
    }

    /// The name that the API shows.
    pub fn hostname(&self, vmid: u32) -> String {
        self.get("hostname").map_or_else(|| format!("CT{vmid}"), str::to_owned)
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.main.write(&mut text);
        if !self.pending.is_empty() {
            text.push_str("\n[pve:pending]\n");
            Section { values: self.pending.clone(), raw: Vec::new() }.write(&mut text);
        }
        for (name, section) in &self.snapshots {
            let _ = write!(text, "\n[{name}]\n");
            section.write(&mut text);
        }
        text
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// The first line that can not be read.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut sections: Vec<(Option<String>, Section)> = vec![(None, Section::default())];
        for line in text.lines().map(str::trim_end).filter(|line| !line.trim().is_empty()) {
            match line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                Some(name) => sections.push((Some(name.to_owned()), Section::default())),
                None => sections.last_mut().map_or(Ok(()), |(_, section)| section.read(line))?,
            }
        }
        let mut config = Self::default();
        for (name, section) in sections {
            match name.as_deref() {
                None => config.main = section,
                Some("pve:pending") => config.pending = section.values,
                Some(name) => drop(config.snapshots.insert(name.to_owned(), section)),
            }
        }
        Ok(config)
    }

    /// Changes with every change of the text.
    pub fn digest(&self) -> String {
        hex::encode(Sha1::digest(self.text()))
    }
}
