//! Grants: what a user may do to which names. No grant, nothing allowed.

use std::fmt;
use std::str::FromStr;

use super::{Pattern, PatternError};

/// What a grant allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Publish to queues and topics.
    Publish,
    /// Consume, pull and peek.
    Consume,
    /// Declare, delete, purge, bind.
    Manage,
    /// All of these.
    All,
}

impl Action {
    /// The action's name in grants.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Publish => "publish",
            Action::Consume => "consume",
            Action::Manage => "manage",
            Action::All => "all",
        }
    }
}

/// One grant, written `ACTION:PATTERN`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    /// What is allowed.
    pub action: Action,
    /// On which names.
    pub pattern: Pattern,
}

/// Why a text is not a grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseGrantError {
    /// No `ACTION:` before the pattern, or an unknown one.
    #[error("must be written ACTION:PATTERN, ACTION one of publish, consume, manage, all")]
    Action,
    /// The pattern is not one.
    #[error("its pattern {0}")]
    Pattern(#[from] PatternError),
}

impl FromStr for Grant {
    type Err = ParseGrantError;
    fn from_str(text: &str) -> Result<Self, ParseGrantError> {
        let (action, pattern) = text.split_once(':').ok_or(ParseGrantError::Action)?;
        let action = match action {
            "publish" => Action::Publish,
            "consume" => Action::Consume,
            "manage" => Action::Manage,
            "all" => Action::All,
            _ => return Err(ParseGrantError::Action),
        };
        Ok(Self { action, pattern: Pattern::new(pattern)? })
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.action.as_str(), self.pattern)
    }
}

/// All grants of one user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants(Vec<Grant>);

impl Grants {
    /// Sorts the grants and drops doubles.
    pub fn new(mut grants: Vec<Grant>) -> Self {
        grants.sort();
        grants.dedup();
        Self(grants)
    }

    /// Whether `action` on `name` is allowed. `Action::All` asks for a grant of all.
    pub fn allow(&self, action: Action, name: &str) -> bool {
        self.deciding(action, name).is_some()
    }

    /// The first grant that allows `action` on `name`.
    pub fn deciding(&self, action: Action, name: &str) -> Option<&Grant> {
        self.0.iter().find(|grant| {
            (grant.action == action || grant.action == Action::All) && grant.pattern.matches(name)
        })
    }

    /// Whether one grant allows `action` on every name that `pattern` matches.
    pub fn cover(&self, action: Action, pattern: &Pattern) -> bool {
        self.0.iter().any(|grant| {
            (grant.action == action || grant.action == Action::All) && grant.pattern.covers(pattern)
        })
    }

    /// Whether any grant at all speaks of `name`: what makes a queue visible to its user.
    pub fn mention(&self, name: &str) -> bool {
        self.0.iter().any(|grant| grant.pattern.matches(name))
    }

    /// The grants, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(texts: &[&str]) -> Grants {
        Grants::new(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn no_grant_allows_nothing() {
        for action in [Action::Publish, Action::Consume, Action::Manage, Action::All] {
            assert!(!Grants::default().allow(action, "a"));
        }
        assert!(!Grants::default().mention("a"));
    }

    #[test]
    fn an_action_is_allowed_where_its_pattern_matches() {
        let grants = grants(&["publish:web.#", "all:jobs.*"]);
        assert!(grants.allow(Action::Publish, "web.a.b"));
        assert!(!grants.allow(Action::Consume, "web.a"));
        assert!(grants.allow(Action::Manage, "jobs.x"));
        assert!(!grants.allow(Action::Manage, "jobs"));
        assert!(grants.mention("web") && !grants.mention("webs"));
    }

    #[test]
    fn bad_grants_are_refused() {
        for bad in ["", "publish", "publish:", "read:a", ":a", "publish:a b", "Publish:a"] {
            assert!(bad.parse::<Grant>().is_err(), "{bad}");
        }
    }
}
