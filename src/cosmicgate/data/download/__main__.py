"""Download real data:  python -m cosmicgate.data.download decam --kind science dqmask darks --dry-run"""

import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from cosmicgate.extras import extra

with extra("train", __name__):
    from cosmicgate.data.download.client import DEFAULT_RETRY, FetchError, RetryPolicy
    from cosmicgate.data.download.fetch import check_space, download_missing, format_size, required_space
    from cosmicgate.data.download.manifest import Manifest, missing_files
    from cosmicgate.data.download.noirlab import NOIRLAB, PRODUCTS, Query, list_decam
    from cosmicgate.data.download.real import GITHUB, list_real, real_name
    from cosmicgate.data.download.search import FILTERS
    from cosmicgate.data.download.zenodo import LCO_RECORD, ZENODO, fetch_lco, list_lco

LABELS = "cosmicgate.data.labelling.real_frames"  # the command that makes truth planes


def parser() -> ArgumentParser:
    """Make the parser of the command line."""
    common = ArgumentParser(add_help=False)
    common.add_argument(
        "--dry-run", action="store_true", help="print the number and size of the files; download nothing"
    )
    common.add_argument(
        "--verify", action="store_true", help="check the MD5 of existing files, and download damaged ones again"
    )
    common.add_argument(
        "--connections", type=int, default=DEFAULT_RETRY.connections, help="number of simultaneous downloads"
    )
    top = ArgumentParser(
        prog="python -m cosmicgate.data.download",
        description="Download real data, with checksums; the same command resumes.",
    )
    archives = top.add_subparsers(dest="archive", required=True)

    lco = archives.add_parser("lco", parents=[common], help="LCO cosmic-ray data set, from Zenodo")
    lco.add_argument("--root", type=Path, default=Path("data/lco"), help="folder of the data")
    lco.add_argument("--base", default=ZENODO, help="URL of the server")

    real = archives.add_parser("real", parents=[common], help="small real data, from their public sources")
    real.add_argument("root", nargs="?", type=Path, default=Path("data/real"), help="folder of the data")
    real.add_argument("--base", default=GITHUB, help="URL of the server")
    real.add_argument("--no-labels", dest="labels", action="store_false", help="do not make truth planes")

    decam = archives.add_parser("decam", parents=[common], help="DECam frames, from the NOIRLab archive")
    decam.add_argument("--root", type=Path, default=Path("data/noirlab"), help="folder of the data")
    decam.add_argument("--base", default=NOIRLAB, help="URL of the server")
    decam.add_argument("--kind", nargs="+", choices=list(PRODUCTS), default=list(PRODUCTS))
    decam.add_argument("--bands", nargs="+", default=["g", "r", "i", "z"], help=f"filters, some of {' '.join(FILTERS)}")
    decam.add_argument("--exptime", nargs=2, type=float, metavar=("MIN", "MAX"), help="exposure time, seconds")
    decam.add_argument(
        "--dates", nargs=2, metavar=("FIRST", "LAST"), help="first and last night, such as 2012-11-01 2013-02-28"
    )
    decam.add_argument("--limit", type=int, help="maximum number of exposures; for science frames, in each band")
    decam.add_argument(
        "--hdus",
        nargs="+",
        type=int,
        default=[],
        help="numbers of the HDUs to download, such as 0 35; default: whole files",
    )
    return top


def main(arguments: Sequence[str] | None = None, policy: RetryPolicy = DEFAULT_RETRY) -> int:
    """Run the command; return its exit code."""
    options = parser().parse_args(arguments)
    try:
        run(options, RetryPolicy(**(vars(policy) | {"connections": options.connections})))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command resumes where it stopped", file=sys.stderr)
        return 130
    return 0


def run(options: Namespace, policy: RetryPolicy) -> None:
    """List the files, print their sizes, and download them. All kinds are listed before the first download."""
    root = options.root.expanduser()
    if options.archive == "lco":
        manifests = {str(LCO_RECORD): list_lco(root, options.base, policy)}
    elif options.archive == "real":
        manifests = {real_name(): list_real(root, options.base)}
    else:
        given = {k: getattr(options, k) for k in ("bands", "exptime", "dates", "limit", "hdus")}
        queries = [Query(kind=kind, **given) for kind in options.kind]
        manifests = {query.name: list_decam(root, query, options.base, policy) for query in queries}
    needed = sum(print_summary(name, manifest, root) for name, manifest in manifests.items())
    check_space(root, needed)
    if options.dry_run:
        return
    failed = []
    for name, manifest in manifests.items():
        try:
            download_missing(manifest, root, name, policy, options.verify)
        except FetchError as error:
            failed.append(str(error))
    if failed:
        raise FetchError("; ".join(failed))
    if options.archive == "real" and options.labels:
        make_labels(root)
    where = fetch_lco(root, options.base, policy) if options.archive == "lco" else root
    print(f"complete: {where}")


def make_labels(root: Path) -> None:
    """Make the missing truth planes, in another process, because this package does not import the later labelling."""
    if subprocess.run([sys.executable, "-m", LABELS, str(root)], check=False).returncode:
        raise FetchError(
            f"{root}: all files are there, but not all truth planes could be made; --no-labels leaves them out"
        )


def print_summary(name: str, manifest: Manifest, root: Path) -> int:
    """Print a summary of the files to download; return the disk space that they need, bytes."""
    wanted = missing_files(manifest, root)
    total, needed = sum(file.size for file in manifest.files), required_space(wanted, root)
    about = "about " if any(not file.md5 for file in manifest.files) else ""
    left = "".join(f"; {number} left out, {reason}" for reason, number in manifest.left_out.items())
    print(
        f"{name}: {len(manifest.files)} file(s), {about}{format_size(total)}; {len(wanted)} to download, "
        f"{format_size(needed)} of disk space{left}",
        flush=True,
    )
    return needed


if __name__ == "__main__":
    sys.exit(main())
