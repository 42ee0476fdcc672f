"""scripts/gfpq.py, and on the way the library as any language calls it."""

import multiprocessing
import threading
import unittest

import numpy as np

import gfpq


def large(seed):
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

    def test_the_callers_array_is_left_alone(self):
        data = np.array([1.1, 2.2], np.float32)
        gfpq.quantise(data)
        np.testing.assert_array_equal(data, np.array([1.1, 2.2], np.float32))

    def test_errors_are_exceptions(self):
        with self.assertRaisesRegex(ValueError, "0xffff0005"):
            gfpq.quantise([1.0], bits=7)

    def test_a_forked_child_after_the_pool_was_used(self):
        expected = delta_of_large(1)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            result = pool.map_async(delta_of_large, [1, 1, 1, 1])
            self.assertEqual(result.get(timeout=60), [expected] * 4)

    def test_many_threads_at_once(self):
        expected, results = gfpq.quantise(large(2))[0], []
        threads = [threading.Thread(target=lambda: results.append(gfpq.quantise(large(2))[0])) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        self.assertEqual(len(results), 8)
        for result in results:
            np.testing.assert_array_equal(result, expected)


if __name__ == "__main__":
    unittest.main()
