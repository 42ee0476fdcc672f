//! The `include` and `exclude` rules of a Quant layer, merged from those of its readers.

use std::collections::HashSet;

use crate::prototxt::net::{Net, Phase, Rule, Rules, StateSet, States};

/// The most `include` rules that a Quant layer may have. Readers that would need more get a Quant layer of their own.
const MAX_RULES: usize = 64;

/// Rules by which a Quant layer takes part exactly in the states in which one of its readers does. In other states the blob
/// that it reads might not exist. Readers are added one by one, and each reader's rules are looked at once.
pub(super) struct MergedRules<'a> {
    /// The states in which one of the readers takes part.
    needed: StateSet,
    /// The rules of a reader that takes part in all needed states, if there is one.
    widest: Option<&'a Rules>,
    /// The rules of the readers so far.
    known: HashSet<&'a Rules>,
    /// The readers' rules written as `include` rules; `None` where there would be too many.
    includes: Option<Vec<Rule>>,
    /// The rules in `includes`, for look-ups.
    listed: HashSet<Rule>,
}

impl<'a> MergedRules<'a> {
    /// The rules for one reader.
    pub(super) fn of(rules: &'a Rules, states: &StateSet) -> MergedRules<'a> {
        let mut merged = MergedRules {
            needed: states.clone(),
            widest: Some(rules),
            known: HashSet::from([rules]),
            includes: Some(Vec::new()),
            listed: HashSet::new(),
        };
        let includes = merged.new_includes(rules);
        merged.list(includes);
        merged
    }

    /// The states in which the Quant layer takes part.
    pub(super) fn states(&self) -> &StateSet {
        &self.needed
    }

    /// Adds a reader. Returns false, and changes nothing, if no rules would admit exactly the states of all readers.
    pub(super) fn add(&mut self, net: &Net, rules: &'a Rules, states: &StateSet) -> bool {
        if self.known.contains(rules) {
            return true;
        }
        let needed = self.needed.or(states);
        let still_widest = self.widest.filter(|_| needed == self.needed);
        let widest = still_widest.or_else(|| (needed == *states).then_some(rules));

        let more = self.new_includes(rules);
        if more.is_none() && widest.is_none() && whole_phases(&net.states, &needed).is_none() {
            return false;
        }
        self.list(more);
        self.known.insert(rules);
        (self.needed, self.widest) = (needed, widest);
        true
    }

    /// The merged rules, in their simplest form.
    pub(super) fn rules(&self, net: &Net) -> Rules {
        let simple = self.widest.cloned().or_else(|| whole_phases(&net.states, &self.needed));
        simple.unwrap_or_else(|| Rules { include: self.includes.clone().unwrap_or_default(), exclude: Vec::new() })
    }

    /// The `include` rules that another reader's rules add; `None` where there would be too many.
    fn new_includes(&self, rules: &Rules) -> Option<Vec<Rule>> {
        let known = self.includes.as_ref()?.len();
        let mut more = Vec::new();
        for rule in rules.as_includes()? {
            if !self.listed.contains(&rule) && !more.contains(&rule) {
                more.push(rule);
            }
            if known + more.len() > MAX_RULES {
                return None;
            }
        }
        Some(more)
    }

    fn list(&mut self, more: Option<Vec<Rule>>) {
        self.listed.extend(more.iter().flatten().cloned());
        match (&mut self.includes, more) {
            (Some(known), Some(more)) => known.extend(more),
            (includes, _) => *includes = None,
        }
    }
}

/// The rules for all states or for all states of one phase, where `set` is one of these.
fn whole_phases(states: &States, set: &StateSet) -> Option<Rules> {
    if *set == states.all() {
        return Some(Rules::default());
    }
    let phase = [Phase::Train, Phase::Test].into_iter().find(|&phase| states.in_phase(phase) == *set)?;
    Some(Rules { include: vec![Rule::phase(phase)], exclude: Vec::new() })
}
