"""Settings of Sphinx for the documentation: ``make docs`` builds it into docs/_build/html."""

import json
import re
import shutil
from pathlib import Path

import cosmicgate

HERE = Path(__file__).parent
ROOT = HERE.parent
COPIES = HERE / "repository"

project = "CosmicGate"
author = "The CosmicGate developers"
version = release = cosmicgate.__version__
copyright = author

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "README.md"]  # docs/README.md is the index on GitHub; index.rst is that of the site

# -- Markdown: the pages are written for GitHub, so only links differ.
highlight_language = "shell"  # of blocks that name none: commands
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
# Pages that lie elsewhere in the repository and are part of the site.
ELSEWHERE = ("data/README.md", "CHANGELOG.md", "CONTRIBUTING.md")

# -- Notebooks: they are kept without output, so the build runs them, and again only after they change.
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "notebooks")
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
# Lines that are added to the parameters of the copies: a notebook whose defaults take minutes is run on less.
SHORTENED = {
    "04_adapt": """
# On this page: the least that shows each step. The network is hardly trained, so its scores say nothing.
CAMERA, SHAPE = "simulated", (256, 256)
SETTINGS = ["trainer.max_epochs=1", "data.windows.size=64", "data.windows.count=64", "data.validation_windows.count=16"]
"""
}

# -- Reference
autosummary_generate = True
toc_object_entries_show_parents = "hide"
templates_path = ["_templates"]
autodoc_typehints = "none"  # the sections of the docstrings have types, shapes and units
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
# References to what this package exports have to resolve; those to other packages would need a network.
nitpick_ignore_regex = [("py:.*", r"(?!cosmicgate\.(models\.|metrics\.)?\w+$).*")]
linkcheck_timeout = 20
linkcheck_anchors = False

# -- HTML
html_theme = "pydata_sphinx_theme"
html_title = "CosmicGate"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_sidebars = {"index": [], "repository/CHANGELOG": []}
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


def copy_pages():
    """Copy notebooks and pages that lie elsewhere into docs/repository, which git ignores; mend their links."""
    shutil.rmtree(COPIES / "outputs", ignore_errors=True)  # of the notebooks; an adaptation there would not be repeated
    shutil.copytree(ROOT / "notebooks", COPIES / "notebooks", dirs_exist_ok=True)
    for name, lines in SHORTENED.items():
        copy = COPIES / "notebooks" / f"{name}.ipynb"
        content = json.loads(copy.read_text())
        (cell,) = (one for one in content["cells"] if "parameters" in one["metadata"].get("tags", ()))
        cell["source"] = "".join(cell["source"]) + "\n" + lines.rstrip()
        copy.write_text(json.dumps(content))
    for page in ELSEWHERE:
        copy = COPIES / page
        copy.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * (1 + page.count("/"))
        copy.write_text(re.sub(r"\]\((?:\.\./)*docs/", f"]({up}", (ROOT / page).read_text()))


def link_to_copies(_app, _docname, source):
    """Let links that leave docs/, as they have to on GitHub, lead to the copies."""
    for page in (*ELSEWHERE, "notebooks/"):
        source[0] = source[0].replace(f"](../{page}", f"](/{COPIES.name}/{page}")


def setup(app):
    """Bring what lies outside of docs/ into the site."""
    copy_pages()
    app.connect("source-read", link_to_copies)
    return {"parallel_read_safe": True}
