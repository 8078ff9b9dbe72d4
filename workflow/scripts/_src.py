"""Put the package on the path: in a rule's conda environment it is not installed, and PYTHONPATH is dropped."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))
