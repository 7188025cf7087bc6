"""Nothing that is read runs code, writes outside of its folder, or becomes part of a page but as text."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from recommenders.storage import StorageError
from simulator.cli import main
from simulator.cli.shell import UserError
from simulator.commands.backtest_files import run_folder
from simulator.report.html import render_html
from simulator.report.runs import write_report
from simulator.scenario.settings import MAX_NAME_LENGTH
from tests.simulator.report.samples import SCENARIO_YAML, sample_manifest, sample_results, split_results
from tests.simulator.report.test_html import outline, poisoned
from tests.simulator.report.test_runs import write_run
from tests.simulator.scenario.samples import MINIMAL

ROOT = Path(__file__).parent.parent
SOURCES = [
    file for folder in ("simulator", "recommenders", "examples", "benchmarks") for file in (ROOT / folder).rglob("*.py")
]
TEMPLATES = sorted((ROOT / "simulator").rglob("*.j2"))
EXECUTING_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "code", "codeop"}
EXECUTING_CALLS = {"eval", "exec", "compile", "__import__"}
EXECUTING = re.compile(r"torch\.load|os\.(system|popen)|.*\.read_pickle|yaml\.(full_|unsafe_)?load(_all)?")
POLICY = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">"""


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


# Nothing that is read runs code


def executing(text: str) -> Iterator[str]:
    """What in a source could run code that stands in a file."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (name for name in names if name.split(".")[0] in EXECUTING_MODULES)
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
        pickled = called in ("np.load", "numpy.load") and keywords.get("allow_pickle", "False") != "False"
        if pickled or called in EXECUTING_CALLS or EXECUTING.fullmatch(called):
            yield called
        elif keywords.get("shell", "False") != "False":
            yield f"{called} with a shell"


def test_no_source_runs_what_it_reads() -> None:
    assert len(SOURCES) > 100
    found = {str(file.relative_to(ROOT)): list(executing(file.read_text(encoding="utf-8"))) for file in SOURCES}
    found = {file: calls for file, calls in found.items() if calls}
    assert found == {"simulator/workers/lines.py": ["pickle"]}  # messages between processes of one run


@pytest.mark.parametrize(
    "text",
    [
        "import pickle", "from pickle import loads", "import torch\ntorch.load('x')", "eval('1')", "exec('1')",
        "np.load('x', allow_pickle=True)", "yaml.load(text, Loader=yaml.Loader)", "yaml.unsafe_load(text)",
        "subprocess.run('x', shell=True)", "import joblib", "__import__('x')",
    ],
)  # fmt: skip
def test_a_planted_call_is_found(text: str) -> None:
    assert list(executing(text))


# Names lead nowhere else


@pytest.mark.parametrize(
    "name",
    ["../x", "/x", "a/b", "a\\b", "..", "", "a.b", "A", "1a", "a b", "a\n", "é", "a" * (MAX_NAME_LENGTH + 1)],
)
def test_an_arm_is_named_by_small_letters_digits_and_underscores(tmp_path: Path, name: str) -> None:
    spelled = name.replace("\\", "\\\\").replace("\n", "\\n")
    file = tmp_path / "mine.yaml"
    file.write_text(
        MINIMAL.replace("name: base", f'name: "{spelled}"').replace("control: base", f'control: "{spelled}"')
    )
    result = invoke("validate", str(file))
    assert result.exit_code == 2
    assert "arms[0].name: got" in result.stderr


@pytest.mark.parametrize("command", ["validate", "run", "validate-stats"])
@pytest.mark.parametrize("name", ["...yaml", "..yaml", "....yml"])
def test_a_scenario_of_dots_leads_out_of_no_folder(tmp_path: Path, command: str, name: str) -> None:
    file = tmp_path / name
    file.write_text(MINIMAL)
    out = [] if command == "validate" else ["--out", str(tmp_path / "results")]
    result = invoke(command, str(file), *out)
    assert result.exit_code == 2
    assert "a name that is more than dots and an ending" in result.stderr
    assert sorted(os.listdir(tmp_path)) == [name]


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/a", "a\\b", "../../x"])
def test_a_backtest_is_named_by_one_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match="expected the name of one folder"):
        run_folder(tmp_path, name, "run")


def test_a_report_is_written_through_no_link(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    outside = tmp_path / "outside"
    outside.write_text("mine")
    (folder / "report.html").symlink_to(outside)
    write_report(folder)
    assert not (folder / "report.html").is_symlink()
    (folder / f"report.html.{os.getpid()}.tmp").symlink_to(outside)
    result = invoke("report", str(folder))
    assert result.exit_code == 2
    assert "File exists" in result.output
    assert outside.read_text() == "mine"


# Texts stay texts

HOSTILE = st.lists(
    st.sampled_from(
        ["<", ">", '"', "'", "&", "/", "=", ";", "{{", "}}", "{%", "%}", "<!--", "-->", "]]>", "<script>", "</script>",
         "</style>", "</title>", "</svg>", "<img src=x onerror=a()>", "javascript:", "onload=", "&lt;", "&#60;", "`",
         "\x00", "\x1b", "\u202e", "\u2028", "\ud800", "a", " ", "\n"]
    ),
    max_size=12,
).map("".join)  # fmt: skip
NO_SHRINKING = [Phase.explicit, Phase.generate]
"""A failing page is large, and shrinking it takes minutes."""
ATTRIBUTES = {
    "class", "id", "href", "lang", "charset", "name", "content", "http-equiv", "scope", "colspan", "tabindex", "role",
    "style", "viewbox", "d", "x", "y", "cx", "cy", "r", "transform", "open", "title",
}  # fmt: skip


@settings(max_examples=12, phases=NO_SHRINKING, suppress_health_check=[HealthCheck.too_slow])
@given(HOSTILE, st.sampled_from([sample_results, split_results]))
def test_no_text_of_a_run_becomes_markup(text: str, results) -> None:
    clean = render_html(results(), sample_manifest(), SCENARIO_YAML)
    page = render_html(poisoned(results(), text), poisoned(sample_manifest(), text), SCENARIO_YAML + text)
    assert POLICY in page
    assert "<script" not in page
    seen, expected = outline(page).tags, outline(clean).tags
    assert {tag for tag, _ in seen} <= {tag for tag, _ in expected}
    attributes = {name for _, pairs in seen for name in pairs}
    assert {a for a in attributes if not a.startswith("aria-")} <= ATTRIBUTES


def test_no_text_of_a_backtest_becomes_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    poison = '"><script>alert(1)</script><img src=x onerror=a()>{{ 7*7 }}'
    log = Path("<script>.csv")
    rows = [f"u{i % 7},i{i % 5},{1_600_000_000 + i},{i % 2}" for i in range(80)]
    log.write_text("user_id,item_id,timestamp,liked\n" + "\n".join(rows) + "\n")
    Path("models.yaml").write_text(f"models:\n- {{name: '{poison[:60]}', recommender: popularity}}\n")
    result = invoke(
        "backtest",
        "--log",
        str(log),
        "--flag",
        "liked=like",
        "--models",
        "models.yaml",
        "--name",
        "<img src=x>",
        "--k",
        "2",
    )
    assert result.exit_code == 0, result.output
    (page,) = (file.read_text() for file in Path("results/backtest").rglob("report.html"))
    assert POLICY in page
    assert {"script", "img"}.isdisjoint(tag for tag, _ in outline(page).tags)


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.name)
def test_templates_escape_all_and_load_nothing(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert not re.search(r"\|\s*safe\b|autoescape|<script|<link|<iframe|\bon\w+\s*=", text)
    assert ("<!doctype html>" in text) == (POLICY in text)


def test_markup_is_made_of_constants_only() -> None:
    # What stands in `Markup(...)` is not escaped; its `format` and `join` escape. A page of a backtest joins parts of
    # its own, and escapes the one text among them.
    for file in (ROOT / "simulator").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Markup":
                (argument,) = node.args
                constant = isinstance(argument, ast.Constant) or ast.unparse(argument) == "template"
                assert constant or (file.name == "backtest_report.py" and ast.unparse(argument) == "''.join(parts)")


def test_a_message_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    UserError("a\x1b[2Jb\nc\u202ed").show()
    assert capsys.readouterr().err == "a [2Jb\nc d\n"


# Plug-ins are loaded when they are named


@pytest.fixture
def plug_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Installed plug-ins whose import raises, or ends the process."""
    bodies = {"raises": "raise RuntimeError('no')", "exits": "import sys; sys.exit(3)", "interrupts": "1 / 0"}
    for name, body in bodies.items():
        (tmp_path / f"plug_in_that_{name}.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(
        metadata,
        "entry_points",
        lambda group: [metadata.EntryPoint(f"that_{name}", f"plug_in_that_{name}:Thing", group) for name in bodies],
    )
    yield
    for name in bodies:
        sys.modules.pop(f"plug_in_that_{name}", None)


