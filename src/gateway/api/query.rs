//! Reading queries: names that are known, values that fit.

use std::{fmt::Display, str::FromStr};

use url::form_urlencoded;

use super::problem::Problem;

/// Most parameters of a query.
const MOST: usize = 4_096;

/// The parameters of a query.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Takes the query of a URI; every name in it has to be a known one, since a misspelt name
    /// would be silently without effect. `timeout` and the like, which kubectl adds to everything,
    /// are left out.
    pub fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
            .filter(|(name, _)| !matches!(name.as_ref(), "timeout" | "pretty"))
            .take(MOST + 1)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        if pairs.len() > MOST {
            return Err(Problem::bad_request(format!("the query has more than {MOST} parameters")));
        }
        match pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => Err(Problem::bad_request(format!(
                "unknown parameter {name:?}; there are {}",
                known.join(", ")
            ))),
            None => Ok(Self(pairs)),
        }
    }

    /// Each value of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a name, where it is there and not blank.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .filter(|v| !v.is_empty())
    }

    /// The value of a name, read.
    pub fn value<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Problem> {
        let read = |text: &str| {
            text.parse().map_err(|error| Problem::bad_request(format!("{name}: {text:?}: {error}")))
        };
        self.text(name).map(read).transpose()
    }

    /// Whether a name is there and says yes; as elsewhere in Kubernetes, also without a value.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        match self.all(name).next() {
            None => Ok(None),
            Some("" | "true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(Some(true)),
            Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(Some(false)),
            Some(other) => Err(Problem::bad_request(format!("{name}: {other:?} is neither true nor false"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        let query = Query::parse(Some("a=1&b&c=x+y&c=%2F&timeout=5s"), &["a", "b", "c"]).unwrap();
        assert_eq!(query.value::<u16>("a").unwrap(), Some(1));
        assert_eq!(query.flag("b").unwrap(), Some(true));
        assert_eq!(query.all("c").collect::<Vec<_>>(), ["x y", "/"]);
        assert_eq!(query.flag("d").unwrap(), None);
    }

    #[test]
    fn what_is_unknown_or_does_not_fit_is_refused() {
        assert!(Query::parse(Some("folow=true"), &["follow"]).is_err());
        let query = Query::parse(Some("tail=many&follow=maybe"), &["tail", "follow"]).unwrap();
        assert!(query.value::<u64>("tail").is_err());
        assert!(query.flag("follow").is_err());
    }
}
