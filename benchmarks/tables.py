"""Write the tables of README.md and docs/ that come from docs/evidence, or say which no longer do.

    python benchmarks/tables.py [--check]

A table stands between `<!-- table NAME -->` and `<!-- end -->`; NAME is a key of TABLES.
"""

import argparse
import json
import re
from functools import partial
from pathlib import Path

import beside_paper
import expected
import pandas as pd
from scipy.stats import bootstrap

ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "notebooks").glob("*.ipynb")))
BLOCK = re.compile(r"(<!-- table (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
ALONE, RECIPE = "labels alone", "adaptive 0.95, gate, ramp"
METHODS = (  # in the order of the columns
    ALONE,
    "no filter",
    "no filter, gate",
    "no filter, gate, ramp",
    "confidence by class, gate",
    "confidence 0.95",
    "confidence 0.95, gate",
    "ELN 0.5, gate",
    "ELN 0.95, gate",
    "adaptive 0.95, gate",
    RECIPE,
    "two-view mean, adaptive, gate, ramp",
    "ELN, adaptive, gate",
    "ELN, adaptive, gate, ramp",
    "published",
    "oracle",
)
IN_TEXT_ALONE = {"confidence 0.95, gate, quarter weights"}


def evidence(name: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / "docs/evidence" / f"{name}.csv", keep_default_na=False, na_values=["", "nan"])


def markdown(header: list[str], lines: list[list[str]]) -> str:
    rule = ["---"] * len(header)
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, rule, *lines))


def runs(name: str, labels: int) -> pd.DataFrame:
    """Averaged networks' mIoU in %, a row for each draw and seed, a column for each method."""
    rows = evidence(name)
    table = rows[rows.labels == labels].pivot(index=["seed", "draw"], columns="method", values="teacher")
    if unknown := set(table) - set(METHODS) - IN_TEXT_ALONE:
        raise SystemExit(f"docs/evidence/{name}.csv has methods that METHODS lacks: {', '.join(sorted(unknown))}")
    return table[[method for method in METHODS if method in table]].sort_index()


def gain(differences: pd.Series, digits: int = 1) -> str:
    """Mean of paired differences, with its 95 % interval from 5 pairs on, the least and the number of pairs."""
    pairs = differences.dropna()
    if len(pairs) == 0:
        return ""
    signed = f"{{:+.{digits}f}}".format
    least = f"least {signed(pairs.min())}, n={len(pairs)}"
    if len(pairs) < 5:
        return f"{signed(pairs.mean())} ({least})"
    low, high = bootstrap((pairs.to_numpy(),), lambda some, axis: some.mean(axis), rng=0).confidence_interval
    return f"{signed(pairs.mean())} ({signed(low)} to {signed(high)}; {least})"


def few_labels(name: str, labels: int) -> str:
    """Each run in a line, then what each method gains over labels alone of the same draw and seed."""
    table = runs(name, labels)
    lines = [
        [draw, str(seed), *(bold(value, value == row.max(), 1) for value in row)]
        for (seed, draw), row in table.iterrows()
    ]
    gains = [[method, gain(table[method] - table[ALONE])] for method in table.columns[1:]]
    each_run = markdown(["labelled images", "seed", *table.columns], lines)
    return each_run + "\n" + markdown(["method", f"against {ALONE}, paired"], gains)


def bold(value: float, best: bool, digits: int) -> str:
    return "" if pd.isna(value) else f"**{value:.{digits}f}**" if best else f"{value:.{digits}f}"


def stage_3(*sets: tuple[str, str, int]) -> str:
    """A line for each (data set, file, labels): labels alone, and what stage 3 adds to them."""
    added = {"stage 3 adds": RECIPE, "without the ramp": "adaptive 0.95, gate", "the oracle": "oracle"}
    lines = []
    for name, file, labels in sets:
        table = runs(file, labels)
        alone = table[ALONE]
        gains = [gain(table[method] - alone) if method in table else "" for method in added.values()]
        lines.append([name, f"{alone.mean():.1f} ({alone.min():.1f} to {alone.max():.1f})", *gains])
    return markdown(["averaged network, mIoU in %", ALONE, *added], lines)


