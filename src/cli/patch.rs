//! `gfpq patch`.

use std::fs;
use std::io::{Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;

use crate::patch::{self, Found, Library, Machine, Options, Outcome, Status, Tree};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Add the Quant layer and its library to a Caffe tree. A second apply changes nothing.
    Apply {
        /// The folder that holds Caffe's Makefile.
        caffe_root: PathBuf,
        /// Print the changes as a unified diff and write nothing.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        args: PatchArgs,
    },
    /// Restore the tree as it was before the patch, byte for byte.
    Revert {
        /// The folder that holds Caffe's Makefile.
        caffe_root: PathBuf,
    },
    /// Report what is applied. Exit code 0: patched; 3: not patched; 1: not a Caffe tree, edited since, or interrupted.
    Status {
        /// The folder that holds Caffe's Makefile.
        caffe_root: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write the patch as files, without applying it.
    Render {
        /// The tree to render for: writes its new files, and its edits as caffe.patch.
        #[arg(required_unless_present = "stock", conflicts_with = "stock")]
        caffe_root: Option<PathBuf>,
        /// Render for BVLC's Caffe: write the new files, and EDITS.md, which describes the edits.
        #[arg(long)]
        stock: bool,
        /// The folder to write into; files with the same names in it are replaced.
        #[arg(short, long)]
        output: PathBuf,
        #[command(flatten)]
        args: PatchArgs,
    },
}

#[derive(clap::Args)]
struct PatchArgs {
    /// Leave out the edits that today's compilers and libraries need.
    #[arg(long)]
    no_compat: bool,
    /// Do not write or change Makefile.config.
    #[arg(long)]
    no_config: bool,
    /// The GFPQLibs folder, as scripts/package.sh makes it [default: the one beside this program].
    #[arg(long, value_name = "DIR")]
    libs: Option<PathBuf>,
}

impl PatchArgs {
    /// Loads the library, examines the machine unless Makefile.config is left alone, and calls `body` with the options.
    fn with_options<T>(&self, body: impl FnOnce(&Options) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let library = Library::load(&self.libs.clone().unwrap_or_else(default_libs))?;
        let machine = (!self.no_config).then(Machine::detect);
        body(&Options { library: &library, compat: !self.no_compat, machine: machine.as_ref() })
    }
}

/// The GFPQLibs folder beside this program, or where scripts/package.sh puts it when the program is run from a build.
fn default_libs() -> PathBuf {
    let program = std::env::current_exe().and_then(fs::canonicalize).unwrap_or_default();
    let folder = program.parent().unwrap_or(Path::new("."));
    let places = ["GFPQLibs", "../GFPQLibs", "../dist/GFPQLibs", "../lib/GFPQLibs"].map(|place| folder.join(place));
    let found = places.iter().find(|place| place.is_dir()).cloned();
    found.unwrap_or_else(|| folder.join("GFPQLibs"))
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::Apply { caffe_root, dry_run, args } => {
            let tree = Tree::open(caffe_root)?;
            args.with_options(|options| if *dry_run { show(&tree, options) } else { apply(&tree, options) })
        }
        Command::Revert { caffe_root } => {
            let reverted = patch::revert(&Tree::open(caffe_root)?)?;
            let mut out = stdout().lock();
            writeln!(out, "{}: {} files restored or removed", caffe_root.display(), reverted.paths.len())?;
            for path in reverted.kept_edits {
                writeln!(out, "  keeps your edits: {}", path.display())?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Status { caffe_root, json } => {
            let status = patch::status(&Tree::open(caffe_root)?)?;
            if *json { show_json(&status) } else { show_status(caffe_root, status) }
        }
        Command::Render { caffe_root: Some(root), output, args, .. } => {
            let tree = Tree::open(root)?;
            let files = args.with_options(|options| Ok(patch::render_tree(&patch::dry_run(&tree, options)?)?))?;
            write_files(&files, output)
        }
        Command::Render { output, .. } => write_files(&patch::render_stock()?, output),
    }
}

/// Prints what an apply would change.
fn show(tree: &Tree, options: &Options) -> anyhow::Result<ExitCode> {
    let plan = patch::dry_run(tree, options)?;
    stdout().write_all(&patch::unified_diff(&plan))?;
    for note in &plan.notes {
        writeln!(stderr(), "Note: {note}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Applies the patch and reports what changed.
fn apply(tree: &Tree, options: &Options) -> anyhow::Result<ExitCode> {
    let root = tree.root().path().display();
    let mut out = stdout().lock();
    match patch::apply(tree, options)? {
        Outcome::AlreadyPatched { restored, edited } => {
            match restored.len() {
                0 => writeln!(out, "{root}: already patched, nothing changed")?,
                1 => writeln!(out, "{root}: already patched; 1 file that was missing or unpatched is patched again")?,
                count => writeln!(
                    out,
                    "{root}: already patched; {count} files that were missing or unpatched are patched again"
                )?,
            }
            for path in restored {
                writeln!(out, "  again {}", path.display())?;
            }
            for path in edited {
                writeln!(out, "  edited since: {}", path.display())?;
            }
        }
        Outcome::Applied(plan) => {
            writeln!(out, "{root}: patched")?;
            for change in plan.changes.iter().filter(|change| !change.path.starts_with("GFPQLibs")) {
                let verb = if change.before.is_some() { "edited" } else { "new   " };
                writeln!(out, "  {verb} {}: {}", change.path.display(), change.purpose)?;
            }
            writeln!(out, "  new    GFPQLibs: the library")?;
            let numbers = plan.numbers;
            writeln!(out, "caffe.proto: quant_param = {}, weight_quant_param = {}", numbers.layer, numbers.net)?;
            for (name, reason) in &plan.compat {
                writeln!(out, "compatibility edit {name}: {reason}")?;
            }
            for note in &plan.notes {
                writeln!(out, "Note: {note}")?;
            }
            writeln!(out, "Next, in {root}: make clean; make pycaffe -j")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show_json(status: &Status) -> anyhow::Result<ExitCode> {
    let (journal, found) = match status {
        Status::NotPatched | Status::Interrupted => (None, [].as_slice()),
        Status::Patched(journal) => (Some(journal), [].as_slice()),
        Status::Changed(journal, found) => (Some(journal), found.as_slice()),
    };
    let paths_that = |wanted: Found| -> Vec<&PathBuf> {
        let records = journal.iter().flat_map(|journal| &journal.changes).zip(found);
        records.filter(|(_, found)| **found == wanted).map(|(record, _)| &record.path).collect()
    };
    let (missing, original, edited) =
        (paths_that(Found::Missing), paths_that(Found::Original), paths_that(Found::Edited));
    let (state, code) = match status {
        Status::NotPatched => ("not patched", ExitCode::from(3)),
        Status::Interrupted => ("interrupted", ExitCode::FAILURE),
        Status::Patched(_) => ("patched", ExitCode::SUCCESS),
        Status::Changed(..) if missing.is_empty() && original.is_empty() => ("edited", ExitCode::FAILURE),
        Status::Changed(..) => ("incomplete", ExitCode::FAILURE),
    };
    let answer = serde_json::json!({
        "state": state,
        "version": journal.map(|journal| &journal.version),
        "changes": journal.map(|journal| journal.changes.iter().map(|record| &record.path).collect::<Vec<_>>()),
        "compat": journal.map(|journal| journal.compat.iter().map(|(name, _)| name).collect::<Vec<_>>()),
        "edited": edited,
        "missing": missing,
        "original": original,
    });
    writeln!(stdout(), "{answer:#}")?;
    Ok(code)
}

fn show_status(root: &Path, status: Status) -> anyhow::Result<ExitCode> {
    let root = root.display();
    let mut out = stdout().lock();
    let (journal, found) = match status {
        Status::NotPatched => {
            writeln!(out, "{root}: not patched")?;
            return Ok(ExitCode::from(3));
        }
        Status::Interrupted => {
            writeln!(
                out,
                "{root}: an apply or revert was interrupted. Run `gfpq patch apply` to finish, or `revert` to undo"
            )?;
            return Ok(ExitCode::FAILURE);
        }
        Status::Patched(journal) => {
            let found = vec![Found::Patched; journal.changes.len()];
            (journal, found)
        }
        Status::Changed(journal, found) => (journal, found),
    };

    let since = match found.iter().all(|found| *found == Found::Patched) {
        true => "",
        false => ", and changed since",
    };
    writeln!(out, "{root}: patched by gfpq {}{since}", journal.version)?;
    for (record, found) in journal.changes.iter().zip(&found) {
        let verb = if record.before.is_some() { "edited" } else { "new   " };
        let now = match found {
            Found::Patched => "",
            Found::Original => "  (back to its original)",
            Found::Missing => "  (missing)",
            Found::Edited => "  (edited since)",
        };
        writeln!(out, "  {verb} {}: {}{now}", record.path.display(), record.purpose)?;
    }
    for (name, reason) in &journal.compat {
        writeln!(out, "compatibility edit {name}: {reason}")?;
    }
    if found.iter().any(|found| matches!(found, Found::Original | Found::Missing)) {
        writeln!(out, "Run `gfpq patch apply` to patch again what is missing or back to its original")?;
    }
    Ok(if since.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write_files(files: &[(PathBuf, Vec<u8>)], output: &Path) -> anyhow::Result<ExitCode> {
    for (path, bytes) in files {
        let path = output.join(path);
        let folder = path.parent().unwrap_or(output);
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    }
    writeln!(stdout(), "{}: {} files", output.display(), files.len())?;
    Ok(ExitCode::SUCCESS)
}
