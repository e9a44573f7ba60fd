"""The parity runner on a system of one small network: what passes, and everything that must not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from tests.evaluation.tiny_parity import (
    TINY,
    Tiny,
    case,
    change,
    change_stored,
    draw,
    expected,
    statistics,
    write_folder,
)

from omote.errors import FormatError, InputError
from omote.evaluation.parity import Call, FolderResult, get_system, read_manifest, run_folder
from omote.evaluation.parity.networks import NetworkPool

Change = Callable[[dict[str, Any]], None]


def run(folder: Path, **options: Any) -> FolderResult:
    return run_folder(folder, system=TINY, **options)


def problems(result: FolderResult) -> str:
    """Everything that failed, in one text."""
    found = [result.problem] + [text for texts in result.networks.values() for text in texts]
    for one in result.cases:
        found += [
            one.problem,
            *(f"{one.case} {row.output} {text}" for row in one.rows for text in row.problems),
        ]
    return "; ".join(text for text in found if text)


@pytest.mark.parametrize(("seeds", "rows"), [((0, 7), 5), ((123456789, 2**40), 1), ((3, 3_000), 9)])
def test_any_seeds_and_shapes_agree(tmp_path: Path, seeds: tuple[int, int], rows: int) -> None:
    result = run(write_folder(tmp_path, seeds=seeds, rows=rows))
    assert result.passed, problems(result)
    assert [one.case for one in result.cases] == [f"tiny_s{seed}" for seed in seeds]
    rows_of = {row.output: row for row in result.cases[0].rows}
    assert rows_of["sum"].tolerance == 2e-5
    y = expected(seeds[0], rows)["y"]
    largest = max(np.abs(y[:, ::2]).max(), np.abs(y[0, 1:3]).max(), 1.0)
    assert rows_of["y"].tolerance == pytest.approx(1e-4 * largest)
    assert rows_of["y"].difference < 1e-6
    assert rows_of["y"].shape == (rows, 4)


def test_cases_are_chosen_by_pattern(tmp_path: Path) -> None:
    result = run(write_folder(tmp_path), pattern="*_s7")
    assert [one.case for one in result.cases] == ["tiny_s7"]
    assert result.passed


def test_progress_ends_with_all_cases(tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    run(write_folder(tmp_path), progress=lambda *now: seen.append(now))
    assert seen == [(0, 2, "tiny_s0"), (1, 2, "tiny_s7"), (2, 2, "")]


def test_networks_do_not_run_for_files_that_are_not_there(tmp_path: Path) -> None:
    ran: list[str] = []

    def compute(call: Call) -> Any:
        ran.append(call.case.name)
        return TINY.compute(call)

    folder = write_folder(tmp_path)
    (folder / "tiny_s7.safetensors").unlink()
    result = run_folder(folder, system=replace(TINY, compute=compute))
    assert not result.passed
    assert ran == ["tiny_s0"]
    assert problems(result) == "the file tiny_s7.safetensors is missing"


def test_overrides_are_for_one_case_only(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, seeds=(0,))
    weight = {"key": "layer.weight", "op": "multiply", "value": 3.0}
    bias = {"network": "tiny", "key": "layer.bias", "op": "add (after the multiply)", "value": 0.5}
    made = expected(0, 5, 3.0)["y"] + np.float32(0.5)
    change(folder, lambda m: m["cases"].append(case(folder, 0, 5, name="sharp", overrides=[weight, bias])))
    change(folder, lambda m: m["cases"][-1]["outputs"][0].update(statistics(made)))
    change(folder, lambda m: m["cases"][-1]["outputs"].pop())
    parts = {"y.0": made[:, ::2].copy(), "y.1": made[0, 1:3].copy()}
    save_file(parts, folder / "sharp.safetensors")
    change(folder, lambda m: m["cases"].append({**m["cases"][0], "name": "after"}))
    result = run(folder)
    assert [one.case for one in result.cases] == ["tiny_s0", "sharp", "after"]
    assert result.passed, problems(result)


def damage(name: str, value: float) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        def edit(tensors: dict[str, np.ndarray]) -> None:
            tensors[name].reshape(-1)[0] = value

        change_stored(folder, "tiny_s7.safetensors", edit)

    return apply


def stated(*path: Any, value: Any) -> Callable[[Path], None]:
    """Put a value somewhere in the second case of the manifest."""

    def apply(folder: Path) -> None:
        def edit(document: dict[str, Any]) -> None:
            place = document["cases"][1]
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value

        change(folder, edit)

    return apply


def network(key: str, value: Any) -> Callable[[Path], None]:
    return lambda folder: change(folder, lambda m: m["networks"]["tiny"].update({key: value}))


def remove_file(folder: Path) -> None:
    (folder / "tiny_s7.safetensors").unlink()


def truncate_file(folder: Path) -> None:
    data = (folder / "tiny_s7.safetensors").read_bytes()
    (folder / "tiny_s7.safetensors").write_bytes(data[:-9])


def remove_tensor(folder: Path) -> None:
    change_stored(folder, "tiny_s7.safetensors", lambda tensors: tensors.pop("y.1"))


def reshape_tensor(folder: Path) -> None:
    def edit(tensors: dict[str, np.ndarray]) -> None:
        tensors["y.0"] = tensors["y.0"].reshape(-1)

    change_stored(folder, "tiny_s7.safetensors", edit)


def empty_tensor(folder: Path) -> None:
    change_stored(folder, "tiny_s7.safetensors", lambda tensors: tensors.update({"sum": np.zeros(0)}))
    stated("outputs", 1, "tensors", 0, "slice", value="[0:0]")(folder)


FIRST = ("outputs", 0)
PART = ("outputs", 0, "tensors", 0)
WEIGHT = ["layer.weight", [4, 3], "float32"]
BIAS = ["layer.bias", [4], "float32"]


@pytest.mark.parametrize(
    ("apply", "words"),
    [
        (damage("y.0", 9.0), "tiny_s7 y differs by"),
        (damage("y.1", float("nan")), "y.1 expects values that are not finite"),
        (damage("sum", float("inf")), "sum expects values that are not finite"),
        (remove_file, "tiny_s7.safetensors is missing"),
        (truncate_file, "tiny_s7.safetensors cannot be read"),
        (remove_tensor, "y.1 is missing in tiny_s7.safetensors"),
        (reshape_tensor, "y.0 is stored with shape (10,), the manifest says (5, 2)"),
        (empty_tensor, "sum is empty"),
        (stated(*PART, "shape", value=[5, 3]), "the manifest says (5, 3)"),
        (stated(*PART, "slice", value="[:, ::3]"), None),
        (stated(*PART, "slice", value="[:, 1::2]"), "y differs by"),
        (stated(*PART, "slice", value="[::2, ::2]"), "computed is (3, 2)"),
        (stated(*PART, "slice", value="[:, :, 0]"), "does not fit the shape (5, 4)"),
        (stated(*PART, "slice", value="[9]"), "does not fit the shape (5, 4)"),
        (stated(*PART, "slice", value="[__import__('os')]"), "is not an index"),
        (stated(*PART, "slice", value="rows 0,25,50"), "is not a slice"),
        (stated(*PART, "file", value="absent.safetensors"), "absent.safetensors is missing"),
        (stated(*FIRST, "shape", value=[5, 5]), "has shape (5, 4), expected (5, 5)"),
        (stated(*FIRST, "mean", value=0.9), "its mean is"),
        (stated(*FIRST, "mean", value=float("nan")), "the expected mean is nan"),
        (stated(*FIRST, "mean", value=None), "the expected mean is None"),
        (stated(*FIRST, "std", value=None), "the expected std is None"),
        (stated(*FIRST, "std", value=9), "its std is"),
        (stated(*FIRST, "max_abs", value=77.0), "its max_abs is"),
        (stated(*FIRST, "max_abs", value="2"), "the expected max_abs is 2"),
        (stated(*FIRST, "tensors", value=[]), "nothing is stored of it"),
        (stated(*FIRST, "name", value="z"), "z was not computed"),
        (stated(*FIRST, "tolerance", value="1e-3 relative"), "nobody here knows the tolerance"),
        (stated("outputs", value=[]), "expects no outputs"),
        (stated("seed", value=8), "y differs by"),
        (stated("inputs", 0, "low", value=-3), "y differs by"),
        (stated("inputs", 0, "shape", value=[5, 2]), "could not be computed (RuntimeError"),
        (stated("inputs", 0, "name", value="w"), "could not be computed (KeyError"),
        (stated("inputs", 0, "post", value="bilinear_upsample:4,4"), "input x: its rule is not known"),
        (stated("overrides", value=[{"key": "a.b", "op": "multiply", "value": 2}]), "an override names a.b"),
        (
            stated("overrides", value=[{"key": "layer.bias", "op": "set", "value": 2}]),
            "an override says 'set'",
        ),
        (
            stated("overrides", value=[{"network": "tinny", "key": "a", "op": "add", "value": 2}]),
            "which the manifest does not have",
        ),
        (
            stated("overrides", value=[{"key": "layer.bias", "op": "add", "value": 10**400}]),
            "an override says 'add' with 1000",
        ),
        (stated(*FIRST, "mean", value=10**400), "the expected mean is 1000"),
        (network("tensors", [BIAS, WEIGHT]), "the order of the tensors differs from layer.weight on"),
        (
            network("tensors", [WEIGHT, ["layer.bias", [5], "float32"]]),
            "layer.bias has shape (4,), expected (5,)",
        ),
        (network("tensors", [WEIGHT, ["layer.bias", [4], "int64"]]), "layer.bias is float32, expected int64"),
        (network("tensors", [WEIGHT]), "layer.bias is not expected"),
        (network("tensors", [WEIGHT, BIAS, ["more", [], "int64"]]), "more is missing"),
        (network("tensors", [WEIGHT, BIAS, BIAS]), "lists a tensor twice"),
        (network("parameters", 17), "has 16 parameters, expected 17"),
        (
            lambda folder: change(folder, lambda m: m["networks"].update(big=m["networks"]["tiny"])),
            "no network big",
        ),
    ],
)
def test_what_does_not_agree_fails(tmp_path: Path, apply: Callable[[Path], None], words: str | None) -> None:
    folder = write_folder(tmp_path)
    apply(folder)
    result = run(folder)
    assert not result.passed
    assert words is None or words in problems(result)
    assert result.cases[0].passed, "the other case still ran"
    json.dumps(result.to_json(), allow_nan=False)


def text(content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "manifest.json").write_text(content) and None


def both(*path: Any, value: Any) -> Callable[[Path], None]:
    return stated(*path, value=value)


@pytest.mark.parametrize(
    ("apply", "words"),
    [
        (text("{"), "is not a JSON document"),
        (text("[" * 100_000), "is not a JSON document"),
        (text("[1]"), "the manifest must be an object"),
        (text('{"cases": []}'), "system must be a text"),
        (both("name", value="tiny_s0"), "two cases are called tiny_s0"),
        (both("file", value="../secret.safetensors"), "is not inside the folder"),
        (both(*PART, "file", value="/etc/passwd"), "is not inside the folder"),
        (both("seed", value=-1), "a negative seed"),
        (both("seed", value="7"), "must be a whole number"),
        (both("inputs", 0, "shape", value=[1 << 40]), "is too large"),
        (both("inputs", 0, "shape", value=[-1, 3]), "a shape of [-1, 3]"),
        (both("inputs", 0, "high", value=float("inf")), "high must be a finite number"),
        (both(*FIRST, "tolerance", value=float("nan")), "tolerance must be a finite number"),
        (both(*FIRST, "tolerance", value=-1), "a negative tolerance"),
        (both(*FIRST, "tolerance", value=10**400), "tolerance must be a finite number"),
        (both("name", value="tiny\x1b[31m"), "must be a text, got tiny\\x1b[31m"),
        (both(*PART, "slice", value=["rm"]), "slice must be a text"),
        (both("overrides", value=["x"]), "override must be an object"),
        (both("outputs", 1, "name", value="y"), "a name stands there twice"),
        (lambda folder: change(folder, lambda m: m.update(cases=[])), "the manifest has no cases"),
    ],
)
def test_a_manifest_that_makes_no_sense_fails(
    tmp_path: Path, apply: Callable[[Path], None], words: str
) -> None:
    folder = write_folder(tmp_path)
    apply(folder)
    result = run(folder)
    assert not result.passed
    assert result.problem is not None
    assert words in result.problem
    assert "\n" not in result.problem
    assert not result.cases


def test_weights_are_of_a_seed_that_is_given(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    change(folder, lambda made: made["cases"][0].update(input_seed=made["cases"][0].pop("seed")))
    result = run(folder)
    assert "the case gives no seed for the weights of tiny" in str(result.cases[0].problem)
    assert result.cases[1].passed


def test_no_case_that_matches_is_a_failure(tmp_path: Path) -> None:
    result = run(write_folder(tmp_path), pattern="large*")
    assert not result.passed
    assert result.problem == "no case matches large*"


def test_a_system_without_networks_here(tmp_path: Path) -> None:
    result = run_folder(write_folder(tmp_path))
    assert not result.passed
    assert "no networks here for the system 'tiny'. There are: liveportrait" in str(result.problem)


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        run(tmp_path / "absent")
    with pytest.raises(InputError, match=r"no manifest\.json"):
        run(tmp_path)


def test_values_that_are_not_finite_fail(tmp_path: Path) -> None:
    def broken(call: Call) -> dict[str, Any]:
        found = TINY.compute(call)
        found["sum"][-1] = np.nan
        return found

    result = run_folder(write_folder(tmp_path), system=replace(TINY, compute=broken))
    assert "sum has values that are not finite" in problems(result)
    assert result.cases[0].rows[0].passed
    assert not result.cases[0].passed
    json.dumps(result.to_json(), allow_nan=False)


def test_the_other_dialect_of_manifests_is_read(tmp_path: Path) -> None:
    """Dictionaries in place of lists, seeds of their own, one file for all, the unbiased deviation."""
    weights, inputs = 4, 11
    x = draw("thing", inputs).uniform(0, 1, (2, 3)).astype(np.float32)
    weight = (draw("layer.weight", weights).standard_normal((4, 3)) / np.sqrt(3)).astype(np.float32)
    bias = (0.1 * draw("layer.bias", weights).standard_normal(4)).astype(np.float32)
    y = np.float32(2 * x) @ weight.T + bias
    save_file({"one/y": y[:, ::3].copy()}, tmp_path / "all.safetensors")
    output = {"file": "all.safetensors", "tensor": "one/y", "shape": [2, 4], "slice": "[:, ::3]"}
    entry = {
        "name": "one",
        "network": "tiny",
        "weights_seed": weights,
        "input_seed": inputs,
        "inputs": {"x": {"name": "thing", "shape": [2, 3], "low": 0, "high": 1, "then": "twice"}},
        "outputs": {"y": {**output, "std": float(y.std(ddof=1)), "tolerance": 1e-5}},
    }
    networks = {"tiny": {"constructor": {}, "tensors": "as above"}}
    document = {"system": "tiny", "networks": networks, "cases": [entry]}
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    system = replace(
        TINY, make_input=lambda spec, drawn: 2 * drawn if spec.entry["then"] == "twice" else drawn
    )
    result = run_folder(tmp_path, system=system)
    assert result.passed, problems(result)


def test_values_and_rules_of_inputs(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, seeds=(0,))
    given = draw("x", 0).uniform(-1, 2, (5, 3)).astype(np.float32).tolist()
    change(folder, lambda m: m["cases"][0].update(inputs={"x": {"values": given}}))
    assert run(folder).passed
    change(folder, lambda m: m["cases"][0].update(inputs={"x": {"rule": "the given ones"}}))
    assert "its rule is not known" in problems(run(folder))
    system = replace(TINY, make_input=lambda spec, drawn: np.float32(given) if drawn is None else drawn)
    assert run_folder(folder, system=system).passed
    change(folder, lambda m: m["cases"][0].update(inputs={"x": {"values": [[1, 2], [3]]}}))
    assert "its values are no array" in problems(run(folder))


def test_a_tolerance_in_words_is_up_to_the_system(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    stated(*FIRST, "tolerance", value="loose")(folder)
    damage("y.0", float(expected(7, 5)["y"][0, 0]) + 0.4)(folder)
    assert run_folder(folder, system=replace(TINY, tolerance=lambda case, output: 0.5)).passed
    assert not run_folder(folder, system=replace(TINY, tolerance=lambda case, output: 0.3)).passed


def test_networks_are_built_once_for_each_seed(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, seeds=(0, 7))
    manifest = read_manifest(folder)
    first, second = manifest.cases
    pool = NetworkPool(TINY, manifest)
    with pool.for_case(first) as give:
        kept = give("tiny")
        assert give("tiny") is kept
        assert not kept.training
    with pool.for_case(replace(first, name="again")) as give:
        assert give("tiny") is kept
    with pool.for_case(second) as give:
        assert give("tiny") is not kept
    assert pool.built == 2
    scant = NetworkPool(TINY, manifest, kept_bytes=100)  # one network takes 64 bytes
    for one in (first, second, first):
        with scant.for_case(one) as give:
            give("tiny")
    assert scant.built == 3


def test_overrides_are_undone_after_a_fault(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, seeds=(0,))
    manifest = read_manifest(folder)
    changed = replace(
        manifest.cases[0],
        overrides=(
            {"key": "layer.bias", "op": "add", "value": 1},
            {"key": "layer.bias", "op": "multiply", "value": 2},
        ),
    )
    pool = NetworkPool(TINY, manifest)
    with pytest.raises(KeyError), pool.for_case(changed) as give:  # noqa: PT012 - the fault is inside the block
        during = give("tiny").layer.bias.clone()
        raise KeyError
    with pool.for_case(manifest.cases[0]) as give:
        tiny = give("tiny")
        assert isinstance(tiny, Tiny)
        torch.testing.assert_close(during, 2 * (tiny.layer.bias + 1))


def test_a_system_is_found_by_its_name() -> None:
    assert get_system("liveportrait").name == "liveportrait"
    with pytest.raises(InputError, match="no networks here"):
        get_system("deca")


def test_a_bad_manifest_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(FormatError) as caught:
        read_manifest(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "manifest.json"))
