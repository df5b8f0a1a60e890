# The public names, and where they live: `__init__.py` imports each when it is asked for.

from proxmtl.backbones.archive import (
    TarImages as TarImages,
)
from proxmtl.backbones.extraction import (
    Extracted as Extracted,
    FeatureNetwork as FeatureNetwork,
    KnownRows as KnownRows,
    extract as extract,
    extract_to_file as extract_to_file,
)
from proxmtl.backbones.frozen import (
    FrozenNetwork as FrozenNetwork,
    load_network as load_network,
)
from proxmtl.backbones.images import (
    open_image as open_image,
    to_pixels as to_pixels,
)
from proxmtl.backbones.quantized import (
    QuantizedNet as QuantizedNet,
)
