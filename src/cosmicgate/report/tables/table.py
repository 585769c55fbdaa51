"""A table of text, in Markdown and in LaTeX."""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of text: ``texts`` columns of words, then columns of numbers."""

    title: str
    caption: str
    heads: Sequence[str]
    lines: Sequence[Sequence[str]]
    texts: int = 2


def markdown(table: Table) -> str:
    """Return a table in Markdown."""
    rule = ["---"] * table.texts + ["---:"] * (len(table.heads) - table.texts)
    lines = [" | ".join(cell.replace("|", r"\|") for cell in line) for line in (table.heads, rule, *table.lines)]
    lines = [f"| {line} |" for line in lines]
    return "\n".join([f"### {table.title}", "", table.caption, "", *lines, ""])


def latex(table: Table) -> str:
    """Return a table in LaTeX, for the packages booktabs and graphicx; one wider than the line is scaled to it."""
    columns = "l" * table.texts + "r" * (len(table.heads) - table.texts)
    title = re.sub(r"^Table \d+\. ", "", table.title)  # LaTeX numbers them itself
    heads, *lines = (" & ".join(_escaped(cell) for cell in line) + r" \\" for line in (table.heads, *table.lines))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
            rf"\caption{{{_escaped(f'{title}. {table.caption}')}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{columns}}}",
            *(r"\toprule", heads, r"\midrule", *lines, r"\bottomrule"),
            *(r"\end{tabular}}", r"\end{table}", ""),
        ]
    )


def _escaped(text: str) -> str:
    text = re.sub(r"([%&#_{}$])", r"\\\1", text).replace("~", r"\textasciitilde{}").replace("^", r"\textasciicircum{}")
    text = text.replace("—", "---").replace("≥", r"$\geq$").replace("<", "$<$")
    return re.sub(r"(^|[\s\[])([+-])(?=\d)", r"\1$\2$", text)
