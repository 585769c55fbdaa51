"""Test that docstrings refer to what exists, and describe the parameters that a function has."""

import ast
import re

from helpers.repository import ROOT

SOURCE = ROOT / "src"
TEXTS = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path.read_text()
    for path in sorted(SOURCE.rglob("*.py"))
}
REFERENCE = re.compile(r":(?:func|class|meth|attr|data|mod|exc):`~?([\w.]+)`")
PARAMETERS = re.compile(r"^Parameters\n-+\n(.*?)(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)


def test_references_of_docstrings_exist():
    codes = {module: re.sub(r'""".*?"""', "", text, flags=re.DOTALL) for module, text in TEXTS.items()}
    names = {module: set(re.findall(r"\w+", code)) for module, code in codes.items()}
    everywhere = set().union(*names.values())
    missing = []
    for module, text in TEXTS.items():
        for reference in REFERENCE.findall(text):
            home, rest = module, reference
            if reference.startswith("cosmicgate"):
                home = next(m for m in sorted(names, reverse=True) if f"{reference}.".startswith(f"{m}."))
                rest = reference.removeprefix(home).lstrip(".")
            first, *members = rest.split(".") if rest else ["cosmicgate"]
            if first not in names[home] | {"cosmicgate"} or not everywhere.issuperset(members):
                missing.append(f"{module}: {reference}")
    assert missing == []


def test_docstrings_describe_the_parameters_of_the_signature():
    wrong = []
    for module, text in TEXTS.items():
        for node in ast.walk(ast.parse(text)) if " Parameters\n" in text else ():
            if isinstance(node, ast.FunctionDef) and (section := PARAMETERS.search(ast.get_docstring(node) or "")):
                heads = re.findall(r"^(\S[^:\n]*)", section[1], re.MULTILINE)
                described = {name.strip(" *") for head in heads for name in head.split(",")}
                taken = {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)} - {"self", "cls"}
                if described != taken:
                    wrong.append(f"{module}.{node.name}: {sorted(described ^ taken)}")
    assert wrong == []