def one_setting(name: str, labels: int) -> str:
    """A line for each way of stage 3, over the draws and seeds that all of them have."""
    ways = {
        "the recipe of `photos`: filtered by the max softmax": RECIPE,
        "filtered by the mean of two views": "two-view mean, adaptive, gate, ramp",
        "filtered by ELN": "ELN, adaptive, gate, ramp",
        "not filtered": "no filter, gate, ramp",
        "only what is right (oracle)": "oracle",
    }
    table = runs(name, labels)
    there = {way: method for way, method in ways.items() if method in table}
    table = table[[ALONE, *there.values()]].dropna()
    lines = [
        [way, f"{table[method].mean():.1f}", f"{table[method].min():.1f}", gain(table[method] - table[ALONE])]
        for way, method in there.items()
    ]
    alone = [ALONE, f"{table[ALONE].mean():.1f}", f"{table[ALONE].min():.1f}", ""]
    return markdown(["pseudo-labels", "mean", "worst draw", f"against {ALONE}"], [alone, *lines])


def label_scores(name: str) -> pd.DataFrame:
    """Labels alone, the student's mIoU in %: a row a training."""
    return evidence(f"labels_{name}").rename(columns={"student": "miou"})


def full_supervision(rows: pd.DataFrame) -> float:
    return rows[rows.way == "all"].miou.mean()


def ways(*names: str) -> str:
    """A line for each data set and number of labels: the ways of choosing, and how many random draws `choose` beats."""
    lines = []
    for name in names:
        rows = label_scores(name)
        for labels, some in rows[rows.way != "all"].groupby("labels"):
            random, chosen = (some[some.way == way].set_index("seed").miou for way in ("random", "choose"))
            cells = [f"{random.mean():.1f} ± {random.std():.1f}", f"{random.median():.1f}", f"{random.max():.1f}"]
            means = some.groupby("way").miou.mean().reindex(["choose", "covering", "every n-th"])
            pairs = random.to_frame("random").join(chosen.rename("choose")).dropna()
            above = f"{(pairs.choose > pairs.random).sum()} of {len(pairs)}" if len(pairs) else ""
            lines.append([name, str(labels), *cells, *(bold(mean, False, 1) for mean in means), above])
    header = ["images", "labels", "random", "median", "best", "`choose`", "covering", "every n-th", "`choose` beats"]
    return markdown(header, lines)


def labels_for(share: float, *names: str) -> str:
    """A line for each data set: the fewest labels measured whose mean reaches this share of full supervision."""
    lines = []
    for name in names:
        rows = label_scores(name)
        full, total = full_supervision(rows), rows[rows.way == "all"].labels.max()
        means = rows[rows.way != "all"].groupby(["way", "labels"]).miou.mean().unstack("way")
        cells = []
        for way in ("random", "choose", "covering", "every n-th"):
            known = means.get(way, pd.Series()).dropna()
            enough = known.index[known >= share * full]
            more = f"over {known.index.max()}" if len(known) else ""
            cells.append(f"{enough[0]} ({enough[0] / total:.1%})" if len(enough) else more)
        lines.append([name, f"{full:.1f} ({total} labels)", f"{share * full:.1f}", *cells])
    return markdown(
        ["images", "all labels", f"{share:.0%} of it", "random", "`choose`", "covering", "every n-th"], lines
    )


def queues(name: str) -> str:
    """A line for each way of adding images: each seed's mIoU in %, their mean, and the paired difference to random."""
    table = evidence(name).pivot(index="added by", columns="seed", values="miou")
    table = table.loc[evidence(name)["added by"].unique()]
    random = table.loc["random x1, draw 1"]
    lines = [
        [way, *(f"{value:.1f}" for value in row), f"{row.mean():.1f}", "" if way == random.name else gain(row - random)]
        for way, row in table.iterrows()
    ]
    return markdown(["added by", *(f"seed {seed}" for seed in table), "mean", "against random"], lines)


