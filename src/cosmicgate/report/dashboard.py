"""Make a W&B workspace and a W&B report that compare the runs of a project: Tables 1 and 2, curves, hits, sweeps.

    python -m cosmicgate.report.dashboard RUN [RUN ...]

RUN is the folder of a finished run, or a folder with several below it. These local runs determine the test sets and
sweeps, and fill the tables of the report; its panels show what the runs have logged to W&B.
"""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cosmicgate.config import ConfigError, report_user_errors
from cosmicgate.extras import extra
from cosmicgate.report.results import AREA, OF_MASK, PER_CENT, PER_HIT, by_test_set, heading, set_name
from cosmicgate.report.runs import Run, find_runs, together
from cosmicgate.report.tables import markdown
from cosmicgate.report.wandb_charts import key_of
from cosmicgate.report.write_report import chapters_of

with extra("wandb"):
    import wandb
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

    from cosmicgate.report.wandb_login import logged_in

PROJECT = "cosmicgate"  # as in conf/logger/wandb.yaml
TITLE = "CosmicGate baselines"
TABLES = {"Table 1": PER_CENT | AREA, "Table 2": OF_MASK}
CURVES = {"roc": ("log10_fpr", "tpr", "ROC"), "pr": ("recall", "precision", "Precision-recall")}
HITS = {"recall_by_length": "length", "recall_by_snr": "snr"}
# Key in W&B's config that distinguishes runs; cosmicgate.training.loggers.log_run_metadata logs it under "about".
DETECTOR = "about.detector"
COMPARED = ("tpr_at_fpr_0.01pct", "f1")  # scores by which a sweep is compared


