"""Test the documentation: links, commands, code blocks, and quoted messages."""

import ast
import importlib.util
import re
import subprocess
from itertools import zip_longest
from pathlib import Path

import pytest
import typer
from hydra.core.override_parser.overrides_parser import OverridesParser

from cosmicgate import release
from cosmicgate.cli import app
from cosmicgate.config import Evaluate, Train, validate
from helpers.doc_pages import anchors, blocks, commands, links, prose
from helpers.hydra_config import composed_config
from helpers.repository import ROOT

PAGES = sorted(
    path for pattern in ("README.md", "CHANGELOG.md", "data/README.md", "docs/*.md") for path in ROOT.glob(pattern)
)
# Pages whose Python blocks are run by other tests, with the data that they need.
RUN_BY_OTHER_TESTS = {
    "README.md": "pretrained/test_pretrained_networks.py",
    "docs/adapt.md": "cli/test_adapt.py",
    "docs/masking.md": "cli/test_mask.py",
    "docs/view.md": "cli/test_view.py",
    "docs/pipelines.md": "masking/test_drop_in.py",
}
SCHEMES = {"train": Train, "evaluate": Evaluate}
# A shell function in place of Python: each call prints a line, PYTHONPATH and the words, to be run in a fork.
PRINT_CALLS = r"""python() { printf '%s\0' "$PYTHONPATH" "$@"; echo; }
"""


def name(page):
    return page.relative_to(ROOT).as_posix()


def commands_of_kind(kind, pages=PAGES):
    """List the commands of pages that a function accepts as test parameters, each once, with a page that has it."""
    found = {tuple(words): (page, words) for page in pages for words in commands(page) if kind(words)}
    return [pytest.param(words, id=f"{name(page)}: {' '.join(words)}") for page, words in found.values()]


