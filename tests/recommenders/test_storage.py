from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from recommenders import storage
from recommenders.base import RecommenderError
from recommenders.registry import build
from tests.recommenders.cases import CASES, ask, assert_same, fitted, make_items, make_log, make_requests, name_of

SERVED = [case for case in CASES if name_of(case) not in ("oracle",)]


def saved(folder: Path, case: str = "gru4rec", **options: Any) -> Any:
    recommender = fitted(case)
    storage.save(folder, recommender, name_of(case), CASES[case], make_items(), **options)
    return recommender


@pytest.mark.parametrize("case", SERVED)
def test_a_loaded_model_answers_bit_for_bit(case: str, tmp_path: Path) -> None:
    recommender = saved(tmp_path / "model", case)
    found = storage.load(tmp_path / "model")
    requests = make_requests(5, n=17, width=recommender.traits.history_length or 1)
    assert_same(ask(found.recommender, requests, 10), ask(recommender, requests, 10))
    for field in fields(found.items):
        ours, theirs = getattr(found.items, field.name), getattr(make_items(), field.name)
        np.testing.assert_array_equal(ours, theirs)
        assert np.asarray(ours).dtype == np.asarray(theirs).dtype
    assert found.info.recommender == name_of(case)


def test_a_fresh_process_answers_bit_for_bit(tmp_path: Path) -> None:
    recommender = saved(tmp_path / "model")
    code = (
        "import sys; from pathlib import Path; from recommenders import storage;"
        "from tests.recommenders.cases import ask, make_requests;"
        "model = storage.load(Path(sys.argv[1])).recommender;"
        "slates = ask(model, make_requests(5, n=17), 10);"
        "print(slates.item.tobytes().hex(), slates.score.tobytes().hex())"
    )
    root = Path(__file__).parent.parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model")], capture_output=True, text=True, cwd=root, check=True
    )
    slates = ask(recommender, make_requests(5, n=17), 10)
    assert done.stdout.split() == [slates.item.tobytes().hex(), slates.score.tobytes().hex()]


