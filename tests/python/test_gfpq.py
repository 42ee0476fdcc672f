"""scripts/gfpq.py, which also tests the library's interface as other languages call it, and `gfpq tensor`."""

import io
import json
import multiprocessing
import os
import subprocess
import threading
import unittest

import numpy as np

import gfpq


def large(seed):
    """An array that is large enough for the library to use several threads."""
    return np.random.default_rng(seed).normal(size=2_000_000).astype(np.float32)


def delta_of_large(seed):
    return gfpq.quantise(large(seed))[1]


class GfpqTest(unittest.TestCase):
    def test_documented_sample(self):
        data, delta = gfpq.quantise(np.arange(10))
        self.assertEqual(delta, -77)
        self.assertEqual("0 1 2 2.953652 4 4.967431 5.907305 7.025009 8 8.724062", " ".join(f"{x:.7g}" for x in data))

    def test_given_delta_saturates(self):
        data, delta = gfpq.quantise(np.array([1000.0, -1e-9]), delta=-77)
        self.assertEqual((data.dtype, delta), (np.float64, -77))
        np.testing.assert_allclose(data, [8.724062, 0], rtol=1e-6)

    def test_quantise_does_not_change_its_argument(self):
        data = np.array([1.1, 2.2], np.float32)
        gfpq.quantise(data)
        np.testing.assert_array_equal(data, np.array([1.1, 2.2], np.float32))

    def test_errors_are_exceptions(self):
        with self.assertRaisesRegex(ValueError, "0xffff0005"):
            gfpq.quantise([1.0], bits=7)

    def test_a_forked_child_can_quantise_after_its_parent_used_the_thread_pool(self):
        expected = delta_of_large(1)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            result = pool.map_async(delta_of_large, [1, 1, 1, 1])
            self.assertEqual(result.get(timeout=60), [expected] * 4)

    def test_several_threads_can_quantise_at_once(self):
        expected, results = gfpq.quantise(large(2))[0], []
        threads = [threading.Thread(target=lambda: results.append(gfpq.quantise(large(2))[0])) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        self.assertEqual(len(results), 8)
        for result in results:
            np.testing.assert_array_equal(result, expected)


class TensorTest(unittest.TestCase):
    """`gfpq tensor`."""

    def run_tensor(self, data, *options):
        """The finished process, with an array or bytes as its input."""
        file = io.BytesIO()
        if isinstance(data, np.ndarray):
            np.save(file, data)
        else:
            file.write(data)
        command = [os.environ["GFPQ"], "tensor", "-", "--json", *options]
        return subprocess.run(command, input=file.getvalue(), capture_output=True)

    def test_type_shape_and_memory_order_are_kept(self):
        for dtype in (np.float32, np.float64):
            for order in "CF":
                data = np.array(large(3)[:60].reshape(3, 4, 5), dtype=dtype, order=order)
                result = self.run_tensor(data, "--bits", "16")
                out = np.load(io.BytesIO(result.stdout))
                self.assertEqual((out.dtype, out.flags.f_contiguous), (data.dtype, data.flags.f_contiguous))
                expected, delta = gfpq.quantise(data, 16)
                np.testing.assert_array_equal(out, expected)
                self.assertEqual(json.loads(result.stderr)["delta"], delta)

    def test_param_sets_the_range(self):
        param = json.loads(self.run_tensor(np.array([9.0])).stderr)["param"]
        out = np.load(io.BytesIO(self.run_tensor(np.array([1000.0]), "--param", param).stdout))
        np.testing.assert_allclose(out, [8.724062], rtol=1e-6)

    def test_bad_input_gives_one_line_of_error(self):
        for data, options, words in ((np.arange(3), [], b"float32 or float64"), (b"layer {", [], b"not a .npy file"),
                                     (np.ones(3), ["--param", "xy"], b"32 hexadecimal digits")):
            result = self.run_tensor(data, *options)
            self.assertEqual((result.returncode, result.stdout, result.stderr.count(b"\n")), (1, b"", 1))
            self.assertIn(words, result.stderr)


if __name__ == "__main__":
    unittest.main()
