"""Readers of input files, and atomic writers of models, outputs and run folders."""

from proxmtl.io.atomic import atomic_path, write_json, write_text
from proxmtl.io.beside import ids_sidecar
from proxmtl.io.checkpoint import Checkpoint
from proxmtl.io.classes import Classes, read_classes
from proxmtl.io.digits import DIGIT_ATTRIBUTES, DIGIT_GROUPS, load_digit_attributes
from proxmtl.io.errors import InputError
from proxmtl.io.features import (
    FEATURE_SUFFIXES,
    Features,
    load_features,
    read_features,
)
from proxmtl.io.labels import Labels, read_labels, write_labels
from proxmtl.io.model import (
    FORMAT_VERSION,
    ModelState,
    read_model_kind,
    read_model_state,
    write_model_state,
)
from proxmtl.io.row_files import NpyRows
from proxmtl.io.rows import Match, Rows, join_rows
from proxmtl.io.run_folder import new_run_folder
from proxmtl.io.seal import seal_folder
from proxmtl.io.shards import Shards, open_shards
from proxmtl.io.tables import read_ids

__all__ = [
    "DIGIT_ATTRIBUTES",
    "DIGIT_GROUPS",
    "FEATURE_SUFFIXES",
    "FORMAT_VERSION",
    "Checkpoint",
    "Classes",
    "Features",
    "InputError",
    "Labels",
    "Match",
    "ModelState",
    "NpyRows",
    "Rows",
    "Shards",
    "atomic_path",
    "ids_sidecar",
    "join_rows",
    "load_digit_attributes",
    "load_features",
    "new_run_folder",
    "open_shards",
    "read_classes",
    "read_features",
    "read_ids",
    "read_labels",
    "read_model_kind",
    "read_model_state",
    "seal_folder",
    "write_json",
    "write_labels",
    "write_model_state",
    "write_text",
]
