"""What the tests of a patched Caffe share: PYTHONPATH names its python folder, GFPQ the program gfpq."""

import os
import pathlib
import subprocess
import tempfile
import unittest

os.environ.setdefault("GLOG_minloglevel", "2")

import caffe  # noqa: E402


class CaffeCase(unittest.TestCase):
    """A scratch folder for each test, and Caffe on the CPU with a fixed seed."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        caffe.set_mode_cpu()
        caffe.set_random_seed(7)

    def path(self, name, text=None):
        """The path of a file in the scratch folder, as a string. Writes `text` to the file if it is given."""
        path = self.folder / name
        if text is not None:
            path.write_text(text)
        return str(path)

    def gfpq(self, *arguments):
        """Runs gfpq, which must succeed, and returns the finished process."""
        done = subprocess.run([os.environ["GFPQ"], *arguments], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done
