//! The list of what happens to a tree, planned in memory before the first byte is written.

use std::path::{Path, PathBuf};

use super::disk::{Entry, is_plain};
use super::edits::caffe_proto::{self, FieldNumbers};
use super::edits::{compat, cpp_syntax, cuda_arch, makefile, makefile_config, net_sources};
use super::error::Error;
use super::host::library::Library;
use super::host::machine::Machine;
use super::host::nvcc::Cuda;
use super::source_text::Text;
use super::template;
use super::tree::{EXAMPLE, Tree, is_config_example, is_source};

/// What an apply is to do.
#[derive(Debug)]
pub struct Options<'a> {
    /// The library to install.
    pub library: &'a Library,
    /// Whether to make the compatibility edits.
    pub compat: bool,
    /// The machine to write or complete Makefile.config for; `None` leaves that file alone.
    pub machine: Option<&'a Machine>,
}

/// The change of one path.
#[derive(Clone, Debug)]
pub struct Change {
    /// Relative to the tree.
    pub path: PathBuf,
    /// What the path holds now; `None` if the patch creates it.
    pub before: Option<Entry>,
    /// What it holds once the plan is applied.
    pub after: Entry,
    /// Of a file that the patch creates and the user may go on editing: what it would hold without the patch's lines.
    pub base: Option<Entry>,
    /// What the change is for, in words for people.
    pub purpose: String,
}

/// All changes that a patch makes to one tree.
#[derive(Debug)]
pub struct Plan {
    /// At most one change per path, in the order in which [`Plan::new`] lists them.
    pub changes: Vec<Change>,
    /// The numbers of the new fields in caffe.proto.
    pub numbers: FieldNumbers,
    /// Names and reasons of the compatibility edits among the changes.
    pub compat: Vec<(&'static str, &'static str)>,
    /// What the user has to do beside applying the plan.
    pub notes: Vec<String>,
    /// The header that declares SGDSolver in this tree, as an include names it.
    pub(super) solver_header: &'static str,
}

/// The header that declares SGDSolver in every tree whose solvers have headers of their own.
pub(super) const SOLVER_HEADER: &str = "caffe/sgd_solvers.hpp";

/// Caffe's own files that a plan edits, besides those of the compatibility edits.
const EDITED: [&str; 5] =
    ["src/caffe/proto/caffe.proto", "include/caffe/net.hpp", "src/caffe/net.cpp", "Makefile", CONFIG];

/// The user's settings for Caffe's Makefile.
const CONFIG: &str = "Makefile.config";

/// The folder in a tree that holds the GFPQ library.
const LIBRARY: &str = "GFPQLibs";

/// Whether a plan for some tree can change this path.
pub(super) fn can_change(path: &Path) -> bool {
    let is = |name: &str| path == Path::new(name);
    let is_compat = |paths: &[&str]| paths.iter().any(|name| is(name) || (path.starts_with(name) && is_source(path)));
    is_plain(path)
        && (template::FILES.iter().any(|&(name, _)| is(name))
            || EDITED.iter().any(|name| is(name))
            || is_config_example(path)
            || path.starts_with(LIBRARY)
            || compat::EDITS.iter().any(|edit| is_compat(edit.paths)))
}

impl Plan {
    /// Plans for a tree that is not patched.
    ///
    /// # Errors
    /// When the tree does not fit, or an edit finds no place.
    pub fn new(tree: &Tree, options: &Options) -> Result<Plan, Error> {
        tree.check_fits()?;
        let mut plan = Plan::empty();
        if tree.text(&Path::new("include").join(SOLVER_HEADER))?.is_none() {
            plan.solver_header = "caffe/solver.hpp";
        }

        plan.add_sources(tree)?;
        plan.numbers =
            plan.edit(tree, Path::new("src/caffe/proto/caffe.proto"), "their parameters", caffe_proto::edit)?;
        plan.edit(tree, Path::new("include/caffe/net.hpp"), "quantised weights", net_sources::edit_header)?;
        plan.edit(tree, Path::new("src/caffe/net.cpp"), "quantised weights", net_sources::edit_source)?;
        plan.edit(tree, Path::new("Makefile"), "link and copy the library", makefile::edit)?;
        let example = tree.config_example().unwrap_or_else(|| EXAMPLE.into());
        plan.edit(tree, &example, "the library's folders", makefile_config::add_directories)?;
        if let Some(machine) = options.machine {
            plan.configure(tree, &example, machine)?;
        }
        if options.compat {
            plan.make_compatible(tree, &example, options.machine)?;
        }
        plan.add_library(tree, options.library)?;
        Ok(plan)
    }

