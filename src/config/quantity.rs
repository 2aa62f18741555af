//! Kubernetes quantities as numbers: CPU in thousandths of a core, memory in bytes.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer};

/// CPU in thousandths of a core.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct CpuMillis(pub u64);

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Bytes(pub u64);

/// Text that is not a quantity.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a quantity such as 2, 500m, 512Mi or 2Gi")]
pub struct ParseQuantityError(String);

/// The quantity in thousandths, rounded up.
fn thousandths(text: &str) -> Result<u64, ParseQuantityError> {
    let error = || ParseQuantityError(text.to_owned());
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().map_err(|_| error())?;
    let factor = match &text[digits..] {
        "m" => 1.0,
        "" => 1e3,
        "k" => 1e6,
        "M" => 1e9,
        "G" => 1e12,
        "T" => 1e15,
        "Ki" => 1e3 * 1024f64,
        "Mi" => 1e3 * 1024f64.powi(2),
        "Gi" => 1e3 * 1024f64.powi(3),
        "Ti" => 1e3 * 1024f64.powi(4),
        _ => return Err(error()),
    };
    let value = (number * factor).ceil();
    if value.is_finite() && value < u64::MAX as f64 { Ok(value as u64) } else { Err(error()) }
}

impl FromStr for CpuMillis {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        thousandths(text).map(Self)
    }
}

impl FromStr for Bytes {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        thousandths(text).map(|value| Self(value.div_ceil(1000)))
    }
}

impl fmt::Display for CpuMillis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) {
            write!(formatter, "{}", self.0 / 1000)
        } else {
            write!(formatter, "{}m", self.0)
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
        match units.iter().find(|(_, shift)| self.0 > 0 && self.0.is_multiple_of(1 << shift)) {
            Some((unit, shift)) => write!(formatter, "{}{unit}", self.0 >> shift),
            None => write!(formatter, "{}", self.0),
        }
    }
}

/// Reads a YAML string or number.
fn scalar<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Scalar {
        Integer(u64),
        Float(f64),
        Text(String),
    }
    Ok(match Scalar::deserialize(deserializer)? {
        Scalar::Integer(number) => number.to_string(),
        Scalar::Float(number) => number.to_string(),
        Scalar::Text(text) => text,
    })
}

impl<'de> Deserialize<'de> for CpuMillis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, millis) in [("1", 1000), ("500m", 500), ("0.5", 500), ("1.5", 1500), ("2k", 2_000_000)] {
            assert_eq!(text.parse::<CpuMillis>().unwrap().0, millis, "{text}");
        }
        for (text, bytes) in
            [("1Gi", 1 << 30), ("512Mi", 512 << 20), ("1G", 1_000_000_000), ("1500m", 2), ("7", 7)]
        {
            assert_eq!(text.parse::<Bytes>().unwrap().0, bytes, "{text}");
        }
        for text in ["", "Gi", "1 Gi", "-1", "1e3", "1gi", "99999999999999Ti"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn quantities_are_written_short() {
        assert_eq!(Bytes(2 << 30).to_string(), "2Gi");
        assert_eq!(Bytes(1_000_000).to_string(), "1000000");
        assert_eq!(CpuMillis(1500).to_string(), "1500m");
        assert_eq!(CpuMillis(2000).to_string(), "2");
    }
}
