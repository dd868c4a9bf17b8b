"""What two processes of one training agree on between their steps."""

import json
import subprocess
import sys

# the first process has got a signal, the second one's clock says that a save is due
RANK = """
import json, sys
from datetime import timedelta
from types import SimpleNamespace
import torch
from orion.training.callbacks import SaveAndStop, StopSignals
from transformers import TrainerControl, TrainerState

rank, store = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timedelta(minutes=5)
)
found = []
for number, minutes in ((None, 1000), (None, 0), (15, 1000)):
    signals = StopSignals()
    signals.number = number if rank == 0 else None
    callback = SaveAndStop(signals, minutes if rank == 1 else 1000)
    control = TrainerControl()
    arguments = SimpleNamespace(device=torch.device("cpu"), world_size=2)
    callback.on_step_end(arguments, TrainerState(), control)
    found.append([signals.number, control.should_save, control.should_training_stop])
print(json.dumps(found))
"""


def test_processes_save_and_stop_after_the_same_step(tmp_path):
    command = [sys.executable, "-c", RANK]
    both = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE)
        for rank in range(2)
    ]
    for process in both:
        out, _ = process.communicate(timeout=300)
        assert json.loads(out) == [[None, False, False], [None, True, False], [15, True, True]]
