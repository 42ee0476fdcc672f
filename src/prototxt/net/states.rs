//! In which states of the net a layer takes part, by its `NetStateRule`s.
//!
//! A state is a phase, a level and a set of stages. There are infinitely many, but the rules of a file tell only some of
//! them apart. [`States`] lists one state of each kind, and the rules of a layer become the [`StateSet`] of those that they
//! admit.

use bstr::BString;

use crate::prototxt::text::Field;

/// The most states of a phase. A file that could have more gets only some of the combinations of its stages.
const MAX_STATES: usize = 2048;

/// The most `include` rules that `exclude` rules are turned into.
const MAX_RULES: usize = 64;

/// TRAIN or TEST.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Training.
    Train,
    /// Testing, and deployment.
    Test,
}

impl Phase {
    /// The other phase.
    const fn other(self) -> Phase {
        match self {
            Phase::Train => Phase::Test,
            Phase::Test => Phase::Train,
        }
    }

    /// The phase as prototxt files write it.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Train => "TRAIN",
            Phase::Test => "TEST",
        }
    }
}

/// One `include` or `exclude`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The phase in which the rule is met; `None` for both.
    pub phase: Option<Phase>,
    /// The lowest level at which the rule is met.
    pub min_level: Option<i64>,
    /// The highest level at which the rule is met.
    pub max_level: Option<i64>,
    /// The stages that the net must all have.
    pub stages: Vec<BString>,
    /// The stages that the net must not have.
    pub not_stages: Vec<BString>,
}

impl Rule {
    /// A rule that is met in one phase.
    pub fn phase(phase: Phase) -> Rule {
        Rule { phase: Some(phase), ..Rule::default() }
    }

    fn read(message: Field<'_>) -> Rule {
        let level = |name| message.first(name).and_then(|value| integer(value.value_text()));
        Rule {
            phase: message.first("phase").and_then(phase),
            min_level: level("min_level"),
            max_level: level("max_level"),
            stages: message.all("stage").map(|stage| stage.string()).collect(),
            not_stages: message.all("not_stage").map(|stage| stage.string()).collect(),
        }
    }

    /// The rule that is met where both rules are; `None` if they are for different phases.
    fn and(&self, other: &Rule) -> Option<Rule> {
        if matches!((self.phase, other.phase), (Some(a), Some(b)) if a != b) {
            return None;
        }
        let mut both = Rule {
            phase: self.phase.or(other.phase),
            min_level: self.min_level.max(other.min_level),
            max_level: [self.max_level, other.max_level].into_iter().flatten().min(),
            stages: [self.stages.as_slice(), &other.stages].concat(),
            not_stages: [self.not_stages.as_slice(), &other.not_stages].concat(),
        };
        for stages in [&mut both.stages, &mut both.not_stages] {
            stages.sort();
            stages.dedup();
        }
        Some(both)
    }

    /// Rules of which at least one is met exactly where this rule is not.
    fn negated(&self) -> Vec<Rule> {
        let phase = self.phase.map(|phase| Rule::phase(phase.other()));
        let below = self.min_level.map(|level| Rule { max_level: Some(level.saturating_sub(1)), ..Rule::default() });
        let above = self.max_level.map(|level| Rule { min_level: Some(level.saturating_add(1)), ..Rule::default() });
        let without = self.stages.iter().map(|stage| Rule { not_stages: vec![stage.clone()], ..Rule::default() });
        let with = self.not_stages.iter().map(|stage| Rule { stages: vec![stage.clone()], ..Rule::default() });
        phase.into_iter().chain(below).chain(above).chain(without).chain(with).collect()
    }

    fn is_met(&self, state: &State) -> bool {
        self.phase.is_none_or(|phase| phase == state.phase)
            && self.min_level.is_none_or(|level| level <= state.level)
            && self.max_level.is_none_or(|level| state.level <= level)
            && self.stages.iter().all(|stage| state.stages.contains(stage))
            && !self.not_stages.iter().any(|stage| state.stages.contains(stage))
    }
}

/// A layer's rules. Caffe accepts `include` or `exclude` in one layer, not both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    /// The layer takes part where one of these is met, or everywhere if there are none.
    pub include: Vec<Rule>,
    /// The layer does not take part where one of these is met.
    pub exclude: Vec<Rule>,
}

impl Rules {
    /// Reads the rules of a layer's message.
    pub(super) fn read(layer: Field<'_>) -> Rules {
        Rules {
            include: layer.all("include").map(Rule::read).collect(),
            exclude: layer.all("exclude").map(Rule::read).collect(),
        }
    }

    /// Whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// The `include` rules that admit the same states; `None` if there would be too many.
    pub fn as_includes(&self) -> Option<Vec<Rule>> {
        let mut includes = if self.include.is_empty() { vec![Rule::default()] } else { self.include.clone() };
        for exclude in &self.exclude {
            let outside = exclude.negated();
            if includes.len() * outside.len() > MAX_RULES {
                return None;
            }
            includes = includes.iter().flat_map(|rule| outside.iter().filter_map(|other| rule.and(other))).collect();
        }
        Some(includes)
    }

    fn admit(&self, state: &State) -> bool {
        let included = self.include.is_empty() || self.include.iter().any(|rule| rule.is_met(state));
        included && !self.exclude.iter().any(|rule| rule.is_met(state))
    }
}

fn phase(value: Field<'_>) -> Option<Phase> {
    match value.value_text() {
        b"TRAIN" | b"0" => Some(Phase::Train),
        b"TEST" | b"1" => Some(Phase::Test),
        _ => None,
    }
}

fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// One state of a net.
#[derive(Clone, Debug)]
struct State {
    phase: Phase,
    level: i64,
    stages: Vec<BString>,
}

/// The states that a file's rules tell apart.
#[derive(Clone, Debug)]
pub struct States {
    list: Vec<State>,
}

impl States {
    /// The states that these rules tell apart.
    pub(super) fn of<'a>(rules: impl Iterator<Item = &'a Rules>) -> States {
        let mut levels = vec![0];
        let mut stages: Vec<BString> = Vec::new();
        let mut wanted: Vec<Vec<BString>> = Vec::new();
        for rule in rules.flat_map(|rules| rules.include.iter().chain(&rules.exclude)) {
            levels.extend(rule.min_level.iter().flat_map(|&level| [level, level.saturating_sub(1)]));
            levels.extend(rule.max_level.iter().flat_map(|&level| [level, level.saturating_add(1)]));
            stages.extend(rule.stages.iter().chain(&rule.not_stages).cloned());
            wanted.push(rule.stages.clone());
        }

        levels.sort_unstable();
        levels.dedup();
        levels.truncate(64);
        stages.sort();
        stages.dedup();

        let mut sets = stage_sets(&stages, MAX_STATES / (2 * levels.len())).unwrap_or_else(|| {
            wanted.iter_mut().for_each(|set| set.sort());
            wanted.extend(stages.iter().map(|stage| vec![stage.clone()]));
            wanted.extend([Vec::new(), stages.clone()]);
            wanted
        });
        sets.sort();
        sets.dedup();
        sets.truncate(MAX_STATES);

        let mut list = Vec::new();
        for phase in [Phase::Train, Phase::Test] {
            for &level in &levels {
                list.extend(sets.iter().map(|stages| State { phase, level, stages: stages.clone() }));
            }
        }
        list.truncate(2 * MAX_STATES);
        States { list }
    }

    /// The states that the rules admit.
    pub fn admitted_by(&self, rules: &Rules) -> StateSet {
        self.filter(|state| rules.admit(state))
    }

    /// Every state.
    pub fn all(&self) -> StateSet {
        self.filter(|_| true)
    }

    /// No state.
    pub fn none(&self) -> StateSet {
        self.filter(|_| false)
    }

    /// The states of a phase.
    pub fn in_phase(&self, phase: Phase) -> StateSet {
        self.filter(|state| state.phase == phase)
    }

    /// A set in words: `TRAIN` or `TEST` for a whole phase, otherwise the first of its states.
    pub fn describe(&self, set: &StateSet) -> String {
        for phase in [Phase::Train, Phase::Test] {
            if *set == self.in_phase(phase) {
                return phase.name().to_owned();
            }
        }
        let Some(state) = self.list.iter().enumerate().find(|(i, _)| set.contains(*i)).map(|(_, state)| state) else {
            return "no state".to_owned();
        };
        let mut words = state.phase.name().to_owned();
        if state.level != 0 {
            words.push_str(&format!(" at level {}", state.level));
        }
        match state.stages.as_slice() {
            [] => {}
            stages => words.push_str(&format!(" with stage {}", bstr::join(", ", stages).escape_ascii())),
        }
        words
    }

    fn filter(&self, wanted: impl Fn(&State) -> bool) -> StateSet {
        let mut words = self
            .list
            .chunks(64)
            .map(|states| states.iter().enumerate().fold(0, |word, (i, state)| word | u64::from(wanted(state)) << i));
        StateSet { first: words.next().unwrap_or_default(), rest: words.collect() }
    }
}

/// All subsets of the stages; `None` if there are more than `most`.
fn stage_sets(stages: &[BString], most: usize) -> Option<Vec<Vec<BString>>> {
    let count = 1usize.checked_shl(u32::try_from(stages.len()).ok()?).filter(|&count| count <= most.max(1))?;
    let subset =
        |bits: usize| stages.iter().enumerate().filter(move |(i, _)| bits >> i & 1 == 1).map(|(_, s)| s.clone());
    Some((0..count).map(|bits| subset(bits).collect()).collect())
}

/// A set of a file's states, one bit each. Few files have more than 64 states, so the set is usually one word.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StateSet {
    first: u64,
    rest: Box<[u64]>,
}

impl StateSet {
    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.words().all(|word| word == 0)
    }

    /// The states in both sets.
    pub fn and(&self, other: &StateSet) -> StateSet {
        self.zip(other, |a, b| a & b)
    }

    /// The states in at least one of the sets.
    pub fn or(&self, other: &StateSet) -> StateSet {
        self.zip(other, |a, b| a | b)
    }

    /// The states in this set that are not in the other.
    pub fn without(&self, other: &StateSet) -> StateSet {
        self.zip(other, |a, b| a & !b)
    }

    /// Whether the sets have a state in common.
    pub fn meets(&self, other: &StateSet) -> bool {
        self.words().zip(other.words()).any(|(a, b)| a & b != 0)
    }

    /// Whether all states of this set are in the other.
    pub fn is_within(&self, other: &StateSet) -> bool {
        self.words().zip(other.words()).all(|(a, b)| a & !b == 0)
    }

    fn words(&self) -> impl Iterator<Item = u64> {
        std::iter::once(self.first).chain(self.rest.iter().copied())
    }

    fn contains(&self, state: usize) -> bool {
        self.words().nth(state / 64).is_some_and(|word| word >> (state % 64) & 1 == 1)
    }

    fn zip(&self, other: &StateSet, with: impl Fn(u64, u64) -> u64) -> StateSet {
        let rest = self.rest.iter().zip(&other.rest).map(|(&a, &b)| with(a, b)).collect();
        StateSet { first: with(self.first, other.first), rest }
    }
}
