"""Make the paper's Tables 3 and 4, parameters of networks and seconds per frame, beside its published numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from cosmicgate.evaluation.records import titles
from cosmicgate.report.tables.cells import number, paper_name
from cosmicgate.report.tables.table import Table

# The paper's Table 3, and the configuration switches that give its numbers (tests/report/test_tables.py).
PARAMETERS = {"deepCR": 467_233, "Att deepCR": 472_887, "Cosmic-CoNN": 465_953, "Att Cosmic-CoNN": 471_219}
SWITCHES = {
    "deepCR": "none needed",
    "Att deepCR": "none has it; model.gate_norm=true: 472,695",
    "Cosmic-CoNN": "model.norm_affine=false",
    "Att Cosmic-CoNN": "model.norm_affine=false",
}
# The paper's Table 4: seconds for a frame of this shape on an Intel i3 at 2.3 GHz.
SHAPE = [4096, 2048]
SECONDS = {
    "MaxiMask": 250.9,
    "deepCR": 25.0,
    "Att deepCR": 27.2,
    "Cosmic-CoNN": 26.0,
    "Att Cosmic-CoNN": 26.7,
    "Astro-SCRAPPY": 16.2,
}


def parameter_tables(counted: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Make Table 3; no table if no network was counted."""
    lines = [
        [name, SWITCHES.get(name, "—"), f"{entry['parameters']:,}", number(PARAMETERS.get(name), ",")]
        for entry in counted
        for name in [entry["network"]]
    ]
    caption = "As conf/model builds them, and as Bhavanam et al. 2022 print them."
    heads = ["Network", "Switches that give the paper's number", "Parameters", "In the paper"]
    return [Table("Table 3. Parameters of the networks", caption, heads, lines)] if lines else []


def seconds_tables(measured: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Make Table 4 for each frame shape and machine."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for entry in measured:
        groups.setdefault((*entry["shape"], entry["machine"]), []).append(entry)
    tables = []
    for (height, width, machine), members in groups.items():
        shown = titles(entry["detector"] for entry in members)
        lines = []
        for entry in members:
            record = entry["detector"]
            known = SECONDS.get(paper_name(record)) if entry["shape"] == SHAPE else None
            numbers = [f"{entry['seconds']:.3g}", f"{entry['cpu_seconds']:.3g}", str(entry["runs"])]
            lines.append([shown[record], record.trained_on or "—", *numbers, number(known, ".1f")])
        caption = (
            f"From the image to the mask at one threshold, after a warm-up, fastest of the runs; {machine}. Seconds "
            "well above CPU seconds mean that the machine was busy. In the paper: an Intel i3 at 2.3 GHz."
        )
        heads = ["Detector", "Trained on", "Seconds", "CPU seconds", "Runs", "In the paper"]
        tables.append(Table(f"Table 4. Seconds of one frame of {height} x {width} pixels", caption, heads, lines))
    return tables
