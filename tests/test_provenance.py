"""Test the record of a run: whose commit and changes it names."""

import subprocess

import pytest

from cosmicgate import provenance


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Make a git repository of one commit with this package's file in it, and work there; return the folder."""
    (tmp_path / ".gitignore").write_text(".venv\n")
    for folder in ("src", ".venv/lib"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "provenance.py").write_text("")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    (tmp_path / ".gitignore").write_text(".venv\nsecret\n")
    (tmp_path / "conf.yaml").write_text("")
    return tmp_path


@pytest.mark.parametrize("folder", ["src", ".venv/lib"])
def test_the_commit_is_that_of_the_package_and_not_of_a_project_that_has_it_installed(project, monkeypatch, folder):
    monkeypatch.setattr(provenance, "__file__", str(project / folder / "provenance.py"))
    record = provenance.provenance(0, [], {})
    if folder == "src":
        assert len(record["commit"]) == 40
        assert "+secret" in record["uncommitted"]
        assert record["untracked"] == "conf.yaml"
    else:
        assert [record[key] for key in ("commit", "uncommitted", "untracked")] == [None] * 3
