"""Make a W&B workspace and a W&B report that compare the runs of a project: Tables 1 and 2, curves, hits, sweeps.

    python -m cosmicgate.report.dashboard RUN [RUN ...]

RUN is the folder of a finished run, or a folder with several below it. These local runs determine the test sets and
sweeps, and fill the tables of the report; its panels show what the runs have logged to W&B.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from cosmicgate.extras import extra

with extra("train,wandb", __name__):
    import wandb
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

    from cosmicgate.config import ConfigError, report_user_errors
    from cosmicgate.report.log_results import key_of
    from cosmicgate.report.results import AREA, MASK_SCORES, PER_CENT, PER_HIT
    from cosmicgate.report.runs import Run, find_runs, merge_runs, parser_of_runs
    from cosmicgate.report.wandb_login import logged_in
    from cosmicgate.report.write_report import chapters_of, markdown_of

PROJECT = "cosmicgate"  # as in conf/logger/wandb.yaml
TITLE = "CosmicGate baselines"
BARS = {"Table 1": (PER_CENT | AREA, "dilated"), "Table 2": (MASK_SCORES, "dilated"), "Hits": (PER_HIT, "per_hit")}
# Chart of a run, its title, W&B's kind of chart, and the columns of its table.
CHARTS = {
    "roc": ("ROC", "line", {"x": "log10_fpr", "y": "tpr"}),
    "pr": ("Precision-recall", "line", {"x": "recall", "y": "precision"}),
    "recall_by_length": ("Hits found by length", "bar", {"label": "Length (px)", "value": "Hits found"}),
    "recall_by_snr": ("Hits found by peak SNR", "bar", {"label": "Peak SNR", "value": "Hits found"}),
}
TRAINING_CURVES = {
    "Training loss": "train/loss_epoch",
    "Validation loss": "val/loss",
    "Validation: TPR at FPR 0.01 %": "val/tpr_at_fpr_0.01pct",
    "Validation: precision at TPR 95 %": "val/precision_at_tpr_95pct",
    "Learning rate": "lr-Adam",
}
# Key in W&B's config that distinguishes runs; cosmicgate.training.loggers.log_run_metadata logs it under "about".
DETECTOR = "about.detector"
COMPARED = ("tpr_at_fpr_0.01pct", "f1")  # scores by which a sweep is compared
HOW_TO_READ = (
    "Trainings and evaluations log under the same keys: a training its own test, evaluate.py one run for each "
    "detector. Bars and curves are live; the tables are those of the machine that built this report, with 95 % "
    "intervals. Simulated, semi-real and real data never share a table."
)


def sweeps_of(runs: Sequence[Run]) -> list[str]:
    """List the groups with more than one training."""
    configs = [run.facts.get("config", {}) for run in runs]
    groups = Counter(config.get("group") for config in configs if "model" in config)  # evaluations have no model
    return [group for group, members in groups.items() if group and members > 1]


def workspace(test_sets: Sequence[str], entity: str, project: str) -> ws.Workspace:
    """Make the saved view of the project, with sections for each test set, the trainings and the sweeps."""
    panels = {f"{name}: {title}": found for name in test_sets for title, found in _test_panels(name).items()}
    panels |= {"Training": _training_panels(), "Sweeps: by group and network": _sweep_panels(test_sets)}
    columns = [f"summary:{key_of(name, score)}" for name in test_sets for score in (*PER_CENT, *MASK_SCORES)]
    order = expr.Ordering(expr.Summary(key_of(test_sets[0], COMPARED[0])), ascending=False)
    return ws.Workspace(
        entity=entity,
        project=project,
        name=TITLE,
        sections=[ws.Section(name=title, panels=found, is_open=True) for title, found in panels.items()],
        settings=ws.WorkspaceSettings(max_runs=50),
        runset_settings=ws.RunsetSettings(order=[order], pinned_columns=["run:displayName", *columns]),
    )


def report(
    content: Mapping[str, Any], test_sets: Sequence[str], sweeps: Sequence[str], entity: str, project: str
) -> wr.Report:
    """Make the report: the tables of local runs, then panels of all runs of each test set, of trainings and sweeps."""
    blocks: list[Any] = [wr.P(HOW_TO_READ), wr.TableOfContents()]
    for chapter in chapters_of(content):
        blocks += [wr.H1(chapter.title), wr.MarkdownBlock(markdown_of(chapter))]
    grids: dict[str, tuple[Any, list[Any]]] = {name: ("", [*chain(*_test_panels(name).values())]) for name in test_sets}
    grids["Trainings"] = (expr.And(expr.Metric("JobType") == "train"), _training_panels())
    for group in sweeps:
        grids[f"Sweep: {group}"] = (expr.And(expr.Metric("Group") == group), _sweep_panels(test_sets))
    columns = ["run:jobType", "tags:__ALL__"]
    for title, (wanted, panels) in grids.items():
        runs = wr.Runset(entity=entity, project=project, name=title, filters=wanted, visible_columns=columns)
        blocks += [wr.H1(title), wr.PanelGrid(runsets=[runs], panels=panels)]
    return wr.Report(entity=entity, project=project, title=TITLE, blocks=blocks, width="fluid")


def _test_panels(test_set: str) -> dict[str, list[Any]]:
    """Make the panels of a test set, by section."""
    panels: dict[str, list[Any]] = {
        title: [
            wr.BarPlot(title=head, metrics=[key_of(test_set, score, part)], max_bars_to_show=30)
            for score, head in scores.items()
        ]
        for title, (scores, part) in BARS.items()
    }
    panels["Curves"] = []
    for name, (title, kind, columns) in CHARTS.items():
        table = f"test/{test_set}/{name}_table"
        chart = wr.CustomChart.from_table(table, chart_fields=columns, chart_strings={"title": title})
        chart.chart_name = f"wandb/{kind}/v0"
        panels["Hits" if kind == "bar" else "Curves"].append(chart)
    masks = wr.MediaBrowser(title="Image, truth, mask", media_keys=[f"test/{test_set}/masks"], num_columns=4)
    return panels | {"Figures": [masks]}


def _training_panels() -> list[Any]:
    plots = [wr.LinePlot(title=title, x="trainer/global_step", y=[key]) for title, key in TRAINING_CURVES.items()]
    return [*plots, wr.MediaBrowser(title="Validation patches", media_keys=["val/masks"], num_columns=4)]


def _sweep_panels(test_sets: Sequence[str]) -> list[Any]:
    """Make bar charts of the mean and range over seeds, and parallel coordinates of a hyperparameter search."""
    bars = [
        wr.BarPlot(
            title=f"{name}: {(PER_CENT | MASK_SCORES)[score]}, mean and range over seeds",
            metrics=[key_of(name, score)],
            groupby=wr.Config(DETECTOR),  # network and variant, without the seed
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
        )
        for name in test_sets
        for score in COMPARED
    ]
    columns = [
        wr.ParallelCoordinatesPlotColumn(wr.Config("module.optimizer.lr"), display_name="Learning rate", log=True),
        wr.ParallelCoordinatesPlotColumn(wr.Config("model.channels"), display_name="Channels"),
        wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric("val/loss"), display_name="Validation loss", inverted=True),
    ]
    return [*bars, wr.ParallelCoordinatesPlot(title="Search", columns=columns)]


@report_user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Save the workspace and the report to W&B."""
    parser = parser_of_runs("cosmicgate.report.dashboard", "A W&B workspace and report of runs.")
    parser.add_argument("--project", default=PROJECT, help="as in conf/logger/wandb.yaml")
    parser.add_argument("--entity", help="team; default: that of the login")
    given = parser.parse_args(arguments)
    runs = find_runs(given.runs)
    content = merge_runs(runs)
    if not logged_in():
        raise ConfigError("not logged in to W&B: run `wandb login`, then this command again")
    test_sets = list(dict.fromkeys(row["test_set"] for row in content["rows"]))
    whose = str(given.entity or wandb.Api().default_entity), given.project
    for made in (workspace(test_sets, *whose), report(content, test_sets, sweeps_of(runs), *whose)):
        made.save()
        print(made.url)  # noqa: T201 (a command line)


if __name__ == "__main__":
    main()
