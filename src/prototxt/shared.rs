//! The rules that a Quant carries for all of its readers.

use std::collections::HashSet;

use super::net::{Net, Phase, Rule, Rules, StateSet, States};

/// Beyond this many `include`s, readers get another Quant.
const MANY_RULES: usize = 64;

/// Rules that admit a Quant exactly where one of its readers takes part: were it there in other states, its blob might
/// not be. They grow with the readers, each of whose rules is looked at once.
pub(super) struct SharedRules<'a> {
    /// The readers' states.
    needed: StateSet,
    /// The rules of a reader that takes part in all of them.
    widest: Option<&'a Rules>,
    known: HashSet<&'a Rules>,
    /// The readers' rules as `include`s; `None` where they cannot be written so.
    includes: Option<Vec<Rule>>,
    listed: HashSet<Rule>,
}

impl<'a> SharedRules<'a> {
    /// Those of one reader.
    pub fn of(rules: &'a Rules, states: &StateSet) -> SharedRules<'a> {
        let mut shared = SharedRules {
            needed: states.clone(),
            widest: Some(rules),
            known: HashSet::from([rules]),
            includes: Some(Vec::new()),
            listed: HashSet::new(),
        };
        let includes = shared.merged(rules);
        shared.list(includes);
        shared
    }

    /// The states that the rules admit.
    pub fn states(&self) -> &StateSet {
        &self.needed
    }

    /// Takes another reader; `false`, and nothing done, where no rules would admit just these readers.
    pub fn take(&mut self, net: &Net, rules: &'a Rules, states: &StateSet) -> bool {
        if self.known.contains(rules) {
            return true;
        }
        let needed = self.needed.or(states);
        let still_widest = self.widest.filter(|_| needed == self.needed);
        let widest = still_widest.or_else(|| (needed == *states).then_some(rules));
        let more = self.merged(rules);
        if more.is_none() && widest.is_none() && whole_phases(&net.states, &needed).is_none() {
            return false;
        }
        self.list(more);
        self.known.insert(rules);
        (self.needed, self.widest) = (needed, widest);
        true
    }

    /// The rules.
    pub fn rules(&self, net: &Net) -> Rules {
        let simple = self.widest.cloned().or_else(|| whole_phases(&net.states, &self.needed));
        simple.unwrap_or_else(|| Rules { include: self.includes.clone().unwrap_or_default(), exclude: Vec::new() })
    }

    /// The `include`s that further rules would add to those known; `None` where there is no writing them all.
    fn merged(&self, rules: &Rules) -> Option<Vec<Rule>> {
        let known = self.includes.as_ref()?.len();
        let mut more = Vec::new();
        for rule in rules.as_includes()? {
            if !self.listed.contains(&rule) && !more.contains(&rule) {
                more.push(rule);
            }
            if known + more.len() > MANY_RULES {
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

/// The rules for every state, or for those of a phase, where the set is one of these.
fn whole_phases(states: &States, set: &StateSet) -> Option<Rules> {
    if *set == states.all() {
        return Some(Rules::default());
    }
    let phase = [Phase::Train, Phase::Test].into_iter().find(|&phase| states.in_phase(phase) == *set)?;
    Some(Rules { include: vec![Rule::phase(phase)], exclude: Vec::new() })
}
