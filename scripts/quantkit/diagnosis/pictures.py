"""The plots of the report, as data URIs that hold an SVG."""

import base64
import io

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402

from .features import SUSPECT, Losses  # noqa: E402

GOOD, BAD = "#2a7fb8", "#d1495b"
plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "path"})


def _uri(figure):
    """The data URI of a figure, which is closed."""
    out = io.BytesIO()
    figure.savefig(out, format="svg")
    plt.close(figure)
    return "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode()


def depth(layers):
    """Cosine similarity and signal-to-noise ratio of every layer, in the order of computation."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(9.6, 4.2), sharex=True, layout="constrained")
    places = np.arange(1, len(layers) + 1)
    cosines = np.array([layer.output.cosine for layer in layers])
    noise = np.array([np.nan if layer.output.sqnr is None else layer.output.sqnr for layer in layers])
    marker = "o" if len(layers) <= 60 else None
    above.plot(places, cosines, color=GOOD, marker=marker, markersize=3.5, linewidth=1)
    above.axhline(SUSPECT, color=BAD, linestyle="--", linewidth=1)
    suspect = cosines < SUSPECT
    above.plot(places[suspect], cosines[suspect], "o", color=BAD, markersize=4.5)
    above.set_ylabel("cosine similarity")
    above.set_ylim(top=1 + 0.03 * max(0.02, 1 - cosines.min()))
    below.plot(places, noise, color=GOOD, marker=marker, markersize=3.5, linewidth=1)
    below.set_ylabel("signal to noise, dB")
    below.set_xlabel("layer, in the order of computation (the table's numbers)")
    below.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=20))
    for axis in (above, below):
        axis.grid(axis="y", color="#e5e7eb", linewidth=0.7)
    return _uri(figure)


def magnitudes(layer):
    """Histograms of the magnitudes of a layer's weights and data, with the format's range shaded, or None."""
    parts = [(name, losses) for name, losses in (("weights", layer.weights), ("data it reads", layer.data))
             if losses is not None and losses.top is not None and losses.nonzero]
    if not parts:
        return None
    figure, axes = plt.subplots(1, len(parts), figsize=(4.8 * len(parts), 2.1), squeeze=False, layout="constrained")
    centres = (Losses.EDGES[:-1] + Losses.EDGES[1:]) / 2
    for axis, (name, losses) in zip(axes[0], parts):
        low, high = np.log2(losses.bottom), np.log2(losses.top)
        axis.axvspan(low, high, color="#e3f1e6", zorder=0)
        shares = 100 * losses.histogram / losses.nonzero
        outside = (centres < low) | (Losses.EDGES[:-1] > high)
        axis.bar(centres[~outside], shares[~outside], width=0.45, color=GOOD)
        axis.bar(centres[outside], shares[outside], width=0.45, color=BAD)
        seen = np.flatnonzero(shares > 0.02)
        axis.set_xlim(min(low, centres[seen[0]] if seen.size else low) - 1,
                      max(high, centres[seen[-1]] if seen.size else high) + 1)
        axis.set_title(f"{name}, {losses.bits} bit: {100 * losses.flushed_share:.1f}% become zero, "
                       f"{100 * losses.saturated_share:.2f}% saturate", fontsize=8.5)
        axis.set_xlabel("log2 of the magnitude")
        axis.set_ylabel("% of values")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    return _uri(figure)


def maps(layer):
    """Some channels of a layer's feature map for the first sample: float, quantised, and the difference."""
    own, other = layer.maps
    columns = len(own)
    figure, axes = plt.subplots(3, columns, figsize=(1.25 * columns + 0.9, 3.9), squeeze=False, layout="constrained")
    for column in range(columns):
        scale = max(np.abs(own[column]).max(), np.abs(other[column]).max(), 1e-12)
        for row, image in enumerate((own[column], other[column], other[column] - own[column])):
            axis = axes[row][column]
            axis.imshow(image, cmap="RdBu_r", vmin=-scale, vmax=scale, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_visible(False)
            if column == 0:
                axis.set_ylabel(("float", "quantised", "difference")[row])
    return _uri(figure)
