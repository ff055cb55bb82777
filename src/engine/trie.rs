//! The bindings of a tenant, by the words of their patterns: a match costs as many steps as the
//! words of the name allow paths, whatever the number of bindings. Called by topic requests and by
//! publishes to topics.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::types::{Pattern, QueueId, QueueName};

/// A node: the patterns that begin with the words on the way to it.
#[derive(Debug, Default)]
struct Node {
    words: BTreeMap<Box<str>, Node>,
    /// `*`: any one word.
    any: Option<Box<Node>>,
    /// Queues whose pattern ends here.
    here: BTreeSet<QueueId>,
    /// Queues whose pattern goes on with `#`: whatever follows, or nothing.
    rest: BTreeSet<QueueId>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Trie {
    root: Node,
    bindings: BTreeMap<QueueId, BTreeSet<Pattern>>,
    /// In the order in which they are listed.
    listed: BTreeSet<(Pattern, QueueName)>,
}

impl Trie {
    /// Bindings.
    pub(super) fn len(&self) -> usize {
        self.listed.len()
    }

    /// Whether the binding is there.
    pub(super) fn contains(&self, pattern: &Pattern, queue: QueueId) -> bool {
        self.bindings.get(&queue).is_some_and(|patterns| patterns.contains(pattern))
    }

    /// Adds a binding; `false` if it is there.
    pub(super) fn insert(&mut self, pattern: &Pattern, queue: QueueId, name: &QueueName) -> bool {
        if !self.listed.insert((pattern.clone(), name.clone())) {
            return false;
        }
        self.bindings.entry(queue).or_default().insert(pattern.clone());
        let mut node = &mut self.root;
        for word in pattern.as_str().split('.') {
            node = match word {
                "#" => {
                    node.rest.insert(queue);
                    return true;
                }
                "*" => node.any.get_or_insert_default(),
                word => node.words.entry(word.into()).or_default(),
            };
        }
        node.here.insert(queue);
        true
    }

    /// Takes a binding out; `false` if there is none.
    pub(super) fn remove(&mut self, pattern: &Pattern, queue: QueueId, name: &QueueName) -> bool {
        if !self.listed.remove(&(pattern.clone(), name.clone())) {
            return false;
        }
        if let Some(patterns) = self.bindings.get_mut(&queue) {
            patterns.remove(pattern);
            if patterns.is_empty() {
                self.bindings.remove(&queue);
            }
        }
        self.root.remove(pattern.as_str().split('.'), queue);
        true
    }

    /// Takes all bindings of a queue out.
    pub(super) fn remove_queue(&mut self, queue: QueueId, name: &QueueName) {
        for pattern in self.bindings.remove(&queue).unwrap_or_default() {
            self.root.remove(pattern.as_str().split('.'), queue);
            self.listed.remove(&(pattern, name.clone()));
        }
    }

    /// The bindings behind `after`, by pattern and queue.
    pub(super) fn list_after(
        &self,
        after: Option<&(Pattern, QueueName)>,
    ) -> impl Iterator<Item = &(Pattern, QueueName)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.listed.range((start, Bound::Unbounded))
    }

    /// The queues with a binding that matches, each once, ascending.
    pub(super) fn matches(&self, topic: &str) -> Vec<QueueId> {
        let mut found = Vec::new();
        let words: Vec<&str> = topic.split('.').collect();
        self.root.find(&words, &mut found);
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl Node {
    fn find(&self, words: &[&str], found: &mut Vec<QueueId>) {
        found.extend(&self.rest);
        let Some((word, words)) = words.split_first() else {
            found.extend(&self.here);
            return;
        };
        if let Some(node) = self.words.get(*word) {
            node.find(words, found);
        }
        if let Some(node) = &self.any {
            node.find(words, found);
        }
    }

    fn remove<'a>(&mut self, mut words: impl Iterator<Item = &'a str>, queue: QueueId) {
        match words.next() {
            None => {
                self.here.remove(&queue);
            }
            Some("#") => {
                self.rest.remove(&queue);
            }
            Some("*") => {
                let Some(node) = &mut self.any else { return };
                node.remove(words, queue);
                if node.is_empty() {
                    self.any = None;
                }
            }
            Some(word) => {
                let Some(node) = self.words.get_mut(word) else { return };
                node.remove(words, queue);
                if node.is_empty() {
                    self.words.remove(word);
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.words.is_empty() && self.any.is_none() && self.here.is_empty() && self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(queue: QueueId) -> QueueName {
        QueueName::new(&format!("q{queue}")).unwrap()
    }

    fn pattern() -> impl Strategy<Value = Pattern> {
        "([ab*]\\.){0,3}[ab*#]".prop_map(|text| Pattern::new(&text).unwrap())
    }

    proptest! {
        #[test]
        fn matches_what_the_patterns_match(
            steps in prop::collection::vec((pattern(), 1u64..5, prop::bool::weighted(0.7)), 0..40),
            topics in prop::collection::vec("([abc]\\.){0,4}[abc]", 1..8),
        ) {
            let mut trie = Trie::default();
            let mut plain = BTreeSet::new();
            for (pattern, queue, insert) in steps {
                let queue = QueueId(queue);
                if insert {
                    let new = plain.insert((queue, pattern.clone()));
                    prop_assert_eq!(trie.insert(&pattern, queue, &name(queue)), new);
                } else {
                    let there = plain.remove(&(queue, pattern.clone()));
                    prop_assert_eq!(trie.remove(&pattern, queue, &name(queue)), there);
                }
                prop_assert_eq!(trie.contains(&pattern, queue), insert);
                prop_assert_eq!(trie.len(), plain.len());
            }
            for topic in topics {
                let hits = plain.iter().filter(|(_, pattern)| pattern.matches(&topic));
                let queues: BTreeSet<QueueId> = hits.map(|(queue, _)| *queue).collect();
                prop_assert_eq!(trie.matches(&topic), queues.into_iter().collect::<Vec<_>>());
            }
            (1..5).map(QueueId).for_each(|queue| trie.remove_queue(queue, &name(queue)));
            prop_assert!(trie.root.is_empty() && trie.len() == 0);
        }
    }
}
