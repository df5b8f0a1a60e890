# The public names, and where they live: `__init__.py` imports each when it is asked for.

from proxmtl.io.atomic import (
    atomic_path as atomic_path,
    write_json as write_json,
    write_text as write_text,
)
from proxmtl.io.beside import (
    ids_sidecar as ids_sidecar,
)
from proxmtl.io.checkpoint import (
    Checkpoint as Checkpoint,
)
from proxmtl.io.classes import (
    Classes as Classes,
    read_classes as read_classes,
)
from proxmtl.io.digits import (
    DIGIT_ATTRIBUTES as DIGIT_ATTRIBUTES,
    DIGIT_GROUPS as DIGIT_GROUPS,
    load_digit_attributes as load_digit_attributes,
)
from proxmtl.io.errors import (
    InputError as InputError,
)
from proxmtl.io.features import (
    FEATURE_SUFFIXES as FEATURE_SUFFIXES,
    Features as Features,
    load_features as load_features,
    read_features as read_features,
)
from proxmtl.io.labels import (
    Labels as Labels,
    read_labels as read_labels,
    write_labels as write_labels,
)
from proxmtl.io.model import (
    FORMAT_VERSION as FORMAT_VERSION,
    ModelState as ModelState,
    read_model_kind as read_model_kind,
    read_model_state as read_model_state,
    write_model_state as write_model_state,
)
from proxmtl.io.row_files import (
    NpyRows as NpyRows,
)
from proxmtl.io.rows import (
    Match as Match,
    Rows as Rows,
    join_rows as join_rows,
)
from proxmtl.io.run_folder import (
    new_run_folder as new_run_folder,
)
from proxmtl.io.seal import (
    seal_folder as seal_folder,
)
from proxmtl.io.shards import (
    Shards as Shards,
    open_shards as open_shards,
)
from proxmtl.io.tables import (
    read_ids as read_ids,
)