def detectors(name: str) -> str:
    """Of each detector the mean over draws and seeds, best AUPR first."""
    rows = evidence(name)
    rows["errors %"] = 100 * rows.pop("error_rate")
    means = rows.groupby("detector")[["passes", "pixels", "errors %", "auroc", "aupr", "ece"]].mean()
    digits = {"passes": 0, "pixels": 2, "errors %": 1, "auroc": 3, "aupr": 3, "ece": 3}
    lines = [
        [detector, *(bold(value, False, digits[key]) for key, value in row.items())]
        for detector, row in means.sort_values("aupr", ascending=False).iterrows()
    ]
    return markdown(["detector", "passes", "pixels", "errors %", "AUROC", "AUPR", "ECE"], lines)


def what_eln_adds(*sets: tuple[str, str]) -> str:
    """A line for each (data set, file): AUPR of errors, means over the runs that have all, and paired differences."""
    names = ["mean of the views", "ELN", "both views, fitted", "both views and ELN, fitted"]
    lines = []
    for name, file in sets:
        table = evidence(file).pivot(index=["draw", "seed"], columns="detector", values="aupr")[names].dropna()
        views, eln, fitted, with_eln = (table[each] for each in names)
        means = [f"{table[each].mean():.3f}" for each in names]
        lines.append([name, str(len(table)), *means, gain(eln - views, 3), gain(with_eln - fitted, 3)])
    header = ["AUPR of errors", "runs", *names, "ELN against the mean", "what ELN adds to the fitted views"]
    return markdown(header, lines)


TABLES = {
    "nuclei, 3 labels": partial(few_labels, "few_nuclei", 3),
    "nuclei, 3 labels, weak view": partial(few_labels, "few_nuclei_weak", 3),
    "CamVid, 3 labels": partial(few_labels, "few_camvid_draws", 3),
    "CamVid, 6 labels": partial(few_labels, "few_camvid_draws", 6),
    "CamVid, 46 labels": partial(few_labels, "paper_camvid", 46),
    "what stage 3 adds": partial(
        stage_3,
        ("nuclei, 3 labels", "few_nuclei", 3),
        ("CamVid, 3 labels", "few_camvid_draws", 3),
        ("CamVid, 6 labels", "few_camvid_draws", 6),
    ),
    "ways of choosing": partial(ways, "nuclei", "camvid", "scenes"),
    "labels for 95 %": partial(labels_for, 0.95, "nuclei", "camvid", "scenes"),
    "stage 3 on nuclei": partial(one_setting, "few_nuclei", 3),
    "queue on the scenes, without ELN": partial(queues, "queues_shapes_without_eln"),
    "queue on CamVid, without ELN": partial(queues, "queues_camvid_without_eln"),
    "detectors, scenes": partial(detectors, "scenes_draws"),
    "what ELN adds": partial(what_eln_adds, ("scenes", "scenes_draws")),
    "detectors, another drive": partial(detectors, "camvid_other_drive"),
    "paper and make run": lambda: markdown(beside_paper.HEADER, list(beside_paper.rows())),
    "expect stage 1": lambda: markdown(*expected.networks("stage 1, supervised")),
    "expect detectors": lambda: markdown(*expected.detectors()),
    "expect networks": lambda: markdown(*expected.networks(*expected.GAIN)),
    "expect all networks": lambda: markdown(*expected.networks("stage 1, supervised", *expected.GAIN)),
    "expect methods": lambda: markdown(*expected.methods()),
    "expect queue": lambda: markdown(*expected.queue()),
}


def written(text: str) -> str:
    """A document, Markdown or a notebook, with its tables made anew."""
    if text.startswith("{"):
        notebook = json.loads(text)
        for cell in notebook["cells"]:
            cell["source"] = written("".join(cell["source"])).splitlines(keepends=True)
        return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    return BLOCK.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a table is stale")
    options = parser.parse_args()
    stale = [path for path in DOCUMENTS if written(path.read_text()) != path.read_text()]
    for path in stale if not options.check else []:
        path.write_text(written(path.read_text()))
    print("\n".join(f"{path.relative_to(ROOT)}: {'stale' if options.check else 'written'}" for path in stale))
    raise SystemExit(int(options.check and bool(stale)))


if __name__ == "__main__":
    main()
