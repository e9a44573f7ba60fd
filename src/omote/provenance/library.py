"""The c2pa library, loaded when it is first needed and kept off the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omote.errors import OmoteError

_SETTINGS: dict[str, Any] = {
    "version": 1,
    # Omote is offline: nothing is fetched for a signature, neither a remote manifest nor a certificate's status.
    "core": {"allowed_network_hosts": []},
    "verify": {
        "verify_after_reading": True,
        "verify_after_sign": True,
        "verify_trust": True,
        "verify_timestamp_trust": False,
        "remote_manifest_fetch": False,
        "ocsp_fetch": False,
    },
    "builder": {
        # A thumbnail would carry a copy of the source photo inside every result.
        "thumbnail": {"enabled": False},
        "created_assertion_labels": [
            "c2pa.actions",
            "c2pa.actions.v2",
            "c2pa.ingredient",
            "c2pa.ingredient.v3",
            "org.omote.inputs",
            "org.omote.consent",
            "org.omote.layout",
        ],
    },
}


def load() -> Any:
    """The ``c2pa`` module.

    Raises:
        OmoteError: it is not installed, or its native library does not load.
    """
    try:
        import c2pa
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise OmoteError(
            f"Content Credentials need the c2pa library, which cannot be loaded ({_short(error)})",
            remedy="Run `pip install c2pa-python`.",
        ) from error
    return c2pa


def context(anchors: Mapping[str, str] | None = None) -> Any:
    """A ``c2pa.Context`` with Omote's settings; a context manager.

    Args:
        anchors: name to PEM of root certificates; the name is what a report of the library calls the list.
    """
    settings = dict(_SETTINGS)
    if anchors:
        lists = [
            {"trust_uri": name, "trust_kind": "manifest", "trust_anchors": pem}
            for name, pem in anchors.items()
        ]
        settings["trust"] = {"anchors": lists}
    return load().Context.from_dict(settings)


def reason(error: BaseException) -> str:
    """The library's message, in one short line without its kind in front."""
    text = _short(error)
    kind, colon, rest = text.partition(": ")
    return rest if colon and kind.isalpha() and rest else text


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
