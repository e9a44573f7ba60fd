"""Dictionaries of dictionaries of tensors: flat and back, and what is no checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omote.errors import WeightsError
from omote.weights.nesting import flatten, unflatten

HERE = Path(__file__)  # a file larger than the tensors of these tests

names = st.text("ab/%2F5.", max_size=5)
trees = st.recursive(
    st.just(0), lambda inner: st.dictionaries(names, inner, min_size=1, max_size=3), max_leaves=6
).filter(lambda tree: isinstance(tree, dict))


def planted(tree: Any, count: list[int]) -> Any:
    """The tree with a different tensor for each leaf."""
    if isinstance(tree, dict):
        return {name: planted(value, count) for name, value in tree.items()}
    count[0] += 1
    return torch.tensor([float(count[0])])


def plain(tree: Any) -> Any:
    return {k: plain(v) for k, v in tree.items()} if isinstance(tree, dict) else tree.tolist()


@settings(max_examples=25)
@given(trees)
def test_any_names_come_back(tree: Any) -> None:
    held = planted(tree, [0])
    flat, nested = flatten(held, where=HERE)
    assert plain(unflatten(flat) if nested else flat) == plain(held)


def test_names_of_a_plain_dictionary_stay() -> None:
    flat, nested = flatten({"a/b%": torch.ones(2), "epoch": 3, "who": "me"}, where=HERE)
    assert (list(flat), nested) == (["a/b%"], False)


def test_other_entries_are_passed_over_at_any_depth() -> None:
    held = {"net": {"w": torch.ones(1), "lr": 0.1}, "optimizer": {"state": {0: {"m": torch.ones(1)}}}}
    flat, nested = flatten(held, where=HERE)
    assert (list(flat), nested) == (["net/w"], True)


def test_every_tensor_gets_memory_of_its_own() -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    flat, _ = flatten({"a": whole, "b": whole, "t": whole.T, "row": whole[1]}, where=HERE)
    assert len({value.data_ptr() for value in flat.values()}) == 4
    assert all(value.is_contiguous() for value in flat.values())
    assert flat["t"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert flat["row"].untyped_storage().nbytes() == 12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool])
def test_types_are_kept(dtype: torch.dtype) -> None:
    assert flatten({"a": torch.ones(2, dtype=dtype)}, where=HERE)[0]["a"].dtype == dtype


def doubling(depth: int) -> dict[str, Any]:
    """A dictionary of a few entries that unfolds into 2**depth."""
    held: dict[str, Any] = {"w": torch.ones(1)}
    for _ in range(depth):
        held = {"a": held, "b": held}
    return held


@pytest.mark.parametrize(
    ("held", "says"),
    [
        (torch.ones(2), "holds a Tensor, not a dictionary"),
        ([torch.ones(2)], "holds a list"),
        ({}, "without a single tensor"),
        ({"a": 1, "b": {"c": "d"}}, "without a single tensor"),
        ({"a": torch.tensor([1.0, float("nan")])}, "not finite"),
        ({"a": torch.ones(1).expand(10**6, 10**6)}, "larger than the file"),
        ({str(i): torch.ones(1).expand(500) for i in range(100)}, "larger than the file"),
        ({"a": torch.ones(2, 2).to_sparse()}, "unusual kind"),
        ({"__metadata__": torch.ones(1)}, "keeps for itself"),
        (doubling(60), "more dictionaries"),
    ],
    ids=["tensor", "list", "empty", "no tensor", "nan", "huge", "many", "sparse", "reserved", "doubling"],
)
def test_what_is_no_checkpoint(held: Any, says: str) -> None:
    with pytest.raises(WeightsError, match=says) as caught:
        flatten(held, where=HERE)
    assert str(caught.value).startswith(str(HERE))