def test_ids_and_provenance_come_back(tmp_path: Path) -> None:
    ids = [f"video {i}" for i in range(40)]
    saved(tmp_path / "m", "popularity", item_ids=ids, user_ids=[7, 9], training={"seed": 3, "log_sha256": "ab"})
    info = storage.load(tmp_path / "m").info
    assert info.item_ids == ids
    assert info.user_ids == [7, 9]
    assert info.training == {"seed": 3, "log_sha256": "ab"}
    assert info.config["smoothing"] == 1.0  # defaults are written out
    assert sorted(os.listdir(tmp_path / "m")) == ["model.json", "weights.safetensors"]


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_a_byte_that_flips_or_goes_missing_is_noticed(tmp_path: Path, name: str) -> None:
    saved(tmp_path / "m", "popularity")
    whole = (tmp_path / "m" / name).read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(len(whole), size=60).tolist():
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]):
            (tmp_path / "m" / name).write_bytes(damaged)
            with pytest.raises(storage.StorageError, match=name):
                storage.load(tmp_path / "m")
    (tmp_path / "m" / name).unlink()
    with pytest.raises(storage.StorageError, match=rf"{name}: got No such file"):
        storage.load(tmp_path / "m")


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change `model.json` with a right checksum: what a careful hand could do."""
    path = folder / "model.json"
    content = json.loads(path.read_text())
    change(content)
    content.pop("sha256", None)
    content["sha256"] = storage._checksum(content)
    path.write_text(json.dumps(content))


def new_weights(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    arrays = load_file(folder / "weights.safetensors")
    change(arrays)
    save_file(arrays, folder / "weights.safetensors")
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    rewrite(folder, lambda content: content.update(weights_sha256=digest))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format_version=2), "format_version: got 2, expected 1"),
        (lambda c: c.update(extra=1), "extra: "),
        (lambda c: c.pop("arrays"), "arrays: "),
        (lambda c: c.update(recommender="no_such"), "no_such: cannot take over"),
        (lambda c: c["config"].update(dim=16), "gru4rec: cannot take over"),
        (lambda c: c["config"].update(dimm=16), "gru4rec: cannot take over"),
        (lambda c: c["arrays"].pop("catalogue.topic"), "catalogue.topic: got int32"),
        (lambda c: c["arrays"]["catalogue.topic"].update(shape=[41]), r"expected int32\[41\]"),
        (lambda c: c.update(n_topics=2), "catalogue.topic: got a value outside"),
        (lambda c: c.update(item_ids=[1, 2]), "got 40 items, expected 2 as in item_ids"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    saved(tmp_path / "m")
    rewrite(tmp_path / "m", change)
    with pytest.raises(storage.StorageError, match=message):
        storage.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("catalogue.topic"), "got no such array, expected"),
        (lambda a: a.update(surplus=np.zeros(2)), r"surplus: got float64\[2\], expected no such array"),
        (lambda a: a.update({"catalogue.topic": a["catalogue.topic"].astype(np.int64)}), "expected int32"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    saved(tmp_path / "m")
    new_weights(tmp_path / "m", change)
    with pytest.raises(storage.StorageError, match=message):
        storage.load(tmp_path / "m")


def test_weights_are_never_unpickled(tmp_path: Path) -> None:
    saved(tmp_path / "m", "popularity")
    evil = b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR."
    (tmp_path / "m" / "weights.safetensors").write_bytes(evil)
    rewrite(tmp_path / "m", lambda c: c.update(weights_sha256=hashlib.sha256(evil).hexdigest()))
    with pytest.raises(storage.StorageError, match="damaged weights"):
        storage.load(tmp_path / "m")
    assert not (tmp_path / "ran").exists()


def test_a_module_is_imported_only_if_allowed(tmp_path: Path) -> None:
    name = "recommenders.popularity:Popularity"
    storage.save(tmp_path / "m", fitted("popularity"), name, {}, make_items())
    with pytest.raises(storage.StorageError, match="which is code to be imported"):
        storage.load(tmp_path / "m")
    assert storage.load(tmp_path / "m", allow_import=True).info.recommender == name


def test_nothing_within_wrappers_is_imported_unless_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imported_by_load.py").write_text("raise SystemExit('ran')")
    monkeypatch.syspath_prepend(str(tmp_path))
    saved(tmp_path / "m", "popularity")
    inner = {"recommender": "drop_disliked", "config": {"model": {"recommender": "imported_by_load:Evil"}}}
    rewrite(tmp_path / "m", lambda c: c.update(recommender="block_disliked", config={"model": inner}))
    message = r"config\.model\.config\.model\.recommender: got 'imported_by_load:Evil', which is code"
    with pytest.raises(storage.StorageError, match=message):
        storage.load(tmp_path / "m")
    with pytest.raises(storage.StorageError, match="SystemExit: ran"):
        storage.load(tmp_path / "m", allow_import=True)


def test_the_defaults_of_wrapped_models_are_saved(tmp_path: Path) -> None:
    config = {"model": {"recommender": "drop_disliked", "config": {"model": {"recommender": "item_knn"}}}}
    model = build("block_disliked", config)
    model.fit(make_log(0), make_items(), seed=0)
    info = storage.save(tmp_path / "m", model, "block_disliked", config, make_items())
    assert info.config["model"]["config"]["model"]["config"] == build("item_knn").config.model_dump()  # type: ignore[attr-defined]


def test_a_new_folder_that_fails_leaves_nothing_even_above_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), storage.new_folder(tmp_path / "a" / "b" / "m") as part:
        (part / "file").rename(part / "no such folder" / "file")
    assert os.listdir(tmp_path) == []
    with storage.new_folder(tmp_path / "a" / "m") as part:
        (part / "file").write_text("whole")
    assert [path.name for path in (tmp_path / "a").rglob("*")] == ["m", "file"]


@pytest.mark.parametrize("name", ["n" * 300, "file/m"])
def test_a_folder_that_cannot_be_made_is_refused_on_entering(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    entered = False
    with pytest.raises(storage.StorageError, match="expected a new folder to write to"):  # noqa: SIM117
        with storage.new_folder(tmp_path / name):
            entered = True
    assert not entered
    assert os.listdir(tmp_path) == ["file"]


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(storage.StorageError, match="exists, expected the name of a new folder"):
        saved(tmp_path / "m", "popularity")
    assert os.listdir(tmp_path / "m") == []


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), storage.StorageError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_full_disk_or_an_interruption_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, expected: type[BaseException]
) -> None:
    calls: list[int] = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise failure

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(expected):
        saved(tmp_path / "m", "popularity")
    assert os.listdir(tmp_path) == []


def test_an_unfitted_model_and_odd_arrays_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecommenderError, match="expected `fit`"):
        storage.save(tmp_path / "m", build("popularity"), "popularity", {}, make_items())

    class Odd:
        def state_dict(self) -> dict[str, Any]:
            return {"x": np.array(["text"])}

    with pytest.raises(storage.StorageError, match=r"state\.x: got an array of <U4"):
        storage.save(tmp_path / "m", Odd(), "odd", {}, make_items())  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []


def test_memory_order_and_empty_shapes_survive(tmp_path: Path) -> None:
    class Strided:
        config = None

        def state_dict(self) -> dict[str, Any]:
            return {"t": np.arange(6.0).reshape(2, 3).T, "big": np.arange(3, dtype=">i4"), "scalar": np.array(3.5)}

    storage.save(tmp_path / "m", Strided(), "popularity", {}, make_items())  # type: ignore[arg-type]
    arrays = load_file(tmp_path / "m" / "weights.safetensors")
    np.testing.assert_array_equal(arrays["state.t"], np.arange(6.0).reshape(2, 3).T)
    np.testing.assert_array_equal(arrays["state.big"], np.arange(3))
    assert arrays["state.scalar"].shape == ()
