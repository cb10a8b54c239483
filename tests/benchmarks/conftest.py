"""The benchmark is a script: its `suite` lies beside it, where a script finds it by itself."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
