"""Model files: where each comes from, what its licence permits, and that the bytes are the published ones.

Single files that are used as they are (`locate`), and published systems as sets of files, which are stored in the cache
as safetensors whatever their published form (`locate_set`, `load_set`, `fetch_set`, `import_files`).
"""

from __future__ import annotations

from omote.weights.cache import cache_dir
from omote.weights.download import Progress
from omote.weights.files import Weight, fetch, get_weight, list_weights, locate, verify
from omote.weights.getting import fetch_set
from omote.weights.importing import Imported, find_not_needed, import_files, is_published
from omote.weights.loading import load_safetensors, load_torch_checkpoint
from omote.weights.registry import (
    files_of,
    get_set,
    licences_of,
    list_not_needed,
    list_sets,
    require_commercial,
)
from omote.weights.sets import Licence, NotNeeded, Origin, SetFile, WeightSet
from omote.weights.store import (
    Stored,
    folder_of,
    load_set,
    locate_set,
    path_of,
    read_description,
    verify_stored,
)

__all__ = [
    "Imported",
    "Licence",
    "NotNeeded",
    "Origin",
    "Progress",
    "SetFile",
    "Stored",
    "Weight",
    "WeightSet",
    "cache_dir",
    "fetch",
    "fetch_set",
    "files_of",
    "find_not_needed",
    "folder_of",
    "get_set",
    "get_weight",
    "import_files",
    "is_published",
    "licences_of",
    "list_not_needed",
    "list_sets",
    "list_weights",
    "load_safetensors",
    "load_set",
    "load_torch_checkpoint",
    "locate",
    "locate_set",
    "path_of",
    "read_description",
    "require_commercial",
    "verify",
    "verify_stored",
]
