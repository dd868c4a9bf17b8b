import subprocess
import sys

import pytest

from orion import provenance


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder named orion with a module ``a`` that imports ``b`` inside a function."""
    package = tmp_path / "orion"
    package.mkdir()
    files = {
        "__init__.py": '"""Top."""\n',
        "a.py": '"""Doc."""\n\n\ndef f(x):\n    """Doc."""\n    from orion import b\n\n    return b.g(x) + 1  # why\n',
        "b.py": "def g(x):\n    return x\n",
        "c.py": "VALUE = 1\n",
    }
    for name, text in files.items():
        (package / name).write_text(text)
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))
    provenance.source_digest.cache_clear()
    yield package
    provenance.source_digest.cache_clear()


def changed(package, name, old, new):
    before = provenance.source_digest("orion.a")
    path = package / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    provenance.source_digest.cache_clear()
    return provenance.source_digest("orion.a") != before


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("a.py", "# why", "# because", False),
        ("a.py", '"""Doc."""\n\n\n', '"""Other words."""\n\n', False),
        ("a.py", '    """Doc."""\n', '    """Two\n    lines."""\n', False),
        ("a.py", "+ 1", "+ 2", True),
        ("b.py", "return x", "return x * 1", True),
        ("c.py", "1", "2", False),
        ("__init__.py", "Top", "Tip", False),
    ],
)
def test_digest_follows_code_and_imports_only(project, name, old, new, expected):
    assert changed(project, name, old, new) is expected


def test_a_string_that_is_a_value_is_code(project):
    (project / "a.py").write_text('X = "one"\n')
    provenance.source_digest.cache_clear()
    assert changed(project, "a.py", '"one"', '"two"')


def test_an_f_string_is_code_and_one_text(project):
    (project / "a.py").write_text('def f(x):\n    return f"{x} pens"\n')
    provenance.source_digest.cache_clear()
    assert changed(project, "a.py", "pens", "books")
    assert 'f"{x} books"' in provenance._strip((project / "a.py").read_text()).split("\x00")


def test_unknown_module_is_an_error():
    with pytest.raises(ModuleNotFoundError, match=r"orion\.nothing"):
        provenance.source_digest("orion.nothing")


def test_canonical_json_drops_nulls_and_sorts():
    assert (
        provenance.canonical_json({"b": 1, "a": None, "c": {"z": None, "y": [1, None]}})
        == '{"b":1,"c":{"y":[1,null]}}'
    )


def test_mismatches_name_the_changed_key(tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("one")
    made = provenance.record(
        "orion.stages.expose", {"max_errors": 2, "nested": {"a": 1}}, {"samples": source}
    )
    assert (
        provenance.mismatches(
            made, config={"max_errors": 2, "nested": {"a": 1}}, inputs={"samples": source}
        )
        == []
    )
    found = provenance.mismatches(
        made, config={"max_errors": 3, "nested": {"a": 1}}, inputs={"samples": source}
    )
    assert found == ["made with another configuration (max_errors)"]
    source.write_text("two")
    assert (
        "another samples"
        in provenance.mismatches(made, config=made["config"], inputs={"samples": source})[0]
    )


def test_the_workflow_starts_without_torch():
    code = "import sys, orion.config, orion.provenance; print([m for m in ('torch', 'polars', 'numpy') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
