//! Makes lines out of a container fit for a status: no credentials, no control characters, no
//! more than a line.

const LONGEST: usize = 512;
const MASK: &str = "***";

/// What tokens of the well-known hosts begin with.
const TOKEN_PREFIXES: &[&str] =
    &["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "gldt-", "glrt-", "ATBB", "ATCTT"];

/// A text on one line, with what looks like a credential masked, shortened to a size for a status.
pub fn presentable(text: &str) -> String {
    let words: Vec<String> = text
        .split(|character: char| character.is_whitespace() || character.is_control())
        .filter(|word| !word.is_empty())
        .map(|word| without_token(&without_password(word)))
        .collect();
    let mut line = without_authorization(words).join(" ");
    if let Some((end, _)) = line.char_indices().nth(LONGEST) {
        line.truncate(end);
        line.push_str("...");
    }
    line
}

/// `https://user:password@host` loses its password.
fn without_password(word: &str) -> String {
    let Some((before, rest)) = word.split_once("://") else { return word.to_owned() };
    let authority = rest.split('/').next().unwrap_or(rest);
    let Some((userinfo, host)) = authority.rsplit_once('@') else { return word.to_owned() };
    let Some((user, _)) = userinfo.split_once(':') else { return word.to_owned() };
    format!("{before}://{user}:{MASK}@{host}{}", &rest[authority.len()..])
}

fn without_token(word: &str) -> String {
    let Some(start) = TOKEN_PREFIXES.iter().filter_map(|prefix| word.find(prefix)).min() else {
        return word.to_owned();
    };
    let token = &word[start..];
    let end = token.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').unwrap_or(token.len());
    // A word such as `ghp_` alone is somebody's explanation.
    if end < 12 {
        return word.to_owned();
    }
    format!("{}{MASK}{}", &word[..start], &token[end..])
}

fn without_authorization(words: Vec<String>) -> Vec<String> {
    let mut previous = String::new();
    words
        .into_iter()
        .map(|word| {
            let secret = matches!(previous.to_ascii_lowercase().as_str(), "bearer" | "basic")
                && word.len() >= 12
                && word.chars().all(|c| c.is_ascii_alphanumeric() || "+/=._-~".contains(c));
            previous.clone_from(&word);
            if secret { MASK.to_owned() } else { word }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(
        "fatal: unable to access 'https://me:hunter2@git.example/x/': no",
        "fatal: unable to access 'https://me:***@git.example/x/': no"
    )]
    #[case("https://me:p%40ss:word@h/x@y", "https://me:***@h/x@y")]
    #[case("https://git@github.com/x.git", "https://git@github.com/x.git")]
    #[case("bad token 'ghp_abcdefghijklmnop1234'.", "bad token '***'.")]
    #[case("tokens begin with ghp_ or glpat-", "tokens begin with ghp_ or glpat-")]
    #[case("Authorization: Basic Z2l0OmdocF9hYmM=", "Authorization: Basic ***")]
    #[case("HTTP Basic: Access denied", "HTTP Basic: Access denied")]
    #[case("a\u{1b}[31mb\n\tc\u{7}", "a [31mb c")]
    fn credentials_and_control_characters_are_gone(#[case] line: &str, #[case] expected: &str) {
        assert_eq!(presentable(line), expected);
    }

    #[test]
    fn long_lines_are_cut() {
        let line = presentable(&"ü".repeat(2000));
        assert_eq!(line.chars().count(), LONGEST + 3);
    }
}
