#!/usr/bin/env python3
"""Measures the GPU quantiser's throughput, and compares it with a device-to-device copy on the same GPU.

The bytes that count: INIT reads a tensor twice and writes it once; APPLY_ONLY and the copy read and write it once.
Usage: scripts/bench_gpu.py [--count N] [--library LIBGFPQ_GPU.so.1]
"""

import argparse
import ctypes
import sys

import numpy as np

import gfpq
from checks import gpu


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1 << 28,
                        help="number of float32 values; half as many float64 values (default: 2^28, above any cache)")
    parser.add_argument("--repeat", type=int, default=20, help="measurements for each median (default: 20)")
    parser.add_argument("--library", default=str(gfpq.default_path()).replace("libgfpq.so", "libgfpq_gpu.so"),
                        help="libgfpq_gpu.so.1 (default: beside GFPQ_LIB, or the one that scripts/package.sh built)")
    options = parser.parse_args()
    try:
        device = gpu.Gpu()
    except gpu.NoGpu as reason:
        print(f"SKIPPED: {reason}")
        return
    library = gpu.Library(options.library)
    rng = np.random.default_rng(1)
    print(f"{device.name}, {options.count} values, medians of {options.repeat}")
    print("| type | bits | call | GB/s | of the copy's rate |")
    print("| --- | --- | --- | --- | --- |")
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        count, size = options.count * 4 // dtype.itemsize, dtype.itemsize
        source, to = device.allocate(count * size), device.allocate(count * size)
        # The tensor is filled with copies of one piece of random data.
        piece = rng.standard_normal(1 << 20).astype(dtype)
        for start in range(0, count, len(piece)):
            part = piece[: count - start]
            device.call("cuMemcpyHtoD_v2", ctypes.c_uint64(source.address + start * size),
                        ctypes.c_void_p(part.ctypes.data), ctypes.c_size_t(part.nbytes))

        span = device.put(np.zeros(2, dtype))
        copy = 2 * count * size / device.seconds(lambda: device.copy(to.address, source.address, count * size),
                                                 options.repeat)
        print(f"| {dtype} | | copy | {copy / 1e9:.0f} | |")

        for bits in (8, 16):
            param = gfpq.Param(mode=gfpq.APPLY_ONLY)
            # A fixed range for normally distributed values.
            param.delta = -90 if bits == 8 else -1200
            span.set(np.zeros(2, dtype))
            calls = {
                "INIT": (3, lambda: gpu.check(library.with_range[dtype](
                    source.address, to.address, count, bits, span.address, None, device.stream))),
                "APPLY_ONLY": (2, lambda: gpu.check(library.to[dtype](
                    source.address, to.address, count, bits, ctypes.byref(param), None, device.stream))),
            }
            for name, (passes, call) in calls.items():
                rate = passes * count * size / device.seconds(call, options.repeat)
                print(f"| {dtype} | {bits} | {name} | {rate / 1e9:.0f} | {rate / copy:.0%} |")


if __name__ == "__main__":
    sys.exit(main())
