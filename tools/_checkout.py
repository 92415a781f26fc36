"""Put the package of a checkout first on the import path, even if mmickd is installed."""

import sys
from pathlib import Path

ROOT = Path(__file__).absolute().parents[1]
if (ROOT / "mmickd" / "__init__.py").is_file():
    sys.path.insert(0, str(ROOT))
