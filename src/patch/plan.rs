//! All edits to a tree, worked out in memory before the first byte is written.

use std::path::{Path, PathBuf};

use super::edits::caffe_proto::{self, FieldNumbers};
use super::edits::make_syntax::{assigns, sets};
use super::edits::{compat, cuda_arch, makefile, makefile_config, net_sources};
use super::error::Error;
use super::host::library::Library;
use super::host::machine::Machine;
use super::host::nvcc::Cuda;
use super::source_text::Text;
use super::template;
use super::tree::{Entry, Tree};

/// What an apply is to do.
#[derive(Debug)]
pub struct Options<'a> {
    /// The library to install.
    pub library: &'a Library,
    /// Make the compatibility edits.
    pub compat: bool,
    /// Write Makefile.config for this machine, or complete the one there; `None` leaves it alone.
    pub machine: Option<&'a Machine>,
}

/// One path's change.
#[derive(Clone, Debug)]
pub struct Change {
    /// Relative to the tree.
    pub path: PathBuf,
    /// What stands there now.
    pub before: Option<Entry>,
    /// What will.
    pub after: Entry,
    /// For people: what the change is for.
    pub purpose: String,
}

/// All changes, in the order of their paths within each part.
#[derive(Debug)]
pub struct Plan {
    /// One change a path.
    pub changes: Vec<Change>,
    /// The new fields in caffe.proto.
    pub numbers: FieldNumbers,
    /// Names and reasons of the compatibility edits among them.
    pub compat: Vec<(&'static str, &'static str)>,
    /// What whoever applies it must see to.
    pub notes: Vec<String>,
    /// The header that has SGDSolver in this tree.
    pub(super) solver_header: &'static str,
}

/// The header that has had SGDSolver since solvers got headers of their own.
pub(super) const SOLVER_HEADER: &str = "caffe/sgd_solvers.hpp";

impl Plan {
    /// Plans for a tree that is not patched.
    ///
    /// # Errors
    /// When the tree does not fit or an edit finds no place.
    pub fn new(tree: &Tree, options: &Options) -> Result<Plan, Error> {
        tree.check_fits()?;
        let mut plan = Plan::empty();
        if tree.text(&Path::new("include").join(SOLVER_HEADER))?.is_none() {
            plan.solver_header = "caffe/solver.hpp";
        }
        for &(name, _) in template::FILES {
            let content = template::render(name, &[("solver_header", plan.solver_header.to_owned())])?;
            plan.create(
                tree,
                Path::new(name),
                Entry::file(content.into_bytes()),
                "the Quant layer and quantised weights",
            )?;
        }
        let numbers = plan.edit(tree, "src/caffe/proto/caffe.proto", "their parameters", caffe_proto::edit)?;
        plan.numbers = numbers;
        plan.edit(tree, "include/caffe/net.hpp", "quantised weights", net_sources::edit_header)?;
        plan.edit(tree, "src/caffe/net.cpp", "quantised weights", net_sources::edit_source)?;
        plan.edit(tree, "Makefile", "link and copy the library", makefile::edit)?;
        plan.edit_config(tree, "Makefile.config.example", options)?;
        if let Some(machine) = options.machine {
            plan.config(tree, machine, options)?;
        }
        if options.compat {
            plan.compat(tree)?;
        }
        for (path, entry) in &options.library.entries {
            plan.create(tree, &Path::new("GFPQLibs").join(path), entry.clone(), "the library")?;
        }
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

    fn create(&mut self, tree: &Tree, path: &Path, after: Entry, purpose: &str) -> Result<(), Error> {
        if tree.entry(path)?.is_some() {
            return Err(Error::QuantPresent { path: tree.root().join(path), what: "this file".into() });
        }
        self.changes.push(Change { path: path.into(), before: None, after, purpose: purpose.into() });
        Ok(())
    }

    fn edit<T>(
        &mut self,
        tree: &Tree,
        path: &'static str,
        purpose: &str,
        edit: impl FnOnce(&Path, &mut Text) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let full = tree.root().join(path);
        let missing = || Error::NotCaffe { root: tree.root().into(), missing: path };
        let mut text = tree.text(Path::new(path))?.ok_or_else(missing)?;
        let before = tree.entry(Path::new(path))?.ok_or_else(missing)?;
        let result = edit(&full, &mut text)?;
        let after = before.with_bytes(text.to_bytes());
        self.changes.push(Change { path: path.into(), before: Some(before), after, purpose: purpose.into() });
        Ok(result)
    }

    /// Adds the library's folders, and drops architectures that the machine's nvcc refuses.
    fn edit_config(&mut self, tree: &Tree, path: &'static str, options: &Options) -> Result<(), Error> {
        let cuda = options.machine.and_then(|machine| machine.cuda.as_ref()).filter(|_| options.compat);
        let edited = self.edit(tree, path, "the library's folders", |path, text| {
            makefile_config::add_directories(path, text)?;
            Ok(cuda.is_some_and(|cuda| cuda_arch::drop_refused(text, cuda)))
        })?;
        let edit = (cuda_arch::NAME, cuda_arch::REASON);
        if edited && !self.compat.contains(&edit) {
            self.compat.push(edit);
        }
        Ok(())
    }

    /// Completes an existing Makefile.config, or makes one of the example.
    fn config(&mut self, tree: &Tree, machine: &Machine, options: &Options) -> Result<(), Error> {
        const CONFIG: &str = "Makefile.config";
        let present = tree.text(Path::new(CONFIG))?;
        let has_compiler = |text: &Text| {
            sets(text, "CPU_ONLY", "1") || text.find_line(|line| assigns(line.trim_start(), "CUSTOM_CXX")).is_some()
        };
        if !present.as_ref().is_some_and(has_compiler) {
            self.notes.extend(machine.cuda.as_ref().and_then(Cuda::note));
        }
        if present.is_some() {
            return self.edit_config(tree, CONFIG, options);
        }
        let example = tree.text(Path::new("Makefile.config.example"))?;
        let mut text =
            example.ok_or(Error::NotCaffe { root: tree.root().into(), missing: "Makefile.config.example" })?;
        makefile_config::set_for_machine(&mut text, machine);
        makefile_config::add_directories(&tree.root().join(CONFIG), &mut text)?;
        self.changes.push(Change {
            path: CONFIG.into(),
            before: None,
            after: Entry::file(text.to_bytes()),
            purpose: "this machine's settings".into(),
        });
        Ok(())
    }

    fn compat(&mut self, tree: &Tree) -> Result<(), Error> {
        for edit in compat::EDITS {
            let Some(mut text) = tree.text(edit.path())? else { continue };
            if edit.apply(&mut text) {
                self.edit(tree, edit.path, &format!("compatibility: {}", edit.name), |_, current| {
                    *current = text;
                    Ok(())
                })?;
                self.compat.push((edit.name, edit.reason));
            }
        }
        Ok(())
    }
}
