"""Small sizes of every registered model on the grid, for the tests of their common contract."""

from typing import Any

SMALL: dict[str, dict[str, Any]] = {
    "bid": {"iterations": 30},
    "fista": {"iterations": 30},
    "ista": {"iterations": 30},
    "nnls": {"iterations": 30},
    "cfgn": {"channels": 8, "blocks": 2},
    "dbpn": {"initial": 6, "channels": 4, "stages": 3},
    "espcn": {},
    "srfbn": {"channels": 4, "groups": 2},
    "rdn": {"channels": 4, "growth": 3, "blocks": 2, "layers": 2},
    "srcnn": {},
    "srcnn_sequence": {},
    "gmfn": {"channels": 4, "steps": 2, "blocks": 2, "sources": 2, "refined": 1},
    "focus": {},
    "edsr": {"channels": 4, "blocks": 1},
    "edsr_sequence": {"channels": 4, "blocks": 1},
    "dista": {"stages": 2, "channels": 4, "hidden": 8},
    "dista_threshold": {"stages": 2, "channels": 4},
    "dista_transform": {"stages": 2, "channels": 4, "hidden": 8},
    "dscsnet": {"stages": 2, "channels": 4},
    "fista_net": {"stages": 3, "channels": 4},
    "ista_net": {"stages": 2, "channels": 4},
    "ista_net_plus": {"stages": 2, "channels": 4},
    "ista_net_pp": {"stages": 2, "channels": 4, "blocks": 1},
    "stsa": {"stages": 2, "channels": 16},
    "lamp": {"layers": 2},
    "liht": {"layers": 1, "sparsity": 2500.0},
    "lista": {"layers": 2},
    "tilista": {"layers": 2},
    "rcan": {"channels": 4, "groups": 1, "blocks": 1, "reduction": 2},
    "han": {"channels": 4, "groups": 2, "blocks": 1, "reduction": 2},
    "dctlsa": {"channels": 4, "heads": 2},
    # A window of one pixel has no steps between positions, and no gradient of their network.
    "hit_sng": {"channels": 48, "layers": 1, "windows": (2, 4), "heads": 2},
    "srgan": {"channels": 4, "blocks": 1, "discriminator_channels": 4},
    "esrgan": {"channels": 4, "growth": 4, "blocks": 1, "discriminator_channels": 4},
    "bsrgan": {"channels": 4, "growth": 4, "blocks": 1, "discriminator_channels": 4},
    "san": {"channels": 8, "groups": 1, "blocks": 1, "reduction": 2},
    "egasr": {"channels": 4, "groups": 1, "blocks": 1},
    "actnet": {"channels": 4, "blocks": 1, "reduction": 2, "heads": 2},
    "fenet": {"channels": 8, "blocks": 1, "groups": 2},
    "ctnet": {"channels": 8, "blocks": 2, "tail_channels": 4, "skip_channels": 2},
    "usrnet": {"iterations": 2, "hidden": 4, "channels": (4, 4, 4, 4), "blocks": 1},
    "rpcanet": {
        "stages": 2,
        "channels": 4,
        "background_layers": 1,
        "target_layers": 1,
        "merge_layers": 1,
    },
}

SEQUENCES: dict[str, dict[str, Any]] = {
    "derefnet": {"stages": 2, "transform_channels": 4, "channels": 4, "blocks": 1},
    "tdan": {"channels": 8, "groups": 2, "blocks": 1, "tail_blocks": 1},
}
"""Small sizes of every registered model of sequences."""
