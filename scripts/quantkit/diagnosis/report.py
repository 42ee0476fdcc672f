"""The diagnosis as JSON, as an HTML page, and as a few lines for the terminal."""

import html
import math

from .features import SUSPECT

# The page has histograms for this many of the worst layers.
SHOWN = 4

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1f2933; max-width: 1180px; margin: 24px auto; padding: 0 20px; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 36px 0 6px; }
h3 { font-size: 15px; margin: 18px 0 4px; }
p { margin: 6px 0 10px; max-width: 78ch; } .small { color: #616e7c; font-size: 13px; }
.verdict { background: #f3f6f9; border-left: 4px solid #2a7fb8; padding: 10px 14px; margin: 14px 0; max-width: none; }
.scroll { max-height: 640px; overflow: auto; border: 1px solid #e4e7eb; border-radius: 4px; }
table { border-collapse: collapse; font-size: 13px; width: 100%; } .fit table { width: auto; min-width: 50%; }
th, td { padding: 4px 9px; text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
th { position: sticky; top: 0; background: #f3f6f9; font-weight: 600; text-align: right; }
td.name, th.name { text-align: left; max-width: 230px; overflow: hidden; text-overflow: ellipsis; }
.fit td.name { max-width: 620px; white-space: normal; }
tr:nth-child(even) td { background: #fafbfc; } tr.bad td { background: #fdecee; }
.bar { display: inline-block; width: 70px; height: 9px; background: #edf0f3; margin-left: 7px; text-align: left; }
.bar i { display: block; height: 9px; background: #2a7fb8; } tr.bad .bar i { background: #d1495b; }
img { max-width: 100%; display: block; } ul { padding-left: 0; list-style: none; } li { margin: 4px 0; }
.tag { display: inline-block; min-width: 62px; text-align: center; border-radius: 3px; font-size: 12px; color: #fff;
  margin-right: 8px; }
.ok { background: #3a8f5d; } .note { background: #7b8794; } .warning { background: #c98a1b; }
.error { background: #c43d4f; }
"""


class Diagnosis:
    """All results of a diagnosis; the page, the JSON and the lines are views of them."""

    def __init__(self, subject, judge, modes, layers, ranked, tried, advice, findings, about):
        self.subject = subject
        self.judge = judge
        self.modes = modes
        self.layers = layers
        self.ranked = ranked
        self.tried = tried
        self.advice, self.sixteen = advice
        self.findings = findings
        self.about = about
        # The numbers of the layers in the page's tables.
        self.number = {layer.name: index for index, layer in enumerate(layers, 1)}

    def _outcome(self, outcome):
        figures = {output.label: value for output, value in zip(self.judge.outputs, outcome.figures)}
        return {"figures": figures, "error": _finite(outcome.error), "cosine": outcome.cosine}

    def as_json(self):
        """The content of report.json."""
        def losses(part):
            return part and {"bits": part.bits, "largest": part.top, "flushed": part.flushed_share,
                             "saturated": part.saturated_share}
        return {
            **self.about,
            "output": self.judge.output,
            "modes": {name: self._outcome(outcome) for name, outcome in self.modes.items()},
            "layers": [{
                "name": layer.name, "type": layer.kind, "cosine": layer.output.cosine, "sqnr_db": layer.output.sqnr,
                "range": [_finite(layer.output.low), _finite(layer.output.high)], "suspect": layer.suspect,
                "data": losses(layer.data), "weights": losses(layer.weights),
            } for layer in self.layers],
            "sensitivity": [{
                "rank": index, "layer": entry.unit.name, "type": entry.unit.kind, "alone": self._outcome(entry.alone),
                "all_but_this": self._outcome(entry.without),
            } for index, entry in enumerate(self.ranked, 1)],
            "sixteen": [{"layers": layers, **self._outcome(outcome)} for layers, outcome in self.tried],
            "advice": {"text": self.advice, "sixteen": self.sixteen},
            "checks": [{"level": finding.level, "text": finding.text} for finding in self.findings],
        }

    def lines(self):
        """Yields the lines for the terminal."""
        yield f"On {self.about['samples']} samples, in {self.about['batches']} batches:"
        yield f"{'':<18}{self._heads('>14')}{'output error':>14}"
        for name, outcome in self.modes.items():
            yield f"{name:<18}{self._cells(outcome, '>14')}{outcome.error:>14.4f}"
        suspects = [layer for layer in self.layers if layer.suspect]
        yield (f"{len(suspects)} of {len(self.layers)} layers have a cosine similarity below {SUSPECT}"
               + (f", first {suspects[0].name}" if suspects else ""))
        yield "The layers whose quantisation alone changes the output most:"
        for index, entry in enumerate(self.ranked[:5], 1):
            yield f"  {index}. {entry.unit.name:<28} error {entry.alone.error:.4f}{self._lost_text(entry.alone)}"
        yield self.advice
        for finding in self.findings:
            if finding.level in ("warning", "error"):
                yield f"{finding.level}: {finding.text}"

    def _lost_text(self, outcome):
        lost = self.judge.lost(outcome)
        return "" if lost is None else f", accuracy lost {100 * lost:+.2f} points"

    def _heads(self, spec):
        return "".join(f"{output.label:{spec}}" for output in self.judge.outputs)

    def _cells(self, outcome, spec):
        return "".join(f"{output.show(value):{spec}}" for output, value in zip(self.judge.outputs, outcome.figures))

    def page(self):
        """The content of report.html, which needs no other file."""
        title = html.escape(f"{self.about['net']}: where accuracy goes")
        parts = [
            f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
            f"<style>{STYLE}</style></head><body><h1>{title}</h1>",
            f"<p class='small'>{html.escape(self.about['weights'])}, {self.about['samples']} samples in "
            f"{self.about['batches']} batches; output error is that of blob "
            f"<b>{html.escape(self.judge.output)}</b>: the square root of the summed squared difference to float "
            f"divided by the summed squared float values. {html.escape(self.about['ranges'])}</p>",
            f"<p class='verdict'>{html.escape(self.advice)}</p>",
            "<h2>What quantisation costs</h2>", self._modes_table(),
            "<h2>Layer by layer</h2>", self._layers_part(),
            "<h2>The effect of each layer</h2>", self._ranking_part(),
            "<h2>Checks</h2>", self._checks_part(), "</body></html>\n",
        ]
        return "\n".join(parts)

    def _modes_table(self):
        names = {"float": "float", "data": "data quantised", "weights": "weights quantised",
                 "data and weights": "data and weights quantised"}
        rows = [([names[name]], [*self._figures(outcome), _bar(outcome.error, self._worst()), f"{outcome.cosine:.5f}"],
                 False) for name, outcome in self.modes.items()]
        heads = [output.label for output in self.judge.outputs]
        return "<div class='fit'>" + _table(["network"], [*heads, "output error", "cosine similarity"], rows) + "</div>"

    def _worst(self):
        errors = [outcome.error for outcome in self.modes.values() if math.isfinite(outcome.error)]
        return max(errors) or 1.0

    def _figures(self, outcome):
        return [output.show(value) for output, value in zip(self.judge.outputs, outcome.figures)]

    def _layers_part(self):
        from . import pictures

        rows = []
        for layer in self.layers:
            output = layer.output
            cells = [_bar(output.cosine, 1.0, f"{output.cosine:.4f}"),
                     "exact" if output.sqnr is None else f"{output.sqnr:.1f}",
                     f"{output.low:.3g} … {output.high:.3g}"]
            for part in (layer.data, layer.weights):
                cells += ["", ""] if part is None or part.top is None else [str(part.bits), _share(part.flushed_share)]
            cells.append("" if layer.data is None or layer.data.top is None else _share(layer.data.saturated_share))
            rows.append(([str(self.number[layer.name]), layer.name, layer.kind], cells, layer.suspect))
        heads = ["cosine similarity", "SQNR, dB", "range in float", "data bits", "to zero", "weight bits", "to zero",
                 "data saturated"]
        text = (f"<p>Each layer's output in the quantised net compared with the float net's on the same samples. "
                f"Marked: cosine similarity below {SUSPECT}. To zero: the share of the values other than zero that "
                "become zero in quantisation.</p>"
                f"<img alt='similarity along the net' src='{pictures.depth(self.layers)}'>"
                f"<div class='scroll'>{_table(['no.', 'layer', 'type'], heads, rows)}</div>")
        by_name = {layer.name: layer for layer in self.layers}
        shown = [by_name[entry.unit.name] for entry in self.ranked if entry.unit.name in by_name][:SHOWN]
        text += ("<h3>Magnitudes in the layers that cost most</h3><p>Green: the octaves that the format covers with "
                 "that range. Red: values outside.</p>")
        for layer in shown:
            picture = pictures.magnitudes(layer)
            if picture:
                text += f"<h3>{self.number[layer.name]}. {html.escape(layer.name)}</h3><img alt='' src='{picture}'>"
        pictured = [layer for layer in shown if layer.maps is not None][:2]
        if pictured:
            text += "<h3>Feature maps of these layers for the first sample: some channels</h3>"
        for layer in pictured:
            text += (f"<p class='small'>{html.escape(layer.name)}, each channel on a colour scale of its own, its "
                     f"difference on the same</p><img alt='' style='max-width: 640px' src='{pictures.maps(layer)}'>")
        return text

    def _ranking_part(self):
        worst = max((entry.alone.error for entry in self.ranked if math.isfinite(entry.alone.error)), default=0) or 1.0
        both = self.modes["data and weights"]
        labels = [output.label for output in self.judge.outputs]
        rows = []
        for index, entry in enumerate(self.ranked, 1):
            won = both.error - entry.without.error
            cells = [_bar(entry.alone.error, worst), *self._figures(entry.alone), f"{won:+.4f}",
                     *self._figures(entry.without)]
            rows.append(([str(index), entry.unit.name, entry.unit.kind], cells, entry.unit.name in self.sixteen))
        heads = ["alone: error", *labels, "left float: error saved", *labels]
        text = ("<p>First only this layer's data and weights are quantised, then those of all layers but this one. "
                "Sorted by the first error. Marked: the layers that the advice names.</p>"
                f"<div class='scroll'>{_table(['rank', 'layer', 'type'], heads, rows)}</div>")
        rows = [([_names(layers, len(self.subject.units))], [*self._figures(outcome), _bar(outcome.error, both.error)],
                 layers == self.sixteen) for layers, outcome in self.tried]
        rows.insert(0, (["none"], [*self._figures(both), _bar(both.error, both.error)], False))
        text += ("<h3>16 bits for the worst layers, measured</h3><div class='fit'>"
                 + _table(["in 16 bits"], [*labels, "output error"], rows) + "</div>")
        if self.sixteen:
            options = " ".join(f"--sixteen '{name}'" for name in self.sixteen)
            text += (f"<p>For training: <code>gfpq prototxt add-quant {html.escape(options)} …</code>, or "
                     "finetune.py with the same options. For the NNIE compiler: add <code>_hp</code> to the end of "
                     "these layers' names.</p>")
        return text

    def _checks_part(self):
        rows = [f"<li><span class='tag {finding.level}'>{finding.level}</span>{html.escape(finding.text)}</li>"
                for finding in self.findings]
        return f"<ul>{''.join(rows)}</ul>"


def _table(names, heads, rows):
    """An HTML table; rows are (texts, HTML cells, whether marked)."""
    head = "".join(f"<th class='name'>{html.escape(name)}</th>" for name in names)
    head += "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    body = ""
    for texts, cells, marked in rows:
        body += "<tr class='bad'>" if marked else "<tr>"
        body += "".join(f"<td class='name' title='{html.escape(text)}'>{html.escape(text)}</td>" for text in texts)
        body += "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _bar(value, full, text=None):
    """A table cell with the value and a bar; the bar is complete at `full`."""
    share = 100 * min(1.0, max(0.0, value / full if full else 0.0)) if math.isfinite(value) else 100
    return f"{text or f'{value:.4f}'}<span class='bar'><i style='width:{share:.1f}%'></i></span>"


def _share(value):
    """A share as HTML text in percent."""
    return "0" if value == 0 else f"{100 * value:.2f}%" if value >= 0.0001 else "&lt;0.01%"


def _names(layers, total):
    """Layer names as text, three at most."""
    if len(layers) == total:
        return "all layers"
    return ", ".join(layers[:3]) + (f" and {len(layers) - 3} more" if len(layers) > 3 else "")


def _finite(value):
    """The value for JSON, which has no infinity and no NaN: None for these."""
    return value if math.isfinite(value) else None


def write(diagnosis, folder):
    """Writes report.html and report.json to the folder, each completely or not at all."""
    import json

    from .. import model

    data = json.dumps(diagnosis.as_json(), indent=1, allow_nan=False) + "\n"
    model.write(folder / "report.json", data.encode())
    model.write(folder / "report.html", diagnosis.page().encode())
