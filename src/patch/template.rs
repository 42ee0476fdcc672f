//! The templates, which are compiled into this program, and their rendering.

use super::error::Error;

macro_rules! templates {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../templates/", $name)))),*]
    };
}

/// Names and sources of the templates that become files of a tree, under the same path.
pub(super) const FILES: &[(&str, &str)] = templates![
    "include/caffe/layers/quant_layer.hpp",
    "include/caffe/util/batch_norm_folding.hpp",
    "include/caffe/util/weight_quantizer.hpp",
    "src/caffe/layers/quant_layer.cpp",
    "src/caffe/layers/quant_layer.cu",
    "src/caffe/test/test_batch_norm_folding.cpp",
    "src/caffe/test/test_quant_layer.cpp",
    "src/caffe/test/test_weight_quantizer.cpp",
    "src/caffe/util/batch_norm_folding.cpp",
    "src/caffe/util/weight_quantizer.cpp",
];

/// Names and sources of the templates for lines in a tree's own files, and of EDITS.md.
const SNIPPETS: &[(&str, &str)] = templates![
    "GFPQLibs/gitignore",
    "src/caffe/proto/net_field.proto",
    "src/caffe/proto/quant_parameter.proto",
    "Makefile/libraries.mk",
    "Makefile/copy_library.mk",
    "Makefile/distribute.mk",
    "Makefile.config/directories.mk",
    "net/after.cpp",
    "net/backward.cpp",
    "net/forward.cpp",
    "net/init.cpp",
    "net/member.hpp",
    "EDITS.md",
];

/// Renders the template `name`, one of those above, with a value for each variable in it.
pub(super) fn render(name: &'static str, variables: &[(&str, String)]) -> Result<String, Error> {
    let source = FILES.iter().chain(SNIPPETS).find(|(known, _)| *known == name).map_or("", |(_, source)| source);
    let mut context = tera::Context::new();
    for (key, value) in variables {
        context.insert(*key, value);
    }
    tera::Tera::one_off(source, &context, false).map_err(|source| Error::Template { template: name, source })
}
