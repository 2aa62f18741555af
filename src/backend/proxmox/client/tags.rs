//! The tags of a container.

use std::{collections::BTreeSet, fmt, str::FromStr};

use super::InvalidName;

/// One tag, in lower case.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tag(String);

impl Tag {
    /// The tag as it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let first = |char: char| char.is_ascii_alphanumeric() || char == '_';
        let valid = text.starts_with(first)
            && text.len() <= 128
            && text.chars().all(|char| first(char) || "-+.".contains(char));
        if valid { Ok(Self(text.to_ascii_lowercase())) } else { Err(InvalidName::new("tag", text)) }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The tags of a container: a set. In which order and case they are stored is a setting of the
/// cluster.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tags(pub BTreeSet<Tag>);

impl Tags {
    /// Reads stored tags, divided by `;`, `,` or blanks. What is no tag is left out.
    pub fn read(text: &str) -> Self {
        let divided = text.split([';', ',', ' ', '\n', '\t']);
        Self(divided.filter_map(|tag| tag.parse().ok()).collect())
    }

    /// Whether a tag is among them.
    pub fn has(&self, tag: &Tag) -> bool {
        self.0.contains(tag)
    }
}

impl FromIterator<Tag> for Tags {
    fn from_iter<Iter: IntoIterator<Item = Tag>>(tags: Iter) -> Self {
        Self(tags.into_iter().collect())
    }
}

impl fmt::Display for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tags = self.0.iter().map(Tag::as_str).collect::<Vec<_>>();
        f.write_str(&tags.join(";"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("b;a", "a;b")]
    #[case("b,a c", "a;b;c")]
    #[case("B;b; a ;", "a;b")]
    #[case(" ", "")]
    #[case("-a;b", "b")]
    fn stored_tags_are_a_set(#[case] stored: &str, #[case] expected: &str) {
        assert_eq!(Tags::read(stored).to_string(), expected);
    }

    #[rstest]
    #[case("berth", true)]
    #[case("_x+y-z.1", true)]
    #[case("-x", false)]
    #[case("a b", false)]
    #[case("a;b", false)]
    #[case("", false)]
    #[case("ä", false)]
    fn tags(#[case] text: &str, #[case] valid: bool) {
        assert_eq!(text.parse::<Tag>().is_ok(), valid);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(texts in proptest::collection::vec("[A-Za-z0-9_][A-Za-z0-9_+.-]{0,9}", 0..6)) {
            let tags = texts.iter().map(|text| text.parse().unwrap()).collect::<Tags>();
            prop_assert_eq!(Tags::read(&tags.to_string()), tags);
        }
    }
}
