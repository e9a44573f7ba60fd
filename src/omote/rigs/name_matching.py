"""Match the names of a rig's controls to ARKit's 52 or the 102 FACS controls."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

from omote.controls import ARKIT52, FACS102, ControlSpace
from omote.controls.arkit52 import CONVERSIONS
from omote.rigs import name_tables
from omote.rigs.names import side_of, split_side

How = Literal["name", "word", "mixture"]
Row = dict[str, float]
_SEPARATORS = re.compile(r"[^0-9A-Za-z]+")
_NAMESPACE = re.compile(r"[:|.](?=[A-Za-z][^:|.]+$)(?!left$|right$)", re.IGNORECASE)
_COPY = re.compile(r"\.\d{3}$")
"""What Blender adds to a name that is taken."""
_NUMBERED = re.compile(r"^\d+[_.\- ]+(?=[A-Za-z])|[_.\- ]*\d+$")
_ENDING = re.compile(r"[_.\- ]*(?:mesh|shapes?|geo|blend_?shapes?|bs|target|lod\d+)$", re.IGNORECASE)
_FEW = 4
"""Names fewer than these are not a list of which endings could be told."""
_PREFIX = re.compile(r"^(?:CTRL_expressions_|blendShape\d*[._]|bs_|key_|morph_)", re.IGNORECASE)
_REACHED = {
    source: [
        (t, w)
        for s, t, w in CONVERSIONS
        if s == source and any(one == t and two == s for one, two, _ in CONVERSIONS)
    ]
    for source in {source for source, _, _ in CONVERSIONS}
}
"""Control -> what corresponds to it in the other space; what has one direction only adds a share to the nearest."""
_NEGATIVE = re.compile(r"^(.+)_neg$")
_SHIFTS = ("jaw", "mouth")  # "Left" tells the way they move, not the side they are on


NEEDS_JAW = {"mouthClose": 1.0, "tongueOut": 0.6}
"""ARKit shapes that show only with the jaw open, and how far."""
_KINDS: tuple[How, ...] = ("name", "word", "mixture")


@dataclass(frozen=True)
class _Candidate:
    """A row that a name may stand for; ``part``: it is a part of what it stands for, such as a quarter of the lips."""

    row: Row
    part: bool = False


@dataclass(frozen=True)
class Matching:
    """What became of each name.

    Attributes:
        rows: rig control -> {target control: weight}; at 1 it does what the targets do at these weights together with
            the other controls that share them.
        how: rig control -> "name" (the same but for case, separators and how sides are written), "word" (another word
            for it) or "mixture" (a viseme or emotion, roughly).
        unmatched: rig control -> suggestions, perhaps none.
        ambiguous: rig control -> the targets it would fit that another control has.
        rest: shapes that hold the face at rest.
    """

    rows: dict[str, Row]
    how: dict[str, How]
    unmatched: dict[str, tuple[str, ...]]
    ambiguous: dict[str, tuple[str, ...]]
    rest: tuple[str, ...]


def match_names(names: Sequence[str], to: ControlSpace) -> Matching:
    """Match control names to those of ``to``, ``ARKIT52`` or ``FACS102``.

    The same name wins over another word for it, and that over a mixture. Controls that are parts of one target (its
    left and right half, say) share it in equal weights; one control for both sides feeds both. Two different words for
    one target are ambiguous: the first has it.
    """
    bare = dict(zip(names, bare_names(names), strict=True))
    candidates = {name: _candidates(bare[name], to) for name in names}
    rest = tuple(name for name in names if _word(bare[name]) in name_tables.REST)
    rows: dict[str, Row] = {}
    how: dict[str, How] = {}
    ambiguous: dict[str, tuple[str, ...]] = {}
    for kind in _KINDS:
        standing = {name: rows[name] for name in rows}
        asking = [
            name for name in names if name not in rows and name not in rest and kind in candidates[name]
        ]
        for name in sorted(asking, key=lambda name: len(candidates[name][kind].row)):  # one side before both
            wanted = candidates[name][kind]
            held = [other for other in rows if _overlap(rows[other], wanted.row)]
            if kind == "mixture":
                fits = not any(_overlap(row, wanted.row) for row in standing.values())
            else:
                fits = all(
                    other not in standing
                    and _may_share(bare[name], wanted, bare[other], candidates[other][kind])
                    for other in held
                )
            if fits:
                rows[name], how[name] = wanted.row, kind
            else:
                ambiguous.setdefault(name, tuple(wanted.row))
    unmatched = {
        name: suggestions(bare[name], to)
        for name in names
        if name not in rows and name not in rest and name not in ambiguous
    }
    ambiguous = {name: targets for name, targets in ambiguous.items() if name not in rows}
    rows = {name: rows[name] for name in names if name in rows}
    return Matching(_shared(rows, how), how, unmatched, ambiguous, rest)


def same_name(name: str, space: ControlSpace) -> str | None:
    """The control of ``space`` of that name but for a namespace, case, separators and how the side is written."""
    found = _exact(bare_names([name])[0], space)
    return found[0] if len(found) == 1 else None


def shown_with_jaw(names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Controls that show only with the jaw open -> the control that opens it, and how far it has to be open."""
    rows = match_names(names, ARKIT52).rows
    jaws = [name for name, row in rows.items() if row == {"jawOpen": 1.0}]
    amounts = {name: NEEDS_JAW[target] for name, row in rows.items() for target in row if target in NEEDS_JAW}
    amounts |= {name: 0.6 for name in names if name.startswith(("lips_together", "sticky_corner", "tongue_"))}
    return {name: {jaws[0]: amount} for name, amount in amounts.items()} if jaws else {}


