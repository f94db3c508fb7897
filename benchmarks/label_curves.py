"""Draw docs/labels.png from docs/evidence/labels_*.csv: validation mIoU over the number of labels.

python benchmarks/label_curves.py
"""

import seaborn
from matplotlib.figure import Figure
from tables import ROOT, full_supervision, label_scores

from eln_kit.figures.curves import plain
from eln_kit.figures.grid import LINES, canvas

SETS = {"nuclei": "nuclei", "camvid": "CamVid", "scenes": "generated scenes"}
WAYS = ("choose", "random", "covering", "every n-th")


def picture() -> Figure:
    """A panel a data set, a line a way of choosing: the mean, and the deviation over draws and seeds."""
    figure, axes = canvas(1, len(SETS), figsize=(11, 3.4))
    for axis, (name, title) in zip(axes[0], SETS.items(), strict=True):
        rows = label_scores(name)
        some, full = rows[rows.way != "all"], full_supervision(rows)
        seaborn.lineplot(
            some, x="labels", y="miou", hue="way", hue_order=WAYS, palette=LINES[: len(WAYS)], errorbar="sd",
            marker="o", ax=axis, legend=axis is axes[0][0],
        )  # fmt: skip
        for share, style in ((1, "-"), (0.95, ":")):
            axis.axhline(share * full, color="grey", linestyle=style, linewidth=1)
        counts = sorted(some.labels.unique())
        axis.set(title=title, xlabel="labelled images", ylabel="", xscale="log", xticks=counts, xticklabels=counts)
        axis.minorticks_off()
    axes[0][0].set_ylabel("validation mIoU, %")
    axes[0][0].legend(title="", frameon=False, loc="lower right")
    return plain(figure)


if __name__ == "__main__":
    picture().savefig(ROOT / "docs" / "labels.png", dpi=110)
