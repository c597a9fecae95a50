"""Nothing that the trainer loads reports to its maker."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
VERSION = ROOT / "models" / "all-minilm-l6-v2" / "1-int8"
RUN = "import sys; from pathlib import Path; from trainer.synthesize.encoder import Encoder; Encoder(Path(sys.argv[1]), threads=1).embed(['a text'])"


def test_onnxruntime_writes_no_device_id_and_reports_nothing(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", RUN, str(VERSION)], cwd=ROOT, env={**environment, "HOME": str(tmp_path)}, check=True, timeout=300)
    assert list(tmp_path.iterdir()) == [], "without the variable, onnxruntime leaves .cache/Microsoft/DeveloperTools/.onnxruntime/deviceid here"
