"""Command line that writes results as tables and figures.

    python -m cosmicgate.report RESULTS.json [RESULTS.json ...] -o FOLDER

puts the results of several evaluations into one report, with separate tables for each test set.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from cosmicgate.config import report_user_errors
from cosmicgate.report.write_report import write_report


@report_user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report of the results files given on the command line."""
    parser = argparse.ArgumentParser(prog="python -m cosmicgate.report", description="Tables and figures of results.")
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="results.json of an evaluation")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FOLDER", help="where the report goes")
    given = parser.parse_args(arguments)
    for path in write_report(given.results, given.output):
        print(path)  # noqa: T201 (a command line)


if __name__ == "__main__":
    main()
