//! Random nets in random formatting, from a string of choices, so that a shorter string is a simpler net.

use std::collections::HashSet;

/// A finite list of choices. When it is used up, every further choice is the first option.
pub(crate) struct Choices<'a> {
    bytes: std::slice::Iter<'a, u8>,
}

impl<'a> Choices<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Choices { bytes: bytes.iter() }
    }

    fn left(&self) -> bool {
        !self.bytes.as_slice().is_empty()
    }

    fn below(&mut self, n: usize) -> usize {
        self.bytes.next().map_or(0, |&byte| usize::from(byte) % n)
    }

    fn rarely(&mut self) -> bool {
        self.below(8) == 7
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

/// Writes random nets to the folder GFPQ_NETS, for scripts/checks/prototxt_trees.py to check.
#[test]
#[ignore = "writes files"]
fn random_nets_for_other_judges() {
    let folder = std::env::var("GFPQ_NETS").expect("a folder in GFPQ_NETS");
    let mut state = 0u64;
    for number in 0..400 {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        let bytes: Vec<u8> = (0..600).map(|_| next()).collect();
        std::fs::write(format!("{folder}/random{number}.prototxt"), net(&mut Choices::new(&bytes))).unwrap();
    }
}

struct Layer {
    name: String,
    kind: &'static str,
    bottoms: Vec<String>,
    tops: Vec<String>,
    rules: Vec<(&'static str, &'static str)>,
}

const KINDS: [&str; 12] = [
    "Convolution",
    "Pooling",
    "InnerProduct",
    "ReLU",
    "Eltwise",
    "Convolution",
    "DepthwiseConv",
    "Concat",
    "Dropout",
    "Deconvolution",
    "SoftmaxWithLoss",
    "Slice",
];
const RULES: [(&str, &str); 7] = [
    ("include", "phase: TRAIN"),
    ("include", "phase: TEST"),
    ("exclude", "phase: TRAIN"),
    ("exclude", "phase: TEST"),
    ("include", "phase: TEST stage: 'eval'"),
    ("include", "min_level: 1 not_stage: \"eval\""),
    ("exclude", "stage: 'deploy'"),
];
const ENDS: [&str; 8] = ["", "/x", "_hp", "_quant", " é", "'", "\"", "\\\n"];

/// A random net. Caffe would accept about half of them. The others write over blobs that are read elsewhere, or read blobs
/// that are missing in some phase; the program must handle them too.
pub(crate) fn net(choices: &mut Choices<'_>) -> String {
    let is_sound = choices.below(2) == 0;
    let mut blobs = vec!["data".to_owned()];
    let mut read: HashSet<String> = HashSet::new();
    let mut layers = Vec::new();
    let from_header = choices.below(3) == 2;
    if !from_header {
        let two = choices.below(2) == 1;
        for phase in if two { vec![Some(RULES[0]), Some(RULES[1])] } else { vec![None] } {
            let (name, tops) = ("data".to_owned(), vec!["data".to_owned(), "label".to_owned()]);
            layers.push(Layer { name, kind: "Data", bottoms: vec![], tops, rules: phase.into_iter().collect() });
        }
    }
    while choices.left() && layers.len() < 24 {
        let kind = choices.of(&KINDS);
        let number = layers.len();
        let name = format!(
            "{}{number}{}",
            ["conv", "b"][choices.below(2)],
            if choices.rarely() { choices.of(&ENDS) } else { "" }
        );
        let count = if matches!(kind, "Eltwise" | "Concat") || choices.rarely() { 2 } else { 1 };
        // Mostly the latest blobs, as in real nets.
        let near = |choices: &mut Choices<'_>| blobs[blobs.len() - 1 - choices.below(blobs.len().min(4))].clone();
        let bottoms: Vec<String> = (0..count).map(|_| near(choices)).collect();
        let mut in_place = matches!(kind, "ReLU" | "Dropout") && choices.below(4) != 3 || choices.rarely();
        let rules = match choices.below(6) {
            5 => vec![choices.of(&RULES)],
            4 if choices.rarely() => vec![RULES[0], RULES[4]],
            _ => vec![],
        };
        in_place &= !is_sound || (bottoms.len() == 1 && !read.contains(&bottoms[0]));
        let top = if in_place { bottoms[0].clone() } else { name.clone() };
        if !in_place {
            read.extend(bottoms.iter().cloned());
        }
        if !blobs.contains(&top) && (!is_sound || rules.is_empty()) {
            blobs.push(top.clone());
        }
        layers.push(Layer { name, kind, bottoms, tops: vec![top], rules });
    }
    Writer { choices, out: String::new(), eol: "\n" }.net(from_header, &layers)
}

struct Writer<'a, 'b> {
    choices: &'a mut Choices<'b>,
    out: String,
    eol: &'static str,
}

impl Writer<'_, '_> {
    fn net(mut self, from_header: bool, layers: &[Layer]) -> String {
        if self.choices.rarely() {
            self.out.push('\u{feff}');
        }
        if self.choices.rarely() {
            self.eol = "\r\n";
        }
        if self.choices.below(2) == 0 {
            self.string("name", "net");
            self.space();
        }
        if from_header {
            self.string("input", "data");
            self.out.push_str(" input_dim: [1, 3] ");
        }
        let mut layers = layers.iter().peekable();
        while let Some(layer) = layers.next() {
            self.space();
            if self.choices.rarely() {
                self.out.push_str("layer: [");
                self.space();
                self.layer(layer);
                while self.choices.below(2) == 1 {
                    let Some(layer) = layers.next() else { break };
                    self.out.push(',');
                    self.space();
                    self.layer(layer);
                }
                self.space();
                self.out.push(']');
            } else {
                self.out.push_str(["layer ", "layer", "layer: ", "layer:"][self.choices.below(4)]);
                self.layer(layer);
            }
            if self.choices.rarely() {
                let separator = self.choices.of(&[";", ",", " ;"]);
                self.out.push_str(separator);
            }
        }
        self.space();
        self.out
    }

    fn layer(&mut self, layer: &Layer) {
        let angle = self.choices.rarely();
        self.out.push(if angle { '<' } else { '{' });
        let first = self.choices.below(4);
        for order in first..first + 4 {
            match order % 4 {
                0 => self.field("name", &layer.name),
                1 => self.field("type", layer.kind),
                2 => self.fields("bottom", &layer.bottoms),
                _ => self.fields("top", &layer.tops),
            }
        }
        for (name, rule) in &layer.rules {
            self.space();
            self.out.push_str(&format!("{name} {{ {rule} }}"));
        }
        if self.choices.rarely() {
            self.space();
            let unknown = self.choices.of(&[
                "fork_param < deep { deeper: [1, -2.5e+3f, inf] } >",
                "[a.b]: true",
                "param { name: 'w' }",
            ]);
            self.out.push_str(unknown);
        }
        self.space();
        self.out.push(if angle { '>' } else { '}' });
    }

    fn field(&mut self, name: &str, value: &str) {
        self.space();
        self.string(name, value);
    }

    fn fields(&mut self, name: &str, values: &[String]) {
        if values.len() > 1 && self.choices.below(3) == 2 {
            self.space();
            self.out.push_str(name);
            self.out.push_str(": [");
            for (i, value) in values.iter().enumerate() {
                if i > 0 {
                    self.out.push_str(", ");
                }
                self.literal(value);
            }
            self.out.push(']');
            return;
        }
        for value in values {
            self.field(name, value);
        }
    }

    fn string(&mut self, name: &str, value: &str) {
        self.out.push_str(name);
        let colon = self.choices.of(&[": ", ":", " : "]);
        self.out.push_str(colon);
        self.literal(value);
        let separator = self.choices.of(&["", "", "", ";", ","]);
        self.out.push_str(separator);
    }

    fn literal(&mut self, value: &str) {
        let quote = self.choices.of(&['"', '\'']);
        self.out.push(quote);
        for c in value.chars() {
            match c {
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                c if c == quote => self.out.extend(['\\', c]),
                c if c.is_ascii() && self.choices.below(32) == 31 => self.out.push_str(&format!("\\{:03o}", c as u32)),
                c if self.choices.below(32) == 31 => self.out.extend([quote, ' ', quote, c]),
                c => self.out.push(c),
            }
        }
        self.out.push(quote);
    }

    fn space(&mut self) {
        for _ in 0..=self.choices.below(2) {
            match self.choices.below(9) {
                0..=2 => {
                    let indent = self.choices.of(&["", "  ", "\t"]);
                    self.out.push_str(&format!("{}{indent}", self.eol));
                }
                3 => self.out.push_str(&format!(" # a 'comment' {{{}", self.eol)),
                4 => self.out.push_str(&format!("{0}  {0}", self.eol)),
                5 => self.out.push_str(&format!("{0}{0}# about what follows{0}", self.eol)),
                _ => self.out.push(' '),
            }
        }
    }
}