@pytest.mark.usefixtures("plug_ins")
@pytest.mark.parametrize("recommender", ["popularity", "no_such_recommender"])
def test_validation_imports_no_plug_in_that_is_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recommender: str
) -> None:
    imported: list[str] = []
    monkeypatch.setattr(sys, "meta_path", [_Watch(imported), *sys.meta_path])
    file = tmp_path / "mine.yaml"
    file.write_text(MINIMAL.replace("popularity", recommender))
    assert invoke("validate", str(file)).exit_code == (0 if recommender == "popularity" else 2)
    assert imported == []
    file.write_text(MINIMAL.replace("popularity", "that_raises"))
    assert invoke("validate", str(file)).exit_code == 2
    assert imported == ["plug_in_that_raises"]


@pytest.mark.usefixtures("plug_ins")
def test_a_list_survives_plug_ins_that_cannot_be_imported() -> None:
    for kind in ("recommenders", "metrics"):
        result = invoke("list", kind)
        assert result.exit_code == 0, result.output
        for word in ("RuntimeError while importing it: no", "SystemExit while importing it: 3", "ZeroDivisionError"):
            assert word.partition(" ")[0] in result.output


class _Watch:
    """A finder of modules that finds none, and notes which plug-ins were asked for."""

    def __init__(self, imported: list[str]) -> None:
        self.imported = imported

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.startswith("plug_in_that_"):
            self.imported.append(name)
