"""Results as tables and figures, on a command line.

    python -m cosmicgate.report RESULTS.json [RESULTS.json ...] -o FOLDER

puts the results of several evaluations into one report; a test set's rows stay a table of their own.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from cosmicgate.config import one_sentence
from cosmicgate.report.writing import write_report


@one_sentence()
def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report of the results files that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m cosmicgate.report", description="Tables and figures of results.")
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="results.json of an evaluation")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FOLDER", help="where the report goes")
    given = parser.parse_args(arguments)
    for path in write_report(given.results, given.output):
        print(path)  # noqa: T201 (a command line)


if __name__ == "__main__":
    main()
