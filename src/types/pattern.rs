//! Patterns of grants and bindings: whole words, `*` for one word, `#` last for any number.
//! Refuses every other syntax; there are no regular expressions in gmq.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::name::words_are_valid;

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must have 1 to 200 bytes: words of A-Z a-z 0-9 _ - separated by single dots, where * is \
     exactly one word and # as the last word is any number of words"
)]
pub struct PatternError;

/// A checked pattern. `a.#` matches `a`, `a.b` and `a.b.c`; `a.*` matches `a.b` alone of these.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// Takes a text that follows the rule.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let head = match text.rsplit_once('.') {
            Some((head, "#")) => head,
            None if text == "#" => return Ok(Self(text.into())),
            _ => text,
        };
        let valid = text.len() <= super::name::QUEUE_NAME_BYTES_MAX
            && words_are_valid(head, |word| word == "*");
        if valid { Ok(Self(text.into())) } else { Err(PatternError) }
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name is one that this pattern stands for. Costs one pass over both texts.
    pub fn matches(&self, name: &str) -> bool {
        let mut words = name.split('.');
        for expected in self.0.split('.') {
            if expected == "#" {
                return true;
            }
            match words.next() {
                Some(word) if expected == "*" || expected == word => {}
                _ => return false,
            }
        }
        words.next().is_none()
    }

    /// Whether every name that `other` matches is matched by `self` too.
    pub fn covers(&self, other: &Pattern) -> bool {
        let mut theirs = other.0.split('.');
        for mine in self.0.split('.') {
            if mine == "#" {
                return true;
            }
            match theirs.next() {
                None | Some("#") => return false,
                Some(word) if mine == "*" || mine == word => {}
                Some(_) => return false,
            }
        }
        theirs.next().is_none()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;
    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn syntax() {
        for good in ["a", "*", "#", "a.*", "a.#", "*.b.#", "_x"] {
            assert!(Pattern::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "#.a", "a.#.b", "a*", "a.b#", "**", "a..b", ".#", "a b", "ä"] {
            assert!(Pattern::new(bad).is_err(), "{bad:?}");
        }
        assert!(Pattern::new(&format!("{}.#", "x".repeat(199))).is_err());
        assert!(Pattern::new(&format!("{}.#", "x".repeat(198))).is_ok());
    }

    /// The definition, word list against word list.
    fn reference(pattern: &[&str], name: &[&str]) -> bool {
        match (pattern, name) {
            (["#"], _) | ([], []) => true,
            ([p, pattern @ ..], [n, name @ ..]) if *p == "*" || p == n => reference(pattern, name),
            _ => false,
        }
    }

    fn pattern() -> impl Strategy<Value = String> {
        ("([ab*]\\.){0,3}[ab*#]").prop_map(|text| text)
    }

    proptest! {
        #[test]
        fn agrees_with_the_reference(p in pattern(), n in "([ab]\\.){0,3}[ab]") {
            let words: (Vec<_>, Vec<_>) = (p.split('.').collect(), n.split('.').collect());
            prop_assert_eq!(Pattern::new(&p).unwrap().matches(&n), reference(&words.0, &words.1));
        }

        #[test]
        fn covers_means_matches_all(a in pattern(), b in pattern(), n in "([ab]\\.){0,4}[abc]") {
            let (a, b) = (Pattern::new(&a).unwrap(), Pattern::new(&b).unwrap());
            if a.covers(&b) && b.matches(&n) {
                prop_assert!(a.matches(&n));
            }
        }
    }
}
