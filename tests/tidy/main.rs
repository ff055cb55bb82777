//! The house rules of CONTRIBUTING.md as tests over the source tree. Each rule is a function from a
//! source to its faults; one test holds it against the tree, another against bad snippets, so that
//! a rule that no longer sees anything is noticed.

mod arrows;
mod purity;
mod shape;
mod source;
mod wording;

use source::{Fault, Source};

/// Fails with every fault at once, each as `file:line: what is wrong and what to do`.
fn hold(sources: &[Source], rule: impl Fn(&Source) -> Vec<Fault>) {
    assert!(!sources.is_empty(), "no source was found: this test looks in the wrong place");
    let faults: Vec<String> = sources
        .iter()
        .flat_map(|source| rule(source).into_iter().map(|fault| fault.at(&source.path)))
        .collect();
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

/// The lines of the faults that `rule` finds in `text`, taken as the file `path`.
fn fault_lines(path: &str, text: &str, rule: impl Fn(&Source) -> Vec<Fault>) -> Vec<usize> {
    let source = Source::new(path, text);
    let mut lines: Vec<usize> = rule(&source).into_iter().map(|fault| fault.line).collect();
    lines.sort_unstable();
    lines
}