def is_hydra(words):
    return words[0] == "python" and words[1] in ("train.py", "evaluate.py")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_has_a_target(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: there is no {target}"
        assert not anchor or anchor in anchors(target), f"{link}: expected one of {sorted(anchors(target))}"


def test_every_page_is_linked_from_the_index():
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    assert {page for page in (ROOT / "docs").glob("*.md") if page != index} <= listed


# ---------------------------------------------------------------------------------------------------------- commands


@pytest.mark.slow
@pytest.mark.parametrize("words", commands_of_kind(is_hydra, [page for page in PAGES if page.name != "CHANGELOG.md"]))
def test_every_train_and_evaluate_command_of_the_docs_is_valid(words):
    script = words[1].removesuffix(".py")
    words = [word for word in words if not re.match(r"\+?hydra[./]launcher", word)]
    flags = {word for word in words[2:] if word.startswith("-")}
    assert flags <= {"-m", "--help"}
    parsed = OverridesParser.create().parse_overrides([word for word in words[2:] if word not in flags])
    values = [
        [f"{one.get_key_element()}={value}" for value in one.sweep_string_iterator()]
        if one.is_sweep_override()
        else [one.input_line]
        for one in parsed
    ]
    a_sweep = any(one.key_or_group == "sweep" for one in parsed)  # the sweep file sets multirun
    assert "-m" in flags or a_sweep or all(len(each) == 1 for each in values), "several values without -m"
    for job in zip_longest(*values):  # every value once
        overrides = [value or each[0] for value, each in zip(job, values, strict=True)]
        validate(composed_config(*overrides, name=script), SCHEMES[script])


def test_every_list_in_a_command_is_quoted():
    """Without quotes zsh takes the brackets for a pattern of file names."""
    for page in [*PAGES, *(ROOT / "conf").rglob("*.yaml")]:
        lines = [line for line in page.read_text().splitlines() if re.search(r"python (train|evaluate)\.py ", line)]
        unquoted = [line for line in lines if re.search(r"=[\[{]", re.sub("'[^']*'", "", line))]
        assert not unquoted, page


@pytest.mark.parametrize("words", commands_of_kind(lambda words: words[0] == "cosmicgate" and words[1].isidentifier()))
def test_every_cosmicgate_command_of_the_docs_is_valid(words):
    group = typer.main.get_command(app)
    with group.make_context("cosmicgate", words[1:]) as context:
        chosen, command, arguments = group.resolve_command(context, words[1:])
        if arguments:  # otherwise only the name of the command is mentioned
            command.make_context(chosen, arguments, parent=context).close()


@pytest.mark.parametrize("words", commands_of_kind(lambda words: words[0] == "make"))
def test_every_make_target_of_the_docs_exists(words):
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {word for word in words[1:] if "=" not in word and word != "..."} <= known


@pytest.mark.parametrize("words", commands_of_kind(lambda words: words[0] == "python" and not is_hydra(words)))
def test_every_script_of_the_docs_exists(words):
    if words[1] == "-m":
        assert importlib.util.find_spec(words[2])
    else:
        path = words[1].removeprefix("$COSMICGATE/")
        assert (ROOT / path).is_file(), path


# -------------------------------------------------------------------------------------------------------------- code


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_python_block_compiles(page):
    for block in blocks(page):
        assert block.language in ("", "python", "sh", "yaml", "text"), "a block of unknown language"
        if block.language == "python":
            compile(block.code, name(page), "exec")
    if name(page) in RUN_BY_OTHER_TESTS:
        assert Path(name(page)).name in (ROOT / "tests" / RUN_BY_OTHER_TESTS[name(page)]).read_text()


def is_run_here(page):
    """Return True if the blocks of a page are run by this module."""
    return name(page) not in RUN_BY_OTHER_TESTS and any(block.language in ("python", "sh") for block in blocks(page))


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if is_run_here(page)], ids=name)
@pytest.mark.filterwarnings("ignore::UserWarning")  # images of the pages are unlike those of the training
def test_the_code_of_a_page_runs_from_top_to_bottom(page, command, tmp_path, monkeypatch):
    """Write blocks that name a file, run ``sh`` blocks by a shell and ``python`` blocks in one namespace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    home = Path(command.environment["HOME"])
    if not (home / "cosmicgate").exists():  # the place of the clone in the page
        (home / "cosmicgate").symlink_to(ROOT)
    names, exports = {}, ""
    for block in blocks(page):
        if block.file:
            Path(block.file).parent.mkdir(parents=True, exist_ok=True)
            Path(block.file).write_text(block.code)
        elif block.language == "python" and not block.reason:
            exec(compile(block.code, name(page), "exec"), names)
        elif block.language == "sh" and not block.reason:
            exports += "".join(re.findall(r"^export .*\n", block.code, re.M))
            shell = ["bash", "-ec", PRINT_CALLS + exports + block.code]
            printed = subprocess.run(shell, env=command.environment, capture_output=True, text=True, check=True).stdout
            for call in printed.splitlines():
                python_path, *words = call.removesuffix("\0").split("\0")
                done = command(*words, cwd=tmp_path, PYTHONPATH=python_path)
                assert done.returncode == 0, f"{block.code}\n{done.stderr[-3000:]}"
    if page.stem == "extending":
        tables = Path("outputs/both/report/tables.md").read_text()
        assert "| plain | hilltop_sky, simulated |" in tables
        assert "| Spikes |" in tables
        assert names["mask"].shape == (256, 256)
        assert len(list(Path("data/hilltop/contaminated").iterdir())) == 7, (
            "two pairs for each of two training frames, one for each other frame"
        )
        arguments = ["--name", "plain", "--command", "python train.py model=plain", "--trust", "networks"]
        with pytest.raises(ValueError, match="expected a UNet, found Plain"):
            release.main(["outputs/plain", *arguments])


# ---------------------------------------------------------------------------------------------------------- messages


def messages():
    """Yield every string of the code, with ``...`` for the values that are filled in."""
    for path in [*(ROOT / "src").rglob("*.py"), ROOT / "train.py", ROOT / "evaluate.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r"%[sd]|%\.\df", "...", node.value)


@pytest.mark.parametrize("page", [ROOT / "docs" / "masking.md", ROOT / "docs" / "troubleshooting.md"], ids=name)
def test_every_quoted_message_is_in_the_code(page):
    known = list(messages())
    tables = re.findall(r"^\| you see \|.*\n((?:\|.*\n)+)", prose(page), re.M)
    rows = [row for table in tables for row in table.splitlines()]
    quoted = [message for row in rows for message in re.findall("`(.+?)`", row.split("|")[1])]
    assert len(quoted) >= 5
    for message in quoted:
        part = message.removeprefix("error: ").removesuffix("...").strip()
        assert len(part) > 8, f"{message!r}: too short to identify a message"
        assert any(part in text for text in known), f"{message!r}: not found in the code"


def test_the_tables_of_survey_costs_are_those_of_the_script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from plan_survey import BEGIN, END, tables

    page = (ROOT / "docs" / "scale.md").read_text()
    rate = float(re.search(r"Rate used: ([\d.]+) Mpx/s", page)[1])
    assert page[page.index(BEGIN) + len(BEGIN) : page.index(END)] == tables(rate, 100.0, 0.2)