def suggestions(name: str, to: ControlSpace, most: int = 3) -> tuple[str, ...]:
    """The targets whose names are nearest to ``name``."""
    word, side = _key(name)
    known = _all_words(to)
    close = difflib.get_close_matches(word, list(known), n=2 * most, cutoff=0.6)
    found = dict.fromkeys(
        t for other in close for t in known[other] if side in ("C", side_of(t)) or side_of(t) == "C"
    )
    return tuple(found)[:most]


def _overlap(one: Row, other: Row) -> bool:
    """Whether two rows move a target the same way."""
    return any(target in other and one[target] * other[target] > 0 for target in one)


def _may_share(name: str, wanted: _Candidate, other: str, held: _Candidate) -> bool:
    """Whether two controls can both move a target: the same shape of two meshes, two halves, or parts of the lips."""
    if _key(name) == _key(other) or (wanted.part and held.part):
        return True
    sides = {side_of(name), side_of(other)}
    shared = [target for target in wanted.row if target in held.row]
    return sides == {"L", "R"} and all(side_of(target) == "C" for target in shared)


def _shared(rows: dict[str, Row], how: dict[str, How]) -> dict[str, Row]:
    """Controls that share a target divide it among them, each sign apart; mixtures add up instead."""
    count: dict[tuple[str, bool], int] = {}
    for name, row in rows.items():
        for target, weight in row.items():
            if how[name] != "mixture":
                count[target, weight > 0] = count.get((target, weight > 0), 0) + 1
    return {
        name: {
            target: weight if how[name] == "mixture" else weight / count[target, weight > 0]
            for target, weight in row.items()
        }
        for name, row in rows.items()
    }


def _candidates(name: str, to: ControlSpace) -> dict[How, _Candidate]:
    """The rows that ``name`` may stand for, by how it says so."""
    found: dict[How, _Candidate] = {}
    negative = _NEGATIVE.match(name)
    if negative:
        return _below_zero(negative.group(1), to)
    side = side_of(name)
    for space in (to, FACS102 if to == ARKIT52 else ARKIT52):
        row = _into(_exact(name, space), side, to)
        if row and "name" not in found:
            found["name"] = _Candidate(row, part=space == FACS102 and to == ARKIT52)
    row = _into(_by_word(name), side, to)
    if row and ("name" not in found or row != found["name"].row):
        found["word"] = _Candidate(row, part=bool(_quarter(name)))
    for mixture, others in name_tables.MIXTURE_WORDS.items():
        if _word(name) in (mixture, *others.split()):
            mixed: Row = {}
            for target, weight in name_tables.MIXTURES[mixture].items():
                for own, share in _into((target,), side_of(target), to).items():
                    mixed[own] = mixed.get(own, 0.0) + weight * share
            found["mixture"] = _Candidate(mixed)
    return found


