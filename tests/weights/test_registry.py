"""What is known of each published system, and what its licence permits."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from omote.errors import WeightsError
from omote.weights import files_of, get_set, list_not_needed, list_sets, registry, require_commercial
from omote.weights.sets import Licence


def test_liveportrait_is_the_published_set() -> None:
    known = get_set("liveportrait")
    base = "liveportrait/base_models/"
    assert {file.key: file.origins[0].path for file in known.files} == {
        "appearance_feature_extractor": f"{base}appearance_feature_extractor.pth",
        "motion_extractor": f"{base}motion_extractor.pth",
        "warping_module": f"{base}warping_module.pth",
        "spade_generator": f"{base}spade_generator.pth",
        "stitching_retargeting_module": "liveportrait/retargeting_models/stitching_retargeting_module.pth",
    }
    sizes = {file.key: file.origins[0].size / 2**20 for file in known.files}  # as the release lists them
    assert sizes["appearance_feature_extractor"] == pytest.approx(3.3, abs=0.1)
    assert sizes["motion_extractor"] == pytest.approx(108, abs=1)
    assert sizes["spade_generator"] == pytest.approx(212, abs=1)
    assert sizes["warping_module"] == pytest.approx(174, abs=1)
    assert sizes["stitching_retargeting_module"] == pytest.approx(2.3, abs=0.1)
    assert [file.origins[1].path for file in known.files] == [
        f"{file.key}.safetensors" for file in known.files
    ]
    assert known.licence.name == "MIT"
    require_commercial("liveportrait")


def test_animals_use_the_human_stitching_and_version_1_1() -> None:
    files = files_of(get_set("liveportrait_animals"))
    assert [owner.name for owner, _ in files] == ["liveportrait_animals"] * 4 + ["liveportrait"]
    assert files[-1][1].key == "stitching_retargeting_module"
    for _, file in files[:4]:
        assert [origin.path for origin in file.origins] == [
            f"liveportrait_animals/base_models_v1.1/{file.key}.pth",
            f"liveportrait_animals/base_models/{file.key}.pth",
            f"animal/{file.key}.safetensors",
        ]
        assert {origin.sha256 for origin in file.origins} == {None}  # nobody has published them


@pytest.mark.parametrize("known", list_sets(), ids=lambda known: known.name)
def test_entries_are_well_formed(known: registry.WeightSet) -> None:
    assert len({file.key for _, file in files_of(known)}) == len(files_of(known))
    for file in known.files:
        assert re.fullmatch(r"\w+", file.key)
        for origin in file.origins:
            assert ".." not in origin.path
            assert not origin.path.startswith("/")
            assert origin.url is None or origin.url.startswith("https://")
            assert origin.url is None or origin.url.endswith(origin.path)
            assert origin.sha256 is None or re.fullmatch("[0-9a-f]{64}", origin.sha256)
            assert (origin.size is None) == (origin.sha256 is None)


def test_non_commercial_models_are_refused_by_the_name_of_their_licence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_commercial("face_landmarker")
    with pytest.raises(
        WeightsError, match=r"insightface: the licence .InsightFace non-commercial. does not permit"
    ):
        require_commercial("insightface")
    terms = Licence("CC-BY-NC-4.0", "no commercial use", commercial=False)
    closed = replace(get_set("liveportrait"), licence=terms)
    monkeypatch.setitem(registry._SETS, "liveportrait", closed)
    with pytest.raises(WeightsError, match="CC-BY-NC"):
        require_commercial("liveportrait_animals")  # through the file that it borrows


def test_unknown_names_and_models_that_are_not_needed() -> None:
    with pytest.raises(WeightsError, match="Known: liveportrait, liveportrait_animals, face_landmarker"):
        get_set("live_portrait")
    with pytest.raises(WeightsError, match="not needed and never fetched; Omote uses MediaPipe"):
        get_set("insightface")
    assert {known.name for known in list_not_needed() if not known.licence.commercial} == {
        "insightface",
        "xpose",
    }


def test_a_mirror_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    origin = get_set("liveportrait").files[0].origins[0]
    assert origin.address == origin.url
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert origin.address == f"https://mirror.example{str(origin.url).removeprefix('https://huggingface.co')}"
