"""Which modules cannot be looked into for examples here."""

from importlib.util import find_spec

collect_ignore = []
if not (find_spec("lightning") or find_spec("pytorch_lightning")):
    # its classes have those of the framework as their bases
    collect_ignore.append("calibrate/adapters/lightning.py")