def _below_zero(name: str, to: ControlSpace) -> dict[How, _Candidate]:
    """The row of a shape for the low end of the FACS control ``name``, as `omote export` writes it."""
    low = {control.name: control.low for control in FACS102.controls}.get(name, 0.0)
    if low >= 0:
        return {}
    reached = [(name, 1.0)] if name in to else [(t, w) for t, w in _REACHED.get(name, ()) if t in to]
    row = {target: low * weight for target, weight in reached if target in FACS102 or weight < 0}
    return {"name": _Candidate(row)} if row else {}


def _exact(name: str, space: ControlSpace) -> tuple[str, ...]:
    """Controls of ``space`` called ``name``, but for case, separators and how the side is written."""
    words = _words_of_names(space)
    whole = _whole_names(space).get(_word(name), ())  # eyeblinkleft
    return words.get(_key(name), ()) or whole or _both_sides(name, words)


def _by_word(name: str) -> tuple[str, ...]:
    """ARKit or FACS controls for which ``name`` is another word."""
    whole = name_tables.ARKIT_WHOLE.get(_word(name))
    if whole:
        return whole
    quarter = _quarter(name)
    if quarter:
        return quarter
    for words in (_words(ARKIT52), _words(FACS102)):
        found = words.get(_key(name), ()) or _both_sides(name, words) or _half(name, words)
        if found:
            return found
    return ()


def _both_sides(name: str, words: dict[tuple[str, str], tuple[str, ...]]) -> tuple[str, ...]:
    """Both controls of a pair where ``name`` says no side."""
    word, side = _key(name)
    if side != "C" or word in _SHIFTS:
        return ()
    return words.get((word, "L"), ()) + words.get((word, "R"), ())


def _half(name: str, words: dict[tuple[str, str], tuple[str, ...]]) -> tuple[str, ...]:
    """The control without a side of which ``name`` is one half."""
    word, side = _key(name)
    return words.get((word, "C"), ()) if side != "C" else ()


def _quarter(name: str) -> tuple[str, ...]:
    """FACS controls of a quarter of the lips: mouthFunnelUL, mouthFunnelUpper_L."""
    word, side = _key(name)
    for stem, facs in name_tables.QUARTERS.items():
        rest = word.removeprefix(stem)
        part = {"u": "upper", "upper": "upper", "d": "lower", "lower": "lower"}.get(rest)
        if stem.endswith(("upper", "lower")) and word == stem:
            part = stem[-5:]
        if word.startswith(stem) and part:
            return tuple(f"{facs}_{part}_{s}" for s in ("L", "R") if side in ("C", s))
    return ()


def _into(targets: tuple[str, ...], side: str, to: ControlSpace) -> Row:
    """Controls of either space as a row of ``to``: those of ``side`` alone where a target has two sides there."""
    row: Row = {}
    for target in targets:
        if target in to or target == "mouthClose":  # not linear in FACS: `NameMapping` sees to it
            row[target] = 1.0
            continue
        reached = [(t, w) for t, w in _REACHED.get(target, ()) if t in to]
        sided = [(t, w) for t, w in reached if side_of(t) in (side, "C")]
        for other, weight in sided if side != "C" and sided else reached:
            if weight < 0 and target not in ARKIT52:  # a shape goes one way: ``_neg`` is the other
                continue
            row[other] = row.get(other, 0.0) + (weight if target in ARKIT52 else 1.0)
    return row


@cache
def _all_words(to: ControlSpace) -> dict[str, list[str]]:
    """Every word known -> the controls of ``to`` that it stands for."""
    known: dict[str, list[str]] = {}
    for target in to.names:
        known.setdefault(_key(target)[0], []).append(target)
    for words in (_words(ARKIT52), _words(FACS102)):
        for (other, _), targets in words.items():
            known.setdefault(other, []).extend(target for target in targets if target in to)
    return known


@cache
def _whole_names(space: ControlSpace) -> dict[str, tuple[str, ...]]:
    """Names in lower case, letters and digits only -> the control."""
    return {_word(name): (name,) for name in space.names}


