"""Compares the quantiser on a real GPU with the CPU, bit for bit. Without a GPU it is skipped, with the reason."""

import ctypes
import json
import os
import pathlib
import time
import unittest

import numpy as np

import gfpq
from checks import gpu

GOLDEN = pathlib.Path(__file__).parent.parent / "fixtures/golden"


def setUpModule():
    global device, cpu, library
    try:
        device = gpu.Gpu()
    except gpu.NoGpu as reason:
        raise unittest.SkipTest(f"SKIPPED: {reason}")
    path = pathlib.Path(os.environ.get("GFPQ_LIB", gfpq.default_path()))
    cpu = gfpq.Library(path)
    library = gpu.Library(path.parent / "libgfpq_gpu.so.1")
    print("on", device.name)


def tensor(rng, count, dtype):
    """Random values of several spreads with both signs and zeros; some tensors have NaN and infinity."""
    with np.errstate(over="ignore"):
        x = np.exp2(rng.uniform(-30, 30) + rng.choice([0, 1, 4, 12, 40]) * rng.uniform(-0.5, 0.5, count))
        x = (x * rng.choice([-1, 1], count)).astype(dtype)
    x[rng.random(count) < 0.02] = 0
    if rng.random() < 0.3 and count > 3:
        x[rng.integers(count, size=3)] = [np.nan, np.inf, -np.inf]
    return x


def same(a, b):
    return np.array_equal(a.view(np.uint8), b.view(np.uint8))


class Quantiser(unittest.TestCase):
    def test_golden(self):
        data = (GOLDEN / "data.bin").read_bytes()
        tried = 0
        for case in json.loads((GOLDEN / "cases.json").read_text())["cases"]:
            # These float64 values are so close to a threshold that the GPU may round them to another code.
            if case["ret"] != "0x00000000" or "rounding-boundaries" in case["name"] and case["dtype"] == "float64":
                continue
            dtype, count = np.dtype(case["dtype"]), case["count"]
            source, expected = (np.frombuffer(data, dtype, count, case[key]) for key in ("input", "output"))
            param = gfpq.Param(mode=case["mode"])
            param.buf[:] = bytes.fromhex(case["param_in"])
            memory = device.put(source)
            pointer = None if case["null_param"] else ctypes.byref(param)
            gpu.check(library.in_place[dtype](memory.address, count, case["bits"], pointer, device.stream, None))
            device.synchronise()
            self.assertTrue(same(memory.get(count, dtype), expected), case["name"])
            if not case["null_param"]:
                self.assertEqual(bytes(param.buf).hex(), case["param_out"], case["name"])
            tried += 1
        self.assertGreater(tried, 150)

    def test_random(self):
        rng = np.random.default_rng(20260101)
        counts = [0, 1, 7, 1000, 4095, 4097, 100_003] + ([] if os.environ.get("GFPQ_SHORT") else [3_000_017])
        for count in counts:
            for dtype in (np.float32, np.float64):
                for bits in (8, 16):
                    for shift in (0, 1, 3):
                        for mode in (gfpq.INIT, gfpq.UPDATE, gfpq.APPLY_ONLY):
                            x = tensor(rng, count, dtype)
                            ours, theirs = gfpq.Param(mode=mode), gfpq.Param(mode=mode)
                            ours.delta = theirs.delta = int(rng.integers(-500, 500))
                            expected = x.copy()
                            cpu.call(expected, bits, ours)
                            padded = np.concatenate([np.full(shift, 7, dtype), x, np.full(5, 7, dtype)])
                            memory, offset = device.put(padded), shift * x.itemsize
                            gpu.check(library.in_place[np.dtype(dtype)](
                                memory.address + offset, count, bits, ctypes.byref(theirs), device.stream, None))
                            device.synchronise()
                            result = memory.get(len(padded), dtype)
                            what = (count, dtype, bits, shift, mode)
                            self.assertTrue(same(result[shift : shift + count], expected), what)
                            self.assertTrue((np.delete(result, slice(shift, shift + count)) == 7).all(), what)
                            self.assertEqual(ours.delta, theirs.delta, what)

    def test_a_call_with_the_range_in_gpu_memory_does_not_wait_for_the_gpu(self):
        rng = np.random.default_rng(7)
        # These copies keep a fast GPU busy for a tenth of a second; the call must return earlier.
        size, copies = (1 << 20, 3) if os.environ.get("GFPQ_SHORT") else (1 << 28, 400)
        count = size >> 8
        busy = device.allocate(2 * size)
        source, to = device.allocate(4 * count), device.allocate(4 * count)
        span, found, param = device.put(np.zeros(2, np.float32)), device.pinned(), gfpq.Param(mode=gfpq.INIT)
        call = library.with_range[np.dtype(np.float32)]
        for step in range(4):
            x = (rng.standard_normal(count) * (step + 1)).astype(np.float32)
            x[5] = np.nan if step == 3 else x[5]
            source.set(x)
            device.synchronise()
            for _ in range(copies):
                device.copy(busy.address, busy.address + size, size)
            start = time.monotonic()
            gpu.check(call(source.address, to.address, count, 8, span.address, found, device.stream))
            taken = time.monotonic() - start
            self.assertTrue(step == 0 or device.is_busy(), f"the GPU was idle when the call returned, after {taken} s")
            device.synchronise()
            expected = x.copy()
            cpu.call(expected, 8, param)
            param.mode = gfpq.UPDATE
            self.assertTrue(same(to.get(count, np.float32), expected))
            self.assertEqual(span.get(2, np.float32).tolist(), [8, param.delta])
            self.assertEqual(found[0], int(step == 3))

    def test_a_cpu_pointer_is_refused(self):
        x = np.ones(10, np.float32)
        code = library.in_place[x.dtype](x.ctypes.data, 10, 8, None, None, None)
        self.assertEqual(code, 0xFFFF0006)
        self.assertTrue((x == 1).all())


if __name__ == "__main__":
    unittest.main()
