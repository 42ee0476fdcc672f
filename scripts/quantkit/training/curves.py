"""The figures of a training while it runs: a CSV file, and a plot of it."""

import csv
import io

from .. import model


class Curves:
    """A CSV file with a row for each report: iteration, loss, learning rate, and the test figures or blanks.

    `labels` name the test figures. With `resume_at`, the file's rows up to that iteration are kept.
    """

    def __init__(self, path, labels, resume_at=None):
        self.path = path
        self.header = ["iteration", "training_loss", "learning_rate", *labels]
        self.rows = []
        if resume_at is not None and path.exists():
            with path.open(newline="") as file:
                self.rows = [row for row in list(csv.reader(file))[1:]
                             if len(row) == len(self.header) and int(row[0]) <= resume_at]
        text = io.StringIO()
        csv.writer(text).writerows([self.header, *self.rows])
        model.write(path, text.getvalue().encode())

    def add(self, iteration, loss, rate, values):
        """Adds a row; `values` are the test figures, or empty if no test was run."""
        row = [str(iteration), f"{loss:.6g}", f"{rate:.6g}", *(f"{value:.6g}" for value in values)]
        row += [""] * (len(self.header) - len(row))
        self.rows.append(row)
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow(row)

    def draw(self, path, outputs, levels):
        """Writes the plot to `path`: loss and learning rate, and a panel for each of the test figures `outputs`.

        `levels` is a list of (name, values) with a value for each output, drawn as horizontal lines.
        """
        import matplotlib
        matplotlib.use("Agg")
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(1 + len(outputs), 1, figsize=(8, 2.6 * (1 + len(outputs))), sharex=True,
                                    squeeze=False, layout="constrained")
        axes = axes[:, 0]
        steps = [int(row[0]) for row in self.rows]
        axes[0].plot(steps, [float(row[1]) for row in self.rows], linewidth=1, color="tab:blue")
        axes[0].set_ylabel("training loss")
        rate = axes[0].twinx()
        rate.plot(steps, [float(row[2]) for row in self.rows], linewidth=1, color="tab:gray", linestyle=":")
        rate.set_ylabel("learning rate (dotted)")

        for column, (output, axis) in enumerate(zip(outputs, axes[1:])):
            rows = [row for row in self.rows if row[3 + column]]
            factor = 100 if output.is_accuracy else 1
            axis.plot([int(row[0]) for row in rows], [factor * float(row[3 + column]) for row in rows], marker=".",
                      color="tab:green", label="in training")
            for (name, values), style in zip(levels, ("--", ":")):
                axis.axhline(factor * values[column], linestyle=style, linewidth=1, color="black", label=name)
            axis.set_ylabel(output.label + (", %" if output.is_accuracy else ""))
            axis.legend(loc="best", fontsize="small")

        axes[-1].set_xlabel("iteration")
        part = path.with_name(path.name + ".part")
        figure.savefig(part, format="png", dpi=110)
        plt.close(figure)
        part.replace(path)