    pub(super) fn empty() -> Plan {
        Plan {
            changes: Vec::new(),
            numbers: FieldNumbers::STOCK,
            compat: Vec::new(),
            notes: Vec::new(),
            solver_header: SOLVER_HEADER,
        }
    }

    /// Adds the sources of QuantLayer and of weight quantisation.
    fn add_sources(&mut self, tree: &Tree) -> Result<(), Error> {
        for &(name, _) in template::FILES {
            let content = template::render(name, &[("solver_header", self.solver_header.to_owned())])?;
            let file = Entry::file(content.into_bytes());
            self.create(tree, name.into(), file, "the Quant layer and quantised weights")?;
        }
        Ok(())
    }

    /// Completes the tree's Makefile.config, or makes one from the example.
    fn configure(&mut self, tree: &Tree, example: &Path, machine: &Machine) -> Result<(), Error> {
        let text = |path: &Path| Ok(tree.text(path)?.unwrap_or_else(|| Text::from_bytes(b"")));
        let present = tree.text(Path::new(CONFIG))?;
        if !present.as_ref().is_some_and(makefile_config::chooses_compiler) {
            self.notes.extend(machine.cuda.as_ref().and_then(Cuda::note));
        }
        let makefile = text(Path::new("Makefile"))?;
        self.notes.extend(makefile_config::note_of_mandatory(&makefile, machine));
        let needs_python_layer = ["include/caffe/python_layer.hpp", "include/caffe/layers/python_layer.hpp"]
            .into_iter()
            .map(|header| Ok(makefile_config::needs_python_layer(&text(Path::new(header))?)))
            .collect::<Result<Vec<bool>, Error>>()?
            .contains(&true);

        if let Some(config) = present {
            if needs_python_layer {
                self.notes.extend(makefile_config::note_of_python_layer(&config));
            }
            return self.edit(tree, Path::new(CONFIG), "the library's folders", makefile_config::add_directories);
        }
        let mut config = text(example)?;
        self.notes.extend(makefile_config::set_for_machine(&mut config, &makefile, machine));
        if needs_python_layer {
            self.notes.push(makefile_config::set_python_layer(&mut config));
        }
        let base = Entry::file(config.to_bytes());
        makefile_config::add_directories(&tree.root().path().join(CONFIG), &mut config)?;
        self.put(tree, Path::new(CONFIG), &config, "this machine's settings")?;
        if let Some(config) = self.changes.iter_mut().find(|change| change.path == Path::new(CONFIG)) {
            config.base = Some(base).filter(|_| config.before.is_none());
        }
        Ok(())
    }

    /// Makes the compatibility edits that the tree needs.
    fn make_compatible(&mut self, tree: &Tree, example: &Path, machine: Option<&Machine>) -> Result<(), Error> {
        if let Some(cuda) = machine.and_then(|machine| machine.cuda.as_ref()) {
            let drop_refused = |text: &mut Text| cuda_arch::drop_refused(text, cuda);
            let paths = [example, Path::new(CONFIG)];
            self.edit_where_needed(tree, cuda_arch::NAME, cuda_arch::REASON, &paths, drop_refused)?;
        }
        for edit in compat::EDITS {
            if edit.used.is_empty() || uses(tree, edit.used)? {
                let paths: Vec<&Path> = edit.paths.iter().map(Path::new).collect();
                self.edit_where_needed(tree, edit.name, edit.reason, &paths, edit.apply)?;
            }
        }
        Ok(())
    }

    /// Adds the GFPQ library, as GFPQLibs in the tree.
    fn add_library(&mut self, tree: &Tree, library: &Library) -> Result<(), Error> {
        let gitignore = template::render("GFPQLibs/gitignore", &[])?;
        let path = Path::new(LIBRARY).join(".gitignore");
        self.create(tree, path, Entry::file(gitignore.into_bytes()), "the library in git, too")?;
        for (path, entry) in &library.entries {
            self.create(tree, Path::new(LIBRARY).join(path), entry.clone(), "the library")?;
        }
        Ok(())
    }

