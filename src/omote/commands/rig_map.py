"""``omote rig map``: a rig's controls to ARKit's or the FACS controls by name, and takes onto the rig."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from omote.commands import console
from omote.commands.console import QUIET, Flag
from omote.commands.rig_inspect import Axes, RigSource, Unit
from omote.errors import InputError

if TYPE_CHECKING:
    from omote.rigs.mapping import NameMapping

_HOW = {"name": "same name", "word": "another word", "mixture": "roughly"}
_File = Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint=QUIET)]


@dataclass(frozen=True)
class RigMapArgs:
    """Match the controls of a rig to ARKit's 52 or the 102 FACS controls by name; write the mapping to edit it.

    With --take, put a performance on the rig: TARGET.glb is a copy of the rig's own .glb that replays it,
    TARGET.omote the take in the rig's controls, TARGET.json its weights. A take that is in the rig's own controls
    already (omote capture --rig) is replayed as it is by .glb and .json; .omote and any other format is then the take
    in the controls of --to.

    Examples:
      omote rig map head.glb
      omote rig map shapes/ --to facs102 -o mapping.json
      omote rig map head.glb --mapping mapping.json --take take.omote -o take_on_head.glb
      omote rig map head.glb --take captured_on_head.omote -o out.livelink.csv
    """

    rig: RigSource
    """The rig: .glb, .gltf, .vrm, .usd, or a folder of .obj shapes."""
    to: Annotated[Literal["arkit52", "facs102"], tyro.conf.arg(metavar="SPACE")] = "arkit52"
    """What to match to: arkit52 or facs102."""
    mapping: _File = None
    """Use this mapping, as written by -o and edited, instead of the names."""
    take: _File = None
    """A performance to put on the rig: .omote, or any other that `omote convert` reads."""
    output: Annotated[
        Path | None, tyro.conf.arg(aliases=["-o"], metavar="TARGET", help_behavior_hint=QUIET)
    ] = None
    """What to write: the mapping as .json; with --take the take as .glb, .omote or .json, or as any format of omote
    export where the take is in the rig's own controls."""
    unit: Unit = "auto"
    """Unit of the rig's file: auto, m, dm, cm, mm or in."""
    axes: Axes = "auto"
    """Up and forward axes of the rig's file: auto, or such as +y+z or +z-y."""
    json: Flag = False
    """Print the mapping, or what was written, as JSON."""

    def run(self) -> int:
        """Print or write the mapping, or write the take; return 0."""
        from omote.controls import space_by_name
        from omote.rigs.mapping import NameMapping, load_mapping
        from omote.rigs.open import open_rig

        if self.rig == "facs":
            remedy = "omote convert --space arkit52 converts its takes."
            raise InputError(
                "the embedded head has the FACS controls themselves", where="facs", remedy=remedy
            )
        rig = open_rig(self.rig, unit=self.unit, axes=self.axes, mapping=self.mapping)
        if self.mapping is not None:
            found = load_mapping(self.mapping, rig.space)
            if self.to not in (RigMapArgs.to, found.to.name):
                what = f"the mapping is to {found.to.name}, not {self.to}"
                raise InputError(what, where=self.mapping, remedy="Leave --to out.")
        else:
            combinations = getattr(rig, "combinations", {})
            found = NameMapping.by_name(rig.space, space_by_name(self.to), combinations)
        if self.take is not None:
            return self._write_take(rig, found)
        if self.output is not None:
            _write_mapping(found, self.output)
        if self.json:
            console.say_json({**found.document(), "unreached": found.unreached})
            return 0
        _show(found)
        if self.output is not None:
            console.say(str(self.output))
        return 0

    def _write_take(self, rig: Any, mapping: NameMapping) -> int:
        from omote import export
        from omote.controls import ARKIT52, FACS102
        from omote.export.rig_take import write_rig_take

        if self.take is None or self.output is None:
            raise InputError("give a file to write the take to", where="--take", remedy="Add -o out.glb")
        take = export.read(self.take)
        own = take.space.names == rig.space.names and take.space not in (ARKIT52, FACS102)
        if own and self.output.suffix.lower() not in (".glb", ".json"):
            outputs = export.write(mapping.take_from_rig(take), self.output)
        else:
            outputs = write_rig_take(
                take if own else mapping.take_to_rig(take), rig, Path(self.rig), self.output
            )
        if self.json:
            console.say_json({"input": self.take, "outputs": outputs, "controls": len(rig.space)})
        else:
            for output in outputs:
                console.say(str(output))
        return 0


def _write_mapping(mapping: NameMapping, path: Path) -> None:
    from omote.export.files import write_text

    if path.suffix.lower() != ".json":
        raise InputError("a mapping is written as .json", where=path)
    write_text(path, _lines(mapping.document()))


def _lines(document: dict[str, Any]) -> str:
    """JSON with one line for each control, to be edited by hand."""
    import json

    def text(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    parts = []
    for key, value in document.items():
        if isinstance(value, dict) and value:
            rows = ",\n".join(f"    {text(name)}: {text(row)}" for name, row in value.items())
            parts.append(f"  {text(key)}: {{\n{rows}\n  }}")
        else:
            parts.append(f"  {text(key)}: {text(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _show(mapping: NameMapping) -> None:
    matched = mapping.matching
    title = f"{len(mapping.rows)} of {len(mapping.rig)} controls of {mapping.rig.name} mapped to {mapping.to.name}"
    table = console.table("control", mapping.to.name, "by", title=title)
    for name in mapping.rig.names:
        if name in mapping.rows:
            row = ", ".join(t if w == 1 else f"{w:g} {t}" for t, w in mapping.rows[name].items())
            table.add_row(name, row, _HOW[matched.how[name]] if matched else "file")
    console.show(table)
    if matched is None:
        left = [name for name in mapping.rig.names if name not in mapping.rows]
        if left:
            console.say(f"not mapped: {', '.join(left)}")
    else:
        for name, taken in matched.ambiguous.items():
            console.say(f"not mapped: {name}: {', '.join(taken)} taken by another control")
        for name, near in matched.unmatched.items():
            console.say(f"not mapped: {name}" + (f" (perhaps {', '.join(near)})" if near else ""))
        if matched.rest:
            console.say(f"at rest: {', '.join(matched.rest)}")
    if mapping.unreached:
        console.say(
            f"{len(mapping.unreached)} of {mapping.to.name} nothing moves: {', '.join(mapping.unreached)}"
        )
