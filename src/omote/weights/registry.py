"""The sets of model files that Omote knows, and what their licences permit.

LivePortrait: names and layout of the release (github.com/KwaiVGI/LivePortrait; code and weights MIT) and of its
conversion to safetensors. Sizes and sha256 are those that the hub lists at the revisions named here, as several
independent projects have pinned them; where none has, they are None. The revisions are fixed, so that an address
always means the same bytes.
"""

from __future__ import annotations

from omote.errors import WeightsError
from omote.weights.files import _KNOWN
from omote.weights.sets import HUB, MIT, Licence, NotNeeded, Origin, SetFile, WeightSet

_OFFICIAL = f"{HUB}/KwaiVGI/LivePortrait"
_OFFICIAL_FILES = f"{_OFFICIAL}/resolve/82a4fa6735ca58432b6ce39301b4b9ee066dea47"
_COMMUNITY_FILES = f"{HUB}/Kijai/LivePortrait_safetensors/resolve/59f30f36d7b791929c25437df7461d5b0e0010b1"

_HUMAN = {  # key: folder, (bytes, sha256) of the official file, (bytes, sha256) of its conversion
    "appearance_feature_extractor": (
        "base_models",
        (3_387_959, "5279bb8654293dbdf327030b397f107237dd9212fb11dd75b83dfb635211ceb5"),
        (3_361_936, "38bef5de50a92bf1fc66e8c511051a19dfacdf80c37f8713425ec15dc9ca7d34"),
    ),
    "motion_extractor": (
        "base_models",
        (112_545_506, "251e6a94ad667a1d0c69526d292677165110ef7f0cf0f6d199f0e414e8aa0ca5"),
        (112_496_256, "3568cd410e29d046771acb55ecfdfe4c7c197d345bd8b7f95942ef63130b6c9e"),
    ),
    "warping_module": (
        "base_models",
        (182_180_086, "2f61a6f265fe344f14132364859a78bdbbc2068577170693da57fb96d636e282"),
        (182_158_564, "f7b7834bd6039b4088f72e5161e60ad366f68a3763df8a3eac0bc0f9d46fdbbf"),
    ),
    "spade_generator": (
        "base_models",
        (221_813_590, "4780afc7909a9f84e24c01d73b31a555ef651521a1fe3b2429bd04534d992aee"),
        (221_771_768, "ca04fbec765745e9eae836d2d7522c274647b277ce5f25104fa1705b75222212"),
    ),
    "stitching_retargeting_module": (
        "retargeting_models",
        (2_393_098, "3652d5a3f95099141a56986aaddec92fadf0a73c87a20fac9a2c07c32b28b611"),
        (911_836, "60725cf3523ae413880da28ed583c9e84c5c25695a0cef1b77210ea31cc424ea"),
    ),
}


def _human_file(key: str) -> SetFile:
    folder, official, community = _HUMAN[key]
    path = f"liveportrait/{folder}/{key}.pth"
    converted = f"{key}.safetensors"
    return SetFile(
        key,
        official[0],
        (
            Origin(path, f"{_OFFICIAL_FILES}/{path}", *official),
            Origin(converted, f"{_COMMUNITY_FILES}/{converted}", *community),
        ),
    )


def _animal_file(key: str) -> SetFile:
    paths = (f"liveportrait_animals/{folder}/{key}.pth" for folder in ("base_models_v1.1", "base_models"))
    converted = f"animal/{key}.safetensors"
    origins = [Origin(path, f"{_OFFICIAL_FILES}/{path}") for path in paths]
    return SetFile(key, _HUMAN[key][1][0], (*origins, Origin(converted, f"{_COMMUNITY_FILES}/{converted}")))


_STITCHING = "stitching_retargeting_module"

_SETS: dict[str, WeightSet] = {
    known.name: known
    for known in (
        WeightSet(
            name="liveportrait",
            title="LivePortrait",
            page=_OFFICIAL,
            licence=MIT,
            files=tuple(_human_file(key) for key in _HUMAN),
        ),
        WeightSet(
            name="liveportrait_animals",
            title="LivePortrait for animals, version 1.1",
            page=_OFFICIAL,
            licence=MIT,
            files=tuple(_animal_file(key) for key in _HUMAN if key != _STITCHING),
            borrowed=(("liveportrait", _STITCHING),),
            marks=("animal",),
        ),
    )
}

_NOT_NEEDED: dict[str, NotNeeded] = {
    known.name: known
    for known in (
        NotNeeded(
            name="insightface",
            title="InsightFace's face detector and 106 landmarks (buffalo_l)",
            filenames=("det_10g.onnx", "2d106det.onnx"),
            licence=Licence("InsightFace non-commercial", "non-commercial research only", commercial=False),
            instead="Omote uses MediaPipe's face landmarker",
        ),
        NotNeeded(
            name="xpose",
            title="X-Pose, the landmarks of animals",
            filenames=("xpose.pth", "xpose.safetensors"),
            licence=Licence("X-Pose non-commercial", "non-commercial research only", commercial=False),
            instead="Omote does not look for the landmarks of animals",
        ),
        NotNeeded(
            name="liveportrait_landmarks",
            title="LivePortrait's 203 landmarks",
            filenames=("landmark.onnx", "landmark_model.pth"),
            licence=MIT,
            instead="Omote uses MediaPipe's face landmarker",
        ),
    )
}


def list_sets() -> tuple[WeightSet, ...]:
    """All sets of model files that Omote knows."""
    return tuple(_SETS.values())


def list_not_needed() -> tuple[NotNeeded, ...]:
    """Model files that users of the published systems have, and that Omote does without."""
    return tuple(_NOT_NEEDED.values())


def get_set(name: str) -> WeightSet:
    """The entry of one set.

    Raises:
        WeightsError: no such name, or one that Omote does without.
    """
    if name in _SETS:
        return _SETS[name]
    if name in _NOT_NEEDED:
        other = _NOT_NEEDED[name]
        terms = f"{other.licence.name}: {other.licence.permits}"
        what = f"{other.title}: not needed and never fetched; {other.instead} ({terms})"
        raise WeightsError(what, where=name)
    known = ", ".join((*_SETS, *_KNOWN))
    raise WeightsError("there are no model files of this name", where=name, remedy=f"Known: {known}.")


def files_of(known: WeightSet) -> list[tuple[WeightSet, SetFile]]:
    """All files that a set needs, each with the set that it belongs to."""
    own = [(known, file) for file in known.files]
    lent = [(get_set(owner), key) for owner, key in known.borrowed]
    return own + [(owner, file) for owner, key in lent for file in owner.files if file.key == key]


def licences_of(name: str) -> list[Licence]:
    """The licences of a set (also of what it borrows), of a single file, or of something not needed.

    Raises:
        WeightsError: no such name.
    """
    if name in _KNOWN:
        weight = _KNOWN[name]
        return [Licence(weight.licence, weight.permits, weight.commercial)]
    if name in _NOT_NEEDED:
        return [_NOT_NEEDED[name].licence]
    return list(dict.fromkeys(owner.licence for owner, _ in files_of(get_set(name))))


def require_commercial(name: str) -> None:
    """Refuse model files whose licence forbids commercial use.

    Args:
        name: of a set or of a single file.

    Raises:
        WeightsError: names the licence; or there is no such name.
    """
    for licence in licences_of(name):
        if not licence.commercial:
            raise WeightsError(
                f"the licence ({licence.name}) does not permit commercial use: {licence.permits}",
                where=name,
                remedy="Leave out --commercial-safe only if your use is not commercial.",
            )
