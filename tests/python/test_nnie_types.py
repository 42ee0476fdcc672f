"""Python, Rust and C++ each have a list of the layer types that the NNIE computes; the three lists must be equal."""

import pathlib
import re
import unittest

from quantkit import nnie

ROOT = pathlib.Path(__file__).resolve().parents[2]


def words(text):
    return re.findall(r'"(\w+)"', text)


def rust_computed():
    """The types in the constant COMPUTED of the module prototxt, whichever of its files has it."""
    for path in sorted((ROOT / "src/prototxt").rglob("*.rs")):
        found = re.search(r"pub const COMPUTED: [^=]*= &?\[(.*?)\];", path.read_text(), re.DOTALL)
        if found:
            return words(found[1])
    raise AssertionError("no `pub const COMPUTED` in src/prototxt")


def cpp_weighted():
    """The types that HasNnieWeights in Caffe's WeightQuantizer accepts."""
    text = (ROOT / "templates/src/caffe/util/weight_quantizer.cpp").read_text()
    return words(re.search(r"bool HasNnieWeights\(.*?\{(.*?)\n\}", text, re.DOTALL)[1])


class NnieTypes(unittest.TestCase):
    def test_rust_has_the_same_computed_types(self):
        self.assertEqual(sorted(rust_computed()), sorted(nnie.COMPUTED))

    def test_cpp_has_the_same_types_with_weights(self):
        self.assertEqual(sorted(cpp_weighted()), sorted(nnie.WEIGHTED))


if __name__ == "__main__":
    unittest.main()
