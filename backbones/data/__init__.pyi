# The public names, and where they live: `__init__.py` imports each when it is asked for.

from proxmtl.backbones.data.files import (
    ImageFiles as ImageFiles,
    find_images as find_images,
)
from proxmtl.backbones.data.table import (
    ImageTable as ImageTable,
)