def sets_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the names of the test sets, each once."""
    return list(dict.fromkeys(row["test_set"] for row in rows))


def sweeps_of(runs: Sequence[Run]) -> list[str]:
    """List the groups with more than one training."""
    configs = [run.facts.get("config", {}) for run in runs]
    groups = Counter(config.get("group") for config in configs if "model" in config)  # evaluations have no model
    return [group for group, members in groups.items() if group and members > 1]


def workspace(test_sets: Sequence[str], sweeps: Sequence[str], entity: str, project: str) -> ws.Workspace:
    """Make the saved view of the project, with sections for each test set, the trainings and the sweeps."""
    sections = [
        ws.Section(name=f"{name}: {part}", panels=panels, is_open=True)
        for name in test_sets
        for part, panels in _panels(name).items()
    ]
    sections += [ws.Section(name="Training", panels=_training(), is_open=True)]
    sections += [ws.Section(name="Sweeps: by group and network", panels=_sweep_panels(test_sets), is_open=bool(sweeps))]
    first = key_of(test_sets[0], COMPARED[0])
    columns = [f"summary:{key_of(name, score)}" for name in test_sets for score in (*PER_CENT, *OF_MASK)]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=TITLE,
        sections=sections,
        settings=ws.WorkspaceSettings(max_runs=50),
        runset_settings=ws.RunsetSettings(
            order=[expr.Ordering(expr.Summary(first), ascending=False)],
            pinned_columns=["run:displayName", *columns],
        ),
    )


def report(content: Mapping[str, Any], sweeps: Sequence[str], entity: str, project: str) -> wr.Report:
    """Make the report: for each test set the tables of local runs and panels of all runs, then trainings and sweeps."""
    rows = content["rows"]
    blocks: list[Any] = [wr.P(_how_to_read()), wr.TableOfContents()]
    for members in by_test_set(rows):
        name = members[0]["test_set"]
        blocks += [wr.H1(set_name(members[0])), wr.P(heading(members[0]))]
        for chapter, tables in chapters_of({**content, "rows": members, "differences": []}).items():
            blocks += [wr.H2(chapter), wr.MarkdownBlock("\n".join(markdown(table) for table in tables))]
        panels = [panel for part in _panels(name).values() for panel in part]
        blocks.append(wr.PanelGrid(runsets=[_runset(entity, project, "All runs", name)], panels=panels))
    blocks += [
        wr.H1("Trainings"),
        wr.PanelGrid(runsets=[_runset(entity, project, "Trainings", job="train")], panels=_training()),
    ]
    for group in sweeps:
        runset = _runset(entity, project, group, sets_of(rows)[0], group=group)
        blocks += [wr.H1(f"Sweep: {group}"), wr.PanelGrid(runsets=[runset], panels=_sweep_panels(sets_of(rows)))]
    return wr.Report(entity=entity, project=project, title=TITLE, blocks=blocks, width="fluid")


def _how_to_read() -> str:
    return (
        "Trainings and evaluations log under the same keys: a training its own test, evaluate.py one run for each "
        "detector. Bars and curves are live; the tables are those of the machine that built this report, with 95 % "
        "intervals. Simulated, semi-real and real data never share a table."
    )


def _panels(test_set: str) -> dict[str, list[Any]]:
    """Make the panels of a test set, by section."""
    found: dict[str, list[Any]] = {
        table: [
            wr.BarPlot(title=head, metrics=[key_of(test_set, score)], max_bars_to_show=30)
            for score, head in scores.items()
        ]
        for table, scores in TABLES.items()
    }
    found["Curves"] = [_curve(f"test/{test_set}/{chart}_table", *axes) for chart, axes in CURVES.items()]
    hits = [wr.BarPlot(title=head, metrics=[key_of(test_set, score, "per_hit")]) for score, head in PER_HIT.items()]
    bars = [_bars(f"test/{test_set}/{chart}_table", what) for chart, what in HITS.items()]
    found["Hits"] = [*hits, *bars]
    found["Pictures"] = [
        wr.MediaBrowser(title="Image, truth, mask", media_keys=[f"test/{test_set}/masks"], num_columns=4)
    ]
    return found


def _curve(table: str, x: str, y: str, title: str) -> Any:
    chart = wr.CustomChart.from_table(table, chart_fields={"x": x, "y": y}, chart_strings={"title": title})
    chart.chart_name = "wandb/line/v0"
    return chart


def _bars(table: str, what: str) -> Any:
    label = {"length": "Length (px)", "snr": "Peak SNR"}[what]
    fields = {"label": label, "value": "Hits found"}
    chart = wr.CustomChart.from_table(
        table, chart_fields=fields, chart_strings={"title": f"Hits found by {label.lower()}"}
    )
    chart.chart_name = "wandb/bar/v0"
    return chart


def _training() -> list[Any]:
    lines = {
        "Training loss": ["train/loss_epoch"],
        "Validation loss": ["val/loss"],
        "Validation: TPR at FPR 0.01 %": ["val/tpr_at_fpr_0.01pct"],
        "Validation: precision at TPR 95 %": ["val/precision_at_tpr_95pct"],
        "Learning rate": ["lr-Adam"],
    }
    plots = [wr.LinePlot(title=title, x="trainer/global_step", y=keys) for title, keys in lines.items()]
    return [*plots, wr.MediaBrowser(title="Validation patches", media_keys=["val/masks"], num_columns=4)]


def _sweep_panels(test_sets: Sequence[str]) -> list[Any]:
    """Make bar charts of the mean and range over seeds, and parallel coordinates of a hyperparameter search."""
    bars = [
        wr.BarPlot(
            title=f"{name}: {(PER_CENT | OF_MASK)[score]}, mean and range over seeds",
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


def _runset(
    entity: str, project: str, title: str, test_set: str | None = None, job: str | None = None, group: str | None = None
) -> wr.Runset:
    """Select the runs of a job type or a group; their table shows the scores of a test set."""
    wanted = [expr.Metric("JobType") == job] if job else []
    wanted += [expr.Metric("Group") == group] if group else []
    scores = [f"summary:{key_of(test_set, score)}" for score in (*PER_CENT, *AREA, *OF_MASK)] if test_set else []
    order = wr.SummaryMetric(key_of(test_set, COMPARED[0])) if test_set else wr.SummaryMetric("val/loss")
    return wr.Runset(
        entity=entity,
        project=project if entity else "",
        name=title,
        filters=expr.And(*wanted) if wanted else "",
        order=[wr.OrderBy(order, ascending=not test_set)],
        pinned_columns=["run:displayName"],
        visible_columns=["run:jobType", "tags:__ALL__", *scores],
    )


@report_user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Save the workspace and the report to W&B."""
    parser = argparse.ArgumentParser(
        prog="python -m cosmicgate.report.dashboard", description="A W&B workspace and report of runs."
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, its results.json, or a folder of runs"
    )
    parser.add_argument("--project", default=PROJECT, help="as in conf/logger/wandb.yaml")
    parser.add_argument("--entity", help="team; default: that of the login")
    given = parser.parse_args(arguments)
    runs = find_runs(given.runs)
    content, sweeps = together(runs), sweeps_of(runs)
    test_sets = sets_of(content["rows"])
    if not logged_in():
        raise ConfigError("not logged in to W&B: run `wandb login`, then this command again")
    entity = str(given.entity or wandb.Api().default_entity)
    for made in (workspace(test_sets, sweeps, entity, given.project), report(content, sweeps, entity, given.project)):
        made.save()
        print(made.url)  # noqa: T201 (a command line)


if __name__ == "__main__":
    main()
