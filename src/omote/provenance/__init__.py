"""Where a file comes from: Content Credentials (C2PA) written and checked, a visible mark, signed bundles."""

from omote.provenance.bundle import write_bundle
from omote.provenance.consent import checked_consent, no_credentials_notice
from omote.provenance.formats import SIGNABLE_SUFFIXES, check_signable
from omote.provenance.manifest import Input
from omote.provenance.mark import draw_visible_mark
from omote.provenance.report import Report
from omote.provenance.sign import check_signing, sign_media
from omote.provenance.verify import verify

__all__ = [
    "SIGNABLE_SUFFIXES",
    "Input",
    "Report",
    "check_signable",
    "check_signing",
    "checked_consent",
    "draw_visible_mark",
    "no_credentials_notice",
    "sign_media",
    "verify",
    "write_bundle",
]