    /// Plans a new file or link, which the tree must not have yet.
    fn create(&mut self, tree: &Tree, path: PathBuf, after: Entry, purpose: &str) -> Result<(), Error> {
        if tree.entry(&path)?.is_some() {
            return Err(Error::QuantPresent { path: tree.root().path().join(path), what: "this file".into() });
        }
        self.push(Change { path, before: None, after, base: None, purpose: purpose.into() });
        Ok(())
    }

    fn push(&mut self, change: Change) {
        debug_assert!(
            can_change(&change.path),
            "{} is to be changed, and a journal could not say so",
            change.path.display()
        );
        self.changes.push(change);
    }

    /// Plans the edit of a file that the tree must have.
    fn edit<T>(
        &mut self,
        tree: &Tree,
        path: &Path,
        purpose: &str,
        edit: impl FnOnce(&Path, &mut Text) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let missing = || Error::NotCaffe { root: tree.root().path().into(), missing: name_of(path) };
        let mut text = tree.text(path)?.ok_or_else(missing)?;
        let result = edit(&tree.root().path().join(path), &mut text)?;
        self.put(tree, path, &text, purpose)?;
        Ok(result)
    }

    /// Plans a compatibility edit of those files of the tree that need it, on top of what is planned for them already.
    /// Files that the patch itself creates need none.
    fn edit_where_needed(
        &mut self,
        tree: &Tree,
        name: &'static str,
        reason: &'static str,
        paths: &[&Path],
        edit: impl Fn(&mut Text) -> bool,
    ) -> Result<(), Error> {
        let mut edited = false;
        let mut sources = Vec::new();
        for path in paths {
            sources.extend(tree.sources(path)?);
        }
        for path in sources {
            let current = match tree.text(&path) {
                // Somebody else's file, linked into a folder of examples, say.
                Err(Error::Outside { .. }) if !paths.contains(&path.as_path()) => continue,
                current => current?,
            };
            let Some(current) = current else { continue };
            let mut text = self.planned_text(&path).unwrap_or(current);
            if edit(&mut text) {
                self.put(tree, &path, &text, &format!("compatibility: {name}"))?;
                edited = true;
            }
        }
        if edited {
            self.compat.push((name, reason));
        }
        Ok(())
    }

    /// The text that a path is to hold, if the plan changes it.
    fn planned_text(&self, path: &Path) -> Option<Text> {
        match &self.changes.iter().find(|change| change.path == path)?.after {
            Entry::File { bytes, .. } => Some(Text::from_bytes(bytes)),
            Entry::Link(_) => None,
        }
    }

    /// Plans a path's text. A change of the path that is planned already keeps its purpose.
    fn put(&mut self, tree: &Tree, path: &Path, text: &Text, purpose: &str) -> Result<(), Error> {
        if let Some(planned) = self.changes.iter_mut().find(|change| change.path == path) {
            planned.after = planned.after.with_bytes(text.to_bytes());
            return Ok(());
        }
        let before = tree.entry(path)?;
        let after = match &before {
            Some(entry) => entry.with_bytes(text.to_bytes()),
            None => Entry::file(text.to_bytes()),
        };
        self.push(Change { path: path.into(), before, after, base: None, purpose: purpose.into() });
        Ok(())
    }
}

/// The name in [`EDITED`] of a path, or the example's, for a message about the missing file.
fn name_of(path: &Path) -> &'static str {
    EDITED.into_iter().find(|name| Path::new(name) == path).unwrap_or(EXAMPLE)
}

/// Whether a source of the tree's own below src/caffe uses one of these words.
fn uses(tree: &Tree, words: &[&str]) -> Result<bool, Error> {
    for path in tree.sources(Path::new("src/caffe"))? {
        let Some(text) = tree.text(&path)? else { continue };
        if cpp_syntax::tokens(text.as_str()).any(|(_, token)| words.contains(&token)) {
            return Ok(true);
        }
    }
    Ok(false)
}