@cache
def _words_of_names(space: ControlSpace) -> dict[tuple[str, str], tuple[str, ...]]:
    """(word, side) -> the control of ``space`` of that very name; and halves of ARKit's without a side."""
    made: dict[tuple[str, str], tuple[str, ...]] = {}
    for name in space.names:
        made[_key(name)] = (name,)
    for name in space.names:
        word, side = _key(name)
        if side == "C":
            for half in "LR":
                made.setdefault((word, half), (name,))
    return made


@cache
def _words(space: ControlSpace) -> dict[tuple[str, str], tuple[str, ...]]:
    """(word, side) -> controls of ``space`` that have ``word`` as another name."""
    table = name_tables.ARKIT_WORDS if space == ARKIT52 else name_tables.FACS_WORDS
    made: dict[tuple[str, str], tuple[str, ...]] = {}
    for stem, others in table.items():
        for name in space.names:
            split = split_side(name)
            if stem == (split[0].rstrip("_") if split else name):
                for word in others.split():
                    made[word, side_of(name)] = (name,)
    return made


@lru_cache(4096)
def _key(name: str) -> tuple[str, str]:
    """(word, side) of a name."""
    split = split_side(name)
    if split is None:
        return _word(name), "C"
    return _word(split[0] + split[2]), split[1]


def _word(name: str) -> str:
    """Lower case, letters and digits only."""
    return _SEPARATORS.sub("", name).lower()


def bare_names(names: Sequence[str]) -> list[str]:
    """The names of a rig without what says nothing: namespaces, numbers, and what most begin or end with.

    Numbers, beginnings and endings are taken off only where more names are then ARKit's or FACS controls.
    """
    originals = [_COPY.sub("", name) or name for name in names]
    # A copy beside its original is another shape; the only one of its name is that shape.
    plain = [
        short if originals.count(short) == 1 else name for name, short in zip(names, originals, strict=True)
    ]
    plain = [name if _known([name]) else _NAMESPACE.split(name)[-1] for name in plain]  # jaw.open
    plain = [_PREFIX.sub("", name) or name for name in plain]
    best = plain
    for chain in _CHAINS:
        shorter = plain
        for shorten in chain:
            shorter = [short or name for short, name in zip(shorten(shorter), shorter, strict=True)]
        if _known(shorter) > _known(best):
            best = shorter
    return best


def _without_start(names: Sequence[str]) -> list[str]:
    """Without what at least half of the names begin with, up to a separator."""
    count: dict[str, int] = {}
    for name in names:
        for match in re.finditer(r"[_.\- ]+", name[:-1]):
            count[name[: match.end()]] = count.get(name[: match.end()], 0) + 1
    start = max((start for start, n in count.items() if 2 * n > len(names)), key=len, default="")
    return [name.removeprefix(start) for name in names]


def _without_end(names: Sequence[str]) -> list[str]:
    """Without what at least half of the names end with, from a separator on, or a word for a shape."""
    if len(names) < _FEW:  # jawOpen_fix alone is another shape than jawOpen
        return list(names)
    count: dict[str, int] = {}
    for name in names:
        ends = {name[match.start() :] for match in re.finditer(r"[_.\- ]+", name) if match.start()}
        word = _ENDING.search(name)
        for end in ends | ({word.group()} if word else set()):
            count[end] = count.get(end, 0) + 1
    end = max((end for end, n in count.items() if 2 * n > len(names)), key=len, default="")
    return [name.removesuffix(end) for name in names]


def _without_number(names: Sequence[str]) -> list[str]:
    """Without numbers before or behind, where most names have them."""
    shorter = [_NUMBERED.sub("", name) for name in names]
    numbered = sum(short != name for short, name in zip(shorter, names, strict=True))
    distinct = len(set(shorter)) == len(shorter)  # else they tell copies apart
    return shorter if 2 * numbered > len(names) and distinct else list(names)


_CHAINS = (
    (_without_start,),
    (_without_end,),
    (_without_number,),
    (_without_start, _without_end),
    (_without_end, _without_number),
    (_without_number, _without_start, _without_end),
)


def _known(names: Sequence[str]) -> int:
    return sum(bool(_exact(name, ARKIT52) or _exact(name, FACS102)) for name in names)
